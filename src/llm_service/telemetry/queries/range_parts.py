"""How a range of time is read: whole UTC days from the daily totals, which stay for ever, and the rest from records.

Records are deleted after `retention_days`. Where those at an end of the range are gone, only the totals of the whole
UTC day are left: then the range is widened to that day, and says so.
"""

from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple

from llm_service.telemetry.queries.cells import day, text
from llm_service.telemetry.queries.filters import InvocationFilter, Where
from llm_service.telemetry.queries.time_range import TimeRange, day_start
from llm_service.telemetry.record.timestamps import MAX_MICROSECONDS, microseconds_text, to_microseconds
from llm_service.telemetry.stores.base import Fetch

__all__ = ["Edge", "RangeParts", "moment_of", "range_parts", "read_kept_since"]

_DAY = timedelta(days=1)
_FIRST = datetime(1970, 1, 1, tzinfo=UTC)
_LAST_DAY = date.max - _DAY


class Edge(NamedTuple):
    """A span of time that is read from records: from `start` on and before `end` (aware UTC); None leaves it open."""

    start: datetime | None
    end: datetime | None

    def where(self, narrowed: InvocationFilter) -> Where:
        """The conditions on calls of `invocations`."""
        where = narrowed.calls()
        where.compare("timestamp >= ?", None if self.start is None else _text(self.start))
        where.compare("timestamp < ?", None if self.end is None else _text(self.end))
        return where


@dataclass(frozen=True, slots=True)
class RangeParts:
    """The parts that a range is read in.

    Attributes:
        covered: the range that they cover: the one that was asked for, or a wider one.
        first, after: the UTC days of daily totals, from `first` on and before `after`; None leaves that end open.
        has_days: whether there are any.
        edges: what is read from records.
        records_since: the first UTC day with all its records; None if none were ever deleted.
    """

    covered: TimeRange
    first: date | None
    after: date | None
    has_days: bool
    edges: tuple[Edge, ...]
    records_since: date | None

    @property
    def utc_days_before(self) -> str | None:
        """Where days of another zone are asked for: days before this one are UTC days; None: there are no such days."""
        mixed = self.has_days and self.covered.zone is not UTC
        return self.records_since.isoformat() if mixed and self.records_since is not None else None

    def days(self, narrowed: InvocationFilter) -> Where:
        """The conditions on `daily_costs`."""
        where = narrowed.daily()
        if not self.has_days:
            where.add("0")
        where.compare("date >= ?", None if self.first is None else self.first.isoformat())
        where.compare("date < ?", None if self.after is None else self.after.isoformat())
        return where


def read_kept_since(fetch: Fetch) -> date | None:
    """The first UTC day with all its records; None if none were ever deleted."""
    found = fetch(("SELECT records_kept_since FROM retention", []))
    return day(found[0][0]) if found else None


def range_parts(fetch: Fetch, asked: TimeRange, *, by_local_day: bool = False) -> RangeParts:
    """The parts of a range.

    Args:
        by_local_day: local days are asked for; where they are no UTC days, the records tell them, and daily totals are
            read only of the UTC days whose records are deleted.
    """
    kept = read_kept_since(fetch)
    start, end = asked.start, asked.end
    start = None if start is None or start <= _FIRST else start
    if kept is not None:
        if start is not None and start.date() < kept:
            start = _midnight(start.date())
        if end is not None and end.date() < kept:
            end = _midnight(_ceiling(max(end, _FIRST)))
    covered = asked if end == asked.end and start in (asked.start, None) else replace(asked, start=start, end=end)
    if by_local_day and asked.zone is not UTC:
        return _by_local_day(covered, start, end, kept)
    first = None if start is None else _ceiling(start)
    after = None if end is None else max(end, _FIRST).date()
    if first is not None and after is not None and first >= after:
        return RangeParts(covered, None, None, has_days=False, edges=(Edge(start, end),), records_since=kept)
    edges: list[Edge] = []
    if start is not None and first is not None and start != _midnight(first):
        edges.append(Edge(start, _midnight(first)))
    if end is not None and after is not None and end > _midnight(after):
        edges.append(Edge(_midnight(after), end))
    return RangeParts(covered, first, after, has_days=True, edges=tuple(edges), records_since=kept)


def moment_of(timestamp: object) -> datetime | None:
    """The moment of a stored timestamp; None of what no writer wrote."""
    try:
        moment = datetime.fromisoformat(text(timestamp))
    except ValueError:
        return None
    return None if moment.tzinfo is None else moment


def _by_local_day(covered: TimeRange, start: datetime | None, end: datetime | None, kept: date | None) -> RangeParts:
    if kept is None:
        return RangeParts(covered, None, None, has_days=False, edges=(Edge(start, end),), records_since=None)
    first, after = None if start is None else start.date(), kept if end is None else min(end.date(), kept)
    began = _midnight(kept)
    edges = () if end is not None and end <= began else (Edge(began if start is None else max(start, began), end),)
    has_days = first is None or first < after
    return RangeParts(covered, first, after, has_days=has_days, edges=edges, records_since=kept)


def _midnight(utc_day: date) -> datetime:
    return day_start(utc_day, UTC)


def _ceiling(moment: datetime) -> date:
    """The first UTC day that begins at this moment or later."""
    utc_day = moment.date()
    return utc_day if moment == _midnight(utc_day) else min(utc_day, _LAST_DAY) + _DAY


def _text(moment: datetime) -> str:
    return microseconds_text(min(max(0, to_microseconds(moment)), MAX_MICROSECONDS))
