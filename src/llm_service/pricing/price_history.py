"""From when on a price holds that the data give without a date, and what an alias means that moves on.

Today's price is no price of last year's call. A price without a date holds from `corrections.DATA_BEGAN` on: what
changed after that day is in the data by date. OpenAI and Anthropic keep the price of a model whose name has its date,
so that it holds from that date on. An alias that moves on (`gemini-flash-latest`) holds from the newest day on that the
data know of: what it stood for before, nobody says.
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
"""Makers that keep the price of a dated model, but for `corrections.CHANGED`."""
_DATE: Final = re.compile(r"[-@](20[2-4]\d)-?(0[1-9]|1[0-2])-?(0[1-9]|[12]\d|3[01])(?=$|:)")
_LATEST: Final = re.compile(r"[-@:]latest$")


def is_moving(name: str, names: Iterable[str]) -> bool:
    """Whether a name moves on to other models: `-latest` behind what is no name of the entry by itself."""
    return _LATEST.search(name) is not None and _LATEST.sub("", name) not in names


def since(timeline: Timeline, one: Candidate, model: Any, names: set[str], newest_us: int) -> Timeline:
    """The prices from when on they are known to hold for this name.

    Args:
        timeline: of the entry.
        one: the name that was asked for.
        model: the entry, None where the prices are ours.
        names: that the entry spells out.
        newest_us: the newest day that the data know of, microseconds since 1970.
    """
    entry: Any = model
    dated: Sequence[tuple[int, Any]] = (
        starts(entry.prices) if hasattr(getattr(entry, "prices", None), "__iter__") else []
    )
    if is_moving(one.name, names) and not (dated and _LATEST.search(entry.id)):  # an alias with a history of its own
        return timeline.since(newest_us, "the name moves on to other models, and what it meant then is not known")
    began = day_start_us(DATA_BEGAN)
    if any(ALWAYS[0] < start < began for start, _ in dated[1:]):  # an hour of the day is no date
        return timeline  # somebody looked up what was before the data began
    if one.provider in _KEPT and model is not None and (one.provider, model.id) not in CHANGED:
        began = min(began, _date_us(one.name))
    return timeline.since(began, f"the price has no date, and the data tell of none before {DATA_BEGAN}")


def starts(prices: Any) -> Sequence[tuple[int, Any]]:
    """The prices of an entry and from when on they hold; those by parts of the day hold always."""
    if not hasattr(prices, "__iter__"):
        return [(ALWAYS[0], prices)]
    found = [(getattr(one.constraint, "start_date", None), one.prices) for one in prices]
    return [(ALWAYS[0] if day is None else day_start_us(day), price) for day, price in found]


def newest_day_us(models: Iterable[Any]) -> int:
    """The newest day, not after today, from which the data have a price: then at the earliest they were made."""
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
