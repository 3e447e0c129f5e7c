"""Two runs beside each other: each metric of both, and whether they differ by more than chance."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from operator import attrgetter
from typing import Any, Final, Literal, NamedTuple, TypedDict

from llm_service.errors import QueryError
from llm_service.telemetry.queries.bootstrap import (
    LEAST_CALLS,
    SEED,
    Interval,
    Level,
    Pairs,
    Statistic,
    interval_of_difference,
    level_of,
    require_scipy,
)
from llm_service.telemetry.queries.grouping import RECORD_KEYS, RecordKey, column_of
from llm_service.telemetry.queries.retention_coverage import records_since
from llm_service.telemetry.queries.run_calls import RunCalls, read_calls
from llm_service.telemetry.queries.run_list import find_run
from llm_service.telemetry.queries.run_names import name_of_run
from llm_service.telemetry.queries.run_summary import quantile, rate_per_second
from llm_service.telemetry.stores.base import Fetch

__all__ = [
    "METRICS",
    "BothRuns",
    "ComparedMetric",
    "ComparedRun",
    "RunComparison",
    "Verdict",
    "compared",
    "read_both",
]

Verdict = Literal["higher", "lower", "no difference shown", "too few calls", "unknown"]
Unit = Literal["share", "USD", "tokens", "ms", "tokens/s"]
Values = Sequence[float] | Pairs
_CONFIDENCE: Final = 0.95
_MOST_GROUPS: Final = 10
_ROUNDING: Final = 1e-9
"""Of a value: sums of floats that ought to be equal differ by less."""


class ComparedRun(TypedDict):
    """One of the two runs; `invocations` are its calls."""

    run: str
    name: str
    invocations: int


class ComparedMetric(TypedDict):
    """One metric of both runs.

    Attributes:
        group: the model, agent or tool; None where all calls are compared, or where they have no such name.
        a, b: of all calls for which it is known; None without any.
        difference, ratio: b minus a, b over a; None where it cannot be said.
        low, high: the confidence interval of the difference; None where there are too few calls, or where values vary
            so little that no resample differs: then any difference counts.
        verdict: `higher` or `lower` is b, where the interval leaves out 0; else `no difference shown`. `too few calls`:
            fewer than 10 on one side. `unknown`: no call on one side.
        calls_a, calls_b: for which it is known.
        sampled_a, sampled_b: how many of them the interval was made of; fewer where there are very many.
    """

    group: str | None
    metric: str
    unit: Unit
    a: float | None
    b: float | None
    difference: float | None
    ratio: float | None
    low: float | None
    high: float | None
    verdict: Verdict
    calls_a: int
    calls_b: int
    sampled_a: int
    sampled_b: int


class RunComparison(TypedDict):
    """Two runs beside each other.

    Attributes:
        by: what the calls are grouped by; None for all together.
        rows: the metrics, group by group, the group with the most calls first; at most 10 groups that both runs have.
        only_a, only_b: groups that only one of them has; `left_out` are those beyond the 10.
        confidence: with which all intervals hold together; `each_confidence` is that of one, corrected for their
            number, `intervals` (Bonferroni).
        resamples, seed: of the bootstrap: the same records give the same intervals.
        records_since: the first UTC day with all its records, None if none were ever deleted: of a run that began
            before it, calls are missing.
    """

    a: ComparedRun
    b: ComparedRun
    by: RecordKey | None
    rows: list[ComparedMetric]
    only_a: list[str | None]
    only_b: list[str | None]
    left_out: list[str | None]
    confidence: float
    each_confidence: float
    intervals: int
    resamples: int
    seed: int
    records_since: str | None


class _Metric(NamedTuple):
    """What is compared: `of` is exact, `statistic` the same of many resamples at once."""

    name: str
    unit: Unit
    values: Callable[[RunCalls], Values]
    of: Callable[[Any], float | None]
    statistic: Statistic


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _means(values: Any, axis: int) -> Any:
    return values.mean(axis=axis)


def _percentile(share: float) -> Callable[[Sequence[float]], float | None]:
    return lambda values: quantile(sorted(values), share)


def _percentiles(share: float) -> Statistic:
    def statistic(values: Any, axis: int) -> Any:
        import numpy as np  # noqa: PLC0415 - comes with scipy, an extra

        return np.quantile(values, share, axis=axis)

    return statistic


def _rates(tokens: Any, ms: Any, axis: int) -> Any:
    return 1000.0 * tokens.sum(axis=axis) / ms.sum(axis=axis)


def _usd(calls: RunCalls) -> list[float]:
    return [nanos / 1e9 for nanos in calls.cost_nanos]


def _output(calls: RunCalls) -> Pairs:
    return Pairs(calls.output_tokens, calls.output_ms)


def _rate(output: Pairs) -> float | None:
    return rate_per_second(output.first, output.second)


_LATENCY: Final = attrgetter("latency_ms")
_ALL: Final[tuple[_Metric, ...]] = (
    _Metric("success rate", "share", attrgetter("succeeded"), _mean, _means),
    _Metric("cost per call", "USD", _usd, _mean, _means),
    _Metric("tokens per call", "tokens", attrgetter("total_tokens"), _mean, _means),
    _Metric("latency p50", "ms", _LATENCY, _percentile(0.5), _percentiles(0.5)),
    _Metric("latency p95", "ms", _LATENCY, _percentile(0.95), _percentiles(0.95)),
    _Metric("ttft p50", "ms", attrgetter("ttft_ms"), _percentile(0.5), _percentiles(0.5)),
    _Metric("output tokens per second", "tokens/s", _output, _rate, _rates),
)
METRICS: Final = tuple(metric.name for metric in _ALL)


class BothRuns(NamedTuple):
    """What was read of two runs: their ids, their calls by name, and the first UTC day with all its records."""

    a: str
    b: str
    by: RecordKey | None
    calls_a: dict[str | None, RunCalls]
    calls_b: dict[str | None, RunCalls]
    records_since: str | None = None


class _Pair(NamedTuple):
    """One metric of one group, before it is known how many intervals there are."""

    group: str | None
    metric: _Metric
    a: Values
    b: Values

    @property
    def numbers(self) -> tuple[int, int]:
        return _number(self.a), _number(self.b)


def read_both(fetch: Fetch, a: str, b: str, by: RecordKey | None = None) -> BothRuns:
    """The calls of two runs.

    Args:
        by: `model`, `agent` or `tool`; `request_model` is the same as `model`; None puts all calls together.

    Raises:
        UnknownRunError: (a `LookupError`) there is no such run.
    """
    if by is not None and by not in RECORD_KEYS:
        raise QueryError("by", by, f"give one of {', '.join(RECORD_KEYS)}, or None")
    runs = find_run(fetch, a, "a"), find_run(fetch, b, "b")
    column = None if by is None else column_of(by)
    calls_a, calls_b = (read_calls(fetch, run, column) for run in runs)
    return BothRuns(*runs, by, calls_a, calls_b, records_since(fetch))


def compared(runs: BothRuns) -> RunComparison:
    """Compare them, which takes seconds and some 50 MB at most for each metric, and scipy (MissingPackageError)."""
    require_scipy()
    a: dict[str | None, RunCalls] = runs.calls_a
    b: dict[str | None, RunCalls] = runs.calls_b
    if runs.by is None:  # also a run of spans alone has its row
        a, b = {None: a.get(None, RunCalls())}, {None: b.get(None, RunCalls())}
    both = sorted(a.keys() & b.keys(), key=lambda name: (-_calls(a[name]) - _calls(b[name]), str(name or "")))
    pairs = list(_pairs(a, b, both[:_MOST_GROUPS]))
    intervals = sum(min(pair.numbers) >= LEAST_CALLS for pair in pairs)
    level = level_of(_CONFIDENCE, intervals)
    return RunComparison(
        a=_side(runs.a, a.values()),
        b=_side(runs.b, b.values()),
        by=runs.by,
        rows=[_row(pair, level) for pair in pairs],
        only_a=[name for name in a if name not in b],
        only_b=[name for name in b if name not in a],
        left_out=both[_MOST_GROUPS:],
        confidence=_CONFIDENCE,
        each_confidence=level.confidence,
        intervals=intervals,
        resamples=level.resamples,
        seed=SEED,
        records_since=runs.records_since,
    )


def _pairs(
    a: dict[str | None, RunCalls], b: dict[str | None, RunCalls], groups: Iterable[str | None]
) -> Iterator[_Pair]:
    for group in groups:
        for metric in _ALL:
            yield _Pair(group, metric, metric.values(a[group]), metric.values(b[group]))


def _row(pair: _Pair, level: Level) -> ComparedMetric:
    a, b = pair.metric.of(pair.a), pair.metric.of(pair.b)
    numbers = pair.numbers
    difference = None if a is None or b is None else b - a
    found = (
        interval_of_difference(pair.metric.statistic, pair.a, pair.b, level) if min(numbers) >= LEAST_CALLS else None
    )
    verdict: Verdict
    if difference is None:
        verdict = "unknown"
    elif found is None:
        verdict = "too few calls"
    else:
        verdict = _verdict(found, _ROUNDING * max(abs(a or 0), abs(b or 0)))
    if found is not None and found.high - found.low <= _ROUNDING * max(abs(a or 0), abs(b or 0)):
        found = None  # resampling says nothing of how much they might vary
    used = (0, 0) if found is None else found.used
    return ComparedMetric(
        group=pair.group,
        metric=pair.metric.name,
        unit=pair.metric.unit,
        a=a,
        b=b,
        difference=difference,
        ratio=b / a if a and b is not None else None,
        low=None if found is None else found.low,
        high=None if found is None else found.high,
        verdict=verdict,
        calls_a=numbers[0],
        calls_b=numbers[1],
        sampled_a=used[0],
        sampled_b=used[1],
    )


def _verdict(found: Interval, least: float) -> Verdict:
    if found.low > least:
        return "higher"
    return "lower" if found.high < -least else "no difference shown"


def _number(values: Values) -> int:
    return len(values.first) if isinstance(values, Pairs) else len(values)


def _calls(calls: RunCalls) -> int:
    return len(calls.succeeded)


def _side(run: str, calls: Iterable[RunCalls]) -> ComparedRun:
    return ComparedRun(run=run, name=name_of_run(run), invocations=sum(map(_calls, calls)))
