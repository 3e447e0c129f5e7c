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
    """Formats many moments; the first 20 characters are cached for each second."""

    __slots__ = ("_prefix", "_second")

    def __init__(self) -> None:
        self._second = -1
        self._prefix = ""

    def __call__(self, microseconds: int) -> str:
        """The SQL text of a moment from 1970 to 9999."""
        second, fraction = divmod(microseconds, 1_000_000)
        if second != self._second:
            self._prefix = microseconds_text(microseconds)[:20]
            self._second = second
        return f"{self._prefix}{fraction:06d}Z"

    def texts(self, moments: Iterable[int]) -> list[str]:
        """The SQL texts of many moments."""
        found: list[str] = []
        second, prefix = self._second, self._prefix
        for moment in moments:
            whole, fraction = divmod(moment, 1_000_000)
            if whole != second:
                second, prefix = whole, microseconds_text(moment)[:20]
            found.append(f"{prefix}{fraction:06d}Z")
        self._second, self._prefix = second, prefix
        return found
