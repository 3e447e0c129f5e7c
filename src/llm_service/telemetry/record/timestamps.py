"""UTC time in three shapes: integer microseconds in records, text in SQL, aware datetimes for people.

The text is `YYYY-MM-DD HH:MM:SS.ffffffZ`: it sorts correctly against SQLite's `datetime('now', '-7 days')`, and
`datetime.fromisoformat` reads it as aware.
"""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from time import gmtime, strftime, time_ns
from typing import Final

__all__ = [
    "AHEAD_US",
    "MAX_MICROSECONDS",
    "Moment",
    "TextClock",
    "from_microseconds",
    "is_ahead",
    "microseconds_text",
    "text_microseconds",
    "to_microseconds",
]

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_ONE: Final = timedelta(microseconds=1)
_MINUTE: Final = 60_000_000
_SECONDS: Final = tuple(f"{number:02d}." for number in range(60))
_DIGITS: Final = tuple(f"{number:03d}" for number in range(1000))
MAX_MICROSECONDS: Final = 253_402_300_799_999_999
"""The last microsecond of the year 9999."""


AHEAD_US: Final = 900 * 1_000_000
"""A moment counts as in the future from this many microseconds on; corrected clocks step by less."""


class Moment(int):
    """Microseconds since 1970-01-01 UTC, measured by this library: a record takes it unchecked.

    A block may end while the interpreter is finalizing, where arithmetic of datetimes crashes CPython 3.13.0.
    """

    __slots__ = ()


def to_microseconds(moment: datetime) -> int:
    """Microseconds since 1970-01-01 UTC of an aware datetime."""
    return (moment - _EPOCH) // _ONE


def from_microseconds(microseconds: int) -> datetime:
    """The aware UTC datetime of microseconds since 1970-01-01."""
    return _EPOCH + timedelta(microseconds=microseconds)


def microseconds_text(microseconds: int) -> str:
    """The SQL text of a moment from 1970 to 9999.

    Raises:
        OverflowError: it is beyond the year 9999.
    """
    if microseconds > MAX_MICROSECONDS:
        raise OverflowError("beyond the year 9999")
    seconds, fraction = divmod(microseconds, 1_000_000)
    return f"{strftime('%Y-%m-%d %H:%M:%S', gmtime(seconds))}.{fraction:06d}Z"  # no datetime: see `Moment`


def text_microseconds(text: str) -> int:
    """Microseconds since 1970-01-01 UTC of a moment's SQL text."""
    return to_microseconds(datetime.fromisoformat(text))


def is_ahead(text: str) -> bool:
    """Whether a moment's SQL text is in the future by more than `AHEAD_US`."""
    return text > microseconds_text(min(time_ns() // 1000 + AHEAD_US, MAX_MICROSECONDS))


class TextClock:
    """Formats many moments; the first 17 characters are cached for each minute."""

    __slots__ = ("_begin", "_prefix")

    def __init__(self) -> None:
        self._begin = -_MINUTE
        self._prefix = ""

    def __call__(self, microseconds: int) -> str:
        """The SQL text of a moment from 1970 to 9999."""
        return self.texts((microseconds,))[0]

    def texts(self, moments: Iterable[int]) -> list[str]:
        """The SQL texts of many moments."""
        found: list[str] = []
        begin, prefix, digits, seconds = self._begin, self._prefix, _DIGITS, _SECONDS
        end = begin + _MINUTE
        for moment in moments:
            if not begin <= moment < end:
                begin, prefix = moment - moment % _MINUTE, microseconds_text(moment)[:17]
                end = begin + _MINUTE
            past = moment - begin
            found.append(f"{prefix}{seconds[past // 1_000_000]}{digits[past // 1000 % 1000]}{digits[past % 1000]}Z")
        self._begin, self._prefix = begin, prefix
        return found
