"""Prices of one's own in models.yaml: by seller, by region and by day, each before the bundled ones."""

from datetime import UTC, datetime
from typing import Any

import pytest

from llm_service.config.models_schema import ModelsConfig
from llm_service.pricing import model_names
from llm_service.pricing.book import PriceBook


def book(models: dict[str, Any]) -> PriceBook:
    """These models, and the bundled prices."""
    return PriceBook(ModelsConfig.model_validate({"models": models}), source="models.yaml")


def price(usd: float, **more: Any) -> dict[str, Any]:
    """A model of so many USD per million prompt tokens."""
    return {"cost_per_1m_tokens": {"input": usd, "output": usd}, **more}


def found(prices: PriceBook, name: str, provider: str | None = None, at: str = "2026-11-01") -> tuple[str, str] | None:
    """Where the price comes from and what it is; None where it is unknown."""
    at_us = int(datetime.fromisoformat(at).replace(tzinfo=UTC).timestamp()) * 1_000_000
    rates = prices.rates(name, provider, at_us)
    return None if rates is None else (rates.source.split()[0], str(rates.prices[0].input.normalize()))


def test_one_model_has_a_price_for_each_seller() -> None:
    """By the seller's prefix in the name; without one the name is for whoever is not named."""
    prices = book({"gpt-4o": price(7), "azure/gpt-4o": price(8, provider="azure"), "groq/gpt-4o": price(9)})
    for name, provider, usd in [
        ("gpt-4o", None, "7"),
        ("gpt-4o", "openai", "7"),
        ("gpt-4o", "azure", "8"),
        ("gpt-4o", "azure.ai.openai", "8"),
        ("GPT-4o", "azure_ai", "8"),
        ("azure/gpt-4o", None, "8"),
        ("azure/gpt-4o", "litellm", "8"),
        ("gpt-4o", "groq", "9"),
        ("groq:gpt-4o", None, "9"),
    ]:
        assert found(prices, name, provider) == ("models.yaml", usd), (name, provider)


def test_a_model_of_one_seller_says_nothing_of_the_others() -> None:
    """They have their bundled price, or none; Google's two sellers are two."""
    prices = book(
        {
            "gpt-4.1": price(8, provider="azure"),
            "gemini-2.5-pro": price(6, provider="gcp.vertex_ai"),
            "gemma-3-27b-it": price(5, provider="gemini"),
            "vertex_ai/gemini-2.5-flash": price(4),
        }
    )
    assert found(prices, "gpt-4.1", "azure") == ("models.yaml", "8")
    assert found(prices, "gpt-4.1", "openai") == ("genai-prices", "2")
    assert found(prices, "gpt-4.1", "my-gateway") is None
    assert found(prices, "gemini-2.5-pro", "vertex_ai") == ("models.yaml", "6")
    assert found(prices, "gemini-2.5-pro", "google") == ("models.yaml", "6")
    assert found(prices, "gemini-2.5-pro", "gemini") == ("genai-prices", "1.25")
    assert found(prices, "gemma-3-27b-it", "vertex_ai") is None
    assert found(prices, "gemini-2.5-flash", "gcp.vertex_ai") == ("models.yaml", "4")
    assert found(prices, "publishers/google/models/gemini-2.5-flash") == ("models.yaml", "4")
    assert found(prices, "gemini-2.5-flash", "gemini") == ("genai-prices", "0.3")
    assert found(prices, "gemini-2.5-flash") == ("genai-prices", "0.3")


@pytest.mark.parametrize(
    ("name", "usd"),
    [
        ("us-gov.anthropic.claude-sonnet-4-5-20250929-v1:0", "3.6"),
        ("bedrock/us-gov.anthropic.claude-sonnet-4-5-20250929-v1:0", "3.6"),
        ("us-gov.anthropic.claude-sonnet-4-5", "3.6"),
        ("us.anthropic.claude-sonnet-4-5-20250929-v1:0", "3.3"),
        ("bedrock/eu-west-2/nvidia.nemotron-super-3-120b", "0.23"),
        ("bedrock/converse/eu-west-2/nvidia.nemotron-super-3-120b", "0.23"),
        ("arn:aws:bedrock:eu-west-2::foundation-model/nvidia.nemotron-super-3-120b", "0.23"),
        ("bedrock/us-east-1/nvidia.nemotron-super-3-120b", "0.15"),
        ("bedrock/eu-west-1/nvidia.nemotron-super-3-120b", None),
        ("eu.amazon.nova-pro-v1:0", "1.05"),
        ("us.amazon.nova-pro-v1:0", "0.8"),
        ("apac.amazon.nova-pro-v1:0", None),
        ("azure/eu/gpt-4.1", "2.2"),
        ("azure/gpt-4.1", "2"),
        ("azure/us/gpt-4.1", None),
    ],
)
def test_a_region_has_a_price_of_its_own(name: str, usd: str | None) -> None:
    """As the name says it, in whatever form; the other regions keep theirs."""
    prices = book(
        {
            "us-gov.anthropic.claude-sonnet-4-5": price(3.6, provider="aws.bedrock"),
            "bedrock/eu-west-2/nvidia.nemotron-super-3-120b": price(0.23, provider="aws.bedrock"),
            "eu.amazon.nova-pro-v1:0": price(1.05, provider="aws.bedrock"),
            "azure/eu/gpt-4.1": price(2.2),
        }
    )
    one = found(prices, name)
    assert (None if one is None else one[1]) == usd
    other = found(prices, name, "azure" if name.startswith("azure") else "aws.bedrock")
    assert other == one


