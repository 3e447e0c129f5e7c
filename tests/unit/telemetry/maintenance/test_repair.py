"""Repair makes totals equal their records again, makes what is missing, and says what it did."""

import sqlite3
import stat
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llm_service.errors import StoreError
from llm_service.telemetry import InvocationRecord, TelemetryLogger
from llm_service.telemetry.maintenance import daily_totals
from llm_service.telemetry.maintenance import repair as rebuild
from llm_service.telemetry.maintenance.repair import repair, repair_day

DAY = datetime(2026, 3, 1, 18, tzinfo=UTC)
Names = Callable[..., dict[str, str]]
DAMAGES = [
    "UPDATE daily_costs SET cost_nanos = cost_nanos + 1, invocations = invocations - 2 WHERE id % 2 = 0",
    "UPDATE daily_costs SET total_cost_usd = 7 WHERE id = 1",
    "UPDATE daily_costs SET errors = 'many', total_tokens = 1.5 WHERE id = 2",
    "DELETE FROM daily_costs WHERE id % 3 = 0",
    "INSERT INTO daily_costs (date, agent_name, invocations) VALUES ('2026-03-01', 'nobody', 1)",
    "UPDATE daily_costs SET latency_buckets = x'0100010304000100' WHERE id = 2",
    "UPDATE daily_costs SET latency_buckets = x'02' WHERE id % 3 = 1",
    "UPDATE daily_costs SET latency_buckets = 'no counts' WHERE id < 4",
    "UPDATE daily_costs SET latency_buckets = x'080000' || x'ffffffffffffff7f' WHERE id = 5",
    "DELETE FROM invocations WHERE id % 4 = 0",
    "UPDATE quarter_hours SET cost_nanos = cost_nanos + 1, invocations = invocations - 2",
    "UPDATE quarter_hours SET errors = 'many', total_tokens = 1.5, latency_buckets = 7",
    "UPDATE quarter_hours SET latency_buckets = x'0100010304000100'",
    "DELETE FROM quarter_hours WHERE quarter LIKE '2026-03-02%'",
    "INSERT INTO quarter_hours (quarter, invocations) VALUES ('2026-03-07 10:15', 1)",
    "DELETE FROM rollup_progress",
    "DELETE FROM quarter_hours",
    "DELETE FROM daily_costs",
]


@pytest.fixture
def connection(db: Path) -> Iterator[sqlite3.Connection]:
    """The file, open for a repair."""
    with closing(sqlite3.connect(db, isolation_level=None)) as opened:
        daily_totals.add_bucket_function(opened)
        yield opened


def _totals(path: Path) -> list[Any]:
    with closing(sqlite3.connect(path)) as connection:
        columns = "date, agent_name, tool_name, model_name, d.invocations, cost_nanos, total_cost_usd, errors, timeouts"
        return connection.execute(
            f"SELECT {columns}, total_tokens, latency_us_sum, bucket, l.invocations FROM daily_costs AS d"
            " LEFT JOIN latency_counts AS l ON daily_cost_id = d.id ORDER BY 1, 2, 3, 4, 12"
        ).fetchall()


@pytest.mark.parametrize("damage", DAMAGES)
def test_totals_are_made_equal_to_their_records_again(
    db: Path, change: Callable[..., None], names: Names, damage: str
) -> None:
    """Whatever was wrong with them; where only totals were, they are what the writer had made."""
    before = _totals(db)
    change(damage)
    assert set(names()) - {"odd_values"} == {"aggregates"}
    assert {action.name for action in repair(db)} == {"aggregates"}
    assert names() == {}
    if "invocations WHERE" not in damage:
        assert _totals(db) == before
    assert repair(db) == []


