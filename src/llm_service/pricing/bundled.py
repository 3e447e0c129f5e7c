"""Prices of the package genai-prices: its bundled data, compiled once for each model, matched only where it is exact.

The package's own look-up matches by prefixes and parts of names, and would price a model that nobody has heard of like
its nearest relative. Here a match of it counts only where the name, but for dates and versions, is one that the data
spell out. Nothing of the package is changed and none of its globals is read: pydantic-ai shares them.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import time
from decimal import Decimal
from typing import Any, Final, NamedTuple

from llm_service.pricing.names import is_claude, spellings
from llm_service.pricing.rates import CLAUDE_HOUR, Prices, Rates
from llm_service.pricing.timeline import ALWAYS, Daily, Period, Timeline, day_start_us

__all__ = ["BundledPrices", "bundled"]

_COUNTED: Final = {
    "output": "output_mtok",
    "cached_input": "cache_read_mtok",
    "cache_write": "cache_write_mtok",
    "cache_write_1h": "cache_write_1h_mtok",
    "reasoning": "output_reasoning_mtok",
}
_BESIDE: Final = frozenset(
    {
        "input_mtok",
        *_COUNTED.values(),
        "web_searches_kcount",  # fees of tools, beside the tokens
        "storage_searches_kcount",
        "input_audio_mtok",  # of models that read text first of all
        "cache_audio_read_mtok",
        "input_image_mtok",
        "cache_image_read_mtok",
        "input_video_mtok",
    }
)
"""What may be priced beside the tokens that a record counts, and leaves a call of text alone."""
_SELECTORS: Final = ("service_tier", "processing", "speed")
"""By what the data tell service tiers apart: `processing` is `batch`, `speed` is Anthropic's `fast`."""
_NOT_OF_TEXT: Final = ("-audio", "-realtime", "-transcribe", "-image", "-live")
_PARTIAL_ENDS: Final = ("-20", "-202", "-2023", "-2024", "-2025", "-2026", "-2027", "-0", "-", "@")
_FREE: Final = "free of charge"
_ENDED: Final = {
    # The discount by the time of day ended on 2025-09-05 at 16:00 UTC, and other prices hold since then, which the data
    # of genai-prices 0.2 do not have: https://api-docs.deepseek.com/quick_start/pricing, as of August 2025.
    ("deepseek", "deepseek-chat"): 1_757_088_000_000_000,
    ("deepseek", "deepseek-reasoner"): 1_757_088_000_000_000,
}
"""From when (microseconds since 1970) prices in the data are known to be history: unknown then, rather than wrong."""
_CORRECTED: Final[Mapping[tuple[str, str], tuple[Decimal, Mapping[str, Any]]]] = {
    # Before 2025-06-10 the data have o3's later cached price beside its first two. It was published with $10, $2.50
    # cached and $40: https://openai.com/index/introducing-o3-and-o4-mini/, https://platform.openai.com/docs/models/o3.
    ("openai", "o3"): (Decimal(10), {"cache_read_mtok": Decimal("2.5")}),
}
"""Prices in the data that are known to be wrong, by provider and model; they hold beside this input price."""


def bundled() -> "BundledPrices | None":
    """The prices of genai-prices; None where it is not installed. Imports it: 0.2 s at the first time."""
    try:
        from genai_prices import __version__  # noqa: PLC0415 - optional, and slow to import
        from genai_prices.data import providers  # noqa: PLC0415
    except ImportError:
        return None
    return BundledPrices(providers, f"genai-prices {__version__}")


class _Undated(NamedTuple):
    """Prices without a condition, in the form of those with one."""

    prices: Any
    constraint: None = None


