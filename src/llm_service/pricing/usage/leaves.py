"""Every value that stands in a usage report, with its path, whatever the report is made of.

Providers answer with JSON, clients with objects that may hold more than their classes declare. Names are compared in
snake case: `promptTokenCount`, `prompt_token_count` and `x-amzn-...` are spelled alike. Nothing here raises.
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

__all__ = ["UNREAD", "Leaf", "child", "is_container", "is_list", "is_mapping", "leaves", "snake"]

_MOST: Final = 512
"""Values that are looked at: a report has some dozens."""
_DEEPEST: Final = 5
_TAGS: Final = ("modality", "ttl")
"""What tells the members of a list apart: `[{"modality": "AUDIO", "tokenCount": 5}]`, `[{"ttl": "1h", ...}]`."""
_HUMP: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_LONGEST_NAME: Final = 80
_LONGEST_TEXT: Final = 1_000
_MOST_BITS: Final = 128
"""Of a number that can be one of tokens or of money."""


class Leaf(NamedTuple):
    """One value.

    Attributes:
        path: where it stands, in snake case: `prompt_tokens_details.audio.token_count`.
        shown: the same as it was spelled, for people.
        value: what stands there.
    """

    path: str
    shown: str
    value: Any

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.rpartition(".")[2]


UNREAD: Final = "unread_fields"
"""The name of what stands for fields that cannot be seen: no cost is computed without them."""
_TOO_MANY: Final = Leaf(UNREAD, "fields that were not read", "too many")
_LONG: Final = frozenset({"context", "logprobs"})
"""Lists of an answer that hold no usage, and one number or more for each token (https://docs.ollama.com/api/generate)."""
_WHOLE: Final = (date, time, timedelta, UUID, PurePath, memoryview)
"""Values that hold no others."""


@lru_cache(maxsize=1024)
def snake(name: str) -> str:
    """A name in snake case."""
    return _HUMP.sub("_", name[:_LONGEST_NAME]).replace("-", "_").lower()


def is_container(value: Any) -> bool:
    """Whether a value may hold others: neither a text nor a number nor an enum nor None."""
    return value is not None and not isinstance(value, (str, bytes, bytearray, Number, Enum, type, *_WHOLE))


def is_mapping(value: Any) -> TypeGuard[Mapping[Any, Any]]:
    """Whether a value is a mapping."""
    return isinstance(value, Mapping)


def is_list(value: Any) -> TypeGuard[Sequence[Any]]:
    """Whether a value is a list or what is like one."""
    return isinstance(value, Sequence) and not hasattr(cast("Any", value), "_fields")  # a named tuple is an object


def child(source: Any, name: str) -> Any:
    """What stands under a name; None where nothing does."""
    try:
        if is_mapping(source):
            return source.get(name)
        return getattr(source, name, None) if is_container(source) else None
    except Exception:  # noqa: BLE001 - a foreign object may raise anything
        return None


def leaves(source: Any, known: frozenset[str], counts: frozenset[str]) -> list[Leaf]:
    """The values of a report.

    Args:
        source: a mapping or an object.
        known: names to look for in an object that does not tell its own.
        counts: paths whose value is a leaf, whatever it is, unless it holds what is one of them, too.
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
            if inner is None:
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
    """Whether what holds others stands where a count should, and is none of a count's parts by name."""
    if path not in counts:
        return False
    return all(f"{path}.{snake(name)}" not in counts for name, _ in islice(_members(value, known), _MOST))


def _plain(value: Any) -> Any:
    """A value that can be compared and shown whatever its class would do: subclasses of texts, endless numbers."""
    if isinstance(value, Enum):
        value = value.value if isinstance(value.value, str) else value.name
    if isinstance(value, str):
        return str.__str__(value)[:_LONGEST_TEXT]
    if isinstance(value, int) and not isinstance(value, bool):
        number = int.__index__(value)
        return number if number.bit_length() <= _MOST_BITS else inf if number > 0 else -inf
    return value


class _Unlisted(NamedTuple):
    """Stands for the fields of an object that does not tell them.

    Attributes:
        kind: its class, by name.
    """

    kind: str


def _members(source: Any, known: frozenset[str]) -> Iterator[tuple[str, Any]]:
    """Names and values within a mapping, a list or an object; an `_Unlisted` where there may be more."""
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
    """The names of an object's values: what it holds, what clients of newer servers keep beside, what it computes.

    With them whether they are all: an object that forwards to another, or holds what is private, may have more.
    """
    kind = cast("Any", type(source))
    held: list[str] = list(getattr(source, "__dict__", ()))
    public = [name for name in held if not name.startswith("_")]
    extra: Any = getattr(source, "model_extra", None)  # pydantic's
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
    """What an object says that it holds, by the ways in which clients do; empty where it does not."""
    for way in ("model_dump", "to_dict", "_asdict"):
        told: Any = getattr(source, way, None)
        told = told() if callable(told) else None
        if is_mapping(told):
            return told
    return {}


@lru_cache(maxsize=512)
def _declared(kind: Any) -> tuple[tuple[str, ...], bool]:
    """The fields that a class declares, in any of the usual ways, and whether its objects may forward to others."""
    names: dict[str, None] = {}
    for way in ("model_fields", "__dataclass_fields__", "_fields", "__struct_fields__", "__attrs_attrs__"):
        names |= dict.fromkeys(str(getattr(one, "name", one)) for one in getattr(kind, way, ()))
    for base in kind.__mro__:
        slots = cast("Any", vars(base)).get("__slots__", ())
        names |= dict.fromkeys((slots,) if isinstance(slots, str) else slots)
    for messages in (getattr(kind, "meta", None), getattr(kind, "DESCRIPTOR", None)):  # protobuf's
        names |= dict.fromkeys(str(getattr(one, "name", one)) for one in getattr(messages, "fields", ()))
    forwards = any("__getattr__" in vars(base) or "__getattribute__" in vars(base) for base in kind.__mro__[:-1])
    return tuple(name for name in names if not name.startswith("_")), forwards


@lru_cache(maxsize=512)
def _defined(kind: Any, known: frozenset[str]) -> tuple[str, ...]:
    """Properties and slots of a class that bear a known name."""
    return tuple(sorted(name for name in known if hasattr(kind, name)))
