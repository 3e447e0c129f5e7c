"""Which names occur among the records of a block, as marks: a filter reads only blocks that have the mark of its name.

A block is 512 ids. A mark is a checksum of a column and a value; two names may have the same, so a block with a mark
may have the name, and one without it has not. A block with too many names to tell has no marks: it may have any.
"""

import json
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any, Final, cast
from zlib import crc32

__all__ = ["BLOCK", "COLUMNS", "marks_in", "marks_of", "name_mark"]

BLOCK: Final = 9
"""A block holds the ids with the same bits above these: 512 of them."""
COLUMNS: Final = (
    *("agent_name", "tool_name", "model_name", "status", "provider", "operation", "request_model", "error_type"),
    *("source", "service_tier", "region", "finish_reason", "tags"),
)
"""The columns that have marks: texts with few values, and tags, each of which has one. Ids have indexes."""
_MOST: Final = 1_000
"""Marks of a block: 3 KB, 6 bytes a record."""


@lru_cache(maxsize=8_192)
def name_mark(column: str, name: str | None) -> bytes:
    """The mark of a name, 3 bytes; None for a record without one."""
    named = column if name is None else f"{column}={name}"
    return crc32(named.encode("utf-8", "surrogatepass")).to_bytes(4, "little")[:3]


def marks_of(rows: Sequence[Sequence[Any]]) -> bytes | None:
    """The marks of records, given by their cells of `COLUMNS`; None where there are too many."""
    return marks_in([set(cells) for cells in zip(*rows, strict=True)])


def marks_in(columns: Sequence[Iterable[Any]]) -> bytes | None:
    """The marks of records, given by the distinct cells of each of `COLUMNS`; None where there are too many."""
    marks: set[bytes] = set()
    for column, cells in zip(COLUMNS, columns, strict=False):
        for cell in cells:
            names = _tags_of(cell) if column == "tags" else (cell,)
            if names is None:
                return None
            marks.update(name_mark(column, name) for name in names if name is None or isinstance(name, str))
        if len(marks) > _MOST:
            return None
    return b"".join(sorted(marks))


def _tags_of(cell: object) -> Iterable[object] | None:
    """The tags in a cell, None among them where there are none; None where it cannot be told."""
    if cell is None:
        return (None,)
    try:
        found: Any = json.loads(cell) if isinstance(cell, str) else None
    except ValueError:
        return (None,)
    except RecursionError:
        return None
    return cast("list[object]", found) if isinstance(found, list) and found else (None,)
