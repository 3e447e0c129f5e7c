"""Models with higher prices for long prompts, so that a list without such tiers is not trusted beyond them.

If any seller prices a model by the length of the prompt, the price of a seller without such tiers is known only up to
that length: for longer prompts it is unknown, not that of short ones.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any, Final, NamedTuple

from llm_service.pricing.corrections import LONG_UNKNOWN
from llm_service.pricing.model_names import spellings
from llm_service.pricing.timeline import ALWAYS, Period, Timeline

__all__ = ["LongFrom", "bounded", "catalogue", "model_of"]

_VARIANT: Final = re.compile(r":[a-z]+$|-(non-)?reasoning$")
_PATTERN: Final = re.compile(r"[\\^$()\[\]]")
_OLD_CLAUDE: Final = re.compile(r"^claude-(\d(?:-\d)?)-(opus|sonnet|haiku)$")


class LongFrom(NamedTuple):
    """A period (microseconds since 1970) in which some seller charges more above a number of prompt tokens."""

    from_us: int
    until_us: int
    above: int


@lru_cache(maxsize=8192)
def model_of(name: str) -> str | None:
    """The model of a seller's name, the same for all sellers; None for a moving alias or a pattern.

    It has no path, vendor, region, date, version or variant (`:batch`, `-reasoning`).
    """
    name = name.lower().rpartition("/")[2].removeprefix("~")
    if name.endswith("-latest") or _PATTERN.search(name):
        return None
    name = re.sub(r"^regional\.", "", name)
    shortest = _VARIANT.sub("", spellings(_VARIANT.sub("", name), "aws")[-1]).replace(".", "-").removesuffix("-0")
    return _OLD_CLAUDE.sub(r"claude-\2-\1", shortest)


def catalogue(models: Iterable[tuple[Any, Sequence[tuple[int, Any]]]]) -> Mapping[str, Sequence[LongFrom]]:
    """By model: the periods in which any seller charges more for long prompts.

    Args:
        models: each entry's names, and its prices as in the data with their start times.
    """
    found = {name: [LongFrom(*ALWAYS, above)] for name, above in LONG_UNKNOWN.items()}
    for names, prices in models:
        long = [one for one in _long(prices) if one.from_us < one.until_us]
        for key in {model_of(name) for name in names} - {None} if long else ():
            found.setdefault(str(key), []).extend(long)
    return found


def _long(prices: Sequence[tuple[int, Any]]) -> Iterator[LongFrom]:
    ends = [*(start for start, _ in prices[1:]), ALWAYS[1]]
    for (start, price), end in zip(prices, ends, strict=True):
        starts = [tier.start for value in price.__dict__.values() for tier in getattr(value, "tiers", ()) if tier.start]
        if starts:
            yield LongFrom(start, end, min(starts))


def bounded(timeline: Timeline, long: Sequence[LongFrom]) -> Timeline:
    """The prices, limited to prompts up to the length from which any seller charges more at the time."""
    if not long:
        return timeline
    periods = list(timeline.periods)
    if any(period.daily is not None for period in periods):
        return Timeline([_up_to(period, long) for period in periods])
    starts = {ALWAYS[0], *(period.from_us for period in periods if period.from_us is not None)}
    starts |= {moment for one in long for moment in (one.from_us, one.until_us) if moment < ALWAYS[1]}
    found: list[Period] = []
    for start in sorted(starts):
        held = replace(timeline.period_at(start), from_us=None if start == ALWAYS[0] else start)
        one = _up_to(held, [each for each in long if each.from_us <= start < each.until_us])
        if not found or (one.rates, one.why) != (found[-1].rates, found[-1].why):
            found.append(one)
    return Timeline(found)


def _up_to(period: Period, long: Sequence[LongFrom]) -> Period:
    rates = period.rates
    if rates is None or len(rates.prices) > 1 or not long:
        return period
    first = next(iter(rates.prices))
    if not (first.input or first.output):
        return period
    return replace(period, rates=rates.up_to(min(one.above for one in long)))
