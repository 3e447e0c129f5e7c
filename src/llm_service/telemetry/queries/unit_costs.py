"""Unit costs: per call, per thousand tokens, per success; the cost of failures, and the savings by caches.

Read from the records of a window that are still kept, because the daily totals do not distinguish calls; the report
says how many are missing. Every ratio is over the calls with known values, None if there are none; calls without a
known cost are counted separately.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Final, TypedDict, cast

from llm_service.telemetry.queries.cache_savings import CACHED, CacheSavings, RatesOf, read_savings
from llm_service.telemetry.queries.cells import ASKED_MODEL, NANOS, PRICED, UNCOUNTED, UNPRICED, whole
from llm_service.telemetry.queries.filters import InvocationFilter
from llm_service.telemetry.queries.grouping import RECORD_KEYS, RecordKey, name_columns
from llm_service.telemetry.queries.retention_coverage import read_kept
from llm_service.telemetry.stores.base import Fetch

__all__ = ["UnitCosts", "UnitReport", "read_unit_costs"]


class UnitCosts(TypedDict):
    """One group of calls. USD unless named otherwise; `..._nanos` are the same in exact nano-dollars.

    Attributes:
        invocations, errors, timeouts, total_tokens, uncounted, total_cost_usd, cost_nanos, unpriced: as in
            `daily_costs`: sums over the calls with known values, and how many calls have none.
        usd_per_call: of the calls with a known cost.
        usd_per_1k_tokens: of the calls with a known cost and known tokens.
        usd_per_success: all known cost, including failures, over the successes with a known cost.
        wasted_usd, wasted_nanos: the known cost of calls that did not succeed: `wasted_error_usd` of status `error`,
            `wasted_timeout_usd` of `timeout`.
        wasted_unpriced: such calls without a known cost.
        wasted_tokens, wasted_uncounted: their tokens, and how many have no known tokens.
        wasted_share: `wasted_nanos` of `cost_nanos`, 0..1.
        attempts_known, retried, extra_attempts: calls with known `attempts`, those with more than one, and the
            attempts beyond the first.
        cache_read_tokens, cache_write_tokens: prompt tokens read from and written to a cache, if known.
        cache_told: calls for which either number is known.
        cache_invocations: calls that used a cache.
        cache_unknown: those of them without a known price or token counts.
        cache_saved_usd, cache_saved_nanos: the savings of the others; negative if cache writes cost more than cache
            reads saved. None if no call has cache counts, or if all calls that used a cache are unknown.
    """

    invocations: int
    errors: int
    timeouts: int
    total_tokens: int
    uncounted: int
    total_cost_usd: float
    cost_nanos: int
    unpriced: int
    usd_per_call: float | None
    usd_per_1k_tokens: float | None
    usd_per_success: float | None
    wasted_usd: float
    wasted_error_usd: float
    wasted_timeout_usd: float
    wasted_nanos: int
    wasted_unpriced: int
    wasted_tokens: int
    wasted_uncounted: int
    wasted_share: float | None
    attempts_known: int
    retried: int
    extra_attempts: int
    cache_read_tokens: int
    cache_write_tokens: int
    cache_told: int
    cache_invocations: int
    cache_unknown: int
    cache_saved_usd: float | None
    cache_saved_nanos: int | None


class UnitReport(TypedDict):
    """Unit costs by names.

    `rows` hold the columns of the keys (`agent_name`, `tool_name`, `model_name`, `request_model`) and those of
    `UnitCosts`, highest cost first. `first_day` and `last_day` are the first and last UTC day with records, None if
    there are none. Of `deleted_invocations` calls of the window only the daily totals are left: the report does not
    cover them. `records_since` is the first day with all its records; None if none were deleted.
    """

    by: list[RecordKey]
    rows: list[dict[str, Any]]
    totals: UnitCosts
    first_day: str | None
    last_day: str | None
    records_since: str | None
    deleted_invocations: int


_SUMS: Final = {
    "invocations": "count(*)",
    "errors": "sum(status = 'error')",
    "timeouts": "sum(status = 'timeout')",
    "total_tokens": "sum(total_tokens)",
    "uncounted": f"sum({UNCOUNTED})",
    "cost_nanos": f"sum({NANOS})",
    "unpriced": f"sum({UNPRICED})",
    "counted_nanos": f"sum(CASE WHEN NOT {UNCOUNTED} THEN {NANOS} END)",
    "priced_tokens": f"sum(CASE WHEN {PRICED} THEN total_tokens END)",
    "priced_successes": f"sum(status = 'success' AND {PRICED})",
    "error_nanos": f"sum(CASE WHEN status = 'error' THEN {NANOS} END)",
    "timeout_nanos": f"sum(CASE WHEN status = 'timeout' THEN {NANOS} END)",
    "wasted_unpriced": f"sum(status <> 'success' AND {UNPRICED})",
    "wasted_tokens": "sum(CASE WHEN status <> 'success' THEN total_tokens END)",
    "wasted_uncounted": f"sum(status <> 'success' AND {UNCOUNTED})",
    "attempts_known": "count(attempts)",
    "retried": "sum(attempts > 1)",
    "extra_attempts": "sum(attempts - 1)",
    "cache_read_tokens": "sum(cache_read_tokens)",
    "cache_write_tokens": "sum(cache_write_tokens)",
    "cache_told": "sum(cache_read_tokens IS NOT NULL OR cache_write_tokens IS NOT NULL)",
    "cache_invocations": f"sum({CACHED})",
}
_SELECTED: Final = ", ".join(f"coalesce({summed}, 0)" for summed in _SUMS.values())


def read_unit_costs(
    fetch: Fetch,
    by: Sequence[RecordKey],
    narrowed: InvocationFilter,
    *,
    prices: RatesOf | None = None,
) -> UnitReport:
    """Unit costs by any keys, each once; without prices, cache savings are unknown."""
    columns = name_columns(by, RECORD_KEYS)
    cells = [ASKED_MODEL if column == "request_model" else column for column in columns]
    where = narrowed.calls()
    keys = "".join(f"{cell}, " for cell in cells)
    grouped = f" GROUP BY {keys.removesuffix(', ')}" if keys else ""
    sql = f"SELECT {keys}{_SELECTED} FROM invocations{where}{grouped}"  # noqa: S608
    sums: dict[tuple[Any, ...], list[int]] = {}
    for row in fetch((sql, where.parameters)):
        key, values = tuple(row[: len(columns)]), [whole(value) for value in row[len(columns) :]]
        # Two damaged names may decode to the same text.
        sums[key] = [one + other for one, other in zip(sums.get(key, [0] * len(_SUMS)), values, strict=True)]
    savings = {} if prices is None else read_savings(fetch, narrowed, cells, prices)
    kept = read_kept(fetch, narrowed)
    rows = [
        dict(zip(columns, key, strict=True)) | cast("dict[str, Any]", _unit_costs(values, savings.get(key)))
        for key, values in sums.items()
    ]
    rows.sort(key=lambda row: (-row["cost_nanos"], *(row[column] or "" for column in columns)))
    totals = [sum(values) for values in zip(*sums.values(), strict=True)] or [0] * len(_SUMS)
    return UnitReport(
        by=list(by),
        rows=rows if columns else [],
        totals=_unit_costs(totals, _all(savings.values())),
        first_day=kept.first_day,
        last_day=kept.last_day,
        records_since=kept.records_since,
        deleted_invocations=kept.deleted,
    )


def _all(savings: Iterable[CacheSavings]) -> CacheSavings:
    total = CacheSavings()
    for some in savings:
        total.add(some)
    return total


def _unit_costs(values: Sequence[int], savings: CacheSavings | None) -> UnitCosts:
    summed = dict(zip(_SUMS, values, strict=True))
    cache = savings or CacheSavings()
    known = summed["cache_told"] and (cache.priced or not summed["cache_invocations"])
    saved = cache.saved_nanos if known else None
    nanos = summed["cost_nanos"]
    wasted = summed["error_nanos"] + summed["timeout_nanos"]
    derived: dict[str, Any] = {
        "total_cost_usd": nanos / 1e9,
        "usd_per_call": _usd(nanos, summed["invocations"] - summed["unpriced"]),
        "usd_per_1k_tokens": _usd(1_000 * summed["counted_nanos"], summed["priced_tokens"]),
        "usd_per_success": _usd(nanos, summed["priced_successes"]),
        "wasted_usd": wasted / 1e9,
        "wasted_error_usd": summed["error_nanos"] / 1e9,
        "wasted_timeout_usd": summed["timeout_nanos"] / 1e9,
        "wasted_nanos": wasted,
        "wasted_share": wasted / nanos if nanos else None,
        "cache_unknown": summed["cache_invocations"] - cache.priced,
        "cache_saved_usd": None if saved is None else saved / 1e9,
        "cache_saved_nanos": saved,
    }
    named = summed | derived
    return cast("UnitCosts", {name: named[name] for name in UnitCosts.__annotations__})


def _usd(nanos: int, pieces: int) -> float | None:
    return nanos / pieces / 1e9 if pieces else None
