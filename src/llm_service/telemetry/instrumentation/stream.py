"""What `telemetry.wrap_stream` makes of a stream: the same object to its user, and one record of it.

It iterates the wrapped object itself and forwards every other attribute. What consumes the stream by another way than
its own iteration (a `text_stream` attribute) passes by unseen, and the record then ends with the close.
"""

from collections.abc import Awaitable, Callable
from functools import partial
from inspect import isawaitable
from types import TracebackType
from typing import Any, Final, NoReturn, Self

from llm_service.errors import shown
from llm_service.telemetry.instrumentation.invocation import Invocation, ReadUsage
from llm_service.telemetry.instrumentation.stream_recorder import Recording

__all__ = ["AsyncStream", "Stream", "record_stream"]

_RESUMES: Final = frozenset({"send", "throw", "asend", "athrow"})
"""Methods of generators that run the body to its next item, as an iteration does."""


def record_stream(
    begin: Callable[[], Invocation], usage: ReadUsage | None, stream: object, *, awaits: bool | None = None
) -> Any:
    """Wrap an iterator, iterable or context manager that gives one: sync, async, or both as some clients' streams are.

    Args:
        begin: makes the invocation.
        usage: reads fields out of each item.
        stream: what to wrap.
        awaits: where it has a budget, whether reserving is awaited: then it is for `async for` alone, else for `for`.

    Raises:
        TypeError: for anything else.
    """
    is_sync = _has(stream, "__iter__") or _has(stream, "__next__") or _has(stream, "__enter__")
    is_async = _has(stream, "__aiter__") or _has(stream, "__anext__") or _has(stream, "__aenter__")
    if not (is_sync or is_async):
        hint = "await it first" if isawaitable(stream) else "give an iterator or an async iterator"
        raise TypeError(f"wrap_stream cannot iterate {shown(stream)}; {hint}")
    if awaits is None:
        wrapper = _BothWays if is_sync and is_async else Stream if is_sync else AsyncStream
    elif awaits and is_async:
        wrapper = AsyncStream
    elif is_sync and not awaits:
        wrapper = Stream
    else:
        raise TypeError(
            f"budget= waits for the file: AsyncTelemetryLogger can hold one for an async stream only, TelemetryLogger "
            f"for a sync one only; {shown(stream)} is {'sync' if awaits else 'async'}: use the other logger"
        )
    return wrapper(stream, Recording(begin(), usage))


def _has(stream: object, method: str) -> bool:
    return hasattr(type(stream), method)


class _Recorded:
    """Forwards all attributes, and ends the record at the latest when it is collected."""

    __slots__ = (
        "__weakref__",
        "_telemetry_iterator",
        "_telemetry_manager",
        "_telemetry_recording",
        "_telemetry_stream",
    )

    def __init__(self, stream: Any, recording: Recording) -> None:
        self._telemetry_stream = self._telemetry_manager = stream
        self._telemetry_iterator: Any = None
        self._telemetry_recording = recording

    def _entered(self, given: Any) -> None:
        """Go on with what the wrapped object's own `with` gave."""
        if given is not self._telemetry_stream:
            self._telemetry_stream = given
            self._telemetry_iterator = None

    def _close_early(self) -> None:
        self._telemetry_recording.end(GeneratorExit())

    def close(self) -> Any:
        """End the record, and close the wrapped object where it can be; of an async one, await what is returned."""
        self._close_early()
        close = getattr(self._telemetry_stream, "close", None)
        return None if close is None else close()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_telemetry_"):  # not set yet: made without __init__
            raise AttributeError(name)
        recording = self._telemetry_recording
        if name not in _RESUMES and not (recording.admitted or name.startswith("_")):
            raise TypeError(
                f"{name}: the budget of this stream is not reserved yet; enter it with `async with`, or take its "
                "first item"
            )
        value = getattr(self._telemetry_stream, name)
        if name in _RESUMES:
            return partial(recording.async_step if name.startswith("a") else recording.step, value)
        return value

    def __reduce__(self) -> NoReturn:
        raise TypeError("a recorded stream cannot be copied or pickled")

    def __repr__(self) -> str:
        return f"<recorded {self._telemetry_stream!r}>"

    def __del__(self) -> None:
        recording: Recording | None = getattr(self, "_telemetry_recording", None)
        if recording is not None:
            recording.end(GeneratorExit())


class Stream(_Recorded):
    """A recorded iterator."""

    __slots__ = ()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Any:
        iterator = self._telemetry_iterator
        if iterator is None:
            stream = self._telemetry_stream
            iterator = self._telemetry_iterator = stream if _has(stream, "__next__") else iter(stream)
        return self._telemetry_recording.step(iterator.__next__)

    def __enter__(self) -> Self:
        if _has(self._telemetry_manager, "__enter__"):
            self._entered(self._telemetry_manager.__enter__())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> Any:
        if not _has(self._telemetry_manager, "__exit__"):
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
        iterator = self._telemetry_iterator
        if iterator is None:
            stream = self._telemetry_stream
            iterator = self._telemetry_iterator = stream if _has(stream, "__anext__") else aiter(stream)
        return self._telemetry_recording.async_step(iterator.__anext__)

    async def aclose(self) -> None:
        """End the record, and close the wrapped object where it can be."""
        self._close_early()
        close = getattr(self._telemetry_stream, "aclose", None) or getattr(self._telemetry_stream, "close", None)
        closing = None if close is None else close()
        if isawaitable(closing):
            await closing

    async def __aenter__(self) -> Self:
        if not self._telemetry_recording.admitted:
            await self._telemetry_recording.admit()
        if _has(self._telemetry_manager, "__aenter__"):
            self._entered(await self._telemetry_manager.__aenter__())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> Any:
        if not _has(self._telemetry_manager, "__aexit__"):
            await self.aclose()
            return None
        self._close_early()
        return await self._telemetry_manager.__aexit__(kind, error, traceback)


class _BothWays(Stream, AsyncStream):
    """A recorded stream that can be iterated either way."""

    __slots__ = ()
