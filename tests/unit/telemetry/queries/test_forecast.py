"""A forecast adds to what is spent what the recent days say of those that are left, and tells what it rests on."""

import math
import random
from collections.abc import Callable
from datetime import date, timedelta

import pytest

from llm_service.telemetry.queries.forecast import _T, BASIS_DAYS, DayCost, forecast

DAY = timedelta(days=1)


def priced(usd: float, calls: int = 1) -> DayCost:
    """A day of calls whose cost is known."""
    return DayCost(calls, 0, round(usd * 1e9))


def series(last: date, *usd: float) -> dict[date, DayCost]:
    """What the days up to the last one cost."""
    return {last - DAY * back: priced(cost) for back, cost in enumerate(reversed(usd))}


def test_three_days_of_different_cost_by_hand() -> None:
    """November has 30 days: 27 are left after the third, at (1 + 2 + 3) / 3 USD; t of 2 degrees is 1.886."""
    found = forecast(series(date(2026, 11, 3), 1, 2, 3), date(2026, 11, 1), date(2026, 11, 3), 1.0)
    assert found is not None
    off = 1.886 * math.sqrt(1.0 * (27 + 27**2 / 3))
    assert found["total_cost_usd"] == 6 + 27 * 2
    assert found["low_usd"] == pytest.approx(60 - off)
    assert found["high_usd"] == pytest.approx(60 + off)
    assert (found["method"], found["days_used"], found["remaining_days"]) == ("daily mean", 3, 27)
    assert (found["first_day_used"], found["last_day_used"]) == ("2026-11-01", "2026-11-03")
    assert (found["daily_cost_usd"], found["priced_share"], found["range_share"]) == (2, 1.0, 0.8)


def test_the_rest_of_today_counts_by_its_share_and_today_itself_is_no_basis() -> None:
    """A quarter of the second is over: three quarters of it and 28 days are left; today's 9 USD are spent."""
    found = forecast(series(date(2026, 11, 2), 2, 9), date(2026, 11, 1), date(2026, 11, 2), 0.25)
    assert found is not None
    assert found["remaining_days"] == 28.75
    assert found["total_cost_usd"] == 11 + 28.75 * 2
    assert (found["days_used"], found["low_usd"], found["high_usd"]) == (1, None, None)


def test_days_before_the_month_are_a_basis_and_are_not_spent() -> None:
    """On the first of a month nothing else is there."""
    found = forecast(series(date(2026, 10, 31), 3, 5), date(2026, 10, 30), date(2026, 11, 1), 0.0)
    assert found is not None
    assert found["total_cost_usd"] == 30 * 4
    assert found["low_usd"] is not None
    assert found["low_usd"] >= 0


def test_days_without_calls_cost_nothing_but_not_those_before_the_first_call() -> None:
    """One day in four cost 8 USD."""
    days = {date(2026, 11, 2): priced(8)}
    found = forecast(days, date(2026, 11, 2), date(2026, 11, 5), 1.0)
    assert found is not None
    assert (found["days_used"], found["daily_cost_usd"]) == (4, 2)


def test_whole_weeks_are_forecast_by_weekday() -> None:
    """Weekdays cost 10 USD and weekends 1; three weekdays and two days of a weekend are left: 32 USD, exactly."""
    today = date(2025, 11, 25)  # a Tuesday; Wednesday to Friday, a Saturday and a Sunday are left
    usd = [1.0 if (today - DAY * back).weekday() > 4 else 10.0 for back in reversed(range(BASIS_DAYS))]
    found = forecast(series(today, *usd), date(2025, 1, 1), today, 1.0)
    assert found is not None
    spent = sum(1.0 if date(2025, 11, day).weekday() > 4 else 10.0 for day in range(1, 26))
    assert (found["method"], found["days_used"]) == ("weekday means", 28)
    assert found["total_cost_usd"] == found["low_usd"] == found["high_usd"] == spent + 32


def test_28_days_are_needed_for_weekdays() -> None:
    """With one less it is their mean."""
    today = date(2025, 11, 25)
    found = forecast(series(today, *[1.0] * 27), date(2025, 10, 30), today, 1.0)
    assert found is not None
    assert (found["method"], found["days_used"]) == ("daily mean", 27)


def test_only_the_last_28_days_count() -> None:
    """What was spent before, in October, does not."""
    days = series(date(2026, 11, 28), *[1.0] * 28)
    found = forecast(days | {date(2026, 10, 31): priced(1_000)}, date(2026, 1, 1), date(2026, 11, 28), 1.0)
    assert found is not None
    assert found["total_cost_usd"] == 30
    assert found["first_day_used"] == "2026-11-01"


def test_the_range_never_begins_below_what_is_spent() -> None:
    """Costs are not negative."""
    found = forecast(series(date(2026, 11, 3), 0, 0, 30), date(2026, 11, 1), date(2026, 11, 3), 1.0)
    assert found is not None
    assert found["low_usd"] == 30


