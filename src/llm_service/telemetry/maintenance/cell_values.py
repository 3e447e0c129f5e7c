"""Whether each cell of the file holds what a writer could have written there; the rows that do not are named."""

import sqlite3
import zlib
from collections.abc import Iterator, Sequence
from typing import Any, Final

from llm_service.redaction import shown
from llm_service.telemetry.maintenance.check_session import OutOfTimeError, time_limit
from llm_service.telemetry.maintenance.findings import Finding, found, healthy
from llm_service.telemetry.maintenance.private_copy import text_or_bytes
from llm_service.telemetry.maintenance.table_shapes import Table, problem_of, tables
from llm_service.telemetry.privacy import unpack
from llm_service.telemetry.queries.cells import decoded
from llm_service.telemetry.stores.latency_buckets import is_sound
from llm_service.telemetry.stores.sqlite.big_sums import is_sum_value

__all__ = ["check_values"]

_MOST_SHOWN: Final = 5
_JSON: Final = {
    ("invocations", "tags"): list,
    ("invocations", "metadata"): dict,
    ("budget_holds", "windows"): list,
    ("budget_holds", "names"): dict,
}
_SUMS: Final = frozenset({"daily_costs", "quarter_hours", "budget_windows"})
_PACKED: Final = frozenset({("invocation_contents", "prompt"), ("invocation_contents", "response")})


def check_values(connection: sqlite3.Connection, *, full: bool, deadline: float) -> list[Finding]:
    """Every cell of every table, newest rows first: type, UTF-8, finite, not negative, dates, JSON.

    Args:
        connection: texts come as bytes from it afterwards where they are no UTF-8.
        full: also unpack each prompt and response.
        deadline: of `time.monotonic()`.
    """
    connection.text_factory = text_or_bytes
    wrong: list[str] = []
    rows = count = 0
    try:
        with time_limit(connection, deadline):
            for table in tables().values():
                for number, problem in _rows(connection, table, full=full):
                    rows += 1
                    if problem is not None:
                        count += 1
                        wrong += [f"{table.name} {number}: {problem}"] * (len(wrong) < _MOST_SHOWN)
    except OutOfTimeError:
        late = found("not_checked", f"the cells of {rows:,} rows were looked at; all of them take longer", "values")
        return [late, *_found(wrong, count)]
    return _found(wrong, count) or [healthy("values", f"{rows:,} rows hold what a writer writes")]


def _found(wrong: Sequence[str], count: int) -> list[Finding]:
    more = ", ..." if count > len(wrong) else ""
    return [found("odd_values", f"{count:,} row(s) hold what no writer wrote: {'; '.join(wrong)}{more}")] * bool(wrong)


def _rows(connection: sqlite3.Connection, table: Table, *, full: bool) -> Iterator[tuple[str, str | None]]:
    """Each row: how it is called, and the first column that is wrong in it."""
    there = {row[1] for row in connection.execute(f"PRAGMA table_info({table.name})")}
    if not there:
        return
    columns = ", ".join(name if name in there else "NULL" for name in table.columns)
    order = " ORDER BY rowid DESC" if table.has_rowid else ""
    for row in connection.execute(f"SELECT {columns} FROM {table.name}{order}"):  # noqa: S608 - names of our own schema
        problem = problem_of(table, row)
        if problem is not None and table.name in _SUMS:
            place = table.columns.index(problem)
            if table.types[place] != "BLOB" and is_sum_value(row[place]):
                problem = None  # a sum that is wrong is found by adding up
        problem = problem or _finer_problem(table, row, full=full)
        yield ("" if problem is None else _called(table, row)), problem


def _called(table: Table, row: Sequence[Any]) -> str:
    if table.has_rowid:
        return f"row {row[0]}"
    key = " ".join(str(value) for name, value in zip(table.columns, row, strict=True) if name in table.key)
    return f"row {shown(key, 80)}"


def _finer_problem(table: Table, row: Sequence[Any], *, full: bool) -> str | None:
    for name, value in zip(table.columns, row, strict=True):
        if isinstance(value, str):
            kind = _JSON.get((table.name, name))
            if "\0" in value or (kind is not None and decoded(value, kind) is None):
                return name
        elif isinstance(value, bytes):
            if name == "latency_buckets" and value and not is_sound(value):
                return name
            if full and (table.name, name) in _PACKED and not _unpacks(value):
                return name
    return None


def _unpacks(packed: bytes) -> bool:
    try:
        unpack(packed)
    except (zlib.error, UnicodeDecodeError):
        return False
    return True
