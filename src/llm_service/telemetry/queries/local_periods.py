"""Hours, days, weeks and months of a time zone, out of UTC timestamps: SQLite knows no time zones.

Two ways lead there. Days and longer periods: SQL looks up between which beginnings of days a timestamp lies. Hours,
which are too many for that: all that a zone does is to have another offset from some moment on, so whatever divides
each offset and each such moment divides the zone's hours, too. That is a whole UTC hour nearly everywhere, and a
quarter of one in Kathmandu (+5:45) and on Lord Howe Island (whose summer time is half an hour); SQL cuts a timestamp to
that unit.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from math import gcd
from typing import Any, Final

from llm_service.telemetry.queries.time_range import day_start
from llm_service.telemetry.record.timestamps import MAX_MICROSECONDS, microseconds_text, to_microseconds

__all__ = [
    "DAY",
    "PERIODS",
    "UNITS",
    "WEEKDAYS",
    "Cut",
    "cut_into_days",
    "cut_into_units",
    "moment_of",
    "period_of",
    "unit_of",
]

DAY: Final = 86_400
UNITS: Final = {
    DAY: "substr(timestamp, 1, 10)",
    3_600: "substr(timestamp, 1, 13)",
    900: "substr(timestamp, 1, 14) || substr('00153045', CAST(substr(timestamp, 15, 2) AS INTEGER) / 15 * 2 + 1, 2)",
    60: "substr(timestamp, 1, 16)",
    1: "substr(timestamp, 1, 19)",
}
"""By seconds: the SQL of the unit that a call's `timestamp` is in, the beginning of an ISO text."""
WEEKDAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")

_MOST_DAYS: Final = 4_000
"""That SQL looks up; it takes a text of at most a megabyte."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_STEP: Final = timedelta(days=1)
"""No zone changes its offset and takes that back within a day."""


def _hour(local: datetime) -> str:
    """With its offset, which tells the two hours apart that a clock shows when it is put back."""
    minute = local.isoformat(timespec="minutes")  # at a full hour the zone might have had another offset
    return f"{minute[:14]}00{minute[16:]}"


@dataclass(frozen=True, slots=True)
class Cut:
    """How calls are grouped by time.

    Attributes:
        sql: of a `timestamp`.
        moment: of a cell of it: the beginning of what it stands for; None for a timestamp that no writer wrote.
    """

    sql: str
    moment: Callable[[Any], datetime | None]


def cut_into_units(unit: int) -> Cut:
    """Into these units of UTC."""
    return Cut(UNITS[unit], moment_of)


def cut_into_days(zone: tzinfo, start: datetime, end: datetime) -> Cut | None:
    """Into the days of the zone from one moment on and before another; None where these are too many."""
    if end - start > timedelta(days=_MOST_DAYS):
        return None
    try:
        first, last = (moment.astimezone(zone).date() for moment in (start, end))
        days = [day_start(first + timedelta(days=n), zone) for n in range((last - first).days + 2)]
    except OverflowError:
        return None
    starts = sorted(set(days))  # a zone may have skipped a day
    texts = [microseconds_text(min(max(0, to_microseconds(moment)), MAX_MICROSECONDS)) for moment in starts]
    return Cut(_place(texts), lambda cell: starts[cell] if isinstance(cell, int) else None)


def _place(texts: Sequence[str]) -> str:
    """SQL for the last of these places whose text is not greater than a timestamp; NULL before and from the last on."""

    def between(low: int, high: int) -> str:
        if high - low == 1:
            return str(low)
        middle = (low + high) // 2
        return f"CASE WHEN timestamp < '{texts[middle]}' THEN {between(low, middle)} ELSE {between(middle, high)} END"

    return f"CASE WHEN timestamp >= '{texts[0]}' AND timestamp < '{texts[-1]}' THEN {between(0, len(texts) - 1)} END"


def _week(local: datetime) -> str:
    year, week, _ = local.isocalendar()
    return f"{year:04}-W{week:02}"


PERIODS: Final[dict[str, Callable[[datetime], str]]] = {
    "hour": _hour,
    "day": lambda local: local.date().isoformat(),
    "week": _week,
    "month": lambda local: f"{local.year:04}-{local.month:02}",
    "weekday": lambda local: WEEKDAYS[local.weekday()],
}
"""By name: the text of the period that a local time is in. Weeks are those of ISO 8601, from Monday."""


def moment_of(unit: object) -> datetime | None:
    """The beginning of a unit of SQL; None for a timestamp that no writer wrote."""
    try:
        return datetime.fromisoformat(unit).replace(tzinfo=UTC) if isinstance(unit, str) else None
    except ValueError:
        return None


def period_of(moment: datetime | None, name: str, zone: tzinfo) -> str | None:
    """The period of the zone that a moment is in; None where there is none, as beyond the year 9999."""
    try:
        return None if moment is None else PERIODS[name](moment.astimezone(zone))
    except (OverflowError, ValueError):
        return None


def unit_of(zone: tzinfo, start: datetime, end: datetime) -> int:
    """Seconds of the coarsest of `UNITS` that no period of the zone cuts, from one moment (aware) to another.

    A whole day is one for periods of a day and longer alone: where it is, the zone's clock shows UTC all the time.
    """
    divisor = _divisor(zone, start.astimezone(UTC).replace(microsecond=0), end.astimezone(UTC))
    return next(unit for unit in UNITS if divisor % unit == 0)


def _divisor(zone: tzinfo, start: datetime, end: datetime) -> int:
    """The greatest number of seconds that divides each offset in the range, and each moment at which it changes."""
    found, before = 0, start
    for moment in (start, *_days(start, end), end):
        offset = _offset(moment, zone)
        found = gcd(found, offset)
        if offset != _offset(before, zone):
            found = gcd(found, (_change(before, moment, zone) - _EPOCH) // timedelta(seconds=1))
        before = moment
    return found


def _days(start: datetime, end: datetime) -> Iterator[datetime]:
    while end - start > _STEP:
        start += _STEP
        yield start


def _offset(moment: datetime, zone: tzinfo) -> int:
    """Seconds; 0 beyond the calendar."""
    try:
        return (moment.astimezone(zone).utcoffset() or timedelta()) // timedelta(seconds=1)
    except OverflowError:
        return 0


def _change(before: datetime, after: datetime, zone: tzinfo) -> datetime:
    """When the clock was changed between two moments."""
    old = _offset(before, zone)
    while after - before > timedelta(seconds=1):
        middle = before + (after - before) // timedelta(seconds=2) * timedelta(seconds=1)
        if _offset(middle, zone) == old:
            before = middle
        else:
            after = middle
    return after
