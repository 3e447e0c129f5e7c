"""What can be measured: each measure with its unit, the sums that it is made of, and how.

A part is what calls add up to: it can be added over groups, local periods and sources. The parts that `daily_costs` has
bear the names of its columns. A measure is made of parts. What no call of a group tells is None, never 0.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from llm_service.errors import QueryError
from llm_service.telemetry.queries.cells import ADDED_BY_A_CALL, NANOS, PRICED, UNCOUNTED, known, whole_or_null
from llm_service.telemetry.queries.field_names import no_such
from llm_service.telemetry.stores.rollups import percentile

__all__ = ["MEASURES", "PARTS", "SETS", "Measure", "Part", "Parts", "measures_named"]

Parts = Mapping[str, Any]
"""By part: an integer, None where a greatest one has no value, or calls by bucket."""
Unit = Literal["calls", "tokens", "USD", "nano-USD", "ms", "share", "tokens/s"]


@dataclass(frozen=True, slots=True)
class Part:
    """What calls add up to.

    Attributes:
        sql: of a group of calls.
        merge: how two are put together.
        is_daily: whether `daily_costs` has it.
    """

    sql: str
    merge: Literal["add", "most", "buckets"] = "add"
    is_daily: bool = False


_MICROSECONDS: Final = {field: f"CAST(({known(field)}) * 1000 + 0.5 AS INTEGER)" for field in ("latency_ms", "ttft_ms")}
_CACHE_READ: Final = whole_or_null("cache_read_tokens")
_PROMPT: Final = whole_or_null("prompt_tokens")
_OUTPUT: Final = f"({whole_or_null('completion_tokens')}) > 0 AND ({known('latency_ms')}) > 0"
_RATE_PARTS: Final = {"output_tokens": "completion_tokens", "output_us": _MICROSECONDS["latency_ms"]}
_KNOWN_TOKENS: Final = ("cache_read_tokens", "cache_write_tokens", "reasoning_tokens")


def _times(prefix: str, field: str, *, is_daily: bool = False) -> dict[str, Part]:
    buckets = f"value_buckets({field}) FILTER (WHERE ({known(field)}) IS NOT NULL)"
    return {
        f"{prefix}_count": Part(f"count({known(field)})"),
        f"{prefix}_us_sum": Part(f"sum({_MICROSECONDS[field]})"),
        f"{prefix}_us_max": Part(f"max({_MICROSECONDS[field]})", "most"),
        f"{prefix}_buckets": Part(buckets, "buckets", is_daily),
    }


PARTS: Final[dict[str, Part]] = {
    **_times("ttft", "ttft_ms"),
    **_times("latency", "latency_ms", is_daily=True),
    **{name: Part(f"sum({added})", is_daily=True) for name, added in ADDED_BY_A_CALL.items()},
    **{name: Part(f"sum({whole_or_null(name)})") for name in _KNOWN_TOKENS},
    **{f"{name}_known": Part(f"count({whole_or_null(name)})") for name in _KNOWN_TOKENS},
    **{name: Part(f"sum(CASE WHEN {_OUTPUT} THEN {value} END)") for name, value in _RATE_PARTS.items()},
    "hit_tokens": Part(f"sum(CASE WHEN ({_PROMPT}) IS NOT NULL THEN {_CACHE_READ} END)"),
    "hit_of_tokens": Part(f"sum(CASE WHEN ({_CACHE_READ}) IS NOT NULL THEN {_PROMPT} END)"),
    "counted_nanos": Part(f"sum(CASE WHEN NOT {UNCOUNTED} THEN {NANOS} END)"),
    "priced_tokens": Part(f"sum(CASE WHEN {PRICED} THEN total_tokens END)"),
    "priced_successes": Part(f"sum(status = 'success' AND {PRICED})"),
}


@dataclass(frozen=True, slots=True)
class Measure:
    """A measure.

    Attributes:
        unit: of its value.
        parts: what it is made of.
        of: its value.
        what: in words.
    """

    unit: Unit
    parts: tuple[str, ...]
    of: Callable[[Parts], int | float | None]
    what: str


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole else None


def _sum(name: str, unit: Unit, what: str) -> Measure:
    return Measure(unit, (name,), lambda parts: parts[name], what)


def _failed(parts: Parts) -> int:
    return parts["errors"] + parts["timeouts"]  # type: ignore[no-any-return]


def _unless_unknown(value: float, known_calls: int, calls: int) -> float | None:
    """A sum over the calls that tell; None where there are calls and none tells."""
    return value if known_calls or not calls else None


def _priced(parts: Parts) -> int:
    return parts["invocations"] - parts["unpriced"]  # type: ignore[no-any-return]


def _total_tokens(parts: Parts) -> float | None:
    calls = parts["invocations"]
    return _unless_unknown(parts["total_tokens"], calls - parts["uncounted"], calls)


def _half_of_tokens(name: str) -> Callable[[Parts], float | None]:
    """Prompt or completion tokens: daily totals do not count who tells them, so 0 is known only where nothing is left.

    A total is at least the sum of both. Where the sums of both are the whole total, what is not told is 0.
    """

    def tokens(parts: Parts) -> float | None:
        left = parts["total_tokens"] - parts["prompt_tokens"] - parts["completion_tokens"]
        is_told = parts[name] or (parts["invocations"] > parts["uncounted"] and left <= 0)
        return _unless_unknown(parts[name], is_told, parts["invocations"])

    return tokens


def _part_of_tokens(name: str, what: str) -> Measure:
    return Measure(
        "tokens",
        (name, f"{name}_known", "invocations"),
        lambda parts: _unless_unknown(parts[name], parts[f"{name}_known"], parts["invocations"]),
        what,
    )


def _usd(parts: Parts, nanos: str, pieces: float) -> float | None:
    return _ratio(parts[nanos] / 1e9, pieces)


def _spread(prefix: str, field: str, what: str) -> dict[str, Measure]:
    """Percentiles, mean and greatest of a time; percentiles are within 2.2 %, and not above a greatest one beside."""
    count, us_sum, us_max, buckets = (f"{prefix}_{part}" for part in ("count", "us_sum", "us_max", "buckets"))

    def mean(parts: Parts) -> float | None:
        return _ratio(parts[us_sum] / 1000, parts[count])

    def at(share: float) -> Callable[[Parts], float | None]:
        def of(parts: Parts) -> float | None:
            if len(parts[buckets]) < 2:  # of one bucket, as of a single call, the mean says more
                return mean(parts)
            found = percentile(parts[buckets], share)
            most = parts.get(us_max)
            return found if most is None else min(found, most / 1000)

        return of

    def most(parts: Parts) -> float | None:
        return None if parts[us_max] is None else parts[us_max] / 1000

    found = {
        f"p{percent}_{field}": Measure(
            "ms", (count, us_sum, buckets), at(percent / 100), f"{what}: {percent} % of the calls took at most so long"
        )
        for percent in (50, 90, 95, 99)
    }
    found[f"avg_{field}"] = Measure("ms", (count, us_sum), mean, f"{what}: mean")
    found[f"max_{field}"] = Measure("ms", (us_max,), most, f"{what}: longest")
    return found


_COST: Final = ("cost_nanos", "unpriced", "invocations")
_TOKENS: Final = ("prompt_tokens", "completion_tokens", "total_tokens", "uncounted", "invocations")
_OUTCOMES: Final = ("invocations", "errors", "timeouts")

MEASURES: Final[dict[str, Measure]] = {
    "invocations": _sum("invocations", "calls", "calls"),
    "successes": Measure("calls", _OUTCOMES, lambda p: p["invocations"] - _failed(p), "calls that succeeded"),
    "failures": Measure("calls", _OUTCOMES, _failed, "errors and timeouts"),
    "errors": _sum("errors", "calls", "calls of status `error`"),
    "timeouts": _sum("timeouts", "calls", "calls of status `timeout`"),
    "success_rate": Measure(
        "share", _OUTCOMES, lambda p: _ratio(p["invocations"] - _failed(p), p["invocations"]), "successes of all calls"
    ),
    "failure_rate": Measure(
        "share", _OUTCOMES, lambda p: _ratio(_failed(p), p["invocations"]), "failures of all calls"
    ),
    "total_tokens": Measure("tokens", _TOKENS, _total_tokens, "tokens, as reported"),
    "prompt_tokens": Measure("tokens", _TOKENS, _half_of_tokens("prompt_tokens"), "of prompts, cached ones included"),
    "completion_tokens": Measure(
        "tokens", _TOKENS, _half_of_tokens("completion_tokens"), "of answers, reasoning included"
    ),
    "cache_read_tokens": _part_of_tokens("cache_read_tokens", "prompt tokens that came from a cache"),
    "cache_write_tokens": _part_of_tokens("cache_write_tokens", "prompt tokens that were written to a cache"),
    "reasoning_tokens": _part_of_tokens("reasoning_tokens", "completion tokens of reasoning"),
    "uncounted": _sum("uncounted", "calls", "calls whose total of tokens is unknown"),
    "total_cost_usd": Measure(
        "USD", _COST, lambda p: _unless_unknown(p["cost_nanos"] / 1e9, _priced(p), p["invocations"]), "cost"
    ),
    "cost_nanos": Measure(
        "nano-USD", _COST, lambda p: _unless_unknown(p["cost_nanos"], _priced(p), p["invocations"]), "cost, exactly"
    ),
    "priced": Measure("calls", _COST, _priced, "calls whose cost is known"),
    "unpriced": _sum("unpriced", "calls", "calls whose cost is unknown"),
    "usd_per_call": Measure("USD", _COST, lambda p: _usd(p, "cost_nanos", _priced(p)), "cost of a priced call"),
    "usd_per_1k_tokens": Measure(
        "USD",
        ("counted_nanos", "priced_tokens"),
        lambda p: _usd(p, "counted_nanos", p["priced_tokens"] / 1000),
        "cost of 1,000 tokens, of the calls of which both are known",
    ),
    "usd_per_success": Measure(
        "USD",
        ("cost_nanos", "priced_successes"),
        lambda p: _usd(p, "cost_nanos", p["priced_successes"]),
        "all cost, that of failures too, by priced successes",
    ),
    **_spread("latency", "latency_ms", "latency"),
    "timed": _sum("latency_count", "calls", "calls whose latency is known"),
    **_spread("ttft", "ttft_ms", "time to the first token"),
    "output_tokens_per_second": Measure(
        "tokens/s",
        ("output_tokens", "output_us"),
        lambda p: _ratio(p["output_tokens"] * 1e6, p["output_us"]),
        "completion tokens over latency, of the calls of which both are known",
    ),
    "cache_hit_share": Measure(
        "share",
        ("hit_tokens", "hit_of_tokens"),
        lambda p: _ratio(p["hit_tokens"], p["hit_of_tokens"]),
        "prompt tokens that came from a cache, of the calls of which both are known",
    ),
}
"""By name, which is that of `daily_costs`, `run.summary()`, `get_unit_costs` or `get_statistics` where they have it."""

SETS: Final[dict[str, tuple[str, ...]]] = {
    "calls": ("invocations",),
    "cost": ("total_cost_usd", "priced", "unpriced"),
    "cost_usd": ("total_cost_usd", "priced", "unpriced"),
    "tokens": ("total_tokens", "uncounted"),
    "outcomes": ("successes", "errors", "timeouts"),
    "latency": ("p50_latency_ms", "p95_latency_ms", "p99_latency_ms", "timed"),
    **{f"p{percent}": (f"p{percent}_latency_ms",) for percent in (50, 90, 95, 99)},
    "ttft": ("p50_ttft_ms", "p95_ttft_ms", "p99_ttft_ms"),
    "cost_per_call": ("usd_per_call",),
    "cost_per_1k_tokens": ("usd_per_1k_tokens",),
    "cost_per_success": ("usd_per_success",),
    "tokens_per_second": ("output_tokens_per_second",),
    # The names that `get_statistics` has for the same.
    "total_invocations": ("invocations",),
    "success_count": ("successes",),
    "error_count": ("errors",),
    "timeout_count": ("timeouts",),
    "uncounted_invocations": ("uncounted",),
    "priced_invocations": ("priced",),
    "unpriced_invocations": ("unpriced",),
    "timed_invocations": ("timed",),
}
"""Other names: short ones, and several measures by one name."""


def measures_named(names: Iterable[str], argument: str = "measures") -> tuple[str, ...]:
    """The measures of these names, each once.

    Raises:
        QueryError: naming the argument, the name and the remedy.
    """
    found: list[str] = []
    for name in names:
        if name not in MEASURES and name not in SETS:
            raise QueryError(argument, name, no_such("measure", name, (*SETS, *MEASURES)))
        found += SETS.get(name, (name,))
    if not found:
        raise QueryError(argument, "", f"give one or more of {', '.join((*SETS, *MEASURES))}")
    return tuple(dict.fromkeys(found))