def test_runs_of_busy_days_widen_the_range() -> None:
    """The same costs in another order say less of the next days."""

    def width(*usd: float) -> float:
        found = forecast(series(date(2026, 11, 8), *usd), date(2026, 11, 1), date(2026, 11, 8), 1.0)
        assert found is not None
        assert found["low_usd"] is not None
        assert found["high_usd"] is not None
        return found["high_usd"] - found["low_usd"]

    alternating, in_runs = width(9, 11, 9, 11, 9, 11, 9, 11), width(9, 9, 9, 9, 11, 11, 11, 11)
    assert in_runs == pytest.approx(alternating * math.sqrt((1 + 5 / 8) / (1 - 5 / 8)))


def test_days_of_unknown_cost_are_no_basis_and_the_priced_share_is_said() -> None:
    """Two calls of four have a cost; the second day, of which nothing is known, is not a day of 0 USD."""
    days = {
        date(2026, 11, 1): DayCost(2, 1, 4_000_000_000),
        date(2026, 11, 2): DayCost(1, 1, 0),
        date(2026, 11, 3): priced(2),
    }
    found = forecast(days, date(2026, 11, 1), date(2026, 11, 3), 1.0)
    assert found is not None
    assert (found["days_used"], found["daily_cost_usd"], found["priced_share"]) == (2, 3, 0.5)


@pytest.mark.parametrize(
    ("days", "began", "today", "elapsed"),
    [
        ({}, date(2026, 11, 3), date(2026, 11, 3), 0.5),
        ({date(2026, 11, 3): priced(5)}, date(2026, 11, 3), date(2026, 11, 3), 0.9),
        ({date(2026, 11, 30): priced(5)}, date(2026, 11, 30), date(2026, 11, 30), 1.0),
        ({date(2026, 11, 3): DayCost(7, 7, 0)}, date(2026, 11, 3), date(2026, 11, 3), 1.0),
        ({date(2026, 11, 1): DayCost(7, 7, 0)}, date(2026, 11, 1), date(2026, 11, 3), 1.0),
        ({date(9999, 12, 31): priced(5)}, date(9999, 12, 31), date(9999, 12, 31), 1.0),
    ],
    ids=["no calls", "only today", "the month is over", "nothing priced", "idle days after unpriced ones", "last day"],
)
def test_there_is_none_where_nothing_can_be_said(
    days: dict[date, DayCost], began: date, today: date, elapsed: float
) -> None:
    """None, not zero."""
    assert forecast(days, began, today, elapsed) is None


def test_who_has_not_called_for_four_weeks_is_forecast_at_nothing_more() -> None:
    """That is known, and no call is left whose share of prices could be told."""
    found = forecast({date(2026, 9, 1): priced(5)}, date(2026, 9, 1), date(2026, 11, 20), 1.0)
    assert found is not None
    assert (found["total_cost_usd"], found["low_usd"], found["high_usd"], found["priced_share"]) == (0, 0, 0, None)


@pytest.mark.parametrize("freedom", range(1, 28))
def test_the_table_is_the_09_quantile_of_students_t(freedom: int) -> None:
    """By Simpson's rule on its density."""
    constant = math.gamma((freedom + 1) / 2) / math.sqrt(freedom * math.pi) / math.gamma(freedom / 2)
    steps, end = 2_000, _T[freedom - 1]
    width = end / steps
    weights = [1, *[4, 2] * (steps // 2 - 1), 4, 1]
    area = sum(
        weight * constant * (1 + (number * width) ** 2 / freedom) ** (-(freedom + 1) / 2)
        for number, weight in enumerate(weights)
    )
    assert 0.5 + area * width / 3 == pytest.approx(0.9, abs=1e-4)


def independent(rng: random.Random, _: int) -> float:
    """A lognormal cost."""
    return rng.lognormvariate(0, 0.6)


def weekly(rng: random.Random, number: int) -> float:
    """Little at weekends."""
    return rng.lognormvariate(0, 0.4) * (0.15 if number % 7 > 4 else 1)


def sparse(rng: random.Random, _: int) -> float:
    """Most days without calls."""
    return rng.lognormvariate(0, 0.5) if rng.random() < 0.4 else 0.0


@pytest.mark.parametrize("cost", [independent, weekly, sparse])
def test_the_range_holds_about_as_often_as_it_says(cost: Callable[[random.Random, int], float]) -> None:
    """400 simulated months of 31 days, asked on the 21st with 28 known days."""
    rng, held, today = random.Random(6), 0, date(2026, 10, 21)
    for _ in range(400):
        usd = [cost(rng, number) for number in range(38)]
        found = forecast(series(today, *usd[:28]), date(2026, 1, 1), today, 1.0)
        assert found is not None
        assert found["low_usd"] is not None
        assert found["high_usd"] is not None
        held += found["low_usd"] <= sum(usd[7:]) <= found["high_usd"]
    assert 0.74 <= held / 400 <= 0.88
