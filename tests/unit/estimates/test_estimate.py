"""The estimate of a call: its bounds, its costs, where each is from, and None wherever something is unknown."""

import json
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_service.config.models_schema import ModelsConfig
from llm_service.errors import QueryError
from llm_service.estimates.estimate import Estimate, Question, cheaper, make_estimate, with_cheaper
from llm_service.estimates.past_calls import MIN_SAMPLES, History
from llm_service.estimates.tokens import TokenRatios
from llm_service.pricing.book import PriceBook

WHO = ("backend-dev", "claude-code", "sonnet")


def book(**models: dict[str, Any]) -> PriceBook:
    """A book of these models, `price` being USD per million tokens of input and output."""
    config: dict[str, Any] = {}
    for name, said in models.items():
        price = said.pop("price", None)
        prices = {} if price is None else {"cost_per_1m_tokens": dict(zip(("input", "output"), price, strict=True))}
        config[name] = said | prices
    return PriceBook(ModelsConfig.model_validate({"models": config, "bundled_prices": False}))


CACHED = {"input": 3, "output": 15, "cache_write": Decimal("3.75")}
UNPRICED = book()
PRICED = book(sonnet={"cost_per_1m_tokens": CACHED})


def fed(tokens: int = 200, times: int = 100, cost_nanos: int | None = None) -> History:
    """A past of equal calls."""
    history = History()
    for _ in range(times):
        history.observe(*WHO, tokens, cost_nanos)
    return history


def asked(**fields: Any) -> Question:
    """A question of the agent above."""
    return Question(*WHO, **fields)


def test_an_estimate_of_a_known_call_has_quantiles_costs_and_a_bound() -> None:
    """1,000 tokens at 3 USD a million and 200 at 15; the bound is 4,096 tokens and all input written to a cache."""
    assert make_estimate(asked(prompt_tokens=1000, max_tokens=4096), fed(), PRICED) == Estimate(
        agent_name="backend-dev", tool_name="claude-code", model_name="sonnet",
        prompt_tokens=1000, prompt_tokens_source="given",
        completion_tokens=(200, 200, 200), max_completion_tokens=4096,
        cost_usd=(Decimal("0.006"), Decimal("0.006"), Decimal("0.006")), max_cost_usd=Decimal("0.06519"),
        samples=100, level="agent+tool+model", coverage=(1.0, 1.0, 1.0), price_source="models.yaml",
        max_prompt_tokens=1000, max_completion_tokens_source="max_tokens",
    )  # fmt: skip


def test_without_a_past_the_answer_is_unknown_and_the_bound_is_not() -> None:
    """None, never 0."""
    found = make_estimate(asked(prompt_tokens=1000, max_tokens=100), History(), PRICED)
    assert (found.completion_tokens, found.cost_usd, found.coverage) == (None, None, None)
    assert (found.samples, found.level) == (0, "default")
    assert found.max_cost_usd == Decimal("0.00525")
    assert found.hold_usd() == Decimal("0.00525")


def test_an_unknown_price_is_none_and_never_0() -> None:
    """Tokens are known all the same."""
    found = make_estimate(asked(prompt_tokens=1000, max_tokens=100), fed(), UNPRICED)
    assert found.completion_tokens == (100, 100, 100)
    assert (found.cost_usd, found.max_cost_usd, found.price_source, found.hold_usd()) == (None, None, None, None)


def test_what_such_calls_have_cost_stands_in_for_a_price_that_is_unknown() -> None:
    """It says where it is from and how often it held, and is no hard bound."""
    found = make_estimate(asked(prompt_tokens=1000, max_tokens=100), fed(cost_nanos=7_000_000), UNPRICED)
    assert found.cost_usd == (Decimal("0.007"),) * 3
    assert (found.price_source, found.cost_coverage, found.max_cost_usd) == ("history", (1.0, 1.0, 1.0), None)
    assert found.hold_usd() == Decimal("0.007")


def test_what_other_models_have_cost_says_nothing_of_this_one() -> None:
    """Their tokens do, at level default; a question that names no model takes their costs as well."""
    history = fed(cost_nanos=7_000_000)
    other = make_estimate(Question(model_name="opus", prompt_tokens=5), history, UNPRICED)
    assert (other.level, other.completion_tokens, other.cost_usd) == ("default", (200, 200, 200), None)
    unnamed = make_estimate(Question(), history, UNPRICED)
    assert (unnamed.level, unnamed.cost_usd) == ("default", (Decimal("0.007"),) * 3)


