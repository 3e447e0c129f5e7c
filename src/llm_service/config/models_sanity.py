"""Warnings for a models.yaml that is valid but probably a mistake: pure functions.

A warning is a `ConfigError` that is not raised: the place, the doubt, and what may be meant.
"""

import difflib
import fnmatch
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from decimal import Context, Decimal
from typing import Final, NamedTuple, Protocol

from llm_service.config.documents import Document
from llm_service.config.key_paths import KeyPath, path_text
from llm_service.config.models_schema import ModelConfig, ModelsConfig, TokenPrices
from llm_service.errors import ConfigError

__all__ = [
    "KnownRates",
    "Listed",
    "RateBook",
    "doubt",
    "doubts_of_models",
    "listed_prices",
    "matches",
    "names_of",
    "nearest",
]

_THOUSAND: Final = (Decimal(250), Decimal(4000))
"""The factors that count as "about 1,000 times": list prices of a family reach about 100 times its median."""
_LOWEST: Final = (Decimal("0.005"), Decimal("0.02"))
_HIGHEST: Final = (Decimal(300), Decimal(1200))
"""US dollars per million tokens, input and output. The highest list price is 150 and 600 (o1-pro,
https://developers.openai.com/api/docs/pricing), the lowest of a text model 0.005 and 0.01 (genai-prices 0.2.3). If both
input and output are outside, the unit is wrong."""


class KnownRates(Protocol):
    """A price from another source."""

    @property
    def source(self) -> str:
        """The source, for example `genai-prices 0.2.3`."""
        ...

    def cost_nanos(self, prompt_tokens: int, completion_tokens: int) -> int | None:
        """The cost of these tokens in nano-dollars; None if unknown."""
        ...


class RateBook(Protocol):
    """Prices from another source than the files."""

    def rates(self, model_name: str | None, provider: str | None = None, at_us: int | None = None) -> KnownRates | None:
        """The price of a model; None if unknown."""
        ...


class Listed(NamedTuple):
    """One price of a file: its path, its unit, and US dollars per million tokens."""

    path: KeyPath
    unit: str
    prices: TokenPrices

    @property
    def per_million(self) -> "_PerMillion":
        """US dollars per million tokens of input and of output."""
        times = 1000 if self.unit == "1k" else 1
        return _PerMillion(self.prices.input * times, self.prices.output * times)


class _PerMillion(NamedTuple):
    input: Decimal
    output: Decimal


_Families = Mapping[str | None, tuple[list[Decimal], list[Decimal]]]


def listed_prices(name: str, model: ModelConfig) -> Iterator[Listed]:
    """The prices of a model by day, without their tiers."""
    own: str | None = None
    for unit in ("1k", "1m"):
        prices: TokenPrices | None = getattr(model, f"cost_per_{unit}_tokens")
        if prices is not None:
            own = unit
            yield Listed(("models", name, f"cost_per_{unit}_tokens"), unit, prices)
    for place, entry in enumerate(model.prices):
        yield Listed(("models", name, "prices", place), str(entry.per or own), entry)


def doubts_of_models(
    models: ModelsConfig, document: Document, bundled: RateBook | None = None
) -> Iterator[ConfigError]:
    """Warnings for a models.yaml, also beside the bundled prices."""
    families = _families(models)
    for name, model in models.models.items():
        own = [*listed_prices(name, model)]
        known = _bundled(name, model, bundled) if own else None
        for listed in own:
            yield from _unit(listed, own, model.provider, known, families, document)
            yield from _parts(listed, document)
        if model.max_output_tokens and model.context_window and model.max_output_tokens > model.context_window:
            text = f"{model.max_output_tokens:,} is more than the context_window of {model.context_window:,}"
            yield doubt(document, ("models", name, "max_output_tokens"), f"{text}; are they exchanged?")
        if not own and not _is_bundled(name, model, models, bundled):
            text = "has no price, here or bundled: its calls cost an unknown amount; add cost_per_1m_tokens"
            yield doubt(document, ("models", name), text)


def doubt(document: Document, path: KeyPath, text: str) -> ConfigError:
    """A warning at a place of a document."""
    return ConfigError(text, file=document.file, line=document.line(path), key=path_text(path))


def _is_bundled(name: str, model: ModelConfig, models: ModelsConfig, bundled: RateBook | None) -> bool:
    if not models.bundled_prices or bundled is None:
        return False
    return any(bundled.rates(other, model.provider) is not None for other in (name, *model.aliases))


def _parts(listed: Listed, document: Document) -> Iterator[ConfigError]:
    """Prices of parts (such as cached tokens) that do not fit those of the whole."""
    tiers = [(tier, (*listed.path, "tiers", place)) for place, tier in enumerate(listed.prices.tiers)]
    for prices, path in ((listed.prices, listed.path), *tiers):
        if prices.cached_input is not None and prices.cached_input > prices.input:
            text = f"{prices.cached_input} is more than the {prices.input} of input; is it cache_write?"
            yield doubt(document, (*path, "cached_input"), text)
        hour, written = prices.cache_write_1h, prices.input if prices.cache_write is None else prices.cache_write
        if hour is not None and hour < written:
            text = f"{hour:f} is less than the {written:f} of what is kept shorter; are they exchanged?"
            yield doubt(document, (*path, "cache_write_1h"), text)
        for key in ("cached_input", "cache_write", "cache_write_1h", "reasoning"):
            price: Decimal | None = getattr(prices, key)
            beside = prices.output if key == "reasoning" else prices.input
            if price and beside and not 1 / _THOUSAND[0] < price / beside < _THOUSAND[0]:
                times = f"{price / beside:,.0f} times" if price > beside else f"1/{beside / price:,.0f} of"
                kind = "output" if key == "reasoning" else "input"
                yield doubt(
                    document, (*path, key), f"{price:f} is {times} the {beside:f} of {kind}; has it another unit?"
                )


