"""The start of prices without a date, and of moving aliases.

Today's price is not the price of last year's call. A price without a date holds from `corrections.DATA_BEGAN` on: later
changes have dates in the data. OpenAI and Anthropic keep the price of a model with a dated name, so it holds from that
date on. A moving alias (`gemini-flash-latest`) holds from the newest day in the data on: its earlier model is unknown.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, date, datetime
from typing import Any, Final

from llm_service.pricing.corrections import CHANGED, DATA_BEGAN
from llm_service.pricing.model_names import Candidate
from llm_service.pricing.timeline import ALWAYS, Timeline, day_start_us

__all__ = ["is_moving", "newest_day_us", "since", "starts"]

_KEPT: Final = frozenset({"openai", "anthropic"})
"""Makers that keep the price of a dated model, except for `corrections.CHANGED`."""
_DATE: Final = re.compile(r"[-@](20[2-4]\d)-?(0[1-9]|1[0-2])-?(0[1-9]|[12]\d|3[01])(?=$|:)")
_LATEST: Final = re.compile(r"[-@:]latest$")


def is_moving(name: str, names: Iterable[str]) -> bool:
    """Whether a name is a moving alias: `-latest` after a text that is not itself a name of the entry."""
    return _LATEST.search(name) is not None and _LATEST.sub("", name) not in names


def since(timeline: Timeline, one: Candidate, model: Any, names: set[str], newest_us: int) -> Timeline:
    """The prices, limited to the time in which they are known for this name.

    Args:
        timeline: of the entry.
        one: the requested name.
        model: the entry; None for our own prices.
        names: the names that the entry spells out.
        newest_us: the newest day in the data, microseconds since 1970.
    """
    entry: Any = model
    dated: Sequence[tuple[int, Any]] = (
        starts(entry.prices) if hasattr(getattr(entry, "prices", None), "__iter__") else []
    )
    if is_moving(one.name, names) and not (dated and _LATEST.search(entry.id)):  # an alias with its own history
        return timeline.since(newest_us, "the name moves on to other models, and what it meant then is not known")
    began = day_start_us(DATA_BEGAN)
    if any(ALWAYS[0] < start < began for start, _ in dated[1:]):  # hours of the day are not dates
        return timeline  # the data have prices from before their start
    if one.provider in _KEPT and model is not None and (one.provider, model.id) not in CHANGED:
        began = min(began, _date_us(one.name))
    return timeline.since(began, f"the price has no date, and the data tell of none before {DATA_BEGAN}")


def starts(prices: Any) -> Sequence[tuple[int, Any]]:
    """The prices of an entry with their start times; prices by parts of the day hold always."""
    if not hasattr(prices, "__iter__"):
        return [(ALWAYS[0], prices)]
    found = [(getattr(one.constraint, "start_date", None), one.prices) for one in prices]
    return [(ALWAYS[0] if day is None else day_start_us(day), price) for day, price in found]


def newest_day_us(models: Iterable[Any]) -> int:
    """The newest start date of a price, not after today: the data are not older than that."""
    today = datetime.now(UTC).date()
    return day_start_us(max((day for model in models for day in _days(model) if day <= today), default=DATA_BEGAN))


def _days(model: Any) -> Iterator[date]:
    for one in (*(model.prices if hasattr(model.prices, "__iter__") else ()), *(model.price_variants or ())):
        day = getattr(one.constraint, "start_date", None)
        if day is not None:
            yield day


def _date_us(name: str) -> int:
    found = _DATE.search(name)
    if found is None:
        return ALWAYS[1]
    try:
        return day_start_us(date(*map(int, found.groups())))
    except ValueError:  # February 30
        return ALWAYS[1]
