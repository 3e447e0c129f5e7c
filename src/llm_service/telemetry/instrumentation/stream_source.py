"""What `telemetry.wrap_stream` is given: a stream that is open, or a request that gives one when it is sent."""

import logging
from asyncio import isfuture
from collections.abc import Callable
from inspect import iscoroutinefunction
from typing import Any, Final, NamedTuple

from llm_service.redaction import clean, shown

__all__ = ["Ways", "close", "close_async", "discard", "is_request", "opened", "ways_of"]

_LOG: Final = logging.getLogger("llm_service.telemetry")
_ENDS: Final = ("close", "cancel")
_ASYNC_ENDS: Final = ("aclose", *_ENDS)


class Ways(NamedTuple):
    """How a stream can be consumed: by `for` and `with`, by `async for` and `async with`, or by both."""

    sync: bool
    asynchronous: bool


def has(stream: object, *methods: str) -> bool:
    """Whether its type has one of these methods."""
    return any(hasattr(type(stream), method) for method in methods)


def ways_of(given: object) -> Ways | None:
    """How a stream, or a context manager that gives one, can be consumed; None for what is none.

    A future has `__iter__`, and is none.
    """
    if isfuture(given):
        return None
    ways = Ways(has(given, "__iter__", "__next__", "__enter__"), has(given, "__aiter__", "__anext__", "__aenter__"))
    return ways if any(ways) else None


def is_awaitable(given: object) -> bool:
    """Whether it is a request that gives a stream when it is awaited."""
    return has(given, "__await__") and ways_of(given) is None


def is_request(given: object) -> bool:
    """Whether it gives a stream when it is awaited, or called and perhaps awaited."""
    return ways_of(given) is None and (is_awaitable(given) or callable(given))


def request_ways(given: object) -> Ways:
    """How the stream of a request may turn out to be consumable."""
    return Ways(not is_awaitable(given) and not iscoroutinefunction(given), asynchronous=True)


def opened(given: object, *, asynchronous: bool) -> Any:
    """What a request gave, where it can be consumed this way.

    Raises:
        TypeError: else.
    """
    ways = ways_of(given)
    if ways is None:
        await_it = "which a budget here cannot wait for: use AsyncTelemetryLogger"
        hint = await_it if is_awaitable(given) else "which cannot be iterated; did you leave out stream=True?"
        raise TypeError(f"the request gave {shown(given)}, {hint}")
    if not (ways.asynchronous if asynchronous else ways.sync):
        kind, loop = ("a sync", "for") if asynchronous else ("an async", "async for")
        raise TypeError(f"the request gave {kind} stream, {shown(given)}: consume it with `{loop}`")
    return given


def discard(given: object) -> None:
    """Close a coroutine that nobody will await, so that Python does not warn of it; leave anything else alone."""
    if is_awaitable(given):
        close(given)


def close(given: object) -> None:
    """Close a stream, or a request not yet sent, which will not be used; what that raises is logged."""
    end = _end_of(given, _ENDS)
    if end is None:
        return
    try:
        discard(end())  # a close that would have to be awaited
    except Exception as failure:  # noqa: BLE001 - why it is closed is what is raised
        _could_not(failure)


async def close_async(given: object) -> None:
    """As `close`, awaited where it can be."""
    end = _end_of(given, _ASYNC_ENDS)
    if end is None:
        return
    try:
        closing = end()
        if has(closing, "__await__"):
            await closing
    except Exception as failure:  # noqa: BLE001 - as above
        _could_not(failure)


def _end_of(given: object, names: tuple[str, ...]) -> Callable[[], Any] | None:
    if ways_of(given) is None and not is_awaitable(given):  # a function that was not called
        return None
    return next((end for name in names if callable(end := getattr(given, name, None))), None)


def _could_not(failure: Exception) -> None:
    _LOG.warning("telemetry: a refused stream could not be closed: %s", clean(f"{type(failure).__name__}: {failure}"))
