"""Counters come and go: a new one knows what is spent and held, one that nobody names is forgotten; the books balance."""

import json
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tests.model.ledger import check_books, holds, policies, totals

from llm_service.errors import BudgetExceeded
from llm_service.telemetry import InvocationRecord, TelemetryLogger
from llm_service.telemetry.upkeep.budget_books import check_budgets

USD = 1_000_000_000
TEAM = {"scope": {"agent": "team-*"}, "total_budget_usd": 10}
ALL = {
    "daily_budget_usd": 1,
    "total_budget_usd": 1,
    "limits": [{"window": "24h", "usd": 1, "tokens": 1000, "calls": 2}],
}
"""A new policy with three counters."""


@pytest.fixture
def db(tmp_path: Path) -> Path:
    """Where the database goes."""
    return tmp_path / "telemetry.db"


def opened(db: Path, **given: Any) -> TelemetryLogger:
    """A logger with these policies."""
    return TelemetryLogger(db, policies=policies(**given), retention_days=None)


def healthy(db: Path) -> bool:
    """Whether `doctor` finds the books equal to records and holds."""
    check_books(db)
    with closing(sqlite3.connect(db, isolation_level=None)) as connection:
        finding = check_budgets(connection, datetime.now(UTC), time.monotonic() + 60)
    assert finding.exit_code == 0, finding
    return finding.name == "budgets"


# What is held already


def held_elsewhere(db: Path) -> str:
    """A process that reserves 0.4 USD and 500 tokens for `team-a` under another policy, and dies; the hold's id."""
    code = """
import json, os, sys
from llm_service.config.schemas import PoliciesConfig
from llm_service.telemetry import TelemetryLogger
limited = PoliciesConfig.model_validate({"policies": {"team": json.loads(sys.argv[2])}})
logger = TelemetryLogger(sys.argv[1], policies=limited, retention_days=None)
print(logger.budgets.reserve(usd=0.4, tokens=500, agent_name="team-a", user_id="u").hold_id, flush=True)
os._exit(9)
"""
    found = subprocess.run(
        [sys.executable, "-c", code, str(db), json.dumps(TEAM)], capture_output=True, text=True, check=False
    )
    assert found.returncode == 9, found.stderr
    return found.stdout.strip()


def settle(logger: TelemetryLogger, hold_id: str) -> None:
    """Its record is logged."""
    record = InvocationRecord(invocation_id=hold_id, agent_name="team-a", cost_usd=0.25, total_tokens=300)
    assert logger.log_invocation(record) is True


def settle_without_cost(logger: TelemetryLogger, hold_id: str) -> None:
    """Its record is logged, and what it cost stays unknown."""
    logger.log_invocation(InvocationRecord(invocation_id=hold_id, agent_name="team-a", total_tokens=300))


def release(logger: TelemetryLogger, hold_id: str) -> None:
    """Nothing was sent."""
    assert logger.budgets.release(hold_id) is True


def over(logger: TelemetryLogger, hold_id: str) -> None:
    """Its lease is over."""
    with closing(sqlite3.connect(logger.db_path, isolation_level=None)) as connection:
        connection.execute("UPDATE budget_holds SET expires_at = reserved_at WHERE hold_id = ?", (hold_id,))
    logger.budgets.expire()


def reconcile(logger: TelemetryLogger, hold_id: str) -> None:
    """The bill says what it has cost."""
    over(logger, hold_id)
    assert logger.budgets.reconcile(hold_id, 0.3) is True


