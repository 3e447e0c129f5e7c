"""Recording what runs in steps: one record of a stream or generator, made at whichever end comes first.

Between two steps the consumer's code runs, in the same context as the body's steps. So the stream stands in the context
as parent only while a step runs: it is put there before each and taken away after, together with any nested call that
the body left open across a `yield`. Nothing is reset by token, since steps may run in different tasks and threads.
"""

from collections.abc import Awaitable, Callable
from functools import partial
from types import TracebackType
from typing import Any

from llm_service.telemetry.instrumentation.call_fields import describe_error, is_cancelled
from llm_service.telemetry.instrumentation.cumulative import Cumulative
from llm_service.telemetry.instrumentation.invocation import Invocation, ReadUsage
from llm_service.telemetry.instrumentation.open_blocks import Enclosing, current, descends_from
from llm_service.telemetry.instrumentation.open_streams import is_open, is_over
from llm_service.telemetry.instrumentation.refused_calls import nothing_billed
from llm_service.telemetry.instrumentation.responses.stream_events import failure_in
from llm_service.telemetry.instrumentation.responses.watching import Noticing
from llm_service.telemetry.instrumentation.sink import Sink
from llm_service.telemetry.instrumentation.stream_source import close_async, is_awaitable

__all__ = ["Recording"]


