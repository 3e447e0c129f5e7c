"""Whether a call fits, to the nano-dollar; which thresholds were reached; and what is said of it."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_service.budgets.alerts import BudgetEvent
from llm_service.budgets.limits import (
    METRICS,
    Amounts,
    Limit,
    Metric,
    Standing,
    Totals,
    crossed,
    shown_amount,
    standing,
)
from llm_service.budgets.scopes import counter_key

DAY = counter_key({}, (), "day", "UTC")
WEEK = counter_key({}, ("agent",), "week", "UTC")


def limit(amount: int, metric: Metric = "usd") -> Limit:
    """Of a day."""
    return Limit("default", metric, amount, DAY)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(("asked", "fits"), [(39, True), (40, True), (41, False)])
def test_a_limit_may_be_reached_and_not_passed(metric: Metric, asked: int, fits: bool) -> None:
    """Spent, reserved and unknown count alike; the other metrics do not count."""
    amounts = {name: Amounts(**{field: value}) for name, value, field in [
        ("spent", 30, {"usd": "nanos"}.get(metric, metric)),
        ("reserved", 20, {"usd": "nanos"}.get(metric, metric)),
        ("unknown", 10, {"usd": "nanos"}.get(metric, metric)),
    ]}  # fmt: skip
    one = Standing(limit(100, metric), Totals(**amounts, unpriced_calls=1000), "[]", asked, None)
    assert one.fits is fits
    assert one.left == 40 - asked
    assert all(one.totals.committed(other) == (60 if other == metric else 0) for other in METRICS)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(("used", "amount", "fits"), [(99, 100, True), (100, 100, False), (0, 0, False), (0, 1, True)])
def test_where_a_limit_is_reached_nothing_more_fits(metric: Metric, used: int, amount: int, fits: bool) -> None:
    """Not even what asks for nothing, unless it is a span, which is no call, and the limit one in calls."""
    spent = Amounts(**{{"usd": "nanos"}.get(metric, metric): used})
    assert Standing(limit(amount, metric), Totals(spent=spent), "[]", 1, None).fits is fits
    assert Standing(limit(amount, metric), Totals(spent=spent), "[]", 0, None).fits is (fits or metric == "calls")


def test_each_limit_stands_beside_the_window_of_its_counter() -> None:
    """Two limits may share one."""
    limits = [limit(5), limit(7, "calls"), Limit("team", "tokens", 9, WEEK)]
    places = {DAY: ("[]", Totals(spent=Amounts(1, 2, 3)), 99), WEEK: ('["a"]', Totals(), None)}
    found = standing(limits, Amounts(10, 20, 1), places)
    assert [(one.limit.policy, one.asked, one.subject, one.resets_at_us) for one in found] == [
        ("default", 10, "[]", 99), ("default", 1, "[]", 99), ("team", 20, '["a"]', None)
    ]  # fmt: skip


@given(st.lists(st.integers(0, 10**15), min_size=6, max_size=6))
def test_amounts_add_up(numbers: list[int]) -> None:
    """What is added can be taken away."""
    one, other = Amounts(*numbers[:3]), Amounts(*numbers[3:])
    assert one.plus(other).minus(other) == one
    assert [one.plus(other).of(metric) for metric in METRICS] == [numbers[at] + numbers[at + 3] for at in range(3)]


@pytest.mark.parametrize(
    ("used", "reached"),
    [
        (0, []),
        (49, []),
        (50, [50]),
        (79, [50]),
        (80, [50, 80]),
        (99, [50, 80]),
        (100, [50, 80, 100]),
        (500, [50, 80, 100]),
    ],
)
def test_a_threshold_is_reached_exactly(used: int, reached: list[int]) -> None:
    """In whole numbers: no share of a cent is lost to floats."""
    assert crossed((50, 80, 100), used, 100) == reached
    assert crossed((50, 80, 100), used * 10**16 + 1, 100 * 10**16) == reached
    assert crossed((50, 80, 100), used * 10**16 - 1, 100 * 10**16) == [p for p in reached if p != used]


def test_a_limit_of_nothing_is_reached_from_the_beginning() -> None:
    """Division by it is not tried."""
    assert crossed((1, 100), 0, 0) == [1, 100]


def test_amounts_are_shown_exactly() -> None:
    """USD as a Decimal, the rest as it is."""
    assert shown_amount("usd", 123_456_789_012) == Decimal("123.456789012")
    assert (shown_amount("tokens", 12), shown_amount("calls", 3)) == (12, 3)


@pytest.mark.parametrize(
    ("metric", "subject", "message"),
    [
        ("usd", "[]", "budget default has reached 80 % of $10 a day: $7.5 spent, $0.5 unknown"),
        ("usd", '["ada"]', "budget default of ada has reached 80 % of $10 a day: $7.5 spent, $0.5 unknown"),
        ("tokens", '["a","b"]',
         "budget default of a, b has reached 80 % of 10,000 tokens a day: 7,500 tokens spent, 500 tokens unknown"),
        ("calls", "[]", "budget default has reached 80 % of 10,000 calls a day: 7,500 calls spent, 500 calls unknown"),
    ],
)  # fmt: skip
def test_an_event_says_what_was_reached_by_whom(metric: Metric, subject: str, message: str) -> None:
    """Amounts are exact, unknown is said apart."""
    scale = 1_000_000 if metric == "usd" else 1
    most, spent, unknown, reserved = (
        Amounts(*[value * (scale if name == "usd" else 1) if name == metric else 0 for name in METRICS])
        for value in (10_000, 7_500, 500, 100)
    )
    totals = Totals(spent, reserved, unknown)
    at = datetime(2026, 11, 26, tzinfo=UTC)
    event = BudgetEvent.of(limit(most.of(metric), metric), 80, totals, subject, at)
    assert event.message == message
    assert (event.budget, event.metric, event.window, event.window_start, event.hard) == (
        "default",
        metric,
        "day",
        at,
        True,
    )
    assert event.threshold_percent == 80
    assert event.spent * 20 == event.unknown * 300 == event.limit * 15
    assert event.reserved * 100 == event.limit
