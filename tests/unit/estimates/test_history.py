"""Groups of past calls: which one answers, how sure it is, and that neither grows without bound."""

import random
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_service.estimates import past_calls
from llm_service.estimates.past_calls import MIN_SAMPLES, Coverage, History, Past, is_cut_short
from llm_service.estimates.quantiles import AdaptiveQuantiles, Quantiles

WHO = ("backend-dev", "claude-code", "claude-3.5-sonnet")


def fed(*calls: tuple[Any, ...]) -> History:
    """A history of `(agent, tool, model, tokens, times)`."""
    known = History()
    for agent, tool, model, tokens, times in calls:
        for _ in range(times):
            known.observe(agent, tool, model, tokens)
    return known


def test_an_empty_history_knows_nothing() -> None:
    """None, not 0."""
    assert History().past(*WHO) == Past("default", 0, None, None, None, None)


@pytest.mark.parametrize(
    ("tool", "model", "agent", "level", "p50"),
    [
        ("t", "m", "a", "agent+tool+model", 10),
        ("other", "m", "a", "agent+model", 10),
        (None, "m", "a", "agent+model", 10),
        ("t", "m", "other", "model", 20),
        ("t", "m", None, "model", 20),
        ("t", "other", "a", "default", 20),
        (None, None, None, "default", 20),
    ],
)
def test_the_narrowest_group_with_enough_calls_answers(
    agent: str | None, tool: str | None, model: str | None, level: str, p50: int
) -> None:
    """(agent, tool, model), then (agent, model), then (model), then all calls."""
    known = fed(("a", "t", "m", 10, MIN_SAMPLES), ("b", "u", "m", 20, 40), ("c", "v", "n", 30, 25))
    past = known.past(agent, tool, model)
    assert past.completion_tokens is not None
    assert (past.level, past.completion_tokens.p50) == (level, p50)


def test_one_call_short_of_the_minimum_is_not_asked() -> None:
    """Thirty are enough; of all calls, one is better than nothing, and `samples` says how many there are."""
    known = fed((*WHO, 10, MIN_SAMPLES - 1))
    assert known.past(*WHO)[:3] == ("default", MIN_SAMPLES - 1, (10, 10, 10))
    known.observe(*WHO, 10)
    assert known.past(*WHO)[:2] == ("agent+tool+model", MIN_SAMPLES)


def test_groups_are_bounded_and_the_least_used_goes_first() -> None:
    """A thousand agents of one run leave no trace for ever; the group of all calls stays."""
    known = History(max_groups=7)
    for number in range(50):
        for _ in range(MIN_SAMPLES):
            known.observe("kept", "t", "m", 5)
            known.observe(f"agent-{number}", "t", "m", number)
        assert len(known) == min(7, 6 + 2 * number)
    assert known.past("kept", "t", "m").level == "agent+tool+model"
    assert known.past("agent-49", "t", "m").level == "agent+tool+model"
    assert known.past("agent-1", "t", "m").level == "model"
    assert known.past("x", "y", "z") [:2] == ("default", 100 * MIN_SAMPLES)  # fmt: skip


def test_being_asked_about_keeps_a_group() -> None:
    """Used means learnt from or asked."""
    known = History(max_groups=4)
    for name in ("a", "b"):
        for _ in range(MIN_SAMPLES):
            known.observe(name, None, "m", 5)  # default, m, and one of each: four groups
    assert known.past("a", None, "m").level == "agent+model"
    known.observe("c", None, "m", 5)
    assert known.past("a", None, "m").level == "agent+model"
    assert known.past("b", None, "m").level == "model"


@settings(deadline=None)  # a busy machine stops for longer than any deadline
@given(st.lists(st.integers(0, 50), max_size=400), st.integers(1, 60))
def test_reported_coverage_is_a_recount_of_what_would_have_been_told(values: list[int], most: int) -> None:
    """Prequential: each prediction was made before its value was learnt; the last `most` count."""
    counted, quantiles = Coverage(most), AdaptiveQuantiles()
    told: list[tuple[Quantiles[int], int]] = []
    for value in values:
        predicted = quantiles.add(value)
        if predicted is not None:
            counted.add(predicted, value)
            told.append((predicted, value))
    last = told[-most:]
    shares = [sum(value <= predicted[at] for predicted, value in last) / max(1, len(last)) for at in range(3)]
    assert counted.shares() == (None if not last else tuple(shares))


def test_a_groups_coverage_counts_the_predictions_that_could_have_been_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """From the thirtieth call on, of the last thousand, against a recount by hand."""
    monkeypatch.setattr(past_calls.Coverage.__init__, "__defaults__", (200,))
    source = random.Random(3)
    known, plain = History(), AdaptiveQuantiles()
    held: list[list[bool]] = []
    for number in range(700):
        value = round(source.lognormvariate(5, 1))
        past = known.past(*WHO)
        assert (past.coverage is None) is (number <= MIN_SAMPLES)
        predicted = plain.add(value)
        if number >= MIN_SAMPLES:
            assert predicted == past.completion_tokens
            assert predicted is not None
            held.append([value <= bound for bound in predicted])
        known.observe(*WHO, value)
    coverage = known.past(*WHO).coverage
    assert coverage == tuple(sum(column) / 200 for column in zip(*held[-200:], strict=True))


def test_costs_are_told_once_enough_are_known() -> None:
    """A cost that is unknown teaches nothing, and is not 0."""
    known = History()
    for number in range(2 * MIN_SAMPLES):
        known.observe(*WHO, 10, 5_000 if number % 2 else None)
        assert (known.past(*WHO).cost_nanos is None) is (number < 2 * MIN_SAMPLES - 1)
    assert known.past(*WHO).cost_nanos == (5_000, 5_000, 5_000)
    assert known.past(*WHO).cost_coverage is None
    known.observe(*WHO, 10, 5_000)
    known.observe(*WHO, 10, 6_000)
    assert known.past(*WHO).cost_coverage == (0.5, 0.5, 0.5)


def test_threads_learn_and_ask_at_once() -> None:
    """Every call is counted, and no answer is torn."""
    known = History(max_groups=20)

    def work(number: int) -> None:
        for value in range(300):
            known.observe(f"agent-{number}", "t", "m", value)
            past = known.past(f"agent-{number}", "t", "m")
            assert past.completion_tokens is not None
            assert past.completion_tokens.p50 <= past.completion_tokens.p99

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    assert known.past(None, None, None).samples == 1200


@pytest.mark.parametrize(
    "reason",
    ["length", "max_tokens", "MAX_TOKENS", "max_output_tokens", "content_filter", "content-filter", "SAFETY",
     "cancelled", "FinishReason.MAX_TOKENS", '["stop", "length"]', "model_context_window_exceeded"],
)  # fmt: skip
def test_an_answer_that_was_cut_short_is_known_by_its_reason(reason: str) -> None:
    """As the providers write it, and as this project does."""
    assert is_cut_short(reason)


@pytest.mark.parametrize("reason", ["stop", "STOP", "end_turn", "tool_calls", "tool_use", "stop_sequence", "", "1"])
def test_an_answer_that_ended_by_itself_is_whole(reason: str) -> None:
    """A call of a tool is a whole answer."""
    assert not is_cut_short(reason)