class Recording:
    """The record of one stream: which parent its steps see, its first item, its usage, and its one end."""

    __slots__ = (
        "__weakref__", "_call", "_ended", "_given", "_idle", "_inner", "_refused", "_sending", "_usage", "_watching",
    )  # fmt: skip

    def __init__(
        self,
        call: Invocation,
        usage: ReadUsage | None,
        given: object = None,
        *,
        idle: bool = False,
        watching: Noticing | None = None,
    ) -> None:
        """Begin, with the call that is current as parent; a call that runs already goes on.

        Args:
            call: what is recorded.
            usage: reads fields out of each item.
            given: what to close where its budget does not let it through.
            idle: whether the request is not sent yet; until it is, there is nothing to record.
            watching: reads what each item says by itself, where there is no reader.
        """
        self._call = call
        self._usage = None if usage is None else Cumulative(usage)
        self._inner: Enclosing = call
        self._given = given
        self._ended = False
        self._idle = idle
        self._watching = watching
        self._sending = False
        self._refused = False  # its budget did not let it through: nothing has run, and nothing is recorded
        call.begin_stream()
        is_open(self)

    @property
    def sink(self) -> Sink:
        """See `open_streams`, as for `cut`."""
        return self._call._sink  # noqa: SLF001 - of its own call

    def cut(self) -> None:
        """Make the record of what nobody reads any more."""
        self.end(GeneratorExit())

    def step(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Run one step of the body and return its item; StopIteration and errors end the record and pass on."""
        with _Turn(self, StopIteration):
            item = function(*arguments)
        self._note(item)
        return item

    async def async_step(self, function: Callable[..., Awaitable[Any]], *arguments: Any) -> Any:
        """As `step`; StopAsyncIteration is the natural end. What has a budget reserves it before its first step."""
        if not self._call.admitted:
            await self.admit()
        try:
            with _Turn(self, StopAsyncIteration):
                item = await function(*arguments)
        except StopAsyncIteration:
            await self._finish()
            raise
        self._note(item)
        return item

    def request(self, function: Callable[[], Any]) -> Any:
        """Send the request and return what it gives; the clock starts here, and its failure is the call's."""
        self._send()
        given = self.enter(function)
        self._sending = False
        return given

    async def async_request(self, request: Any) -> Any:
        """As `request`, of an awaitable, or of a function that gives one or the stream itself."""
        self._send()
        given = await self.async_enter(partial(_awaited, request))
        self._sending = False
        return given

    def enter(self, function: Callable[[], Any]) -> Any:
        """Run what opens the body and return what it gives, which is no item; an error ends the record."""
        with _Turn(self):
            return function()

    async def async_enter(self, function: Callable[[], Awaitable[Any]]) -> Any:
        """As `enter`."""
        with _Turn(self):
            return await function()

    def _send(self) -> None:
        self._idle = False
        self._sending = True
        self._call.restart_clock()

    def close(self, function: Callable[[], Any]) -> Any:
        """Close the body, which is an early end unless it had ended."""
        returned = self.enter(function)
        self.end(GeneratorExit())
        return returned

    async def async_close(self, function: Callable[[], Awaitable[Any]]) -> Any:
        """As `close`."""
        returned = await self.async_enter(function)
        self.end(GeneratorExit())
        return returned

    @property
    def admitted(self) -> bool:
        """Whether its budget, if it has one, is reserved."""
        return self._call.admitted

    @property
    def ended(self) -> bool:
        """Whether the record is made, or there is none to make."""
        return self._ended

    async def admit(self) -> None:
        """Reserve its budget, if it has one; what is not let through is closed."""
        if self._refused:
            raise RuntimeError("this stream was refused by its budget, or another task is reserving it: it stays shut")
        self._refused = True
        try:
            await self._call.admit()
        except BaseException:
            self.end(None)
            await close_async(self._given)
            raise
        self._refused = False
        self._given = None
        if self._ended:  # closed meanwhile
            await self._call.give_back()
            raise RuntimeError("this stream was closed while its budget was being reserved")

    def end(self, error: BaseException | None) -> None:
        """Make the record, the first time; GeneratorExit stands for an early end by the consumer."""
        if self._ended:
            return
        self._ended = True
        is_over(self)
        if self._refused or self._idle:
            self._call.tell_end()
            return
        self._end_of_items(error)
        if error is not None and self._sending:
            said = describe_error(error) | self._call._fields
            self._call.set(**nothing_billed(error, said))  # the one request that it is has failed
        if isinstance(error, GeneratorExit):  # perhaps in a finalizer, in the middle of anything
            self._call.end_soon(error)
        else:
            self._call.__exit__(None if error is None else type(error), error, None)

    def _end_of_items(self, error: BaseException | None) -> None:
        if self._watching is not None:
            self._watching.end(error)
        if error is None and (self._usage is not None or (self._watching is not None and self._watching.known)):
            self._call.end_of_items()

    async def _finish(self) -> None:
        if not self._ended:
            self._ended = True
            is_over(self)
            self._end_of_items(None)
            await self._call.__aexit__(None, None, None)

    def enter_turn(self) -> Enclosing | None:
        """Be current; what was so until now."""
        outer = current.get()
        current.set(self._inner)
        return outer

    def leave_turn(self, outer: Enclosing | None) -> None:
        """Let what was current be so again."""
        inner = current.get()
        # A suspended step may be collected in another context than it began in: nothing of ours is there to take
        # away.
        if inner is not None and descends_from(inner, self._call):
            self._inner = inner
            current.set(outer)

    def _note(self, item: Any) -> None:
        if self._ended:
            return
        call = self._call
        try:
            if self._watching is not None:
                self._watching.take(item)
                return
            call.first_token()
            if self._usage is not None:
                call.read_usage(self._usage, item)
                failure = failure_in(item)
                if failure:
                    call.learn(failure)
        except BaseException as error:
            self.end(error)
            raise


class _Turn:
    """One turn of a body, in which its stream is current. An error ends the record; so does the sync natural end."""

    __slots__ = ("_natural", "_outer", "_recording")

    def __init__(self, recording: Recording, natural: type[Exception] | None = None) -> None:
        self._recording = recording
        self._natural = natural
        self._outer: Enclosing | None = None

    def __enter__(self) -> None:
        self._outer = self._recording.enter_turn()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        recording = self._recording
        recording.leave_turn(self._outer)
        if error is None:
            return
        if self._natural is not None and is_cancelled(error):
            error = GeneratorExit()
        if self._natural is None or not isinstance(error, self._natural):
            recording.end(error)
        elif self._natural is StopIteration:
            recording.end(None)


async def _awaited(request: Any) -> Any:
    """What a request gives: an awaitable, or a function that returns one or a stream."""
    given = request if is_awaitable(request) else request()
    return await given if is_awaitable(given) else given
