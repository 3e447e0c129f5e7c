"""Thresholds: told once a window among all processes, also where the file was locked just then; soft limits only tell."""

import logging
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from tests.inside import core_of, engine_of
from tests.model.ledger import check_books, policies

from llm_service.errors import BudgetExceeded
from llm_service.telemetry import AsyncTelemetryLogger, BudgetEvent, InvocationRecord, TelemetryLogger
from llm_service.telemetry.stores.sqlite.budget_counting import BudgetBook


@pytest.fixture
def db(tmp_path: Path) -> Path:
    """Where the database goes."""
    return tmp_path / "telemetry.db"


class Told(list[BudgetEvent]):
    """What `on_budget` was called with; it is called in another thread."""

    def __init__(self) -> None:
        super().__init__()
        self.more = threading.Condition()

    def __call__(self, event: BudgetEvent) -> None:
        with self.more:
            self.append(event)
            self.more.notify_all()

    def wait(self, count: int) -> list[tuple[str, int]]:
        """Budgets and thresholds, once there are so many."""
        with self.more:
            assert self.more.wait_for(lambda: len(self) >= count, 10), self
            return sorted((event.budget, event.threshold_percent) for event in self)


@pytest.fixture
def told() -> Told:
    """An `on_budget` that remembers."""
    return Told()


Make = Callable[..., TelemetryLogger]


@pytest.fixture
def make(db: Path, told: Told) -> Iterator[Make]:
    """Loggers of one file, which all tell the same listener; closed at the end, so that everything is told."""
    opened: list[TelemetryLogger] = []

    def start(**given: Any) -> TelemetryLogger:
        opened.append(TelemetryLogger(db, policies=policies(**given), on_budget=told, retention_days=None))
        return opened[-1]

    yield start
    for logger in opened:
        logger.close()
    check_books(db)


def spend(logger: TelemetryLogger, usd: float, **fields: Any) -> None:
    """Log a record of so many USD."""
    logger.log_invocation(InvocationRecord(cost_usd=usd, total_tokens=10, **fields))


def test_each_threshold_is_told_once_a_window(make: Make, told: Told, caplog: pytest.LogCaptureFixture) -> None:
    """By a log line, too, a quiet one where there is a callback; in the order in which they are passed."""
    logger = make(default={"daily_budget_usd": 1, "limit": {"threshold_percent": [50, 80, 100]}})
    with caplog.at_level(logging.INFO, "llm_service.telemetry"):
        for usd in (0.4, 0.1, 0.1, 0.3, 0.2, 5):
            spend(logger, usd)
        assert told.wait(3) == [("default", 50), ("default", 80), ("default", 100)]
    logger.close()
    assert len(told) == 3
    assert [event.spent for event in told] == [Decimal("0.5"), Decimal("0.9"), Decimal("1.1")]
    first = told[0]
    assert (first.metric, first.window, first.limit, first.hard, first.subject) == ("usd", "day", 1, True, ())
    assert first.window_start == datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    lines = [record.getMessage() for record in caplog.records if "budget" in record.getMessage()]
    assert lines[0] == "telemetry: budget default has reached 50 % of $1 a day: $0.5 spent, $0 unknown"
    assert len(lines) == 3


def test_a_call_that_passes_several_thresholds_tells_all_of_them(make: Make, told: Told) -> None:
    """None is left out."""
    spend(make(default=1), 7)
    assert told.wait(2) == [("default", 80), ("default", 100)]


def test_two_loggers_of_one_file_tell_once(make: Make, told: Told) -> None:
    """Whoever sees it first; a third one that comes later does not repeat it."""
    one, other = make(default=1), make(default=1)
    for _ in range(6):
        spend(one, 0.1)
        spend(other, 0.1)
    make(default=1).log_invocation(InvocationRecord(cost_usd=1))
    told.wait(2)
    one.close()
    other.close()
    assert sorted(event.threshold_percent for event in told) == [80, 100]


async def test_the_async_face_tells_as_well(db: Path, told: Told) -> None:
    """Records of its writer task and settlements alike."""
    async with AsyncTelemetryLogger(db, policies=policies(default=1), on_budget=told) as logger:
        await logger.log_invocation(InvocationRecord(cost_usd=0.85), durable=True)
        async with logger.budgets.reserve(usd=0.15) as hold:
            await hold.settle(InvocationRecord(cost_usd=0.15))
    assert told.wait(2) == [("default", 80), ("default", 100)]


