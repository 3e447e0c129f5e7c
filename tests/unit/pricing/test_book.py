"""A price book: the file first, then the bundled data, by the time of the call; the rest is unknown."""

import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from llm_service.config.models_schema import ModelsConfig
from llm_service.pricing import book as book_module
from llm_service.pricing.book import PriceBook


def us(moment: str) -> int:
    """Microseconds since 1970."""
    return int(datetime.fromisoformat(moment).replace(tzinfo=UTC).timestamp()) * 1_000_000


def book(models: dict[str, Any], **more: Any) -> PriceBook:
    """A book of these models, without the bundled prices unless asked for."""
    config = ModelsConfig.model_validate({"models": models, "bundled_prices": more.pop("bundled_prices", False)})
    return PriceBook(config, **more)


PER_1K = {"cost_per_1k_tokens": {"input": 0.003, "output": 0.015}}


def input_price(prices: PriceBook, name: str, provider: str | None = None, at: str | None = None) -> Decimal | None:
    """USD per million prompt tokens."""
    rates = prices.rates(name, provider, None if at is None else us(at))
    return None if rates is None else rates.prices[0].input


@pytest.mark.parametrize("suffix", ["-latest", "@latest"])
def test_an_alias_that_moves_on_has_the_price_that_it_is_listed_with_alone(suffix: str) -> None:
    """One that names a version means that version; an alias of an entry is that entry."""
    prices = book({"gemini-flash": PER_1K, "gpt-4o": PER_1K, "grok": PER_1K | {"aliases": [f"grok{suffix}"]}})
    known = {name: input_price(prices, name + suffix) for name in ("gemini-flash", "gpt-4o", "grok")}
    assert known == {"gemini-flash": None, "gpt-4o": 3, "grok": 3}


def test_a_price_per_thousand_is_a_thousand_times_that_per_million() -> None:
    """Said by the key, never guessed."""
    prices = book(
        {
            "thousand": {"cost_per_1k_tokens": {"input": 0.003, "output": 0.015, "cached_input": 0.0003}},
            "million": {"cost_per_1m_tokens": {"input": 3, "output": 15, "cached_input": 0.3}},
        },
        source="config/models.yaml",
    )
    one, other = prices.rates("thousand"), prices.rates("million")
    assert one is not None
    assert other is not None
    assert one.prices == other.prices
    assert one.cost_nanos(1000, 200, 400) == other.cost_nanos(1000, 200, 400) == 1_800_000 + 120_000 + 3_000_000
    assert (one.source, one.model, one.provider) == ("config/models.yaml", "thousand", None)


def test_names_and_aliases_are_found_whatever_their_case() -> None:
    """And dated, regional and prefixed spellings of them."""
    prices = book({"My-Model": {**PER_1K, "aliases": ["Other", "claude-sonnet-4-5"]}})
    for name in (
        "my-model",
        "MY-MODEL",
        "other",
        "claude-sonnet-4-5-20250929",
        "anthropic/claude-sonnet-4-5",
        "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
        "my-model-2025-06-01",
    ):
        assert input_price(prices, name) == 3, name
    for name in ("my-model-xl", "my", "claude-sonnet-4", "claude-sonnet-4-5-preview"):
        assert input_price(prices, name) is None, name


def test_a_dated_name_in_the_file_has_a_price_of_its_own() -> None:
    """The undated entry is for those that are not there."""
    prices = book({"gpt-4o": PER_1K, "gpt-4o-2024-05-13": {"cost_per_1k_tokens": {"input": 0.005, "output": 0.015}}})
    assert input_price(prices, "gpt-4o-2024-05-13") == 5
    assert input_price(prices, "gpt-4o-2024-08-06") == 3


def test_a_model_of_one_provider_is_not_the_price_of_another() -> None:
    """Unless nobody says who served the call; a provider goes by many names."""
    prices = book({"gpt-4o": {**PER_1K, "provider": "azure.ai.openai"}})
    assert [input_price(prices, "gpt-4o", provider) for provider in (None, "azure", "litellm")] == [3, 3, 3]
    assert input_price(prices, "gpt-4o-2024-08-06") == 3
    assert input_price(prices, "azure/gpt-4o") == 3
    assert [input_price(prices, "gpt-4o", provider) for provider in ("openai", "my-gateway")] == [None, None]
    assert input_price(prices, "openai/gpt-4o") is None


