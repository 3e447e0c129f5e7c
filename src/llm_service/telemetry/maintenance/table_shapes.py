"""What the rows of each table look like, so that what a damaged page gives can be told from what was written."""

import re
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from math import isfinite
from typing import Any, Final

from llm_service.budgets.limits import METRICS
from llm_service.telemetry.record.checks import MAX_NAME_CHARS, STATUSES
from llm_service.telemetry.record.fields import RANGES
from llm_service.telemetry.stores.sqlite import migrations

__all__ = ["Table", "problem_of", "tables"]

_TYPES: Final[Mapping[str, tuple[type, ...]]] = {
    "TEXT": (str,),
    "INTEGER": (int,),
    "REAL": (int, float),
    "BLOB": (bytes,),
}
_TIMESTAMP: Final = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{6}Z")
_DAY: Final = re.compile(r"\d{4}-\d\d-\d\d")
_SHAPES: Final = {
    ("invocations", "timestamp"): _TIMESTAMP,
    ("dead_letters", "quarantined_at"): _TIMESTAMP,
    ("daily_costs", "date"): _DAY,
    ("retention", "records_kept_since"): _DAY,
    ("quarter_hours", "quarter"): re.compile(r"\d{4}-\d\d-\d\d \d\d:(00|15|30|45)"),
    ("budget_counters", "counted_since"): _TIMESTAMP,
    ("budget_counters", "named_at"): _TIMESTAMP,
    ("budget_windows", "window_start"): _TIMESTAMP,
    ("budget_holds", "reserved_at"): _TIMESTAMP,
    ("budget_holds", "expires_at"): _TIMESTAMP,
    ("budget_holds", "state"): re.compile("held|unknown"),
    ("budget_alerts", "window_start"): _TIMESTAMP,
    ("budget_alerts", "metric"): re.compile("|".join(METRICS)),
}
_NEGATIVE: Final = frozenset({("daily_latency", "bucket")})
_NOT_IN_OLDER: Final = frozenset({("daily_costs", "latency_buckets")})
"""Never NULL, and yet missing in rows of older versions."""


@dataclass(frozen=True, slots=True)
class Table:
    """One table of `schema.sql`; with rowids, its first column is the rowid."""

    name: str
    columns: tuple[str, ...]
    types: tuple[str, ...]
    required: tuple[bool, ...]
    has_rowid: bool
    key: tuple[str, ...]


@cache
def tables() -> dict[str, Table]:
    """The tables of `schema.sql`, in its order."""
    with closing(migrations.empty_database()) as connection:
        return _described(connection)


def _described(connection: sqlite3.Connection) -> dict[str, Table]:
    found: dict[str, Table] = {}
    ours = "SELECT name, sql FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
    for name, sql in connection.execute(ours).fetchall():
        rows = connection.execute("SELECT * FROM pragma_table_info(?)", (name,)).fetchall()
        found[name] = Table(
            name=name,
            columns=tuple(row[1] for row in rows),
            types=tuple(row[2] for row in rows),
            required=tuple(bool(row[3]) and (name, row[1]) not in _NOT_IN_OLDER for row in rows),
            has_rowid="WITHOUT ROWID" not in sql,
            key=tuple(row[1] for row in sorted(rows, key=lambda row: row[5]) if row[5]),
        )
    return found


def problem_of(table: Table, values: Sequence[Any]) -> str | None:
    """The first column whose value cannot have been written by us; None where the row is sound."""
    for name, kind, required, value in zip(table.columns, table.types, table.required, values, strict=True):
        if value is None:
            if required:
                return name
        elif (
            not isinstance(value, _TYPES.get(kind, (object,)))
            or (isinstance(value, int | float) and not _is_possible(value, table.name, name))
            or (isinstance(value, str) and not _is_shaped(value, table.name, name))
        ):
            return name
    return None


def _is_possible(value: float, table: str, column: str) -> bool:
    if table == "invocations" and column in RANGES:
        low, high = RANGES[column]
        return low <= value <= high
    return isfinite(value) and (value >= 0 or (table, column) in _NEGATIVE)


def _is_shaped(value: str, table: str, column: str) -> bool:
    shape = _SHAPES.get((table, column))
    if shape is not None:
        return shape.fullmatch(value) is not None and (shape not in {_TIMESTAMP, _DAY} or _is_moment(value))
    if (table, column) == ("invocations", "status"):
        return value in STATUSES
    return column != "invocation_id" or table != "invocations" or 0 < len(value) <= MAX_NAME_CHARS


def _is_moment(value: str) -> bool:
    try:
        datetime.fromisoformat(value)
    except ValueError:
        return False
    return True