def test_what_is_reserved_tells_nothing_and_unknown_spend_does(make: Make, told: Told) -> None:
    """A reservation may be released; what nobody knows has probably been spent."""
    logger = make(default=1)
    hold = logger.budgets.reserve(usd=0.9)
    logger.budgets.expire()
    assert list(told) == []
    hold.give_up()
    assert told.wait(1) == [("default", 80)]
    assert (told[0].unknown, told[0].spent, told[0].reserved) == (Decimal("0.9"), 0, 0)


def test_each_subject_and_each_limit_is_told_by_itself(make: Make, told: Told) -> None:
    """With the values of `per`."""
    logger = make(
        agents={"scope": {"agent": "*"}, "per": ["agent"], "limits": [{"window": "24h", "tokens": 100, "calls": 1}],
                "limit": {"threshold_percent": 10}},
    )  # fmt: skip
    spend(logger, 0, agent_name="a")
    spend(logger, 0, agent_name="b")
    spend(logger, 0, agent_name="a")
    told.wait(4)
    logger.close()
    assert sorted((event.subject, event.metric, event.threshold_percent) for event in told) == [
        (("a",), "calls", 10), (("a",), "tokens", 10), (("b",), "calls", 10), (("b",), "tokens", 10)
    ]  # fmt: skip


def test_a_soft_limit_tells_and_lets_calls_through(make: Make, told: Told) -> None:
    """Any number of them."""
    logger = make(default={"daily_budget_usd": 1, "limit": {"type": "soft", "threshold_percent": 100}})
    for _ in range(3):
        logger.budgets.reserve(usd=1).settle(InvocationRecord(cost_usd=1))
    assert told.wait(1) == [("default", 100)]
    assert told[0].hard is False
    (row,) = logger.budgets.status()
    assert (row["fits"], row["hard"], row["used_percent"], row["left"]) == (False, False, 300.0, -2.0)


def test_of_a_soft_and_a_hard_limit_the_hard_one_refuses(make: Make) -> None:
    """Although the soft one was passed before."""
    logger = make(
        soft={"scope": {"agent": "*"}, "daily_budget_usd": 1, "limit": {"type": "soft"}},
        default={"daily_budget_usd": 2},
    )
    logger.budgets.reserve(usd=1.5)
    with pytest.raises(BudgetExceeded, match="budget default"):
        logger.budgets.reserve(usd=1)


def test_a_limit_that_only_tells_does_so_without_any_reservation(make: Make, told: Told) -> None:
    """From the first record on: nothing has to be reserved first."""
    spend(make(default={"daily_budget_usd": 1, "limit": {"type": "soft"}}), 1)
    assert told.wait(2) == [("default", 80), ("default", 100)]


def test_an_old_record_passes_no_threshold_of_a_rolling_window(make: Make, told: Told) -> None:
    """It is out of it; in a window of the calendar it is its own day's."""
    logger = make(
        default={"limits": [{"window": "24h", "usd": 1}]}, day={"scope": {"agent": "x"}, "daily_budget_usd": 1}
    )
    spend(logger, 5, timestamp=datetime.now(UTC) - timedelta(days=3))
    spend(logger, 5, timestamp=datetime.now(UTC) - timedelta(days=3), agent_name="x")
    told.wait(2)
    logger.close()
    assert {event.budget for event in told} == {"day"}
    assert {event.window_start.date() for event in told} == {(datetime.now(UTC) - timedelta(days=3)).date()}