def test_dated_prices_hold_from_their_day_on() -> None:
    """00:00 UTC; the undated price before the first of them; each with a unit of its own where it says so."""
    prices = book(
        {
            "m": {
                **PER_1K,
                "prices": [
                    {"from": "2025-06-10", "input": 0.002, "output": 0.008},
                    {"from": "2026-01-01", "per": "1m", "input": 1, "output": 4},
                ],
            }
        }
    )
    days = ("2020-01-01", "2025-06-09T23:59:59", "2025-06-10", "2025-12-31T23:59:59", "2026-01-01", "2030-01-01")
    assert [input_price(prices, "m", at=day) for day in days] == [3, 3, 2, 2, 1, 1]
    assert [input_price(prices, "m", at=day) for day in reversed(days)] == [1, 1, 2, 2, 3, 3]


def test_before_its_first_date_a_model_without_an_undated_price_is_left_to_the_bundled_data() -> None:
    """A price that was negotiated later says nothing of the time before."""
    dated = {"gpt-4o": {"prices": [{"from": "2026-01-01", "per": "1m", "input": 1, "output": 4}]}}
    assert input_price(book(dated), "gpt-4o", at="2025-12-31") is None
    both = book(dated, bundled_prices=True)
    assert input_price(both, "gpt-4o", at="2025-12-31") == Decimal("2.5")
    assert input_price(both, "gpt-4o", at="2026-01-01") == 1


def test_a_tuned_model_has_the_price_that_the_file_gives_to_all_tunings_of_its_base() -> None:
    """Unless it stands there itself; never that of the base."""
    own = {"cost_per_1k_tokens": {"input": 0.009, "output": 0.015}}
    prices = book({"ft:gpt-4.1-2025-04-14": PER_1K, "ft:gpt-4.1-2025-04-14:mine::2": own, "gpt-4.1-mini": PER_1K})
    assert input_price(prices, "ft:gpt-4.1-2025-04-14:mine::1") == 3
    assert input_price(prices, "ft:gpt-4.1-2025-04-14:mine::2") == 9
    assert input_price(prices, "ft:gpt-4.1-mini:mine::1") is None


def test_tiers_of_the_file_are_of_the_whole_call() -> None:
    """With their own cached, written and reasoning prices."""
    tier = {"above_prompt_tokens": 1000, "input": 0.006, "output": 0.02, "reasoning": 0.03}
    prices = book({"m": {"cost_per_1k_tokens": {"input": 0.003, "output": 0.01, "tiers": [tier]}}})
    rates = prices.rates("m")
    assert rates is not None
    assert rates.cost_nanos(1000, 0) == 3_000_000
    assert rates.cost_nanos(1001, 10, 0, 0, 4) == 6_006_000 + 6 * 20_000 + 4 * 30_000


def test_what_claude_writes_for_an_hour_costs_twice_its_input_unless_the_file_says_otherwise() -> None:
    """By its own name, an alias or its maker; each tier of its own input."""
    tier = {"above_prompt_tokens": 200_000, "input": 6, "output": 22.5, "cache_write": 7.5}
    cost = {"input": 3, "output": 15, "cache_write": 3.75, "tiers": [tier]}
    prices = book(
        {
            "claude-mine": {"cost_per_1m_tokens": cost},
            "house": {"cost_per_1k_tokens": {"input": 0.003, "output": 0.015}, "aliases": ["my-Claude"]},
            "made": {"provider": "anthropic", "cost_per_1m_tokens": cost},
            "said": {"provider": "anthropic", "cost_per_1m_tokens": cost | {"cache_write_1h": 5}},
            "other": {"cost_per_1m_tokens": cost},
        }
    )

    def hours(name: str) -> list[Decimal | None]:
        rates = prices.rates(name)
        assert rates is not None
        return [tier.cache_write_1h for tier in rates.prices]

    assert hours("claude-mine") == hours("made") == [6, 12]
    assert hours("house") == [6]
    assert hours("said") == [5, 12]
    assert hours("other") == [None, None]
    rates = prices.rates("claude-mine")
    assert rates is not None
    assert rates.cost_nanos(1000, 0, 0, 1000, 0, 400) == 600 * 3750 + 400 * 6000


