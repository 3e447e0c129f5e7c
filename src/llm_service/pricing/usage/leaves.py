"""Lists every value of a usage report with its path, for reports of any type.

Providers answer with JSON, clients with objects that may have more values than their classes declare. Names are
compared in snake case: `promptTokenCount`, `prompt_token_count`, `x-amzn-...`. Nothing here raises.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, time, timedelta
from enum import Enum
from functools import lru_cache
from itertools import islice
from math import inf
from numbers import Number
from pathlib import PurePath
from typing import Any, Final, NamedTuple, TypeGuard, cast
from uuid import UUID

__all__ = [
    "UNREAD",
    "Leaf",
    "child",
    "is_container",
    "is_list",
    "is_mapping",
    "is_model",
    "is_unset",
    "leaves",
    "snake",
]

_MOST: Final = 512
"""Values that are read at most: a report has some dozens."""
_DEEPEST: Final = 5
_TAGS: Final = ("modality", "ttl")
"""Keys that distinguish the members of a list: `[{"modality": "AUDIO", "tokenCount": 5}]`, `[{"ttl": "1h", ...}]`."""
_HUMP: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_LONGEST_NAME: Final = 80
_LONGEST_TEXT: Final = 1_000
_MOST_BITS: Final = 128
"""Bits of a number that can be a count or an amount."""


class Leaf(NamedTuple):
    """One value.

    Attributes:
        path: in snake case: `prompt_tokens_details.audio.token_count`.
        shown: the path as it was spelled, for messages.
        value: the value.
    """

    path: str
    shown: str
    value: Any

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.rpartition(".")[2]


UNREAD: Final = "unread_fields"
"""The name that stands for fields that cannot be read: no cost is computed without them."""
_TOO_MANY: Final = Leaf(UNREAD, "fields that were not read", "too many")
_LONG: Final = frozenset({"context", "logprobs", "embeddings"})
"""Lists of an answer without usage, which have many numbers (https://docs.ollama.com/api/generate, .../api/embed)."""
_WHOLE: Final = (date, time, timedelta, UUID, PurePath, memoryview)
"""Types that contain no other values."""

_USUAL: Final = frozenset({dict, list, str, int, float, bool, type(None)})
"""Types of most values."""


@lru_cache(maxsize=1024)
def snake(name: str) -> str:
    """A name in snake case."""
    return _HUMP.sub("_", name[:_LONGEST_NAME]).replace("-", "_").lower()


def is_container(value: Any) -> bool:
    """Whether a value may contain others: not a text, a number, an enum or None."""
    kind = cast("Any", type(value))
    if kind in _USUAL:
        return kind is dict or kind is list
    if is_model(kind):
        return True
    return value is not None and not isinstance(value, (str, bytes, bytearray, Number, Enum, type, *_WHOLE))


def is_mapping(value: Any) -> TypeGuard[Mapping[Any, Any]]:
    """Whether a value is a mapping."""
    return isinstance(value, Mapping)


def is_list(value: Any) -> TypeGuard[Sequence[Any]]:
    """Whether a value is a sequence, except named tuples."""
    return isinstance(value, Sequence) and not hasattr(cast("Any", value), "_fields")  # a named tuple is an object


def is_unset(value: Any) -> bool:
    """Whether a value stands for none in clients that tell it from null (Mistral's)."""
    return type(value).__name__ == "Unset"


@lru_cache(maxsize=256)
def is_model(kind: Any) -> bool:
    """Whether it is a class of pydantic's, whose fields stand in `__dict__`."""
    return all(hasattr(kind, name) for name in ("__pydantic_validator__", "__pydantic_extra__", "model_fields"))


def child(source: Any, name: str) -> Any:
    """The value of a name; None if missing."""
    if source is None:
        return None
    kind = cast("Any", type(source))
    if kind is dict:
        return source.get(name)
    try:
        if is_model(kind):  # asking one for what it does not have takes microseconds
            found = source.__dict__.get(name)
            if found is None and (more := source.__pydantic_extra__):
                found = more.get(name)
            return getattr(source, name, None) if found is None and _is_defined(kind, name) else found
        if is_mapping(source):
            return source.get(name)
        return getattr(source, name, None) if is_container(source) else None
    except Exception:  # noqa: BLE001 - a foreign object may raise anything
        return None


def leaves(source: Any, known: frozenset[str], counts: frozenset[str]) -> list[Leaf]:
    """The values of a report.

    Args:
        source: a mapping or an object.
        known: names to try on an object that does not list its own.
        counts: paths of counts: their value is a leaf of any type, unless it contains another of these paths.
    """
    found: list[Leaf] = []
    pending = [("", "", source, 0)]
    seen = 0
    while pending:
        path, shown, value, depth = pending.pop()
        if seen >= _MOST or depth > _DEEPEST:
            return [*found, _TOO_MANY]
        for name, inner in islice(_members(value, known), _MOST - seen):
            seen += 1
            if inner is None or is_unset(inner):
                continue
            tag = snake(name)
            at, spelled = (f"{path}.{tag}", f"{shown}.{name[:_LONGEST_NAME]}") if path else (tag, name[:_LONGEST_NAME])
            if isinstance(inner, _Unlisted):
                found.append(Leaf(at, f"fields of {inner.kind}", "cannot be listed"))
            elif (
                is_container(inner)
                and not _is_count(at, inner, known, counts)
                and not (tag in _LONG and is_list(inner))
            ):
                pending.append((at, spelled, inner, depth + 1))
            else:
                found.append(Leaf(at, spelled, _plain(inner)))
    return found


def _is_count(path: str, value: Any, known: frozenset[str], counts: frozenset[str]) -> bool:
    """Whether a container is at the path of a count, and has no known name itself."""
    if path not in counts:
        return False
    return all(f"{path}.{snake(name)}" not in counts for name, _ in islice(_members(value, known), _MOST))


def _plain(value: Any) -> Any:
    """A value that is safe to compare and show: without subclasses of str, and without huge numbers."""
    if isinstance(value, Enum):
        value = value.value if isinstance(value.value, str) else value.name
    if isinstance(value, str):
        return str.__str__(value)[:_LONGEST_TEXT]
    if isinstance(value, int) and not isinstance(value, bool):
        number = int.__index__(value)
        return number if number.bit_length() <= _MOST_BITS else inf if number > 0 else -inf
    return value


class _Unlisted(NamedTuple):
    """Stands for the fields of an object that does not list them.

    Attributes:
        kind: the name of its class.
    """

    kind: str


def _members(source: Any, known: frozenset[str]) -> Iterator[tuple[str, Any]]:
    """Names and values in a mapping, a list or an object; an `_Unlisted` if there may be more."""
    try:
        if is_mapping(source):
            for name, value in source.items():
                if isinstance(name, str):
                    yield name, value
        elif is_list(source):
            for position, value in enumerate(source):
                tags = [_plain(found) for tag in _TAGS if (found := child(value, tag)) is not None]
                yield str(tags[0] if tags else position), value
        elif is_container(source):
            names, whole = _names(source, known)
            for name in names:
                value = child(source, name)
                if not callable(value):
                    yield name, value
            if not whole:
                yield UNREAD, _Unlisted(type(source).__name__)
    except Exception:  # noqa: BLE001 - a foreign object may raise anything: what was found until then counts
        yield UNREAD, _Unlisted(type(source).__name__)


def _names(source: Any, known: frozenset[str]) -> tuple[list[str], bool]:
    """The names of an object's values: its attributes, extra fields of newer servers, and computed ones.

    Also returns whether they are all: an object that forwards to another, or has private attributes, may have more.
    """
    kind = cast("Any", type(source))
    held: list[str] = list(getattr(source, "__dict__", ()))
    public = [name for name in held if not name.startswith("_")]
    extra: Any = getattr(source, "model_extra", None)  # pydantic
    declared, forwards = _declared(kind)
    computed = _defined(kind, known)
    if not declared and (len(public) < len(held) or not public):
        if forwards:
            dumped = _dumped(source)
            return (list(dumped), True) if dumped else (sorted(known), False)
        computed = tuple(name for name in dir(kind) if not name.startswith("_"))
    found = dict.fromkeys([*public, *declared, *(extra if is_mapping(extra) else ()), *computed])
    return list(found) or sorted(known), bool(found) or hasattr(source, "__dict__")


def _dumped(source: Any) -> Mapping[Any, Any]:
    """An object's own dump, by the usual methods of clients; empty without one."""
    for way in ("model_dump", "to_dict", "_asdict"):
        told: Any = getattr(source, way, None)
        told = told() if callable(told) else None
        if is_mapping(told):
            return told
    return {}


@lru_cache(maxsize=512)
def _declared(kind: Any) -> tuple[tuple[str, ...], bool]:
    """The fields that a class declares, in any usual way, and whether its objects may forward to others."""
    names: dict[str, None] = {}
    for way in ("model_fields", "__dataclass_fields__", "_fields", "__struct_fields__", "__attrs_attrs__"):
        names |= dict.fromkeys(str(getattr(one, "name", one)) for one in getattr(kind, way, ()))
    for base in kind.__mro__:
        slots = cast("Any", vars(base)).get("__slots__", ())
        names |= dict.fromkeys((slots,) if isinstance(slots, str) else slots)
    for messages in (getattr(kind, "meta", None), getattr(kind, "DESCRIPTOR", None)):  # protobuf
        names |= dict.fromkeys(str(getattr(one, "name", one)) for one in getattr(messages, "fields", ()))
    forwards = any("__getattr__" in vars(base) or "__getattribute__" in vars(base) for base in kind.__mro__[:-1])
    return tuple(name for name in names if not name.startswith("_")), forwards


@lru_cache(maxsize=4096)
def _is_defined(kind: Any, name: str) -> bool:
    """Whether a class has an attribute of a name."""
    return hasattr(kind, name)


@lru_cache(maxsize=512)
def _defined(kind: Any, known: frozenset[str]) -> tuple[str, ...]:
    """Properties and slots of a class with a known name."""
    return tuple(sorted(name for name in known if hasattr(kind, name)))
