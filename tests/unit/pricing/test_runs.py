"""Records of several requests: priced where one price holds for each of them, else unknown."""

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from genai_prices.data import providers

from llm_service.pricing.book import PriceBook
from llm_service.pricing.runs import SHORT, longest_of, run_text
from llm_service.pricing.usage import openai_usage
from llm_service.telemetry.record.record import InvocationRecord
from llm_service.telemetry.stores.costing import Costing, cost_of


def run(*prompts: int, entries: bool = True) -> Any:
    """Usage of the Agents SDK, of requests with 25 tokens of output."""

    def usage(prompt: int, completion: int, **more: Any) -> Any:
        details = {"input_tokens_details": {"cached_tokens": 0}, "output_tokens_details": {"reasoning_tokens": 0}}
        told = {"input_tokens": prompt, "output_tokens": completion, "total_tokens": prompt + completion}
        return SimpleNamespace(**told, **details, **more)

    several = [usage(prompt, 25) for prompt in prompts] if entries else []
    return usage(sum(prompts), 25 * len(prompts), requests=len(prompts), request_usage_entries=several)


@pytest.mark.parametrize(
    ("model", "usage", "usd"),
    [
        ("gpt-5.4", run(150_000, 150_000), (300_000 * 2.5 + 50 * 15) / 1e6),
        ("gpt-5.4", run(150_000, 150_000, entries=False), None),
        ("gpt-5.4", run(280_000, 150_000), None),
        ("gpt-5.4", run(280_000), (280_000 * 5 + 25 * 22.5) / 1e6),
        ("gpt-5.4", run(100_000, 100_000, entries=False), (200_000 * 2.5 + 50 * 15) / 1e6),
        ("gpt-4o", run(150_000, 150_000, entries=False), (300_000 * 2.5 + 50 * 10) / 1e6),
        ("gpt-5.4", run(10_000, 20_000), (30_000 * 2.5 + 50 * 15) / 1e6),
    ],
)
def test_each_request_of_a_run_is_billed_by_its_own_length(model: str, usage: Any, usd: float | None) -> None:
    """As they are listed; a model with one price for all lengths needs no list."""
    book = PriceBook()
    record = InvocationRecord(model_name=model, provider="openai", **openai_usage(usage))
    costs = Costing(book).costs([record])
    assert costs is not None
    assert costs[0] is not None
    assert costs[0][0] == (None if usd is None else pytest.approx(usd, abs=1e-9))
    now = int(datetime.now(UTC).timestamp() * 1e6)
    rates = book.rates(model, "openai", now, None)
    again = cost_of(rates, record.prompt_tokens, record.completion_tokens, 0, 0, 0, 0, None, record.unpriced_usage)
    assert again == costs[0][0]  # as `reprice` computes it


def test_no_published_list_has_a_step_below_the_length_that_is_taken_for_short() -> None:
    """Of all models of the data."""
    prices = [one for seller in providers for model in seller.models for one in _prices(model)]
    starts = [tier.start for price in prices for value in vars(price).values() for tier in getattr(value, "tiers", ())]
    assert min(filter(None, starts)) >= SHORT


def _prices(model: Any) -> list[Any]:
    return [one.prices for one in model.prices] if isinstance(model.prices, list) else [model.prices]


def test_only_the_words_of_a_run_are_taken_for_one() -> None:
    """Beside anything else that was billed nothing is priced."""
    text = ": ".join(run_text(3, 5_000))
    assert longest_of(text) == 5_000
    assert longest_of(f"{text}; images: 3") is longest_of("requests: 3") is longest_of("") is None
