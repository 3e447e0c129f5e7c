"""Why a call has the price it has: every place that was looked at, in order, and what was found there."""

from dataclasses import dataclass
from typing import NamedTuple

from llm_service.pricing.rates import Rates
from llm_service.pricing.timeline import Timeline

__all__ = ["Explanation", "Finding", "PassedOver"]


class Finding(NamedTuple):
    """What one list of prices says of one name.

    Attributes:
        source: the list: the path of a `models.yaml`, or `genai-prices` and its version.
        provider: the seller that it was asked for; None where none is told.
        name: the name that it was asked for.
        entry: the entry that bears the name; None where none does.
        rule: by what the name and the entry belong together, or why the entry does not hold.
        timeline: its prices; None where there is none that holds.
    """

    source: str
    provider: str | None
    name: str
    entry: str | None
    rule: str
    timeline: Timeline | None = None


class PassedOver(NamedTuple):
    """A place without a price for the call; as a `Finding`, with the reason."""

    source: str
    provider: str | None
    name: str
    entry: str | None
    why: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """The price of a call and how it was found.

    Attributes:
        rates: None where no price is known.
        rule: why these; None without rates.
        from_us, until_us: from when until before when the same holds, microseconds since 1970.
        passed_over: what was looked at before, or in vain.
    """

    rates: Rates | None
    rule: str | None
    from_us: int
    until_us: int
    passed_over: tuple[PassedOver, ...]
