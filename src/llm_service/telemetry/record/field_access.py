"""How a record's fields are read by name, and how its constructor is shown."""

import inspect
from collections.abc import Callable
from typing import Any, Generic, Literal, Self, TypeVar, cast, overload

from llm_service.telemetry.record.fields import KINDS

__all__ = ["At", "keywords_after_first"]

_T = TypeVar("_T")


class At(Generic[_T]):
    """Reads one field out of a record's tuples."""

    __slots__ = ("_decode", "_index", "_name", "_slot")

    def __init__(
        self, slot: Literal["card", "extensions"], index: int, decode: Callable[[Any], Any] | None = None
    ) -> None:
        self._slot = slot
        self._index = index
        self._decode = decode
        self._name = ""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __repr__(self) -> str:
        return f"<field {self._name}: {KINDS[self._name]}>"

    @overload
    def __get__(self, record: None, owner: type, /) -> Self: ...
    @overload
    def __get__(self, record: object, owner: type, /) -> _T: ...
    def __get__(self, record: object, owner: type, /) -> Self | _T:
        if record is None:
            return self
        values = getattr(record, self._slot)
        value = None if values is None else values[self._index]
        return cast("_T", value if value is None or self._decode is None else self._decode(value))


def keywords_after_first(constructor: Callable[..., Any]) -> inspect.Signature:
    """The arguments as they are meant, all but the first by keyword, without the one that keeps others from its place.

    Python's own marker for that costs 250 ns a record: it looks each default up in a dict.
    """
    first, second, _, *others = inspect.signature(constructor).parameters.values()
    return inspect.Signature([first, second, *(one.replace(kind=one.KEYWORD_ONLY) for one in others)])
