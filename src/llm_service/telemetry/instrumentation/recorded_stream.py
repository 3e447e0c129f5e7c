"""Recording a stream, or the request that gives one: what `telemetry.wrap_stream` does."""

from collections.abc import Callable
from typing import Any

from llm_service.telemetry.instrumentation import stream_source as source
from llm_service.telemetry.instrumentation.invocation import Invocation, ReadUsage
from llm_service.telemetry.instrumentation.open_streams import adopt
from llm_service.telemetry.instrumentation.responses.watching import Noticing
from llm_service.telemetry.instrumentation.stream import NONE_YET, AsyncStream, wrapper_of
from llm_service.telemetry.instrumentation.stream_recorder import Recording
from llm_service.telemetry.instrumentation.stream_source import opened

__all__ = ["record_stream"]


def record_stream(
    begin: Callable[[], Invocation], usage: ReadUsage | None, given: object, *, awaits: bool, has_budget: bool
) -> Any:
    """Wrap a stream, sync, async, or both as some clients' streams are; or a request that gives one.

    Args:
        begin: makes the invocation.
        usage: reads fields out of each item; None where they are read as `call.watch` reads them.
        given: an iterator, an iterable or a context manager that gives one; an awaitable of such; or a function without
            arguments that returns either. Where nothing comes of the call, an open stream is closed if it is the budget
            that refused it, and a coroutine always.
        awaits: whether the logger that asks is the async one, which sends a request with the first step; the sync one
            calls a function here.
        has_budget: whether something has to be reserved first: the stream is then for `async for` alone where that is
            awaited, else for `for`.

    Raises:
        TypeError: for anything else.
        Exception: what the function raises, where it is called here.
    """
    try:
        wrapper = wrapper_of(given, awaits=awaits if has_budget else None)
        call = begin()
    except BaseException:
        source.discard(given)
        raise
    is_request = source.is_request(given)
    try:
        watching = Noticing(call) if usage is None else None
        recording = Recording(call, usage, given, idle=is_request, watching=watching)
    except BaseException:
        source.close(given)
        raise
    if not is_request:
        adopt(call, given)
        return wrapper(given, recording)
    if awaits or source.is_awaitable(given):
        return wrapper(NONE_YET, recording, given)
    return _sent(recording, given, has_budget=has_budget)


def _sent(recording: Recording, request: Any, *, has_budget: bool) -> Any:
    """The stream of a function that is called now; it may as well give an awaitable, where nothing was reserved."""
    stream = recording.request(request)
    awaits = False if has_budget else None
    if source.is_awaitable(stream) and not has_budget:
        return AsyncStream(NONE_YET, recording, stream)
    try:
        wrapper = wrapper_of(opened(stream, asynchronous=not has_budget and not _is_sync(stream)), awaits=awaits)
        return wrapper(stream, recording)
    except TypeError as error:
        source.close(stream)
        recording.end(error)
        raise


def _is_sync(stream: object) -> bool:
    ways = source.ways_of(stream)
    return ways is None or ways.sync
