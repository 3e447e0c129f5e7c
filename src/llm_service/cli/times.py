"""Times as people type them: `2h` ago, a UTC day, or a moment."""

import re
from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import Final

from llm_service.config.time_zones import zone_name

__all__ = ["Moment", "day_of", "parse_time", "shown_time", "start_of", "zone_label"]

Moment = date | datetime
"""A whole UTC day, or (a datetime, which is also a date) an exact moment, aware UTC."""

_UNITS: Final = {"w": "weeks", "d": "days", "h": "hours", "m": "minutes", "s": "seconds"}
_DURATION: Final = re.compile(r"(?:\d{1,9}[wdhms])+", re.ASCII)
_PART: Final = re.compile(r"(\d+)([wdhms])", re.ASCII)


def parse_time(text: str, now: datetime) -> Moment:
    """What a text such as `30d`, `1h30m`, `2026-11-23` or `2026-11-23 18:00` means.

    Args:
        text: a duration in weeks, days, hours, minutes (`m`) or seconds, which counts back from `now`; an ISO day; or
            an ISO moment, which is UTC unless it has an offset.

    Raises:
        ValueError: it is none of these, or lies before the year 1.
    """
    if _DURATION.fullmatch(text):
        ago: dict[str, int] = {}
        for number, unit in _PART.findall(text):
            ago[_UNITS[unit]] = ago.get(_UNITS[unit], 0) + int(number)
        try:
            return now.astimezone(UTC) - timedelta(**ago)
        except OverflowError:
            raise ValueError("longer ago than the calendar goes") from None
    try:
        return date.fromisoformat(text)
    except ValueError:
        pass
    moment = datetime.fromisoformat(text)
    try:
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("outside of the years 1 to 9999") from None


def day_of(moment: Moment | None) -> date | None:
    """The UTC day that a moment lies in."""
    return moment.astimezone(UTC).date() if isinstance(moment, datetime) else moment


def start_of(moment: Moment) -> datetime:
    """The moment itself, or midnight UTC of a day."""
    return moment if isinstance(moment, datetime) else datetime(moment.year, moment.month, moment.day, tzinfo=UTC)


def shown_time(timestamp: object, zone: tzinfo, exactness: str = "seconds") -> str:
    """A stored UTC time (`2026-11-23 18:30:00.000000Z`) on the clock of a zone; as it is, where it is none."""
    text = str(timestamp)
    try:
        moment = datetime.fromisoformat(text)
        local = (moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment).astimezone(zone)
    except (ValueError, OverflowError):
        return text[:19]
    return local.replace(tzinfo=None, microsecond=0).isoformat(" ", exactness)


def zone_label(zone: tzinfo) -> str:
    """The zone in a heading: of `America/Los_Angeles` the city alone, which is not wider than a time."""
    return zone_name(zone).rpartition("/")[2]
