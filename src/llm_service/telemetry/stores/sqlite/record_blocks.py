"""Tells of each block of 512 records, once it is full, what names and times it has: see `block_names`.

A block without a row is read whenever it may matter, so rows may be missing: of the newest block, or of an older file.
"""

import sqlite3
from collections.abc import Iterable, Iterator
from typing import Any, Final

from llm_service.telemetry.stores.block_names import BLOCK, COLUMNS, marks_of
from llm_service.telemetry.stores.sqlite.odd_values import rows_of

__all__ = [
    "DROP_DELETED",
    "blocks_begun",
    "blocks_filled",
    "blocks_in_need",
    "summary_of",
    "write_blocks",
    "write_summary",
]

_OF_BLOCK: Final = "FROM invocations NOT INDEXED WHERE id >= ? AND id < ?"
_NAMES: Final = f"SELECT DISTINCT {', '.join(COLUMNS)} {_OF_BLOCK}"
"""Fewer rows than records: to fetch all of their cells takes twice as long."""
_TIMES: Final = f"SELECT count(*), min(timestamp), max(timestamp), sum(typeof(timestamp) <> 'text') {_OF_BLOCK}"
_WRITE: Final = (
    "INSERT OR REPLACE INTO record_blocks (block, first_timestamp, last_timestamp, names) VALUES (?, ?, ?, ?)"
)
_ROW: Final = "SELECT first_timestamp, last_timestamp, typeof(names), hex(names) FROM record_blocks WHERE block = ?"
DROP_DELETED: Final = f"""
DELETE FROM record_blocks WHERE block < coalesce((SELECT min(id) FROM invocations) >> {BLOCK}, 1 << 62)
"""  # noqa: S608 - a number
"""Drops rows of blocks whose records are all deleted."""
_BETWEEN: Final = f"SELECT DISTINCT id >> {BLOCK} FROM invocations WHERE id >= ? AND id <= ?"  # noqa: S608 - a number
_AROUND: Final = "SELECT (SELECT max(id) FROM invocations WHERE id < ?), (SELECT max(id) FROM invocations)"
_BELOW: Final = "SELECT max(id) FROM invocations WHERE id < ?"
_LATEST: Final = ":"
"""Sorts after every timestamp."""


def blocks_filled(before: int, after: int) -> range:
    """The blocks that are full, now that the newest id is no longer `before` but `after`."""
    return range(before >> BLOCK, after >> BLOCK)


def blocks_begun(connection: sqlite3.Connection, lowest: int, upper: int) -> list[int]:
    """The full blocks whose first record has an id from `lowest` to `upper`."""
    ((below, newest),) = connection.execute(_AROUND, (lowest,)).fetchall()
    found = connection.execute(_BETWEEN, (lowest, upper)).fetchall()
    return [block for (block,) in found if (below is None or block > below >> BLOCK) and block < newest >> BLOCK]


def summary_of(connection: sqlite3.Connection, block: int) -> tuple[str, str, bytes | None] | None:
    """The earliest and the latest timestamp of a block, and its marks; None where it has no records."""
    ids = (block << BLOCK, block + 1 << BLOCK)
    ((count, first, last, odd),) = rows_of(connection, _TIMES, ids)
    if not count:
        return None
    if odd:  # what is no text sorts before or after all of them
        first, last = "", _LATEST
    return first, last, marks_of(rows_of(connection, _NAMES, ids))


def write_blocks(connection: sqlite3.Connection, blocks: Iterable[int]) -> None:
    """Write the rows of these blocks, in the caller's transaction."""
    for block in blocks:
        write_summary(connection, block, summary_of(connection, block))


def write_summary(connection: sqlite3.Connection, block: int, found: tuple[str, str, bytes | None] | None) -> None:
    """Write the row of one block, given what `summary_of` returns, in the caller's transaction."""
    if found is not None:
        connection.execute(_WRITE, (block, *found))


def blocks_in_need(connection: sqlite3.Connection) -> Iterator[tuple[int, bool]]:
    """The full blocks without a row, or with one that lacks what is in them (True), the newest first."""
    (upper,) = connection.execute("SELECT coalesce(max(id), 0) FROM invocations").fetchone()
    while True:
        (newest,) = connection.execute(_BELOW, (upper >> BLOCK << BLOCK,)).fetchone()
        if newest is None:
            return
        block, upper = newest >> BLOCK, newest
        rows = rows_of(connection, _ROW, (block,))
        if not rows:
            yield block, False
            continue
        found = summary_of(connection, block)
        if found is not None and _lacks(rows[0], found):
            yield block, True


def _lacks(row: tuple[Any, ...], found: tuple[str, str, bytes | None]) -> bool:
    first, last, kind, digits = row
    if not (isinstance(first, str) and isinstance(last, str) and first <= found[0] and found[1] <= last):
        return True
    if kind != "blob":
        return False  # it may have any name
    return found[2] is None or not _digits_of(found[2].hex().upper()) <= _digits_of(digits)


def _digits_of(digits: str) -> set[str]:
    """The marks of a block, as digits."""
    return {digits[at : at + 6] for at in range(0, len(digits), 6)}