def test_without_a_prompt_the_cost_is_what_such_calls_have_cost() -> None:
    """The price alone says nothing of a prompt that nobody gave."""
    found = make_estimate(asked(max_tokens=100), fed(cost_nanos=7_000_000), PRICED)
    assert (found.prompt_tokens, found.prompt_tokens_source, found.max_cost_usd) == (None, None, None)
    assert (found.cost_usd, found.price_source) == ((Decimal("0.007"),) * 3, "history")
    priced = make_estimate(asked(), fed(), PRICED)
    assert (priced.cost_usd, priced.price_source) == (None, "models.yaml")


@pytest.mark.parametrize(
    ("asked_for", "told", "limit"), [(None, None, None), (50, None, 50), (None, 80, 80), (50, 80, 50), (90, 80, 80)]
)
@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("sonnet", {"price": (1, 1)}),
        ("Sonnet", {"price": (1, 1)}),
        ("other", {"price": (1, 1), "aliases": ["x", "SONNET"]}),
        ("sonnet", {}),
        ("Sonnet", {}),
        ("other", {"aliases": ["x", "SONNET"]}),
    ],
)
def test_the_answer_is_limited_by_the_call_and_by_the_model(
    asked_for: int | None, told: int | None, limit: int | None, name: str, more: dict[str, Any]
) -> None:
    """Whichever is less; the model is found by any of its names, priced or not."""
    prices = book(**{name: {**more, "max_output_tokens": told}})
    found = make_estimate(asked(prompt_tokens=10, max_tokens=asked_for), fed(), prices)
    assert found.max_completion_tokens == limit
    assert found.completion_tokens == (limit or 200,) * 3
    assert (found.max_cost_usd is None) is (limit is None or "price" not in more)


@pytest.mark.parametrize(("model", "provider", "limit"), [
    ("gpt-4o", "openai", 80), ("gpt-4o-2024-08-06", None, 80), ("openai/gpt-4o", None, 80),
    ("gpt-4o", "azure", None), ("gpt-4", "openai", None), (None, None, None),
])  # fmt: skip
def test_the_limit_of_a_model_holds_for_its_own_calls_alone(
    model: str | None, provider: str | None, limit: int | None
) -> None:
    """Another provider may serve longer answers under the same name; a dated name is the model's."""
    prices = book(**{"gpt-4o": {"provider": "openai", "max_output_tokens": 80}})
    found = make_estimate(Question(model_name=model, provider=provider), fed(), prices)
    assert found.max_completion_tokens == limit


