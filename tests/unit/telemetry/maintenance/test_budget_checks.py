"""Doctor proves that what was spent is the sum of the records, and repairs it where a hand has changed it."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.model.ledger import check_books, policies, windows
from tests.older_files import as_version_5

from llm_service.errors import StoreError
from llm_service.telemetry import InvocationRecord, TelemetryLogger
from llm_service.telemetry.maintenance import budget_checks
from llm_service.telemetry.maintenance import repair as rebuild
from llm_service.telemetry.maintenance.doctor import examine
from llm_service.telemetry.maintenance.repair import repair
from llm_service.telemetry.maintenance.salvage import salvage
from llm_service.telemetry.stores.sqlite.budget_statements import AMOUNTS

pytestmark = pytest.mark.slow

Names = Callable[..., dict[str, str]]
LIMITED = policies(
    default={
        "daily_budget_usd": 100, "total_budget_usd": 1000, "timezone": "Asia/Kolkata",
        "limits": [{"window": "24h", "tokens": 10**6}, {"window": "hour", "calls": 1000}],
    },
    agents={"scope": {"agent": "a*"}, "per": ["agent", "user"], "monthly_budget_usd": 50},
)  # fmt: skip

STRAY = "INSERT INTO budget_windows (counter_id, subject, window_start, reserved_nanos, spent_calls) VALUES ({})"


@pytest.fixture
def db(tmp_path: Path) -> Path:
    """A closed file with budgets: records of some days, an open hold, an expired and an unknown one."""
    path = tmp_path / "telemetry.db"
    with TelemetryLogger(path, policies=LIMITED, retention_days=None) as logger:
        for number in range(40):
            logger.log_invocation_nowait(
                InvocationRecord(
                    agent_name=f"a{number % 2}",
                    user_id="u" if number % 3 else None,
                    cost_usd=None if number % 5 == 0 else 0.1234567 * number,
                    total_tokens=None if number % 7 == 0 else number,
                    timestamp=datetime.now(UTC) - timedelta(hours=number * number),
                )
            )
        logger.flush()
        logger.budgets.reserve(usd=1, tokens=10, agent_name="a1")
        logger.budgets.reserve(usd=2, tokens=20, agent_name="a2").give_up()
        logger.budgets.reserve(usd=3, tokens=30, agent_name="a3").settle(InvocationRecord())
    check_books(path)
    return path


def test_sound_books_are_healthy(db: Path, names: Names) -> None:
    """With numbers, and nothing else is wrong."""
    assert names() == {}
    (finding,) = [one for one in examine(db) if one.check == "budgets"]
    assert finding.exit_code == 0
    assert finding.seen.endswith("windows of 5 counters equal their records and 3 holds")


def test_a_file_without_budgets_is_healthy(tmp_path: Path, names: Names) -> None:
    """There is nothing to compare; also where it is of the first version."""
    path = tmp_path / "plain.db"
    TelemetryLogger(path).close()
    assert names(path) == {}
    with closing(sqlite3.connect(path)) as connection:
        as_version_5(connection)
        for table in ("budget_alerts", "budget_holds", "budget_windows", "budget_counters", "prompt_sizes"):
            connection.execute(f"DROP TABLE {table}")
        connection.execute("UPDATE schema_version SET version = 1")
        connection.execute("PRAGMA user_version = 1")
        connection.commit()
        assert budget_checks.check_budgets(connection, datetime.now(UTC), 1e12).seen.startswith("none")
        assert rebuild._lacks(connection, 0) == []
    assert set(names(path)) == {"older_schema"}


@pytest.mark.costly
@pytest.mark.parametrize("column", AMOUNTS)
@pytest.mark.parametrize("value", ["{} + 1", "{} - 7", "'many'", "{} + 0.5", "NULL"])
def test_each_number_that_is_tampered_with_is_found_and_repaired(
    db: Path, change: Callable[..., None], names: Names, column: str, value: str
) -> None:
    """To what the writer had made."""
    before = windows(db)
    if value == "NULL":  # the table refuses it, so a row goes
        change("DELETE FROM budget_windows WHERE counter_id = 2")
    else:
        change(f"UPDATE budget_windows SET {column} = {value.format(column)} WHERE counter_id = 2")
    kinds = {"budgets", "odd_values"} if value in {"'many'", "{} + 0.5"} else {"budgets"}
    assert set(names()) == kinds
    assert names(full=True).keys() == kinds
    planned = repair(db, dry_run=True)
    assert [(one.name, one.done) for one in planned] == [("budgets", False)]
    assert set(names()) == kinds
    done = repair(db)
    assert [(one.name, one.done) for one in done] == [("budgets", True)]
    assert names() == {}
    assert windows(db) == before
    assert repair(db) == []


def test_the_finding_names_an_example(change: Callable[..., None], names: Names) -> None:
    """With what is there and what should be."""
    change("UPDATE budget_windows SET spent_calls = 1234567 WHERE counter_id = 2")
    seen = names()["budgets"]
    assert "1 of " in seen
    assert "the total from 1970-01-01 00:00:00 of counter 2: spent_calls is 1,234,567, should be 41" in seen


@pytest.mark.parametrize(
    "damage",
    [
        "DELETE FROM budget_windows",
        "DELETE FROM budget_holds",
        "UPDATE budget_holds SET nanos = nanos + 1",
        "UPDATE budget_holds SET state = 'unknown'",
        "UPDATE budget_holds SET windows = 'nonsense'",
        "UPDATE budget_holds SET windows = '[1]'",
        "UPDATE budget_holds SET windows = '[[1,2]]'",
        "UPDATE invocations SET cost_usd = 7 WHERE id % 2",
        "UPDATE invocations SET total_tokens = 7 WHERE id % 2",
        "UPDATE invocations SET agent_name = 'a9' WHERE id % 2",
        "DELETE FROM invocations WHERE id % 2",
        STRAY.format("99, '[]', '2026-01-01 00:00:00.000000Z', 5, 0"),
        STRAY.format("1, '[\"x\"]', '2099-01-01 00:00:00.000000Z', 0, 5"),
    ],
)
def test_books_that_differ_in_any_way_are_made_equal_to_records_and_holds(
    db: Path, change: Callable[..., None], names: Names, damage: str
) -> None:
    """Records and holds are the truth, windows follow."""
    change(damage)
    assert "budgets" in names()
    repair(db)
    assert "budgets" not in names()


def test_windows_whose_records_are_gone_are_left_alone(db: Path, change: Callable[..., None], names: Names) -> None:
    """Retention deletes records, and limits still know what they cost; those before a counter began know less."""
    with TelemetryLogger(db, retention_days=None) as logger:
        assert logger.purge(10).records
    change("UPDATE budget_windows SET spent_nanos = spent_nanos + 5 WHERE window_start < date('now', '-12 days')")
    assert names() == {}
    assert repair(db) == []
    change("UPDATE budget_windows SET reserved_nanos = 5 WHERE counter_id = 2")
    assert set(names()) == {"budgets"}  # holds are kept
    repair(db)
    assert names() == {}


def test_windows_before_a_counter_began_are_not_judged(db: Path, names: Names) -> None:
    """A late record is counted there, and those before it are not."""
    late = policies(x={"scope": {"agent": "*"}, "daily_budget_usd": 5})
    with TelemetryLogger(db, policies=late, retention_days=None) as logger:
        logger.log_invocation(InvocationRecord(timestamp=datetime.now(UTC) - timedelta(days=9)))
    assert names() == {}


def test_a_hold_of_a_counter_that_is_gone_is_not_held_against_it(
    db: Path, change: Callable[..., None], names: Names
) -> None:
    """Deleted by hand: nothing counts it, and its end adds nothing anywhere."""
    change("DELETE FROM budget_counters WHERE window = 'total'")
    change("DELETE FROM budget_windows WHERE counter_id NOT IN (SELECT id FROM budget_counters)")
    assert names() == {}
    with TelemetryLogger(db, retention_days=None) as logger:
        for hold in logger.budgets.holds():
            assert logger.budgets.release(hold["hold_id"]) is True
    assert names() == {}
    with closing(sqlite3.connect(db)) as connection:
        orphans = "SELECT count(*) FROM budget_windows WHERE counter_id NOT IN (SELECT id FROM budget_counters)"
        assert connection.execute(orphans).fetchone() == (0,)


def test_a_hold_whose_lease_was_over_long_ago_is_a_note(db: Path, change: Callable[..., None], names: Names) -> None:
    """No error: nobody has written since."""
    change("UPDATE budget_holds SET expires_at = '2026-01-01 00:00:00.000000Z'")
    assert names() == {}
    (finding,) = [one for one in examine(db) if one.check == "budgets"]
    assert finding.seen.endswith("; the lease of 1 was over long ago, see: llm-telemetry budgets holds")


def test_a_check_that_takes_too_long_says_so(db: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is interrupted within the statement."""
    monkeypatch.setattr("llm_service.telemetry.maintenance.check_session._STEPS_BETWEEN_LOOKS", 1)
    with closing(sqlite3.connect(db, isolation_level=None)) as connection:
        finding = budget_checks.check_budgets(connection, datetime.now(UTC), 0.0)
        assert not connection.in_transaction
    assert (finding.check, finding.name) == ("budgets", "not_checked")


