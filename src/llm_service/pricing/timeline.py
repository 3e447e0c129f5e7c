"""Prices over time: the last one in a list whose condition holds at the time of the call."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from typing import Final

from llm_service.pricing.rates import Rates

__all__ = ["ALWAYS", "DAY_US", "Daily", "Period", "Timeline", "day_start_us"]

_SECOND_US: Final = 1_000_000
DAY_US: Final = 86_400 * _SECOND_US
_FIRST_WEEKDAY: Final = 3
"""1970-01-01 was a Thursday."""
ALWAYS: Final = (-(2**63), 2**63)
"""The period of prices that never change, in microseconds since 1970."""


@dataclass(frozen=True, slots=True)
class Daily:
    """A part of each day: from `start_us` to before `end_us`, microseconds since midnight UTC; may pass midnight.

    With `weekdays` (0 is Monday), only on these days.
    """

    start_us: int
    end_us: int
    weekdays: frozenset[int] | None = None

    def holds(self, at_us: int) -> bool:
        """Whether it holds at this time (microseconds since 1970)."""
        if self.weekdays is not None and (at_us // DAY_US + _FIRST_WEEKDAY) % 7 not in self.weekdays:
            return False
        time_us = at_us % DAY_US
        if self.end_us < self.start_us:
            return time_us >= self.start_us or time_us < self.end_us
        return self.start_us <= time_us < self.end_us


@dataclass(frozen=True, slots=True)
class Period:
    """Prices and when they hold.

    Attributes:
        rates: None if the published price is not per token.
        from_us: valid from then on, microseconds since 1970; None for always.
        daily: valid only in this part of the day; None for all of it.
        why: the reason for no rates, if known.
    """

    rates: Rates | None
    from_us: int | None = None
    daily: Daily | None = None
    why: str = ""

    def holds(self, at_us: int) -> bool:
        """Whether these prices hold at this time (microseconds since 1970)."""
        return (self.from_us is None or self.from_us <= at_us) and (self.daily is None or self.daily.holds(at_us))


@dataclass(frozen=True, slots=True)
class Timeline:
    """All prices of a model over time; later ones in the list take precedence, and the first is the default.

    Attributes:
        periods: one or more.
    """

    periods: Sequence[Period]

    def at(self, at_us: int) -> Rates | None:
        """The rates at this time (microseconds since 1970); None if unknown."""
        return self.period_at(at_us).rates

    def period_at(self, at_us: int) -> Period:
        """The period at this time (microseconds since 1970)."""
        for period in reversed(self.periods):
            if period.holds(at_us):
                return period
        return self.periods[0]

    def since(self, start_us: int, why: str) -> "Timeline":
        """The same from `start_us` on; unknown before, for the reason `why`."""
        return Timeline(
            [
                Period(None, why=why),
                *(replace(one, from_us=max(one.from_us or start_us, start_us)) for one in self.periods),
            ]
        )

    def span(self, at_us: int) -> tuple[int, int]:
        """A period (start, end) in which the rates of this time certainly hold, in microseconds since 1970."""
        bounds = [*ALWAYS, *self._bounds(at_us - at_us % DAY_US)]
        return max(bound for bound in bounds if bound <= at_us), min(bound for bound in bounds if bound > at_us)

    def _bounds(self, midnight_us: int) -> Iterator[int]:
        for period in self.periods:
            if period.from_us is not None:
                yield period.from_us
            if period.daily is not None:  # of this day and its neighbours
                for day_us in (midnight_us - DAY_US, midnight_us, midnight_us + DAY_US):
                    yield day_us + period.daily.start_us
                    yield day_us + period.daily.end_us


def day_start_us(day: date) -> int:
    """00:00 UTC of a day, in microseconds since 1970."""
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) * _SECOND_US
