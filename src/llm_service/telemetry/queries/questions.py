"""The queries of both loggers, as `(sql, parameters)`, and the shaping of their rows; no connection.

SQL is built from constants of this module; every value is bound. Statistics of a long window come from the daily
roll-ups, and from rows only for the partial day at the start of the window.
"""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypedDict, cast

from llm_service.errors import QueryError
from llm_service.telemetry.queries.cells import (
    ADDED_BY_A_CALL,
    LATENCY,
    added_up,
    number,
    say_odd,
    text,
    whole,
)
from llm_service.telemetry.queries.daily_sums import RollUp, fetch_daily_sums
from llm_service.telemetry.queries.filters import InvocationFilter, Where
from llm_service.telemetry.queries.rollup_sources import sources_since
from llm_service.telemetry.queries.rows import ROW_COLUMNS, InvocationRow, to_invocations
from llm_service.telemetry.stores.base import Fetch, Query
from llm_service.telemetry.stores.latency_buckets import added_up as added_up_buckets
from llm_service.telemetry.stores.rollups import bucket_of, percentile

__all__ = [
    "ROW_COLUMNS",
    "DailyCost",
    "InvocationRow",
    "Statistics",
    "check_days",
    "daily_costs",
    "invocations",
    "read_statistics",
    "read_statistics_since",
    "to_daily_costs",
    "to_invocations",
]

MAX_LIMIT: Final = 1_000_000
MAX_DAYS: Final = 36_500
_FIRST: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LAST: Final = datetime(9999, 12, 31, tzinfo=UTC)


class DailyCost(TypedDict):
    """One day of one agent, tool and model. Sums are over the calls with known values."""

    date: str
    agent_name: str | None
    tool_name: str | None
    model_name: str | None
    invocations: int
    total_tokens: int
    total_cost_usd: float
    errors: int
    timeouts: int
    prompt_tokens: int
    completion_tokens: int
    uncounted: int
    cost_nanos: int
    unpriced: int
    latency_count: int
    latency_us_sum: int


class Statistics(TypedDict):
    """A window of calls. Every value is a number, 0 or 0.0 for an empty window; coverage has its own keys."""

    total_invocations: int
    success_count: int
    error_count: int
    timeout_count: int
    success_rate: float
    total_tokens: int
    prompt_tokens: int
    completion_tokens: int
    uncounted_invocations: int
    total_cost_usd: float
    priced_invocations: int
    unpriced_invocations: int
    avg_latency_ms: float
    p50_latency_ms: float
    p95_latency_ms: float
    p99_latency_ms: float
    timed_invocations: int


_DAILY_COLUMNS: Final = tuple(DailyCost.__annotations__)
_DAILY_WHOLE: Final = tuple(column for column, kind in DailyCost.__annotations__.items() if kind is int)


def daily_costs(narrowed: InvocationFilter) -> Query:
    """Daily totals, newest day first."""
    where = narrowed.daily()
    order = "ORDER BY date DESC, agent_name, tool_name, model_name"
    return f"SELECT {', '.join(_DAILY_COLUMNS)} FROM daily_costs{where} {order}", where.parameters  # noqa: S608


def to_daily_costs(rows: Iterable[tuple[Any, ...]]) -> list[DailyCost]:
    """Rows of `daily_costs` as dicts; an invalid number counts as 0, and a warning names the first such row."""
    shaped: list[DailyCost] = []
    odd: list[tuple[str, list[str]]] = []
    for row in rows:
        named: dict[str, Any] = dict(zip(_DAILY_COLUMNS, row, strict=True))
        wrong = [column for column in _DAILY_WHOLE if type(named[column]) is not int]
        if wrong or number(named["total_cost_usd"]) is None:
            named |= {column: whole(named[column]) for column in wrong}
            named |= {"total_cost_usd": number(named["total_cost_usd"]) or 0.0, "date": text(named["date"])}
            odd.append((named["date"], wrong or ["total_cost_usd"]))
        shaped.append(cast("DailyCost", named))
    if odd:
        say_odd("daily_costs", odd[0][0], ", ".join(odd[0][1]), len(odd))
    return shaped


def invocations(narrowed: InvocationFilter, limit: int = 100, *, before: InvocationRow | None = None) -> Query:
    """Stored calls, newest first, 1 to 1,000,000; `before` is the last row of a page: no call is missed after it."""
    if type(limit) is not int or not 1 <= limit <= MAX_LIMIT:
        raise QueryError("limit", limit, f"give a whole number from 1 to {MAX_LIMIT:,}")
    where = narrowed.where()
    if before is not None:
        where.add("(timestamp, id) < (?, ?)", *_position(before))
    order = "ORDER BY timestamp DESC, id DESC LIMIT ?"
    return f"SELECT {ROW_COLUMNS} FROM invocations{where} {order}", [*where.parameters, limit]  # noqa: S608


