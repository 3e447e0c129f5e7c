"""Counters come and go: a new one knows what is spent and held, one that nobody names is forgotten; the books balance."""

import json
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.model.ledger import check_books, holds, policies, totals, windows

from llm_service.budgets.policies import Policies, compiled
from llm_service.errors import BudgetExceeded
from llm_service.telemetry import BudgetEvent, InvocationRecord, TelemetryLogger
from llm_service.telemetry.maintenance.budget_checks import check_budgets
from llm_service.telemetry.maintenance.repair import repair
from llm_service.telemetry.stores.sqlite import budget_counters
from llm_service.telemetry.stores.sqlite.budget_counters import FORGOTTEN_DAYS, forget, register
from llm_service.telemetry.stores.sqlite.budget_counting import BudgetBook
from llm_service.telemetry.stores.sqlite.opening import open_for_writing

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


@pytest.mark.costly
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
            logger.budgets.reserve(usd=0.61, tokens=0)
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
    """Nobody can say which counter it belongs to: it counts where any call does, until doctor has mended it."""
    with opened(db, team=TEAM) as logger:
        logger.budgets.reserve(usd=0.3, agent_name="team-a")
        with closing(sqlite3.connect(db, isolation_level=None)) as connection:
            connection.execute("UPDATE budget_holds SET names = '[oops'")
        with opened(db, default=ALL) as other:
            with pytest.raises(BudgetExceeded, match=r"0\.3 reserved"):
                other.budgets.reserve(usd=1, tokens=0)
            other.budgets.reserve(usd=0.7, tokens=0)
        with closing(sqlite3.connect(db, isolation_level=None)) as connection:
            connection.execute("UPDATE budget_holds SET names = '[]'")
        opened(db, default={"weekly_budget_usd": 1}).close()
    repair(db)
    assert healthy(db)


# What is long over


NOW = datetime.now(UTC)


def in_days(days: float) -> int:
    """Microseconds since 1970, so many days from now."""
    return int((NOW + timedelta(days=days)).timestamp() * 1e6)


def forgotten(db: Path, days: float) -> int:
    """Forget what is long over so many days from now; how many steps that took."""
    with closing(open_for_writing(db, in_days(0))) as connection:
        book, steps = BudgetBook(), 0
        while forget(connection, book, in_days(days)):
            steps += 1
    return steps


def name(db: Path, days: float, **given: Any) -> bool:
    """A logger with these policies opens the file so many days from now."""
    with closing(open_for_writing(db, in_days(0))) as connection:
        return register(connection, BudgetBook(), Policies(compiled(policies(**given))).counters, in_days(days))


def rows(db: Path, sql: str) -> list[tuple[Any, ...]]:
    """What the file says."""
    with closing(sqlite3.connect(db)) as connection:
        return connection.execute(sql).fetchall()


def record(cost: float | None = 0.25, days: float = 0, **fields: Any) -> InvocationRecord:
    """One of so many days ago."""
    return InvocationRecord(cost_usd=cost, timestamp=NOW - timedelta(days=days), **({"agent_name": "team-a"} | fields))


THRICE = {
    "scope": {"agent": "*"},
    "daily_budget_usd": 1,
    "total_budget_usd": 1,
    "limits": [{"window": "24h", "usd": 1}],
}


def test_windows_and_alerts_that_are_long_over_are_forgotten(db: Path) -> None:
    """Two months of days; of a rolling window as long as it is; `total` never. With what was told of each."""
    told: list[BudgetEvent] = []
    with TelemetryLogger(db, policies=policies(all=THRICE), on_budget=told.append, retention_days=None) as logger:
        for days in (0, 50, 61, 64, 90):
            logger.log_invocation(record(1, days))
    per_window = "SELECT window, count(*) FROM {} JOIN budget_counters ON id = counter_id GROUP BY 1 ORDER BY 1"
    before = [dict(rows(db, per_window.format(table))) for table in ("budget_windows", "budget_alerts")]
    assert before[0] == {"24h": 5, "day": 5, "total": 1}
    assert before[1] == {"24h": 2, "day": 6, "total": 2}  # what is older is no news
    assert forgotten(db, 0) == 1
    after = [dict(rows(db, per_window.format(table))) for table in ("budget_windows", "budget_alerts")]
    assert after == [{"24h": 1, "day": 3, "total": 1}, before[1]]
    name(db, 70, all=THRICE)
    assert forgotten(db, 70) == 1
    after = [dict(rows(db, per_window.format(table))) for table in ("budget_windows", "budget_alerts")]
    assert after == [{"total": 1}, {"total": 2}]
    assert rows(db, "SELECT spent_nanos, spent_calls FROM budget_windows") == [(5 * USD, 5)]