@pytest.mark.volume
def test_a_flipped_bit_in_the_buckets_is_no_traceback(db: Path, names: Names, change: Callable[..., None]) -> None:
    """Whichever it is: what it says is compared with the records, and made again."""
    with closing(sqlite3.connect(db)) as connection:
        (sound,) = connection.execute("SELECT latency_buckets FROM daily_costs WHERE id = 1").fetchone()
    for bit in range(8 * len(sound)):
        flipped = bytearray(sound)
        flipped[bit // 8] ^= 1 << bit % 8
        change(f"UPDATE daily_costs SET latency_buckets = x'{flipped.hex()}' WHERE id = 1")
        assert set(names()) - {"odd_values"} == {"aggregates"}
    assert [action.name for action in repair(db)] == ["aggregates"]
    assert names() == {}


@pytest.mark.slow
@given(damages=st.lists(st.sampled_from(DAMAGES), min_size=1, max_size=5))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_mixture_of_damages_is_repaired(
    db: Path, change: Callable[..., None], names: Names, damages: list[str]
) -> None:
    """In any order, and again and again."""
    change(*(damage.replace("INSERT", "INSERT OR IGNORE") for damage in damages))
    repair(db)
    assert names() == {}


def test_a_dry_run_says_what_would_be_done_and_changes_nothing(db: Path, change: Callable[..., None]) -> None:
    """The same actions, none of them done."""
    change("DELETE FROM daily_costs WHERE id = 2", "DROP INDEX idx_invocations_agent")
    db.chmod(0o644)
    before = db.read_bytes()
    planned = repair(db, dry_run=True)
    assert (db.read_bytes(), stat.S_IMODE(db.stat().st_mode)) == (before, 0o644)
    done = repair(db)
    assert [action.name for action in planned] == ["permissions", "missing_index", "aggregates"]
    assert {action.name for action in done} == {action.name for action in planned}
    assert {action.done for action in planned} == {False}
    assert {action.done for action in done} == {True}


def test_permissions_are_tightened_and_links_and_shared_folders_left_alone(db: Path, names: Names) -> None:
    """0600 for files, no writing by others in a folder; a sticky folder is shared on purpose."""
    db.chmod(0o666)
    db.parent.chmod(0o777)
    assert len(repair(db)) == 2
    assert stat.S_IMODE(db.stat().st_mode) == 0o600
    assert stat.S_IMODE(db.parent.stat().st_mode) == 0o755
    assert names() == {}
    target = db.parent / "target"
    target.touch(0o644)
    db.with_name("telemetry.db-wal").symlink_to(target)
    db.parent.chmod(0o1777)
    assert list(rebuild._tighten(db, dry_run=False)) == []
    assert stat.S_IMODE(target.stat().st_mode) == 0o644


def test_a_missing_index_is_made_and_one_of_another_definition_replaced(
    db: Path, change: Callable[..., None], names: Names
) -> None:
    """By the statements of schema.sql."""
    change("DROP INDEX idx_invocations_agent", "DROP INDEX idx_daily_costs_date")
    change("CREATE INDEX idx_daily_costs_date ON daily_costs (model_name)")
    assert [action.what for action in repair(db)] == ["made idx_invocations_agent", "made idx_daily_costs_date"]
    assert names() == {}


def test_a_unique_index_that_cannot_be_made_is_reported_and_the_rest_is_repaired(
    db: Path, change: Callable[..., None], names: Names
) -> None:
    """Two rows have one id: which of them counts is not for a repair to say."""
    change("DROP INDEX idx_invocations_invocation_id", "UPDATE invocations SET invocation_id = 'x' WHERE id IN (2, 3)")
    change("DELETE FROM daily_costs WHERE id = 1")
    actions = repair(db)
    assert [(action.name, action.done) for action in actions] == [
        ("missing_index", False), ("aggregates", True),
    ]  # fmt: skip
    assert set(names()) == {"missing_index", "duplicate_ids"}


def test_totals_of_days_whose_records_are_gone_stay_as_they_are(
    db: Path, change: Callable[..., None], names: Names
) -> None:
    """They are all that is left of these days."""
    change("DELETE FROM invocations WHERE timestamp < '2026-03-02'", "DELETE FROM daily_costs WHERE id > 4")
    change("CREATE TABLE IF NOT EXISTS retention (records_kept_since TEXT)", "DELETE FROM retention")
    change("INSERT INTO retention (records_kept_since) VALUES ('2026-03-02')")
    before = [row for row in _totals(db) if row[0] == "2026-03-01"]
    repair(db)
    assert [row for row in _totals(db) if row[0] == "2026-03-01"] == before != []
    assert names() == {}


def test_a_record_that_is_logged_between_looking_and_adding_is_counted_once(
    db: Path, connection: sqlite3.Connection, names: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a total lacks stays the same whatever is added to records and total together."""
    connection.execute("UPDATE daily_costs SET invocations = 1, cost_nanos = 0 WHERE date = '2026-03-01'")
    look = daily_totals.differences

    def look_and_log(*arguments: Any) -> Any:
        seen = list(look(*arguments))
        with TelemetryLogger(db, retention_days=None) as logger:
            late = InvocationRecord(agent_name="a", model_name="m1", cost_usd=0.5, latency_ms=3, timestamp=DAY)
            logger.log_invocation(late)
        return seen

    monkeypatch.setattr(daily_totals, "differences", look_and_log)
    assert repair_day(connection, "2026-03-01", "now") == 2
    monkeypatch.undo()
    connection.close()
    assert names() == {}


def test_two_repairs_at_once_add_what_is_lacking_once(
    connection: sqlite3.Connection, db: Path, names: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second finds the receipt raised, looks again, and has nothing left to do."""
    connection.execute("UPDATE daily_costs SET invocations = 1 WHERE date = '2026-03-01'")
    look = daily_totals.differences
    raced: list[int] = []

    def look_and_be_overtaken(*arguments: Any) -> Any:
        seen = list(look(*arguments))
        if not raced:
            raced.append(1)
            with closing(sqlite3.connect(db, isolation_level=None)) as other:
                daily_totals.add_bucket_function(other)
                raced.append(repair_day(other, "2026-03-01", "now"))
        return seen

    monkeypatch.setattr(daily_totals, "differences", look_and_be_overtaken)
    assert repair_day(connection, "2026-03-01", "now") == 0
    assert raced == [1, 2]
    connection.close()
    assert names() == {}


def test_a_repair_that_is_always_overtaken_gives_up_and_one_overtaken_by_retention_has_nothing_to_do(
    connection: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It does not go round for ever."""
    connection.execute("DELETE FROM daily_costs")
    monkeypatch.setattr(rebuild, "_add", lambda *_: False)
    with pytest.raises(sqlite3.OperationalError, match="by another process"):
        repair_day(connection, "2026-03-01", "now")
    monkeypatch.setattr(rebuild.daily_totals, "kept_since", lambda _: "2026-03-02")
    assert repair_day(connection, "2026-03-01", "now") == 0


def test_a_transaction_that_fails_leaves_nothing_of_itself(
    db: Path, connection: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither a lock nor half of an addition."""
    before = _totals(db)

    def fail(*_: Any) -> None:
        connection.execute("UPDATE daily_costs SET invocations = 99")
        raise KeyboardInterrupt

    def fail_as_a_full_disk(*_: Any) -> None:
        connection.execute("ROLLBACK")
        raise KeyboardInterrupt

    for failing in (fail, fail_as_a_full_disk):
        monkeypatch.setattr(rebuild, "add_totals", failing)
        with pytest.raises(KeyboardInterrupt):
            rebuild._add(connection, "2026-03-01", [], 0, "now")
        assert not connection.in_transaction
    assert _totals(db) == before


def test_an_index_that_fails_otherwise_leaves_no_transaction_open(
    db: Path, change: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error is the file's, and is told as such."""
    change("DROP INDEX idx_invocations_agent")
    monkeypatch.setattr(rebuild, "missing_indexes", lambda _: {"idx_x": "CREATE INDEX idx_x ON absent (x)"})
    with pytest.raises(StoreError, match="could not be repaired: no such table"):
        repair(db)
    with closing(sqlite3.connect(db, isolation_level=None, timeout=0)) as free:
        free.execute("BEGIN IMMEDIATE")


def test_what_is_no_telemetry_database_is_not_repaired(tmp_path: Path) -> None:
    """Nor made."""
    with pytest.raises(StoreError, match="no such file"):
        repair(tmp_path / "missing.db")
    (tmp_path / "text").write_text("no database " * 1000)
    with pytest.raises(StoreError, match="cannot be repaired in place"):
        repair(tmp_path / "text")
    assert [file.name for file in tmp_path.iterdir()] == ["text"]


@pytest.mark.parametrize("table", ["daily_costs", "quarter_hours"])
@pytest.mark.parametrize("sum_there", ["9223372036854775807", "9.3e18", "1e23"])
def test_a_sum_that_was_beyond_64_bits_is_exact_after_one_repair(
    db: Path, names: Names, change: Callable[..., None], table: str, sum_there: str
) -> None:
    """It is added to, not replaced: the writers go on."""
    before = _totals(db)
    change(f"UPDATE {table} SET cost_nanos = {sum_there}, total_tokens = {sum_there}")
    repair(db)
    assert _totals(db) == before
    assert repair(db) == []
    assert names() == {}
