"""The queries of both loggers, as `(sql, parameters)`, and the shaping of their rows; no connection.

SQL is built from constants of this module; every value is bound. Statistics are a question of `ask`, which reads the
daily totals, and records only of the partial days at the ends of the window.
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import chain
from typing import Any, Final, TypedDict, cast

from llm_service.errors import QueryError
from llm_service.telemetry.queries.ask import totals_of
from llm_service.telemetry.queries.cells import added_up, known, number, say_odd, text, whole
from llm_service.telemetry.queries.filters import NAMES, InvocationFilter, Where
from llm_service.telemetry.queries.measures import MEASURES, SETS
from llm_service.telemetry.queries.plans import Question
from llm_service.telemetry.queries.range_parts import range_parts
from llm_service.telemetry.queries.rows import ROW_COLUMNS, InvocationRow, to_invocations
from llm_service.telemetry.queries.time_range import EVER, TimeRange
from llm_service.telemetry.stores.base import Fetch, Query

__all__ = [
    "MEASURE_OF",
    "ROW_COLUMNS",
    "DailyCost",
    "InvocationRow",
    "Statistics",
    "add_position",
    "check_days",
    "greatest",
    "invocations",
    "last_days",
    "read_daily_costs",
    "read_statistics",
    "read_statistics_of",
    "to_invocations",
]

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
    """A window of calls. What is counted is a number, 0 or 0.0 for an empty window; coverage has its own keys.

    `since` and `until` are the range that is covered: UTC texts; None is open. It is wider than the one that was asked
    for where that begins or ends in a UTC day of which only daily totals are left. `time_zone` is the zone of its days.
    `records_since` is the first UTC day with all its records, None if none were ever deleted. `deleted_invocations`
    calls of the range's days and names are not counted, because records must tell them and theirs are deleted.
    """

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
    since: str | None
    until: str | None
    time_zone: str
    records_since: str | None
    deleted_invocations: int


MEASURE_OF: Final = {
    key: key if key in MEASURES else SETS[key][0] for key in Statistics.__annotations__ if key in {*MEASURES, *SETS}
}
"""By key of statistics that is counted: the measure."""
_DAILY_COLUMNS: Final = tuple(DailyCost.__annotations__)
_DAILY_WHOLE: Final = tuple(column for column, kind in DailyCost.__annotations__.items() if kind is int)
_DAY_AND_NAMES: Final = f"substr(timestamp, 1, 10) AS date, {', '.join(NAMES)}"
_DAILY_ORDER: Final = f"ORDER BY date DESC, {', '.join(NAMES)}"


def read_daily_costs(fetch: Fetch, narrowed: InvocationFilter, asked: TimeRange = EVER) -> list[DailyCost]:
    """Daily totals, newest UTC day first; of the days at the ends of the range, the part that is in it."""
    parts = range_parts(fetch, asked)
    where = parts.days(narrowed)
    daily = f"SELECT {', '.join(_DAILY_COLUMNS)} FROM daily_costs{where} {_DAILY_ORDER}"  # noqa: S608
    found = [_daily_costs(fetch((daily, where.parameters)))]
    for edge in parts.edges:
        where = edge.where(narrowed)
        sql = f"SELECT {_DAY_AND_NAMES}, {added_up(*_DAILY_WHOLE)} FROM invocations{where} GROUP BY 1, 2, 3, 4"  # noqa: S608
        found.append([_added_up(row) for row in fetch((f"{sql} {_DAILY_ORDER}", where.parameters))])
    found.sort(key=lambda rows: text(rows[0]["date"]) if rows else "", reverse=True)  # no day is in two of them
    return [*chain.from_iterable(found)]


def _added_up(row: Sequence[Any]) -> DailyCost:
    named: dict[str, Any] = dict(
        zip(("date", *NAMES, *_DAILY_WHOLE), (text(row[0]), *row[1:4], *map(whole, row[4:])), strict=True)
    )
    named["total_cost_usd"] = named["cost_nanos"] / 1e9
    return cast("DailyCost", {name: named[name] for name in _DAILY_COLUMNS})


def _daily_costs(rows: Iterable[tuple[Any, ...]]) -> list[DailyCost]:
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
    _check_limit(limit)
    where = narrowed.where()
    if before is not None:
        add_position(where, before)
    order = "ORDER BY timestamp DESC, id DESC LIMIT ?"
    return f"SELECT {ROW_COLUMNS} FROM invocations{where} {order}", [*where.parameters, limit]  # noqa: S608


def greatest(narrowed: InvocationFilter, column: str, limit: int) -> Query:
    """The calls with the greatest known numbers in a column, 1 to 1,000,000 of them."""
    _check_limit(limit)
    where = narrowed.calls()
    where.add(f"({known(column)}) IS NOT NULL")
    order = f"ORDER BY {column} DESC, id DESC LIMIT ?"
    return f"SELECT {ROW_COLUMNS} FROM invocations{where} {order}", [*where.parameters, limit]  # noqa: S608


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
    """Statistics of the calls of a range, and the range that they cover: it may be wider.

    Args:
        narrowed: with names and filters; its days and moments are not read.
    """
    # Other filters than by names are answered from records: where these are deleted, no daily totals stand in.
    covered = range_parts(fetch, asked).covered if narrowed.by_names() == narrowed else asked
    question = Question(
        measures=tuple(MEASURE_OF.values()), filters=narrowed.conditions(), since=covered.start, until=covered.end
    )
    totals, records_since, deleted = totals_of(fetch, question, datetime.now(UTC))
    found: dict[str, Any] = {
        key: Statistics.__annotations__[key](totals[measure] or 0) for key, measure in MEASURE_OF.items()
    }
    found |= covered.as_json() | {"records_since": records_since, "deleted_invocations": deleted}
    return cast("Statistics", found), covered


def _check_limit(limit: object) -> None:
    if type(limit) is not int or not 1 <= limit <= MAX_LIMIT:
        raise QueryError("limit", limit, f"give a whole number from 1 to {MAX_LIMIT:,}")


def check_days(days: object) -> None:
    """Refuse an invalid window. Raises QueryError: unless `days` is a number above 0 and up to 36,500."""
    if isinstance(days, bool) or not isinstance(days, int | float) or not 0 < days <= MAX_DAYS:
        raise QueryError("days", days, f"give a number above 0 and up to {MAX_DAYS:,}")


def add_position(where: Where, before: object) -> None:
    """Add that calls are behind a row, newest first. Raises QueryError: it is none."""
    if not isinstance(before, dict):
        raise QueryError("before", before, "give the last row of a page, as get_invocations returned it")
    named = cast("dict[str, object]", before)
    timestamp, row_id = named.get("timestamp"), named.get("id")
    if not isinstance(timestamp, str) or not isinstance(row_id, int):
        raise QueryError("before", named, "it lacks timestamp and id; give a row as get_invocations returned it")
    where.add("(timestamp, id) < (?, ?)", timestamp, row_id)
