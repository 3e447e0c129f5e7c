"""What an estimate says of its numbers: each rests on something that is named, and what is unknown says what to give."""

from itertools import product
from typing import Any, get_args

import pytest

from llm_service.config.schemas import ModelsConfig
from llm_service.estimates.estimate import Estimate, LimitSource, Question, make_estimate
from llm_service.estimates.grounds import _LIMITS, _OF, _PROMPT, GROUNDS
from llm_service.estimates.past_calls import MIN_SAMPLES, History, Level
from llm_service.estimates.tokens import PromptSource
from llm_service.pricing.book import PriceBook

RATES = {"cost_per_1m_tokens": {"input": 3, "output": 15}}
BOOKS = {
    "priced": PriceBook(ModelsConfig.model_validate({"models": {"m": RATES}, "bundled_prices": False})),
    "limited": PriceBook(
        ModelsConfig.model_validate({"models": {"m": RATES | {"max_output_tokens": 8}}, "bundled_prices": False})
    ),
    "unpriced": PriceBook(ModelsConfig.model_validate({"models": {"x": RATES}, "bundled_prices": False})),
}
PASTS: dict[str, dict[str, Any] | None] = {
    "nothing": None,
    "this": {"agent_name": "a", "tool_name": "t", "model_name": "m", "cost_nanos": 5},
    "this without costs": {"agent_name": "a", "tool_name": "t", "model_name": "m"},
    "another": {"agent_name": "a", "tool_name": "t", "model_name": "n", "cost_nanos": 5},
}
PROMPTS: list[dict[str, Any]] = [
    {},
    {"prompt": "Why?"},
    {"prompt_tokens": 7},
    {"prompt": [{"role": "user", "content": [{"type": "image", "data": "x"}]}]},
]
ASKED: list[dict[str, Any]] = [{}, {"max_tokens": 4}, {"no_answer": True}]
WHO: list[dict[str, Any]] = [{"agent_name": "a", "tool_name": "t", "model_name": "m"}, {"request_model": "m"}, {}]


def history(past: dict[str, Any] | None) -> History:
    """As many such calls as are needed."""
    found = History()
    for _ in range(MIN_SAMPLES if past else 0):
        found.observe(**past or {}, completion_tokens=3)
    return found


def every_estimate() -> dict[str, Estimate]:
    """Of all questions, pasts and prices above."""
    found = {}
    for (book, prices), (past, calls) in product(BOOKS.items(), PASTS.items()):
        taught = history(calls)
        for who, prompt, asked in product(WHO, PROMPTS, ASKED):
            name = f"{book}, {past}, {who}, {prompt}, {asked}"
            found[name] = make_estimate(Question(**who, **prompt, **asked), taught, prices)
    return found


ESTIMATES = every_estimate()


@pytest.mark.parametrize(
    "field", ["prompt_tokens", "completion_tokens", "max_completion_tokens", "cost_usd", "max_cost_usd"]
)
def test_each_number_has_a_ground_and_is_unknown_exactly_where_it_is_none(field: str) -> None:
    """Of every estimate; an unknown one says what is missing."""
    for name, estimate in ESTIMATES.items():
        ground = estimate.grounds[field]
        assert ground.startswith(GROUNDS), name
        assert ground.startswith("unknown: ") is (getattr(estimate, field) is None), (name, ground)
        assert estimate.to_dict()["grounds"][field] == ground


def test_a_price_is_unknown_exactly_where_nothing_could_be_computed() -> None:
    """It says how to give it, there and with the costs that lack it."""
    for name, estimate in ESTIMATES.items():
        price, remedy = estimate.grounds["price"], estimate.price_remedy
        assert price.startswith("unknown: ") is (remedy is not None), name
        if remedy is None:
            continue
        assert price == f"unknown: {remedy}"
        assert remedy == ("name the model" if estimate.model_name is None else "write it into models.yaml")
        for field in ("cost_usd", "max_cost_usd"):
            assert getattr(estimate, field) is not None or estimate.grounds[field].endswith(remedy), name
    assert {
        estimate.price_remedy for name, estimate in ESTIMATES.items() if "'m'" in name and "unpriced" not in name
    } == {None}


def test_what_other_models_answered_is_a_guess_and_what_this_one_did_is_learned() -> None:
    """And so is the cost of a guessed answer."""
    found = {name: estimate for name, estimate in ESTIMATES.items() if "'model_name': 'm'" in name}
    for name, estimate in found.items():
        if estimate.completion_tokens is None or "no_answer" in name:
            continue
        is_other = "another" in name
        calls = "all agents and models, of which" if is_other else "this agent, tool and model"
        assert estimate.grounds["completion_tokens"].startswith("guess" if is_other else "learned"), name
        assert f"{MIN_SAMPLES} calls of {calls}" in estimate.grounds["completion_tokens"]
        if estimate.cost_usd is not None and estimate.price_source != "history":
            assert estimate.grounds["cost_usd"].startswith("guess" if is_other else "computed"), name
        if estimate.price_source == "history":
            assert estimate.grounds["cost_usd"].startswith(f"learned from what {estimate.cost_samples} calls"), name
            assert estimate.cost_samples == MIN_SAMPLES


def test_every_ground_occurs_and_every_source_has_one() -> None:
    """No kind is there for nothing, and no source lacks its words."""
    told = {ground.split(":")[0] for estimate in ESTIMATES.values() for ground in estimate.grounds.values()}
    kinds = {kind for kind in GROUNDS if any(one.startswith(kind) for one in told)}
    assert kinds == set(GROUNDS) - {"counted"}  # by a tokenizer, of which there is none here
    assert set(_PROMPT) == set(get_args(PromptSource))
    assert set(_OF) == set(get_args(Level))
    assert set(_LIMITS) == {None, *get_args(LimitSource)}