def test_a_service_tier_costs_a_factor_of_the_files_prices() -> None:
    """All of them, dated and tiered ones, too; a tier that the file does not name is left to the bundled data."""
    cost = {"input": 2, "output": 8, "tiers": [{"above_prompt_tokens": 100, "input": 4, "output": 8}]}
    dated = [{"from": "2026-02-01", "input": 1, "output": 4}]
    tiers = {"batch": 0.5, "Priority-Tier": 1.75}
    models = {"m": {"cost_per_1m_tokens": cost, "prices": dated, "service_tiers": tiers}, "gpt-5": PER_1K}
    prices = book(models, bundled_prices=True)

    def inputs(tier: str | None, at: str) -> list[Decimal]:
        rates = prices.rates("m", None, us(at), tier)
        return [] if rates is None else [one.input for one in rates.prices]

    assert inputs(None, "2026-01-31") == inputs("Standard", "2026-01-31") == inputs("auto", "2026-01-31") == [2, 4]
    assert inputs("batch", "2026-01-31") == inputs(" BATCH ", "2026-01-31") == [1, 2]
    assert inputs("batch", "2026-02-01") == [Decimal("0.5")]
    assert inputs("priority_tier", "2026-02-01") == [Decimal("1.75")]
    assert inputs("flex", "2026-02-01") == []
    flex = prices.rates("gpt-5", None, us("2026-11-01"), "flex")
    assert flex is not None
    assert flex.source.startswith("genai-prices")


def test_the_file_comes_before_the_bundled_data_and_may_rule_them_out() -> None:
    """A model of the file without a price is one of which the file knows only other things."""
    models = {"gpt-4o": PER_1K, "o3": {"context_window": 200_000}}
    with_bundled, without = book(models, bundled_prices=True), book(models)
    assert input_price(with_bundled, "gpt-4o") == input_price(without, "gpt-4o") == 3
    assert input_price(with_bundled, "o3", at="2026-01-01") == 2
    assert input_price(without, "o3") is None
    assert list(without.models()) == ["gpt-4o", "o3"]
    assert without.models()["o3"].context_window == 200_000


def test_rates_name_where_they_come_from() -> None:
    """For whoever asks why a call costs what it costs."""
    rates = PriceBook().rates("openai/gpt-4o")
    assert rates is not None
    assert rates.source.startswith("genai-prices 0.")
    assert (rates.model, rates.provider) == ("gpt-4o", "openai")


def test_no_name_has_no_price() -> None:
    """Nothing is looked up for it."""
    assert PriceBook().rates(None) is None


def test_without_the_extra_only_the_file_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """And an import that failed is not tried again for each name."""
    monkeypatch.setitem(sys.modules, "genai_prices", None)
    prices = book({"m": PER_1K}, bundled_prices=True)
    assert input_price(prices, "gpt-4o") is None
    assert "genai-prices is not installed" in prices.explain("gpt-4o").passed_over[-1].why
    monkeypatch.delitem(sys.modules, "genai_prices")
    assert input_price(prices, "gpt-4o-mini") is None
    assert input_price(prices, "m") == 3


def test_the_bundled_data_are_loaded_only_when_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not for a model of the file, and once for all others; eight threads at once find the same."""
    loads: list[int] = []
    load = book_module.bundled
    monkeypatch.setattr(book_module, "bundled", lambda: loads.append(1) or load())
    prices = book({"m": PER_1K}, bundled_prices=True)
    assert input_price(prices, "m") == 3
    assert loads == []
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda at: input_price(prices, ("gpt-4o", "o1")[at % 2]), range(64)))
    assert set(found) == {Decimal("2.5"), Decimal(15)}
    before = len(loads)
    assert input_price(prices, "gpt-4.1") == 2
    assert len(loads) == before <= 8


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names made up by the thousand do not fill the memory."""
    monkeypatch.setattr(book_module, "_MOST", 8)
    prices = book({"m": PER_1K})
    for number in range(100):
        assert input_price(prices, f"name-{number}") is None
        assert input_price(prices, "m") == 3
    assert len(prices._timelines) <= 8
    assert len(prices._spans) <= 9
