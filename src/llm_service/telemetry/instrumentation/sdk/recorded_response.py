"""What a client gave for a call that has not ended yet: a stream. A response that is not read is in `raw_body`.

The object stays the client's own: a stream gets another iterator in the place of its own, and the HTTP response below
another `close`, until the record is made. What is collected ends its record, too.
"""

import sys
from collections.abc import Callable
from functools import partial
from typing import Any, Final, Protocol, Self, cast
from weakref import ref

from llm_service.telemetry.instrumentation.open_streams import hold_stream
from llm_service.telemetry.instrumentation.refused_calls import nothing_billed
from llm_service.telemetry.instrumentation.responses.stream_events import StreamEvents
from llm_service.telemetry.instrumentation.responses.watching import fields_at_end
from llm_service.telemetry.instrumentation.sdk.sdk_call import SdkCall

__all__ = ["AsyncChunks", "Chunks", "StreamRecord", "on_close", "record_stream"]

_HELPERS: Final = ("openai.lib.streaming", "anthropic.lib.streaming")
"""Where clients parse what their streams give."""


class StreamRecord:
    """The record of one stream, which its iterator, its response's close and its collection share."""

    __slots__ = ("_begun", "_call", "_events", "_take", "ended", "steps", "uncloses")

    def __init__(self, call: SdkCall) -> None:
        self._call = call
        self._events = StreamEvents()
        self._take = self._events.take
        self._begun = False
        self.ended = False
        self.steps = False
        self.uncloses: Callable[[], None] | None = None
        call.ends_by(partial(self.end, GeneratorExit()))

    def take(self, item: Any) -> None:
        """An item has arrived."""
        if self.ended:
            return
        try:
            self._take(item)
        except Exception as failure:  # noqa: BLE001 - an item may raise whatever it likes when it is looked at
            self._call.misread(f"an item of a stream could not be read: {type(failure).__name__}")
        if not self._begun and self._events.begun:
            self._begun = True
            self._call.first_token()

    def end(self, error: BaseException | None) -> None:
        """The stream has ended: by itself, by an error, or (GeneratorExit) by who consumed it."""
        if self.ended:
            return
        self.ended = True
        self._call.stop_clock()
        if self.uncloses is not None:
            self.uncloses()
        found = fields_at_end(self._events, error)
        if error is None and "usage_source" not in found:
            found["usage_source"] = "missing"
            if found.get("status") is None:
                self._call.without_usage()
        call = self._call
        if error is not None and not (self._begun or call.may_be_billed):  # a lazy stream sends its request at last
            found |= nothing_billed(error, call._fields | found)
        self._call.end(found)

    def closed(self) -> None:
        """The response below is closed: by the stream itself within a step, which says how it ended, or early."""
        if not self.steps:
            self.end(_raised_by_helper() or GeneratorExit())


def _raised_by_helper() -> Exception | None:
    """The exception that closes the stream now, where a client's stream helper raised it: an answer does not parse."""
    error = sys.exc_info()[1]
    trace = error.__traceback__ if isinstance(error, Exception) else None
    while trace is not None:
        if str(trace.tb_frame.f_globals.get("__name__")).startswith(_HELPERS):
            return cast("Exception", error)
        trace = trace.tb_next
    return None


class Steps(Protocol):
    """The record of what an iterator gives."""

    steps: bool

    def take(self, item: Any) -> None:
        """An item has arrived."""
        ...

    def end(self, error: BaseException | None) -> None:
        """It has ended, as `StreamRecord.end` says."""
        ...


class _Steps:
    """What stands in the place of a stream's iterator."""

    __slots__ = ("__weakref__", "_iterator", "_record")

    def __init__(self, iterator: Any, record: Steps) -> None:
        self._iterator = iterator
        self._record = record

    def __getattr__(self, name: str) -> Any:
        if name in {"_iterator", "_record"}:  # made without __init__
            raise AttributeError(name)
        return getattr(self._iterator, name)

    def __del__(self) -> None:
        record: Steps | None = getattr(self, "_record", None)
        if record is not None:
            record.end(GeneratorExit())


class Chunks(_Steps):
    """A recorded iterator."""

    __slots__ = ()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Any:
        record = self._record
        record.steps = True
        try:
            item = next(self._iterator)
        except BaseException as error:
            record.steps = False
            record.end(None if isinstance(error, StopIteration) else error)
            raise
        record.steps = False
        record.take(item)
        return item


class AsyncChunks(_Steps):
    """A recorded async iterator."""

    __slots__ = ()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        record = self._record
        record.steps = True
        try:
            item = await self._iterator.__anext__()
        except BaseException as error:
            record.steps = False
            record.end(None if isinstance(error, StopAsyncIteration) else error)
            raise
        record.steps = False
        record.take(item)
        return item


def record_stream(call: SdkCall, stream: Any, iterator: str, *, asynchronous: bool) -> None:
    """Record what a client's stream gives, from its iterator, its response's close and its collection.

    Args:
        call: that gave it.
        stream: the client's own object, with its `response`.
        iterator: the attribute that holds its iterator.
        asynchronous: whether that is an async one.

    Raises:
        AttributeError: it has no iterator that can be replaced, or no response.
    """
    record = StreamRecord(call)
    setattr(stream, iterator, (AsyncChunks if asynchronous else Chunks)(getattr(stream, iterator), record))
    on_close(stream.response, record, asynchronous=asynchronous)
    hold_stream(stream, call)


class _Close:
    """Stands as `close` or `aclose` of one response until its record is made."""

    __slots__ = ("_closed", "_name", "_response", "_stream")

    def __init__(self, response: Any, name: str, closed: Callable[[], None]) -> None:
        self._response = ref(response)
        below = getattr(response, "stream", None)  # of httpx; a method of other responses, which would be a circle
        self._stream = None if callable(below) else below
        self._name = name
        self._closed = closed

    def __call__(self) -> Any:
        self._closed()
        response = self._response()
        if response is None:
            return None if self._stream is None else getattr(self._stream, self._name)()
        return getattr(response.__class__, self._name)(response)  # of a proxy, the class of what is in it

    def __reduce__(self) -> Any:
        return _nothing, ()

    def __del__(self) -> None:
        closed = getattr(self, "_closed", None)
        if closed is not None:
            closed()


def _nothing() -> Callable[[], None]:
    """What a copy of a response closes: it has no connection."""
    return lambda: None


class Closing(Protocol):
    """What is told of a close."""

    uncloses: Callable[[], None] | None

    def closed(self) -> None:
        """It is closed."""
        ...


def on_close(response: Any, record: Closing, *, asynchronous: bool, more: tuple[str, ...] = ()) -> None:
    """Tell a record when a response is closed, until its record is made.

    Args:
        response: has `close`, or `aclose` where it is asynchronous.
        record: what is told; its `uncloses` gives the response its own methods back.
        asynchronous: whether it is.
        more: other attributes that were put on it until then.
    """
    name = "aclose" if asynchronous else "close"
    held = ref(response)

    def uncloses() -> None:
        response = held()
        if response is not None:
            for attribute in (name, *more):
                vars(response).pop(attribute, None)

    setattr(response, name, _Close(response, name, record.closed))
    record.uncloses = uncloses
