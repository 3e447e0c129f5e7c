"""Which prices hold when: dates, parts of a day, and spans in which nothing changes."""

from datetime import UTC, date, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_service.pricing.rates import Prices, Rates
from llm_service.pricing.timeline import ALWAYS, Daily, Period, Timeline, day_start_us

HOUR_US = 3_600_000_000


def cheap(usd: int) -> Rates:
    """Rates of one price."""
    return Rates.of("test", f"at {usd}", None, [Prices(0, Decimal(usd), Decimal(usd))])


def test_a_later_period_takes_precedence_and_the_first_holds_where_none_does() -> None:
    """As genai-prices lists its prices, and models.yaml its own."""
    first, second, unknown = Period(cheap(1)), Period(cheap(2), from_us=100), Period(None, from_us=200)
    timeline = Timeline((first, second, unknown))
    assert [timeline.at(at) for at in (0, 99, 100, 199, 200)] == [first.rates] * 2 + [second.rates] * 2 + [None]
    assert Timeline((second,)).at(5) is second.rates


@pytest.mark.parametrize(
    ("daily", "inside", "outside"),
    [
        (Daily(1 * HOUR_US, 4 * HOUR_US), ["01:00:00", "03:59:59"], ["00:59:59", "04:00:00"]),
        (Daily(22 * HOUR_US, 2 * HOUR_US), ["22:00:00", "23:59:59", "00:00:00", "01:59:59"], ["02:00:00", "21:59:59"]),
    ],
    ids=["by day", "past midnight"],
)
def test_a_part_of_the_day_is_of_utc(daily: Daily, inside: list[str], outside: list[str]) -> None:
    """From its start to before its end, also past midnight."""

    def us(time: str) -> int:
        return int(datetime.fromisoformat(f"2026-03-04T{time}+00:00").timestamp()) * 1_000_000

    assert all(daily.holds(us(time)) for time in inside)
    assert not any(daily.holds(us(time)) for time in outside)


def test_a_day_begins_at_midnight_utc() -> None:
    """Prices change at 00:00 UTC."""
    assert day_start_us(date(2025, 6, 10)) == int(datetime(2025, 6, 10, tzinfo=UTC).timestamp()) * 1_000_000


moments = st.integers(min_value=0, max_value=20 * 24 * HOUR_US)
times = st.integers(min_value=0, max_value=24 * HOUR_US - 1)
periods = st.lists(
    st.builds(
        lambda at, start: Period(cheap(at % 7 + 1), from_us=start),
        st.integers(0, 10),
        st.none() | moments,
    )
    | st.builds(lambda start, end: Period(cheap(9), daily=Daily(start, end)), times, times),
    min_size=1,
    max_size=4,
)


@given(periods, moments, st.floats(0, 1))
def test_rates_are_the_same_all_through_their_span(given_periods: list[Period], at: int, share: float) -> None:
    """What a look-up remembers is true for as long as it says."""
    timeline = Timeline(tuple(given_periods))
    start, end = timeline.span(at)
    assert start <= at < end
    low, high = max(start, 0), min(end, 30 * 24 * HOUR_US)
    for other in (low, high - 1, low + int((high - 1 - low) * share)):
        assert timeline.at(other) is timeline.at(at)


def test_prices_without_dates_hold_always() -> None:
    """One look-up is enough for ever."""
    assert Timeline((Period(cheap(1)),)).span(1_700_000_000_000_000) == ALWAYS
