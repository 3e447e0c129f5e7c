"""Blocks that keep a call, or wait for what runs within them: what they have is handed over, whatever ends.

A process that was forked has none of them: what began before is its parent's, which ends it.
"""

import atexit
import os
from collections.abc import Callable, Generator
from contextlib import contextmanager
from time import monotonic, perf_counter_ns, sleep
from typing import Final, Protocol
from weakref import WeakValueDictionary

from llm_service.telemetry.instrumentation.sink import Sink

__all__ = [
    "LATE_POLL_SECONDS", "LATE_SECONDS", "Keeping", "flush_late", "hand_over", "hand_over_at_exit", "is_late",
    "is_of_parent", "keep", "no_longer_kept", "tell_late_by", "telling", "wait_for_late",
]  # fmt: skip


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

    def is_told_late(self, sink: Sink | None, /) -> bool:
        """Whether a call of this logger, or of any, may have ended, and its framework is about to tell it."""
        ...


class _Began(Protocol):
    _started: int


_kept: Final[WeakValueDictionary[int, Keeping]] = WeakValueDictionary()
"""Weak, because a call knows its block, and a block that is forgotten is to be collected."""
LATE_SECONDS: Final = 1.0
"""How long a logger that closes waits for what frameworks tell late."""
LATE_POLL_SECONDS: Final = 0.002
_late: Final[dict[Callable[[], None], None]] = {}
_telling: Final[dict[int, Sink]] = {}
_forked_at = 0
"""When this process began as a fork, by `perf_counter_ns`; what began before is its parent's."""


def is_of_parent(block: _Began) -> bool:
    """Whether it was begun before this process was forked: the parent process ends it."""
    return block._started < _forked_at  # noqa: SLF001 - of the protocol


def tell_late_by(flush: Callable[[], None]) -> None:
    """A framework tells of ends late: `flush` has it tell those that nothing else would have it tell any more."""
    _late[flush] = None


@contextmanager
def telling(sink: Sink) -> Generator[None, None, None]:
    """A framework tells of an end, in a thread of its own: until the row is handed over, it is late."""
    told = object()
    _telling[id(told)] = sink
    try:
        yield
    finally:
        _telling.pop(id(told), None)  # a fork may have come between


def flush_late(sink: Sink | None) -> None:
    """Have frameworks tell what they tell late of calls of a logger, or of any, where their own loops have ended."""
    if is_late(sink):
        for flush in list(_late):
            flush()


def is_late(sink: Sink | None) -> bool:
    """Whether the end of a call of a logger may be told in a moment."""
    return any(calls.is_told_late(sink) for calls in _all()) or sink in [*_telling.values()]


def wait_for_late(sink: Sink, deadline: float) -> None:
    """Wait until no end of a call is about to be told, at most a second, or until `deadline` (monotonic seconds)."""
    deadline = min(deadline, monotonic() + LATE_SECONDS)
    flush_late(sink)
    while is_late(sink) and monotonic() < deadline:
        sleep(LATE_POLL_SECONDS)


def keep(calls: Keeping) -> None:
    """They keep something: at the end of the process, and of its logger, it is handed over."""
    _kept[id(calls)] = calls


def _all() -> list[Keeping]:
    """Taken in one step, as other threads may add some."""
    return [calls for held in _kept.valuerefs() if (calls := held()) is not None]


def no_longer_kept(calls: Keeping) -> None:
    """They keep nothing any more."""
    _kept.pop(id(calls), None)


def hand_over(sink: Sink | None = None) -> None:
    """Give what is kept, and what waits, rows of their own: of a logger that closes, or of all as the process ends."""
    for calls in _all():
        calls.hand_over(sink)
    for calls in _all():  # mostly in the order in which their blocks ended: the inner ones first
        calls.wait_no_longer(sink)


def hand_over_at_exit() -> None:
    """From now on what is kept is handed over at the end of the process, before present loggers close."""
    atexit.unregister(_at_exit)
    atexit.register(_at_exit)


def _at_exit() -> None:
    flush_late(None)
    hand_over()


def _begin_as_fork() -> None:
    """What is kept is the parent's, and so are the blocks that are open."""
    global _forked_at  # noqa: PLW0603 - of the process, as its id is
    _forked_at = perf_counter_ns()
    for calls in _all():
        calls.forget()
    _kept.clear()
    _telling.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_as_fork)
