"""Prices hold from a known day, and up to a known length of the prompt: over the whole catalogue."""

from datetime import UTC, datetime, timedelta
from time import time_ns
from typing import Any

import pytest
from genai_prices.data import providers

from llm_service.pricing.book import PriceBook
from llm_service.pricing.bundled import BundledPrices, bundled
from llm_service.pricing.corrections import CHANGED, DATA_BEGAN, DATED, LONG_UNKNOWN
from llm_service.pricing.long_prompts import model_of
from llm_service.pricing.model_names import Candidate
from llm_service.pricing.price_history import _date_us, is_moving, newest_day_us, starts
from llm_service.pricing.timeline import ALWAYS, day_start_us

BEGAN = day_start_us(DATA_BEGAN)
ENTRIES = [(provider.id, model) for provider in providers for model in provider.models]
NEWEST = newest_day_us(model for _, model in ENTRIES)


def at(moment: str) -> int:
    """Microseconds since 1970."""
    return (datetime.fromisoformat(moment).replace(tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(
        microseconds=1
    )


@pytest.fixture(scope="module")
def book() -> PriceBook:
    """The bundled prices."""
    return PriceBook()


@pytest.fixture(scope="module")
def prices() -> BundledPrices:
    """The same data."""
    found = bundled()
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("name", "day"),
    [("m-2026-02-28", "2026-02-28"), ("m@20260228", "2026-02-28"), ("m-2026-02-30", None), ("m-2026", None)],
)
def test_a_day_in_a_name_is_one_of_the_calendar(name: str, day: str | None) -> None:
    """Or the name says nothing of when it began."""
    assert _date_us(name) == (ALWAYS[1] if day is None else at(day))


def has_tiers(model: Any) -> bool:
    """Whether any price of an entry depends on the length of the prompt."""
    return any(getattr(value, "tiers", ()) for _, price in starts(model.prices) for value in price.__dict__.values())


def test_no_price_without_tiers_holds_for_a_prompt_that_costs_more_elsewhere(prices: BundledPrices) -> None:
    """Every entry that has the model of an entry with tiers of today, at any seller, for the longest prompts."""
    long = {model_of(model.id) for _, model in ENTRIES if has_tiers(model) and not hasattr(model.prices, "__iter__")}
    long = (long | LONG_UNKNOWN.keys()) - {None}
    now, checked = time_ns() // 1000, 0
    for provider, model in ENTRIES:
        if model_of(model.id) in long:
            timeline = prices.look_up(Candidate(model.id.lower(), provider)).timeline
            rates = None if timeline is None else timeline.at(now)
            if rates is not None and any(rates.prices[0][1:3]):
                assert len(rates.prices) > 1 or rates.cost_nanos(1_000_000, 0) is None, (provider, model.id)
                assert rates.cost_nanos(10_000, 0) is not None
                checked += 1
    assert checked > 100


@pytest.mark.parametrize(
    ("name", "provider", "tokens", "nanos"),
    [
        ("claude-sonnet-4", "vertex_ai", 200_001, 200_001 * 6000 + 22_500),
        ("openrouter/anthropic/claude-sonnet-4", None, 200_001, 200_001 * 6000 + 22_500),
        ("grok-4", None, 128_001, None),
        ("grok-4-fast", None, 128_001, None),
        ("grok-4-1-fast-reasoning", "x_ai", 128_001, None),
        ("grok-4-1-fast", None, 128_000, 128_000 * 200 + 500),
        ("claude-sonnet-4-5", "azure", 200_000, 200_000 * 3000 + 15_000),
        ("claude-sonnet-4-5", "azure", 200_001, None),
    ],
)
def test_a_long_prompt(book: PriceBook, name: str, provider: str | None, tokens: int, nanos: int | None) -> None:
    """Costs what is published, or it is unknown; no hold is smaller, and none is made of what is unknown."""
    rates = book.rates(name, provider)
    assert rates is not None
    assert rates.cost_nanos(tokens, 1) == nanos
    assert (rates.most_nanos(tokens, 1) is None) == (nanos is None)
    assert rates.lowest_tier()[0] <= 200_000


def test_the_time_at_which_long_prompts_cost_more_is_of_the_model(book: PriceBook) -> None:
    """Anthropic's higher price of Opus 4.6 ended on 2026-03-13."""
    for moment, known in (("2026-03-12T23:59:59", False), ("2026-03-13", True)):
        rates = book.rates("openrouter/anthropic/claude-opus-4.6", at_us=at(moment))
        assert rates is not None
        assert (rates.cost_nanos(300_000, 1) is not None) == known


def test_a_price_without_a_date_is_not_of_the_time_before_the_data(prices: BundledPrices) -> None:
    """Every entry with one price, by every plain name; a date in the name of a maker's model tells more."""
    for provider, model in ENTRIES:
        if not hasattr(model.prices, "__iter__"):
            timeline = prices.look_up(Candidate(model.id.lower(), provider)).timeline
            if timeline is not None:
                before = timeline.at(BEGAN - 1)
                assert before is None or (provider in {"openai", "anthropic"} and "-20" in model.id), model.id
                assert timeline.at(at("2020-01-01")) is None
                assert any(period.rates is not None for period in timeline.periods), model.id


@pytest.mark.parametrize(
    ("name", "moment", "known"),
    [
        ("azure/o3", "2025-05-15", False),
        ("azure/gpt-4o", "2024-07-01", False),
        ("gpt-4o", "2024-07-01", False),
        ("gpt-4o-2024-08-06", "2024-09-01", True),
        ("gpt-4o-2024-08-06", "2024-08-05", False),
        ("o1-mini-2024-09-12", "2024-10-01", False),
        ("claude-3-5-haiku-20241022", "2024-11-10", False),
        ("gemini-1.5-pro", "2024-07-01", False),
        ("mistral-medium", "2024-05-01", False),
        ("gpt-5.5", "2020-01-01", False),
        ("o3", "2025-05-15", True),
        ("gpt-4o", "2025-07-01", True),
        ("grok-4-latest", "2025-10-01", True),
    ],
)
def test_an_old_call_has_no_price_of_today(book: PriceBook, name: str, moment: str, known: bool) -> None:
    """These cost something else then, or did not exist."""
    assert (book.rates(name, at_us=at(moment)) is not None) == known


@pytest.mark.slow
def test_a_moving_alias_has_no_price_of_the_time_before_the_data_were_made(prices: BundledPrices) -> None:
    """Every `-latest` of every list that names no version; one with a history of its own keeps it."""
    checked = set()
    for provider, model in ENTRIES:
        texts = {text.lower() for text in _equal(model.match)} | {model.id.lower()}
        for name in texts:
            own = hasattr(model.prices, "__iter__") and model.id.endswith("-latest")
            timeline = prices.look_up(Candidate(name, provider)).timeline
            if is_moving(name, texts) and not own and timeline is not None:
                assert timeline.at(NEWEST - 1) is None, (provider, name)
                checked.add(name)
    assert {"gemini-flash-latest", "gemini-pro-latest", "gemini-flash-lite-latest", "grok-latest"} <= checked


def _equal(clause: Any) -> list[str]:
    stored = clause.__dict__
    return [
        text
        for value in stored.values()
        for text in ([value] if isinstance(value, str) else [one for inner in value for one in _equal(inner)])
    ]


def test_what_corrections_name_is_in_the_data() -> None:
    """Else they correct nothing."""
    ids = {(provider, model.id) for provider, model in ENTRIES}
    assert ids >= CHANGED
    assert LONG_UNKNOWN.keys() <= {model_of(text) for _, model in ENTRIES for text in _equal(model.match)}


@pytest.mark.parametrize(
    ("name", "provider", "usd"),
    [
        ("openai/responses/gpt-5", None, "1.25"),
        ("azure/responses/gpt-5", None, "1.25"),
        ("azure/o_series/o3", None, "2"),
        ("openai/ft:gpt-4o-mini-2024-07-18:org::id", None, "0.3"),
        ("ft:gpt-3.5-turbo-0125:org::id", None, "3"),
        ("claude-opus-4-6", "azure", "5"),
        ("claude-sonnet-4-6", "azure", "3"),
        *((name, "bedrock", "*") for _, name in DATED),
        ("gemini-1.0-pro", None, None),
        ("gemini-2.5-flash-preview-05-20", None, None),
        ("gpt-4o:extended", "openai", None),
    ],
)
def test_a_name_as_a_library_writes_it(book: PriceBook, name: str, provider: str | None, usd: str | None) -> None:
    """LiteLLM's routes, tuned models, names without their date; what the data have wrong is unknown."""
    rates = book.rates(name, provider)
    if usd == "*":
        assert rates == book.rates(DATED["aws", name], provider)
    assert usd == "*" or (None if rates is None else str(rates.prices[0].input)) == usd
    assert (rates is None) == (usd is None)


def test_a_variant_behind_a_colon_is_openrouters(book: PriceBook) -> None:
    """Without a provider, too."""
    rates = book.rates("gpt-4o:extended")
    assert rates is not None
    assert rates.provider == "openrouter"
