"""What a cell of the file may hold, and what it counts as where it holds something else: unknown, never a number.

SQLite keeps whatever it is given: text among numbers, infinity, bytes among texts, JSON that is none or that is nested
deeper than a reader's stack. No report ends by it, and none makes a number of it. `llm-telemetry doctor` names the row.
"""

import json
import logging
from datetime import date
from math import isfinite
from typing import Any, Final, cast

from llm_service.telemetry.record.fields import RANGES

__all__ = [
    "LATENCY",
    "NANOS",
    "PRICED",
    "UNCOUNTED",
    "UNPRICED",
    "cost_of",
    "day",
    "decoded",
    "is_in_range",
    "number",
    "say_odd",
    "text",
    "whole",
]

_LOG: Final = logging.getLogger("llm_service.telemetry")
MOST_LEVELS: Final = 200
"""A value nested deeper than this cannot be printed as JSON again for sure."""

# A text compares as greater than every number and bytes as greater still, so these leave out all that is no cost.
_BETWEEN: Final = {name: f"{name} BETWEEN {low:.0f} AND {high:.0f}" for name, (low, high) in RANGES.items()}
_COST: Final = _BETWEEN["cost_usd"]
NANOS: Final = f"CASE WHEN {_COST} THEN CAST(cost_usd * 1e9 + 0.5 AS INTEGER) END"
"""Whole nano-dollars of a call, as `rollups.nanos` counts them; NULL where its cost is unknown."""
PRICED: Final = f"({_COST}) IS TRUE"
UNPRICED: Final = f"({_COST}) IS NOT TRUE"
LATENCY: Final = f"({_BETWEEN['latency_ms']}) IS TRUE"
"""Whether a latency is known."""
UNCOUNTED: Final = "typeof(total_tokens) <> 'integer'"
"""Whether the tokens of a call are unknown."""


def whole(value: object) -> int:
    """A whole number; 0 for what is none."""
    if isinstance(value, int):
        return value
    return int(value) if isinstance(value, float) and value.is_integer() else 0


def number(value: object) -> float | None:
    """A number that is one."""
    return value if isinstance(value, int | float) and isfinite(value) else None


def is_in_range(column: str, value: object) -> bool:
    """Whether a cell of `invocations` holds a number that a writer can have written in this column."""
    low, high = RANGES[column]
    return isinstance(value, int | float) and low <= value <= high


def cost_of(value: object) -> float | None:
    """A cost that is one; None where a cell of `cost_usd` holds anything else."""
    return cast("float", value) if is_in_range("cost_usd", value) else None


def text(value: object) -> str:
    """A text where there must be one; a number as its digits, nothing as an empty one."""
    return value if isinstance(value, str) else "" if value is None else str(value)


def day(value: object) -> date | None:
    """A UTC day as `daily_costs` has it."""
    try:
        return date.fromisoformat(value) if isinstance(value, str) and len(value) == 10 else None
    except ValueError:
        return None


def decoded(value: object, kind: type) -> Any:
    """What a text of JSON says, a `list` or a `dict`; None where it is none, or too deep. NaN and infinity are null."""
    if not isinstance(value, str):
        return None
    try:
        found = json.loads(value, parse_constant=_nothing, parse_float=_finite)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, kind) and not _is_deep(found) else None


def _nothing(_name: str) -> None:
    return None


def _finite(digits: str) -> float | None:
    found = float(digits)
    return found if isfinite(found) else None


def _is_deep(value: object) -> bool:
    level: list[Any] = [value]
    for _ in range(MOST_LEVELS):
        inner: list[Any] = []
        for one in level:
            if isinstance(one, dict):
                inner += cast("dict[str, Any]", one).values()
            elif isinstance(one, list):
                inner += one
        level = [one for one in inner if isinstance(one, dict | list)]
        if not level:
            return False
    return True


def say_odd(table: str, row: object, columns: object, count: int) -> None:
    """Warn of rows that hold what no writer wrote; the first is named."""
    more = f" (and {count - 1} more)" if count > 1 else ""
    _LOG.warning(
        "telemetry: row %s%s of %s holds in %s what no writer wrote; it counts as unknown: llm-telemetry doctor --full",
        row, more, table, columns,
    )  # fmt: skip
