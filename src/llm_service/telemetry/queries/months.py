"""A month's cost to date, compared with the month before, and a forecast.

UTC days come from the daily roll-ups, which are kept for ever, those of other zones from records, while there are any.
Sums are over the calls with known values; calls without a known cost are counted separately.
"""

import re
from calendar import monthrange
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import Any, Final, NamedTuple, TypedDict, cast

from llm_service.config.time_zones import zone_name
from llm_service.errors import QueryError
from llm_service.telemetry.queries.cells import day as stored_day
from llm_service.telemetry.queries.cells import say_odd
from llm_service.telemetry.queries.costs import SUMMED, cost_rows
from llm_service.telemetry.queries.filters import InvocationFilter, checked_day
from llm_service.telemetry.queries.forecast import DayCost, Forecast, forecast
from llm_service.telemetry.queries.grouping import NameKey, name_columns
from llm_service.telemetry.queries.range_parts import RangeParts, range_parts
from llm_service.telemetry.queries.time_range import TimeRange, day_of, day_start
from llm_service.telemetry.stores.base import Fetch

__all__ = ["MonthCosts", "MonthReport", "MonthSums", "read_month"]

_MONTH: Final = re.compile(r"(\d{4})-(\d{2})", re.ASCII)
_DAY: Final = timedelta(days=1)
_ALL: Final = InvocationFilter()


class MonthSums(TypedDict):
    """Sums over some days, under the names of `daily_costs`."""

    invocations: int
    total_tokens: int
    total_cost_usd: float
    errors: int
    timeouts: int
    uncounted: int
    cost_nanos: int
    unpriced: int


class MonthCosts(TypedDict):
    """One group of calls in the month and in the month before.

    Attributes:
        to_date: from the month's first day through the report's last.
        before_same_days: the same number of days of the month before, or all of it if it is shorter.
        before: the whole month before.
        before_elapsed_usd: the cost of the month before at the same point: its complete days, and of the last day the
            share of today that has passed. USD, of priced calls.
        change: cost to date / `before_elapsed_usd` - 1, of priced calls; None if either is unknown or the latter is 0.
        forecast: None if not requested, if the month is over, or if there is no basis.
    """

    to_date: MonthSums
    before_same_days: MonthSums
    before: MonthSums
    before_elapsed_usd: float
    change: float | None
    forecast: Forecast | None


class MonthReport(TypedDict):
    """A month, by names.

    `rows` hold the columns of the keys (`agent_name`, `tool_name`, `model_name`) and those of `MonthCosts`, highest
    cost first. `totals` are of all calls; their forecast is computed from all calls, not from the rows' forecasts.
    `last_day` is the last day of the report; `elapsed_days` of `days_in_month` have passed. Days are those of
    `time_zone`; but days before `utc_days_before` are UTC days, of which only daily totals are left (None: no such).
    """

    by: list[NameKey]
    month: str
    month_before: str
    last_day: str
    time_zone: str
    utc_days_before: str | None
    elapsed_days: float
    days_in_month: int
    rows: list[dict[str, Any]]
    totals: MonthCosts


_SUMMED: Final = tuple(name for name in MonthSums.__annotations__ if name != "total_cost_usd")
_TAKEN: Final = tuple(SUMMED.index(name) for name in _SUMMED)
_COST: Final = tuple(_SUMMED.index(name) for name in DayCost._fields)


class _Span(NamedTuple):
    """The requested month up to `today`, of which the share `elapsed` (0 to 1) has passed."""

    first: date
    today: date
    elapsed: float

    @property
    def length(self) -> int:
        return monthrange(self.first.year, self.first.month)[1]

    @property
    def before(self) -> date:
        """The first day of the month before."""
        return (self.first - _DAY).replace(day=1)

    @property
    def same_day(self) -> date:
        """The day of the month before that is compared with `today`."""
        return min(self.before + timedelta(days=self.today.day - 1), self.first - _DAY)


@dataclass(slots=True)
class _Group:
    """The sums of a group by day, and its first day ever."""

    began: date
    days: dict[date, tuple[int, ...]] = field(default_factory=dict[date, tuple[int, ...]])

    def add(self, day: date, sums: Sequence[int]) -> None:
        self.began = min(self.began, day)
        so_far = self.days.get(day)
        self.days[day] = tuple(sums) if so_far is None else tuple(map(sum, zip(so_far, sums, strict=True)))


def read_month(
    fetch: Fetch,
    now: datetime,
    by: Sequence[NameKey] = (),
    month: str | None = None,
    as_of: date | str | None = None,
    narrowed: InvocationFilter = _ALL,
    *,
    with_forecast: bool = True,
    zone: tzinfo = UTC,
) -> MonthReport:
    """A month to date, the month before, and a forecast.

    Args:
        now: aware; days after its day are left out.
        by: any of `agent`, `tool`, `model`, each once; none for totals alone.
        month: `YYYY-MM`, from 1970-01 to the present month, the default. A past month counts whole.
        as_of: a day up to today, instead of `month`: its month as of the end of that day.
        narrowed: to which names.
        zone: where days and months are.
    """
    columns = name_columns(by)
    span = _span(now, month, as_of, zone)
    asked = TimeRange(day_start(span.before, zone), day_start(span.today + _DAY, zone), zone)
    parts = range_parts(fetch, asked, by_local_day=True)
    groups, everything = _read_groups(fetch, parts, span, columns, narrowed)
    rows: list[dict[str, Any]] = []
    for key, group in groups.items():
        costs = _costs(group, span, with_forecast=with_forecast)
        rows.append(dict(zip(columns, key, strict=True)) | cast("dict[str, Any]", costs))
    rows.sort(key=lambda row: (-row["to_date"]["cost_nanos"], *(row[column] or "" for column in columns)))
    return MonthReport(
        by=list(by),
        month=f"{span.first:%Y-%m}",
        month_before=f"{span.before:%Y-%m}",
        last_day=span.today.isoformat(),
        time_zone=zone_name(zone),
        utc_days_before=parts.utc_days_before,
        elapsed_days=span.today.day - 1 + span.elapsed,
        days_in_month=span.length,
        rows=rows if columns else [],
        totals=_costs(everything, span, with_forecast=with_forecast),
    )