def test_a_rolling_window_tells_again_only_after_its_length(db: Path) -> None:
    """Its key is the part of time, so long as the window, in which it was told."""
    told: list[BudgetEvent] = []
    clock = [1_795_479_377_000_000_000]
    from llm_service.budgets.policies import Policies, compiled
    from llm_service.telemetry.stores.sqlite.batch_writer import SqliteBatchWriter
    from llm_service.telemetry.stores.sqlite.budget_counting import BudgetTerms
    from llm_service.telemetry.stores.sqlite.budget_reservations import HoldKeeper
    from llm_service.telemetry.stores.sqlite.opening import open_for_writing

    limited = Policies(
        compiled(policies(default={"limits": [{"window": "1h", "usd": 1}], "limit": {"threshold_percent": 100}}))
    )
    with closing(open_for_writing(db, 0)) as connection:
        book = BudgetBook(BudgetTerms(limited, tell=told.append), clock_ns=lambda: clock[0])
        HoldKeeper(book).register(connection, limited.counters, clock[0] // 1000)
        writer = SqliteBatchWriter("w", "metadata", book=book)
        for number, minutes in enumerate((0, 10, 10, 60, 60)):
            clock[0] += minutes * 60 * 10**9
            moment = datetime.fromtimestamp(clock[0] / 1e9, UTC)
            writer.write(
                connection,
                [InvocationRecord(cost_usd=1, timestamp=moment)],
                batch_no=number,
                durable=False,
                slice_rows=9,
            )
            book.look_back()
    assert 3 <= len(told) <= 4


def test_a_threshold_that_could_not_be_told_is_told_after_the_next_transaction(
    make: Make, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process held the lock just then: also a transaction that spends nothing looks again."""
    logger = make(default=1)
    hold = logger.budgets.reserve(usd=0.9)
    real, failures = BudgetBook._is_first, [True]

    def locked(self: BudgetBook, *arguments: Any) -> bool:
        if failures:
            failures.pop()
            raise sqlite3.OperationalError("database is locked")
        return real(self, *arguments)

    monkeypatch.setattr(BudgetBook, "_is_first", locked)
    hold.settle(InvocationRecord(cost_usd=0.9))
    assert list(told) == []
    assert not failures
    with pytest.raises(BudgetExceeded):
        logger.budgets.reserve(usd=5)
    assert told.wait(1) == [("default", 80)]


def test_a_transaction_that_fails_tells_nothing_and_forgets_nothing(db: Path) -> None:
    """What an earlier one has to say is said; what was rolled back was not spent."""
    with TelemetryLogger(db, policies=policies(default=1)) as logger:
        book = engine_of(logger).executor.session._writer._book
        hold = logger.budgets.reserve(usd=0.5)
        hold.settle(InvocationRecord(cost_usd=0.5))
        place = next(iter(book.places(core_of(hold).plan.call, core_of(hold).plan.now_us)))[1]
        book._to_look_at[place] = None
        book._touched[place] = None
        book.rolled_back()
        assert (list(book._to_look_at), list(book._touched)) == ([place], [])


def test_more_thresholds_than_are_remembered_are_still_told_once(
    make: Make, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file remembers them."""
    monkeypatch.setattr("llm_service.telemetry.stores.sqlite.budget_counting._MOST_CALLS", 3)
    logger = make(users={"scope": {"agent": "*"}, "per": "user", "total_budget_usd": 1})
    for _ in range(2):
        for number in range(5):
            spend(logger, 1, user_id=f"u{number}")
    told.wait(10)
    logger.close()
    assert len(told) == 10


def test_what_the_callback_raises_reaches_nobody(db: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It is logged."""

    def broken(_event: BudgetEvent) -> None:
        raise ZeroDivisionError("oops")

    with TelemetryLogger(db, policies=policies(default=1), on_budget=broken) as logger:
        spend(logger, 1)
    assert "on_budget callback raised" in caplog.text


@pytest.mark.parametrize(("passed", "has_forecast"), [(0.001, False), (0.5, True)])
def test_a_forecast_says_what_the_window_comes_to_if_it_goes_on_so(
    make: Make, monkeypatch: pytest.MonkeyPatch, passed: float, has_forecast: bool
) -> None:
    """None where the window has hardly begun, has no end, or rolls."""
    logger = make(
        default={
            "daily_budget_usd": 10,
            "total_budget_usd": 10,
            "limits": [{"window": "24h", "usd": 10}, {"window": "day", "calls": 10}],
        }
    )
    day = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    spend(logger, 1, timestamp=day)
    logger.budgets.reserve(usd=1).give_up()

    class Clock(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> "Clock":  # type: ignore[override]
            return cls.fromtimestamp(day.timestamp() + passed * 86_400, tz)

    monkeypatch.setattr("llm_service.telemetry.client.budgets_api.datetime", Clock)
    found = {(row["window"], row["metric"]): row["forecast"] for row in logger.budgets.status()}
    assert found == {
        ("day", "usd"): pytest.approx(4) if has_forecast else None, ("day", "calls"): 4 if has_forecast else None,
        ("total", "usd"): None, ("24h", "usd"): None,
    }  # fmt: skip
