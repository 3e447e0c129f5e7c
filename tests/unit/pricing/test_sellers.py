"""A price is of the seller that was asked for: over all lists of the data and all names in them."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from genai_prices.data import providers

from llm_service.config.service_tiers import tier_of
from llm_service.pricing import sellers
from llm_service.pricing.azure import AZURE, AZURE_SOURCE
from llm_service.pricing.book import PriceBook
from llm_service.pricing.bundled import BundledPrices, bundled
from llm_service.pricing.corrections import ENDED, ENDED_TIERS, REFUSED
from llm_service.pricing.model_names import Candidate
from llm_service.pricing.rates import Rates
from llm_service.pricing.sellers import GEMINI, VERTEX, api_of, is_prefix, provider_of

pytestmark = pytest.mark.slow

LISTS = {provider.id: {info.id: info for info in provider.models} for provider in providers}
NAMES = sorted({name.lower() for entries in LISTS.values() for name in entries} | set(AZURE))
LABELS = sorted(sellers.PROVIDERS)


@pytest.fixture(scope="module")
def prices() -> BundledPrices:
    """The data as installed."""
    found = bundled()
    assert found is not None
    return found


@pytest.fixture(scope="module")
def book() -> PriceBook:
    """The bundled prices."""
    return PriceBook()


def us(moment: str) -> int:
    """Microseconds since 1970."""
    return int(datetime.fromisoformat(moment).replace(tzinfo=UTC).timestamp()) * 1_000_000


def all_rates(prices: BundledPrices, one: Candidate) -> Iterator[Rates]:
    """What a name has cost at any time."""
    timeline = prices.look_up(one).timeline
    return iter(()) if timeline is None else (period.rates for period in timeline.periods if period.rates is not None)


def is_free(rates: Rates) -> bool:
    """Whether every price of a token is 0."""
    return not any(price for tier in rates.prices for price in tier[1:])


def has_no_price(info: Any) -> bool:
    """Whether the data have no price at all for an entry, or none but 0, at some time."""
    listed = info.prices if isinstance(info.prices, list) else [info.prices]
    return any(not any(getattr(one, "prices", one).__dict__.values()) for one in listed)


@pytest.mark.volume
def test_no_price_is_of_the_list_of_another_seller(prices: BundledPrices) -> None:
    """All lists, and the names of all lists: one that is not in the list asked for has no price there."""
    for provider, own in LISTS.items():
        for name in NAMES:
            for rates in all_rates(prices, Candidate(name, provider)):
                assert rates.provider == provider
                assert rates.model in own or (provider == "azure" and rates.source == AZURE_SOURCE), (provider, name)


def test_a_price_of_nothing_is_of_a_seller_that_gives_the_model_away(prices: BundledPrices) -> None:
    """All lists and their own names, at both of Google's sellers."""
    free: set[tuple[str, str]] = set()
    for provider, own in LISTS.items():
        for api in (None, GEMINI, VERTEX) if provider == "google" else (None,):
            for name in own:
                for rates in all_rates(prices, Candidate(name.lower(), provider, None, api)):
                    if is_free(rates):
                        info = own[rates.model]
                        said = f"{info.price_comments or ''} {info.description or ''}".lower()
                        assert has_no_price(info)
                        assert (provider == "openrouter" and info.id.endswith(":free")) or "free of charge" in said
                        assert api in {None, GEMINI}
                        assert provider != "google" or api == GEMINI
                        free.add((provider, rates.model))
    assert ("google", "gemma-4-31b-it") in free
    assert {provider for provider, _ in free} == {"google", "openai", "openrouter"}, "of OpenAI moderation"


def test_what_the_data_copied_from_another_seller_is_unknown(prices: BundledPrices) -> None:
    """They say so in words; what was checked afterwards counts."""
    copied = [
        (provider, info.id)
        for provider, own in LISTS.items()
        for info in own.values()
        if (info.price_comments or "").lower().startswith("imported from openrouter")
        and "verified against" not in (info.price_comments or "").lower()
    ]
    assert len(copied) > 5
    for provider, name in (*copied, *REFUSED):
        assert list(all_rates(prices, Candidate(name.lower(), provider))) == [], (provider, name)


