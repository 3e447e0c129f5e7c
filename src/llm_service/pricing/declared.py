"""Compiled prices of a `models.yaml`: by name and alias, ignoring case, and dated by 00:00 UTC of a day."""

import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from llm_service.config.service_tiers import tier_of
from llm_service.pricing.explanation import Finding
from llm_service.pricing.model_names import Candidate, candidates, is_claude, seller_of_form, spellings
from llm_service.pricing.rates import CLAUDE_HOUR, Prices, Rates
from llm_service.pricing.sellers import api_of, provider_of
from llm_service.pricing.timeline import Period, Timeline, day_start_us

if TYPE_CHECKING:
    from llm_service.config.models_schema import ModelConfig, PriceTier, TokenPrices

__all__ = ["DeclaredPrices"]

_Entry = tuple[str, "ModelConfig"]
_MOVING: Final = re.compile(r"\D+[-@:]latest")
"""A name that says no version moves on to models of other prices: `gemini-flash-latest` is no `gemini-flash`."""
_TO_MILLION: Final = {"1k": Decimal(1000), "1m": Decimal(1)}


class DeclaredPrices:
    """Looks up prices in the models of a file.

    A dated name (`gpt-4o-2024-08-06`) has the price of the undated one unless it is listed itself; the same for names
    with a provider's path, a region or a Bedrock version, but not for a `-latest` that names no version. A model with
    a `provider` is not used for calls of another provider. `azure/gpt-4o` also matches calls with the model `gpt-4o`
    and the provider `azure`, and takes precedence over a `gpt-4o` without a provider.

    Args:
        models: by name.
        source: the name of the file.
    """

    def __init__(self, models: "Mapping[str, ModelConfig]", source: str) -> None:
        self._source = source
        self._priced: dict[str, _Entry] = {}
        self._sold: dict[Candidate, _Entry] = {}
        for name, model in models.items():
            if model.cost_per_1k_tokens is not None or model.cost_per_1m_tokens is not None or model.prices:
                for each in (name, *model.aliases):
                    plain = each.strip().lower()
                    self._priced.setdefault(plain, (name, model))
                    for one in candidates(plain, model.provider):
                        if one.provider is not None and one.name != plain and plain.endswith(one.name):
                            self._sold.setdefault(one, (name, model))

    def look_up(self, model_name: str, provider: str | None, tier: str | None = None) -> Finding:
        """The file's finding for a model as named in a record, at a service tier, with its reason."""
        name, given = model_name.strip().lower(), provider_of(provider)

        def found(rule: str, entry: str | None = None, timeline: Timeline | None = None) -> Finding:
            return Finding(self._source, given, name, entry, rule, timeline)

        matched = self._match(model_name, name, provider) if self._priced else None
        if matched is None:
            other = self._priced.get(name)
            if other is None:
                return found("no model of the file has this name")
            return found(f"that model is of another provider: {other[1].provider}", other[0])
        spelled, entry = matched
        times = Decimal(1)
        if tier is not None:
            said = {tier_of(label): factor for label, factor in entry[1].service_tiers.items()}
            if tier not in said:
                return found(f"the model has no factor of service tier {tier}", entry[0])
            times = said[tier]
        return found(f"the file has {spelled}", entry[0], Timeline(tuple(self._periods(*entry, times))))

    def _match(self, model_name: str, name: str, provider: str | None) -> "tuple[str, _Entry] | None":
        """The most exact name of the file for this seller, and its entry."""
        given = provider_of(provider)
        for one in (Candidate(name, given, None, api_of(provider)), *candidates(model_name, provider)):
            # Who makes a model need not sell it. The form of a name says who does, unless the file has that name.
            form = given or seller_of_form(name) if one.name == name else one.provider
            for each in (one.name,) if _MOVING.fullmatch(one.name) else spellings(one.name, one.provider):
                seller = given if each == name else form
                for exact in _less_exact(one._replace(name=each)) if seller else ():
                    entry = self._sold.get(exact)
                    if entry is not None and _is_of(entry, seller, one.api):
                        return each, entry
                entry = self._priced.get(each)
                if entry is not None and _is_of(entry, seller, one.api):
                    return each, entry
        return None

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


def _less_exact(one: Candidate) -> Iterator[Candidate]:
    """The candidate, then less exact ones: without the region, without Google's API, without both."""
    for without in (one, one._replace(region=None)):
        yield without
        yield without._replace(api=None)


def _is_of(entry: "_Entry", seller: str | None, api: str | None) -> bool:
    """Whether an entry may be of this seller; it may if either does not name one."""
    label = entry[1].provider
    theirs, their_api = provider_of(label), api_of(label)
    return (theirs is None or seller is None or theirs == seller) and (
        their_api is None or api is None or their_api == api
    )


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