class BundledPrices:
    """Looks prices up in data of genai-prices; safe from several threads.

    Args:
        providers: its `Provider` objects; only read.
        source: what to call them.
    """

    def __init__(self, providers: Sequence[Any], source: str) -> None:
        self._all = list(providers)
        self._providers = {provider.id: provider for provider in providers}
        self._source = source

    def timeline(self, name: str, provider: str, tier: str | None = None) -> Timeline | None:
        """The prices of a model by its exact name (in lower case) at a provider and a service tier, None the standard.

        None where that is unknown.
        """
        seller = self._providers.get(provider)
        if seller is None:
            return None
        model = seller.find_model(name, all_providers=self._all)
        if model is None or not _is_named(model, name, provider):
            return None
        return self._compiled(model, provider) if tier is None else self._of_tier(model, provider, tier)

    def _of_tier(self, model: Any, provider: str, tier: str) -> Timeline | None:
        """The data say what differs, each difference from a day on; before that day it is unknown, not the standard."""
        selectors = [{key: tier} for key in _SELECTORS]
        differences = [one for one in getattr(model, "price_variants", None) or () if one.when in selectors]
        standards = list(model.prices) if hasattr(model.prices, "__iter__") else [_Undated(model.prices)]
        starts = {_from_us(one.constraint) for one in (*differences, *standards)}
        if not differences or None in starts:  # a part of the day
            return None
        periods = [Period(None)]
        for start in sorted(start for start in starts if start is not None):
            held = [one for one in differences if _holds(one.constraint, start)]
            if held:
                standard = next((one for one in reversed(standards) if _holds(one.constraint, start)), standards[0])
                known = _known(standard.prices)
                for one in reversed(held):  # the first of them takes precedence, key by key
                    known |= _known(one.prices)
                periods.append(Period(self._rates(model, known, provider), from_us=start))
        return Timeline(periods)

    def _compiled(self, model: Any, provider: str) -> Timeline | None:
        if hasattr(model.prices, "__iter__"):  # dated ones
            periods = [self._period(model, one, provider) for one in model.prices]
        else:
            periods = [Period(self._rates(model, _known(model.prices), provider))]
        ended_us = _ENDED.get((provider, model.id))
        if ended_us is not None:
            periods.append(Period(None, from_us=ended_us))
        return Timeline(periods) if any(period.rates is not None for period in periods) else None

    def _period(self, model: Any, conditional: Any, provider: str) -> Period:
        rates = self._rates(model, _known(conditional.prices), provider)
        constraint = conditional.constraint
        if constraint is None:
            return Period(rates)
        start_date = getattr(constraint, "start_date", None)
        if start_date is not None:
            return Period(rates, from_us=day_start_us(start_date))
        return Period(rates, daily=Daily(_time_us(constraint.start_time), _time_us(constraint.end_time)))

    def _rates(self, model: Any, known: dict[str, Any], provider: str) -> Rates | None:
        correction = _CORRECTED.get((provider, model.id))
        if correction is not None and known.get("input_mtok") == correction[0]:
            known |= correction[1]
        if not known:
            return self._free(model, provider)
        if not known.keys() <= _BESIDE or "input_mtok" not in known or any(part in model.id for part in _NOT_OF_TEXT):
            return None
        return Rates.of(self._source, model.id, provider, _tiers(known, claude=is_claude(model.id)))

    def _free(self, model: Any, provider: str) -> Rates | None:
        """No price at all means free only where the data say so in words: elsewhere nobody knows it."""
        said = f"{model.price_comments or ''} {model.description or ''}".lower()
        if not model.id.endswith(":free") and _FREE not in said:
            return None
        return Rates.of(self._source, model.id, provider, [Prices(0, Decimal(0), Decimal(0))])


def _known(price: Any) -> dict[str, Any]:
    stored: dict[str, Any] = price.__dict__
    return {key: value for key, value in stored.items() if value is not None}


def _from_us(constraint: Any) -> int | None:
    """From when a condition is met, in microseconds since 1970; None where it is met in a part of each day."""
    if constraint is None:
        return ALWAYS[0]
    start_date = getattr(constraint, "start_date", None)
    return None if start_date is None else day_start_us(start_date)


def _holds(constraint: Any, at_us: int) -> bool:
    start = _from_us(constraint)
    return start is not None and start <= at_us


def _tiers(known: Mapping[str, Any], *, claude: bool) -> Iterator[Prices]:
    starts = {0, *(tier.start for value in known.values() for tier in getattr(value, "tiers", ()))}
    for start in sorted(starts):
        counted = {name: _price_above(known[key], start) for name, key in _COUNTED.items() if key in known}
        one_input = _price_above(known["input_mtok"], start)
        if claude:  # the data have it of some of them only
            counted.setdefault("cache_write_1h", one_input * CLAUDE_HOUR)
        yield Prices(start, one_input, counted.pop("output", None), **counted)


def _price_above(value: Any, start: int) -> Decimal:
    """The price of a prompt of just more than `start` tokens; the last tier below it holds for the whole call."""
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


def _is_named(model: Any, name: str, provider: str) -> bool:
    """Whether the data spell this name out, but for what says nothing of the model."""
    spelled = {model.id.lower(), *_texts(model.match)}
    return any(one in spelled for one in spellings(name, provider))


def _texts(clause: Any) -> Iterator[str]:
    """The names in a clause; of one that is cut within a date (`claude-sonnet-4-2025`) also what stands before it."""
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
