"""A budget table with a damaged row: loggers open, records land, limits refuse rather than let pass, doctor recounts."""

import sqlite3
import subprocess
import sys
import threading
from contextlib import closing, suppress
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from tests.model.ledger import check_books, policies

from llm_service.budgets.windows import Window
from llm_service.cli.main import main
from llm_service.config.policies_schema import LimitConfig, PoliciesConfig, PolicyConfig
from llm_service.errors import BudgetError, BudgetExceeded, BudgetUnreadableError
from llm_service.telemetry import AsyncTelemetryLogger, InvocationRecord, TelemetryLogger
from llm_service.telemetry.maintenance.doctor import examine
from llm_service.telemetry.maintenance.repair import repair
from llm_service.telemetry.stores.sqlite.budget_statements import AMOUNTS, UNPLACED
from llm_service.telemetry.stores.sqlite.migrations import schema_statements
from llm_service.telemetry.writer.events import Event, EventKind

pytestmark = pytest.mark.slow

LIMITED = policies(
    default={
        "daily_budget_usd": 10,
        "total_budget_usd": 100,
        "limits": [{"window": "1h", "usd": 9}],
        "limit": {"type": "hard", "threshold_percent": [1]},
    }
)
VALUES = {
    "bytes that are no UTF-8": "CAST(x'e1676572' AS TEXT)",
    "text": "'x'",
    "blob": "x'00ff'",
    "number": "-1.5",
    "huge": "9223372036854775807",
}


def _columns() -> list[tuple[str, str]]:
    """Every column of every budget table, and those of a record that a counter reads."""
    with closing(sqlite3.connect(":memory:")) as connection:
        for statement in schema_statements():
            connection.execute(statement)
        names = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        budgets = [name for name in names if name.startswith("budget_")]
        assert len(budgets) >= 4
        return [
            (table, row[1])
            for table in [*budgets, "invocations"]
            for row in connection.execute(f"PRAGMA table_info({table})")
            if row[1] != "id"
        ]


def damage(db: Path, table: str, column: str, value: str) -> None:
    """Write what no writer of ours writes."""
    with closing(sqlite3.connect(db, isolation_level=None)) as connection, suppress(sqlite3.IntegrityError):
        connection.execute(f"UPDATE {table} SET {column} = {value}")


def finding(db: Path, name: str) -> Any:
    """What doctor says."""
    return next((one for one in examine(db) if one.name == name), None)


@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize(("table", "column"), _columns())
def test_a_damaged_value_costs_no_record_and_lets_nothing_pass(db: Path, table: str, column: str, value: str) -> None:
    """Any column of any budget table, and of the records that a new counter reads."""
    with TelemetryLogger(db, policies=LIMITED) as logger:
        logger.log_invocation(InvocationRecord(agent_name="a", cost_usd=5))
        logger.budgets.reserve(usd=0.25, agent_name="a")
        with pytest.raises(BudgetExceeded):
            logger.budgets.reserve(usd=4.5)
    damage(db, table, column, VALUES[value])
    other = policies(default=10, new={"scope": {"agent": "*"}, "daily_budget_usd": 10})
    with TelemetryLogger(db, policies=other, commit_timeout=3) as logger:
        assert logger.log_invocation(InvocationRecord(agent_name="a", cost_usd=0.125))
    with TelemetryLogger(db, policies=LIMITED, commit_timeout=3) as logger:
        assert logger.log_invocation(InvocationRecord(agent_name="a", cost_usd=0.125))
        if table == "budget_windows":  # what is known of it, or that it cannot be known, refuses
            with pytest.raises(BudgetError):
                logger.budgets.reserve(usd=4.5)
        with suppress(BudgetError):
            logger.budgets.reserve(usd=0.125).settle(InvocationRecord(agent_name="a", cost_usd=0.125))
        logger.budgets.expire()
        logger.budgets.holds()
        logger.budgets.status()
        assert logger.log_invocation(InvocationRecord(agent_name="a", cost_usd=0.25))
    if table.startswith("budget_"):
        examine(db)
        repair(db)
        assert finding(db, "budgets").exit_code == 0
        with TelemetryLogger(db, policies=LIMITED) as logger:
            logger.budgets.reserve(usd=0.125).release()


