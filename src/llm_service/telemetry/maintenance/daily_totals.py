"""Daily totals against the records they count, one UTC day at a time: what each should be, is, and lacks.

A writer only ever *adds* to a total, in the transaction that adds the record. So the difference between records and
totals, seen in one snapshot, stays right however much is written meanwhile, and a repair may add it later.
"""

import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from datetime import date, timedelta
from typing import Final

from llm_service.telemetry.queries.cells import IS_CALL, LATENCY, added_up, whole
from llm_service.telemetry.queries.cells import text as as_day
from llm_service.telemetry.stores.rollups import DailyKey, DailyTotals, bucket_of
from llm_service.telemetry.stores.sqlite.big_sums import are_same
from llm_service.telemetry.stores.sqlite.odd_values import rows_of
from llm_service.telemetry.stores.sqlite.sql_callbacks import add_function

__all__ = [
    "COLUMNS",
    "Difference",
    "add_bucket_function",
    "add_up",
    "day_before",
    "differences",
    "kept_since",
    "minus",
    "read_totals",
    "to_totals",
]

COLUMNS: Final = tuple(field.name for field in fields(DailyTotals) if field.name != "buckets")

_ADD_UP: Final = f"""
SELECT agent_name, tool_name, model_name, {added_up(*COLUMNS)}
FROM invocations WHERE timestamp >= ? AND timestamp < ? AND {{which}} GROUP BY agent_name, tool_name, model_name
"""  # noqa: S608 - constants of our own
_ADD_UP_BUCKETS: Final = f"""
SELECT agent_name, tool_name, model_name, telemetry_bucket(latency_ms) AS bucket, count(*)
FROM invocations WHERE timestamp >= ? AND timestamp < ? AND {LATENCY} AND {{which}}
GROUP BY agent_name, tool_name, model_name, bucket
"""  # noqa: S608 - as above
_READ: Final = f"SELECT id, agent_name, tool_name, model_name, total_cost_usd, {', '.join(COLUMNS)} FROM daily_costs"  # noqa: S608
_READ_BUCKETS: Final = (
    "SELECT daily_cost_id, bucket, l.invocations FROM daily_latency AS l JOIN daily_costs AS d ON d.id = daily_cost_id"
)
# Each step finds the day before through an index, however many records a day has.
_NEWEST: Final = "SELECT max(substr(timestamp, 1, 10)) FROM (SELECT max(timestamp) AS timestamp FROM invocations {})"
_NEWEST_TOTAL: Final = "SELECT max(date) FROM daily_costs {}"


@dataclass(frozen=True, slots=True)
class Difference:
    """What must be added to one row of `daily_costs` and its latency buckets; numbers may be negative."""

    key: DailyKey
    lacking: DailyTotals


def add_bucket_function(connection: sqlite3.Connection) -> None:
    """Let SQL on this connection count latencies as the writer does."""
    add_function(connection, "telemetry_bucket", bucket_of)


def kept_since(connection: sqlite3.Connection) -> str | None:
    """The first UTC day whose records are all kept; None where nothing was ever deleted."""
    columns = {row[1] for row in connection.execute("PRAGMA table_info(retention)")}
    if "records_kept_since" not in columns:
        return None
    row = connection.execute("SELECT max(records_kept_since) FROM retention").fetchone()
    return None if row[0] is None else str(row[0])[:10]


def day_before(connection: sqlite3.Connection, before: str | None, since: str | None) -> str | None:
    """The newest day before `before` (None: of all) with records or totals; None at the end, or before `since`."""
    condition, bound = ("", []) if before is None else ("WHERE timestamp < ?", [before])
    (of_records,) = connection.execute(_NEWEST.format(condition), bound).fetchone()
    condition = "" if before is None else "WHERE date < ?"
    (of_totals,) = connection.execute(_NEWEST_TOTAL.format(condition), bound).fetchone()
    day = max((as_day(day) for day in (of_records, of_totals) if day is not None), default=None)
    if day is not None and "\ufffd" in day:  # no text at all: what sorts before it cannot be asked for by it
        return day_before(connection, day.partition("\ufffd")[0], since)
    return None if day is None or (since is not None and day < since) else day


