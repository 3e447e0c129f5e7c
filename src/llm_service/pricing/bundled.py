"""Prices of the package genai-prices: its bundled data, compiled once for each model, matched only exactly.

The package's own look-up matches prefixes and parts of names, and would price an unknown model like its nearest
relative. Here its match counts only if the data spell out the name, apart from dates and versions. Nothing of the
package is changed and none of its globals is read: pydantic-ai shares them.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import time
from decimal import Decimal
from typing import Any, Final, NamedTuple

from llm_service.pricing.azure import AZURE, AZURE_SOURCE
from llm_service.pricing.corrections import (
    CHEAP_WRITES,
    CORRECTED,
    DATED,
    ENDED,
    ENDED_TIERS,
    LONG,
    PEAKS,
    SEARCHES,
    Ended,
    Peak,
)
from llm_service.pricing.entry_regions import has_tiers_of, is_given_away, not_of_seller, refusal
from llm_service.pricing.explanation import Finding
from llm_service.pricing.long_prompts import bounded, catalogue, model_of
from llm_service.pricing.model_names import Candidate, is_claude, spellings
from llm_service.pricing.price_history import newest_day_us, since, starts
from llm_service.pricing.rates import CLAUDE_HOUR, Prices, Rates, long_prices
from llm_service.pricing.timeline import ALWAYS, DAY_US, Daily, Period, Timeline, day_start_us

__all__ = ["BundledPrices", "bundled"]

_COUNTED: Final = {
    "output": "output_mtok",
    "cached_input": "cache_read_mtok",
    "cache_write": "cache_write_mtok",
    "cache_write_1h": "cache_write_1h_mtok",
    "reasoning": "output_reasoning_mtok",
}
_TOKENS: Final = frozenset({"input_mtok", *_COUNTED.values()})
_BESIDE: Final = frozenset(
    {
        *_TOKENS,
        "web_searches_kcount",  # fees of tools, in addition to tokens
        "storage_searches_kcount",
        "input_audio_mtok",  # of models that mainly read text
        "cache_audio_read_mtok",
        "input_image_mtok",
        "cache_image_read_mtok",
        "input_video_mtok",
    }
)
"""Other priced usage, which does not affect a text call."""
_SELECTORS: Final = ("service_tier", "processing", "speed")
"""The data's fields for service tiers: `processing` is `batch`, `speed` is Anthropic's `fast`."""
_NOT_OF_TEXT: Final = ("-audio", "-realtime", "-transcribe", "-image", "-live", "gemini-omni", "nano-banana")
"""Parts of names of models for other modalities, whose tokens have other prices or none."""
_MOVING: Final = frozenset({"mistral"})
"""Providers whose `-latest` moves on to models with other prices: valid only if the data spell it out."""
_PARTIAL_ENDS: Final = ("-20", "-202", "-2023", "-2024", "-2025", "-2026", "-2027", "-0", "-", "@")


def bundled() -> "BundledPrices | None":
    """The prices of genai-prices; None if it is not installed. The first call imports it, which takes 0.2 s."""
    try:
        from genai_prices import __version__  # noqa: PLC0415 - optional, and slow to import
        from genai_prices.data import providers  # noqa: PLC0415
    except ImportError:
        return None
    return BundledPrices(providers, f"genai-prices {__version__}")


class _Undated(NamedTuple):
    """Prices without a condition, in the form of conditional ones."""

    prices: Any
    constraint: None = None


class BundledPrices:
    """Looks up prices in the data of genai-prices, and in our own for Azure; thread-safe.

    Each seller has its own list. There is no fallback from one seller's list to another's, unlike in the package.

    Args:
        providers: its `Provider` objects; only read.
        source: their name; an attribute.
    """

    def __init__(self, providers: Sequence[Any], source: str) -> None:
        self._providers = {provider.id: provider for provider in providers}
        self.source = source
        every = [model for provider in providers for model in provider.models]
        self._newest_us = newest_day_us(every)
        self._long = catalogue((_names(model), starts(model.prices)) for model in every)

    def names(self) -> Iterator[str]:
        """All names that the data spell out, in lower case; some more than once."""
        for provider in self._providers.values():
            for model in provider.models:
                yield from _names(model)

    def timeline(self, name: str, provider: str, tier: str | None = None) -> Timeline | None:
        """The prices of a model by its exact name (in lower case) at a provider and a service tier (None: standard).

        None if unknown.
        """
        return self.look_up(Candidate(name, provider), tier).timeline

    def look_up(self, one: Candidate, tier: str | None = None) -> Finding:
        """The finding of the seller's own list for a name, at a service tier (None: standard), with its reason."""

        def found(rule: str, entry: str | None = None, timeline: Timeline | None = None) -> Finding:
            return Finding(self.source, one.provider, one.name, entry, rule, timeline)

        if one.provider is None:
            return found("nobody says who sells it, and the name alone does not: give the provider")
        seller = self._providers.get(one.provider)
        if seller is None:
            return found("it has no prices of this seller")
        name = DATED.get((one.provider, one.name), one.name)
        model = seller.find_model(name)  # without other providers there is no fallback
        spelled = None if model is None else _spelled(model, name, one.provider)
        if model is None or spelled is None:
            return self._of_azure(one, tier) or found("no entry of this seller has this name")
        why = _beyond_text_tokens(one.name, spelled, model.id)
        why = why or refusal(one, model.id, model.price_comments or "", _texts(model.match))
        if why is not None:
            return found(why, model.id)
        if tier is None:
            timeline = self.compiled(model, one.provider, one.api)
            why = _unpriced(model)
        else:
            timeline = self.of_tier(model, one.provider, tier) if has_tiers_of(one, model.id) else None
            why = f"the entry has no price of service tier {tier}"
        if timeline is not None:
            timeline = since(timeline, one, model, set(_names(model)), self._newest_us)
            timeline = self._bounded(timeline, _names(model))
        timeline = _until(timeline, ENDED.get((one.provider, spelled)))
        return found(why if timeline is None else f"the entry spells out {spelled}", model.id, timeline)

    def _of_azure(self, one: Candidate, tier: str | None) -> Finding | None:
        """The finding of our own list of Azure's Global deployments."""
        if one.provider != "azure":
            return None
        names = spellings(one.name) if is_claude(one.name) else (one.name,)
        entry = next((AZURE[name] for name in names if name in AZURE), None)
        if entry is None:
            return None
        model, prices = entry
        why = f"it has no price of service tier {tier}" if tier is not None else refusal(one, model, "", ())
        if why is not None:
            return Finding(AZURE_SOURCE, one.provider, one.name, model, why)
        rates = Rates.of(AZURE_SOURCE, model, one.provider, prices)
        rule = "the list has this name, of Global deployments"
        timeline = since(Timeline([Period(rates)]), one, None, {model}, self._newest_us)
        return Finding(AZURE_SOURCE, one.provider, one.name, model, rule, self._bounded(timeline, [model]))

    def _bounded(self, timeline: Timeline, names: Iterable[str]) -> Timeline:
        """The prices; without tiers, only up to the prompt length from which any list has tiers."""
        keys = {model_of(name) for name in names}
        return bounded(timeline, [long for key in keys if key is not None for long in self._long.get(key, ())])

    def of_tier(self, model: Any, provider: str, tier: str) -> Timeline | None:
        """The prices of a tier. The data have its differences by start date; before that, they are unknown."""
        selectors = [{key: tier} for key in _SELECTORS]
        differences = [one for one in getattr(model, "price_variants", None) or () if one.when in selectors]
        standards = list(model.prices) if hasattr(model.prices, "__iter__") else [_Undated(model.prices)]
        starts = {_from_us(one.constraint) for one in (*differences, *standards)}
        if not differences or None in starts:  # prices by parts of the day
            return None
        periods = [Period(None, why=f"the price of service tier {tier} is not known before")]
        for start in sorted(start for start in starts if start is not None):
            held = [one for one in differences if _holds(one.constraint, start)]
            if held:
                standard = next((one for one in reversed(standards) if _holds(one.constraint, start)), standards[0])
                known = _known(standard.prices)
                for one in reversed(held):  # the first one takes precedence, by key
                    known |= _known(one.prices)
                periods.append(Period(self._rates(model, known, provider), from_us=start))
        ended = ENDED_TIERS.get((provider, model.id, tier)) or ENDED.get((provider, model.id))
        return _until(Timeline(periods), ended)

    def compiled(self, model: Any, provider: str, api: str | None = None) -> Timeline | None:
        """The prices of a model by date; None where they are not this seller's, or not by tokens of text alone."""
        if not_of_seller(provider, model.id, model.price_comments or "") or _beyond_text_tokens(model.id):
            return None
        if hasattr(model.prices, "__iter__"):  # dated ones
            periods = [self._period(model, one, provider) for one in model.prices]
            peak = PEAKS.get((provider, model.id))
            periods = periods if peak is None else _peaks(periods, peak)
            if periods[0].from_us is not None:  # the data have it from a day on
                periods.insert(0, Period(None, why="the data have no price of that time"))
        else:
            periods = [Period(self._rates(model, _known(model.prices), provider, api))]
        if all(period.rates is None for period in periods):
            return None
        return _until(Timeline(periods), ENDED.get((provider, model.id)))

    def _period(self, model: Any, conditional: Any, provider: str) -> Period:
        rates = self._rates(model, _known(conditional.prices), provider)
        constraint = conditional.constraint
        if constraint is None:
            return Period(rates)
        start_date = getattr(constraint, "start_date", None)
        if start_date is not None:
            return Period(rates, from_us=day_start_us(start_date))
        return Period(rates, daily=Daily(_time_us(constraint.start_time), _time_us(constraint.end_time)))

    def _rates(self, model: Any, known: dict[str, Any], provider: str, api: str | None = None) -> Rates | None:
        correction = CORRECTED.get((provider, model.id))
        if correction is not None and known.get("input_mtok") == correction[0]:
            known |= correction[1]
        if not any(known.get(key) for key in _TOKENS):
            return self._free(model, provider, api) if known.keys() <= _TOKENS else None
        if not known.keys() <= _BESIDE or "input_mtok" not in known:
            return None
        cheap_writes = (provider, model.id) in CHEAP_WRITES
        tiers = list(_tiers(known, claude=is_claude(model.id), cheap_writes=cheap_writes))
        if (provider, model.id) in LONG:
            tiers.append(long_prices(tiers[0], 200_000))
        return Rates.of(self.source, model.id, provider, tiers)

    def _free(self, model: Any, provider: str, api: str | None) -> Rates | None:
        """Zero rates for an entry without prices, if the data say that it is free at this seller; else unknown."""
        said = f"{model.price_comments or ''} {model.description or ''}"
        if not is_given_away(provider, api, model.id, said):
            return None
        return Rates.of(self.source, model.id, provider, [Prices(0, Decimal(0), Decimal(0))])