def _span(now: datetime, month: object, as_of: date | str | None, zone: tzinfo) -> _Span:
    today = day_of(now, zone)
    begins = day_start(today, zone)
    elapsed = (now - begins) / (day_start(today + _DAY, zone) - begins)
    if as_of is not None:
        if month is not None:
            raise QueryError("as_of", str(as_of), "it says the month as well; leave one of as_of and month out")
        day = checked_day("as_of", as_of)
        if not date(1970, 1, 1) <= day <= today:
            raise QueryError("as_of", str(as_of), f"give a day from 1970-01-01 to {today}, today")
        return _Span(day.replace(day=1), day, elapsed if day == today else 1.0)
    if month is None:
        return _Span(today.replace(day=1), today, elapsed)
    found = _MONTH.fullmatch(month) if isinstance(month, str) else None
    year, number = (int(found[1]), int(found[2])) if found else (0, 0)
    if not (year >= 1970 and 1 <= number <= 12 and (year, number) <= (today.year, today.month)):
        raise QueryError("month", month, f"give a month from 1970-01 to {today:%Y-%m}, the present one")
    first = date(year, number, 1)
    if first == today.replace(day=1):
        return _Span(first, today, elapsed)
    return _Span(first, first.replace(day=monthrange(year, number)[1]), 1.0)


def _read_groups(
    fetch: Fetch, parts: RangeParts, span: _Span, columns: Sequence[str], narrowed: InvocationFilter
) -> tuple[dict[tuple[str | None, ...], _Group], _Group]:
    """The days of each group and of all calls, from the first of the month before on (at least 28 days).

    A group that is older began on its first UTC day.
    """
    keys = "".join(f"{column}, " for column in columns)
    recent = cost_rows(fetch, parts, narrowed, columns, by_day=True)
    ever = replace(narrowed, end_date=span.before - _DAY).daily()
    grouped = f" GROUP BY {keys.removesuffix(', ')}" if keys else ""
    sql = f"SELECT {keys}min(date) FROM daily_costs{ever}{grouped}"  # noqa: S608
    began = {
        tuple(row[:-1]): first for row in fetch((sql, ever.parameters)) if (first := stored_day(row[-1])) is not None
    }
    everything = _Group(min(began.values(), default=span.today))
    groups: dict[tuple[str | None, ...], _Group] = {}
    for row in recent:
        day = stored_day(row.first_day)
        if day is None:
            say_odd("daily_costs", row.first_day, "date", 1)
            continue
        values = [row.sums[place] for place in _TAKEN]
        groups.setdefault(row.names, _Group(began.get(row.names, day))).add(day, values)
        everything.add(day, values)
    return groups, everything


def _costs(group: _Group, span: _Span, *, with_forecast: bool) -> MonthCosts:
    to_date = _sums(group, span.first, span.today)
    same_days = _sums(group, span.before, span.same_day)
    before = _sums(group, span.before, span.first - _DAY)
    elapsed_nanos = _elapsed(group, span)
    known = _known(to_date) and _known(same_days)
    days = {day: DayCost(*(sums[place] for place in _COST)) for day, sums in group.days.items()}
    return MonthCosts(
        to_date=to_date,
        before_same_days=same_days,
        before=before,
        before_elapsed_usd=round(elapsed_nanos / 1e9, 9),
        change=to_date["cost_nanos"] / elapsed_nanos - 1 if known and elapsed_nanos else None,
        forecast=forecast(days, group.began, span.today, span.elapsed) if with_forecast else None,
    )


def _elapsed(group: _Group, span: _Span) -> float:
    """Nano-dollars of the month before at the same point."""
    whole = _sums(group, span.before, span.same_day)["cost_nanos"]
    if span.today.day > span.same_day.day:
        return whole  # the month before is shorter
    last = _sums(group, span.same_day, span.same_day)["cost_nanos"]
    return whole - last * (1 - span.elapsed)


def _known(sums: MonthSums) -> bool:
    return not sums["invocations"] or sums["unpriced"] < sums["invocations"]


def _sums(group: _Group, first: date, last: date) -> MonthSums:
    values = [0] * len(_SUMMED)
    for day, sums in group.days.items():
        if first <= day <= last:
            values = [one + other for one, other in zip(values, sums, strict=True)]
    named: dict[str, Any] = dict(zip(_SUMMED, values, strict=True))
    named["total_cost_usd"] = named["cost_nanos"] / 1e9
    return cast("MonthSums", {name: named[name] for name in MonthSums.__annotations__})
