"""An argument by another name is told the right one: `get_invocations(agent="a")` means `agent_name`."""

from collections.abc import Callable, Mapping
from difflib import get_close_matches
from functools import wraps
from inspect import iscoroutinefunction, signature
from typing import Any, TypeVar, cast

from llm_service.telemetry.instrumentation.field_aliases import ALIASES

__all__ = ["with_hints"]

_F = TypeVar("_F", bound=Callable[..., Any])


def with_hints(method: _F) -> _F:
    """The method, whose TypeError for an argument that it does not have says which one may be meant."""
    names = tuple(signature(method).parameters)[1:]

    def check(given: Mapping[str, Any]) -> None:
        for name in given:
            if name not in names:
                close = get_close_matches(name, names, n=1)
                meant = ALIASES[name] if ALIASES.get(name) in names else close[0] if close else None
                hint = f"did you mean {meant}?" if meant else f"it has {', '.join(names)}"
                raise TypeError(f"{method.__name__}() has no argument {name!r}; {hint}")

    if iscoroutinefunction(method):

        @wraps(method)
        async def call_async(*args: Any, **kwargs: Any) -> Any:
            check(kwargs)
            return await method(*args, **kwargs)

        return cast("_F", call_async)

    @wraps(method)
    def call(*args: Any, **kwargs: Any) -> Any:
        check(kwargs)
        return method(*args, **kwargs)

    return cast("_F", call)
