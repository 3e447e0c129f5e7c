"""The queries of both loggers, as `(sql, parameters)`, and the shaping of their rows; no connection.

SQL is built from constants of this module; every value is bound. Statistics of a long window come from the daily
roll-ups, and from rows only for the partial days at its ends.
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
from llm_service.telemetry.queries.daily_sums import fetch_daily_sums
from llm_service.telemetry.queries.filters import InvocationFilter
from llm_service.telemetry.queries.range_parts import range_parts
from llm_service.telemetry.queries.rows import ROW_COLUMNS, InvocationRow, to_invocations
from llm_service.telemetry.queries.time_range import EVER, TimeRange
from llm_service.telemetry.stores.base import Fetch, Query
from llm_service.telemetry.stores.rollups import bucket_of, percentile

__all__ = [
    "ROW_COLUMNS",
    "DailyCost",
    "InvocationRow",
    "Statistics",
    "check_days",
    "daily_costs",
    "invocations",
    "last_days",
    "read_statistics",
    "read_statistics_of",
    "to_daily_costs",
    "to_invocations",
]

_MOST_BUCKET: Final = 1_000
MAX_LIMIT: Final = 1_000_000
MAX_DAYS: Final = 36_500


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


_OF_DAYS: Final = ", ".join(f"coalesce(sum({column}), 0)" for column in ADDED_BY_A_CALL)


def read_statistics(fetch: Fetch, now: datetime, days: float, narrowed: InvocationFilter) -> Statistics:
    """Statistics of the last `days` days (0 < days <= 36,500), a rolling window that ends with the newest record."""
    return read_statistics_of(fetch, last_days(days, now), narrowed)[0]


def last_days(days: float, now: datetime) -> TimeRange:
    """The last `days` days of 24 hours. Raises QueryError: unless `days` is a number above 0 and up to 36,500."""
    check_days(days)
    try:
        return TimeRange(now.astimezone(UTC) - timedelta(days=days), None, UTC)
    except OverflowError:
        return EVER


def read_statistics_of(fetch: Fetch, asked: TimeRange, narrowed: InvocationFilter) -> tuple[Statistics, TimeRange]:
    """Statistics of the calls of these names in a range, and the range that they cover: it may be wider."""
    parts = range_parts(fetch, asked)
    days = parts.days(narrowed)
    summed = [*fetch_daily_sums(fetch, f"SELECT {_OF_DAYS} FROM daily_costs{days}", days.parameters)]  # noqa: S608
    buckets: dict[int, int] = {}
    for edge in parts.edges:
        where = edge.where(narrowed)
        summed += fetch((f"SELECT {added_up(*ADDED_BY_A_CALL)} FROM invocations{where}", where.parameters))  # noqa: S608
        sql = f"SELECT latency_ms, count(*) FROM invocations{where} AND {LATENCY} GROUP BY latency_ms"  # noqa: S608
        for latency_ms, count in fetch((sql, where.parameters)):
            bucket = bucket_of(latency_ms)
            buckets[bucket] = buckets.get(bucket, 0) + count
    latency = (
        "SELECT bucket, sum(l.invocations) FROM daily_costs AS d JOIN daily_latency AS l ON l.daily_cost_id = d.id"
    )
    for bucket, count in fetch((f"{latency}{days} GROUP BY bucket", days.parameters)):
        if isinstance(bucket, int) and -_MOST_BUCKET <= bucket <= _MOST_BUCKET:  # else invalid
            buckets[bucket] = buckets.get(bucket, 0) + whole(count)
    totals = (sum(map(whole, values)) for values in zip(*summed, strict=True))
    return _to_statistics(dict(zip(ADDED_BY_A_CALL, totals, strict=True)), buckets), parts.covered


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