def test_a_prompt_is_measured_by_the_best_way_there_is() -> None:
    """What a budget holds stays the bound, of a token a byte, however much is learned, or what is learned if it is more."""
    ratios = TokenRatios([("backend-dev", "sonnet", 10, 100, 50)])
    learned = make_estimate(asked(prompt="x" * 30, max_tokens=10), fed(), PRICED, ratios)
    assert (learned.prompt_tokens, learned.prompt_tokens_source, learned.max_prompt_tokens) == (15, "learned", 37)
    guessed = make_estimate(asked(prompt="x" * 30, max_tokens=10), fed(), PRICED)
    assert (guessed.prompt_tokens, guessed.prompt_tokens_source, guessed.max_prompt_tokens) == (10, "bytes", 37)
    assert guessed.max_cost_usd == Decimal(37 * 3_000 * 5 // 4 + 10 * 15_000) / 10**9
    assert learned.hold_usd() == learned.max_cost_usd == guessed.max_cost_usd
    hidden = TokenRatios([("backend-dev", "sonnet", 10, 100, 500)])  # as of tools, which are sent with each prompt
    assert make_estimate(asked(prompt="x" * 30, max_tokens=10), fed(), PRICED, hidden).max_prompt_tokens == 150


def test_a_model_without_a_price_of_output_has_no_answer() -> None:
    """As genai-prices has embeddings: what other models answered is no answer of theirs."""
    pytest.importorskip("genai_prices", reason="the extra `prices`")
    prices = PriceBook()
    question = Question("a", None, "text-embedding-3-small", prompt_tokens=1000)
    assert prices.rates("text-embedding-3-small") is not None
    for history in (History(), fed()):
        found = make_estimate(question, history, prices)
        assert (found.completion_tokens, found.max_completion_tokens) == ((0, 0, 0), 0)
        assert found.cost_usd == (Decimal("0.00002"),) * 3
        assert found.max_cost_usd == Decimal("0.00002")
        assert (found.samples, found.level, found.coverage) == (0, "default", None)


def test_an_answer_that_nobody_sells_has_no_cost() -> None:
    """Where a model without a price of output has answered all the same, it may again."""
    pytest.importorskip("genai_prices", reason="the extra `prices`")
    history = History()
    for _ in range(40):
        history.observe("a", None, "text-embedding-3-small", 200)
    question = Question("a", None, "text-embedding-3-small", prompt_tokens=10)
    found = make_estimate(question, history, PriceBook())
    assert (found.completion_tokens, found.cost_usd, found.max_cost_usd) == ((200, 200, 200), None, None)
    limited = make_estimate(replace(question, max_tokens=100), fed(), PriceBook())
    assert limited.max_cost_usd == Decimal("0.0000022")  # at the price of input, as a bound


def test_a_call_that_has_no_answer_costs_its_prompt() -> None:
    """Whatever its model has answered, and could."""
    found = make_estimate(asked(prompt_tokens=1000, max_tokens=500, no_answer=True), fed(), PRICED)
    assert (found.completion_tokens, found.max_completion_tokens, found.samples > 0) == ((0, 0, 0), 0, True)
    assert found.cost_usd == (Decimal("0.003"),) * 3
    assert found.max_cost_usd is not None
    assert found.max_cost_usd >= Decimal("0.003")


@settings(deadline=None)  # a busy machine stops for longer than any deadline
@given(
    st.lists(st.integers(0, 10**6), max_size=80),
    st.none() | st.integers(1, 10**6),
    st.integers(0, 10**6),
)
def test_costs_never_fall_and_never_exceed_the_bound(
    past: list[int], max_tokens: int | None, prompt_tokens: int
) -> None:
    """p50 <= p90 <= p99 <= the upper bound, in tokens and in dollars."""
    history = History()
    for tokens in past:
        history.observe(*WHO, tokens)
    found = make_estimate(asked(prompt_tokens=prompt_tokens, max_tokens=max_tokens), history, PRICED)
    assert (found.completion_tokens is None) is (not past)
    if found.completion_tokens is not None and found.cost_usd is not None:
        assert list(found.completion_tokens) == sorted(found.completion_tokens)
        assert list(found.cost_usd) == sorted(found.cost_usd)
        if max_tokens is not None:
            assert found.completion_tokens.p99 <= max_tokens
            assert found.max_cost_usd is not None
            assert found.cost_usd.p99 <= found.max_cost_usd
    assert found.level == ("agent+tool+model" if len(past) >= MIN_SAMPLES else "default")


def test_an_estimate_goes_into_json_and_unknown_is_null() -> None:
    """Quantiles as objects, USD as numbers."""
    estimate = make_estimate(asked(prompt_tokens=1000, max_tokens=4096), fed(), PRICED)
    assert json.loads(json.dumps(estimate.to_dict())) == {
        "agent_name": "backend-dev", "tool_name": "claude-code", "model_name": "sonnet",
        "prompt_tokens": 1000, "prompt_tokens_source": "given",
        "completion_tokens": {"p50": 200, "p90": 200, "p99": 200}, "max_completion_tokens": 4096,
        "cost_usd": {"p50": 0.006, "p90": 0.006, "p99": 0.006}, "max_cost_usd": 0.06519,
        "samples": 100, "level": "agent+tool+model", "coverage": {"p50": 1.0, "p90": 1.0, "p99": 1.0},
        "price_source": "models.yaml", "cost_coverage": None, "max_prompt_tokens": 1000,
        "cheaper_models": [], "service_tier": None, "region": None, "max_completion_tokens_source": "max_tokens",
        "cost_samples": 0, "price_remedy": None, "grounds": estimate.grounds,
    }  # fmt: skip
    nothing = make_estimate(Question(), History(), UNPRICED).to_dict()
    known = {"samples", "level", "cheaper_models", "cost_samples", "price_remedy", "grounds"}
    assert {name for name, value in nothing.items() if value is not None} == known


def test_a_service_tier_is_estimated_at_its_own_price_and_bounded_by_it() -> None:
    """As are the models that may be cheaper; a tier without a price is unknown, whatever the standard one costs."""
    costs = {"cost_per_1m_tokens": CACHED, "task_suitability": ["x"]}
    prices = book(
        sonnet=costs | {"service_tiers": {"priority": 2}},
        mini={"price": (Decimal("2.9"), 15), "task_suitability": ["x"], "service_tiers": {"priority": 3}},
        nano={"price": (1, 2), "task_suitability": ["x"]},
    )
    standard = make_estimate(asked(prompt_tokens=1000, max_tokens=4096), fed(), prices)
    priority = make_estimate(asked(prompt_tokens=1000, max_tokens=4096, service_tier="priority"), fed(), prices)
    assert (priority.service_tier, priority.max_cost_usd) == ("priority", Decimal("0.13038"))
    assert priority.cost_usd == (Decimal("0.012"),) * 3
    assert [model.model_name for model in cheaper(prices, standard)] == ["nano", "mini"]
    assert cheaper(prices, priority) == []
    batch = make_estimate(asked(prompt_tokens=1000, max_tokens=4096, service_tier="batch"), fed(), prices)
    assert (batch.cost_usd, batch.max_cost_usd, batch.price_source) == (None, None, None)


@pytest.mark.parametrize(
    ("field", "value"),
    [("agent_name", ""), ("tool_name", 7), ("model_name", b"m"), ("provider", ""), ("service_tier", ""), ("prompt_tokens", -1),
     ("prompt_tokens", 1.5), ("prompt_tokens", True), ("prompt_tokens", 10**13), ("max_tokens", 0), ("max_tokens", "9")],
)  # fmt: skip
def test_a_question_names_what_cannot_be_used(field: str, value: Any) -> None:
    """Field, value and remedy."""
    with pytest.raises(QueryError, match=rf"^{field}: .* is not usable; give a ") as caught:
        Question(**{field: value})
    assert caught.value.field == field


def test_a_prompt_is_given_once() -> None:
    """Two sizes of one prompt contradict each other."""
    with pytest.raises(QueryError, match="give prompt or prompt_tokens, not both"):
        Question(prompt="text", prompt_tokens=3)


def test_cheaper_models_suit_the_task_hold_the_call_and_cost_less() -> None:
    """Cheapest first; what is unknown is not offered."""
    code = {"task_suitability": ["code"]}
    prices = book(
        sonnet={"price": (3, 15), "task_suitability": ["code", "chat"]},
        haiku={"price": (1, 5), "task_suitability": ["chat"]},
        mini={"price": (1, 2), **code, "context_window": 1200},
        opus={"price": (9, 45), **code},
        short={"price": (1, 1), **code, "context_window": 1199},
        poet={"price": (1, 1), "task_suitability": ["poetry"]},
        unpriced=dict(code),
    )
    found = make_estimate(asked(prompt_tokens=1000), fed(), prices)
    assert cheaper(prices, found) == [("mini", Decimal("0.0014")), ("haiku", Decimal("0.002"))]
    named = with_cheaper(found, prices).to_dict()["cheaper_models"]
    assert named == [{"model_name": "mini", "cost_usd": 0.0014}, {"model_name": "haiku", "cost_usd": 0.002}]
    assert cheaper(prices, make_estimate(asked(), fed(), prices)) == []
    assert cheaper(prices, make_estimate(Question(model_name="unheard"), fed(), prices)) == []


IMAGE: list[dict[str, Any]] = [{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "image_url"}]}]


def test_a_prompt_that_is_more_than_text_costs_what_such_calls_have_cost() -> None:
    """Its tokens are unknown, so its price says nothing; a few tokens of text are not what it takes."""
    of_image = make_estimate(asked(prompt=IMAGE, max_tokens=100), fed(cost_nanos=7_000_000), PRICED)
    assert (of_image.prompt_tokens, of_image.prompt_tokens_source, of_image.max_cost_usd) == (None, None, None)
    assert (of_image.hold_usd(), of_image.price_source) == (Decimal("0.007"), "history")
    assert make_estimate(asked(prompt=IMAGE, max_tokens=100), History(), PRICED).hold_usd() is None
