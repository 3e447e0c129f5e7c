"""Reads single cells: an invalid value counts as unknown, never as a number.

SQLite stores anything: text among numbers, infinity, bytes among texts, invalid or too deeply nested JSON. No report
fails because of that, or makes a number of it. `llm-telemetry doctor` names the row.
"""

import json
import logging
from datetime import date
from math import isfinite
from typing import Any, Final, cast

from llm_service.telemetry.record.fields import RANGES
from llm_service.telemetry.stores.call_sums import (
    ADDED_BY_A_CALL,
    BETWEEN,
    IS_CALL,
    LATENCY,
    NANOS,
    PRICED,
    UNCOUNTED,
    UNPRICED,
    added_up,
)

__all__ = [
    "ADDED_BY_A_CALL",
    "ASKED_MODEL",
    "IS_CALL",
    "LATENCY",
    "NANOS",
    "PRICED",
    "UNCOUNTED",
    "UNPRICED",
    "added_up",
    "cost_of",
    "day",
    "decoded",
    "is_in_range",
    "known",
    "number",
    "say_odd",
    "text",
    "whole",
    "whole_or_null",
]

_LOG: Final = logging.getLogger("llm_service.telemetry")
MOST_LEVELS: Final = 200
"""A value nested deeper than this may be impossible to print as JSON."""


ASKED_MODEL: Final = "coalesce(request_model, model_name)"
"""The model that a call asked for: where it says none, the one that answered was asked for by that name."""


def known(column: str) -> str:
    """SQL for a number of a call; NULL if the cell holds anything else."""
    return f"CASE WHEN {BETWEEN[column]} THEN {column} END"


def whole_or_null(column: str) -> str:
    """SQL for a whole number of a call; NULL if the cell holds anything else."""
    return f"CASE WHEN typeof({column}) = 'integer' AND {BETWEEN[column]} THEN {column} END"


def whole(value: object) -> int:
    """The value if it is an integer, else 0."""
    if isinstance(value, int):
        return value
    return int(value) if isinstance(value, float) and value.is_integer() else 0


def number(value: object) -> float | None:
    """The value if it is a finite number, else None."""
    return value if isinstance(value, int | float) and isfinite(value) else None


def is_in_range(column: str, value: object) -> bool:
    """Whether a cell of `invocations` holds a number in the range of its column."""
    low, high = RANGES[column]
    return isinstance(value, int | float) and low <= value <= high


def cost_of(value: object) -> float | None:
    """A valid cost; None if a cell of `cost_usd` holds anything else."""
    return cast("float", value) if is_in_range("cost_usd", value) else None


def text(value: object) -> str:
    """The value as text; a number as its digits, NULL as an empty text."""
    return value if isinstance(value, str) else "" if value is None else str(value)


def day(value: object) -> date | None:
    """A UTC day as stored in `daily_costs`; None if invalid."""
    try:
        return date.fromisoformat(value) if isinstance(value, str) and len(value) == 10 else None
    except ValueError:
        return None


def decoded(value: object, kind: type) -> Any:
    """A decoded JSON `list` or `dict`; None if it is invalid or too deep. NaN and infinity become null."""
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
    """Warn of rows with invalid values, naming the first."""
    more = f" (and {count - 1} more)" if count > 1 else ""
    _LOG.warning(
        "telemetry: row %s%s of %s holds in %s what no writer wrote; it counts as unknown: llm-telemetry doctor --full",
        row, more, table, columns,
    )  # fmt: skip