def test_what_was_told_of_a_window_that_is_long_over_is_not_told_again(db: Path) -> None:
    """A late settlement touches it once more, and what was told of it is forgotten."""
    told: list[BudgetEvent] = []
    given: Any = {"policies": policies(default=1), "on_budget": told.append, "retention_days": None}
    with TelemetryLogger(db, **given) as logger:
        logger.budgets.reserve(usd=0.5).give_up()
        hold = logger.budgets.holds()[0]["hold_id"]
        logger.log_invocation(record(0.45))
        logger.log_invocation(record(0.45))
        with closing(sqlite3.connect(db, isolation_level=None)) as connection:  # all that was 100 days ago
            moved = {"windows": "budget_windows", "alerts": "budget_alerts"}
            old = (NOW - timedelta(days=100)).strftime("%Y-%m-%d 00:00:00.000000Z")
            for table in moved.values():
                connection.execute(f"UPDATE {table} SET window_start = ?", (old,))
            connection.execute("UPDATE budget_holds SET windows = json_array(json_array(1, '[]', ?))", (old,))
            connection.execute("UPDATE budget_holds SET reserved_at = ?", (old,))
        assert forgotten(db, 0) == 2  # the hold first, then its window
    assert len(told) == 2
    assert rows(db, "SELECT * FROM budget_alerts") == []
    assert holds(db) == []  # its only window is long over
    with TelemetryLogger(db, **given) as logger:
        logger.log_invocation(record(1.5, 100, invocation_id=hold))
    assert len(told) == 2


