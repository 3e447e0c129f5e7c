"""Aggregates of records by day and names, and by quarter of an hour: pure functions.

Money is summed in integer nano-dollars, so that totals are exact. Latencies are counted in logarithmic buckets, 16 to a
doubling, which SQL can add up over any span of days; a percentile computed from them is within 2.2 % of the true one
(half a bucket: 2 ** (1 / 32)).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from math import ceil, log2
from typing import Final, NamedTuple

from llm_service.telemetry.record.operations import SPANS
from llm_service.telemetry.record.record import EXTENSION_FIELDS, InvocationRecord
from llm_service.telemetry.record.timestamps import microseconds_text

__all__ = [
    "SUMS",
    "DailyKey",
    "DailyTotals",
    "Fold",
    "bucket_of",
    "fold",
    "nanos",
    "percentile",
    "power_of_two",
    "representative",
]

_OPERATION: Final = EXTENSION_FIELDS.index("operation")
_PER_DOUBLING: Final = 16
_MICROSECONDS_PER_DAY: Final = 86_400_000_000
_MICROSECONDS_PER_QUARTER: Final = 900_000_000
_SHORTEST_MS: Final = 0.001
_SHORTEST_BUCKET: Final = -160


class DailyKey(NamedTuple):
    """The key of a row of `daily_costs`."""

    date: str
    agent_name: str | None
    tool_name: str | None
    model_name: str | None


@dataclass(slots=True)
class DailyTotals:
    """The increments of one row of `daily_costs` or `quarter_hours`, and of its latency buckets."""

    invocations: int = 0
    errors: int = 0
    timeouts: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_tokens: int = 0
    uncounted: int = 0
    cost_nanos: int = 0
    unpriced: int = 0
    latency_count: int = 0
    latency_us_sum: int = 0
    buckets: dict[int, int] = field(default_factory=dict[int, int])

    def add(self, more: "DailyTotals") -> None:
        """Add other increments."""
        self.invocations += more.invocations
        self.errors += more.errors
        self.timeouts += more.timeouts
        self.prompt_tokens += more.prompt_tokens
        self.completion_tokens += more.completion_tokens
        self.total_tokens += more.total_tokens
        self.uncounted += more.uncounted
        self.cost_nanos += more.cost_nanos
        self.unpriced += more.unpriced
        self.latency_count += more.latency_count
        self.latency_us_sum += more.latency_us_sum
        buckets = self.buckets
        for bucket, count in more.buckets.items():
            buckets[bucket] = buckets.get(bucket, 0) + count


SUMS: Final = tuple(column.name for column in fields(DailyTotals) if column.name != "buckets")
"""The columns that both roll-ups add up; their buckets are one BLOB."""


def nanos(cost_usd: float) -> int:
    """A cost in integer nano-dollars, by the same double operations as `CAST(cost_usd * 1e9 + 0.5 AS INTEGER)`."""
    return int(cost_usd * 1e9 + 0.5)


def bucket_of(latency_ms: float) -> int:
    """The bucket of a latency: the least b with latency_ms <= 2 ** (b / 16); -160 up to one microsecond."""
    return _SHORTEST_BUCKET if latency_ms <= _SHORTEST_MS else ceil(_PER_DOUBLING * log2(latency_ms))


def representative(bucket: int) -> float:
    """The latency in milliseconds that represents a bucket: the geometric mean of its bounds."""
    return 0.0 if bucket <= _SHORTEST_BUCKET else 2.0 ** ((bucket - 0.5) / _PER_DOUBLING)


def power_of_two(bucket: int) -> float:
    """The least power of two, in milliseconds, that no latency of a bucket exceeds."""
    return 2.0 ** -(-bucket // _PER_DOUBLING)


def percentile(buckets: Mapping[int, int], share: float) -> float:
    """The nearest-rank percentile (share 0 to 1) of bucket counts in milliseconds; 0.0 without counts."""
    total = sum(buckets.values())
    rank = max(1, ceil(share * total))
    seen = 0
    for bucket in sorted(buckets):
        seen += buckets[bucket]
        if seen >= rank:
            return representative(bucket)
    return 0.0


class Fold:
    """Adds records up by day and names, and by quarter of an hour, slice by slice."""

    __slots__ = ("_folded", "_quarters")

    def __init__(self) -> None:
        self._folded: dict[tuple[int, str | None, str | None, str | None], DailyTotals] = {}
        self._quarters: dict[int, DailyTotals] = {}

    def add(self, records: Iterable[InvocationRecord]) -> None:
        """Add records, but for spans. If one raises, those before it are added, and nothing of itself."""
        folded = self._folded
        begin = end = day = 0
        of_all = DailyTotals()  # of the quarter that the last record fell into
        for record in records:
            extensions = record.extensions
            if extensions is not None and extensions[_OPERATION] in SPANS:
                continue
            _, moment, agent, tool, model, prompt, completion, total, cost, latency, status, _, _ = record.card
            # Everything that may raise comes before the first sum.
            if not begin <= moment < end:
                day, begin = moment // _MICROSECONDS_PER_DAY, moment - moment % _MICROSECONDS_PER_QUARTER
                end = begin + _MICROSECONDS_PER_QUARTER
                of_all = self._quarters.setdefault(begin, DailyTotals())
            key = (day, agent, tool, model)
            prompt_tokens, completion_tokens, total_tokens = 0 + (prompt or 0), 0 + (completion or 0), 0 + (total or 0)
            cost_nanos = 0 if cost is None else int(cost * 1e9 + 0.5)
            latency_us = bucket = 0
            if latency is not None:
                latency_us = int(latency * 1000 + 0.5)
                # `bucket_of`, inlined: the call would take as long as all of this.
                bucket = ceil(_PER_DOUBLING * log2(latency)) if latency > _SHORTEST_MS else _SHORTEST_BUCKET
            totals = folded.get(key)
            if totals is None:
                totals = folded[key] = DailyTotals()
            # Each line twice: a loop over both would take longer than all of them.
            totals.invocations += 1
            of_all.invocations += 1
            if status != "success":
                _count_failure(status, totals, of_all)
            totals.prompt_tokens += prompt_tokens
            of_all.prompt_tokens += prompt_tokens
            totals.completion_tokens += completion_tokens
            of_all.completion_tokens += completion_tokens
            totals.total_tokens += total_tokens
            of_all.total_tokens += total_tokens
            totals.cost_nanos += cost_nanos
            of_all.cost_nanos += cost_nanos
            if total is None or cost is None:
                _count_unknown(total, cost, totals, of_all)
            if latency is not None:
                totals.latency_us_sum += latency_us
                of_all.latency_us_sum += latency_us
                buckets = totals.buckets
                buckets[bucket] = buckets.get(bucket, 0) + 1
                buckets = of_all.buckets
                buckets[bucket] = buckets.get(bucket, 0) + 1

    def totals(self) -> dict[DailyKey, DailyTotals]:
        """The increments, by row of `daily_costs`."""
        days = {key[0] for key in self._folded}
        dates = {day: microseconds_text(day * _MICROSECONDS_PER_DAY)[:10] for day in days}
        return {DailyKey(dates[key[0]], *key[1:]): _timed(totals) for key, totals in self._folded.items()}

    def quarters(self) -> dict[str, DailyTotals]:
        """The increments, by row of `quarter_hours`."""
        filled = {begin: totals for begin, totals in self._quarters.items() if totals.invocations}
        return {microseconds_text(begin)[:16]: _timed(totals) for begin, totals in filled.items()}


def _count_failure(status: str, *totals: DailyTotals) -> None:
    for one in totals:
        one.errors += status == "error"
        one.timeouts += status == "timeout"


def _count_unknown(total: int | None, cost: float | None, *totals: DailyTotals) -> None:
    for one in totals:
        one.uncounted += total is None
        one.unpriced += cost is None


def _timed(totals: DailyTotals) -> DailyTotals:
    totals.latency_count = sum(totals.buckets.values())
    return totals


def fold(records: Iterable[InvocationRecord]) -> dict[DailyKey, DailyTotals]:
    """The increments of these records, by day and names."""
    folding = Fold()
    folding.add(records)
    return folding.totals()
