"""How LiteLLM tries again. It tells its callbacks little of that: one failure of several, and never the last one.

`completion(num_retries=)` calls `litellm.completion_with_retries` after its first attempt has failed, with the same id
of the call, and that calls what it is given as `original_function`. Both are public; they are wrapped, once, and pass
everything on as it is.
"""

import inspect
import sys
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from functools import wraps
from types import ModuleType
from typing import Any, Final, NamedTuple, Protocol

from llm_service.telemetry.instrumentation.responses.answers import get, text_of

__all__ = ["Attempt", "Callback", "follow_retries"]

_RETRIES: Final = "_with_retries"
_NEEDED: Final = ("completion_with_retries", "acompletion_with_retries")
_MARK: Final = "_llm_service_telemetry"
_RETRY_COUNT: Final = "x-stainless-retry-count"
"""The header in which OpenAI's client tells how often it had sent a request before."""
_DEEPEST: Final = 8


class Attempt(NamedTuple):
    """A request that failed.

    Attributes:
        error: what its caller was given.
        sent: how often the client beneath had sent it, as far as is known.
        unanswered: whether nothing came back: LiteLLM gives such a failure an HTTP status of its own making.
    """

    error: BaseException
    sent: int
    unanswered: bool


class Callback(Protocol):
    """What is told of attempts."""

    def retries_begin(self, key: str) -> None:
        """A call is tried again."""
        ...

    def attempt_failed(self, key: str, attempt: Attempt) -> None:
        """An attempt of it has failed."""
        ...

    def retries_end(self, key: str, error: BaseException | None, answer: Any) -> None:
        """It is not tried again: it has failed, or was answered, of which LiteLLM may tell nothing."""
        ...


class _Given:
    """What a function is called with, and what it answers."""

    def __init__(self, arguments: dict[str, Any]) -> None:
        self.arguments = arguments
        self.answer: Any = None


Callbacks = Callable[[], Sequence[Callback]]
"""Gives those that are to be told now."""


def follow_retries(litellm: ModuleType, callbacks: Callbacks) -> None:
    """Tell callbacks of attempts, from now on.

    Raises:
        AttributeError: one that each release has had is missing.
    """
    retrying = {n: held for n, held in vars(litellm).items() if n.endswith(_RETRIES) and inspect.isfunction(held)}
    for name, function in retrying.items():
        if not hasattr(function, _MARK):
            base = getattr(litellm, name.removesuffix(_RETRIES), None)
            tried = None if inspect.iscoroutinefunction(function) else base
            setattr(litellm, name, _following(function, tried, callbacks))
    missing = [name for name in _NEEDED if name not in retrying]
    if missing:
        raise AttributeError(f"{litellm.__name__} without {missing[0]}")


def _following(function: Callable[..., Any], tried: Any, callbacks: Callbacks) -> Callable[..., Any]:
    """The function, whose attempts are told.

    Args:
        function: tries again.
        tried: what it tries where it is not told that; None where it is told.
        callbacks: as above.
    """

    @wraps(function)
    def retrying(*args: Any, **kwargs: Any) -> Any:
        with _told(callbacks(), kwargs, tried) as given:
            return function(*args, **given.arguments)  # of an answer LiteLLM tells, where nothing is awaited

    @wraps(function)
    async def retrying_async(*args: Any, **kwargs: Any) -> Any:
        with _told(callbacks(), kwargs, tried) as given:
            answer = given.answer = await function(*args, **given.arguments)
            return answer

    made = retrying_async if inspect.iscoroutinefunction(function) else retrying
    setattr(made, _MARK, True)
    return made


@contextmanager
def _told(callbacks: Sequence[Callback], kwargs: dict[str, Any], tried: Any) -> Generator[_Given, None, None]:
    """Tell of what happens meanwhile; gives the arguments, of which what is tried tells how it fails."""
    key, first = text_of(kwargs, "litellm_call_id"), sys.exc_info()[1]
    given = _Given(kwargs)
    if key is None or not callbacks:
        yield given
        return

    def failed(error: BaseException) -> None:
        attempt = Attempt(error, _times_sent(error), _is_unanswered(error))
        for one in callbacks:
            one.attempt_failed(key, attempt)

    for one in callbacks:
        one.retries_begin(key)
    if first is not None:
        failed(first)
    ended: BaseException | None = None
    try:
        original = kwargs.get("original_function") or tried
        if original is not None:
            given.arguments = {**kwargs, "original_function": _noting(original, failed)}
        yield given
    except BaseException as error:
        ended = error
        raise
    finally:
        for one in callbacks:
            one.retries_end(key, ended, given.answer)


def _noting(function: Callable[..., Any], failed: Callable[[BaseException], None]) -> Callable[..., Any]:
    @wraps(function)
    def attempt(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except BaseException as error:
            failed(error)
            raise

    @wraps(function)
    async def attempt_async(*args: Any, **kwargs: Any) -> Any:
        try:
            return await function(*args, **kwargs)
        except BaseException as error:
            failed(error)
            raise

    return attempt_async if inspect.iscoroutinefunction(function) else attempt


def _is_unanswered(error: BaseException) -> bool:
    return any(kind.__name__ == "APIConnectionError" for kind in type(error).__mro__)


def _times_sent(error: BaseException) -> int:
    """How often the client beneath had sent the request, where that tells."""
    found: BaseException | None = error
    for _ in range(_DEEPEST):  # a chain may be a circle
        if found is None:
            break
        request = get(found, "request") or get(get(found, "response"), "request")
        count = get(get(request, "headers"), _RETRY_COUNT)
        if type(count) is str and count.isdecimal():
            return 1 + int(count)
        found = found.__cause__ or found.__context__
    return 1
