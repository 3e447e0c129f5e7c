"""Names of an SDK that its own code finds, and ours does not: what another release looks like that has renamed them."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["AskedModule", "hidden_attribute", "hidden_method"]

_OURS = "llm_service."


class AskedModule:
    """Stands for a module: notes what it is asked for, and lacks one name.

    Attributes:
        asked: the names, but for those that any module has.
    """

    def __init__(self, module: Any, lacks: str | None = None) -> None:
        self._module = module
        self._lacks = lacks
        self.asked: list[str] = []

    def __getattr__(self, name: str) -> Any:
        if name == self._lacks:
            raise AttributeError(name)
        if not name.startswith("__"):
            self.asked.append(name)
        return getattr(self._module, name)


@contextmanager
def hidden_method(kind: type, name: str) -> Iterator[None]:
    """A class does not have a method, nor has any that it is made of, and its objects do."""
    held = {one: vars(one)[name] for one in kind.__mro__ if name in vars(one)}
    finders = {one: vars(one).get("__getattr__") for one in held}

    def finder(otherwise: Any) -> Any:
        def found(self: Any, asked: str) -> Any:
            if asked == name:
                method = next(method for one, method in held.items() if isinstance(self, one))
                return method.__get__(self, type(self))
            if otherwise is None:
                raise AttributeError(asked)
            return otherwise(self, asked)

        return found

    for one, otherwise in finders.items():
        delattr(one, name)
        one.__getattr__ = finder(otherwise)  # type: ignore[attr-defined]
    try:
        yield
    finally:
        for one, otherwise in finders.items():
            if otherwise is None:
                del one.__getattr__  # type: ignore[attr-defined]
            else:
                one.__getattr__ = otherwise  # type: ignore[attr-defined]
            setattr(one, name, held[one])


@contextmanager
def hidden_attribute(kind: type, name: str) -> Iterator[None]:
    """Objects of a class have an attribute for everybody but us."""
    get, own = kind.__getattribute__, "__getattribute__" in vars(kind)

    def found(self: Any, asked: str) -> Any:
        if asked == name and str(sys._getframe(1).f_globals.get("__name__")).startswith(_OURS):
            raise AttributeError(asked)
        return get(self, asked)

    kind.__getattribute__ = found  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        if own:
            kind.__getattribute__ = get  # type: ignore[method-assign]
        else:
            del kind.__getattribute__
