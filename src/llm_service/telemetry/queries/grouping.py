"""Group keys of reports (agent, tool, model) and their columns."""

from collections.abc import Sequence
from typing import Final, Literal, get_args

from llm_service.errors import QueryError

__all__ = ["NAME_KEYS", "NameKey", "name_columns"]

NameKey = Literal["agent", "tool", "model"]
NAME_KEYS: Final[tuple[NameKey, ...]] = get_args(NameKey)


def name_columns(by: Sequence[NameKey]) -> list[str]:
    """The columns of these keys, in the same order; QueryError for a key that is none, or stands twice."""
    given: object = by
    if not isinstance(given, list | tuple):
        raise QueryError("by", given, f"give a list of any of {', '.join(NAME_KEYS)}, each once")
    if any(key not in NAME_KEYS or by.count(key) > 1 for key in by):
        raise QueryError("by", ",".join(map(str, by)), f"give a list of any of {', '.join(NAME_KEYS)}, each once")
    return [f"{key}_name" for key in by]
