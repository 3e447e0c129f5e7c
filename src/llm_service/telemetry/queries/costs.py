"""Costs by any keys in any order: sums of the daily roll-ups, totals, and coverage."""

from collections.abc import Sequence
from typing import Any, Final, Literal, TypedDict, cast, get_args

from llm_service.errors import QueryError
from llm_service.telemetry.queries.cells import text, whole
from llm_service.telemetry.queries.daily_sums import fetch_daily_sums
from llm_service.telemetry.queries.filters import InvocationFilter
from llm_service.telemetry.stores.base import Fetch

__all__ = ["COST_KEYS", "CostKey", "CostReport", "CostSums", "read_costs"]

CostKey = Literal["day", "agent", "tool", "model"]
COST_KEYS: Final[tuple[CostKey, ...]] = get_args(CostKey)


class CostSums(TypedDict):
    """Sums over the calls with known values, under the names of `daily_costs`."""

    invocations: int
    total_tokens: int
    total_cost_usd: float
    errors: int
    timeouts: int
    prompt_tokens: int
    completion_tokens: int
    uncounted: int
    cost_nanos: int
    unpriced: int


class CostReport(TypedDict):
    """Costs by keys.

    `rows` hold the columns of the keys (`date`, `agent_name`, `tool_name`, `model_name`) and those of `CostSums`;
    `first_day` and `last_day` are the first and last UTC day with calls, None if there are none. Of
    `totals["invocations"]` calls, `priced_invocations` have a known cost and `counted_invocations` known tokens.
    """

    by: list[CostKey]
    rows: list[dict[str, Any]]
    totals: CostSums
    first_day: str | None
    last_day: str | None
    priced_invocations: int
    counted_invocations: int


_SUMMED: Final = tuple(name for name in CostSums.__annotations__ if name != "total_cost_usd")
_SUMS: Final = ", ".join(f"coalesce(sum({name}), 0)" for name in _SUMMED)


def read_costs(fetch: Fetch, by: Sequence[CostKey], narrowed: InvocationFilter) -> CostReport:
    """Costs grouped and sorted by these keys, at least one, each once.

    Days are sorted newest first; names alphabetically, unknown ones first; if the last key is a name, by cost.
    """
    if not by or len(set(by)) < len(by) or not set(by) <= set(COST_KEYS):
        raise QueryError("by", ",".join(by), f"give one or more of {', '.join(COST_KEYS)}, each once")
    where = narrowed.daily()
    columns = ["date" if key == "day" else f"{key}_name" for key in by]
    order = [f"{column} DESC" if column == "date" else column for column in columns]
    if by[-1] != "day":
        order.insert(len(order) - 1, "sum(cost_nanos) DESC")
    keys = ", ".join(columns)
    sql = f"SELECT {keys}, {_SUMS} FROM daily_costs{where} GROUP BY {keys} ORDER BY {', '.join(order)}"  # noqa: S608
    rows = [
        dict(zip(columns, row, strict=False)) | cast("dict[str, Any]", _sums(row[len(columns) :]))
        for row in fetch_daily_sums(fetch, sql, where.parameters)
    ]
    sql = f"SELECT min(date), max(date), {_SUMS} FROM daily_costs{where}"  # noqa: S608
    first, last, *summed = fetch_daily_sums(fetch, sql, where.parameters)[0]
    totals = _sums(summed)
    return CostReport(
        by=list(by),
        rows=rows,
        totals=totals,
        first_day=None if first is None else text(first),
        last_day=None if last is None else text(last),
        priced_invocations=totals["invocations"] - totals["unpriced"],
        counted_invocations=totals["invocations"] - totals["uncounted"],
    )


def _sums(values: Sequence[int]) -> CostSums:
    named: dict[str, Any] = dict(zip(_SUMMED, map(whole, values), strict=True))
    named["total_cost_usd"] = named["cost_nanos"] / 1e9
    return cast("CostSums", {name: named[name] for name in CostSums.__annotations__})
