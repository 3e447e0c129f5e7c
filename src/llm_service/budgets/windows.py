"""Windows of time that a budget is for, keyed by their start: there is no job that resets anything.

A calendar window begins where its time zone says, daylight saving included. A rolling window is kept in sixty slices,
and counts from the slice that it has only partly left behind: up to a sixtieth longer than it says, never shorter.
"""

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final, Literal, NamedTuple, assert_never
from zoneinfo import ZoneInfo

from llm_service.config.window_names import CALENDAR_WINDOWS, CalendarWindow, rolling_seconds

__all__ = ["MICROSECONDS", "Span", "Window", "window_named"]

MICROSECONDS: Final = 1_000_000
_SLICES: Final = 60
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_HOUR_US: Final = 3600 * MICROSECONDS
_SET_BACK: Final = 900 * MICROSECONDS
"""As far as a clock that is corrected while programs run usually steps back."""
_FOREVER: Final = 253_402_300_800_000_000
_LAST: Final = (datetime(9999, 11, 1, tzinfo=UTC) - _EPOCH) // timedelta(microseconds=1)
"""From here on all is one key: the calendar ends before the last month does, in the east."""


_Dated = Literal[CalendarWindow.HOUR, CalendarWindow.DAY, CalendarWindow.WEEK, CalendarWindow.MONTH]
"""Windows that start again."""


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
    def is_zoneless(self) -> bool:
        """Whether it is the same in every time zone."""
        return self.is_rolling or self.name == "total"

    @property
    def slice_us(self) -> int:
        """How much time one key of a rolling window covers, in microseconds."""
        return max(1, -(-self.seconds // _SLICES)) * MICROSECONDS

    def span(self, moment_us: int, timezone: str) -> Span:
        """The key that a moment falls into."""
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

        A rolling window takes in a little of what is dated ahead: what was spent before a clock was set back a bit
        counts on. What is dated further ahead counts from its own date on.
        """
        if self.is_rolling:
            return min(now_us + _SET_BACK, _FOREVER - 1)
        return self.span(now_us, timezone).start


@lru_cache(maxsize=256)
def window_named(name: str) -> Window:
    """The window of a name.

    Raises:
        ValueError: it is neither a calendar window nor a number of minutes, hours or days.
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
    """The window of the calendar that a moment falls into. Days are of wall time: their offsets are found anew."""
    local = _local(moment_us, zone)
    day = datetime(local.year, local.month, local.day, tzinfo=zone)
    match kind:
        case CalendarWindow.HOUR:
            return _hour(moment_us, zone)
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


def _hour(moment_us: int, zone: ZoneInfo) -> Span:
    """An hour of the clock; cut short where the clock was put by a part of an hour, as on Lord Howe Island."""
    offset = _offset(moment_us, zone)
    start = moment_us - (moment_us + offset) % _HOUR_US
    end = start + _HOUR_US
    if (_offset(start, zone) - offset) % _HOUR_US:
        start = _change(start, moment_us, zone)
    if (_offset(end - 1, zone) - offset) % _HOUR_US:
        end = _change(moment_us, end - 1, zone)
    return Span(start, end)


def _change(before: int, after: int, zone: ZoneInfo) -> int:
    """When the clock was put between two moments."""
    old = _offset(before, zone)
    while after - before > 1:
        middle = (before + after) // 2
        if _offset(middle, zone) == old:
            before = middle
        else:
            after = middle
    return after


def _offset(moment_us: int, zone: ZoneInfo) -> int:
    return (_local(moment_us, zone).utcoffset() or timedelta()) // timedelta(microseconds=1)


def _local(moment_us: int, zone: ZoneInfo) -> datetime:
    return (_EPOCH + timedelta(microseconds=moment_us)).astimezone(zone)


def _microseconds(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(microseconds=1)
