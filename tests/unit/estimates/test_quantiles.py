"""Online quantiles: in order, one of what was seen, at their promised coverage on a real trace and through drift."""

import math
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import llm_service.cli
from llm_service.cli.trace import read_trace
from llm_service.estimates.quantiles import LEVELS, WINDOW, AdaptiveQuantiles, Quantiles

PACKAGED = Path(llm_service.cli.__file__).parent / "data" / "azure_llm_inference_2023_code_first_1000.csv"
WHOLE = [folder / "shared/data/azure_llm_inference_2023_code.csv" for folder in Path(__file__).resolve().parents]


@pytest.fixture(params=["packaged", "whole"])
def trace(request: pytest.FixtureRequest) -> list[int]:
    """The tokens of each answer of the Azure LLM Inference Trace 2023 (Microsoft, CC BY 4.0)."""
    path = PACKAGED if request.param == "packaged" else next((path for path in WHOLE if path.exists()), None)
    if path is None:
        pytest.skip("the whole trace is not here")
    return [row.generated_tokens for row in read_trace(path)]


def covered(values: list[int], first: int, end: int | None = None) -> Quantiles[float]:
    """The share of values[first:end] that each level held, each predicted from all before it."""
    quantiles = AdaptiveQuantiles()
    held, count = [0, 0, 0], 0
    for number, value in enumerate(values[:end]):
        predicted = quantiles.add(value)
        if number >= first:
            assert predicted is not None
            count += 1
            held = [before + (value <= bound) for before, bound in zip(held, predicted, strict=True)]
    return Quantiles(*(share / count for share in held))


def lognormal(seed: int, medians: list[float], sigma: float = 0.8) -> list[int]:
    """Values whose logarithms are normal."""
    source = random.Random(seed)
    return [max(1, round(source.lognormvariate(math.log(median), sigma))) for median in medians]


def test_nothing_is_predicted_from_nothing() -> None:
    """Unknown is None, not 0."""
    assert AdaptiveQuantiles().predict() is None
    assert AdaptiveQuantiles().add(7) is None


def test_one_value_predicts_itself() -> None:
    """There is nothing else to say."""
    quantiles = AdaptiveQuantiles()
    quantiles.add(7)
    assert quantiles.predict() == (7, 7, 7)
    assert quantiles.seen == 1


def test_of_one_to_a_hundred_each_level_is_its_conformal_rank() -> None:
    """ceil(101 * level), before any correction: the order of arrival does not matter to those who never miss."""
    quantiles = AdaptiveQuantiles()
    for value in range(100, 0, -1):
        quantiles.add(value)
        quantiles.misses = [1 - level for level in LEVELS]
        quantiles.predicted = None
    assert quantiles.predict() == (51, 91, 100)


@settings(deadline=None)  # a busy machine stops for longer than any deadline
@given(st.lists(st.integers(0, 10**12), max_size=3 * WINDOW), st.integers(2, WINDOW))
def test_levels_never_fall_and_each_is_a_value_of_the_window(values: list[int], window: int) -> None:
    """Whatever comes: p50 <= p90 <= p99, and nothing is made up."""
    quantiles = AdaptiveQuantiles(window)
    for number, value in enumerate(values):
        before = quantiles.predict()
        assert quantiles.add(value) == before
        predicted = quantiles.predict()
        assert predicted is not None
        assert predicted.p50 <= predicted.p90 <= predicted.p99
        assert set(predicted) <= set(values[max(0, number + 1 - window) : number + 1])
    assert sorted(quantiles.recent) == list(quantiles.ordered)
    assert len(quantiles.recent) == min(len(values), window)
    assert quantiles.seen == len(values)


@settings(deadline=None)  # a busy machine stops for longer than any deadline
@given(st.permutations(range(25)))
def test_few_values_predict_the_same_in_any_order(values: list[int]) -> None:
    """Until the correction begins, what was seen counts and not when."""
    quantiles = AdaptiveQuantiles()
    for value in values:
        quantiles.add(value)
    assert quantiles.predict() == (12, 23, 24)


def test_misses_make_the_estimate_higher_and_hits_lower_it_slowly() -> None:
    """The correction of Gibbs & Candès: step * (miss rate - missed), held within 0 and 1."""
    quantiles = AdaptiveQuantiles()
    for value in range(30):
        quantiles.add(value)
    rates = list(quantiles.misses)
    quantiles.add(1000)
    assert quantiles.misses == pytest.approx([rates[0] - 0.005, rates[1] - 0.009, rates[2] - 0.00099])
    quantiles.add(0)
    assert quantiles.misses == pytest.approx([rates[0], rates[1] - 0.008, rates[2] - 0.00098])
    for value in range(2000, 2400):
        quantiles.add(value)
    assert quantiles.misses == [0.0, 0.0, 0.0]
    for _ in range(3000):
        quantiles.add(0)
    assert max(quantiles.misses) <= 1.0


def test_p90_covers_the_second_half_of_a_real_trace(trace: list[int]) -> None:
    """The bar is 0.88 to 0.93."""
    shares = covered(trace, len(trace) // 2)
    assert 0.88 <= shares.p90 <= 0.93
    assert 0.46 <= shares.p50 <= 0.54
    assert shares.p99 >= 0.98


def test_what_the_first_half_of_a_real_trace_teaches_holds_for_the_second(trace: list[int]) -> None:
    """The same bar, split by time and not learning on: the state of one moment, which wavers more than its use does."""
    quantiles = AdaptiveQuantiles()
    half = len(trace) // 2
    for value in trace[:half]:
        quantiles.add(value)
    predicted = quantiles.predict()
    assert predicted is not None
    assert 0.88 <= sum(value <= predicted.p90 for value in trace[half:]) / (len(trace) - half) <= 0.93


def jump(number: int) -> float:
    """It doubles and more at once."""
    return 300 if number < 1500 else 700


def fall(number: int) -> float:
    """It halves and more at once."""
    return 700 if number < 1500 else 300


def ramp(number: int) -> float:
    """It rises slowly."""
    return 300 + 400 * min(1.0, max(0.0, (number - 500) / 2000))


def season(number: int) -> float:
    """It swings."""
    return 500 + 200 * math.sin(2 * math.pi * number / 600)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("median", "first", "end"), [(jump, 1500, 1800), (fall, 1500, 1800), (ramp, 500, 3000), (season, 600, 3000)]
)
def test_p90_covers_a_drifting_stream(median: object, first: int, end: int, seed: int) -> None:
    """The bar is 0.87, also of the 300 values right after a jump, where a rolling quantile covers 0.79."""
    assert callable(median)
    values = lognormal(seed, [median(number) for number in range(3000)])
    assert covered(values, first, end).p90 >= 0.87


@pytest.mark.parametrize("window", [1, 0, -5])
def test_a_window_of_one_is_refused(window: int) -> None:
    """Nothing can be ranked in it."""
    with pytest.raises(ValueError, match=rf"window: {window} is not usable; give a whole number from 2 on"):
        AdaptiveQuantiles(window)
