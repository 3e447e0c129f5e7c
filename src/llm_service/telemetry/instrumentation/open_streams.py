"""Open streams of hooked clients: a block that reads one is its call, also where the request was sent before."""

from contextlib import suppress
from typing import Any, Final
from weakref import WeakKeyDictionary

from llm_service.telemetry.instrumentation.nested_calls import Child
from llm_service.telemetry.instrumentation.open_blocks import Block

__all__ = ["adopt", "hold_stream"]

_open_streams: Final[WeakKeyDictionary[Any, Child]] = WeakKeyDictionary()
"""Streams that hooked clients gave, and their calls."""


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
