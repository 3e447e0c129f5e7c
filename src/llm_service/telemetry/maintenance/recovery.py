"""What can still be read of a damaged file: whole rows by both ways, and what indexes know of the others."""

import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any, Final, NamedTuple

from llm_service.telemetry.maintenance.private_copy import PrivateCopy
from llm_service.telemetry.maintenance.row_bisection import by_both_ends, by_rowid
from llm_service.telemetry.maintenance.table_shapes import Table, problem_of, tables
from llm_service.telemetry.record.fields import ADDED

__all__ = ["PartialRows", "Recovery", "Row", "by_shape", "partial_rows"]

Row = tuple[Any, ...]
_INDEXES: Final = {
    "invocation_id": ("idx_invocations_invocation_id", "invocation_id", ""),
    "timestamp": ("idx_invocations_timestamp", "timestamp", ""),
    "agent_name": ("idx_invocations_agent", "agent_name, timestamp", ""),
    "status": ("idx_invocations_status", "status, timestamp", " WHERE status <> 'success'"),
    "session_id": ("idx_invocations_session", "session_id, timestamp", " WHERE session_id IS NOT NULL"),
    "trace_id": ("idx_invocations_trace", "trace_id, timestamp", " WHERE trace_id IS NOT NULL"),
    "run": ("idx_invocations_run", "run, timestamp", " WHERE run IS NOT NULL"),
    "user_id": ("idx_invocations_user", "user_id, timestamp", " WHERE user_id IS NOT NULL"),
}
"""By the column it tells: the index, its columns, and the rows it has."""
_COLUMNS: Final = """
SELECT name FROM pragma_table_info(:name)
WHERE EXISTS (SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = :name)
"""
_ADDED: Final = {
    "invocations": tuple(ADDED[version] for version in sorted(ADDED, reverse=True)),
    "daily_costs": (("latency_buckets",),),
}
"""The columns that versions added, the newest first; a column that is added is not put into the rows that are there."""


@dataclass(slots=True)
class Recovery:
    """Reads the rows of a damaged copy, each once.

    Attributes:
        rowids: what was found, by table.
        damaged: rows that were found and cannot be what was written, by table: the column at fault, and the values.
        whole: tables that were read to their ends, one way or the other: all that was in them was seen.
    """

    copy: PrivateCopy
    rowids: dict[str, set[int]] = field(default_factory=dict[str, set[int]])
    damaged: dict[str, dict[int, tuple[str, Row]]] = field(default_factory=dict[str, dict[int, tuple[str, Row]]])
    whole: set[str] = field(default_factory=set[str])
    _keys: dict[str, set[Row]] = field(default_factory=dict[str, set[Row]])

    def rows(self) -> Iterator[tuple[Table, Row]]:
        """Sound rows of all tables, in the order of the columns: first through SQLite, then from the pages."""
        for table in tables().values():
            self.rowids[table.name], self._keys[table.name], self.damaged[table.name] = set(), set(), {}
        if self.copy.connection is not None:
            for table in tables().values():
                for row in self._through_sqlite(self.copy.connection, table):
                    if self._is_new(table, row):
                        yield table, row
        for table, row in self._from_pages():
            if self._is_new(table, row):
                yield table, row

    def _through_sqlite(self, connection: sqlite3.Connection, table: Table) -> Iterator[Row]:
        try:  # a view in its place could run for ever
            described = connection.execute(_COLUMNS, {"name": table.name}).fetchall()
        except sqlite3.DatabaseError:  # the schema itself is damaged
            return
        there = [name for name in table.columns if (name,) in described]
        lacks = len(there) < len(table.columns)
        if not there or there != list(table.columns[: len(there)]) or (lacks and len(described) > len(there)):
            return  # a column has lost its name: the pages tell by place. Those that an older file lacks come last.
        if table.has_rowid:
            led = by_rowid(connection, table.name, there)
            found: Iterator[Row | None] = (None if row is None else row[1:] for row in led)
        else:
            found = by_both_ends(connection, f"SELECT {', '.join(there)} FROM {table.name}", ", ".join(table.key))  # noqa: S608
        whole = True
        for row in found:
            if row is None:
                whole = False
                continue
            named = dict(zip(there, row, strict=True))
            yield tuple(named.get(column) for column in table.columns)
        if whole:
            self.whole.add(table.name)

    def _from_pages(self) -> Iterator[tuple[Table, Row]]:
        pages = self.copy.pages
        for name, cell in pages.rows(pages.schema(), self._wanted, self.whole):
            values = cell.values
            if name is None:  # of a table that was read to its end it is a row that was deleted
                candidates = [table for table in by_shape(values) if table.name not in self.whole]
            else:
                candidates = [tables()[name]] if name in tables() else []
            for table in candidates:
                # Older rows lack the columns that were added later; more than ours were added by the owner.
                row = (*values, *(None,) * len(table.columns))[: len(table.columns)]
                yield table, ((cell.rowid, *row[1:]) if table.has_rowid else row)

    def _wanted(self, table: str | None, rowid: int) -> bool:
        return table is None or (table in self.rowids and rowid not in self.rowids[table])

    def _is_new(self, table: Table, row: Row) -> bool:
        """Whether this row was not given before, and can have been written by us."""
        if table.has_rowid:
            known: set[Any] = self.rowids[table.name]
            key: Any = row[0]
        else:
            known, key = self._keys[table.name], row[: len(table.key)]
        if key in known:
            return False
        problem = problem_of(table, row)
        if problem is not None:
            if table.has_rowid:
                self.damaged[table.name].setdefault(key, (problem, row))
            return False
        known.add(key)
        self.damaged[table.name].pop(key, None)
        return True


def _widths(table: Table) -> set[int]:
    """How many columns a row may have: as this version writes it, or an earlier one."""
    fewer = accumulate((len(added) for added in _ADDED.get(table.name, ())), initial=0)
    return {len(table.columns) - columns for columns in fewer}


def by_shape(values: list[Any]) -> list[Table]:
    """The tables that a row of unknown origin fits, where nothing else says whose it is: at most one."""
    fitting = [
        table
        for table in tables().values()
        if table.has_rowid
        and len(values) in _widths(table)
        and values[0] is None  # the rowid's own column
        and problem_of(table, (1, *values[1:], *(None,) * (len(table.columns) - len(values)))) is None
    ]
    return fitting[:1]


class PartialRows(NamedTuple):
    """What indexes know of rows that were not found; `are_all`: the index of all was read to its end."""

    rows: Mapping[int, dict[str, Any]]
    are_all: bool


def partial_rows(connection: sqlite3.Connection | None, found: set[int]) -> PartialRows:
    """What the indexes of `invocations` know of rows not found; who is not in the whole index of failures was none."""
    if connection is None:
        return PartialRows({}, are_all=False)
    partial: dict[int, dict[str, Any]] = {}
    ids_are_whole = failures_are_whole = False
    for column, (index, columns, condition) in _INDEXES.items():
        sql = f"SELECT id, {columns} FROM invocations INDEXED BY {index}{condition}"  # noqa: S608
        names, whole = columns.split(", "), True
        for row in by_both_ends(connection, sql, columns):
            if row is None:  # a damaged page, or no such index
                whole = False
            elif row[0] not in found:
                partial.setdefault(row[0], {}).update(zip(names, row[1:], strict=True))
        if column == "status":
            failures_are_whole = whole
        elif column == "invocation_id":
            ids_are_whole = whole
    for known in partial.values():
        known.setdefault("status", "success" if failures_are_whole else "unknown")
    return PartialRows(partial, ids_are_whole)
