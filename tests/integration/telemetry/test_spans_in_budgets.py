"""A limit in calls counts calls: a span takes none, wherever budgets count, recount, reserve or look."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tests.model.ledger import check_books, holds, policies
from tests.slices import quick

from llm_service.budgets.policies import Policies, compiled
from llm_service.errors import BudgetExceeded, UnknownPriceError
from llm_service.telemetry import AsyncTelemetryLogger, InvocationRecord, TelemetryLogger
from llm_service.telemetry.maintenance.doctor import examine
from llm_service.telemetry.maintenance.repair import repair
from llm_service.telemetry.maintenance.salvage import salvage
from llm_service.telemetry.queries.budget_status import read_status
from llm_service.telemetry.record.operations import SPANS

OPERATIONS = [*sorted(SPANS), None]
LIMITS = policies(day={"scope": {"agent": "*"}, "limits": [{"window": "day", "usd": 10, "calls": 9, "tokens": 9000}]})
HELD = policies(day={"scope": {"agent": "*"}, "limits": [{"window": "day", "usd": 10, "calls": 3}]})
NO_LIMITS = policies(other={"scope": {"agent": "nobody"}, "daily_budget_usd": 1})
ROWS: list[dict[str, Any]] = [{}, {"cost_usd": 0.5}, {"total_tokens": 7}, {"cost_usd": 0}]
"""What a record says beside its names: nothing, a cost, tokens, no cost."""


@pytest.fixture
def db(tmp_path: Path) -> Path:
    """Where the database goes."""
    return tmp_path / "telemetry.db"


def records(operation: str | None) -> list[InvocationRecord]:
    """One of each of `ROWS`."""
    return [InvocationRecord(agent_name="a", operation=operation, **row) for row in ROWS]


def day(logger: TelemetryLogger, metric: str = "usd") -> tuple[float, int, int]:
    """What is spent, calls, and those without a price, of the limit of this metric."""
    (found,) = [row for row in logger.budgets.status() if row["metric"] == metric and row["window"] == "day"]
    return found["spent"], found["calls"], found["unpriced_calls"]


def by_each(db: Path, operation: str | None) -> None:
    """Committed one by one."""
    with TelemetryLogger(db, policies=LIMITS, models=False) as logger:
        for record in records(operation):
            logger.log_invocation(record)


def by_batch(db: Path, operation: str | None) -> None:
    """Committed together, through the crash journal."""
    with TelemetryLogger(db, policies=LIMITS, models=False, journal=True) as logger:
        for record in records(operation):
            assert logger.log_invocation_nowait(record)


def by_blocks(db: Path, operation: str | None) -> None:
    """Blocks within each other."""
    with TelemetryLogger(db, policies=LIMITS, models=False) as logger:
        said: list[dict[str, Any]] = [{"agent_name": "a", "operation": operation or "chat", **row} for row in ROWS]
        with logger.invocation(**said[0]), logger.invocation(**said[1]):
            with logger.invocation(**said[2]):
                pass
            with logger.invocation(**said[3]):
                pass


def by_holds(db: Path, operation: str | None) -> None:
    """Each settles a reservation."""
    with TelemetryLogger(db, policies=LIMITS, models=False) as logger:
        for record in records(operation):
            hold = logger.budgets.reserve(usd=0, tokens=0, agent_name="a")
            hold.settle(record)


def by_a_new_counter(db: Path, operation: str | None) -> None:
    """The limit is new to a file that has the records."""
    with TelemetryLogger(db, policies=False, models=False) as logger:
        for record in records(operation):
            logger.log_invocation(record)


def by_dead_letters(db: Path, operation: str | None) -> None:
    """Salvaged into a file that counts them anew."""
    old = db.with_name("old.db")
    by_each(old, operation)
    salvage(old, db)


WAYS = [by_each, by_batch, by_blocks, by_holds, by_a_new_counter, by_dead_letters]


@pytest.mark.parametrize("operation", quick(OPERATIONS, 0, len(SPANS)))
@pytest.mark.parametrize("way", WAYS)
def test_only_calls_are_counted_as_calls(
    db: Path, way: Callable[[Path, str | None], None], operation: str | None
) -> None:
    """Money and tokens that a span tells itself are spent; it is no call, and none of unknown cost."""
    way(db, operation)
    calls, unpriced = (0, 0) if operation else (4, 2)
    with TelemetryLogger(db, policies=NO_LIMITS, models=False) as logger:
        logger.flush()
    with TelemetryLogger(db, policies=LIMITS, models=False) as logger:
        assert day(logger) == (0.5, calls, unpriced)
        assert day(logger, "tokens")[0] == 7
        assert day(logger, "calls")[0] == calls
    check_books(db)
    (found,) = [one for one in examine(db) if one.check == "budgets"]
    assert (found.exit_code, "spans" in found.seen) == (0, False)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_limit_that_the_file_does_not_know_shows_the_same(db: Path, operation: str | None) -> None:
    """`budgets` counts it from the records."""
    by_a_new_counter(db, operation)
    with closing(sqlite3.connect(db)) as connection:
        rows = read_status(
            lambda query: connection.execute(*query).fetchall(), Policies(compiled(LIMITS)), datetime.now(UTC)
        )
    found = {row["metric"]: (row["spent"], row["calls"], row["unpriced_calls"]) for row in rows}
    calls, unpriced = (0, 0) if operation else (4, 2)
    assert found == {"usd": (0.5, calls, unpriced), "tokens": (7, calls, unpriced), "calls": (calls, calls, unpriced)}


def test_a_span_that_tells_nothing_makes_no_row_of_a_counter(db: Path) -> None:
    """An agent that holds calls of other names is no subject of a budget."""
    each = policies(each={"scope": {"agent": "*"}, "per": "agent", "daily_budget_usd": 1})
    with TelemetryLogger(db, policies=each, models=False) as logger:
        with logger.invocation("boss", operation="agent"), logger.invocation("worker", model_name="m", cost_usd=0.25):
            pass
        assert [row["subject"] for row in logger.budgets.status()] == [["worker"]]
    check_books(db)


@pytest.mark.parametrize("operation", quick(sorted(SPANS), 0))
def test_a_block_of_a_span_holds_money_and_no_call(db: Path, operation: str) -> None:
    """Where the calls are used up it is let through, where money or tokens are it is not."""
    with TelemetryLogger(db, policies=HELD, models=False) as logger:
        with logger.invocation("a", operation=operation, budget=4) as block:
            held = holds(db)
            assert [(row[2], row[4]) for row in held] == [(4_000_000_000, 0)]
            for _ in range(3):
                logger.log_invocation(InvocationRecord(agent_name="a", cost_usd=1, total_tokens=5))
            with pytest.raises(BudgetExceeded, match="calls"), logger.invocation("a", budget=0.01):
                pass
            with logger.invocation("a", operation=operation, budget=2) as inner:  # 3 + 4 + 2 of 10
                assert not inner.hold.ended
                inner.record_usage(cost_usd=2)
            with (
                pytest.raises(BudgetExceeded, match=r"\$2 more"),
                logger.invocation("a", operation=operation, budget=2),
            ):
                pass
            block.record_usage(cost_usd=3)
        assert day(logger) == (8, 3, 0)
        assert holds(db) == []
    check_books(db)


@pytest.mark.parametrize("operation", quick(sorted(SPANS), 0))
async def test_what_a_span_held_stays_where_nobody_tells_its_cost(db: Path, operation: str) -> None:
    """It fails closed, as of a call; also on the async logger."""
    async with AsyncTelemetryLogger(db, policies=HELD, models=False) as telemetry:
        async with telemetry.invocation("a", operation=operation, budget=4):
            pass
        found = {row["metric"]: row for row in await telemetry.budgets.status()}
        assert [(row["unknown"], row["reserved"]) for row in found.values()] == [(4, 0), (0, 0)]
        (hold,) = await telemetry.budgets.holds()
        assert (hold["recorded"], hold["calls"]) == (True, 0)
        assert found["usd"]["unpriced_calls"] == 0
        await telemetry.budgets.reconcile(hold["hold_id"], 1)
        assert await telemetry.budgets.holds() == []
        assert [(row["spent"], row["calls"]) for row in await telemetry.budgets.status()] == [(1, 0), (0, 0)]
    check_books(db)


def test_a_span_without_a_known_price_fails_closed(db: Path) -> None:
    """As a call of unknown price does."""
    strict = policies(day={"scope": {"agent": "*"}, "daily_budget_usd": 1, "unknown_price": "block"})
    with (
        TelemetryLogger(db, policies=strict, models=False) as logger,
        pytest.raises(UnknownPriceError),
        logger.invocation("a", operation="tool", budget=True),
    ):
        raise AssertionError


@pytest.mark.parametrize("operation", ["tool", None])
def test_a_hold_whose_record_never_came_is_reconciled_as_what_it_was(db: Path, operation: str | None) -> None:
    """A span's as none of the calls, a call's as one."""
    with TelemetryLogger(db, policies=HELD, models=False) as logger:
        said = {} if operation is None else {"operation": operation}
        block = logger.invocation("a", budget=4, **said)
        block.__enter__()
        block.hold.give_up()
        (hold,) = logger.budgets.holds()
        assert (hold["state"], hold["recorded"], hold["calls"]) == ("unknown", False, int(operation is None))
        logger.budgets.reconcile(hold["hold_id"], 1.5)
        assert logger.budgets.holds() == []
        assert day(logger) == (1.5, int(operation is None), 0)
        (row,) = logger.get_invocations()
        assert row["operation"] == (None if operation is None else "chain")
        check_books(db)
        block.__exit__(None, None, None)


def test_a_span_whose_cost_changes_is_no_call_without_a_price(db: Path) -> None:
    """Neither before nor after."""
    with TelemetryLogger(db, policies=HELD, models=False) as logger:
        with logger.invocation("a", operation="agent", budget=1, total_tokens=5):
            pass
        with logger.invocation("a", operation="chat", budget=1, total_tokens=5):
            pass
        assert day(logger) == (0, 1, 1)
        for hold in logger.budgets.holds():
            logger.budgets.reconcile(hold["hold_id"], 0.25)
        assert day(logger) == (0.5, 1, 0)
    check_books(db)


@pytest.mark.parametrize(
    ("calls", "unpriced", "healthy"), [(8, 4, True), (5, 2, True), (4, 3, True), (9, 2, False), (3, 2, False)]
)
def test_a_file_that_counted_spans_is_told_of_and_recounted(db: Path, calls: int, unpriced: int, healthy: bool) -> None:
    """Doctor finds nothing wrong where spans explain it, whether all were counted or some; else it does."""
    with TelemetryLogger(db, policies=LIMITS, models=False) as logger:
        for record in (*records("tool"), *records(None)):
            logger.log_invocation(record)
    check_books(db)
    with closing(sqlite3.connect(db)) as connection:
        connection.execute("UPDATE budget_windows SET spent_calls = ?, unpriced_calls = ?", (calls, unpriced))
        connection.commit()
    (found,) = [one for one in examine(db) if one.check == "budgets"]
    assert (found.exit_code == 0) is healthy
    assert ("count spans as calls" in found.seen) is healthy
    assert [(one.name, one.done) for one in repair(db)] == [("budgets", True)]
    check_books(db)
    (found,) = [one for one in examine(db) if one.check == "budgets"]
    assert (found.exit_code, "spans" in found.seen) == (0, False)


@pytest.mark.slow
def test_the_journal_of_a_killed_process_counts_no_span(db: Path, run_script: Callable[..., Any]) -> None:
    """It is replayed into a file that has the counter."""
    TelemetryLogger(db, policies=LIMITS, models=False).close()
    ended = run_script(
        "T = TelemetryLogger(PATH, journal=True, models=False, policies=False, flush_interval=3600)\n"
        "for operation in ('tool', 'chain', 'chat'):\n"
        "    assert T.log_invocation_nowait(InvocationRecord(agent_name='a', operation=operation))\n"
        "os._exit(7)",
        db,
    )
    assert ended.code == 7, ended.err
    with TelemetryLogger(db, policies=LIMITS, models=False) as logger:
        assert logger.stats().replayed == 3
        assert day(logger) == (0, 1, 1)
    check_books(db)
