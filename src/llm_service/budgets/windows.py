"""Time windows of budgets, keyed by their start, so that no job has to reset anything.

Calendar windows follow their time zone, with daylight saving. A rolling window has sixty slices and includes the oldest
partial one: it is up to a sixtieth longer than its name, never shorter.
"""

from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache
from typing import Final, Literal, NamedTuple, assert_never
from zoneinfo import ZoneInfo

from llm_service.config.window_names import CALENDAR_WINDOWS, CalendarWindow, rolling_seconds

__all__ = ["MICROSECONDS", "Span", "Window", "clock_hour", "window_named"]

MICROSECONDS: Final = 1_000_000
_SLICES: Final = 60
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_HOUR_US: Final = 3600 * MICROSECONDS
_SET_BACK: Final = 900 * MICROSECONDS
"""How far a corrected clock usually steps back."""
_FOREVER: Final = 253_402_300_800_000_000
_LAST: Final = (datetime(9999, 11, 1, tzinfo=UTC) - _EPOCH) // timedelta(microseconds=1)
"""From here on everything has one key: in eastern time zones the calendar ends before the last month does."""


_Dated = Literal[CalendarWindow.HOUR, CalendarWindow.DAY, CalendarWindow.WEEK, CalendarWindow.MONTH]
"""Windows that restart."""


class Span(NamedTuple):
    """One key of a window: from `start` to before `end`, in microseconds since 1970 UTC."""

    start: int
    end: int


class Window(NamedTuple):
    """The window of a limit.

    Attributes:
        name: `hour`, `day`, `week` (from Monday), `month`, `total`, or a rolling one such as `24h`, `7d` or `90m`.
        seconds: the length of a rolling window; 0 for others.
    """

    name: str
    seconds: int

    @property
    def is_rolling(self) -> bool:
        """Whether it is a rolling window, which always ends now."""
        return self.seconds > 0

    @property
    def is_zoneless(self) -> bool:
        """Whether it is the same in every time zone."""
        return self.is_rolling or self.name == "total"

    @property
    def slice_us(self) -> int:
        """The length of a rolling window's slice in microseconds."""
        return max(1, -(-self.seconds // _SLICES)) * MICROSECONDS

    def span(self, moment_us: int, timezone: str) -> Span:
        """The key at a moment."""
        if self.is_rolling:
            start = moment_us - moment_us % self.slice_us
            return Span(start, start + self.slice_us)
        try:
            kind = CalendarWindow(self.name)
        except ValueError:
            raise ValueError(f"{self.name!r} is no window") from None
        if kind is CalendarWindow.TOTAL:
            return Span(0, _FOREVER)
        if moment_us >= _LAST:
            return Span(_LAST, _FOREVER)
        start, end = _calendar(kind, moment_us, _zone(timezone))
        return Span(start, min(end, _LAST))

    def counts_from(self, now_us: int, timezone: str) -> int:
        """The start of the oldest key that counts at a moment."""
        if self.is_rolling:
            oldest = now_us - self.seconds * MICROSECONDS
            return oldest - oldest % self.slice_us
        return self.span(now_us, timezone).start

    def counts_until(self, now_us: int, timezone: str) -> int:
        """The start of the newest key that counts at a moment.

        A rolling window includes slightly future dates, so that spend before a small clock correction still counts.
        Later dates count when their time comes.
        """
        if self.is_rolling:
            return min(now_us + _SET_BACK, _FOREVER - 1)
        return self.span(now_us, timezone).start


@lru_cache(maxsize=256)
def window_named(name: str) -> Window:
    """The window with this name.

    Raises:
        ValueError: neither a calendar window nor a number of minutes, hours or days.
    """
    if name in CALENDAR_WINDOWS:
        return Window(name, 0)
    seconds = rolling_seconds(name)
    if seconds is None:
        known = ", ".join(CALENDAR_WINDOWS)
        raise ValueError(f"{name!r} is no window; use {known}, or a rolling one such as 24h, 7d or 90m")
    return Window(name, seconds)


@lru_cache(maxsize=64)
def _zone(name: str) -> ZoneInfo:
    return ZoneInfo(name)


def _calendar(kind: _Dated, moment_us: int, zone: ZoneInfo) -> Span:
    """The calendar window at a moment. Days are in wall time: each end has its own UTC offset."""
    local = _local(moment_us, zone)
    day = datetime(local.year, local.month, local.day, tzinfo=zone)
    match kind:
        case CalendarWindow.HOUR:
            return clock_hour(moment_us, zone)
        case CalendarWindow.DAY:
            start, end = day, day + timedelta(days=1)
        case CalendarWindow.WEEK:
            start = day - timedelta(days=day.weekday())
            end = start + timedelta(days=7)
        case CalendarWindow.MONTH:
            start = day.replace(day=1)
            end = start.replace(year=day.year + 1, month=1) if day.month == 12 else start.replace(month=day.month + 1)
        case _:
            assert_never(kind)
    return Span(_microseconds(start), _microseconds(end))


def clock_hour(moment_us: int, zone: tzinfo) -> Span:
    """An hour of the clock; shorter if the clock was changed by a fraction of an hour, as on Lord Howe Island."""
    offset = _offset(moment_us, zone)
    start = moment_us - (moment_us + offset) % _HOUR_US
    end = start + _HOUR_US
    if (_offset(start, zone) - offset) % _HOUR_US:
        start = _change(start, moment_us, zone)
    if (_offset(end - 1, zone) - offset) % _HOUR_US:
        end = _change(moment_us, end - 1, zone)
    return Span(start, end)


def _change(before: int, after: int, zone: tzinfo) -> int:
    """When the clock was changed between two moments."""
    old = _offset(before, zone)
    while after - before > 1:
        middle = (before + after) // 2
        if _offset(middle, zone) == old:
            before = middle
        else:
            after = middle
    return after


def _offset(moment_us: int, zone: tzinfo) -> int:
    return (_local(moment_us, zone).utcoffset() or timedelta()) // timedelta(microseconds=1)


def _local(moment_us: int, zone: tzinfo) -> datetime:
    return (_EPOCH + timedelta(microseconds=moment_us)).astimezone(zone)


def _microseconds(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(microseconds=1)
