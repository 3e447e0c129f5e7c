"""Rows out of a damaged table through SQLite itself: read on until it stops, then bisect for where it goes on."""

import sqlite3
from collections.abc import Iterator, Sequence
from typing import Any, Final

__all__ = ["by_both_ends", "by_rowid"]

_LAST: Final = (1 << 63) - 1


def by_rowid(connection: sqlite3.Connection, table: str, columns: Sequence[str]) -> Iterator[tuple[Any, ...] | None]:
    """Rows in rowid order, each led by its rowid; what lies on damaged pages is passed over, and None given for it.

    After a stop it looks, by halves, for the least rowid from which reading succeeds: about sixty look-ups for each
    damaged page. Sound rows between two damaged pages may be passed over with them.
    """
    sql = f"SELECT rowid, {', '.join(columns)} FROM {table} WHERE rowid >= ? ORDER BY rowid"  # noqa: S608
    start: int | None = -_LAST
    while start is not None:
        last = start - 1
        try:
            for row in connection.execute(sql, (start,)):
                last = max(last, row[0])  # a damaged page may give any rowid
                yield row
        except sqlite3.DatabaseError:
            yield None
            start = _next_readable(connection, table, last + 1)
        else:
            return


def _next_readable(connection: sqlite3.Connection, table: str, failing: int) -> int | None:
    """The least rowid above `failing` from which a row can be read; None where there is none."""
    low, high = failing, _LAST
    if not _reads(connection, table, high):
        return None
    while high - low > 1:
        middle = (low + high) // 2
        if _reads(connection, table, middle):
            high = middle
        else:
            low = middle
    return high


def _reads(connection: sqlite3.Connection, table: str, rowid: int) -> bool:
    """Whether the page that a rowid belongs to can be reached; a rowid behind the last is on the last page."""
    try:
        connection.execute(f"SELECT * FROM {table} WHERE rowid >= ? ORDER BY rowid LIMIT 1", (rowid,)).fetchone()  # noqa: S608
    except sqlite3.DatabaseError:
        return False
    return True


def by_both_ends(connection: sqlite3.Connection, sql: str, order: str) -> Iterator[tuple[Any, ...] | None]:
    """Rows of an index, or of a table without rowids: from the front until it stops, then from the back.

    Where reading stops in the middle, None is given once; a row near the middle may be given twice.

    Args:
        sql: a SELECT without ORDER BY.
        order: the columns of the index, in its order.
    """
    for direction in ("", " DESC"):
        keys = ", ".join(key + direction for key in order.split(", "))
        try:
            yield from connection.execute(f"{sql} ORDER BY {keys}")
        except sqlite3.DatabaseError:
            if not direction:
                yield None
        else:
            return