@pytest.mark.parametrize(
    ("end", "spent", "unknown"),
    [(settle, 0.25, 0), (settle_without_cost, 0, 0.4), (release, 0, 0), (over, 0, 0.4), (reconcile, 0.3, 0)],
)
def test_a_new_counter_counts_what_is_held_already_until_its_end(
    db: Path, end: Callable[[TelemetryLogger, str], None], spent: float, unknown: float
) -> None:
    """Of another process and another policy, in every window, whatever ends it; and nothing stays of it."""
    hold_id = held_elsewhere(db)
    with opened(db, default=ALL) as logger:
        assert healthy(db)
        assert totals(db) == dict.fromkeys(("day", "total", "24h"), (0, 4 * USD // 10, 0)) | {
            "total": (0, 8 * USD // 10, 0)  # of both policies
        }
        with pytest.raises(BudgetExceeded, match=r"\$0 spent, \$0\.4 reserved"):
            logger.budgets.reserve(usd=0.61)
        with pytest.raises(BudgetExceeded, match="500 reserved"):
            logger.budgets.reserve(usd=0, tokens=501)
        end(logger, hold_id)
        assert healthy(db)
        for window, (has_spent, has_reserved, has_unknown) in totals(db).items():
            policies_of_it = 2 if window == "total" else 1
            assert has_spent == pytest.approx(spent * USD * policies_of_it)
            assert has_reserved == 0
            assert has_unknown == pytest.approx(unknown * USD * policies_of_it)
        (left,) = [row["left"] for row in logger.budgets.status() if row["window"] == "day"]
        assert left == pytest.approx(1 - spent - unknown)
    assert healthy(db)


def test_a_new_counter_counts_what_is_of_unknown_outcome_already(db: Path) -> None:
    """It becomes known in all of them at once."""
    with opened(db, team=TEAM) as one:
        one.budgets.reserve(usd=0.4, agent_name="team-a").give_up()
        one.budgets.reserve(usd=0.2, agent_name="team-b").settle(InvocationRecord(invocation_id="late"))
        with opened(db, default=ALL) as other:
            assert totals(db)["day"] == (0, 0, 6 * USD // 10)
            assert other.budgets.reconcile("late", 0.1) is True
            assert totals(db)["day"] == (USD // 10, 0, 4 * USD // 10)
    assert healthy(db)


def test_a_new_counter_leaves_out_the_holds_of_calls_that_it_does_not_cover(db: Path) -> None:
    """By scope, by share, and by time: yesterday is over."""
    with opened(db, team=TEAM) as one:
        mine, other = (one.budgets.reserve(usd=0.1, agent_name=name, user_id="ada") for name in ("team-a", "team-b"))
        old = one.budgets.reserve(usd=0.2, agent_name="team-a")
        with closing(sqlite3.connect(db, isolation_level=None)) as connection:
            connection.execute(
                "UPDATE budget_holds SET reserved_at = '2026-01-02 03:04:05.000006Z' WHERE hold_id = ?", (old.hold_id,)
            )
        new = {"scope": {"agent": "team-a"}, "per": ["user"], "daily_budget_usd": 1, "total_budget_usd": 1}
        with opened(db, new=new):
            pass
        with closing(sqlite3.connect(db)) as connection:
            subjects = connection.execute(
                "SELECT window, subject, reserved_nanos FROM budget_windows JOIN budget_counters ON id = counter_id"
                " WHERE scope LIKE '%team-a%' ORDER BY 1, 2"
            ).fetchall()
        assert subjects == [("day", '["ada"]', USD // 10), ("total", '[""]', USD // 5), ("total", '["ada"]', USD // 10)]
        for hold in (mine, other, old):
            hold.release()
    assert healthy(db)
    assert totals(db)["total"] == (0, 0, 0)


def test_a_call_that_no_budget_covers_yet_is_held_for_one_that_may_come(db: Path) -> None:
    """Where the file counts anything at all."""
    with opened(db, team=TEAM) as one:
        hold, given_up = (one.budgets.reserve(usd=0.3, agent_name="solo") for _ in range(2))
        given_up.give_up()
        assert [row["usd"] for row in one.budgets.holds()] == [0.3, 0.3]
        with opened(db, solo={"scope": {"agent": "solo"}, "daily_budget_usd": 1}) as other:
            assert totals(db)["day"] == (0, 3 * USD // 10, 3 * USD // 10)
            with pytest.raises(BudgetExceeded):
                other.budgets.reserve(usd=0.5, agent_name="solo")
            hold.settle(InvocationRecord(cost_usd=0.2, agent_name="solo"))
            assert totals(db)["day"] == (USD // 5, 0, 3 * USD // 10)
        again = one.budgets.reserve(usd=0.1, agent_name="elsewhere")
        again.release()
        assert [row[1] for row in holds(db)] == ["unknown"]
    assert healthy(db)


def test_a_hold_whose_names_were_made_unreadable_does_not_keep_a_logger_from_opening(db: Path) -> None:
    """Nobody can say which counter it belongs to."""
    with opened(db, team=TEAM) as logger:
        logger.budgets.reserve(usd=0.3, agent_name="team-a")
        with closing(sqlite3.connect(db, isolation_level=None)) as connection:
            connection.execute("UPDATE budget_holds SET names = '[oops'")
        with opened(db, default=ALL) as other:
            other.budgets.reserve(usd=1)
        with closing(sqlite3.connect(db, isolation_level=None)) as connection:
            connection.execute("UPDATE budget_holds SET names = '[]'")
        opened(db, default={"weekly_budget_usd": 1}).close()
    assert healthy(db)
