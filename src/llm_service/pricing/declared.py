"""Prices of a `models.yaml`, compiled: by name and alias, whatever their case, and dated by 00:00 UTC of a day."""

from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from llm_service.config.service_tiers import tier_of
from llm_service.pricing.names import candidates, is_claude, provider_of, spellings
from llm_service.pricing.rates import CLAUDE_HOUR, Prices, Rates
from llm_service.pricing.timeline import Period, Timeline, day_start_us

if TYPE_CHECKING:
    from llm_service.config.models import ModelConfig, PriceTier, TokenPrices

__all__ = ["DeclaredPrices"]

_TO_MILLION: Final = {"1k": Decimal(1000), "1m": Decimal(1)}


class DeclaredPrices:
    """Looks prices up in the models of a file.

    A dated name (`gpt-4o-2024-08-06`) takes the price of the undated one unless it stands there itself, and so does one
    with a provider's path or a version of Bedrock. A model with a `provider` is not used for calls of another one.

    Args:
        models: by name.
        source: what to call the file.
    """

    def __init__(self, models: "Mapping[str, ModelConfig]", source: str) -> None:
        self._source = source
        self._priced: dict[str, tuple[str, ModelConfig]] = {}
        for name, model in models.items():
            if model.cost_per_1k_tokens is not None or model.cost_per_1m_tokens is not None or model.prices:
                for each in (name, *model.aliases):
                    self._priced.setdefault(each.strip().lower(), (name, model))

    def timeline(self, model_name: str, provider: str | None, tier: str | None = None) -> Timeline | None:
        """The prices of a model as a record names it, at a service tier; None where the file has none for it."""
        name, given = model_name.strip().lower(), provider_of(provider)
        if not self._priced:
            return None
        found = self._find(name, given)
        for one in candidates(model_name, provider):
            if found is not None:
                break
            # Who makes a model is no statement of who serves it.
            seller = given if one.name == name else one.provider
            found = next((entry for each in spellings(*one) if (entry := self._find(each, seller)) is not None), None)
        if found is None:
            return None
        times = Decimal(1)
        if tier is not None:
            said = {tier_of(name): factor for name, factor in found[1].service_tiers.items()}
            if tier not in said:
                return None
            times = said[tier]
        return Timeline(tuple(self._periods(*found, times)))

    def _find(self, name: str, provider: str | None) -> "tuple[str, ModelConfig] | None":
        entry = self._priced.get(name)
        if entry is None:
            return None
        theirs = provider_of(entry[1].provider)
        return entry if theirs is None or provider is None or theirs == provider else None

    def _periods(self, name: str, model: "ModelConfig", times: Decimal) -> Iterator[Period]:
        provider = provider_of(model.provider)
        claude = provider == "anthropic" or any(map(is_claude, (name, *model.aliases)))
        unit = "1k" if model.cost_per_1k_tokens is not None else "1m"

        def rates(prices: "TokenPrices", per: str) -> Rates:
            return Rates.of(self._source, name, provider, _tiers(prices, times * _TO_MILLION[per], claude=claude))

        undated = model.cost_per_1k_tokens or model.cost_per_1m_tokens
        yield Period(None if undated is None else rates(undated, unit))
        for dated in model.prices:
            yield Period(rates(dated, dated.per or unit), from_us=day_start_us(dated.from_))


def _tiers(prices: "TokenPrices", times: Decimal, *, claude: bool) -> Iterator[Prices]:
    yield _tier(0, prices, times, claude=claude)
    for tier in prices.tiers:
        yield _tier(tier.above_prompt_tokens, tier, times, claude=claude)


def _tier(above: int, prices: "TokenPrices | PriceTier", times: Decimal, *, claude: bool) -> Prices:
    def scaled(price: Decimal | None) -> Decimal | None:
        return None if price is None else price * times

    return Prices(
        above,
        prices.input * times,
        prices.output * times,
        scaled(prices.cached_input),
        scaled(prices.cache_write),
        scaled(prices.reasoning),
        prices.input * times * CLAUDE_HOUR
        if claude and prices.cache_write_1h is None
        else scaled(prices.cache_write_1h),
    )
