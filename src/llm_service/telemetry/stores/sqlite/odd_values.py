"""Reads rows whose cells may hold anything: invalid values never stop a reader.

SQLite checks no types. A flipped bit makes a text invalid UTF-8; a manual edit puts text among numbers, or a number
that is too large to sum. So invalid UTF-8 is read with U+FFFD, and bytes as text. A sum that is not an integer, or too
large for SQLite, is computed again from the integers alone, with Python's integers. Valid rows are read at full speed.
"""

import json
import sqlite3
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import chain
from typing import Any, Final, cast

from llm_service.telemetry.stores.base import PartialSum
from llm_service.telemetry.stores.rollups import bucket_of
from llm_service.telemetry.stores.sqlite.big_sums import MOST, MOST_SUMMED
from llm_service.telemetry.stores.sqlite.sql_callbacks import add_function, add_sum, add_values

__all__ = ["as_stored", "as_text", "rows_of"]

_LARGE: Final = "\0sum:"
_PARTIAL: Final = "\0partial:"
"""Prefixes of the digits of a sum beyond 64 bits, and of one that leaves cells out; no stored text contains NUL."""

Rows = list[tuple[Any, ...]]


def as_text(raw: bytes) -> str:
    """Bytes as text; invalid UTF-8 becomes U+FFFD."""
    return raw.decode("utf-8", "replace")


def as_stored(kind: str, digits: str) -> tuple[str, bytes]:
    """A parameter that compares exactly like a stored text or blob, given its `typeof(x)` and `hex(x)`.

    Pagination continues from such a key: invalid UTF-8 as decoded would compare differently.

    Returns:
        The placeholder for the statement, and its parameter.
    """
    return ("CAST(? AS TEXT)" if kind == "text" else "?"), bytes.fromhex(digits)


def rows_of(connection: sqlite3.Connection, sql: str, parameters: Sequence[Any] = ()) -> Rows:
    """All rows of a query, whatever its cells hold; each `sum(` in it sums integers.

    `value_buckets(x)` counts the values of a group by bucket, as the text `bucket:count bucket:count`; `metadata_at(x)`
    is the object `{"value": ...}`, see `_at`.
    """
    if "metadata_at(" in sql:
        add_function(connection, "metadata_at", lru_cache(maxsize=1)(_at))  # a statement asks several times of a row
    if "value_buckets(" in sql:
        add_values(connection, "value_buckets", _counted)
    try:
        rows, kinds = _fetched(connection, sql, parameters)
    except sqlite3.OperationalError as error:
        if not ("integer overflow" in str(error) and "sum(" in sql):
            raise
    else:
        if not (float in kinds and "sum(" in sql):
            return rows
    return _with_exact_sums(connection, sql, parameters)


def _counted(values: Iterable[float]) -> str:
    return " ".join(f"{bucket}:{count}" for bucket, count in Counter(map(bucket_of, values)).items())


def _at(asked: bytes | None) -> str | None:
    """What stands in a JSON object under keys that a path of SQLite cannot say; NULL where nothing does.

    Args:
        asked: a line of JSON with lists of keys, from the outermost object inward, and below it the object; the first
            list that leads to a value counts.
    """
    if asked is None:
        return None
    paths, _, document = as_text(asked).partition("\n")
    try:
        whole = json.loads(document)
        for path in json.loads(paths):
            value: Any = whole
            for key in path:
                if not isinstance(value, dict) or key not in value:
                    break
                value = cast("dict[str, Any]", value)[key]
            else:
                written = json.dumps({"value": value}, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
                return written.encode("utf-8", "replace").decode()
    except (ValueError, RecursionError):
        pass
    return None


def _fetched(connection: sqlite3.Connection, sql: str, parameters: Sequence[Any]) -> tuple[Rows, set[type]]:
    """All rows, and the types of their cells."""
    try:
        rows: Rows = connection.execute(sql, parameters).fetchall()
    except sqlite3.OperationalError as error:
        if "decode to UTF-8" not in str(error):
            raise
        connection.text_factory = as_text
        rows = connection.execute(sql, parameters).fetchall()
    kinds = set(map(type, chain.from_iterable(rows)))
    if bytes in kinds:
        rows = [tuple(as_text(cell) if isinstance(cell, bytes) else cell for cell in row) for row in rows]
    return rows, kinds


def _with_exact_sums(connection: sqlite3.Connection, sql: str, parameters: Sequence[Any]) -> Rows:
    """The query with `_ExactSum` in place of `sum`; results beyond 64 bits become integers again."""
    add_sum(connection, "exact_sum", _ExactSum)
    rows, _ = _fetched(connection, _exactly(sql), parameters)
    return [tuple(_number(cell) for cell in row) for row in rows]


def _exactly(sql: str) -> str:
    """Each `sum(...)` restricted to integers: a Python function must not get a text that is not UTF-8."""
    head, found, rest = sql.partition("sum(")
    if not found:
        return sql
    depth, end = 1, 0
    while depth:
        depth += {"(": 1, ")": -1}.get(rest[end], 0)
        end += 1
    summed = rest[: end - 1]
    cases = f"WHEN 'integer' THEN {summed} WHEN 'real' THEN {summed} WHEN 'null' THEN NULL"
    return f"{head}exact_sum(CASE typeof({summed}) {cases} ELSE x'00' END){_exactly(rest[end:])}"


class _ExactSum:
    """`sum` of the integers among its values; NULL if there are none.

    SQLite itself makes a real of an integer that grows beyond 64 bits, so such reals count, too.
    """

    def __init__(self) -> None:
        self._sum: int | None = None
        self._left_out = False

    def step(self, value: object) -> None:
        if isinstance(value, int) or (isinstance(value, float) and MOST <= abs(value) <= MOST_SUMMED):
            self._sum = int(value) + (self._sum or 0)
        elif value is not None:
            self._left_out = True

    def finalize(self) -> int | str | None:
        found = self._sum
        if self._left_out:
            return f"{_PARTIAL}{found or 0}"
        return found if found is None or -MOST <= found <= MOST else f"{_LARGE}{found}"


def _number(cell: Any) -> Any:
    if not isinstance(cell, str) or not cell.startswith((_LARGE, _PARTIAL)):
        return cell
    _, _, digits = cell.partition(":")
    return int(digits) if cell.startswith(_LARGE) else PartialSum(digits)
