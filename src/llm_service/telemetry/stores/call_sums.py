"""SQL that adds up calls, as `rollups.Fold` adds up records: the same sums, to the nano-dollar."""

from typing import Final

from llm_service.telemetry.record.fields import RANGES
from llm_service.telemetry.record.operations import SPANS

__all__ = [
    "ADDED_BY_A_CALL",
    "BETWEEN",
    "IS_CALL",
    "LATENCY",
    "NANOS",
    "PRICED",
    "QUARTER",
    "UNCOUNTED",
    "UNPRICED",
    "added_up",
]

# Texts and bytes compare as greater than every number, so these conditions exclude them.
BETWEEN: Final = {name: f"{name} BETWEEN {low:.0f} AND {high:.0f}" for name, (low, high) in RANGES.items()}
_COST: Final = BETWEEN["cost_usd"]
NANOS: Final = f"CASE WHEN {_COST} THEN CAST(cost_usd * 1e9 + 0.5 AS INTEGER) END"
"""Integer nano-dollars of a call, as `rollups.nanos` computes them; NULL if unknown."""
PRICED: Final = f"({_COST}) IS TRUE"
UNPRICED: Final = f"({_COST}) IS NOT TRUE"
LATENCY: Final = f"({BETWEEN['latency_ms']}) IS TRUE"
"""Whether a latency is known."""
IS_CALL: Final = f"(operation IS NULL OR operation NOT IN ({', '.join(f'{name!r}' for name in sorted(SPANS))}))"
"""Whether a row is a call, and no span; most calls say nothing, and IN takes four times as long to look at."""
_MINUTE: Final = "substr(timestamp, 15, 2)"
QUARTER: Final = (
    f"substr(timestamp, 1, 14) || CASE WHEN {_MINUTE} < '15' THEN '00' WHEN {_MINUTE} < '30' THEN '15'"
    f" WHEN {_MINUTE} < '45' THEN '30' ELSE '45' END"
)
"""The quarter of an hour of a row, as in `quarter_hours`."""
UNCOUNTED: Final = "typeof(total_tokens) <> 'integer'"
"""Whether the tokens of a call are unknown."""

ADDED_BY_A_CALL: Final = {
    "invocations": "1",
    "errors": "status = 'error'",
    "timeouts": "status = 'timeout'",
    "prompt_tokens": "prompt_tokens",
    "completion_tokens": "completion_tokens",
    "total_tokens": "total_tokens",
    "uncounted": UNCOUNTED,
    "cost_nanos": NANOS,
    "unpriced": UNPRICED,
    "latency_count": LATENCY,
    "latency_us_sum": f"CASE WHEN {LATENCY} THEN CAST(latency_ms * 1000 + 0.5 AS INTEGER) END",
}
"""By column of `daily_costs`, the expression whose sum it is; by the double operations of `rollups.Fold`."""


def added_up(*columns: str) -> str:
    """SQL for these columns of `daily_costs`, added up from calls."""
    return ", ".join(f"coalesce(sum({ADDED_BY_A_CALL[column]}), 0)" for column in columns)
