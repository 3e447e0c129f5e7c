"""Costs by any keys in any order: sums, totals, and coverage, over any range of time and by the days of any zone."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, tzinfo
from operator import add
from typing import Any, Final, Literal, NamedTuple, TypedDict, cast, get_args

from llm_service.errors import QueryError
from llm_service.telemetry.queries.ask import grouped, parts_by_day
from llm_service.telemetry.queries.cells import added_up, text, whole
from llm_service.telemetry.queries.conditions import columns_of
from llm_service.telemetry.queries.daily_sums import fetch_daily_sums
from llm_service.telemetry.queries.filters import NAMES, InvocationFilter, Where
from llm_service.telemetry.queries.group_keys import KEYS, group_keys
from llm_service.telemetry.queries.plans import Question
from llm_service.telemetry.queries.range_parts import RangeParts, moment_of, range_parts
from llm_service.telemetry.queries.time_range import EVER, TimeRange, day_of
from llm_service.telemetry.stores.base import Fetch

__all__ = [
    "COST_KEYS", "SUMMED", "CostKey", "CostReport", "CostRow", "CostSums", "cost_columns", "cost_rows", "is_of_days",
    "read_costs",
]  # fmt: skip

CostKey = Literal["day", "agent", "tool", "model"]
COST_KEYS: Final[tuple[CostKey, ...]] = get_args(CostKey)


class CostSums(TypedDict):
    """Sums over the calls with known values, under the names of `daily_costs`."""

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


class CostReport(TypedDict):
    """Costs by keys.

    `rows` hold the columns of the keys (`date`, `agent_name`, `tool_name`, `model_name`; others as those of `query`)
    and those of `CostSums`; of calls with several tags each row has all, so that they add up to more than `totals`.
    `first_day` and `last_day` are the first and last day with calls, None if there are none. Of
    `totals["invocations"]` calls, `priced` have a known cost.
    `since` and `until` are the range that the report covers (UTC texts; None is open), `time_zone` is where its days
    are. Days before `utc_days_before` are UTC days all the same: their records are deleted, and only daily totals are
    left; None if there are no such days. By other keys and filters than those of daily totals, records are read:
    `deleted_invocations` calls of the range's days and names are not counted, because theirs are deleted;
    `records_since` is the first UTC day with all its records, None if none were ever deleted.
    """

    by: list[str]
    rows: list[dict[str, Any]]
    totals: CostSums
    first_day: str | None
    last_day: str | None
    priced: int
    since: str | None
    until: str | None
    time_zone: str
    utc_days_before: str | None
    records_since: str | None
    deleted_invocations: int


SUMMED: Final = tuple(name for name in CostSums.__annotations__ if name != "total_cost_usd")
_MEASURES: Final = "outcomes,tokens,cost"
"""Whose parts `SUMMED` are."""
_FIRST: Final = datetime(1970, 1, 1, tzinfo=UTC)
_SUMS: Final = ", ".join(f"coalesce(sum({name}), 0)" for name in SUMMED)


class CostRow(NamedTuple):
    """Sums (`SUMMED`) of calls with the same names, and the first and last day they are of."""

    first_day: str
    last_day: str
    names: tuple[Any, ...]
    sums: list[int]


def read_costs(fetch: Fetch, by: Sequence[str], narrowed: InvocationFilter, asked: TimeRange = EVER) -> CostReport:
    """Costs grouped and sorted by these keys, at least one, each once: any that `query` has.

    Days are sorted newest first; names alphabetically, unknown ones first; if the last key is a name, by cost. By day,
    agent, tool and model, with filters by names alone, daily totals answer, which stay for ever; else the records do.

    Args:
        asked: the range of time, and the zone whose days are meant.
    """
    if not by:
        raise QueryError("by", "", f"give one or more of {', '.join(KEYS)}")
    group_keys(by)
    if is_of_days(by, narrowed):
        return _of_days(fetch, by, narrowed, asked)
    return _of_records(fetch, by, narrowed, asked)


def is_of_days(by: Sequence[str], narrowed: InvocationFilter) -> bool:
    """Whether daily totals answer."""
    return set(by) <= set(COST_KEYS) and columns_of(narrowed.conditions()) <= {*NAMES}


def cost_columns(by: Sequence[str]) -> list[str]:
    """The columns of these keys in rows."""
    return ["date" if key.column == "day" else key.column for key in group_keys(by)]


def _of_days(fetch: Fetch, by: Sequence[str], narrowed: InvocationFilter, asked: TimeRange) -> CostReport:
    by_day = "day" in by
    parts = range_parts(fetch, asked, by_local_day=by_day)
    columns = cost_columns(by)
    names = [column for column in columns if column != "date"]
    found = cost_rows(fetch, parts, narrowed, names, by_day=by_day)
    groups: dict[tuple[Any, ...], list[int]] = {}
    for row in found:
        named = dict(zip(names, row.names, strict=True)) | {"date": row.first_day}
        sums = groups.setdefault(tuple(named[column] for column in columns), [0] * len(SUMMED))
        sums[:] = map(add, sums, row.sums)
    rows = [dict(zip(columns, key, strict=True)) | cast("dict[str, Any]", _sums(sums)) for key, sums in groups.items()]
    _sort(rows, columns, by)
    totals = _sums([sum(values) for values in zip(*groups.values(), strict=True)] or [0] * len(SUMMED))
    covered = parts.covered.as_json()
    return CostReport(
        by=list(by),
        rows=rows,
        totals=totals,
        first_day=min((row.first_day for row in found), default=None),
        last_day=max((row.last_day for row in found), default=None),
        priced=totals["invocations"] - totals["unpriced"],
        utc_days_before=parts.utc_days_before if by_day else None,
        since=covered["since"],
        until=covered["until"],
        time_zone=covered["time_zone"],
        records_since=None if parts.records_since is None else parts.records_since.isoformat(),
        deleted_invocations=0,
    )


def _of_records(fetch: Fetch, by: Sequence[str], narrowed: InvocationFilter, asked: TimeRange) -> CostReport:
    question = Question(_MEASURES, by, [*narrowed.conditions()], asked.start, asked.end, asked.zone)
    found = grouped(fetch, question, datetime.now(UTC))
    columns = cost_columns(by)
    rows = [
        dict(zip(columns, key, strict=True)) | cast("dict[str, Any]", _sums([parts[name] for name in SUMMED]))
        for key, parts in found.groups.items()
    ]
    _sort(rows, columns, by)
    totals = _sums([found.totals[name] for name in SUMMED])
    first, last = _ends(fetch, by, replace(narrowed, since=asked.start, until=asked.end), asked.zone)
    covered = asked.as_json()
    return CostReport(
        by=list(by),
        rows=rows,
        totals=totals,
        first_day=first,
        last_day=last,
        priced=totals["invocations"] - totals["unpriced"],
        utc_days_before=None,
        since=covered["since"],
        until=covered["until"],
        time_zone=covered["time_zone"],
        records_since=found.records_since,
        deleted_invocations=found.deleted,
    )


def _ends(
    fetch: Fetch, by: Sequence[str], narrowed: InvocationFilter, zone: tzinfo
) -> tuple[str, str] | tuple[None, None]:
    """The days of the first and the last of these records."""
    where = narrowed.where()
    where.only_calls(columns_of(narrowed.conditions()).union(by))
    sql = f"SELECT min(timestamp), max(timestamp) FROM invocations{where}"  # noqa: S608
    ((first, last),) = fetch((sql, where.parameters))
    return (None, None) if first is None else (_day(first, zone), _day(last, zone))


def cost_rows(
    fetch: Fetch, parts: RangeParts, narrowed: InvocationFilter, names: Sequence[str], *, by_day: bool
) -> list[CostRow]:
    """Sums by these columns, and by the days of the zone; those of different parts are not added up."""
    days = _daily_rows(fetch, parts.days(narrowed), names, by_day=by_day)
    return [*days, *_record_rows(fetch, parts, narrowed, names, by_day=by_day)]


def _daily_rows(fetch: Fetch, where: Where, names: Sequence[str], *, by_day: bool) -> list[CostRow]:
    """Rows of the daily totals."""
    keys = ", ".join([*names, *(["date"] if by_day else [])])
    sql = f"SELECT min(date), max(date), {_list(names)}{_SUMS} FROM daily_costs{where} GROUP BY {keys}"  # noqa: S608
    return [
        CostRow(text(first), text(last), tuple(row[: len(names)]), [*map(whole, row[len(names) :])])
        for first, last, *row in fetch_daily_sums(fetch, sql, where.parameters)
    ]


def _record_rows(
    fetch: Fetch, parts: RangeParts, narrowed: InvocationFilter, names: Sequence[str], *, by_day: bool
) -> Iterator[CostRow]:
    """Rows of the records at the ends of the range; by days of the zone, of all that has records."""
    zone = parts.covered.zone
    if by_day:
        question = Question(_MEASURES, ("day", *names), narrowed.conditions())
        for edge in parts.edges:
            for day, key, sums in parts_by_day(fetch, question, TimeRange(edge.start, edge.end, zone)):
                of = (day or day_of(edge.start or _FIRST, zone)).isoformat()
                yield CostRow(of, of, key, [sums[name] for name in SUMMED])
        return
    grouped = f" GROUP BY {', '.join(names)}" if names else ""
    sql = f"SELECT min(timestamp), max(timestamp), {_list(names)}{added_up(*SUMMED)} FROM invocations"  # noqa: S608
    for edge in parts.edges:
        where = edge.where(narrowed)
        for first, last, *row in fetch((f"{sql}{where}{grouped}", where.parameters)):
            if first is not None:  # else there are no calls
                names_and_sums = tuple(row[: len(names)]), [*map(whole, row[len(names) :])]
                yield CostRow(_day(first, zone), _day(last, zone), *names_and_sums)


def _day(timestamp: object, zone: tzinfo) -> str:
    moment = moment_of(timestamp)
    return text(timestamp)[:10] if moment is None else day_of(moment, zone).isoformat()


def _list(names: Sequence[str]) -> str:
    return "".join(f"{name}, " for name in names)


def _sort(rows: list[dict[str, Any]], columns: Sequence[str], by: Sequence[str]) -> None:
    """Sort by the keys from the last to the first: a sort keeps the order of what is equal."""
    ranks = {column: key.rank for column, key in zip(columns, group_keys(by), strict=True) if key.is_period}
    for column in reversed(columns):
        if column in ranks:
            _sort_periods(rows, column, ranks[column])
            continue
        rows.sort(key=lambda row: (row[column] is not None, text(row[column])))
        if column == columns[-1]:
            rows.sort(key=lambda row: row["cost_nanos"], reverse=True)


def _sort_periods(rows: list[dict[str, Any]], column: str, rank: Callable[[Any], Any]) -> None:
    """The newest first, days of the week from Monday on; what no writer wrote has none, and comes last."""
    known = [row for row in rows if row[column] is not None]
    known.sort(key=lambda row: rank(row[column]), reverse=column != "weekday")
    rows[:] = known + [row for row in rows if row[column] is None]


def _sums(values: Sequence[int]) -> CostSums:
    named: dict[str, Any] = dict(zip(SUMMED, map(whole, values), strict=True))
    named["total_cost_usd"] = named["cost_nanos"] / 1e9
    return cast("CostSums", {name: named[name] for name in CostSums.__annotations__})
