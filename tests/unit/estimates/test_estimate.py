"""The estimate of a call: its bounds, its costs, where each is from, and None wherever something is unknown."""

import json
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_service.errors import QueryError
from llm_service.estimates.estimate import CheaperModel, Estimate, Question, cheaper, make_estimate
from llm_service.estimates.history import MIN_SAMPLES, History
from llm_service.estimates.tokens import TokenRatios

WHO = ("backend-dev", "claude-code", "sonnet")


@dataclass
class FlatRates:
    """So many nano-dollars a token; at most a quarter more for input that is written to a cache."""

    model: str
    input: int
    output: int
    source: str = "models.yaml"
    contradicts: bool = False

    def cost_nanos(self, prompt_tokens: int, completion_tokens: int) -> int | None:
        return None if self.contradicts else prompt_tokens * self.input + completion_tokens * self.output

    def most_nanos(self, prompt_tokens: int, completion_tokens: int) -> int:
        return prompt_tokens * self.input * 5 // 4 + completion_tokens * self.output


@dataclass
class Model:
    """What models.yaml says of a model."""

    provider: str | None = None
    context_window: int | None = None
    max_output_tokens: int | None = None
    task_suitability: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()


@dataclass
class Book:
    """Prices by name."""

    prices: dict[str, FlatRates] = field(default_factory=dict)
    known: dict[str, Model] = field(default_factory=dict)

    def rates(self, model_name: str | None, _provider: str | None = None) -> FlatRates | None:
        return None if model_name is None else self.prices.get(model_name)

    def models(self) -> dict[str, Model]:
        return self.known


PRICED = Book({"sonnet": FlatRates("sonnet", 3_000, 15_000)})


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
    found = make_estimate(asked(prompt_tokens=1000, max_tokens=100), fed(), Book())
    assert found.completion_tokens == (100, 100, 100)
    assert (found.cost_usd, found.max_cost_usd, found.price_source, found.hold_usd()) == (None, None, None, None)


def test_what_such_calls_have_cost_stands_in_for_a_price_that_is_unknown() -> None:
    """It says where it is from and how often it held, and is no hard bound."""
    found = make_estimate(asked(prompt_tokens=1000, max_tokens=100), fed(cost_nanos=7_000_000), Book())
    assert found.cost_usd == (Decimal("0.007"),) * 3
    assert (found.price_source, found.cost_coverage, found.max_cost_usd) == ("history", (1.0, 1.0, 1.0), None)
    assert found.hold_usd() == Decimal("0.007")


def test_what_other_models_have_cost_says_nothing_of_this_one() -> None:
    """Their tokens do, at level default; a question that names no model takes their costs as well."""
    history = fed(cost_nanos=7_000_000)
    other = make_estimate(Question(model_name="opus", prompt_tokens=5), history, Book())
    assert (other.level, other.completion_tokens, other.cost_usd) == ("default", (200, 200, 200), None)
    unnamed = make_estimate(Question(), history, Book())
    assert (unnamed.level, unnamed.cost_usd) == ("default", (Decimal("0.007"),) * 3)


def test_without_a_prompt_the_cost_is_what_such_calls_have_cost() -> None:
    """The price alone says nothing of a prompt that nobody gave."""
    found = make_estimate(asked(max_tokens=100), fed(cost_nanos=7_000_000), PRICED)
    assert (found.prompt_tokens, found.prompt_tokens_source, found.max_cost_usd) == (None, None, None)
    assert (found.cost_usd, found.price_source) == ((Decimal("0.007"),) * 3, "history")
    priced = make_estimate(asked(), fed(), PRICED)
    assert (priced.cost_usd, priced.price_source) == (None, "models.yaml")


