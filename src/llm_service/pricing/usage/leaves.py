"""Every value that stands in a usage report, with its path, whatever the report is made of.

Providers answer with JSON, clients with objects that may hold more than their classes declare. Names are compared in
snake case: `promptTokenCount`, `prompt_token_count` and `x-amzn-...` are spelled alike. Nothing here raises.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from functools import lru_cache
from numbers import Number
from typing import Any, Final, NamedTuple, cast

__all__ = ["Leaf", "child", "is_container", "leaves", "snake"]

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


@lru_cache(maxsize=1024)
def snake(name: str) -> str:
    """A name in snake case."""
    return _HUMP.sub("_", name[:_LONGEST_NAME]).replace("-", "_").lower()


def is_container(value: Any) -> bool:
    """Whether a value may hold others: neither a text nor a number nor an enum nor None."""
    return value is not None and not isinstance(value, str | bytes | bytearray | Number | Enum | type)


def child(source: Any, name: str) -> Any:
    """What stands under a name; None where nothing does."""
    try:
        if isinstance(source, Mapping):
            return cast("Mapping[Any, Any]", source).get(name)
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
    while pending and seen < _MOST:
        path, shown, value, depth = pending.pop()
        for name, inner in _members(value, known):
            seen += 1
            if inner is None or seen > _MOST:
                continue
            tag = snake(name)
            at, spelled = (f"{path}.{tag}", f"{shown}.{name[:_LONGEST_NAME]}") if path else (tag, name[:_LONGEST_NAME])
            if is_container(inner) and at not in counts:
                if depth < _DEEPEST:
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
        if isinstance(source, Mapping):
            for name, value in list(cast("Mapping[Any, Any]", source).items()):
                if isinstance(name, str):
                    yield name, value
        elif isinstance(source, Sequence) and not hasattr(source, "_fields"):
            for position, value in enumerate(cast("Sequence[Any]", source)):
                tags = [_plain(found) for tag in _TAGS if (found := child(value, tag)) is not None]
                yield str(tags[0] if tags else position), value
        elif is_container(source):
            for name in _names(source, known):
                value = getattr(source, name, None)
                if not callable(value):
                    yield name, value
    except Exception:  # noqa: BLE001 - a foreign object may raise anything: what was found until then counts
        return


def _names(source: Any, known: frozenset[str]) -> list[str]:
    """The names of an object's values: what it holds, what clients of newer servers keep beside, what it computes."""
    held = [name for name in getattr(source, "__dict__", ()) if not name.startswith("_")]
    extra = getattr(source, "model_extra", None)  # pydantic's
    names = dict.fromkeys([*held, *(extra if isinstance(extra, Mapping) else ()), *_defined(type(source), known)])
    return list(names) or sorted(known)


@lru_cache(maxsize=512)
def _defined(kind: type, known: frozenset[str]) -> tuple[str, ...]:
    """Properties and slots of a class that bear a known name."""
    return tuple(sorted(name for name in known if hasattr(kind, name)))
