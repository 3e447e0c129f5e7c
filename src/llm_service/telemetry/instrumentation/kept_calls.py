"""Blocks that keep a call, or wait for what runs within them: what they have is handed over, whatever ends.

A process that was forked has none of them: what began before is its parent's, which ends it.
"""

import atexit
import os
from time import perf_counter_ns
from typing import Final, Protocol
from weakref import WeakValueDictionary

from llm_service.telemetry.instrumentation.sink import Sink

__all__ = ["Keeping", "hand_over", "hand_over_at_exit", "is_of_parent", "keep", "no_longer_kept"]


class Keeping(Protocol):
    """The calls of a block that keep something."""

    def hand_over(self, sink: Sink | None, /) -> None:
        """Give the call that is kept a row of its own; of this logger, or of any."""
        ...

    def wait_no_longer(self, sink: Sink | None, /) -> None:
        """Give the block that waits its row, by what is known of it now."""
        ...

    def forget(self) -> None:
        """Keep nothing any more: another process does."""
        ...


class _Began(Protocol):
    _started: int


_kept: Final[WeakValueDictionary[int, Keeping]] = WeakValueDictionary()
"""Weak, because a call knows its block, and a block that is forgotten is to be collected."""
_forked_at = 0
"""When this process began as a fork, by `perf_counter_ns`; what began before is its parent's."""


def is_of_parent(block: _Began) -> bool:
    """Whether it was begun before this process was forked: the parent process ends it."""
    return block._started < _forked_at  # noqa: SLF001 - of the protocol


def keep(calls: Keeping) -> None:
    """They keep something: at the end of the process, and of its logger, it is handed over."""
    _kept[id(calls)] = calls


def no_longer_kept(calls: Keeping) -> None:
    """They keep nothing any more."""
    _kept.pop(id(calls), None)


def hand_over(sink: Sink | None = None) -> None:
    """Give what is kept, and what waits, rows of their own: of a logger that closes, or of all as the process ends."""
    for calls in list(_kept.values()):
        calls.hand_over(sink)
    for calls in list(_kept.values()):  # mostly in the order in which their blocks ended: the inner ones first
        calls.wait_no_longer(sink)


def hand_over_at_exit() -> None:
    """From now on what is kept is handed over at the end of the process, before present loggers close."""
    atexit.unregister(hand_over)
    atexit.register(hand_over)


def _begin_as_fork() -> None:
    """What is kept is the parent's, and so are the blocks that are open."""
    global _forked_at  # noqa: PLW0603 - of the process, as its id is
    _forked_at = perf_counter_ns()
    for calls in list(_kept.values()):
        calls.forget()
    _kept.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_as_fork)
