"""What `@telemetry.instrumented` makes of a function: the same kind of function, each call of it recorded."""

import inspect
import sys
from asyncio import CancelledError, Future, Task
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Mapping
from concurrent import futures
from functools import partial, update_wrapper
from types import AsyncGeneratorType, CoroutineType, GeneratorType, coroutine
from typing import Any, Final, NamedTuple, Self, TypeVar, cast

from llm_service.redaction import shown
from llm_service.telemetry.instrumentation.invocation import Invocation, ReadUsage
from llm_service.telemetry.instrumentation.open_blocks import current
from llm_service.telemetry.instrumentation.stream_recorder import Recording

__all__ = ["KINDS", "PLAIN", "Begin", "Kind", "instrument"]

_F = TypeVar("_F", bound=Callable[..., Any])
Begin = Callable[[tuple[Any, ...], Mapping[str, Any]], Invocation]
"""Makes the invocation of a call with these arguments."""
_Wrap = Callable[[Begin, "ReadUsage | None", Callable[..., Any]], Callable[..., Any]]
"""Makes a function that records of one."""


def instrument(begin: Begin, usage: ReadUsage | None, function: _F, *, awaits: bool | None = None) -> _F:
    """Wrap a function so that each call is recorded, and each iteration where it is a generator.

    Args:
        begin: makes the invocation of one call of its arguments.
        usage: reads fields out of a returned value, or out of each item of a generator.
        function: plain, async, generator or async generator function; also a staticmethod or classmethod object.
        awaits: where calls have a budget, whether reserving is awaited; None where they have none.

    Raises:
        TypeError: for anything else, a class included; for a budget that a function of this kind cannot wait for.
    """
    if isinstance(function, staticmethod | classmethod):
        method = cast("Any", function)
        return cast("_F", type(method)(instrument(begin, usage, method.__func__, awaits=awaits)))
    if isinstance(function, type) or not callable(function):
        raise TypeError(
            f"instrumented decorates functions and methods, not {shown(function)}; put it on the function itself"
        )
    # A callable object is what its __call__ is; of a plain function that is nothing of these.
    found = (kind for kind in KINDS if kind.is_kind(function) or kind.is_kind(type(function).__call__))
    kind = next(found, PLAIN)
    if awaits is not None and awaits is not kind.awaits:
        raise TypeError(
            f"budget= waits for the file: {kind.name} {shown(function)} cannot hold one by "
            f"{'AsyncTelemetryLogger' if awaits else 'TelemetryLogger'}; use "
            f"{'TelemetryLogger, or an async function' if awaits else 'AsyncTelemetryLogger'}"
        )
    return cast("_F", update_wrapper(kind.wrap(begin, usage, function), function))


def _function(begin: Begin, usage: ReadUsage | None, function: Callable[..., Any]) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        around = current.get()
        invocation = begin(args, kwargs).__enter__()
        try:
            result = function(*args, **kwargs)
            go_on = _UNFINISHED.get(type(result))
            if usage is not None and go_on is None:
                invocation.read_usage(usage, result)
        except BaseException as error:
            invocation.__exit__(type(error), error, error.__traceback__)
            raise
        if go_on is not None:
            current.set(around)
            return go_on(invocation, usage, result)
        invocation.__exit__(None, None, None)
        return result

    return call


def _coroutine(begin: Begin, usage: ReadUsage | None, function: Callable[..., Any]) -> Callable[..., Any]:
    async def call(*args: Any, **kwargs: Any) -> Any:
        async with begin(args, kwargs) as invocation:
            result = await function(*args, **kwargs)
            if usage is not None:
                invocation.read_usage(usage, result)
        return result

    return call