_SUMS: Final = ", ".join(f"coalesce(sum({column}), 0)" for column in ADDED_BY_A_CALL)


def read_statistics(fetch: Fetch, now: datetime, days: float, narrowed: InvocationFilter) -> Statistics:
    """Statistics of the last `days` days (0 < days <= 36,500), a rolling window that ends with the newest record."""
    check_days(days)
    return read_statistics_since(fetch, _window_start(now, days), narrowed)


def read_statistics_since(fetch: Fetch, start: datetime, narrowed: InvocationFilter) -> Statistics:
    """Statistics of the calls of these names from a moment (aware UTC; before 1970 counts as 1970) on."""
    start = min(max(start, _FIRST), _LAST)
    sums, buckets = dict.fromkeys(ADDED_BY_A_CALL, 0), dict[int, int]()
    for table, where in sources_since(fetch, start, narrowed):
        found, timed = _read_calls(fetch, where) if table == "invocations" else _read_sums(fetch, table, where)
        for name, count in zip(ADDED_BY_A_CALL, found, strict=True):
            sums[name] += whole(count)
        for bucket, count in timed.items():
            buckets[bucket] = buckets.get(bucket, 0) + count
    return _to_statistics(sums, buckets)


def _read_calls(fetch: Fetch, where: Where) -> tuple[tuple[Any, ...], dict[int, int]]:
    (sums,) = fetch((f"SELECT {added_up(*ADDED_BY_A_CALL)} FROM invocations{where}", where.parameters))  # noqa: S608
    buckets: dict[int, int] = {}
    sql = f"SELECT latency_ms, count(*) FROM invocations{where} AND {LATENCY} GROUP BY latency_ms"  # noqa: S608
    for latency_ms, count in fetch((sql, where.parameters)):
        bucket = bucket_of(latency_ms)
        buckets[bucket] = buckets.get(bucket, 0) + count
    return sums, buckets


def _read_sums(fetch: Fetch, table: RollUp, where: Where) -> tuple[tuple[Any, ...], dict[int, int]]:
    (sums,) = fetch_daily_sums(fetch, f"SELECT {_SUMS} FROM {table}{where}", where.parameters, table)  # noqa: S608
    packed = fetch((f"SELECT hex(latency_buckets) FROM {table}{where}", where.parameters))  # noqa: S608
    return sums, added_up_buckets(row[0] for row in packed)


def check_days(days: object) -> None:
    """Refuse an invalid window. Raises QueryError: unless `days` is a number above 0 and up to 36,500."""
    if isinstance(days, bool) or not isinstance(days, int | float) or not 0 < days <= MAX_DAYS:
        raise QueryError("days", days, f"give a number above 0 and up to {MAX_DAYS:,}")


def _to_statistics(sums: Mapping[str, int], buckets: Mapping[int, int]) -> Statistics:
    total, timed = sums["invocations"], sums["latency_count"]
    successes = total - sums["errors"] - sums["timeouts"]
    average = sums["latency_us_sum"] / 1000 / timed if timed else 0.0
    # With a single bucket, such as for one call, the mean is used: a percentile must be within the measured values.
    p50, p95, p99 = (average if len(buckets) == 1 else percentile(buckets, share) for share in (0.50, 0.95, 0.99))
    return Statistics(
        total_invocations=total,
        success_count=successes,
        error_count=sums["errors"],
        timeout_count=sums["timeouts"],
        success_rate=successes / total if total else 0.0,
        total_tokens=sums["total_tokens"],
        prompt_tokens=sums["prompt_tokens"],
        completion_tokens=sums["completion_tokens"],
        uncounted_invocations=sums["uncounted"],
        total_cost_usd=sums["cost_nanos"] / 1e9,
        priced_invocations=total - sums["unpriced"],
        unpriced_invocations=sums["unpriced"],
        avg_latency_ms=average,
        p50_latency_ms=p50,
        p95_latency_ms=p95,
        p99_latency_ms=p99,
        timed_invocations=timed,
    )


def _position(row: object) -> tuple[str, int]:
    if not isinstance(row, dict):
        raise QueryError("before", row, "give the last row of a page, as get_invocations returned it")
    named = cast("dict[str, object]", row)
    timestamp, row_id = named.get("timestamp"), named.get("id")
    if not isinstance(timestamp, str) or not isinstance(row_id, int):
        raise QueryError("before", named, "it lacks timestamp and id; give a row as get_invocations returned it")
    return timestamp, row_id


def _window_start(now: datetime, days: float) -> datetime:
    try:
        return now.astimezone(UTC) - timedelta(days=days)
    except OverflowError:
        return _FIRST
