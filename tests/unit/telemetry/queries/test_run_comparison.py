"""Two runs are said to differ where they do, and not where they do not."""

import pickle
import random
import re
import sys
from typing import Any

import pytest

from llm_service.errors import MissingPackageError, QueryError
from llm_service.extras import install
from llm_service.telemetry.queries import bootstrap
from llm_service.telemetry.queries.bootstrap import LEAST_CALLS, Pairs, interval_of_difference, level_of
from llm_service.telemetry.queries.run_calls import RunCalls, _Cells
from llm_service.telemetry.queries.run_comparison import (
    METRICS,
    BothRuns,
    ComparedMetric,
    RunComparison,
    compared,
    read_both,
)

pytest.importorskip("scipy")


def calls_of(number: int, seed: int, *, slower: float = 1.0, failing: float = 0.05) -> RunCalls:
    """Calls as they are: skewed times, prices that go with tokens, some failures, some unknown."""
    drawn = random.Random(seed)
    calls = RunCalls()
    for _ in range(number):
        tokens = 1 + int(slower * drawn.lognormvariate(5, 0.3))
        calls.add(
            _Cells(
                status="error" if drawn.random() < failing else "success",
                at=None,
                latency_ms=slower * drawn.lognormvariate(6, 0.3),
                ttft_ms=slower * drawn.lognormvariate(4, 0.3),
                cost_nanos=3_000 * tokens if drawn.random() < 0.9 else None,
                prompt_tokens=100,
                completion_tokens=tokens,
                total_tokens=100 + tokens,
                cache_read_tokens=None,
                reasoning_tokens=None,
            )
        )
    return calls


def compare(a: RunCalls, b: RunCalls) -> RunComparison:
    """Two runs, all calls together."""
    return compared(BothRuns("a", "b", None, {None: a}, {None: b}))


def by_metric(found: RunComparison) -> dict[str, ComparedMetric]:
    """The rows by the name of their metric."""
    return {row["metric"]: row for row in found["rows"]}


@pytest.mark.volume
def test_of_200_comparisons_of_the_same_at_most_5_percent_show_a_difference() -> None:
    """All seven intervals together, at a size at which people look."""
    shown = 0
    for seed in range(200):
        found = compare(calls_of(60, 2 * seed), calls_of(60, 2 * seed + 1))
        assert found["intervals"] == len(METRICS)
        shown += any(row["verdict"] in {"higher", "lower"} for row in found["rows"])
    assert shown <= 10


def test_what_is_20_percent_slower_and_longer_is_found_at_200_calls() -> None:
    """In cost, tokens, latency and ttft; not in what is the same."""
    rows = by_metric(compare(calls_of(200, 1), calls_of(200, 2, slower=1.2)))
    assert list(rows) == list(METRICS)
    for metric in ("cost per call", "tokens per call", "latency p50", "ttft p50"):
        row = rows[metric]
        assert row["verdict"] == "higher", row
        assert 0 < row["low"] < row["difference"] < row["high"]
        assert row["ratio"] == pytest.approx(row["b"] / row["a"])
    assert rows["success rate"]["verdict"] == "no difference shown"
    assert rows["output tokens per second"]["verdict"] == "no difference shown"


def test_the_other_way_round_it_is_lower() -> None:
    """`verdict` is about b."""
    rows = by_metric(compare(calls_of(200, 2, slower=1.2), calls_of(200, 1)))
    assert rows["latency p50"]["verdict"] == "lower"
    assert rows["latency p50"]["high"] < 0


def test_the_values_are_those_of_all_calls() -> None:
    """Exactly: means, percentiles between the nearest two values, tokens over time."""
    a = calls_of(50, 3)
    row = by_metric(compare(a, calls_of(40, 4)))
    latencies = sorted(a.latency_ms)
    assert row["latency p50"]["a"] == pytest.approx((latencies[24] + latencies[25]) / 2)
    assert row["cost per call"]["a"] == pytest.approx(sum(a.cost_nanos) / len(a.cost_nanos) / 1e9)
    assert row["output tokens per second"]["a"] == pytest.approx(1000 * sum(a.output_tokens) / sum(a.output_ms))
    assert (row["cost per call"]["calls_a"], row["success rate"]["calls_a"]) == (len(a.cost_nanos), 50)
    assert row["cost per call"]["sampled_a"] == len(a.cost_nanos)


def test_the_same_calls_give_the_same_intervals() -> None:
    """To the last digit."""
    a, b = calls_of(30, 5), calls_of(30, 6)
    assert compare(a, b) == compare(a, b)


def test_of_fewer_than_ten_calls_nothing_is_said() -> None:
    """And their intervals are not made, so that the others need no correction for them."""
    found = compare(calls_of(LEAST_CALLS - 1, 7), calls_of(200, 8))
    assert {row["verdict"] for row in found["rows"]} == {"too few calls"}
    assert all(row["low"] is None and row["difference"] is not None for row in found["rows"])
    assert (found["intervals"], found["each_confidence"]) == (0, 0.95)