def _generator(begin: Begin, usage: ReadUsage | None, function: Callable[..., Any]) -> Callable[..., Any]:
    def iterate(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        body = function(*args, **kwargs)
        return (yield from cast("Generator[Any, Any, Any]", _Steps(body, Recording(begin(args, kwargs), usage))))

    code = getattr(function, "__code__", None)
    is_awaited = code is not None and code.co_flags & inspect.CO_ITERABLE_COROUTINE
    return coroutine(iterate) if is_awaited else iterate  # of `types.coroutine`: what it gives is awaited


class _Steps:
    """What `yield from` needs of a generator, each step recorded."""

    __slots__ = ("_body", "_recording")

    def __init__(self, body: Generator[Any, Any, Any], recording: Recording) -> None:
        self._body = body
        self._recording = recording

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Any:
        return self._recording.step(self._body.__next__)

    def send(self, value: Any) -> Any:
        """Resume the body with a value."""
        return self._recording.step(self._body.send, value)

    def throw(self, *error: Any) -> Any:
        """Resume the body with an exception."""
        return self._recording.step(self._body.throw, *error)

    def close(self) -> Any:
        """Close the body."""
        return self._recording.close(self._body.close)


def _async_generator(begin: Begin, usage: ReadUsage | None, function: Callable[..., Any]) -> Callable[..., Any]:
    async def iterate(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        body: AsyncGenerator[Any, Any] = function(*args, **kwargs)
        call = begin(args, kwargs)
        await call.admit()
        recording = Recording(call, usage)
        step: Callable[..., Awaitable[Any]] = partial(_first_step, body)
        given: tuple[Any, ...] = ()
        while True:
            try:
                item = await recording.async_step(step, *given)
            except StopAsyncIteration:
                return
            try:
                sent = yield item
            except GeneratorExit:
                await recording.async_close(body.aclose)
                raise
            except BaseException as error:  # noqa: BLE001 - thrown in by the consumer: the body's to answer
                step, given = body.athrow, (error,)
            else:
                step, given = body.asend, (sent,)

    return iterate


def _first_step(body: AsyncGenerator[Any, Any]) -> Awaitable[Any]:
    """Start the body without telling the loop of it: the loop closes the outer generator, which closes the body.

    Told of both, the loop's shutdown would close them at once, one while the other still runs it.
    """
    hooks = sys.get_asyncgen_hooks()
    sys.set_asyncgen_hooks(None, None)
    try:
        return body.asend(None)
    finally:
        sys.set_asyncgen_hooks(*hooks)


# What a plain function returned is still to run: the call ends where that does.


class _LeftOpen:
    """Ends the call of what is collected before it has run, as what its consumer left."""

    __slots__ = ("_call",)

    def __init__(self, call: Invocation) -> None:
        self._call = call

    def __del__(self) -> None:
        _end(self._call, GeneratorExit())


def _end(call: Invocation, error: BaseException | None) -> None:
    """End a call, unless it has ended, without waiting for a file: this may run on an event loop."""
    if not call.over:
        call.end_soon(error)


async def _rest_of_coroutine(call: Invocation, usage: ReadUsage | None, body: Any, _held: _LeftOpen) -> Any:
    if not call.over:
        current.set(call)
    try:
        result = await body
        if usage is not None and not call.over:
            call.read_usage(usage, result)
    except BaseException as error:
        _end(call, error)
        raise
    _end(call, None)
    return result


def _rest_of_future(call: Invocation, usage: ReadUsage | None, future: Any) -> Any:
    held = _LeftOpen(call)

    def done(_: object, _held: _LeftOpen = held) -> None:
        error = CancelledError() if future.cancelled() else future.exception()
        try:
            if error is None and usage is not None and not call.over:
                call.read_usage(usage, future.result())
        finally:
            _end(call, error)

    future.add_done_callback(done)
    return future


def _rest_by(wrap: _Wrap) -> Callable[[Invocation, ReadUsage | None, Any], Any]:
    """As a function of that kind goes on; what it gives holds what ends the call where it never begins."""

    def rest(call: Invocation, usage: ReadUsage | None, body: Any) -> Any:
        def begun(_held: object) -> Any:
            return body

        return wrap(lambda _args, _kwargs: call, usage, begun)(_LeftOpen(call))

    return rest


_UNFINISHED: Final[dict[Any, Callable[[Invocation, ReadUsage | None, Any], Any]]] = {
    CoroutineType: lambda call, usage, body: _rest_of_coroutine(call, usage, body, _LeftOpen(call)),
    GeneratorType: _rest_by(_generator),
    AsyncGeneratorType: _rest_by(_async_generator),
    **dict.fromkeys((Future, Task, futures.Future), _rest_of_future),
}
"""By the type of what a function returned: makes what the caller is to have, of the same type."""


class Kind(NamedTuple):
    """What a function can be.

    Attributes:
        name: for messages.
        is_kind: tells it.
        wrap: makes one that records of it.
        awaits: whether its calls run on an event loop, and so must not wait for a file.
    """

    name: str
    is_kind: Callable[[Any], bool]
    wrap: _Wrap
    awaits: bool


KINDS: Final = (
    Kind("the async function", inspect.iscoroutinefunction, _coroutine, awaits=True),
    Kind("the generator", inspect.isgeneratorfunction, _generator, awaits=False),
    Kind("the async generator", inspect.isasyncgenfunction, _async_generator, awaits=True),
)
PLAIN: Final = Kind("the function", callable, _function, awaits=False)
"""What is none of the others."""
