"""Cost coverage: the share of calls and tokens with a known cost, its sources, and the models without one.

Read from the records that are still kept, because the daily totals have no providers and sources.
"""

from typing import Any, Final, TypedDict, cast

from llm_service.telemetry.queries.cells import NANOS, PRICED, UNCOUNTED, UNPRICED, text
from llm_service.telemetry.queries.filters import InvocationFilter
from llm_service.telemetry.queries.retention_coverage import read_kept
from llm_service.telemetry.stores.base import Fetch

__all__ = ["CoverageReport", "SourceCoverage", "UnknownModel", "read_coverage"]


class SourceCoverage(TypedDict):
    """Calls with the same `cost_source`: `reported`, `computed`, `unknown`, or None if not recorded.

    `total_tokens` are of the calls with known tokens, `priced_tokens` of those among them with a known cost;
    `uncounted` calls have no known tokens.
    """

    cost_source: str | None
    invocations: int
    priced: int
    total_tokens: int
    priced_tokens: int
    uncounted: int
    cost_nanos: int
    total_cost_usd: float


class UnknownModel(TypedDict):
    """Calls without a known cost, by model, provider and service tier (None if not recorded).

    `model_name` is the name for the price look-up: the calls' `model_name`, else their `request_model`.
    """

    model_name: str | None
    provider: str | None
    service_tier: str | None
    invocations: int
    total_tokens: int
    uncounted: int
    first_timestamp: str
    last_timestamp: str


class CoverageReport(TypedDict):
    """Coverage of a window.

    Of `invocations` calls, `priced` have a known cost; `total_tokens`, `priced_tokens` and `uncounted` are
    as in `SourceCoverage`. `first_day` and `last_day` are the first and last UTC day with records. Of
    `deleted_invocations` further calls of the window only daily totals are left; `records_since` is the first day with
    all its records, None if none were deleted.
    """

    invocations: int
    priced: int
    total_tokens: int
    priced_tokens: int
    uncounted: int
    by_source: list[SourceCoverage]
    unknown_models: list[UnknownModel]
    first_day: str | None
    last_day: str | None
    records_since: str | None
    deleted_invocations: int


_SOURCE_SUMS: Final = f"""
    count(*), coalesce(sum({PRICED}), 0), coalesce(sum(total_tokens), 0),
    coalesce(sum(CASE WHEN {PRICED} THEN total_tokens END), 0), sum({UNCOUNTED}),
    coalesce(sum({NANOS}), 0)"""
_UNKNOWN_SUMS: Final = f"count(*), coalesce(sum(total_tokens), 0), sum({UNCOUNTED}), min(timestamp), max(timestamp)"


def read_coverage(fetch: Fetch, narrowed: InvocationFilter) -> CoverageReport:
    """Coverage by source, and the models without prices, those with most calls first."""
    where = narrowed.calls()
    order = "GROUP BY cost_source ORDER BY count(*) DESC, cost_source"
    sql = f"SELECT cost_source, {_SOURCE_SUMS} FROM invocations{where} {order}"  # noqa: S608
    sources = [_source(row) for row in fetch((sql, where.parameters))]
    kept = read_kept(fetch, narrowed)
    where.add(UNPRICED)
    order = "GROUP BY 1, 2, 3 ORDER BY count(*) DESC, 1, 2, 3"
    names = "coalesce(model_name, request_model), provider, service_tier"
    sql = f"SELECT {names}, {_UNKNOWN_SUMS} FROM invocations{where} {order}"  # noqa: S608
    unknown = [
        cast("UnknownModel", dict(zip(UnknownModel.__annotations__, (*row[:-2], *map(text, row[-2:])), strict=True)))
        for row in fetch((sql, where.parameters))
    ]
    return CoverageReport(
        invocations=kept.records,
        priced=sum(source["priced"] for source in sources),
        total_tokens=sum(source["total_tokens"] for source in sources),
        priced_tokens=sum(source["priced_tokens"] for source in sources),
        uncounted=sum(source["uncounted"] for source in sources),
        by_source=sources,
        unknown_models=unknown,
        first_day=kept.first_day,
        last_day=kept.last_day,
        records_since=kept.records_since,
        deleted_invocations=kept.deleted,
    )


def _source(row: tuple[Any, ...]) -> SourceCoverage:
    return cast("SourceCoverage", dict(zip(SourceCoverage.__annotations__, (*row, row[-1] / 1e9), strict=True)))
