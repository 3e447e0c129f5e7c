"""What calls can be grouped by: fields, tags, keys of the metadata, and periods of time."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from llm_service.errors import QueryError
from llm_service.telemetry.queries.cells import ASKED_MODEL, decoded, text
from llm_service.telemetry.queries.conditions import metadata_text
from llm_service.telemetry.queries.field_names import METADATA, SHORT_NAMES, column_named, metadata_key, no_such
from llm_service.telemetry.queries.local_periods import PERIODS, WEEKDAYS
from llm_service.telemetry.record.fields import KINDS, RANGES

__all__ = ["GROUPED_FIELDS", "KEYS", "MOST_KEYS", "GroupKey", "group_keys"]

MOST_KEYS: Final = 4
_KINDS: Final = ("key", "name", "id", "word")
GROUPED_FIELDS: Final = tuple(
    column for column, kind in KINDS.items() if kind in _KINDS or column in ("stream", "attempts", "http_status")
)
"""The columns that are keys: texts with a meaning of their own, and numbers that are no amounts."""
_SHORT: Final = {column: short for short, column in SHORT_NAMES.items()}
KEYS: Final = (*(_SHORT.get(column, column) for column in GROUPED_FIELDS), "tag", f"{METADATA}KEY", *PERIODS)
"""All keys, by their short names; a column's own name is one, too."""


def _as_they_are(value: Any) -> Any:
    return value


def _one(cell: Any) -> tuple[Any, ...]:
    return (None if cell is None else text(cell),)


def _number(cell: Any) -> tuple[Any, ...]:
    return (cell if isinstance(cell, int) else None,)


def _flag(cell: Any) -> tuple[Any, ...]:
    return (bool(cell) if isinstance(cell, int) else None,)


def _tags(cell: Any) -> tuple[Any, ...]:
    """Each tag once; a call without tags counts for None."""
    return tuple(dict.fromkeys(map(text, decoded(cell, list) or ()))) or (None,)


@dataclass(frozen=True, slots=True)
class GroupKey:
    """A key.

    Attributes:
        column: its name in rows of answers.
        sql, parameters: the expression that calls are grouped by; empty for a period.
        shown: the values for which calls with this cell count: one, or one for each tag.
        rank: what values are sorted by.
    """

    column: str
    sql: str = ""
    parameters: Sequence[Any] = ()
    shown: Callable[[Any], tuple[Any, ...]] = _one
    rank: Callable[[Any], Any] = _as_they_are

    @property
    def is_period(self) -> bool:
        """Whether it is a period of time."""
        return not self.sql


_RANKS: Final[dict[str, Callable[[Any], Any]]] = {"hour": datetime.fromisoformat, "weekday": WEEKDAYS.index}


def group_keys(names: Sequence[str], argument: str = "by", most: int = MOST_KEYS) -> tuple[GroupKey, ...]:
    """The keys of these names, up to so many.

    Raises:
        QueryError: naming the argument, the name and the remedy.
    """
    keys = tuple(_key(name, argument) for name in names)
    if len(keys) > most or len({key.column for key in keys}) < len(keys):
        raise QueryError(argument, ",".join(names), f"give up to {most} keys, each once")
    return keys


def _key(name: str, argument: str) -> GroupKey:
    if name in PERIODS:
        return GroupKey(name, rank=_RANKS.get(name, _as_they_are))
    key = metadata_key(name, argument)
    if key is not None:
        return GroupKey(key.name, *metadata_text(key))
    column = column_named(name)
    if column == "tags":
        return GroupKey("tag", "tags", shown=_tags)
    if column is None or column not in GROUPED_FIELDS:
        raise QueryError(argument, name, no_such("key", name, KEYS))
    shown = _one if column not in RANGES else _flag if column == "stream" else _number
    return GroupKey(column, ASKED_MODEL if column == "request_model" else column, shown=shown)
