"""Integer rates: exact, rounded once, bounded from above, and None rather than a guess."""

from decimal import ROUND_HALF_UP, Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_service.pricing.rates import Prices, Rates

NANO = Decimal("1e-9")


def rates(*tiers: Prices) -> Rates:
    """Rates of these tiers."""
    return Rates.of("test", "model", None, tiers)


def flat(**prices: str) -> Rates:
    """Rates of one tier."""
    return rates(Prices(0, **{name: Decimal(price) for name, price in prices.items()}))


prices = st.decimals(min_value=0, max_value=500, places=6).map(lambda price: price.normalize())
counts = st.integers(min_value=0, max_value=2_000_000)


@given(
    st.tuples(prices, prices, prices, prices, prices, prices),
    st.tuples(counts, counts, counts, counts, counts, counts),
)
def test_a_cost_is_the_exact_sum_rounded_once(usd: tuple[Decimal, ...], tokens: tuple[int, ...]) -> None:
    """Whatever the prices and counts, against Decimal."""
    fresh, read, written, said, reasoned, kept = tokens
    one_input, output, cached, write, reasoning, hour = usd
    exact = fresh * one_input + read * cached + written * write + kept * hour + said * output + reasoned * reasoning
    compiled = rates(Prices(0, one_input, output, cached, write, reasoning, hour))
    prompt = fresh + read + written + kept
    nanos = compiled.cost_nanos(prompt, said + reasoned, read, written + kept, reasoned, kept)
    assert nanos is not None
    assert Decimal(nanos) * NANO == (exact / 10**6).quantize(NANO, ROUND_HALF_UP)


@given(
    st.lists(st.tuples(prices, prices, prices, prices, prices, prices), min_size=1, max_size=3),
    st.tuples(counts, counts, counts, counts, counts, counts),
)
def test_no_call_costs_more_than_the_most(usd: list[tuple[Decimal, ...]], tokens: tuple[int, ...]) -> None:
    """The bound of a hold: also for a call that is shorter than thought."""
    fresh, read, written, said, reasoned, kept = tokens
    compiled = rates(*(Prices(at * 1_000_000, *tier) for at, tier in enumerate(usd)))
    prompt, completion = fresh + read + written + kept, said + reasoned
    nanos = compiled.cost_nanos(prompt, completion, read, written + kept, reasoned, kept)
    assert nanos is not None
    assert nanos <= compiled.most_nanos(prompt, completion)
    assert nanos <= compiled.most_nanos(prompt + 12_345, completion)


def test_what_is_written_for_an_hour_without_a_price_costs_what_is_written() -> None:
    """And that what is read at full price, where it has none either."""
    assert flat(input="3", output="15", cache_write="4").cost_nanos(1000, 0, 0, 1000, 0, 900) == 4_000_000
    assert flat(input="3", output="15").cost_nanos(1000, 0, 0, 1000, 0, 900) == 3_000_000
    assert flat(input="3", output="15", cache_write_1h="6").cost_nanos(1000, 0, 0, 1000, 0, 900) == 5_700_000
    assert flat(input="3", output="15", cache_write_1h="6").most_nanos(1000, 0) == 6_000_000


def test_half_a_nano_dollar_is_rounded_up() -> None:
    """The rounding is the one of bills."""
    assert flat(input="0.0375", output="0").cost_nanos(1, 0) == 38  # 37.5
    assert flat(input="0.0025", output="0").cost_nanos(1, 0) == 3  # 2.5


def test_rates_finer_than_a_pico_dollar_stay_exact() -> None:
    """$0.0833333333333333 a million tokens is no whole number of pico-dollars a token."""
    compiled = flat(input="0.08333333333333334", output="1")
    assert compiled.cost_nanos(10**12, 0) == 83_333_333_333_333


def test_cached_and_written_tokens_without_a_price_cost_what_input_does() -> None:
    """Never cheaper than true."""
    compiled = flat(input="3", output="15")
    assert compiled.cost_nanos(1000, 0, 400, 300) == compiled.cost_nanos(1000, 0) == 3_000_000


def test_reasoning_without_a_price_costs_what_output_does() -> None:
    """As nearly all providers bill it."""
    compiled = flat(input="3", output="15")
    assert compiled.cost_nanos(0, 100, 0, 0, 90) == compiled.cost_nanos(0, 100) == 1_500_000
    assert flat(input="2", output="8", reasoning="3").cost_nanos(0, 100, 0, 0, 90) == 10 * 8000 + 90 * 3000


def test_the_whole_call_pays_the_tier_of_its_prompt() -> None:
    """A tier is a cliff: https://ai.google.dev/gemini-api/docs/pricing."""
    compiled = rates(
        Prices(128_000, Decimal(3), Decimal(12)),
        Prices(0, Decimal(1), Decimal(4)),
        Prices(32_000, Decimal(2), Decimal(8)),
    )
    assert [tier.above_prompt_tokens for tier in compiled.prices] == [0, 32_000, 128_000]
    assert compiled.cost_nanos(0, 1) == 4000
    assert compiled.cost_nanos(32_000, 0) == 32_000_000
    assert compiled.cost_nanos(32_001, 1, 32_000) == 2 * 32_001_000 + 8000
    assert compiled.cost_nanos(128_001, 0) == 3 * 128_001_000