@pytest.mark.parametrize(("entry", "ended"), ENDED.items(), ids=str)
def test_what_ended_is_unknown_by_whatever_name_it_is_found(
    prices: BundledPrices, book: PriceBook, entry: tuple[str, str], ended: Any
) -> None:
    """Every name that finds the entry, bare, with each label of its seller, and with each label before it."""
    provider, name = entry
    found = [
        one
        for one in {name, *NAMES}
        if any(name in {rates.model, one} for rates in all_rates(prices, Candidate(one, provider)))
    ]
    labels = [label for label in LABELS if provider_of(label) == provider]
    assert found
    for one in {*found, name, name.upper(), f"{name}-latest"}:
        for label in labels:
            for spelled, given in ((one, label), (f"{label}/{one}", None), (f"{label}:{one}", label), (one, None)):
                rates = book.rates(spelled, given, ended.at_us)
                assert rates is None or rates.provider != provider, (spelled, given)
    assert book.rates(name, provider, ended.at_us - 1) is not None


@pytest.mark.parametrize(("entry", "ended"), ENDED_TIERS.items(), ids=str)
def test_a_service_tier_that_ended_is_unknown(book: PriceBook, entry: tuple[str, str, str], ended: Any) -> None:
    """And the standard one goes on."""
    provider, name, tier = entry
    assert book.rates(name, provider, ended.at_us - 1, tier) is not None
    assert book.rates(name, provider, ended.at_us, tier) is None
    assert book.rates(name, provider, ended.at_us) is not None


def test_every_list_is_reached_by_its_own_name(book: PriceBook) -> None:
    """As a provider; and before a slash, where it is not the owner of a repository of weights."""
    assert {provider_of(label) for label in LABELS} - set(LISTS) == {"huggingface"}
    for provider, own in LISTS.items():
        assert provider_of(provider) == provider
        known = [name for name in own if book.rates(name, provider) is not None]
        assert known or provider in {"elevenlabs", "openai-decisions", "perplexity"}, provider
        for name in known[:20]:
            served = provider.removeprefix("huggingface_")
            prefix = f"huggingface/{served}" if served != provider else provider
            if is_prefix(prefix.partition("/")[0]):
                rates = book.rates(f"{prefix}/{name}")
                assert rates is not None, (provider, name)
                assert rates.provider == provider


@pytest.mark.parametrize("label", ["deepinfra", "github", "vercel_ai_gateway", "ollama", "sambanova", "huggingface"])
def test_a_seller_without_a_list_has_no_prices(book: PriceBook, label: str) -> None:
    """Neither as provider nor before the name."""
    for name in ("gpt-4o", "claude-sonnet-4-5", "openai/gpt-4o", "deepseek-ai/DeepSeek-R1", "gemini-2.5-pro"):
        assert book.rates(name, label) is None
        assert book.rates(f"{label}/{name}") is None


@pytest.mark.parametrize(
    "name",
    [
        "arcee-ai/trinity-mini",
        "deepseek-v4-pro",
        "google/gemma-3-27b-it",
        "google/gemma-4-31b-it",
        "microsoft/phi-4",
        "mistralai/mistral-nemo",
        "moonshotai/kimi-k2",
        "perplexity-ai/r1-1776",
        "z-ai/glm-4.6",
    ],
)
def test_a_repository_of_weights_says_nothing_of_who_serves_them(book: PriceBook, name: str) -> None:
    """Unlike the label of a seller."""
    assert book.rates(name) is None


