"""Every value that stands in a usage report, with its path, whatever the report is made of.

Providers answer with JSON, clients with objects that may hold more than their classes declare. Names are compared in
snake case: `promptTokenCount`, `prompt_token_count` and `x-amzn-...` are spelled alike. Nothing here raises.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from functools import lru_cache
from itertools import islice
from numbers import Number
from typing import Any, Final, NamedTuple, TypeGuard, cast

__all__ = ["Leaf", "child", "is_container", "is_mapping", "leaves", "snake"]

_MOST: Final = 512
"""Values that are looked at: a report has some dozens."""
_DEEPEST: Final = 5
_TAGS: Final = ("modality", "ttl")
"""What tells the members of a list apart: `[{"modality": "AUDIO", "tokenCount": 5}]`, `[{"ttl": "1h", ...}]`."""
_HUMP: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_LONGEST_NAME: Final = 80


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


_UNREAD: Final = Leaf("unread_fields_count", "fields that were not read", 1)
"""Stands for what is beyond the bounds: a number of no role, so that no cost is computed without it."""


@lru_cache(maxsize=1024)
def snake(name: str) -> str:
    """A name in snake case."""
    return _HUMP.sub("_", name[:_LONGEST_NAME]).replace("-", "_").lower()


def is_container(value: Any) -> bool:
    """Whether a value may hold others: neither a text nor a number nor an enum nor None."""
    return value is not None and not isinstance(value, str | bytes | bytearray | Number | Enum | type)


def is_mapping(value: Any) -> TypeGuard[Mapping[Any, Any]]:
    """Whether a value is a mapping."""
    return isinstance(value, Mapping)


def _is_list(value: Any) -> TypeGuard[Sequence[Any]]:
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
        counts: paths whose value is a leaf, whatever it is.
    """
    found: list[Leaf] = []
    pending = [("", "", source, 0)]
    seen = 0
    while pending:
        path, shown, value, depth = pending.pop()
        if seen >= _MOST or depth > _DEEPEST:
            return [*found, _UNREAD]
        for name, inner in islice(_members(value, known), _MOST - seen):
            seen += 1
            if inner is None:
                continue
            tag = snake(name)
            at, spelled = (f"{path}.{tag}", f"{shown}.{name[:_LONGEST_NAME]}") if path else (tag, name[:_LONGEST_NAME])
            if is_container(inner) and at not in counts:
                pending.append((at, spelled, inner, depth + 1))
            else:
                found.append(Leaf(at, spelled, _plain(inner)))
    return found


def _plain(value: Any) -> Any:
    if isinstance(value, Enum):
        return value.value if isinstance(value.value, str) else value.name
    return value


def _members(source: Any, known: frozenset[str]) -> Iterator[tuple[str, Any]]:
    """Names and values within a mapping, a list or an object."""
    try:
        if is_mapping(source):
            for name, value in source.items():
                if isinstance(name, str):
                    yield name, value
        elif _is_list(source):
            for position, value in enumerate(source):
                tags = [_plain(found) for tag in _TAGS if (found := child(value, tag)) is not None]
                yield str(tags[0] if tags else position), value
        elif is_container(source):
            for name in _names(source, known):
                value = child(source, name)
                if not callable(value):
                    yield name, value
    except Exception:  # noqa: BLE001 - a foreign object may raise anything: what was found until then counts
        return


def _names(source: Any, known: frozenset[str]) -> list[str]:
    """The names of an object's values: what it holds, what clients of newer servers keep beside, what it computes."""
    held: list[str] = [name for name in getattr(source, "__dict__", ()) if not name.startswith("_")]
    extra: Any = getattr(source, "model_extra", None)  # pydantic's
    kind = cast("Any", type(source))
    names: dict[str, None] = dict.fromkeys([*held, *(extra if is_mapping(extra) else ()), *_defined(kind, known)])
    return list(names) or sorted(known)


@lru_cache(maxsize=512)
def _defined(kind: Any, known: frozenset[str]) -> tuple[str, ...]:
    """Properties and slots of a class that bear a known name."""
    return tuple(sorted(name for name in known if hasattr(kind, name)))
