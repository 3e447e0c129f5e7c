"""A response that its caller reads, as bytes, lines, texts or JSON: what passes through is read as well.

Every way of reading it takes the bytes from its `stream`; until the record is made, a look-alike stands there, which
gives the same bytes. A body is kept until it is whole, up to a bound; server-sent events are read as they come.
"""

from collections.abc import Callable, Iterator
from json import loads
from typing import Any, Final
from weakref import ref

from llm_service.telemetry.instrumentation.responses.answers import read_answer
from llm_service.telemetry.instrumentation.sdk.recorded_response import AsyncChunks, Chunks, StreamRecord, on_close
from llm_service.telemetry.instrumentation.sdk.sdk_call import SdkCall

__all__ = ["RawBody", "RawEvents", "ServerSent", "body_of", "json_of", "record_body"]

_MOST: Final = 1 << 20
"""Bytes of a body, or of one event, that are kept until it is whole."""
_EVENTS: Final = "text/event-stream"
_UNTOLD: Final = ("", "text/plain")
"""What servers say of their events that do not say `text/event-stream`."""


def record_body(call: SdkCall, response: Any, *, streams: bool, asynchronous: bool) -> "RawBody | RawEvents":
    """Record a response that is not read yet, from its bytes, its close and its collection.

    Args:
        call: that gave it.
        response: the HTTP response.
        streams: whether a stream was asked for.
        asynchronous: whether it is of an async client.

    Returns:
        The record; what `let_go` is called of makes none.

    Raises:
        Exception: it is not as it was known.
    """
    kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    decode, held, stream = _decoder_of(response), ref(response), response.stream
    is_events = kind == _EVENTS or (streams and kind in _UNTOLD)
    record = RawEvents(call, held, decode) if is_events else RawBody(call, held, decode)
    on_close(response, record, asynchronous=asynchronous)
    uncloses = record.uncloses
    response.stream = passing = _Passing(stream, record)

    def uncover() -> None:
        if uncloses is not None:
            uncloses()
        read = held()
        if read is not None and read.stream is passing:
            read.stream = stream

    record.uncloses = uncover
    return record


def body_of(response: Any) -> Any:
    """The JSON of a response that was read; None where there is none."""
    try:
        return loads(response.content)
    except Exception:  # noqa: BLE001 - not read, not JSON, or not even a response
        return None


def json_of(body: str | bytes | bytearray | None) -> Any:
    """The JSON that a body is; None where it is none, or not all of it."""
    try:
        return loads(body or b"")
    except ValueError:
        return None


Decode = Callable[[bytes], bytes]


def _decoder_of(response: Any) -> Decode:
    """What undoes the encoding of a body: as the response does it, with a state of its own."""
    encoding = response.headers.get("content-encoding")
    if not encoding:
        return bytes
    same = type(response)(200, headers={"content-encoding": encoding}, stream=response.stream)
    decode = same._get_content_decoder().decode  # noqa: SLF001 - of the SDK

    def decoded(data: bytes) -> bytes:
        found: Any = decode(data)
        return found if isinstance(found, bytes) else b"".join(found)

    return decoded


def _class_within(passing: Any) -> Any:
    return passing._stream.__class__ if type(passing) is _Passing else passing._iterator.__class__  # noqa: SLF001


class _Passing:
    """Stands for the stream of a response, and is of its class to all who ask."""

    __slots__ = ("__weakref__", "_record", "_stream")

    def __init__(self, stream: Any, record: "RawBody | RawEvents") -> None:
        self._stream = stream
        self._record = record

    # Whoever asks of what class it is, but `type`, is told that of the stream.
    __class__: Any = property(_class_within)

    def __getattr__(self, name: str) -> Any:
        if name in {"_record", "_stream"}:  # made without __init__
            raise AttributeError(name)
        return getattr(self._stream, name)

    def __iter__(self) -> Iterator[bytes]:
        return Chunks(iter(self._stream), self._record)

    def __aiter__(self) -> Any:
        return _AsyncSteps(aiter(self._stream), self._record)


class _AsyncSteps(AsyncChunks):
    """Is closed by what closes generators alone, where it is one."""

    __slots__ = ()

    __class__: Any = property(_class_within)


