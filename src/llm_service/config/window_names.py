"""How windows of time are named: those of the calendar, and rolling ones by their length."""

import re
from enum import StrEnum
from typing import Final

__all__ = ["CALENDAR_WINDOWS", "CalendarWindow", "rolling_seconds"]


class CalendarWindow(StrEnum):
    """Windows that start with the calendar of the policy's time zone; `total` never starts again."""

    HOUR = "hour"
    DAY = "day"
    WEEK = "week"
    MONTH = "month"
    TOTAL = "total"


CALENDAR_WINDOWS: Final = tuple(str(kind) for kind in CalendarWindow)
_ROLLING: Final = re.compile(r"([1-9][0-9]{0,5})([mhd])", re.ASCII)
_SECONDS: Final = {"m": 60, "h": 3600, "d": 86_400}


def rolling_seconds(window: str) -> int | None:
    """The length of a rolling window such as `24h`, `7d` or `90m` in seconds; None for one of the calendar, or none."""
    found = _ROLLING.fullmatch(window)
    return None if found is None else int(found[1]) * _SECONDS[found[2]]
