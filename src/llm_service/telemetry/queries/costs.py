"""Costs by any keys in any order: sums, totals, and coverage, over any range of time and by the days of any zone."""

from collections.abc import Iterator, Sequence
from datetime import tzinfo
from operator import add
from typing import Any, Final, Literal, NamedTuple, TypedDict, cast, get_args

from llm_service.errors import QueryError
from llm_service.telemetry.queries.cells import added_up, text, whole
from llm_service.telemetry.queries.daily_sums import fetch_daily_sums
from llm_service.telemetry.queries.filters import InvocationFilter, Where
from llm_service.telemetry.queries.range_parts import RangeParts, local_days, moment_of, range_parts
from llm_service.telemetry.queries.time_range import EVER, TimeRange, day_of
from llm_service.telemetry.stores.base import Fetch

__all__ = ["COST_KEYS", "SUMMED", "CostKey", "CostReport", "CostRow", "CostSums", "cost_rows", "read_costs"]

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

    `rows` hold the columns of the keys (`date`, `agent_name`, `tool_name`, `model_name`) and those of `CostSums`;
    `first_day` and `last_day` are the first and last day with calls, None if there are none. Of
    `totals["invocations"]` calls, `priced` have a known cost.
    `since` and `until` are the range that the report covers (UTC texts; None is open), `time_zone` is where its days
    are. Days before `utc_days_before` are UTC days all the same: their records are deleted, and only daily totals are
    left; None if there are no such days.
    """

    by: list[CostKey]
    rows: list[dict[str, Any]]
    totals: CostSums
    first_day: str | None
    last_day: str | None
    priced: int
    since: str | None
    until: str | None
    time_zone: str
    utc_days_before: str | None


SUMMED: Final = tuple(name for name in CostSums.__annotations__ if name != "total_cost_usd")
_SUMS: Final = ", ".join(f"coalesce(sum({name}), 0)" for name in SUMMED)


class CostRow(NamedTuple):
    """Sums (`SUMMED`) of calls with the same names, and the first and last day they are of."""

    first_day: str
    last_day: str
    names: tuple[Any, ...]
    sums: list[int]


def read_costs(fetch: Fetch, by: Sequence[CostKey], narrowed: InvocationFilter, asked: TimeRange = EVER) -> CostReport:
    """Costs grouped and sorted by these keys, at least one, each once.

    Days are sorted newest first; names alphabetically, unknown ones first; if the last key is a name, by cost.

    Args:
        asked: the range of time, and the zone whose days are meant.
    """
    if not by or len(set(by)) < len(by) or not set(by) <= set(COST_KEYS):
        raise QueryError("by", ",".join(by), f"give one or more of {', '.join(COST_KEYS)}, each once")
    by_day = "day" in by
    parts = range_parts(fetch, asked, by_local_day=by_day)
    columns = ["date" if key == "day" else f"{key}_name" for key in by]
    names = [column for column in columns if column != "date"]
    found = cost_rows(fetch, parts, narrowed, names, by_day=by_day)
    groups: dict[tuple[Any, ...], list[int]] = {}
    for row in found:
        named = dict(zip(names, row.names, strict=True)) | {"date": row.first_day}
        sums = groups.setdefault(tuple(named[column] for column in columns), [0] * len(SUMMED))
        sums[:] = map(add, sums, row.sums)
    rows = [dict(zip(columns, key, strict=True)) | cast("dict[str, Any]", _sums(sums)) for key, sums in groups.items()]
    _sort(rows, columns)
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
    )


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
    """Rows of the records at the ends of the range, or of all of them by the days of the zone."""
    zone = parts.covered.zone
    grouped = f" GROUP BY {', '.join(names)}" if names else ""
    sql = f"SELECT min(timestamp), max(timestamp), {_list(names)}{added_up(*SUMMED)} FROM invocations"  # noqa: S608
    for edge in parts.edges:
        for day, span in local_days(fetch, edge, narrowed, zone) if by_day else [(None, edge)]:
            where = span.where(narrowed)
            for first, last, *row in fetch((f"{sql}{where}{grouped}", where.parameters)):
                if first is not None:  # else there are no calls
                    names_and_sums = tuple(row[: len(names)]), [*map(whole, row[len(names) :])]
                    yield CostRow(day or _day(first, zone), day or _day(last, zone), *names_and_sums)


def _day(timestamp: object, zone: tzinfo) -> str:
    moment = moment_of(timestamp)
    return text(timestamp)[:10] if moment is None else day_of(moment, zone).isoformat()


def _list(names: Sequence[str]) -> str:
    return "".join(f"{name}, " for name in names)


def _sort(rows: list[dict[str, Any]], columns: Sequence[str]) -> None:
    """Sort by the keys from the last to the first: a sort keeps the order of what is equal."""
    for column in reversed(columns):
        if column == "date":
            rows.sort(key=lambda row: row["date"], reverse=True)
            continue
        rows.sort(key=lambda row: (row[column] is not None, text(row[column])))
        if column == columns[-1]:
            rows.sort(key=lambda row: row["cost_nanos"], reverse=True)


def _sums(values: Sequence[int]) -> CostSums:
    named: dict[str, Any] = dict(zip(SUMMED, map(whole, values), strict=True))
    named["total_cost_usd"] = named["cost_nanos"] / 1e9
    return cast("CostSums", {name: named[name] for name in CostSums.__annotations__})
