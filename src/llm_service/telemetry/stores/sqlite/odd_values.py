"""Rows of a file whose cells may hold whatever SQLite can: what no writer of ours wrote never stops a reader.

SQLite checks no types. A flipped bit makes a text invalid UTF-8, a hand puts text among numbers, a number too large
for a sum. So a text is read with U+FFFD in place of what is none, and bytes are taken for text where no bytes belong.
A sum that is no whole number, or too large for SQLite, is made again exactly, by integers of any size, from the whole
numbers alone. What is sound is read as fast as ever: each of these comes into play when it is needed.
"""

import sqlite3
from collections.abc import Sequence
from typing import Any, Final

from llm_service.telemetry.stores.sqlite.callbacks import add_sum

__all__ = ["as_stored", "as_text", "rows_of"]

_MOST: Final = (1 << 63) - 1
_LARGE: Final = "\0sum:"
"""Before the digits of a sum that SQLite has no number for; no text of ours holds a NUL."""

Rows = list[tuple[Any, ...]]


def as_text(raw: bytes) -> str:
    """Any bytes as text; what is no UTF-8 becomes U+FFFD."""
    return raw.decode("utf-8", "replace")


def as_stored(kind: str, digits: str) -> tuple[str, bytes]:
    """What compares as a text or blob does of which `typeof(x)` and `hex(x)` were read, whatever its bytes are.

    A walk goes on from there: from what a reader makes of bytes that are no UTF-8 it would go back.

    Returns:
        The marker for the statement, and its parameter.
    """
    return ("CAST(? AS TEXT)" if kind == "text" else "?"), bytes.fromhex(digits)


def rows_of(connection: sqlite3.Connection, sql: str, parameters: Sequence[Any] = ()) -> Rows:
    """All rows of a query, in whatever state the cells are.

    Args:
        connection: it reads texts leniently from the first on that cannot be decoded.
        sql: each `sum(` in it is one of whole numbers.
        parameters: what its question marks stand for.

    Raises:
        sqlite3.Error: the file cannot be read.
    """
    sums = "sum(" in sql
    try:
        rows = _fetched(connection, sql, parameters)
    except sqlite3.OperationalError as error:
        if not (sums and "integer overflow" in str(error)):
            raise
    else:
        if not (sums and any(isinstance(cell, float) for row in rows for cell in row)):
            return rows
    return _with_exact_sums(connection, sql, parameters)


def _fetched(connection: sqlite3.Connection, sql: str, parameters: Sequence[Any]) -> Rows:
    try:
        rows: Rows = connection.execute(sql, parameters).fetchall()
    except sqlite3.OperationalError as error:
        if "decode to UTF-8" not in str(error):
            raise
        connection.text_factory = as_text
        rows = connection.execute(sql, parameters).fetchall()
    kinds: set[type] = set()
    for row in rows:
        kinds.update(map(type, row))
    if bytes not in kinds:
        return rows
    return [tuple(as_text(cell) if isinstance(cell, bytes) else cell for cell in row) for row in rows]


def _with_exact_sums(connection: sqlite3.Connection, sql: str, parameters: Sequence[Any]) -> Rows:
    """The query with `_ExactSum` in place of `sum`; what that gives beyond 64 bits is made a number again."""
    add_sum(connection, "exact_sum", _ExactSum)
    rows = _fetched(connection, _exactly(sql), parameters)
    return [tuple(_number(cell) for cell in row) for row in rows]


def _exactly(sql: str) -> str:
    """Each `sum(...)` as one of whole numbers alone: a function of Python's is never shown a text that is no UTF-8."""
    head, found, rest = sql.partition("sum(")
    if not found:
        return sql
    depth, end = 1, 0
    while depth:
        depth += {"(": 1, ")": -1}.get(rest[end], 0)
        end += 1
    summed = rest[: end - 1]
    return f"{head}exact_sum(CASE typeof({summed}) WHEN 'integer' THEN {summed} END){_exactly(rest[end:])}"


class _ExactSum:
    """`sum` of the whole numbers among its values, NULL where there is none."""

    def __init__(self) -> None:
        self._sum: int | None = None

    def step(self, value: object) -> None:
        if isinstance(value, int):
            self._sum = value + (self._sum or 0)

    def finalize(self) -> int | str | None:
        found = self._sum
        return found if found is None or -_MOST <= found <= _MOST else f"{_LARGE}{found}"


def _number(cell: Any) -> Any:
    return int(cell[len(_LARGE) :]) if isinstance(cell, str) and cell.startswith(_LARGE) else cell