@pytest.mark.parametrize("column", AMOUNTS)
def test_a_window_that_cannot_be_added_up_refuses_with_the_remedy(db: Path, column: str) -> None:
    """Until doctor recounts it."""
    with TelemetryLogger(db, policies=LIMITED) as logger:
        logger.log_invocation(InvocationRecord(cost_usd=0.5))
        damage(db, "budget_windows", column, "'x'")
        with pytest.raises(BudgetUnreadableError, match="doctor --repair"):
            logger.budgets.reserve(usd=0.1)
        assert all(row["damaged"] and not row["fits"] for row in logger.budgets.status())
        assert finding(db, "budgets").exit_code
        repair(db)
        logger.budgets.reserve(usd=0.1).release()
        assert not any(row["damaged"] for row in logger.budgets.status())
    check_books(db)


@pytest.mark.parametrize("column", AMOUNTS)
def test_the_commands_say_that_a_limit_is_damaged(
    db: Path, column: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And never that nothing was spent of it."""
    file = tmp_path / "policies.yaml"
    file.write_text("policies: {default: {daily_budget_usd: 5}}")
    with TelemetryLogger(db, policies=file) as logger:
        logger.log_invocation(InvocationRecord(cost_usd=4))
    damage(db, "budget_windows", column, "'x'")
    assert main(["budgets", "--db", str(db), "--policies", str(file)]) == 0
    table = capsys.readouterr().out
    assert "1 damaged: " in table
    assert f"llm-telemetry doctor --db {db} names it, and with --repair counts it anew" in table
    assert "0.0%" not in table
    assert main(["budgets", "check", "--estimate", "0.1", "--db", str(db), "--policies", str(file)]) == 3
    assert "is damaged; llm-telemetry doctor" in capsys.readouterr().out


def add_counter(db: Path, window: str, zone: str = "UTC", scope: str = "{}") -> None:
    """What a newer release, or a process with more time zones, has added."""
    with closing(sqlite3.connect(db, isolation_level=None)) as connection:
        connection.execute(
            "INSERT INTO budget_counters (scope, per, window, timezone, counted_since, named_at) "
            "VALUES (?, '[]', ?, ?, '2026-01-01 00:00:00.000000Z', '2099-01-01 00:00:00.000000Z')",
            (scope, window, zone),
        )


@pytest.mark.parametrize("face", [TelemetryLogger, AsyncTelemetryLogger])
@pytest.mark.parametrize(
    "definition",
    [("quarter", "UTC"), ("day", "Mars/Olympus"), ("day", "UTC", "[oops"), ("day", "UTC", '{"planet": ["*"]}')],
)
async def test_a_counter_that_cannot_be_evaluated_here_costs_no_record(
    db: Path, face: Any, definition: tuple[str, ...]
) -> None:
    """What is spent counts in it as unknown, it is told once, and doctor names it."""
    TelemetryLogger(db).close()
    add_counter(db, *definition)
    told: list[Event] = []
    logger = face(db, on_event=told.append)
    for _ in range(3):
        assert logger.log_invocation_nowait(InvocationRecord(cost_usd=0.5, total_tokens=7))
    if face is AsyncTelemetryLogger:
        await logger.aclose()
    else:
        logger.close()
    assert logger.stats().ledger.written == 3
    for thread in threading.enumerate():  # the first event of a process takes longer than a close waits for it
        if thread.name == "llm-telemetry-events":
            thread.join(10)
    assert [event.kind for event in told] == [EventKind.BUDGET_COUNTER_UNKNOWN]
    with closing(sqlite3.connect(db)) as connection:
        rows = connection.execute("SELECT window_start, unknown_nanos, unknown_calls FROM budget_windows").fetchall()
    assert rows in ([(UNPLACED, 1_500_000_000, 3)], [])
    assert bool(rows) is (definition[-1] in {"UTC", "Mars/Olympus"})
    assert finding(db, "budget_counters").exit_code


def test_what_a_process_without_time_zones_writes_counts_until_it_is_recounted(db: Path) -> None:
    """It cannot tell the day: so it counts in every day, until doctor has placed it."""
    berlin = policies(default={"daily_budget_usd": 1, "timezone": "Europe/Berlin"})
    code = (
        "import sys; sys.modules['tzdata'] = None\n"
        "from llm_service.telemetry import InvocationRecord, TelemetryLogger\n"
        "with TelemetryLogger(sys.argv[1]) as logger:\n"
        "    assert logger.log_invocation(InvocationRecord(cost_usd=0.75))\n"
    )
    with TelemetryLogger(db, policies=berlin) as logger:
        subprocess.run(
            [sys.executable, "-c", code, str(db)],
            check=True,
            env={"PYTHONTZPATH": "", "HOME": str(db.parent)},
            timeout=60,
        )
        with pytest.raises(BudgetExceeded, match=r"0\.75 unknown"):
            logger.budgets.reserve(usd=0.5)
        assert "unknown" in finding(db, "budgets").seen
        repair(db)
        with pytest.raises(BudgetExceeded, match=r"0\.75 spent"):
            logger.budgets.reserve(usd=0.5)
        logger.budgets.reserve(usd=0.25)
    check_books(db)


@pytest.mark.parametrize("ahead", [timedelta(hours=4), timedelta(days=2), timedelta(days=20_000)])
@pytest.mark.parametrize("window", ["5m", "1h", "24h", "7d"])
def test_a_record_that_is_dated_ahead_counts_from_its_date_on(db: Path, window: str, ahead: timedelta) -> None:
    """A skewed clock, or test data, does not stop anybody until then; and doctor says so."""
    limited = policies(default={"limits": [{"window": window, "usd": 10}]})
    with TelemetryLogger(db, policies=limited) as logger:
        logger.log_invocation(InvocationRecord(cost_usd=9.5, timestamp=datetime.now(UTC) + ahead))
        logger.budgets.reserve(usd=1).release()
        (row,) = logger.budgets.status()
        assert (row["spent"], row["fits"]) == (0, True)
    assert finding(db, "dated_ahead").exit_code


def test_nothing_fits_where_a_limit_is_reached(db: Path) -> None:
    """Not even the least: as the next call will be told."""
    with TelemetryLogger(db, policies=policies(default=1)) as logger:
        logger.log_invocation(InvocationRecord(cost_usd=0.75))
        assert [row["fits"] for row in logger.budgets.status()] == [True]
        logger.log_invocation(InvocationRecord(cost_usd=0.25))
        assert [(row["fits"], row["left"]) for row in logger.budgets.status()] == [(False, 0)]
        assert [row["fits"] for row in logger.budgets.check(usd=0)] == [False]
        with pytest.raises(BudgetExceeded, match=r"\$0 more does not fit"):
            logger.budgets.reserve(usd=0)


def test_a_limit_of_nothing_is_a_ban(db: Path) -> None:
    """Of tokens, too, and for a call that asks for none."""
    with TelemetryLogger(db, policies=policies(default=0)) as logger:
        with pytest.raises(BudgetExceeded), logger.invocation("a", budget=0):
            pass
        assert logger.get_invocations() == []
    limited = policies(default={"limits": [{"window": "day", "tokens": 0}]})
    with TelemetryLogger(db, policies=limited) as logger, pytest.raises(BudgetExceeded, match="0 tokens more"):
        logger.budgets.reserve(usd=0, tokens=0)


@pytest.mark.parametrize(("window", "zone"), [("day", "Mars/Olympus"), ("quarter", "UTC")])
def test_a_policy_whose_windows_cannot_be_told_is_refused(db: Path, window: str, zone: str) -> None:
    """By a schema that skipped its checks, or came from another machine: never another window in its place."""
    limit = LimitConfig.model_construct(window=window, usd=Decimal(1), tokens=None, calls=None)
    policy = PolicyConfig.model_construct(**(PolicyConfig().model_dump() | {"limits": (limit,), "timezone": zone}))
    policy.__dict__["limit"] = PolicyConfig().limit
    with pytest.raises(ValueError, match=f"{window}|{zone}"):
        TelemetryLogger(db, policies=PoliciesConfig.model_construct(policies={"default": policy}))
    with pytest.raises(ValueError, match="no window"):
        Window("quarter", 0).span(0, "UTC")
