"""Ranges of time as people say them: words, durations, days and moments, in a time zone.

A day of a zone begins at the first moment at which the calendar on the wall there shows it, or a later day: where the
clock is put forward over midnight, at that change; where midnight comes twice, at the first one.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from difflib import get_close_matches
from typing import Any, Final, NamedTuple

from llm_service.budgets.windows import clock_hour
from llm_service.config.time_zones import UTC_NAMES, zone_name, zone_named
from llm_service.errors import QueryError
from llm_service.telemetry.record.timestamps import from_microseconds, to_microseconds

__all__ = ["EVER", "WORDS", "TimeRange", "day_of", "day_start", "query_zone", "time_range"]

_DAY: Final = timedelta(days=1)
_FIRST: Final = datetime.min.replace(tzinfo=UTC)
_LAST: Final = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class TimeRange:
    """From `start` on and before `end`, which are aware UTC moments; None leaves that end open.

    Attributes:
        zone: where its days are.
    """

    start: datetime | None
    end: datetime | None
    zone: tzinfo

    def __str__(self) -> str:
        """Both ends in the zone, and its name; a fraction of a second only where there is one."""
        first, last = (None if moment is None else _shown(moment, self.zone) for moment in (self.start, self.end))
        begins = "up to" if first is None and last is not None else "all times" if first is None else f"from {first}"
        ends = "" if last is None else f" {last}" if first is None else f" to {last}"
        return f"{begins}{ends} ({zone_name(self.zone)})"

    def as_json(self) -> dict[str, Any]:
        """The keys `since` and `until` (UTC texts, or None) and `time_zone` (its name)."""
        since, until = (None if moment is None else _text(moment) for moment in (self.start, self.end))
        return {"since": since, "until": until, "time_zone": zone_name(self.zone)}


EVER: Final = TimeRange(None, None, UTC)
"""Open at both ends."""


class _Period(NamedTuple):
    """A period of the calendar: days of a zone, from `first` on and before `after`, the first one after it."""

    first: date
    after: date | None


_Bounds = tuple[datetime, datetime | None]
"""Where something begins, and where it ends; a moment does both at once."""


def _day(day: date, ago: int = 0) -> _Period:
    return _Period(day - ago * _DAY, _following(day - ago * _DAY, 1))


def _week(day: date, ago: int = 0) -> _Period:
    monday = day - timedelta(days=day.weekday(), weeks=ago)
    return _Period(monday, _following(monday, 7))


def _month(day: date, ago: int = 0) -> _Period:
    months = day.year * 12 + day.month - 1 - ago
    return _Period(date(months // 12, months % 12 + 1, 1), _first_of(months + 1))


def _year(day: date, ago: int = 0) -> _Period:
    first = date(day.year - ago, 1, 1)
    return _Period(first, _first_of((first.year + 1) * 12))


def _following(day: date, days: int) -> date | None:
    return None if date.max - day < timedelta(days=days) else day + timedelta(days=days)


def _first_of(months: int) -> date | None:
    """The first of a month, counted from the year 0; None after the year 9999."""
    return date(months // 12, months % 12 + 1, 1) if months // 12 <= date.max.year else None


_PERIODS: Final[dict[str, tuple[Callable[[date, int], _Period], int]]] = {
    "today": (_day, 0),
    "yesterday": (_day, 1),
    "this-week": (_week, 0),
    "last-week": (_week, 1),
    "this-month": (_month, 0),
    "last-month": (_month, 1),
    "this-year": (_year, 0),
    "last-year": (_year, 1),
}
_HOURS: Final = {"this-hour": 0, "last-hour": 1}
WORDS: Final = ("now", *_HOURS, *_PERIODS)
"""All words; durations, days and moments are no words."""

_ISO: Final[tuple[tuple[re.Pattern[str], str, Callable[[date, int], _Period]], ...]] = (
    (re.compile(r"\d{4}", re.ASCII), "{}-01-01", _year),
    (re.compile(r"\d{4}-\d\d", re.ASCII), "{}-01", _month),
    (re.compile(r"\d{4}-?W\d\d", re.ASCII), "{}", _week),
    (re.compile(r"[\d-]{8,10}|\d{4}-?W[\d-]{3,4}", re.ASCII), "{}", _day),
)
"""How periods are written: what a text looks like, what day is in it, and which period that day is in."""
_UNITS: Final = {"w": "weeks", "d": "days", "h": "hours", "m": "minutes", "s": "seconds"}
_PART: Final = re.compile(
    r"(\d{1,9}) *(w(?:eeks?)?|d(?:ays?)?|h(?:ours?|rs?)?|m(?:in(?:ute)?s?)?|s(?:ec(?:ond)?s?)?)(?![a-z]) *", re.ASCII
)
_DURATION: Final = re.compile(f"(?:{_PART.pattern})+", re.ASCII)
_NEARLY: Final = re.compile(_PART.pattern.replace(" *", r"[\W_]*").replace("[a-z]", "[a-z0-9]"), re.ASCII)
_SLASHED: Final = re.compile(r"(\d{4})[/.](\d\d?)[/.](\d\d?)", re.ASCII)
_FORMS: Final = "a duration such as 24h, 7d or 1h30m, a day such as 2026-11-23, or a time such as 2026-11-23T18:00"


def time_range(
    since: object = None, until: object = None, *, time_zone: str | tzinfo | None = None, now: datetime
) -> TimeRange:
    """The range from `since` on and before `until`.

    Each is one of these, or None, which leaves that end open:

    - a period: `today`, `yesterday`, `this-week`, `last-week` (from Monday), `this-month`, `last-month`, `this-year`,
      `last-year`, `this-hour`, `last-hour`, a `date`, or an ISO text: `2026-11-23`, `2026-W48`, `2026-11`, `2026`.
      As `since` it begins the range, as `until` it ends it and is in it: `last-month` for both is the whole month.
    - a moment: `now`; a duration that counts back from now in weeks (`w`), days (`d`), hours, minutes (`m`) and
      seconds, of which a day is always 24 hours: `24h`, `1d` and `1 day` are the same; an aware datetime; a naive
      one, which is local time of this machine, as Python takes it; an ISO text, in `time_zone` unless it has an offset.

    Args:
        time_zone: where periods begin and end; a name such as `Europe/Berlin`, `local`, or a tzinfo. None is UTC.
        now: aware.

    Raises:
        QueryError: naming `since`, `until` or `time_zone`, the value and the remedy.
    """
    zone = query_zone(time_zone)
    start = None if since is None else _bounds("since", since, zone, now)[0]
    if until is None:
        return TimeRange(start, None, zone)
    last, end = _bounds("until", until, zone, now)
    # Not every empty range is a mistake: Samoa had no 2011-12-30.
    if start is not None and end is not None and last < start and end <= start:
        raise QueryError("until", until, f"it ends before the range begins, {_shown(start, zone)}; give a later one")
    return TimeRange(start, end, zone)


def query_zone(time_zone: str | tzinfo | None) -> tzinfo:
    """The zone of a query; None is UTC. Raises QueryError: there is none of this name."""
    if isinstance(time_zone, tzinfo):
        return UTC if zone_name(time_zone) in UTC_NAMES else time_zone
    try:
        return UTC if time_zone is None else zone_named(time_zone)
    except ValueError as error:
        raise QueryError("time_zone", time_zone, str(error)) from None


def day_start(day: date, zone: tzinfo) -> datetime:
    """The moment (UTC) at which a day of the zone begins; the first or last one there is where that lies beyond it."""
    midnight = datetime.combine(day, time(), zone)
    try:
        start = midnight.astimezone(UTC)
        if start.astimezone(zone).replace(tzinfo=None) == midnight.replace(tzinfo=None):
            return start
        before = midnight.replace(fold=1).astimezone(UTC)  # there is no such midnight: the clock jumps over it
    except OverflowError:
        return _FIRST if day.year == date.min.year else _LAST
    while start - before > timedelta(seconds=1):
        middle = before + (start - before) // timedelta(seconds=2) * timedelta(seconds=1)
        if middle.astimezone(zone).date() < day:
            before = middle
        else:
            start = middle
    return start


def day_of(moment: datetime, zone: tzinfo) -> date:
    """The day of the zone that a moment (aware) is in, by `day_start`."""
    try:
        day = moment.astimezone(zone).date()
    except OverflowError:
        return date.min if moment.year == date.min.year else date.max
    # Where the clock is put back over midnight, it shows the end of a day that is over.
    return day + _DAY if day < date.max and day_start(day + _DAY, zone) <= moment else day


def _bounds(field: str, value: object, zone: tzinfo, now: datetime) -> _Bounds:
    try:
        if isinstance(value, datetime):
            return _at_once(_plain(value))  # of a naive one, Python takes the local time
        if isinstance(value, date):
            return _of_period(_day(value), zone)
        if isinstance(value, str):
            return _of_text(value, zone, now.astimezone(UTC))
    except (OverflowError, OSError):
        raise QueryError(field, value, "it is outside of the years 1 to 9999") from None
    except ValueError:
        pass
    raise QueryError(field, value, _remedy(value))


def _of_text(text: str, zone: tzinfo, now: datetime) -> _Bounds:
    """Raises ValueError: it says no time; OverflowError: none that there is."""
    if text == "now":
        return now, now
    if text in _HOURS:
        span = clock_hour(to_microseconds(now), zone)
        if _HOURS[text]:
            span = clock_hour(span.start - 1, zone)
        return from_microseconds(span.start), from_microseconds(span.end)
    if text in _PERIODS:
        period, ago = _PERIODS[text]
        return _of_period(period(day_of(now, zone), ago), zone)
    if _DURATION.fullmatch(text):
        ago_by: dict[str, int] = {}
        for number, unit in _PART.findall(text):
            ago_by[_UNITS[unit[0]]] = ago_by.get(_UNITS[unit[0]], 0) + int(number)
        moment = now - timedelta(**ago_by)
        return moment, moment
    for form, day, period in _ISO:
        if form.fullmatch(text):
            return _of_period(period(date.fromisoformat(day.format(text)), 0), zone)
    moment = datetime.fromisoformat(text)
    return _at_once(moment if moment.utcoffset() is not None else moment.replace(tzinfo=zone))


def _plain(moment: datetime) -> datetime:
    """A subclass, such as that of pandas, may override arithmetic and zones; `NaT` is a ValueError."""
    clock = (moment.hour, moment.minute, moment.second, moment.microsecond)
    return datetime(moment.year, moment.month, moment.day, *clock, moment.tzinfo, fold=moment.fold)  # noqa: DTZ001


def _at_once(moment: datetime) -> _Bounds:
    utc = moment.astimezone(UTC)
    return utc, utc


def _of_period(period: _Period, zone: tzinfo) -> _Bounds:
    return day_start(period.first, zone), None if period.after is None else day_start(period.after, zone)


def _remedy(value: object) -> str:
    text = value.strip() if isinstance(value, str) else ""
    if part := _NEARLY.search(text if text.endswith("M") else text.lower()):
        return f"did you mean {part[1]}{part[2][0]}?"
    if day := _SLASHED.fullmatch(text):
        return f"did you mean {day[1]}-{day[2]:0>2}-{day[3]:0>2}?"
    near = get_close_matches(text.casefold().replace(" ", "-"), WORDS, n=1)
    return f"did you mean {near[0]}?" if near else f"give one of {', '.join(WORDS)}, {_FORMS}"


def _shown(moment: datetime, zone: tzinfo) -> str:
    """A moment as its zone's clock shows it: to the minute, and no finer than it is."""
    try:
        local = moment.astimezone(zone)
    except OverflowError:
        local = moment
    exactness = "minutes" if not (local.second or local.microsecond) else "seconds"
    return local.replace(tzinfo=None, microsecond=0).isoformat(" ", exactness)


def _text(moment: datetime) -> str:
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(" ", "microseconds") + "Z"
