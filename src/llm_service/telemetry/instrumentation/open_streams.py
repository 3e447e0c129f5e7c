"""Streams that are open: a block that reads one is its call, and the end of a logger is theirs, too."""

import atexit
import os
from contextlib import suppress
from typing import Any, Final, Protocol
from weakref import WeakKeyDictionary, ref

from llm_service.telemetry.instrumentation.nested_calls import Child
from llm_service.telemetry.instrumentation.open_blocks import Block
from llm_service.telemetry.instrumentation.sink import Sink

__all__ = ["Unended", "adopt", "end_open", "hold_stream", "is_open", "is_over"]


class Unended(Protocol):
    """What is recorded until a stream ends."""

    @property
    def sink(self) -> Sink:
        """What takes its record."""
        ...

    def cut(self) -> None:
        """End it, as where who consumes it goes away."""
        ...


_open_streams: Final[WeakKeyDictionary[Any, Child]] = WeakKeyDictionary()
"""Streams that hooked clients gave, and their calls."""


_unended: Final[dict[int, ref[Unended]]] = {}
"""By identity, because asking them for a hash of their own would cost more. Weak: what is collected ends by itself."""


def is_open(record: Unended) -> None:
    """It ends with its logger at the latest."""
    _unended[id(record)] = ref(record)


def is_over(record: Unended) -> None:
    """It has ended."""
    _unended.pop(id(record), None)


def end_open(sink: Sink | None = None) -> None:
    """End the streams that are still open: of a logger that closes, or of all as the process ends."""
    for held in list(_unended.values()):
        record = held()
        if record is not None and (sink is None or record.sink is sink):
            record.cut()


atexit.register(end_open)  # of loggers that have nothing else to write, and so no hook of their own
if hasattr(os, "register_at_fork"):  # the streams are the parent's
    os.register_at_fork(after_in_child=_unended.clear)


def hold_stream(stream: Any, call: Child) -> None:
    """A hooked client gave this stream: a block that reads it is its call."""
    with suppress(TypeError):  # it cannot be remembered
        _open_streams[stream] = call


def adopt(block: Block, stream: object) -> None:
    """A block reads a stream: a call that opened it, before the block, goes on within the block."""
    try:
        call = _open_streams.pop(stream, None)
    except Exception:  # noqa: BLE001 - a foreign object may raise when its hash is asked for
        return
    if call is not None and call._sink is block._sink:  # noqa: SLF001 - of the protocols
        call.move_into(block)
