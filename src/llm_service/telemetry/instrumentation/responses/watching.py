"""Watching a stream within a block: its chunks pass through, and the block learns what they say."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, Protocol

from llm_service.pricing.usage.leaves import is_container
from llm_service.telemetry.instrumentation import stream_source as source
from llm_service.telemetry.instrumentation.call_fields import describe_error, is_cancelled
from llm_service.telemetry.instrumentation.open_blocks import Block
from llm_service.telemetry.instrumentation.open_streams import adopt
from llm_service.telemetry.instrumentation.responses.answers import read_answer
from llm_service.telemetry.instrumentation.responses.stream_events import StreamEvents
from llm_service.telemetry.instrumentation.stream import NONE_YET, wrapper_of
from llm_service.telemetry.record.failures import CANCELLED

__all__ = ["Noticing", "Watched", "Watching", "fields_at_end", "watch"]

_CANCELLED: Final = {"finish_reason": CANCELLED}
_CUT: Final = {
    "status": "error", "error_type": "incomplete_stream", "error_message": "the stream ended before its last event",
}  # fmt: skip


class Watched(Block, Protocol):
    """What a watched stream needs of its block."""

    def first_token(self) -> None:
        """The first token has arrived."""
        ...

    def learn(self, found: Mapping[str, Any], /) -> None:
        """Take what the stream said."""
        ...

    def misread(self, what: str, /) -> None:
        """Count and say once what could not be read."""
        ...


def watch(call: Watched, given: Any) -> tuple[Any, "Watching | None"]:
    """The stream in its wrapper, and what watches it; a whole answer is read at once, and returned as it is."""
    found = {} if source.has(given, "__next__", "__anext__", "__await__") else read_answer(given)
    if found or (source.ways_of(given) is None and not source.is_awaitable(given)):
        if found:
            call.learn(found)
        else:
            call.misread(f"watch() was given {type(given).__name__[:80]}, which is no stream")
        return given, None
    adopt(call, given)
    watching = Watching(call)
    if source.is_awaitable(given):
        return wrapper_of(given)(NONE_YET, watching, given), watching
    return wrapper_of(given)(given, watching), watching


def fields_at_end(events: StreamEvents, error: BaseException | None) -> dict[str, Any]:
    """What a stream said, where it ended by itself, by an error, or by its consumer: GeneratorExit, a cancellation."""
    found = {"stream": True, **events.end()}
    if error is None and events.empty:  # such as the page of a proxy, in which there is no event
        return _CUT | found
    if error is None and not events.unfinished:
        return found
    if "usage_source" in found and not events.complete:
        found["usage_source"] = "partial"
    if error is None:  # cut where nobody noticed
        return _CUT | found if events.strict else found
    if isinstance(error, GeneratorExit) or is_cancelled(error):
        return _CANCELLED | found
    return found | describe_error(error)


class Watching:
    """What a watched stream is recorded by: it reads the events, and its end makes no record."""

    __slots__ = ("_begun", "_call", "_events", "ended", "left")

    admitted = True

    def __init__(self, call: Watched) -> None:
        self._call = call
        self._events = StreamEvents()
        self._begun = False
        self.ended = False
        self.left = False  # before its end, by who consumed it

    def step(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Give the next item."""
        try:
            item = function(*arguments)
        except BaseException as error:
            self.end(None if isinstance(error, StopIteration) else error)
            raise
        self.take(item)
        return item

    async def async_step(self, function: Callable[..., Awaitable[Any]], *arguments: Any) -> Any:
        """As `step`."""
        try:
            item = await function(*arguments)
        except BaseException as error:
            self.end(None if isinstance(error, StopAsyncIteration) else error)
            raise
        self.take(item)
        return item

    def enter(self, function: Callable[[], Any]) -> Any:
        """Open the stream; an error ends it."""
        try:
            return function()
        except BaseException as error:
            self.end(error)
            raise

    async def async_enter(self, function: Callable[[], Awaitable[Any]]) -> Any:
        """As `enter`."""
        try:
            return await function()
        except BaseException as error:
            self.end(error)
            raise

    request = enter

    async def async_request(self, request: Any) -> Any:
        """Await the stream."""
        return await self.async_enter(lambda: request)

    async def admit(self) -> None:
        """Nothing is reserved."""

    def end(self, error: BaseException | None) -> None:
        """Tell the block what was said until now, the first time."""
        if self.ended:
            return
        self.ended = True
        self.left = isinstance(error, GeneratorExit) or is_cancelled(error)
        self._call.learn(fields_at_end(self._events, error))

    def end_with_block(self, error: BaseException | None) -> BaseException | None:
        """Tell the block, which ends with this error; what that is to be recorded as: no error where it was left."""
        self.end(GeneratorExit() if error is None else error)
        return GeneratorExit() if self.left and is_cancelled(error) else error

    def take(self, item: Any) -> None:
        """Read an item."""
        if self.ended:
            return
        events = self._events
        try:
            events.take(item)
        except Exception as failure:  # noqa: BLE001 - an item may raise whatever it likes when it is looked at
            self._call.misread(f"an item of a stream could not be read: {type(failure).__name__}")
        if events.begun and not self._begun:
            self._begun = True
            self._call.first_token()


class Noticing(Watching):
    """As `Watching`, of a stream that may be anything: what is no event of a provider is passed over."""

    __slots__ = ("_has_items",)

    def __init__(self, call: Watched) -> None:
        super().__init__(call)
        self._has_items = False

    @property
    def known(self) -> bool:
        """Whether its items were a provider's, as far as they went."""
        return self._events.known

    def take(self, item: Any) -> None:
        """Read an item; a text is output, and tells no more."""
        self._has_items = True
        if is_container(item):
            super().take(item)
        elif not self._begun:
            self._begun = True
            self._call.first_token()

    def end(self, error: BaseException | None) -> None:
        """Tell the call what was said, where the items were a provider's; or that there was none at all."""
        if self.known or (error is None and not self._has_items):
            super().end(error)
        self.ended = True
