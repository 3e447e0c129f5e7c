"""What `telemetry.wrap_stream` makes of a stream: the same object to its user, and one record of it.

It iterates the wrapped object itself and forwards every other attribute. What consumes the stream by another way than
its own iteration (a `text_stream` attribute) passes by unseen, and the record then ends with the close. A request that
was given instead of its stream is sent by the first step, once its budget is reserved and its clock has started.
"""

from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from inspect import isawaitable
from types import TracebackType
from typing import Any, Final, NoReturn, Protocol, Self

from llm_service.redaction import shown
from llm_service.telemetry.instrumentation import stream_source as source
from llm_service.telemetry.instrumentation.stream_source import has, opened

__all__ = ["NONE_YET", "AsyncStream", "Recording", "Stream", "wrapper_of"]

_RESUMES: Final = frozenset({"send", "throw", "asend", "athrow"})
"""Methods of generators that run the body to its next item, as an iteration does."""
NONE_YET: Final = object()
"""In the place of a request that is sent, or of a stream that is not open."""


class Recording(Protocol):
    """What a wrapped stream is recorded by."""

    @property
    def admitted(self) -> bool:
        """Whether its budget, if it has one, is reserved."""
        ...

    @property
    def ended(self) -> bool:
        """Whether the record is made, or there is none to make."""
        ...

    def step(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Run one step and return its item."""
        ...

    async def async_step(self, function: Callable[..., Awaitable[Any]], *arguments: Any) -> Any:
        """As `step`."""
        ...

    def request(self, function: Callable[[], Any]) -> Any:
        """Send the request and return what it gives."""
        ...

    async def async_request(self, request: Any) -> Any:
        """As `request`."""
        ...

    def enter(self, function: Callable[[], Any]) -> Any:
        """Run what opens the body and return what it gives."""
        ...

    async def async_enter(self, function: Callable[[], Awaitable[Any]]) -> Any:
        """As `enter`."""
        ...

    async def admit(self) -> None:
        """Reserve its budget, if it has one."""
        ...

    def end(self, error: BaseException | None) -> None:
        """End the record, the first time; GeneratorExit stands for an early end by the consumer."""
        ...


def wrapper_of(given: object, *, awaits: bool | None = None) -> "type[Stream | AsyncStream]":
    """What to wrap it in: for the ways it can be consumed, of which a budget leaves one."""
    ways = source.request_ways(given) if source.is_request(given) else source.ways_of(given)
    if ways is None:
        raise TypeError(
            f"wrap_stream cannot iterate {shown(given)}; give an iterator or async iterator, an awaitable of one, or a "
            "function that returns one"
        )
    if awaits is None:
        return _BothWays if all(ways) else Stream if ways.sync else AsyncStream
    if awaits and ways.asynchronous:
        return AsyncStream
    if ways.sync and not awaits:
        return Stream
    raise TypeError(
        f"budget= waits for the file: AsyncTelemetryLogger can hold one for an async stream only, TelemetryLogger "
        f"for a sync one only; {shown(given)} is {'sync' if awaits else 'async'}: use the other logger"
    )


class _Recorded:
    """Forwards all attributes, and ends the record at the latest when it is collected."""

    __slots__ = (
        "__weakref__",
        "_telemetry_iterator",
        "_telemetry_manager",
        "_telemetry_recording",
        "_telemetry_request",
        "_telemetry_stream",
    )

    def __init__(self, stream: Any, recording: Recording, request: Any = NONE_YET) -> None:
        self._telemetry_stream = self._telemetry_manager = stream
        self._telemetry_iterator: Any = None
        self._telemetry_recording = recording
        self._telemetry_request: Any = request

    def _opened(self, stream: Any, *, asynchronous: bool) -> None:
        """Go on with what the request gave, unless the stream was closed while it was sent."""
        recording = self._telemetry_recording
        if recording.ended:
            raise RuntimeError("this stream was closed while its request was being sent")
        try:
            self._telemetry_stream = self._telemetry_manager = opened(stream, asynchronous=asynchronous)
        except TypeError as error:
            recording.end(error)
            raise

    def _entered(self, given: Any) -> None:
        """Go on with what the wrapped object's own `with` gave."""
        if given is not self._telemetry_stream:
            self._telemetry_stream = given
            self._telemetry_iterator = None

    def _close_early(self) -> None:
        self._telemetry_recording.end(GeneratorExit())

    def _close_unsent(self) -> bool:
        """Whether nothing is open; a request that was not sent never will be, and there is nothing to record."""
        request, self._telemetry_request = self._telemetry_request, NONE_YET
        source.discard(request)
        return self._telemetry_stream is NONE_YET

    def close(self) -> Any:
        """End the record, and close the wrapped object where it can be; of an async one, await what is returned."""
        self._close_early()
        if self._close_unsent():
            return _Closed()
        close = getattr(self._telemetry_stream, "close", None)
        return None if close is None else close()

    def _require_open(self, name: str) -> None:
        """Raises: TypeError where a budget or a request comes first."""
        recording, unsent = self._telemetry_recording, self._telemetry_stream is NONE_YET
        if unsent and (self._telemetry_request is NONE_YET or name.startswith("__")):
            raise AttributeError(f"{name}: this stream was never opened")
        if unsent or (name not in _RESUMES and not (recording.admitted or name.startswith("_"))):
            what = "request of this stream is not sent" if unsent else "budget of this stream is not reserved"
            raise TypeError(f"{name}: the {what} yet; enter it with `async with`, or take its first item")

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_telemetry_"):  # not set yet: made without __init__
            raise AttributeError(name)
        self._require_open(name)
        recording = self._telemetry_recording
        value = getattr(self._telemetry_stream, name)
        if name in _RESUMES:
            return partial(recording.async_step if name.startswith("a") else recording.step, value)
        return value

    def __reduce__(self) -> NoReturn:
        raise TypeError("a recorded stream cannot be copied or pickled")

    def __repr__(self) -> str:
        stream = self._telemetry_stream
        return f"<recorded {(self._telemetry_request if stream is NONE_YET else stream)!r}>"

    def __del__(self) -> None:
        recording: Recording | None = getattr(self, "_telemetry_recording", None)
        if recording is not None:
            recording.end(GeneratorExit())


class _Closed:
    """What closing gives where nothing was open: it may be awaited, and need not be."""

    __slots__ = ()

    def __await__(self) -> Iterator[None]:
        return iter(())


class Stream(_Recorded):
    """A recorded iterator."""

    __slots__ = ()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Any:
        if self._telemetry_stream is NONE_YET:
            self._open()
        iterator = self._telemetry_iterator
        if iterator is None:
            stream = self._telemetry_stream
            iterator = self._telemetry_iterator = iter(stream) if has(stream, "__iter__") else stream
        return self._telemetry_recording.step(iterator.__next__)

    def _open(self) -> None:
        """Send the request."""
        request, self._telemetry_request = self._telemetry_request, NONE_YET
        if request is NONE_YET:
            raise _is_over()
        stream = self._telemetry_recording.request(request)
        try:
            self._opened(stream, asynchronous=False)
        except (TypeError, RuntimeError):
            source.close(stream)
            raise

    def __enter__(self) -> Self:
        if self._telemetry_stream is NONE_YET:
            self._open()
        if has(self._telemetry_manager, "__enter__"):
            self._entered(self._telemetry_recording.enter(self._telemetry_manager.__enter__))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> Any:
        if not has(self._telemetry_manager, "__exit__"):
            self.close()
            return None
        self._close_early()
        return self._telemetry_manager.__exit__(kind, error, traceback)


class AsyncStream(_Recorded):
    """A recorded async iterator."""

    __slots__ = ()

    def __aiter__(self) -> Self:
        return self

    def __anext__(self) -> Awaitable[Any]:
        if self._telemetry_stream is NONE_YET:
            return self._first_item()
        iterator = self._telemetry_iterator
        if iterator is None:
            stream = self._telemetry_stream
            iterator = self._telemetry_iterator = aiter(stream) if has(stream, "__aiter__") else stream
        return self._telemetry_recording.async_step(iterator.__anext__)

    async def _first_item(self) -> Any:
        await self._async_open()
        return await self.__anext__()

    async def _async_open(self) -> None:
        """Reserve its budget, if it has one, and send the request."""
        request, self._telemetry_request = self._telemetry_request, NONE_YET
        if request is NONE_YET:
            raise _is_over()
        recording = self._telemetry_recording
        if not recording.admitted:
            await recording.admit()
        stream = await recording.async_request(request)
        try:
            self._opened(stream, asynchronous=True)
        except (TypeError, RuntimeError):
            await source.close_async(stream)
            raise

    async def aclose(self) -> None:
        """End the record, and close the wrapped object where it can be."""
        self._close_early()
        if self._close_unsent():
            return
        close = getattr(self._telemetry_stream, "aclose", None) or getattr(self._telemetry_stream, "close", None)
        closing = None if close is None else close()
        if isawaitable(closing):
            await closing

    async def __aenter__(self) -> Self:
        recording = self._telemetry_recording
        if self._telemetry_stream is NONE_YET:
            await self._async_open()
        elif not recording.admitted:
            await recording.admit()
        if has(self._telemetry_manager, "__aenter__"):
            self._entered(await recording.async_enter(self._telemetry_manager.__aenter__))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> Any:
        if not has(self._telemetry_manager, "__aexit__"):
            await self.aclose()
            return None
        self._close_early()
        return await self._telemetry_manager.__aexit__(kind, error, traceback)


class _BothWays(Stream, AsyncStream):
    """A recorded stream that can be iterated either way."""

    __slots__ = ()


def _is_over() -> RuntimeError:
    return RuntimeError("this stream was closed, refused, or is being opened by another task: it has no items to give")
