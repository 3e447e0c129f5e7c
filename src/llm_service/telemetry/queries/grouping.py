"""Group keys of reports and their columns: of daily totals agent, tool, model; of records the model asked for, too."""

from collections.abc import Sequence
from typing import Final, Literal, get_args

from llm_service.errors import QueryError

__all__ = ["NAME_KEYS", "RECORD_KEYS", "NameKey", "RecordKey", "column_of", "name_columns"]

NameKey = Literal["agent", "tool", "model"]
RecordKey = Literal["agent", "tool", "model", "request_model"]
NAME_KEYS: Final[tuple[NameKey, ...]] = get_args(NameKey)
RECORD_KEYS: Final[tuple[RecordKey, ...]] = get_args(RecordKey)


def name_columns(by: Sequence[RecordKey], known: Sequence[RecordKey] = NAME_KEYS) -> list[str]:
    """The columns of these keys, in the same order; QueryError for a key that is none, or stands twice."""
    given: object = by
    if not isinstance(given, list | tuple):
        raise QueryError("by", given, f"give a list of any of {', '.join(known)}, each once")
    if any(key not in known or by.count(key) > 1 for key in by):
        raise QueryError("by", ",".join(map(str, by)), f"give a list of any of {', '.join(known)}, each once")
    return [column_of(key) for key in by]


def column_of(key: RecordKey) -> str:
    """The column of a key."""
    return key if key == "request_model" else f"{key}_name"
