"""The price book: `models.yaml` first, then the bundled data of genai-prices, else unknown."""

from time import time_ns
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from llm_service.config.service_tiers import tier_of
from llm_service.extras import install
from llm_service.pricing.bundled import BundledPrices, bundled
from llm_service.pricing.called_names import has_own_price, priced_as
from llm_service.pricing.declared import DeclaredPrices
from llm_service.pricing.explanation import Explanation, Finding, PassedOver
from llm_service.pricing.model_names import candidates
from llm_service.pricing.rates import Rates
from llm_service.pricing.sellers import provider_of
from llm_service.pricing.timeline import ALWAYS, Timeline

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from llm_service.config.models_schema import ModelConfig, ModelsConfig

__all__ = ["NO_BUNDLED", "PriceBook", "Span"]

NO_BUNDLED: Final = f"genai-prices is not installed: {install('prices')}"
_MOST: Final = 4096
"""Names in the cache; more names in one program are hardly models."""

_Key = tuple[str | None, str | None, str | None, str | None, str | None]
"""Model, provider, service tier, requested model and region, as records have them."""
Span = tuple[int, int, Rates | None]


class PriceBook:
    """Prices by model, provider and time. Thread-safe; caches look-ups.

    Args:
        models: a parsed `models.yaml`; None for the bundled prices only.
        source: its name in `Rates.source`: its path.

    The bundled prices are those of the `prices` extra (genai-prices), if it is installed and `bundled_prices` of the
    models is not false. The first look-up that needs it imports it, which takes 0.2 s once per process.
    """

    def __init__(self, models: "ModelsConfig | None" = None, *, source: str = "models.yaml") -> None:
        self._models: Mapping[str, ModelConfig] = MappingProxyType({} if models is None else dict(models.models))
        self._declared = DeclaredPrices(self._models, source)
        self._wants_bundled = models is None or models.bundled_prices
        self._bundled: BundledPrices | None = None
        self._is_missing = False
        self._timelines: dict[_Key, list[Timeline]] = {}
        self._spans: dict[_Key, Span] = {}

    def rates(
        self,
        model_name: str | None,
        provider: str | None = None,
        at_us: int | None = None,
        service_tier: str | None = None,
        request_model: str | None = None,
        region: str | None = None,
    ) -> Rates | None:
        """The rates of a model.

        Args:
            model_name: as records have it; see `names`.
            provider: who served it, as records have it; None if unknown. Open weights have no price without it.
            at_us: microseconds since 1970 UTC; None is now.
            service_tier: as records have it (`batch`, `flex`, `priority`); None is the standard one.
            request_model: the name that was asked for, as records have it; see `called_names`.
            region: where the cloud ran it, as records have it; None is what the name says.

        Returns:
            None if no price is known. Never the price of another model, and never 0 for an unknown price.
        """
        at_us = time_ns() // 1000 if at_us is None else at_us
        return self.span(model_name, provider, at_us, service_tier, request_model, region)[2]

    def span(
        self,
        model_name: str | None,
        provider: str | None,
        at_us: int,
        service_tier: str | None = None,
        request_model: str | None = None,
        region: str | None = None,
    ) -> Span:
        """The rates at a time, and the period in which they are the same: `(from_us, until_us, rates)`."""
        key = (model_name, provider, service_tier, request_model, region)
        span = self._spans.get(key)
        if span is not None and span[0] <= at_us < span[1]:
            return span
        if request_model is not None or region is not None:
            model_name, provider = self._priced_as(model_name, request_model, provider, region)
        return (*ALWAYS, None) if model_name is None else self._look_up(key, model_name, provider, at_us)

    def explain(
        self,
        model_name: str | None,
        provider: str | None = None,
        at_us: int | None = None,
        service_tier: str | None = None,
        request_model: str | None = None,
        region: str | None = None,
    ) -> Explanation:
        """The result of `rates` for the same arguments, with the reason and the entries that were passed over."""
        moment = time_ns() // 1000 if at_us is None else at_us
        from_us, until_us, rates = self.span(model_name, provider, moment, service_tier, request_model, region)
        if request_model is not None or region is not None:
            model_name, provider = self._priced_as(model_name, request_model, provider, region)
        rule, passed = None, list[PassedOver]()
        for one in () if model_name is None else self._findings(model_name, provider, tier_of(service_tier)):
            period = None if one.timeline is None else one.timeline.period_at(moment)
            if period is not None and period.rates is not None:
                rule = one.rule
                break
            why = one.rule if period is None else period.why or "it has no price of that time"
            passed.append(PassedOver(one.source, one.provider, one.name, one.entry, why))
        return Explanation(rates, rule, from_us, until_us, tuple(passed))

    @property
    def lacks_bundled(self) -> bool:
        """Whether bundled prices are enabled, but genai-prices is not installed."""
        self._load()
        return self._is_missing

    def names(self) -> "Iterator[str]":
        """The names of all listed models, with or without a price; some more than once."""
        yield from self._models
        prices = self._load()
        if prices is not None:
            yield from prices.names()

    def models(self) -> "Mapping[str, ModelConfig]":
        """The models of the file by name, with or without a price."""
        return self._models

    def _priced_as(
        self, model_name: str | None, request_model: str | None, provider: str | None, region: str | None
    ) -> tuple[str | None, str | None]:
        """The name that the file lists, a deployment's included; else see `priced_as`."""
        name, seller = priced_as(model_name, request_model, provider, region)
        names = [(name, seller)]
        if name != request_model:  # it says no region, tuning or variant, which has a price of its own
            placed = priced_as(None, request_model, provider, region)
            names += [placed, (model_name, provider), (request_model, provider)]
        listed = [
            (found.entry, one, sold_by)
            for one, sold_by in (names if self._models else ())
            if one is not None and (found := self._declared.look_up(one, sold_by)).timeline is not None
        ]
        for entry, one, sold_by in listed:
            if entry is not None and has_own_price(entry, sold_by):
                return one, sold_by
        for _, one, sold_by in listed[1:]:
            if one == request_model and not self._is_for_sale(one):  # a deployment
                return one, sold_by
        return listed[0][1:] if listed else (name, seller)

    def _is_for_sale(self, name: str) -> bool:
        """Whether a price list has a model of this name."""
        prices = self._load()
        return prices is not None and any(prices.look_up(one).timeline is not None for one in candidates(name, None))

    def _look_up(self, key: _Key, model_name: str, provider: str | None, at_us: int) -> Span:
        timelines = self._timelines.get(key)
        if timelines is None:
            timelines = self._find(model_name, provider, tier_of(key[2]))
            if len(self._timelines) >= _MOST:  # a new dict: other threads may be reading the old one
                self._timelines, self._spans = {}, {}
            self._timelines[key] = timelines
        rates = next((found for timeline in timelines if (found := timeline.at(at_us)) is not None), None)
        spans = [ALWAYS, *(timeline.span(at_us) for timeline in timelines)]
        span = max(start for start, _ in spans), min(end for _, end in spans), rates
        self._spans[key] = span
        return span

    def _find(self, model_name: str, provider: str | None, tier: str | None) -> list[Timeline]:
        """The timelines to use, in order: for the time before a file's first date, the next list counts."""
        findings = self._findings(model_name, provider, tier)
        return [one.timeline for one in findings if one.timeline is not None]

    def _findings(self, model_name: str, provider: str | None, tier: str | None) -> list[Finding]:
        """The finding of each list, in order, up to the first whose price holds at any time."""
        declared = self._declared.look_up(model_name, provider, tier)
        found = [declared] if self._models else []
        if declared.timeline is not None and declared.timeline.periods[0].rates is not None:
            return found
        prices = self._load()
        names = candidates(model_name, provider)
        if prices is None:
            why = NO_BUNDLED if self._is_missing else "bundled_prices is false in models.yaml"
            return [*found, Finding("bundled prices", provider_of(provider), model_name, None, why)]
        if not names:
            return [
                *found,
                Finding(prices.source, provider_of(provider), model_name, None, "this names no model for sale"),
            ]
        for one in names:
            found.append(prices.look_up(one, tier))
            if found[-1].timeline is not None:
                break
        return found

    def _load(self) -> BundledPrices | None:
        # No lock: a fork might leave it held, and two threads that load at once get the same.
        if self._wants_bundled:
            self._bundled = bundled()
            self._is_missing = self._bundled is None
            self._wants_bundled = False
        return self._bundled