def test_a_run_without_calls_is_unknown() -> None:
    """One of spans alone, say."""
    found = compared(BothRuns("a", "b", None, {}, {None: calls_of(20, 9)}))
    assert {row["verdict"] for row in found["rows"]} == {"unknown"}
    assert (found["a"]["invocations"], found["b"]["invocations"]) == (0, 20)
    assert by_metric(found)["success rate"]["ratio"] is None


def constant(number: int, *, status: str = "success", nanos: int = 1_000_001) -> RunCalls:
    """Calls that are all alike."""
    calls = RunCalls()
    for _ in range(number):
        calls.add(_Cells(status, None, 0.1, None, nanos, None, None, 3, None, None))
    return calls


def test_values_that_never_vary_have_no_interval() -> None:
    """Equal ones, whatever their number, do not differ by the rounding of their sum; others differ."""
    rows = by_metric(compare(constant(199), constant(200)))
    for metric in ("success rate", "cost per call", "tokens per call", "latency p50"):
        assert (rows[metric]["verdict"], rows[metric]["low"]) == ("no difference shown", None)
    assert rows["ttft p50"]["verdict"] == "unknown"
    rows = by_metric(compare(constant(20), constant(20, status="timeout", nanos=2_000_000)))
    assert (rows["success rate"]["verdict"], rows["cost per call"]["verdict"]) == ("lower", "higher")


def test_groups_are_those_of_both_runs_the_largest_first() -> None:
    """And the others are named."""
    a: dict[str | None, RunCalls] = {"small": calls_of(12, 1), "large": calls_of(30, 2), None: calls_of(5, 3)}
    b: dict[str | None, RunCalls] = {"large": calls_of(30, 4), "small": calls_of(12, 5), "new": calls_of(9, 6)}
    found = compared(BothRuns("a@x", "b", "model", a, b))
    assert [row["group"] for row in found["rows"]] == ["large"] * len(METRICS) + ["small"] * len(METRICS)
    assert (found["only_a"], found["only_b"], found["left_out"]) == ([None], ["new"], [])
    assert found["intervals"] == 2 * len(METRICS)
    assert found["each_confidence"] == pytest.approx(1 - 0.05 / found["intervals"])
    assert found["by"] == "model"


def test_of_many_groups_the_largest_ten_are_compared() -> None:
    """The rest is named."""
    many: dict[str | None, RunCalls] = {f"m{number:02}": constant(30 - number) for number in range(12)}
    found = compared(BothRuns("a", "b", "tool", many, many))
    assert [row["group"] for row in found["rows"]][:: len(METRICS)] == [f"m{number:02}" for number in range(10)]
    assert found["left_out"] == ["m10", "m11"]


def test_what_cannot_be_grouped_by_is_refused() -> None:
    """With what can be, before anything is read."""
    day: Any = "day"
    with pytest.raises(QueryError, match="by: 'day' is not usable; give one of agent, tool, model"):
        read_both(lambda _query: pytest.fail("it was read"), "a", "b", day)


def test_of_very_many_values_a_sample_is_drawn_from() -> None:
    """Which bounds time and memory, and is said."""
    level = level_of(0.95, 7)._replace(sample=500)
    drawn = random.Random(1)
    a, b = ([drawn.gauss(mean, 1) for _ in range(2_000)] for mean in (0, 1))
    found = interval_of_difference(lambda values, axis: values.mean(axis=axis), a, b, level)
    assert found.used == (500, 500)
    assert 0.5 < found.low < 1 < found.high < 1.5
    tokens, ms = [2] * 2_000, [1.0] * 2_000
    rates = interval_of_difference(
        lambda tokens, ms, axis: tokens.sum(axis=axis) / ms.sum(axis=axis),
        Pairs(tokens, ms),
        Pairs([4] * 600, [1.0] * 600),
        level,
    )
    assert rates == (2, 2, (500, 500))


def test_more_intervals_are_wider_and_drawn_more_often() -> None:
    """Within bounds."""
    one, several, many = (level_of(0.95, number) for number in (0, 7, 1_000))
    assert (one.confidence, one.resamples) == (0.95, 2_000)
    assert one.confidence < several.confidence < many.confidence
    assert one.resamples < several.resamples < many.resamples == 10_000
    assert many.sample * many.resamples == one.sample * one.resamples


def test_without_scipy_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """As an ImportError, which also pickles."""
    monkeypatch.setitem(sys.modules, "scipy.stats", None)
    with pytest.raises(MissingPackageError, match=re.escape(f"needs scipy: {install('compare')}")) as caught:
        compare(calls_of(20, 1), calls_of(20, 2))
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)  # noqa: S301 - our own
    assert isinstance(caught.value, ImportError)
    assert bootstrap.SEED
