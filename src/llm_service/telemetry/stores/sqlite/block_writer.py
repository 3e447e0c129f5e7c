"""Writes rows of `record_blocks` in the transactions that fill the blocks.

What a block has is known from what this writer inserted, where it alone has filled it: to read the block again costs
more than to insert its records. Where another writer has inserted some of them, the block is read.
"""

import sqlite3
from functools import lru_cache
from typing import Any, Final, NamedTuple

from llm_service.telemetry.stores.block_names import BLOCK, COLUMNS, marks_in
from llm_service.telemetry.stores.sqlite.record_blocks import blocks_filled, summary_of, write_summary

__all__ = ["BlockWriter"]

_SIZE: Final = 1 << BLOCK
_ABSENT: Final = frozenset({None})


class _Begun(NamedTuple):
    """A block that is being filled: what was inserted from its first id on."""

    cells: tuple[set[Any], ...]
    """The distinct cells of each of `COLUMNS`."""
    times: set[str]
    """The earliest and the latest timestamp of each insert."""


class BlockWriter:
    """For one connection at a time."""

    def __init__(self) -> None:
        self._newest = 0
        self._begun: _Begun | None = None
        self._filled: dict[int, _Begun] = {}
        self._before: int | None = None

    def begin(self, *, is_changed: bool) -> None:
        """A transaction has begun; `is_changed`: someone else may have changed records since the last one."""
        self._before = None
        if is_changed:
            self.forget()

    def forget(self) -> None:
        """The transaction failed, or rows are not as they were given: blocks that they are in are read once full."""
        self._begun, self._filled = None, {}

    def inserted(self, newest: int, rows: int, sql: str, parameters: list[Any]) -> None:
        """Take in an INSERT of so many rows, as it was executed; `newest` is the id of the last of them."""
        first, at = newest - rows + 1, 0
        if self._before is None:
            self._before = first - 1
        if first != self._newest + 1:
            self.forget()
        self._newest = newest
        timestamp, places = _places(sql)
        width = len(parameters) // rows
        while at < rows:
            taken = min(rows - at, _SIZE - (first + at) % _SIZE)
            if (first + at) % _SIZE == 0:
                self._begun = _Begun(tuple(set[Any]() for _ in COLUMNS), set())
            begun = self._begun
            if begun is not None:
                start, end = at * width, (at + taken) * width
                for cells, place in zip(begun.cells, places, strict=True):
                    cells.update(_ABSENT if place is None else parameters[start + place : end : width])
                times: list[str] = parameters[start + timestamp : end : width]
                begun.times.update((min(times), max(times)))
                if (first + at + taken) % _SIZE == 0:
                    self._filled[first + at >> BLOCK] = begun
            at += taken

    def partly_inserted(self, newest: int, rows: int) -> None:
        """An INSERT of which so many rows are there: which ones is not known."""
        if self._before is None:
            self._before = newest - rows
        self._newest = newest
        self.forget()

    def write(self, connection: sqlite3.Connection) -> None:
        """Write the rows of the blocks that are full now and were not before this transaction."""
        filled, self._filled = self._filled, {}
        if self._before is None:
            return
        last = self._newest >> BLOCK
        if last in filled:  # its row is written with the next record
            self._filled[last] = filled.pop(last)
        for block in blocks_filled(self._before, self._newest):
            begun = filled.get(block)
            if begun is None:
                write_summary(connection, block, summary_of(connection, block))
            else:
                write_summary(connection, block, (min(begun.times), max(begun.times), marks_in(begun.cells)))


@lru_cache(maxsize=1024)
def _places(sql: str) -> tuple[int, tuple[int | None, ...]]:
    """The place of `timestamp` among the columns of an INSERT, and those of `COLUMNS`; None where one is not there."""
    columns = sql[sql.index("(") + 1 : sql.index(")")].split(", ")
    return columns.index("timestamp"), tuple(columns.index(name) if name in columns else None for name in COLUMNS)
