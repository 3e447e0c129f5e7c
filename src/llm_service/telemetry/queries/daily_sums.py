"""Sums of `daily_costs`. A day whose cell holds no number counts as unknown, and one warning names it."""

from collections.abc import Sequence
from typing import Any, Final

from llm_service.telemetry.queries.cells import say_odd, text
from llm_service.telemetry.stores.base import Fetch, PartialSum
from llm_service.telemetry.stores.sqlite.big_sums import is_sum

__all__ = ["NUMBERS", "TOKENS", "fetch_daily_sums"]

TOKENS: Final = ("total_tokens", "prompt_tokens", "completion_tokens")
NUMBERS: Final = (
    *("invocations", "errors", "timeouts", *TOKENS, "uncounted", "cost_nanos", "unpriced"),
    *("latency_count", "latency_us_sum"),
)


_UNPRICED: Final = f"sum(CASE WHEN {is_sum('cost_nanos')} THEN unpriced ELSE invocations END)"
_UNCOUNTED: Final = f"sum(CASE WHEN {' AND '.join(map(is_sum, TOKENS))} THEN uncounted ELSE invocations END)"


def fetch_daily_sums(fetch: Fetch, sql: str, parameters: Sequence[Any]) -> list[tuple[Any, ...]]:
    """The rows of a query for sums of `daily_costs`; a cell without a number makes its calls unpriced or uncounted."""
    rows = fetch((sql, parameters))
    if not any(type(cell) is PartialSum for row in rows for cell in row):
        return rows
    for column in NUMBERS:
        odd = f"SELECT min(date), count(*) FROM daily_costs WHERE NOT {is_sum(column)}"  # noqa: S608
        ((day, count),) = fetch((odd, ()))
        if count:
            say_odd("daily_costs", text(day), column, count)
    unknown = sql.replace("sum(unpriced)", _UNPRICED).replace("sum(uncounted)", _UNCOUNTED)
    return fetch((unknown, parameters))