def test_a_price_of_ones_own_holds_from_its_day_on() -> None:
    """Before it the bundled one holds, with its own dates; other sellers and regions have nothing of it."""
    dated = {"provider": "deepseek", "prices": [{"from": "2025-09-29", "per": "1m", "input": 0.28, "output": 0.42}]}
    prices = book({"deepseek-chat": dated})
    assert found(prices, "deepseek-chat", "deepseek", "2025-08-01") == ("genai-prices", "0.135")
    assert found(prices, "deepseek-chat", "deepseek", "2025-09-15") is None
    assert found(prices, "deepseek-chat", None, "2025-09-29") == ("models.yaml", "0.28")
    assert found(prices, "deepseek-chat", "fireworks", "2026-01-01") is None


def test_an_explanation_says_which_entry_which_rule_since_when_and_what_was_passed_over() -> None:
    """Of the same lists in the same order as the price itself."""
    dated = {"prices": [{"from": "2026-01-01", "per": "1m", "input": 1, "output": 4}], "provider": "azure"}
    prices = book({"gpt-4o": dated})
    day_us = 86_400_000_000
    at_us = int(datetime(2026, 2, 1, tzinfo=UTC).timestamp()) * 1_000_000
    start_us = at_us - 31 * day_us
    why = prices.explain("gpt-4o-2024-08-06", "azure", at_us)
    assert why.rates == prices.rates("gpt-4o-2024-08-06", "azure", at_us)
    assert (why.rule, why.from_us, why.until_us) == ("the file has gpt-4o", start_us, 2**63)
    assert why.passed_over == ()
    why = prices.explain("gpt-4o-2024-08-06", "azure", start_us - 1)
    assert why.rates is not None
    assert (why.rates.source, why.until_us) == ("Azure's published prices, 2026-11", start_us)
    assert [(one.source, one.entry, one.why) for one in why.passed_over] == [
        ("models.yaml", "gpt-4o", "it has no price of that time")
    ]
    why = prices.explain("gpt-4o", "openai", at_us)
    assert [one.why for one in why.passed_over] == ["that model is of another provider: azure"]
    why = prices.explain("gpt-4o", "openai", at_us, "turbo")
    assert why.rates is why.rule is None
    assert [one.why for one in why.passed_over][1:] == ["the entry has no price of service tier turbo"]
    assert prices.explain(None).passed_over == ()


@pytest.mark.parametrize(
    ("name", "provider", "why"),
    [
        ("llama-3.3-70b", None, "nobody says who sells it"),
        ("gpt-4o", "my-gateway", "it has no prices of this seller"),
        ("gpt-4o-ultra", "openai", "no entry of this seller has this name"),
        ("grok-4", "azure", "no entry of this seller has this name"),
        ("eu.amazon.nova-pro-v1:0", None, "its price is of other regions than eu"),
        ("us-gov.anthropic.claude-opus-4-5", None, "us-gov is not of the commercial AWS"),
        ("deepseek-chat", "deepseek", "ended on 2025-09-05"),
        ("gemma-4-31b-it", "vertex_ai", "nothing says that this seller gives the model away"),
        ("gpt-oss-20b", "openrouter", "no entry of this seller has this name"),
        ("sonar", "perplexity", "the model always searches"),
        ("azure/eu/gpt-4.1", None, "Global deployments only, not of eu"),
        ("mistral-small-3.1-24b-instruct", "mistral", "copied from OpenRouter's list"),
    ],
)
def test_an_unknown_price_says_why_it_is_unknown(name: str, provider: str | None, why: str) -> None:
    """The last thing that was looked at, and never nothing."""
    found = PriceBook().explain(name, provider)
    assert found.rates is None
    assert why in found.passed_over[-1].why


# One name in the form of each seller of the table.
FORMS = {
    "aws": "us.anthropic.claude-m-20250929-v1:0", "cloudflare": "@cf/claude-m", "databricks": "databricks-claude-m",
    "fireworks": "accounts/fireworks/models/claude-m", "google": "claude-m@20250929", "openrouter": "anthropic/claude-m:free",
}  # fmt: skip


def test_a_name_in_the_form_of_one_seller_is_not_priced_by_another() -> None:
    """Though the record does not say who served it. A file that has that very name means it."""
    assert FORMS.keys() == {seller for seller, _ in model_names.SELLERS}
    for seller, name in FORMS.items():
        assert found(book({"claude-m": price(7, provider="anthropic")}), name) is None, seller
        assert (
            found(book({"claude-m": price(7, provider="anthropic"), "claude-x": price(8, provider=seller)}), name)
            is None
        )
        assert found(book({"claude-m": price(7, provider="anthropic", aliases=[name])}), name) == ("models.yaml", "7")