def test_a_hold_of_unknown_outcome_is_forgotten_with_its_windows(db: Path) -> None:
    """Unless something counts it still: `total` does, until someone says what it has cost."""
    with opened(
        db, days=THRICE | {"scope": {"agent": "a"}}, weeks={"scope": {"agent": "b"}, "weekly_budget_usd": 1}
    ) as logger:
        for agent in "ab":
            logger.budgets.reserve(usd=0.5, agent_name=agent).give_up()
        logger.budgets.reserve(usd=0.5, agent_name="nobody").give_up()
        under_way = logger.budgets.reserve(usd=0.25, agent_name="b")
    assert forgotten(db, 30) == 0
    assert len(holds(db)) == 4
    forgotten(db, 100)
    assert [(row[1], row[2]) for row in holds(db)] == [("unknown", USD // 2), ("held", USD // 4)]
    assert healthy(db)
    with opened(db) as logger:
        logger.budgets.release(under_way.hold_id)
        for hold in logger.budgets.holds():
            logger.budgets.release(hold["hold_id"])
    assert healthy(db)
    assert not any(any(row) for row in windows(db).values())


# Counters that nobody names


def test_a_counter_that_no_policy_names_is_forgotten_with_all_it_counted(db: Path) -> None:
    """The others are not; it is counted afresh when it is named again, under another number."""
    with opened(db, team=TEAM, all=THRICE) as logger:
        logger.log_invocation(record(0.9))
    first = dict(rows(db, "SELECT scope || window, id FROM budget_counters"))
    assert len(first) == 4
    name(db, 40, team=TEAM)
    assert forgotten(db, FORGOTTEN_DAYS - 1) == 1  # slices and days alone
    assert len(rows(db, "SELECT 1 FROM budget_counters")) == 4
    assert forgotten(db, FORGOTTEN_DAYS + 1) == 1
    assert [row[0] for row in rows(db, "SELECT window FROM budget_counters")] == ["total"]
    (kept,) = rows(db, "SELECT id FROM budget_counters")[0]
    for table in ("budget_windows", "budget_alerts"):
        assert {row[0] for row in rows(db, f"SELECT counter_id FROM {table}")} <= {kept}
    assert healthy(db)
    with opened(db, all=THRICE) as logger:
        assert healthy(db)
        assert {row["window"]: row["spent"] for row in logger.budgets.status()} == dict.fromkeys(
            ("day", "total", "24h"), 0.9
        )
        with pytest.raises(BudgetExceeded):
            logger.budgets.reserve(usd=0.2, agent_name="x")
    again = dict(rows(db, "SELECT scope || window, id FROM budget_counters"))
    assert again.keys() == first.keys()
    assert {again[key] for key in again} & set(first.values()) == {kept}
    assert healthy(db)


def test_a_counter_with_holds_is_not_forgotten(db: Path) -> None:
    """Under way or of unknown outcome: their end takes them out of it."""
    with opened(db, team=TEAM) as logger:
        hold = logger.budgets.reserve(usd=0.5, agent_name="team-a")
        forgotten(db, 200)
        assert len(rows(db, "SELECT 1 FROM budget_counters")) == 1
        hold.give_up()
        forgotten(db, 200)
        assert len(rows(db, "SELECT 1 FROM budget_counters")) == 1
        logger.budgets.release(hold.hold_id)
        forgotten(db, 200)
        assert rows(db, "SELECT 1 FROM budget_counters") == []
    assert healthy(db)


def test_a_logger_that_lives_longer_than_a_counter_counts_it_again(db: Path) -> None:
    """Others have forgotten it meanwhile; the next reservation names it, and limits hold."""
    told: list[BudgetEvent] = []
    given: Any = {"policies": policies(all=THRICE), "on_budget": told.append, "retention_days": None}
    with TelemetryLogger(db, **given) as logger, TelemetryLogger(db, retention_days=None) as other:
        logger.log_invocation(record(0.5))
        forgotten(db, FORGOTTEN_DAYS + 1)
        other.log_invocation(record(0.125))
        logger.log_invocation(record(0.125))
        assert rows(db, "SELECT * FROM budget_windows") == []
        assert [row["spent"] for row in logger.budgets.status()] == [0.75] * 3  # by the records: nothing counts it now
        with pytest.raises(BudgetExceeded, match=r"0\.75 spent"):
            logger.budgets.reserve(usd=0.3, agent_name="a")
        logger.budgets.reserve(usd=0.25, agent_name="a").settle(record(0.25))
        other.log_invocation(record(0.125))
        assert healthy(db)
        assert [row["spent"] for row in logger.budgets.status()] == [1.125] * 3
    assert sorted({event.threshold_percent for event in told}) == [80, 100]


def test_a_counter_is_named_once_a_day(db: Path) -> None:
    """Not at each open; and where the clock was wrong, by the one that is right."""
    assert name(db, 0, team=TEAM) is False
    for days, named in ((0.5, 0), (0.99, 0), (1.01, 1.01), (2, 1.01), (30, 30), (1.5, 1.5)):
        assert name(db, days, team=TEAM) is (days == named)
        ((text,),) = rows(db, "SELECT named_at FROM budget_counters")
        assert abs(datetime.fromisoformat(text).timestamp() * 1e6 - in_days(named)) < 2e6, days
    assert name(db, 100) is True  # another policy's: there is something to forget


def test_what_is_forgotten_goes_in_small_steps(db: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The write lock is held for a few hundred rows at a time; a writer that comes between harms nothing."""
    monkeypatch.setattr(budget_counters, "_MOST", 10)
    with opened(
        db, each={"scope": {"agent": "*"}, "per": "agent", "total_budget_usd": 1, "daily_budget_usd": 1}
    ) as logger:
        for number in range(35):
            logger.log_invocation(record(1, agent_name=f"a{number}"))
    with closing(open_for_writing(db, in_days(0))) as connection, TelemetryLogger(db, retention_days=None) as writer:
        book, left = BudgetBook(), [len(windows(db))]
        assert left == [70]
        while forget(connection, book, in_days(FORGOTTEN_DAYS + 1)):
            writer.log_invocation(record(1))
            left.append(len(windows(db)))
            assert healthy(db)
        assert left == [70, 60, 50, 40, 30, 20, 10, 0, 0, 0, 0, 0, 0, 0, 0]  # there are twice as many alerts
    assert rows(db, "SELECT * FROM budget_alerts") == []


def test_a_counter_that_is_named_while_it_is_to_be_forgotten_stays(db: Path) -> None:
    """Another process was between the look and the transaction."""
    name(db, 0, team=TEAM)
    with closing(open_for_writing(db, in_days(0))) as connection:

        class Late:
            """A connection before whose transaction somebody names the counter."""

            def __getattr__(self, attribute: str) -> Any:
                return getattr(connection, attribute)

            def execute(self, sql: str, *parameters: Any) -> Any:
                if sql == "BEGIN IMMEDIATE":
                    name(db, 100, team=TEAM)
                return connection.execute(sql, *parameters)

        late: Any = Late()
        assert forget(late, BudgetBook(), in_days(100)) is True
        assert forget(connection, BudgetBook(), in_days(100)) is False
    assert len(rows(db, "SELECT 1 FROM budget_counters")) == 1


def test_a_failure_while_forgetting_changes_nothing(db: Path) -> None:
    """All of a step or nothing of it."""
    with opened(db, all=THRICE) as logger:
        logger.log_invocation(record(0.9))
    with closing(open_for_writing(db, 0)) as connection:
        connection.execute(
            "CREATE TRIGGER no BEFORE DELETE ON budget_windows BEGIN SELECT raise(ABORT, 'not today'); END"
        )
        with pytest.raises(sqlite3.IntegrityError, match="not today"):
            forget(connection, BudgetBook(), in_days(100))
        assert not connection.in_transaction
        connection.execute("DROP TRIGGER no")
    assert len(rows(db, "SELECT 1 FROM budget_counters")) == 3
