"""Windows of time that a budget is for, keyed by their start: there is no job that resets anything.

A calendar window begins where its time zone says, daylight saving included. A rolling window is kept in sixty slices,
and counts from the slice that it has only partly left behind: up to a sixtieth longer than it says, never shorter.
"""

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

__all__ = ["CALENDAR", "MICROSECONDS", "Span", "Window", "window_named"]

MICROSECONDS: Final = 1_000_000
CALENDAR: Final = ("hour", "day", "week", "month", "total")
_SLICES: Final = 60
_ROLLING: Final = re.compile(r"(\d{1,6})([mhd])")
_UNITS: Final = {"m": 60, "h": 3600, "d": 86_400}
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_HOUR_US: Final = 3600 * MICROSECONDS
_FOREVER: Final = 253_402_300_799_999_999


class Span(NamedTuple):
    """One key of a window, in microseconds since 1970 UTC: from `start` on, before `end`."""

    start: int
    end: int


class Window(NamedTuple):
    """What a limit is counted over.

    Attributes:
        name: `hour`, `day`, `week` (from Monday), `month`, `total`, or a rolling one such as `24h`, `7d` or `90m`.
        seconds: how long a rolling window is; 0 for the others.
    """

    name: str
    seconds: int

    @property
    def is_rolling(self) -> bool:
        """Whether it ends now at every moment."""
        return self.seconds > 0

    @property
    def slice_us(self) -> int:
        """How much time one key of a rolling window covers, in microseconds."""
        return max(1, -(-self.seconds // _SLICES)) * MICROSECONDS

    def span(self, moment_us: int, timezone: str) -> Span:
        """The key that a moment falls into."""
        if self.is_rolling:
            start = moment_us - moment_us % self.slice_us
            return Span(start, start + self.slice_us)
        if self.name == "total":
            return Span(0, _FOREVER)
        zone = _zone(timezone)
        local = (_EPOCH + timedelta(microseconds=moment_us)).astimezone(zone)
        if self.name == "hour":
            offset = int((local.utcoffset() or timedelta()).total_seconds()) * MICROSECONDS
            start = moment_us - (moment_us + offset) % _HOUR_US
            return Span(start, start + _HOUR_US)
        day = datetime(local.year, local.month, local.day, tzinfo=zone)
        if self.name == "week":
            day -= timedelta(days=day.weekday())  # wall time: the offset is found anew
        elif self.name == "month":
            day = day.replace(day=1)
        return Span(_microseconds(day), _microseconds(self._after(day)))

    def counts_from(self, now_us: int, timezone: str) -> int:
        """The start of the oldest key that counts at a moment."""
        if self.is_rolling:
            oldest = now_us - self.seconds * MICROSECONDS
            return oldest - oldest % self.slice_us
        return self.span(now_us, timezone).start

    def _after(self, day: datetime) -> datetime:
        if self.name == "month":
            return day.replace(year=day.year + 1, month=1) if day.month == 12 else day.replace(month=day.month + 1)
        return day + timedelta(days=7 if self.name == "week" else 1)


@lru_cache(maxsize=256)
def window_named(name: str) -> Window:
    """The window of a name.

    Raises:
        ValueError: it is neither a calendar window nor a number of minutes, hours or days.
    """
    if name in CALENDAR:
        return Window(name, 0)
    found = _ROLLING.fullmatch(name)
    if found is None or int(found[1]) == 0:
        raise ValueError(f"{name!r} is no window; use {', '.join(CALENDAR)}, or a rolling one such as 24h, 7d or 90m")
    return Window(name, int(found[1]) * _UNITS[found[2]])


@lru_cache(maxsize=64)
def _zone(name: str) -> ZoneInfo:
    return ZoneInfo(name)


def _microseconds(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(microseconds=1)
