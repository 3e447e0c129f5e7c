"""What the calls of a run took and cost, exactly, from their records."""

from collections.abc import Sequence
from typing import Any, TypedDict, cast

from llm_service.telemetry.queries.cells import text
from llm_service.telemetry.queries.retention_coverage import records_since
from llm_service.telemetry.queries.run_calls import RunCalls, read_calls
from llm_service.telemetry.queries.run_names import name_of_run
from llm_service.telemetry.stores.base import Fetch

__all__ = ["ModelFigures", "RunFigures", "RunSummary", "Spread", "quantile", "rate_per_second", "read_summary"]


class Spread(TypedDict):
    """How a time in milliseconds is spread over the calls for which it is known; None without any.

    Percentiles are exact, with linear interpolation between the two nearest values.
    """

    calls: int
    mean: float | None
    p50: float | None
    p95: float | None
    p99: float | None
    max: float | None


class RunFigures(TypedDict):
    """Calls, and sums over those with known values.

    Attributes:
        invocations, successes, errors, timeouts: calls; spans (`operation` agent, tool, ...) are none.
        success_rate: 0..1; None without calls.
        uncounted, unpriced: calls without a known total of tokens, without a known cost.
        total_cost_usd, cost_nanos: of the others, the latter in exact nano-dollars.
        output_tokens_per_second: completion tokens over latency, of the calls for which both are known.
    """

    invocations: int
    successes: int
    errors: int
    timeouts: int
    success_rate: float | None
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    cache_read_tokens: int
    reasoning_tokens: int
    uncounted: int
    total_cost_usd: float
    cost_nanos: int
    unpriced: int
    latency_ms: Spread
    ttft_ms: Spread
    output_tokens_per_second: float | None


class ModelFigures(RunFigures):
    """The same, of one model."""

    model_name: str | None


class RunSummary(TypedDict):
    """One run.

    Attributes:
        first_timestamp: of its first record, UTC text; None without any.
        seconds: wall time from the first call's timestamp to the end of the last.
        calls_per_second: over that time; None where it is 0.
        totals, by_model: of all calls, and of each model, the most frequent first.
        records_since: the first UTC day with all its records, None if none were ever deleted: of a run that began
            before it, calls are missing.
    """

    run: str
    name: str
    first_timestamp: str | None
    seconds: float
    calls_per_second: float | None
    totals: RunFigures
    by_model: list[ModelFigures]
    records_since: str | None


def read_summary(fetch: Fetch, run: str) -> RunSummary:
    """The summary of a run."""
    ((first,),) = fetch(("SELECT min(timestamp) FROM invocations WHERE run = ?", [run]))
    by_model = read_calls(fetch, run, "model_name")
    every = RunCalls()
    for calls in by_model.values():
        every.merge(calls)
    seconds = 0.0 if every.begin is None or every.end is None else round(max(0.0, every.end - every.begin), 3)
    return RunSummary(
        run=run,
        name=name_of_run(run),
        first_timestamp=None if first is None else text(first),
        seconds=seconds,
        calls_per_second=len(every.succeeded) / seconds if seconds else None,
        totals=_figures(every),
        by_model=[
            cast("ModelFigures", {"model_name": model} | cast("dict[str, Any]", _figures(calls)))
            for model, calls in by_model.items()
        ],
        records_since=records_since(fetch),
    )


def quantile(ordered: Sequence[float], share: float) -> float | None:
    """A quantile of ascending values, with linear interpolation; None without any."""
    if not ordered:
        return None
    place = share * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def rate_per_second(tokens: Sequence[float], ms: Sequence[float]) -> float | None:
    """Tokens over the time that they took; None without any."""
    return 1000.0 * sum(tokens) / sum(ms) if ms else None


def _figures(calls: RunCalls) -> RunFigures:
    number, nanos = len(calls.succeeded), sum(calls.cost_nanos)
    successes = calls.statuses.get("success", 0)
    timeouts = calls.statuses.get("timeout", 0)
    return RunFigures(
        invocations=number,
        successes=successes,
        errors=number - successes - timeouts,
        timeouts=timeouts,
        success_rate=successes / number if number else None,
        prompt_tokens=calls.sums["prompt_tokens"],
        completion_tokens=calls.sums["completion_tokens"],
        total_tokens=calls.sums["total_tokens"],
        cache_read_tokens=calls.sums["cache_read_tokens"],
        reasoning_tokens=calls.sums["reasoning_tokens"],
        uncounted=calls.uncounted,
        total_cost_usd=nanos / 1e9,
        cost_nanos=nanos,
        unpriced=calls.unpriced,
        latency_ms=_spread(calls.latency_ms),
        ttft_ms=_spread(calls.ttft_ms),
        output_tokens_per_second=rate_per_second(calls.output_tokens, calls.output_ms),
    )


def _spread(values: Sequence[float]) -> Spread:
    ordered = sorted(values)
    return Spread(
        calls=len(ordered),
        mean=sum(ordered) / len(ordered) if ordered else None,
        p50=quantile(ordered, 0.50),
        p95=quantile(ordered, 0.95),
        p99=quantile(ordered, 0.99),
        max=ordered[-1] if ordered else None,
    )