class RawBody:
    """The record of a body that its caller reads, or does not.

    Attributes:
        ended: whether another makes the record, or it is made.
    """

    __slots__ = ("_call", "_decode", "_kept", "_response", "ended", "steps", "uncloses")

    def __init__(self, call: SdkCall, response: "ref[Any]", decode: Decode) -> None:
        self._call = call
        self._response = response
        self._decode = decode
        self._kept: bytearray | None = bytearray()
        self.ended = False
        self.steps = False
        self.uncloses: Callable[[], None] | None = None
        call.ends_by(self._end)

    def take(self, item: bytes) -> None:
        """A piece of it has arrived."""
        kept = self._kept
        if self.ended or kept is None:
            return
        try:
            kept += self._decode(item)
        except Exception:  # noqa: BLE001 - its caller is told of that
            self._kept = None
        if len(kept) > _MOST:
            self._kept = None

    def end(self, error: BaseException | None) -> None:
        """Its bytes have ended, or are not read on; of one that was not kept, its content may be there soon."""
        told = error is None or isinstance(error, GeneratorExit)
        if self._kept is None and told:
            return
        self._call.stop_clock()
        self._end(None if told else error)

    def closed(self) -> None:
        """It is closed; by reading it to its end, the first time, when its content is not there yet."""
        if self.ended:
            return
        self._call.stop_clock()
        response = self._response()
        waits = response is not None and getattr(response, "is_stream_consumed", False) and not response.is_closed
        if not waits or body_of(response) is not None:
            self._end()

    def let_go(self) -> None:
        """Another makes the record."""
        self.ended = True
        if self.uncloses is not None:
            self.uncloses()
            self.uncloses = None

    def _end(self, error: BaseException | None = None) -> None:
        """Make the record, of what was read, unless its stream does."""
        if self.ended:
            return
        self.let_go()
        body = body_of(self._response())
        found = read_answer(json_of(self._kept) if body is None else body)
        if error is None:
            found = {"usage_source": "missing"} | found
        self._call.end(found, error)


class RawEvents(StreamRecord):
    """The record of server-sent events whose bytes are read by the caller."""

    __slots__ = ("_decode", "_reader", "_response", "_told")

    def __init__(self, call: SdkCall, response: "ref[Any]", decode: Decode) -> None:
        super().__init__(call)
        self._response = response
        self._decode = decode
        self._reader = ServerSent()
        self._told = False

    def take(self, item: bytes) -> None:
        """A piece of the stream has arrived."""
        if self.ended:
            return
        self._told = True
        try:
            data = self._decode(item)
        except Exception:  # noqa: BLE001 - its caller is told of that
            return
        self._take_all(self._reader.read(data))

    def _take_all(self, events: list[Any]) -> None:
        for event in events:
            super().take(event)

    def end(self, error: BaseException | None) -> None:
        """As there; what was all there before it was asked for, as a test's, has ended by itself."""
        if not self.ended:
            if not self._told and isinstance(error, GeneratorExit):
                content = getattr(self._response(), "_content", None)
                error = None if content else error
                self._take_all(self._reader.read(content or b""))
            if error is None:
                self._take_all(self._reader.read(b"\n\n"))
        super().end(error)

    def let_go(self) -> None:
        """Another makes the record."""
        self.ended = True
        if self.uncloses is not None:
            self.uncloses()


class ServerSent:
    """Reads server-sent events as their bytes come.

    https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation
    """

    __slots__ = ("_data", "_kept", "_rest", "_skips")

    def __init__(self) -> None:
        self._rest = b""
        self._data: list[bytes] = []
        self._kept = 0
        self._skips = False

    def read(self, data: bytes) -> list[Any]:
        """The JSON of the events that are whole with these bytes."""
        found: list[Any] = []
        for line in self._lines(data):
            if line.startswith(b"data:"):
                self._kept += len(line)
                if self._kept <= _MOST:
                    self._data.append(line[5:].removeprefix(b" "))
            elif not line and self._kept:
                whole, kept = b"\n".join(self._data), self._kept
                self._data, self._kept = [], 0
                if kept > _MOST:
                    continue
                try:
                    found.append(loads(whole))
                except ValueError:  # such as [DONE]
                    continue
        return found

    def _lines(self, data: bytes) -> Iterator[bytes]:
        """The lines that are whole; one beyond the bound is skipped."""
        lines = (self._rest + data).splitlines(keepends=True)
        last = lines.pop() if lines and not lines[-1].endswith(b"\n") else b""  # \r may be half of an end
        for line in lines:
            if not self._skips:
                yield line.rstrip(b"\r\n")
            self._skips = False
        self._rest = b"" if self._skips or len(last) > _MOST else last
        self._skips |= len(last) > _MOST