def test_writers_go_on_while_books_are_repaired(
    db: Path, change: Callable[..., None], names: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is logged between the look and the addition is counted once."""
    change("UPDATE budget_windows SET spent_nanos = spent_nanos + 1000, unknown_tokens = 1")
    real = budget_checks.add_lacks
    with TelemetryLogger(db, retention_days=None) as logger:

        def slowly(connection: sqlite3.Connection, lacking: Any) -> None:
            connection.execute("COMMIT")
            logger.log_invocation(InvocationRecord(agent_name="a1", cost_usd=1))
            connection.execute("BEGIN IMMEDIATE")
            real(connection, lacking)

        monkeypatch.setattr(budget_checks, "add_lacks", slowly)
        repair(db)
    assert names() == {}
    check_books(db)


def test_two_repairs_at_once_add_what_is_lacking_once(
    db: Path, change: Callable[..., None], names: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The later one finds the receipt raised, and looks again; one that never gets its turn gives up."""
    change("DELETE FROM budget_windows")
    monkeypatch.setattr(rebuild, "_ROWS", 5)
    real, others = rebuild._lacks, [True]

    def overtaken(connection: sqlite3.Connection, now: int) -> Any:
        lacking = real(connection, now)
        if others:
            others.pop()
            connection.execute("ROLLBACK")
            repair(db)
            connection.execute("BEGIN")
        return lacking

    monkeypatch.setattr(rebuild, "_lacks", overtaken)
    repair(db)
    assert names() == {}
    check_books(db)
    change("DELETE FROM budget_windows")
    numbers = iter(range(1000))
    monkeypatch.setattr(rebuild, "_receipt", lambda _: next(numbers) * 2)
    with pytest.raises(StoreError, match="being repaired by another process"):
        repair(db)


def test_salvage_carries_the_books_over(db: Path, tmp_path: Path, names: Names) -> None:
    """Limits remember what was spent, and what is held."""
    with TelemetryLogger(db, policies=LIMITED, retention_days=None) as logger:
        logger.budgets.reserve(usd=9, tokens=0, agent_name="x")
        logger.log_invocation(InvocationRecord(cost_usd=81, agent_name="x"))  # a threshold is told
    before = windows(db)
    report = salvage(db, tmp_path / "saved.db")
    counts = {name: count.recovered for name, count in report.tables.items() if name.startswith("budget")}
    assert counts["budget_counters"] == 5
    assert counts["budget_holds"] == 4
    assert counts["budget_windows"] >= len(before)
    assert counts["budget_alerts"] >= 1
    assert windows(tmp_path / "saved.db") == before
    assert names(tmp_path / "saved.db") == {}


def test_salvage_finds_counters_and_retention_without_a_schema(db: Path, tmp_path: Path) -> None:
    """A row of six columns is known by what stands in it."""
    with TelemetryLogger(db, retention_days=None) as logger:
        logger.purge(10)
    with closing(sqlite3.connect(db)) as connection:
        wanted = [connection.execute(f"SELECT * FROM {table}").fetchall() for table in ("budget_counters", "retention")]
    raw = bytearray(db.read_bytes())
    raw[:100] = bytes(100)  # the header: SQLite refuses the file, the pages are read one by one
    db.write_bytes(raw)
    salvage(db, tmp_path / "saved.db")
    with closing(sqlite3.connect(tmp_path / "saved.db")) as connection:
        found = [connection.execute(f"SELECT * FROM {table}").fetchall() for table in ("budget_counters", "retention")]
    assert found == wanted


@pytest.mark.parametrize("upset", ["state = 'lost'", "reserved_at = 'yesterday'", "calls = -1"])
def test_salvage_leaves_a_hold_that_makes_no_sense(
    db: Path, tmp_path: Path, change: Callable[..., None], upset: str
) -> None:
    """It is not what was written."""
    change(f"UPDATE budget_holds SET {upset} WHERE nanos = 1000000000")
    report = salvage(db, tmp_path / "saved.db")
    assert report.tables["budget_holds"].recovered == 2