def _beyond_text_tokens(*names: str) -> str | None:
    """Why calls of one of these names cost more than their text tokens; None if they do not."""
    if any(SEARCHES.search(name.lower()) for name in names):
        return "the model always searches, and the usage does not say how many searches were billed beside the tokens"
    if any(part in name.lower() for part in _NOT_OF_TEXT for name in names):
        return "the model takes or gives more than text, at prices that a call's token counts do not tell apart"
    return None


def _unpriced(model: Any) -> str:
    """The reason why an entry has no rates."""
    listed = list(model.prices) if hasattr(model.prices, "__iter__") else [_Undated(model.prices)]
    beyond = {key for one in listed for key in _known(one.prices)} - _BESIDE
    if beyond:
        return f"the price of the entry depends on more than tokens of text: {', '.join(sorted(beyond))}"
    if any(part in model.id for part in _NOT_OF_TEXT):
        return "the price of the entry depends on more than tokens of text"
    return "the entry has no price, and nothing says that this seller gives the model away"


def _until(timeline: Timeline | None, ended: Ended | None) -> Timeline | None:
    """The prices, ended if the entry is known to be outdated, by whatever name it was found."""
    if timeline is None or ended is None:
        return timeline
    return Timeline([*timeline.periods, Period(None, from_us=ended.at_us, why=ended.why)])


