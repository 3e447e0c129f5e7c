"""Counting: whoever writes a record counts it for every budget of the file, once, in the same transaction."""

import json
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from tests.model.ledger import check_books, holds, policies, totals, windows
from tests.older_files import as_version_5

from llm_service.budgets.policies import Policies, compiled
from llm_service.errors import BudgetExceeded
from llm_service.telemetry import AsyncTelemetryLogger, DuplicateInvocationError, InvocationRecord, TelemetryLogger
from llm_service.telemetry.record.fields import ADDED
from llm_service.telemetry.record.record import CARD_FIELDS, _restore
from llm_service.telemetry.stores.budget_requests import call_of
from llm_service.telemetry.stores.sqlite import migrations
from llm_service.telemetry.stores.sqlite.batch_writer import SqliteBatchWriter
from llm_service.telemetry.stores.sqlite.budget_counting import BudgetBook, Recost
from llm_service.telemetry.stores.sqlite.budget_reservations import HoldKeeper
from llm_service.telemetry.stores.sqlite.opening import open_for_writing

NOW = datetime.now(UTC)
USD = 1_000_000_000
ALL = {
    "scope": {"agent": "*"},
    "daily_budget_usd": 100,
    "total_budget_usd": 1000,
    "limits": [{"window": "24h", "usd": 9}],
}
"""Counts everything three times."""


@pytest.fixture
def db(tmp_path: Path) -> Path:
    """Where the database goes."""
    return tmp_path / "telemetry.db"


def record(cost: float | None = 0.25, **fields: Any) -> InvocationRecord:
    """One of 300 tokens of today."""
    values: dict[str, Any] = {"agent_name": "a", "total_tokens": 300, "cost_usd": cost}
    return InvocationRecord(**(values | fields))


@pytest.fixture
def counted(db: Path) -> Path:
    """A file that counts `ALL`, closed."""
    TelemetryLogger(db, policies=policies(all=ALL)).close()
    return db


@pytest.fixture
def connection(counted: Path) -> Iterator[sqlite3.Connection]:
    """The same, open for writing."""
    opened = open_for_writing(counted, 0)
    yield opened
    opened.close()


