"""Names of time windows: calendar windows, and rolling ones by their length."""

import re
from enum import StrEnum
from typing import Final

__all__ = ["BUDGET_KEYS", "CALENDAR_WINDOWS", "CalendarWindow", "rolling_seconds"]


class CalendarWindow(StrEnum):
    """Windows of the calendar in the policy's time zone; `total` never restarts."""

    HOUR = "hour"
    DAY = "day"
    WEEK = "week"
    MONTH = "month"
    TOTAL = "total"


CALENDAR_WINDOWS: Final = tuple(str(kind) for kind in CalendarWindow)
BUDGET_KEYS: Final = {
    "hour": "hourly_budget_usd",
    "day": "daily_budget_usd",
    "week": "weekly_budget_usd",
    "month": "monthly_budget_usd",
    "total": "total_budget_usd",
}
"""Keys of a policy that are budgets of calendar windows, from the shortest to the longest."""
_ROLLING: Final = re.compile(r"([1-9][0-9]{0,5})([mhd])", re.ASCII)
_SECONDS: Final = {"m": 60, "h": 3600, "d": 86_400}


def rolling_seconds(window: str) -> int | None:
    """The length of a rolling window (`24h`, `7d`, `90m`) in seconds; None for any other name."""
    found = _ROLLING.fullmatch(window)
    return None if found is None else int(found[1]) * _SECONDS[found[2]]