def _peaks(periods: list[Period], peak: Peak) -> list[Period]:
    """Prices by parts of the day, with the days that the data cannot express."""
    days = [period for period in periods if period.daily is None]
    parts = [period for period in periods if period.daily is not None]
    since, known_since, weekends_us = map(day_start_us, peak)
    why = "the peak prices of that time are not in the data"
    unknown = [Period(None, since, part.daily, why) for part in parts if since < known_since]
    known = [Period(part.rates, known_since, part.daily) for part in parts]
    weekends = Daily(0, DAY_US, frozenset({5, 6}))
    off_peak = [Period(day.rates, max(day.from_us or weekends_us, weekends_us), weekends) for day in days]
    return [*days, *unknown, *known, *off_peak]


def _known(price: Any) -> dict[str, Any]:
    stored: dict[str, Any] = price.__dict__
    return {key: value for key, value in stored.items() if value is not None}


def _from_us(constraint: Any) -> int | None:
    """The start of a condition in microseconds since 1970; None if it is for a part of each day."""
    if constraint is None:
        return ALWAYS[0]
    start_date = getattr(constraint, "start_date", None)
    return None if start_date is None else day_start_us(start_date)


def _holds(constraint: Any, at_us: int) -> bool:
    start = _from_us(constraint)
    return start is not None and start <= at_us


