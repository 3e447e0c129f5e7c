"""Explains the price of a call: every list that was searched, in order, and its finding."""

from dataclasses import dataclass
from typing import NamedTuple

from llm_service.pricing.rates import Rates
from llm_service.pricing.timeline import Timeline

__all__ = ["Explanation", "Finding", "PassedOver"]


class Finding(NamedTuple):
    """The finding of one price list for one name.

    Attributes:
        source: the list: the path of a `models.yaml`, or `genai-prices` and its version.
        provider: the requested seller; None if unknown.
        name: the requested name.
        entry: the entry with this name; None if there is none.
        rule: why the entry matches the name, or why it does not apply.
        timeline: its prices; None if none apply.
    """

    source: str
    provider: str | None
    name: str
    entry: str | None
    rule: str
    timeline: Timeline | None = None


class PassedOver(NamedTuple):
    """A list without a price for the call: like a `Finding`, with the reason."""

    source: str
    provider: str | None
    name: str
    entry: str | None
    why: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """The price of a call, and how it was found.

    Attributes:
        rates: None if no price is known.
        rule: why these rates; None without rates.
        from_us, until_us: the result is the same from `from_us` to before `until_us`, microseconds since 1970.
        passed_over: lists that were searched before, or in vain.
    """

    rates: Rates | None
    rule: str | None
    from_us: int
    until_us: int
    passed_over: tuple[PassedOver, ...]