def test_googles_two_sellers_are_told_apart(book: PriceBook) -> None:
    """By the label, or by the form of the name, which outranks nothing that the label says."""
    assert [api_of(label) for label in ("gcp.gemini", "gemini", "google-gla", "google_genai")] == [GEMINI] * 4
    vertex = ("gcp.vertex_ai", "vertex_ai-anthropic_models", "google-vertex", "google.vertex", "vertex_ai_beta")
    assert [api_of(label) for label in vertex] == [VERTEX] * 5
    assert [api_of(label) for label in ("google", "gcp.gen_ai", "openai", None)] == [None] * 4
    for name, provider, known in [
        ("gemma-4-31b-it", "gemini", True),
        ("models/gemma-4-31b-it", None, True),
        ("gemini/gemma-4-31b-it", None, True),
        ("gemma-4-31b-it", "google", False),
        ("gemma-4-31b-it", "vertex_ai", False),
        ("models/gemma-4-31b-it", "vertex_ai", False),
        ("vertex_ai/gemma-4-31b-it", None, False),
        ("gemini/gemma-4-31b-it", "gcp.vertex_ai", False),
        ("projects/p/locations/global/publishers/google/models/gemma-4-31b-it", "google", False),
        ("gemma-4-26b-a4b-it-maas", "vertex_ai", True),
        ("gemma-4-26b-a4b-it-maas", "gemini", False),
        ("claude-opus-5-5", "vertex_ai", True),
        ("claude-opus-5-5", "gcp.gemini", False),
        ("gemini-2.0-flash", "gemini", True),
        ("gemini-2.0-flash", "vertex_ai", False),
        ("gemini-1.5-pro", "vertex_ai", False),
        ("gemini-2.5-pro", "vertex_ai", True),
    ]:
        assert (book.rates(name, provider) is not None) is known, (name, provider)


def test_service_tiers_are_those_of_the_seller(book: PriceBook) -> None:
    """Of Gemini the data have the Gemini API's; Bedrock, Azure and gateways have none."""
    for name, provider, tier, known in [
        ("gemini-2.5-flash", "gemini", "batch", True),
        ("gemini-2.5-flash", "vertex_ai", "batch", False),
        ("gemini-2.5-flash", "gemini", "flex", False),
        ("gemini-2.5-flash", "gemini", "priority", False),
        ("gemini-3.8-flash-tts", "gemini", "FLEX", True),
        ("gemini-3.8-flash-tts", "vertex_ai", "flex", False),
        ("gemini-2.5-flash", "vertex_ai", "ON_DEMAND", True),
        ("gemini-2.5-flash", "vertex_ai", "PROVISIONED_THROUGHPUT", False),
        ("gemini-2.5-flash", "vertex_ai", "ON_DEMAND_PRIORITY", False),
        ("claude-fable-5-2", "vertex_ai", "batch", True),
        ("claude-opus-5", "vertex_ai", "batch", False),
        ("us.anthropic.claude-opus-5", "bedrock", "batch", False),
        ("us.anthropic.claude-opus-5", "bedrock", "flex", False),
        ("us.anthropic.claude-opus-5", "bedrock", "priority", False),
        ("us.anthropic.claude-opus-5", "bedrock", "default", True),
        ("gpt-4o", "azure", "batch", False),
        ("gpt-4o", "azure", "", False),
        ("gpt-4o", "azure", "standard", True),
        ("anthropic/claude-opus-5", "openrouter", "batch", False),
        ("claude-opus-5", "anthropic", "standard_only", True),
        ("claude-opus-5", "anthropic", "fast", True),
        ("claude-sonnet-5", "anthropic", "fast", False),
    ]:
        assert (book.rates(name, provider, us("2026-11-20"), tier) is not None) is known, (name, provider, tier)


def test_a_tier_that_nobody_has_is_unknown_everywhere(prices: BundledPrices) -> None:
    """Whatever the list; and the names of the standard one are one tier."""
    for provider, own in LISTS.items():
        for name in own:
            for tier in ("turbo", "", "scale_tier"):
                assert prices.timeline(name.lower(), provider, tier_of(tier)) is None
    assert {tier_of(label) for label in (None, "auto", "Default", "ON_DEMAND", "standard-only")} == {None}