def test_a_logger_without_policies_counts_for_those_of_others(counted: Path) -> None:
    """So what was spent is the sum of the records."""
    with TelemetryLogger(counted) as logger:
        logger.log_invocation(record())
        logger.log_invocation_nowait(record(0.5))
    assert totals(counted) == dict.fromkeys(("day", "total", "24h"), (USD * 3 // 4, 0, 0))


async def test_the_async_face_counts_too(counted: Path) -> None:
    """Its writer task, durable or not."""
    async with AsyncTelemetryLogger(counted) as logger:
        await logger.log_invocation(record(), durable=True)
        logger.log_invocation_nowait(record(0.5))
    assert totals(counted)["day"] == (USD * 3 // 4, 0, 0)


def test_a_crash_journal_that_is_replayed_counts(counted: Path) -> None:
    """The records of a process that died are counted by the one that finds them."""
    code = """
import os, sys
from llm_service.telemetry import InvocationRecord, TelemetryLogger
logger = TelemetryLogger(sys.argv[1], journal=True, flush_interval=60)
logger.log_invocation_nowait(InvocationRecord(agent_name="a", cost_usd=0.25))
os._exit(9)
"""
    import subprocess
    import sys

    assert subprocess.run([sys.executable, "-c", code, str(counted)], check=False).returncode == 9
    TelemetryLogger(counted).close()
    assert totals(counted)["total"] == (USD // 4, 0, 0)


def test_a_duplicate_is_not_counted_again(counted: Path) -> None:
    """Neither beside others in its batch nor alone."""
    with TelemetryLogger(counted) as logger:
        one = record(invocation_id="one")
        logger.log_invocation(one)
        for _ in range(3):
            logger.log_invocation_nowait(one)
        logger.log_invocation_nowait(record(0.5))
        logger.flush()
        with pytest.raises(DuplicateInvocationError):
            logger.log_invocation(one)
    assert totals(counted)["day"] == (USD * 3 // 4, 0, 0)


@pytest.mark.parametrize("cost", [float("inf"), 1e300, "text"])
def test_a_record_that_is_set_aside_is_not_counted(connection: sqlite3.Connection, counted: Path, cost: Any) -> None:
    """What no budget can hold is in `dead_letters`, and its neighbours are counted."""
    good = record(invocation_id="good")
    card = tuple(cost if name == "cost_usd" else value for name, value in zip(CARD_FIELDS, good.card, strict=True))
    bad = _restore(("bad", *card[1:]), good.extensions, good.size)
    writer = SqliteBatchWriter("w", "metadata")
    result = writer.write(connection, [record(), bad, good], batch_no=1, durable=False, slice_rows=25)
    assert result.quarantined == {1}
    assert totals(counted)["day"] == (USD // 2, 0, 0)


def test_private_records_are_not_counted_and_a_private_logger_keeps_no_budget(counted: Path) -> None:
    """What is not stored cannot be summed."""
    with TelemetryLogger(counted) as logger:
        assert logger.log_invocation(record(privacy_level="none")) is False
    assert windows(counted) == {}


def test_unknown_cost_is_counted_as_unpriced_and_unknown_tokens_as_nothing(counted: Path) -> None:
    """A call without a price costs no $0: `unpriced_calls` tells of it."""
    with TelemetryLogger(counted, policies=policies(all=ALL)) as logger:
        logger.log_invocation(record(None, total_tokens=None))
        logger.log_invocation(record(0))
        status = [row for row in logger.budgets.status() if row["window"] == "day"]
    assert [(row["spent"], row["calls"], row["unpriced_calls"]) for row in status] == [(0, 2, 1)]
    check_books(counted)


def test_a_call_counts_in_the_window_of_its_own_time(counted: Path) -> None:
    """Not of the time it is written."""
    with TelemetryLogger(counted, retention_days=None, policies=policies(all=ALL)) as logger:
        for days in (0, 1, 1, 40):
            logger.log_invocation(record(timestamp=NOW - timedelta(days=days, hours=1)))
        spent = {row["window"]: row["spent"] for row in logger.budgets.status()}
        assert spent["total"] == 1
    days = {key[2][:10]: row[0] for key, row in windows(counted).items() if key[0] == 1}
    assert sum(days.values()) == USD
    assert len(days) == 3


def test_a_record_from_the_end_of_time_is_stored_and_counted(db: Path) -> None:
    """A clock that went wrong must not stop the writer."""
    zones = {
        zone: {"scope": {"agent": "*"}, "daily_budget_usd": 1, "monthly_budget_usd": 1, "timezone": zone}
        for zone in ("Pacific/Auckland", "America/New_York")
    }
    with TelemetryLogger(db, retention_days=None, policies=policies(**zones)) as logger:
        for moment in (datetime(1970, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)):
            assert logger.log_invocation(record(timestamp=moment))
    assert sum(row[2] for row in windows(db).values()) == 8


@pytest.mark.parametrize("window", ["hour", "day", "week", "month", "total", "24h", "7d", "1m"])
@pytest.mark.parametrize("per", [[], ["agent"], ["user", "model"]])
def test_a_new_counter_counts_what_is_there_since_its_window_began(db: Path, window: str, per: list[str]) -> None:
    """As a writer would have: a limit that is written today knows what was spent this month."""
    with TelemetryLogger(db, retention_days=None) as logger:
        for number in range(60):
            logger.log_invocation_nowait(
                record(
                    None if number % 7 == 0 else number / 1000,
                    agent_name=f"agent-{number % 3}",
                    user_id=None if number % 4 else "u",
                    request_model="router" if number % 5 else None,
                    model_name="gpt-4o",
                    total_tokens=None if number % 2 else number,
                    timestamp=datetime.now(UTC) - timedelta(hours=number * number),
                )
            )
    given = {"scope": {"agent": ["agent-0", "agent-1"]}, "per": per, "timezone": "Asia/Kolkata"}
    limited = policies(new=given | {"limits": [{"window": window, "usd": 1}]})
    TelemetryLogger(db, retention_days=None, policies=limited).close()
    before = check_books(db)
    with TelemetryLogger(db, retention_days=None, policies=limited) as logger:
        logger.log_invocation(record(agent_name="agent-1", user_id="u"))
        logger.log_invocation(record(agent_name="agent-2", user_id="u"))
    after = check_books(db)
    assert sum(row[2] for row in after.values()) == sum(row[2] for row in before.values()) + 1


@pytest.mark.skipif(sqlite3.sqlite_version_info < (3, 35), reason="DROP COLUMN needs SQLite 3.35")
def test_a_file_of_the_first_version_is_migrated_and_counted(db: Path) -> None:
    """Its records count in the windows that they fall into."""
    with TelemetryLogger(db) as logger:
        logger.log_invocation(record())
    with closing(sqlite3.connect(db)) as connection:
        as_version_5(connection)
        for table in ("budget_alerts", "budget_holds", "budget_windows", "budget_counters", "prompt_sizes"):
            connection.execute(f"DROP TABLE {table}")
        for index in re.findall(r"CREATE INDEX (\w+) ON invocations", str(migrations.MIGRATIONS)):
            connection.execute(f"DROP INDEX {index}")
        for column in (column for added in ADDED.values() for column in added):
            connection.execute(f"ALTER TABLE invocations DROP COLUMN {column}")
        connection.execute("UPDATE schema_version SET version = 1")
        connection.execute("PRAGMA user_version = 1")
        connection.commit()
    with TelemetryLogger(db, policies=policies(all=ALL)) as logger:
        logger.log_invocation(record(0.5))
        logger.budgets.reserve(usd=1, agent_name="a").settle(record(0.125))
    assert totals(db)["total"] == (USD * 7 // 8, 0, 0)


def test_two_loggers_that_register_at_once_make_one_counter(db: Path) -> None:
    """The second finds it in its own transaction."""
    TelemetryLogger(db).close()
    keys = Policies(compiled(policies(all=ALL))).counters
    with closing(open_for_writing(db, 0)) as one, closing(open_for_writing(db, 0)) as other:

        class Late(list[Any]):
            """Keys of a logger that is overtaken after it has looked."""

            def __iter__(self) -> Iterator[Any]:
                HoldKeeper(BudgetBook()).register(other, keys, 0)
                return super().__iter__()

        HoldKeeper(BudgetBook()).register(one, Late(keys), 0)
        assert one.execute("SELECT count(*) FROM budget_counters").fetchone() == (3,)


def test_a_registration_that_fails_leaves_no_counter(db: Path) -> None:
    """Half a backfill would be a limit that knows too little."""
    with TelemetryLogger(db) as logger:
        logger.log_invocation(record())
    with closing(open_for_writing(db, 0)) as connection:
        connection.execute("ALTER TABLE budget_windows RENAME TO away")
        with pytest.raises(sqlite3.OperationalError, match="no such table"):
            HoldKeeper(BudgetBook()).register(connection, Policies(compiled(policies(all=ALL))).counters, 0)
        assert not connection.in_transaction
        assert connection.execute("SELECT count(*) FROM budget_counters").fetchone() == (0,)


def test_a_registration_that_a_full_disk_has_rolled_back_is_not_rolled_back_again(db: Path) -> None:
    """The first error is what is told."""
    TelemetryLogger(db).close()

    class Full:
        def __init__(self, real: Any) -> None:
            self._real = real

        def __getattr__(self, name: str) -> Any:
            return getattr(self._real, name)

        def execute(self, sql: str, *parameters: Any) -> Any:
            if sql == "COMMIT":
                self._real.execute("ROLLBACK")
                raise sqlite3.OperationalError("database or disk is full")
            return self._real.execute(sql, *parameters)

    keys = Policies(compiled(policies(all=ALL))).counters
    with closing(open_for_writing(db, 0)) as connection:
        full: Any = Full(connection)
        with pytest.raises(sqlite3.OperationalError, match="disk is full"):
            HoldKeeper(BudgetBook()).register(full, keys, 0)


def test_a_counter_that_another_process_adds_is_counted_from_the_next_transaction_on(counted: Path) -> None:
    """Nobody has to open the file anew."""
    with TelemetryLogger(counted) as old:
        old.log_invocation(record())
        TelemetryLogger(counted, policies=policies(x={"scope": {"agent": "a"}, "weekly_budget_usd": 5})).close()
        old.log_invocation(record(0.5))
    assert totals(counted)["week"] == (USD * 3 // 4, 0, 0)


def test_more_names_than_are_remembered_are_counted_rightly(db: Path) -> None:
    """What a call is counted by is remembered for 4096 calls, not for ever."""
    limited = policies(users={"per": "user", "scope": {"agent": "*"}, "total_budget_usd": 100})
    with TelemetryLogger(db, retention_days=None, policies=limited) as logger:
        for number in range(4200):
            logger.log_invocation_nowait(record(0.001, user_id=f"u{number}"))
    found = check_books(db)
    assert len(found) == 4200
    assert {row[0] for row in found.values()} == {USD // 1000}


# Other costs


def test_a_record_that_gets_another_cost_changes_its_windows_and_frees_its_hold(connection: sqlite3.Connection) -> None:
    """What was unknown becomes known, to the nano-dollar."""
    (path,) = (Path(row[2]) for row in connection.execute("PRAGMA database_list"))
    with TelemetryLogger(path, policies=policies(all=ALL)) as logger:
        hold = logger.budgets.reserve(usd=2, tokens=50, agent_name="a")
        hold.settle(record(None, invocation_id=hold.hold_id, total_tokens=None))
        priced = record(0.5, invocation_id="priced")
        logger.log_invocation(priced)
        unpriced = record(0.25, invocation_id="unpriced")
        logger.log_invocation(unpriced)
    assert holds(path) == [(hold.hold_id, "unknown", 2 * USD, 50, 0)]
    book = BudgetBook()
    connection.execute("BEGIN IMMEDIATE")
    book.begin(connection)
    moment = priced.card[1]
    changes = [
        Recost(hold.hold_id, call_of(priced), moment, None, 1_234_567_891),
        Recost("priced", call_of(priced), moment, USD // 2, USD),
        Recost("unpriced", call_of(unpriced), moment, USD // 4, None),
        Recost("elsewhere", call_of(record(agent_name="a")), moment, None, None),
    ]
    book.recost(changes)
    for one in changes:
        cost = None if one.new_nanos is None else one.new_nanos / 1e9
        connection.execute("UPDATE invocations SET cost_usd = ? WHERE invocation_id = ?", (cost, one.invocation_id))
    connection.execute("COMMIT")
    assert totals(path)["day"] == (USD + 1_234_567_891, 0, 0)
    assert holds(path) == [(hold.hold_id, "unknown", 0, 50, 0)]  # its tokens are as unknown as before


def test_a_record_that_gets_a_cost_is_unpriced_no_longer_and_one_that_loses_it_is(
    connection: sqlite3.Connection,
) -> None:
    """`unpriced_calls` follows, however many records of a window change at once."""
    (path,) = (Path(row[2]) for row in connection.execute("PRAGMA database_list"))
    found: list[int] = []
    with TelemetryLogger(path, policies=policies(all=ALL)) as logger:
        made = [record(None, invocation_id=f"id-{number}") for number in range(3)]
        for one in made:
            logger.log_invocation(one)

        def recost(old: int | None, new: int | None, *which: int) -> None:
            book = BudgetBook()
            connection.execute("BEGIN IMMEDIATE")
            book.begin(connection)
            book.recost([Recost(f"id-{at}", call_of(made[at]), made[at].card[1], old, new) for at in which])
            connection.execute("COMMIT")
            found.extend(row["unpriced_calls"] for row in logger.budgets.status() if row["window"] == "day")

        recost(None, None, 0)
        recost(None, USD, 0, 1)
        recost(USD, 2 * USD, 1)
        recost(2 * USD, None, 1)
    assert found == [3, 1, 1, 2]


def test_recounting_without_holds_asks_for_none(connection: sqlite3.Connection) -> None:
    """Where nothing is held there is nothing to free."""
    book = BudgetBook()
    connection.execute("BEGIN IMMEDIATE")
    assert book.begin(connection)
    book.recost([Recost("x", call_of(record()), record().card[1], None, USD)])
    connection.execute("ROLLBACK")


def test_what_was_spent_before_the_clock_was_set_back_counts_on_in_a_rolling_window(counted: Path) -> None:
    """Its slices lie ahead now: a limit forgets nothing for it."""
    limited = policies(default={"limits": [{"window": "1h", "usd": 1}]})
    with TelemetryLogger(counted, policies=limited, retention_days=None) as logger:
        logger.log_invocation(record(0.6, timestamp=datetime.now(UTC) + timedelta(minutes=10)))
        with pytest.raises(BudgetExceeded, match=r"0\.6 spent"):
            logger.budgets.reserve(usd=0.5)
        (row,) = logger.budgets.status()
        assert (row["spent"], row["fits"]) == (0.6, True)
        assert [row["fits"] for row in logger.budgets.check(usd=0.5)] == [False]
        logger.budgets.reserve(usd=0.4)
    check_books(counted)


def test_a_hold_knows_its_windows_as_json(counted: Path) -> None:
    """Plain tables: SQL and its JSON functions can read them."""
    with TelemetryLogger(counted, policies=policies(all=ALL)) as logger:
        logger.budgets.reserve(usd=Decimal("0.1"), agent_name="a", user_id="ada", session_id="s")
        with closing(sqlite3.connect(counted)) as connection:
            places, names = connection.execute("SELECT windows, names FROM budget_holds").fetchone()
    assert [place[0] for place in json.loads(places)] == [1, 2, 3]
    assert json.loads(names) == {"agent": "a", "user": "ada", "session": "s"}
