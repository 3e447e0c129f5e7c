"""Hours, days, weeks and months of a time zone, out of units of UTC that none of them cuts.

SQLite knows no time zones. All that a zone does is to have another offset from some moment on. So whatever divides each
offset and each such moment in the range divides the zone's hours and days, too: whole UTC hours nearly everywhere,
quarters of one in Kathmandu (+5:45) and on Lord Howe Island (whose summer time is half an hour). A unit of SQL becomes
a period of the zone in Python, by `zoneinfo`.
"""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta, tzinfo
from math import gcd
from typing import Final

__all__ = ["DAY", "PERIODS", "UNITS", "WEEKDAYS", "moment_of", "period_of", "unit_of"]

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

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_STEP: Final = timedelta(days=1)
"""No zone changes its offset and takes that back within a day."""


def _hour(local: datetime) -> str:
    """With its offset, which tells the two hours apart that a clock shows when it is put back."""
    minute = local.isoformat(timespec="minutes")  # at a full hour the zone might have had another offset
    return f"{minute[:14]}00{minute[16:]}"


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
