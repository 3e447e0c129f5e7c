"""Sums of roll-ups. A row whose cell holds no number counts as unknown, and one warning names it."""

from collections.abc import Sequence
from typing import Any, Final, Literal

from llm_service.telemetry.queries.cells import say_odd, text
from llm_service.telemetry.stores.base import Fetch, PartialSum
from llm_service.telemetry.stores.sqlite.big_sums import is_sum

__all__ = ["NUMBERS", "ROLLUP_KEYS", "ROLLUP_TIMES", "TOKENS", "RollUp", "fetch_daily_sums"]

RollUp = Literal["daily_costs", "quarter_hours"]
ROLLUP_KEYS: Final[dict[RollUp, str]] = {"daily_costs": "date", "quarter_hours": "quarter"}
ROLLUP_TIMES: Final[dict[RollUp, str]] = {
    "daily_costs": "(date || ' 00:00:00.000000Z')",
    "quarter_hours": "(quarter || ':00.000000Z')",
}
"""SQL of the beginning of a row, as a `timestamp`."""

TOKENS: Final = ("total_tokens", "prompt_tokens", "completion_tokens")
NUMBERS: Final = (
    *("invocations", "errors", "timeouts", *TOKENS, "uncounted", "cost_nanos", "unpriced"),
    *("latency_count", "latency_us_sum"),
)


_UNPRICED: Final = f"sum(CASE WHEN {is_sum('cost_nanos')} THEN unpriced ELSE invocations END)"
_UNCOUNTED: Final = f"sum(CASE WHEN {' AND '.join(map(is_sum, TOKENS))} THEN uncounted ELSE invocations END)"


def fetch_daily_sums(
    fetch: Fetch, sql: str, parameters: Sequence[Any], table: RollUp = "daily_costs"
) -> list[tuple[Any, ...]]:
    """The rows of a query for sums of a roll-up; a cell without a number makes its calls unpriced or uncounted."""
    rows = fetch((sql, parameters))
    if not any(type(cell) is PartialSum for row in rows for cell in row):
        return rows
    for column in NUMBERS:
        odd = f"SELECT min({ROLLUP_KEYS[table]}), count(*) FROM {table} WHERE NOT {is_sum(column)}"  # noqa: S608
        ((day, count),) = fetch((odd, ()))
        if count:
            say_odd(table, text(day), column, count)
    unknown = sql.replace("sum(unpriced)", _UNPRICED).replace("sum(uncounted)", _UNCOUNTED)
    return fetch((unknown, parameters))