def _unit(
    listed: Listed,
    own: list[Listed],
    provider: str | None,
    known: tuple[str, _PerMillion] | None,
    families: _Families,
    document: Document,
) -> Iterator[ConfigError]:
    """A price about 1,000 times off the known price of the model, else off its family, else off all list prices."""
    here = listed.per_million
    source, there = known or _family(listed, own, provider, families)
    factor = _factor(here, there)
    if factor is not None:
        yield doubt(document, (*listed.path, "input"), _unit_text(listed, factor, source, there))
    if known or factor is not None:
        return  # the whole family may be wrong
    high = here.input > _HIGHEST[0] and here.output > _HIGHEST[1]
    low = 0 < here.input < _LOWEST[0] and 0 < here.output < _LOWEST[1]
    if high or low:
        side = f"above all list prices (up to {_HIGHEST[0]}" if high else f"below all list prices (from {_LOWEST[0]}"
        text = f"{here.input.normalize():f} US dollars per million tokens is {side}); {_meant(listed, high=high)}"
        yield doubt(document, (*listed.path, "input"), text)


def _bundled(name: str, model: ModelConfig, bundled: RateBook | None) -> tuple[str, _PerMillion] | None:
    """The model's price from another source, today's, since no price ever changed a thousandfold."""
    if bundled is None:
        return None
    for other in (name, *model.aliases):
        rates = bundled.rates(other, model.provider)
        if rates is not None:
            nanos = [rates.cost_nanos(1000, 0), rates.cost_nanos(0, 1000)]  # short of all tiers
            if nanos[0] is not None and nanos[1] is not None:
                return rates.source, _PerMillion(Decimal(nanos[0]) / 10**6, Decimal(nanos[1]) / 10**6)
    return None


def _families(models: ModelsConfig) -> _Families:
    """Present prices by provider, input and output separately, ascending, without free models."""
    found: dict[str | None, tuple[list[Decimal], list[Decimal]]] = {}
    for name, model in models.models.items():
        for latest in [*listed_prices(name, model)][-1:]:
            for side, price in zip(found.setdefault(model.provider, ([], [])), latest.per_million, strict=True):
                if price > 0:
                    side.append(price)
    for sides in found.values():
        for side in sides:
            side.sort()
    return found


def _family(listed: Listed, own: list[Listed], provider: str | None, families: _Families) -> tuple[str, _PerMillion]:
    """The median of the other models of the provider; without one, that of this model's other prices."""
    others = [_without(side, price) for side, price in zip(families[provider], own[-1].per_million, strict=True)]
    if others[0]:
        return f"the median of the other models of {provider or 'no provider'}", _PerMillion(*map(_middle, others))
    prices = [one.per_million for one in own if one.path != listed.path]
    sides = [sorted(price[side] for price in prices if price[side] > 0) for side in (0, 1)]
    return "the median of its other prices", _PerMillion(*map(_middle, sides))


def _without(ascending: list[Decimal], one: Decimal) -> list[Decimal]:
    at = bisect_left(ascending, one)
    return ascending[:at] + ascending[at + 1 :] if one > 0 else ascending


def _middle(ascending: list[Decimal]) -> Decimal:
    """The median, 0 if empty. Of two middle values, the geometric mean, so that one error does not flag the other."""
    if not ascending:
        return Decimal(0)
    low, high = ascending[(len(ascending) - 1) // 2], ascending[len(ascending) // 2]
    return low if low == high else Context(prec=6).sqrt(low * high)


def _factor(here: _PerMillion, there: _PerMillion) -> Decimal | None:
    """The factor too high (or, below 1, too low); None if it is not about 1,000 or 1,000,000."""
    factors = [mine / known for mine, known in zip(here, there, strict=True) if mine > 0 and known > 0]
    for low, high in (_THOUSAND, (_THOUSAND[0] * 1000, _THOUSAND[1] * 1000)):
        for sides in (factors, [1 / factor for factor in factors]):
            if sides and all(low <= side <= high for side in sides):
                return factors[0]
    return None


def _unit_text(listed: Listed, factor: Decimal, source: str, there: _PerMillion) -> str:
    known = there.input / (1000 if listed.unit == "1k" else 1)
    times = f"{round(factor):,} times" if factor > 1 else f"1/{round(1 / factor):,} of"
    return (
        f"{listed.prices.input.normalize():f} US dollars per {listed.unit} tokens is {times} "
        f"the {known.normalize():f} of {source}; {_meant(listed, high=factor > 1, factor=factor)}"
    )


def _meant(listed: Listed, *, high: bool, factor: Decimal | None = None) -> str:
    """The likely mistake."""
    if high:
        return "is it a price per 1m tokens?" if listed.unit == "1k" else "is it in thousandths of a dollar?"
    single = listed.unit == "1k" or (factor is not None and factor * _THOUSAND[1] < 1)
    return "is it a price per single token?" if single else "is it a price per 1k tokens?"


def nearest(name: str, known: Iterable[str]) -> str:
    """A guess at what was meant, to follow `; `."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"did you mean {close[0]}?" if close else "add the model, or correct the pattern"


def matches(pattern: str, names: Iterable[str]) -> bool:
    """Whether a pattern of a scope matches one of the names."""
    return any(fnmatch.fnmatchcase(name, pattern) for name in names)


def names_of(models: Mapping[str, ModelConfig]) -> list[str]:
    """All names and aliases."""
    return [other for name, model in models.items() for other in (name, *model.aliases)]