@pytest.mark.parametrize(
    ("asked_for", "model", "limit"),
    [
        (None, Model(), None),
        (50, Model(), 50),
        (None, Model(max_output_tokens=80), 80),
        (50, Model(max_output_tokens=80), 50),
        (90, Model(max_output_tokens=80), 80),
    ],
)
@pytest.mark.parametrize("stands_under", ["its name", "the name of its price", "an alias"])
def test_the_answer_is_limited_by_the_call_and_by_the_model(
    asked_for: int | None, model: Model, limit: int | None, stands_under: str
) -> None:
    """Whichever is less; the model may be found by any of its names."""
    book = Book({"sonnet": FlatRates("canonical", 1, 1)}, {})
    name = {"its name": "sonnet", "the name of its price": "canonical", "an alias": "other"}[stands_under]
    model.aliases = ("x", "sonnet") if stands_under == "an alias" else ()
    book.known[name] = model
    found = make_estimate(asked(prompt_tokens=10, max_tokens=asked_for), fed(), book)
    assert found.max_completion_tokens == limit
    assert found.completion_tokens == (limit or 200,) * 3
    assert (found.max_cost_usd is None) is (limit is None)


def test_a_prompt_is_measured_by_the_best_way_there_is() -> None:
    """Learned has no bound; a third of the bytes has: one token a byte."""
    ratios = TokenRatios([("backend-dev", "sonnet", 10, 100, 50)])
    learned = make_estimate(asked(prompt="x" * 30, max_tokens=10), fed(), PRICED, ratios)
    assert (learned.prompt_tokens, learned.prompt_tokens_source, learned.max_cost_usd) == (15, "learned", None)
    assert learned.cost_usd is not None
    assert learned.hold_usd() == learned.cost_usd.p99
    guessed = make_estimate(asked(prompt="x" * 30, max_tokens=10), fed(), PRICED)
    assert (guessed.prompt_tokens, guessed.prompt_tokens_source) == (10, "bytes")
    assert guessed.max_cost_usd == Decimal(37 * 3_000 * 5 // 4 + 10 * 15_000) / 10**9


def test_rates_that_contradict_the_counts_give_no_cost() -> None:
    """As the price book says: None."""
    book = Book({"sonnet": FlatRates("sonnet", 1, 1, contradicts=True)})
    assert make_estimate(asked(prompt_tokens=10), fed(), book).cost_usd is None


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
    found = make_estimate(asked(prompt_tokens=1000, max_tokens=4096), fed(), PRICED).to_dict()
    assert json.loads(json.dumps(found)) == {
        "agent_name": "backend-dev", "tool_name": "claude-code", "model_name": "sonnet",
        "prompt_tokens": 1000, "prompt_tokens_source": "given",
        "completion_tokens": {"p50": 200, "p90": 200, "p99": 200}, "max_completion_tokens": 4096,
        "cost_usd": {"p50": 0.006, "p90": 0.006, "p99": 0.006}, "max_cost_usd": 0.06519,
        "samples": 100, "level": "agent+tool+model", "coverage": {"p50": 1.0, "p90": 1.0, "p99": 1.0},
        "price_source": "models.yaml", "cost_coverage": None,
    }  # fmt: skip
    nothing = make_estimate(Question(), History(), Book()).to_dict()
    assert {name for name, value in nothing.items() if value is not None} == {"samples", "level"}


@pytest.mark.parametrize(
    ("field", "value"),
    [("agent_name", ""), ("tool_name", 7), ("model_name", b"m"), ("provider", ""), ("prompt_tokens", -1),
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
    book = Book(
        {"sonnet": FlatRates("sonnet", 3, 15), "haiku": FlatRates("haiku", 1, 5), "mini": FlatRates("mini", 1, 2),
         "opus": FlatRates("opus", 9, 45), "short": FlatRates("short", 1, 1), "poet": FlatRates("poet", 1, 1),
         "odd": FlatRates("odd", 1, 1, contradicts=True)},
        {"sonnet": Model(task_suitability=("code", "chat")), "haiku": Model(task_suitability=("chat",)),
         "mini": Model(task_suitability=("code",), context_window=1200), "opus": Model(task_suitability=("code",)),
         "short": Model(task_suitability=("code",), context_window=1199), "poet": Model(task_suitability=("poetry",)),
         "unpriced": Model(task_suitability=("code",)), "odd": Model(task_suitability=("code",))},
    )  # fmt: skip
    found = make_estimate(asked(prompt_tokens=1000), fed(), book)
    assert cheaper(book, found) == [
        CheaperModel("mini", Decimal("0.0000014")),
        CheaperModel("haiku", Decimal("0.000002")),
    ]
    assert cheaper(book, make_estimate(asked(), fed(), book)) == []
    assert cheaper(book, make_estimate(Question(model_name="unheard"), fed(), book)) == []
