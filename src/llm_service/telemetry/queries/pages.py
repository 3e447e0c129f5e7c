"""Reads stored calls: page by page from the oldest, newly arrived ones, or a single one.

Each query has its own snapshot, so that reading a million rows does not block truncation of the WAL.
"""

from collections.abc import Iterator
from typing import Any, Final

from llm_service.errors import QueryError
from llm_service.redaction import ID_BYTES, stored_name
from llm_service.telemetry.queries.filters import InvocationFilter, checked_id
from llm_service.telemetry.queries.questions import ROW_COLUMNS, InvocationRow, to_invocations
from llm_service.telemetry.record.checks import MAX_NAME_CHARS
from llm_service.telemetry.stores.base import Fetch
from llm_service.telemetry.stores.sqlite.odd_values import as_stored

__all__ = ["PAGE_ROWS", "find_invocation", "newest_id", "read_newer", "read_pages"]

PAGE_ROWS: Final = 2_000
_CANDIDATES: Final = 4
_LAST_CHARACTER: Final = "\U0010ffff"


def newest_id(fetch: Fetch) -> int:
    """The `id` of the call that arrived last; 0 if there is none."""
    return int(fetch(("SELECT coalesce(max(id), 0) FROM invocations", []))[0][0])


def read_pages(fetch: Fetch, narrowed: InvocationFilter, page_rows: int = PAGE_ROWS) -> Iterator[list[InvocationRow]]:
    """All calls that were stored at the start, oldest first; calls deleted meanwhile may be missing."""
    where = narrowed.where()
    where.add("id <= ?", newest_id(fetch))
    sql, bound = f"SELECT {ROW_COLUMNS} FROM invocations{where}", where.parameters  # noqa: S608
    page = to_invocations(fetch((f"{sql} ORDER BY timestamp, id LIMIT ?", [*bound, page_rows])))
    while page:
        yield page
        if len(page) < page_rows:
            return
        row_id = page[-1]["id"]
        at, moment = _stored_timestamp(fetch, page[-1])
        # First the rest of the same microsecond: a row comparison (timestamp, id) would search by timestamp only, and
        # scan a million rows of one moment again for each page.
        order = f"AND timestamp = {at} AND id > ? ORDER BY id LIMIT ?"
        rows = list(fetch((f"{sql} {order}", [*bound, moment, row_id, page_rows])))
        if len(rows) < page_rows:
            order = f"AND timestamp > {at} ORDER BY timestamp, id LIMIT ?"
            rows += fetch((f"{sql} {order}", [*bound, moment, page_rows - len(rows)]))
        page = to_invocations(rows)


def _stored_timestamp(fetch: Fetch, row: InvocationRow) -> tuple[str, Any]:
    """Placeholder and parameter for the row's timestamp exactly as stored, if the row still exists."""
    rows = fetch(("SELECT typeof(timestamp), hex(timestamp) FROM invocations WHERE id = ?", [row["id"]]))
    return as_stored(*rows[0]) if rows else ("?", row["timestamp"])


def read_newer(
    fetch: Fetch, narrowed: InvocationFilter, after: int, through: int, page_rows: int = PAGE_ROWS
) -> Iterator[list[InvocationRow]]:
    """The calls that arrived after one id and up to another (inclusive), in the order of arrival."""
    where = narrowed.where()
    where.add("id > ? AND id <= ?")
    # NOT INDEXED searches by rowid: an index on names would be scanned whole, and sorted, for a few new rows.
    sql = f"SELECT {ROW_COLUMNS} FROM invocations NOT INDEXED{where} ORDER BY id LIMIT ?"  # noqa: S608
    while after < through:
        page = to_invocations(fetch((sql, [*where.parameters, after, through, page_rows])))
        if page:
            yield page
        if len(page) < page_rows:
            return
        after = page[-1]["id"]


def find_invocation(fetch: Fetch, wanted: str) -> InvocationRow | None:
    """One call, by its `invocation_id`, its `id` (digits), or a unique prefix of its `invocation_id`, in this order."""
    if not 1 <= len(wanted) <= MAX_NAME_CHARS:
        raise QueryError("id", wanted, "give an invocation_id, the beginning of one, or the number of a row")
    wanted = checked_id("id", wanted)
    rows = fetch((_one("invocation_id = ?"), [stored_name(wanted, ID_BYTES)]))
    if not rows and wanted.isascii() and wanted.isdigit() and len(wanted) < 19:
        rows = fetch((_one("id = ?"), [int(wanted)]))
    if not rows:
        rows = fetch((_one("invocation_id >= ? AND invocation_id < ?"), [wanted, wanted + _LAST_CHARACTER]))
    found = to_invocations(rows)
    if len(found) > 1:
        ids = ", ".join(row["invocation_id"] for row in found[: _CANDIDATES - 1])
        raise QueryError("id", wanted, f"several ids begin so; give more of one: {ids}, ...")
    return found[0] if found else None


def _one(condition: str) -> str:
    return f"SELECT {ROW_COLUMNS} FROM invocations WHERE {condition} ORDER BY invocation_id LIMIT {_CANDIDATES:d}"  # noqa: S608