def _tiers(known: Mapping[str, Any], *, claude: bool, cheap_writes: bool) -> Iterator[Prices]:
    starts = {0, *(tier.start for value in known.values() for tier in getattr(value, "tiers", ()))}
    for start in sorted(starts):
        counted = {name: _price_above(known[key], start) for name, key in _COUNTED.items() if key in known}
        one_input = _price_above(known["input_mtok"], start)
        if not cheap_writes and counted.get("cache_write", one_input) < one_input:
            counted["cache_write"] += one_input
        if claude:  # only some entries have it
            counted.setdefault("cache_write_1h", one_input * CLAUDE_HOUR)
        yield Prices(start, one_input, counted.pop("output", None), **counted)


def _price_above(value: Any, start: int) -> Decimal:
    """The price for prompts just above `start` tokens; the last tier below it applies to the whole call."""
    price: Decimal = getattr(value, "base", value)
    for tier in getattr(value, "tiers", ()):
        if tier.start <= start and (start or not tier.start):
            price = tier.price
    return price


def _time_us(moment: time) -> int:
    """Microseconds since midnight UTC; a time without a zone is UTC."""
    offset = moment.utcoffset()
    seconds = moment.hour * 3600 + moment.minute * 60 + moment.second - (offset.total_seconds() if offset else 0)
    return int(seconds % 86_400) * 1_000_000 + moment.microsecond


def _spelled(model: Any, name: str, provider: str) -> str | None:
    """The name as the data spell it, apart from parts that do not identify the model; None if they do not."""
    spelled = set(_names(model))
    if provider in _MOVING and name.endswith("-latest"):
        spelled = {one for one in spelled if one.endswith("-latest")}
    return next((one for one in spellings(name, provider) if one in spelled), None)


def _names(model: Any) -> Iterator[str]:
    """The id of an entry and the names that it spells out exactly."""
    yield model.id.lower()
    yield from _texts(model.match)


def _texts(clause: Any) -> Iterator[str]:
    """The names in a clause; if it ends within a date (`claude-sonnet-4-2025`), also the part before the date."""
    stored: dict[str, Any] = clause.__dict__
    for text in stored.values():
        if isinstance(text, str):
            lower = text.lower()
            yield lower
            for end in _PARTIAL_ENDS:
                if lower.endswith(end):
                    yield lower.removesuffix(end)
        else:
            for inner in text:
                yield from _texts(inner)