@pytest.mark.parametrize(
    "tokens",
    [
        (10, 10, 11),
        (10, 10, 0, 11),
        (10, 10, 6, 5),
        (10, 10, 0, 0, 11),
        (10, 10, 0, 5, 0, 6),
        (10, 10, 0, 0, 0, 1),
        (-1, 0),
    ],
    ids=["cached", "written", "both", "reasoned", "for an hour", "for an hour only", "negative"],
)
def test_counts_that_contradict_each_other_have_no_cost(tokens: tuple[int, ...]) -> None:
    """A record whose parts exceed the whole has no price rather than a wrong one."""
    assert flat(input="3", output="15").cost_nanos(*tokens) is None


def test_output_of_a_model_without_an_output_price_is_unknown_and_bounded_by_its_input() -> None:
    """Embeddings have one price."""
    embedding = flat(input="0.02")
    assert embedding.cost_nanos(1000, 0) == 20_000
    assert embedding.cost_nanos(1000, 1) is None
    assert embedding.most_nanos(1000, 0) == 20_000
    assert embedding.most_nanos(1000, 10) == 20_200


def test_the_most_is_rounded_up_and_counts_the_dearest_part() -> None:
    """Rounded up, so that a hold never falls short by a part of a nano-dollar."""
    assert flat(input="0.0375", output="0.15").most_nanos(1, 0) == 38
    assert flat(input="3", output="15", cache_write="3.75", reasoning="20").most_nanos(100, 10) == 375_000 + 200_000
    falling = rates(Prices(0, Decimal(10), Decimal(10)), Prices(100, Decimal(1), Decimal(1)))
    assert falling.most_nanos(200, 0) == 2_000_000, "an upper bound of tokens may hold fewer, at a dearer tier"
    assert flat(input="3", output="15").most_nanos(0, 1) == 15_000


@pytest.mark.parametrize(
    ("tiers", "message"),
    [
        ((), "has none"),
        ((Prices(0, Decimal(1), Decimal(1)), Prices(0, Decimal(2), Decimal(1))), "same number of tokens"),
        ((Prices(0, Decimal(-1), Decimal(1)),), "input: -1"),
        ((Prices(0, Decimal(1), Decimal("NaN")),), "output: NaN"),
    ],
)
def test_prices_that_are_none_are_refused(tiers: tuple[Prices, ...], message: str) -> None:
    """Each error names what it refuses."""
    with pytest.raises(ValueError, match=message):
        rates(*tiers)


def test_an_output_price_says_whether_output_is_to_be_expected() -> None:
    """Of embeddings a missing count of completion tokens is no gap."""
    assert flat(input="3", output="0").gives_output
    assert not flat(input="3").gives_output


def test_trailing_zeros_and_exponents_change_nothing() -> None:
    """However a file writes its numbers."""
    for text in ("3", "3.000000000000000", "0.3E+1", "30E-1"):
        assert flat(input=text, output="0").cost_nanos(1000, 0) == 3_000_000


@given(
    st.tuples(prices, prices, prices, prices, prices),
    st.tuples(counts, counts, counts, counts, counts),
    st.booleans(),
)
def test_the_lowest_tier_prices_calls_as_all_do(usd: tuple[Decimal, ...], tokens: tuple[int, ...], two: bool) -> None:
    """Up to its bound; a model without an output price has no such calls."""
    fresh, read, written, said, reasoned = tokens
    prompt, completion = fresh + read + written, said + reasoned
    compiled = rates(Prices(0, *usd), *([Prices(3_000_000, *usd[::-1])] if two else []))
    up_to, one, other, *more, half, parts = compiled.lowest_tier()
    assert up_to == (3_000_000 if two else 2**63)
    if prompt <= up_to:
        extra = sum(count * price for count, price in zip((read, written, reasoned), more, strict=True))
        nanos = (prompt * one + completion * other + extra + half) // parts
        assert nanos == compiled.cost_nanos(prompt, completion, read, written, reasoned)
    assert flat(input="1").lowest_tier()[0] == -1


@pytest.mark.parametrize(("longest", "nanos"), [(100, 300_000), (50, 300_000), (101, None)])
def test_a_sum_of_calls_is_priced_where_all_are_of_the_lowest_tier(longest: int, nanos: int | None) -> None:
    """However long the prompts are together; one tier is the lowest for all."""
    tiers = rates(Prices(0, Decimal(1), Decimal(0)), Prices(100, Decimal(2), Decimal(0)))
    assert tiers.cost_nanos(300, 5, longest=longest) == nanos
    assert tiers.cost_nanos(300, 5) == 600_000
    assert flat(input="1", output="0").cost_nanos(300, 5, longest=longest) == 300_000
    assert flat(input="1", output="0").up_to(100).cost_nanos(300, 5, longest=longest) == nanos