def add_up(connection: sqlite3.Connection, day: str, *, spans: bool = False) -> dict[DailyKey, DailyTotals]:
    """What a UTC day's totals should be, from its records, or of its spans; needs `add_bucket_function`."""
    bounds, which = (day, _after(day)), f"NOT {IS_CALL}" if spans else IS_CALL
    totals: dict[DailyKey, DailyTotals] = {}
    for agent, tool, model, *counts in rows_of(connection, _ADD_UP.format(which=which), bounds):
        _add(totals, DailyKey(day, agent or None, tool or None, model or None), to_totals(map(whole, counts)))
    for agent, tool, model, bucket, count in rows_of(connection, _ADD_UP_BUCKETS.format(which=which), bounds):
        buckets = totals[DailyKey(day, agent or None, tool or None, model or None)].buckets
        buckets[bucket] = buckets.get(bucket, 0) + count
    return totals


def _add(totals: dict[DailyKey, DailyTotals], key: DailyKey, more: DailyTotals) -> None:
    """Add to the totals of a key: two names that are no text any more may read alike."""
    there = totals.get(key)
    if there is not None:
        more = to_totals(getattr(there, name) + getattr(more, name) for name in COLUMNS)
        more.buckets = there.buckets
    totals[key] = more


def read_totals(connection: sqlite3.Connection, day: str) -> tuple[dict[DailyKey, DailyTotals], set[DailyKey]]:
    """What the totals of this day are, and the keys whose `total_cost_usd` is not their nano-dollars."""
    totals: dict[DailyKey, DailyTotals] = {}
    wrong_usd: set[DailyKey] = set()
    keys: dict[int, DailyKey] = {}
    for row_id, agent, tool, model, usd, *counts in rows_of(connection, f"{_READ} WHERE date = ?", (day,)):
        key = keys[row_id] = DailyKey(day, agent or None, tool or None, model or None)
        row = to_totals(map(whole, counts))
        if usd != row.cost_nanos / 1e9:
            wrong_usd.add(key)
        _add(totals, key, row)
    for row_id, bucket, count in rows_of(connection, f"{_READ_BUCKETS} WHERE date = ?", (day,)):
        known = keys.get(row_id)
        if known is None:  # damage: the row is found by one number, and holds another
            continue
        buckets = totals[known].buckets
        buckets[whole(bucket)] = buckets.get(whole(bucket), 0) + whole(count)
    return totals, wrong_usd


def to_totals(counts: Iterable[int]) -> DailyTotals:
    """Totals of these counts, in the order of `COLUMNS`, without buckets."""
    totals = DailyTotals()
    for name, count in zip(COLUMNS, counts, strict=True):
        setattr(totals, name, count)
    return totals


def differences(connection: sqlite3.Connection, day: str) -> Iterator[Difference]:
    """What the totals of a day lack, row by row; nothing where they are right. Within the caller's snapshot."""
    should = add_up(connection, day)
    are, wrong_usd = read_totals(connection, day)
    nothing = DailyTotals()
    for key in sorted(should.keys() | are.keys(), key=lambda key: [part or "" for part in key]):
        lacking = minus(should.get(key, nothing), are.get(key, nothing))
        if lacking != nothing or key in wrong_usd:
            yield Difference(key, lacking)


def minus(one: DailyTotals, other: DailyTotals) -> DailyTotals:
    """What one has more than the other."""
    pairs = ((getattr(one, name), getattr(other, name)) for name in COLUMNS)
    lacking = to_totals(0 if are_same(more, less) else more - less for more, less in pairs)
    lacking.buckets = {
        bucket: count
        for bucket in one.buckets.keys() | other.buckets.keys()
        if (count := one.buckets.get(bucket, 0) - other.buckets.get(bucket, 0))
    }
    return lacking


def _after(day: str) -> str:
    try:
        return (date.fromisoformat(day) + timedelta(days=1)).isoformat()
    except (ValueError, OverflowError):  # a day that is none, or the last: no timestamp sorts behind a colon
        return f"{day}:"
