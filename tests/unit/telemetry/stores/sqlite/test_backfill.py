"""What an older file held before `quarter_hours` is counted once, whoever writes, deletes, reprices or dies meanwhile."""

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.older_files import as_version_5, write_as_version_5

from llm_service.telemetry.maintenance.daily_totals import add_bucket_function, read_quarters
from llm_service.telemetry.maintenance.doctor import examine
from llm_service.telemetry.maintenance.repair import repair, repair_day
from llm_service.telemetry.queries.filters import InvocationFilter
from llm_service.telemetry.queries.quarter_coverage import backfilled_share
from llm_service.telemetry.queries.questions import read_statistics_of
from llm_service.telemetry.queries.time_range import TimeRange
from llm_service.telemetry.record.record import InvocationRecord
from llm_service.telemetry.record.timestamps import microseconds_text
from llm_service.telemetry.stores.retention import LEASE, Cutoffs
from llm_service.telemetry.stores.sqlite import backfill
from llm_service.telemetry.stores.sqlite.backfill import Backfill, quarters_of
from llm_service.telemetry.stores.sqlite.batch_writer import SqliteBatchWriter
from llm_service.telemetry.stores.sqlite.budget_counting import BudgetBook
from llm_service.telemetry.stores.sqlite.older_latencies import wait_to_be_packed
from llm_service.telemetry.stores.sqlite.opening import open_for_writing
from llm_service.telemetry.stores.sqlite.purge_steps import Purge
from llm_service.telemetry.stores.sqlite.reader import read
from llm_service.telemetry.stores.sqlite.recosting import Change, NewCost, recost
from llm_service.telemetry.stores.sqlite.rollup_progress import read_progress

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
CALLS = 400
MATTERS = ("aggregates", "values", "schema")


def call(number: int) -> InvocationRecord:
    """One of many calls of twelve days; some are spans, untimed, unpriced or failed."""
    return InvocationRecord(
        invocation_id=f"call-{number}",
        timestamp=NOW - timedelta(minutes=number * 37 % 17_280),
        agent_name=f"agent-{number % 3}",
        total_tokens=number if number % 6 else None,
        cost_usd=None if number % 5 == 0 else 0.001 * number,
        latency_ms=None if number % 4 == 0 else 3.7 * number,
        status="error" if number % 11 == 0 else "success",
        operation="agent" if number % 13 == 0 else "chat",
    )


class Writers:
    """Write calls, each of which is another."""

    def __init__(self) -> None:
        self._numbers, self._batches = count(), count(1)
        self._writer = SqliteBatchWriter("writer", "metadata")

    def write(self, connection: sqlite3.Connection, calls: int) -> None:
        """Commit so many."""
        batch = [call(next(self._numbers)) for _ in range(calls)]
        self._writer.write(connection, batch, batch_no=next(self._batches), durable=False, slice_rows=25)


def make_older(path: Path, calls: int = CALLS) -> Writers:
    """A file of version 5 that holds calls."""
    writers = Writers()
    with closing(open_for_writing(path, 0)) as connection:
        writers.write(connection, calls)
    with closing(sqlite3.connect(path)) as connection:
        as_version_5(connection)
        connection.commit()
    return writers


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the file is."""
    return tmp_path / "older.db"


@pytest.fixture(autouse=True)
def _small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps of 20 records."""
    monkeypatch.setattr(backfill, "Pace", lambda *_: _Steady())


class _Steady:
    now = 20

    def took(self, _ms: float) -> None:
        """Stay as it is."""


@pytest.fixture
def migrated(path: Path) -> Iterator[tuple[sqlite3.Connection, Writers]]:
    """An older file that was just opened by this version, and who writes into it."""
    writers = make_older(path)
    with closing(open_for_writing(path, 0)) as connection:
        yield connection, writers


def statistics(path: Path, since: datetime = NOW - timedelta(days=7.7)) -> dict[str, Any]:
    """From a moment on, by what daily totals, quarters and records have."""
    days = TimeRange(since, None, UTC)
    return read(path, lambda fetch: read_statistics_of(fetch, days, InvocationFilter())[0])


def finish(connection: sqlite3.Connection, holder: str = "me") -> int:
    """Step until all is counted; how many steps it took."""
    steps = Backfill()
    return next(number for number in count(1) if steps.step(connection, holder) is None)


def packed(connection: sqlite3.Connection) -> int:
    """Step until all latencies are packed; how many steps it took."""
    steps, taken = Backfill(), 0
    while wait_to_be_packed(connection):
        steps.step(connection, "me")
        taken += 1
    return taken


def is_right(connection: sqlite3.Connection) -> bool:
    """Whether the totals are those of the records, where all of them are kept."""
    return _of_time(read_quarters(connection, "")) == _of_time(quarters_of(connection, "TRUE", ()))


def _of_time(quarters: dict[str, Any]) -> dict[str, Any]:
    return {quarter: totals for quarter, totals in quarters.items() if quarter.startswith("20")}


def test_records_of_an_older_file_are_counted_in_steps_and_writers_go_on(
    migrated: tuple[sqlite3.Connection, Writers], path: Path
) -> None:
    """It is complete at the end, and says how far it is on the way; statistics are right all the time."""
    connection, writers = migrated
    steps, shares = Backfill(), []
    known = statistics(path)
    while steps.step(connection, "me") is not None:
        assert statistics(path)["total_invocations"] >= known["total_invocations"]
        if not wait_to_be_packed(connection):
            shares.append(read(path, backfilled_share))
        writers.write(connection, 3)
    assert len(shares) == CALLS // 20
    assert shares == sorted(shares)
    del shares[0]  # of the step that packed the last latencies
    assert 0 < shares[0] < shares[-1] < 1
    assert read(path, backfilled_share) == 1
    assert read_progress(connection) == (0, "")
    assert is_right(connection)
    assert [found.seen for found in examine(path) if found.exit_code and found.check in MATTERS] == []


def test_latencies_are_packed_in_steps_and_read_the_same_meanwhile(
    migrated: tuple[sqlite3.Connection, Writers], path: Path
) -> None:
    """The opening left them as they were."""
    connection, _ = migrated
    counted = "SELECT daily_cost_id, bucket, sum(invocations) FROM latency_counts GROUP BY 1, 2"
    known, rows = statistics(path), connection.execute(counted).fetchall()
    assert known["p50_latency_ms"] is not None
    assert connection.execute("SELECT count(*) FROM daily_costs WHERE latency_buckets <> x''").fetchone() == (0,)
    steps = Backfill()
    taken = 0
    while wait_to_be_packed(connection):
        steps.step(connection, "me")
        taken += 1
        assert statistics(path) == known
        assert connection.execute(counted).fetchall() == rows
    assert taken > 3
    assert read_progress(connection).uncounted_to == CALLS


def test_odd_rows_of_older_latencies_are_left_out(migrated: tuple[sqlite3.Connection, Writers], path: Path) -> None:
    """They stop neither readers nor the steps."""
    connection, _ = migrated
    odd = "INSERT INTO daily_latency VALUES (1, ?, ?), (?, 1, 1)"
    connection.execute(odd, (b"\xff", "x", "no id"))
    connection.execute("INSERT INTO daily_latency VALUES (1, CAST(x'ff' AS TEXT), 1)")
    known = statistics(path)
    packed(connection)
    assert statistics(path) == known
    finish(connection)
    assert is_right(connection)


def test_a_writer_of_version_5_that_is_still_open_goes_on_and_all_is_counted_once(
    migrated: tuple[sqlite3.Connection, Writers], path: Path
) -> None:
    """Its records, daily totals and latencies are there at once; `quarter_hours` is counted anew after it."""
    connection, writers = migrated
    finish(connection)
    assert read_progress(connection).complete_since is not None
    writers.write(connection, 10)
    with closing(open_for_writing(path, 0)) as older:
        write_as_version_5(older, [call(number) for number in range(90_000, 90_050)])
    assert read_progress(connection).complete_since is None
    (seen,) = [found.seen for found in examine(path) if found.check == "aggregates"]
    assert "quarter_hours counts 0% of the older ones" in seen
    assert "a process of an older release still writes" in seen
    known = statistics(path)
    assert [found.seen for found in examine(path) if found.exit_code and found.check in MATTERS] == []
    finish(connection)
    assert statistics(path) == known
    writers.write(connection, 10)
    assert is_right(connection)
    assert read_progress(connection) == (0, "")
    assert [found.seen for found in examine(path) if found.exit_code and found.check in MATTERS] == []


def test_while_a_writer_of_version_5_commits_latencies_are_packed_and_nothing_is_counted_anew(
    migrated: tuple[sqlite3.Connection, Writers],
) -> None:
    """Half a minute after its last commit the counting begins."""
    connection, _ = migrated
    now = 10**18
    committed_at = microseconds_text(now // 1000)
    write_as_version_5(connection, [call(number) for number in range(90_000, 90_050)], committed_at)
    steps = Backfill(lambda: now)
    while wait_to_be_packed(connection):
        assert steps.step(connection, "me") == 0.0
    assert steps.step(connection, "me") == pytest.approx(LEASE / 1e6)
    assert connection.execute("SELECT count(*) FROM quarter_hours").fetchone() == (0,)
    assert Backfill(lambda: now + 1_000 * LEASE + 10**9).step(connection, "me") == 0.0
    finish(connection)
    assert is_right(connection)


def test_a_repair_beside_a_writer_of_version_5_counts_its_latencies_once(
    migrated: tuple[sqlite3.Connection, Writers], path: Path
) -> None:
    """They are packed before totals are compared."""
    connection, _ = migrated
    finish(connection)
    write_as_version_5(connection, [call(number) for number in range(90_000, 90_050)])
    days = [day for (day,) in connection.execute("SELECT DISTINCT date FROM daily_costs")]
    connection.execute("UPDATE rollup_progress SET complete_since = '', uncounted_to = 0")
    add_bucket_function(connection)
    assert sum(repair_day(connection, day, "now") for day in days) > 0
    assert not wait_to_be_packed(connection)
    assert is_right(connection)
    assert repair(path) == []


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(doings=st.lists(st.sampled_from("sswwopdrR"), max_size=30))
def test_each_record_is_counted_once_whatever_happens_in_which_order(
    tmp_path_factory: pytest.TempPathFactory, doings: list[str]
) -> None:
    """Steps, commits, a purge, rows deleted by hand so that ids are used again, new costs, and a reopened file."""
    path = tmp_path_factory.mktemp("backfill") / "older.db"
    writers, older = make_older(path, 100), count(90_000)
    connection = open_for_writing(path, 0)
    try:
        steps = Backfill()
        for doing in doings:
            if doing == "s":
                steps.step(connection, "me")
            elif doing == "w":
                writers.write(connection, 7)
            elif doing == "o":
                write_as_version_5(connection, [call(next(older)) for _ in range(5)])
            elif doing == "p":
                purge = Purge(Cutoffs("2026-11-18", None), "me")
                while not purge.done:
                    purge.step(connection)
            elif doing == "d" and read_progress(connection).complete_since is None:
                _delete_newest(connection)
            elif doing == "r":
                _reprice(connection)
            elif doing == "R":
                connection.close()
                connection = open_for_writing(path, 0)
        finish(connection)
        since = read_progress(connection).complete_since
        assert since in {"", "2026-11-18"}
        assert "p" in doings or is_right(connection)
        assert _newer(read_quarters(connection, "")) == _newer(quarters_of(connection, "TRUE", ()))
    finally:
        connection.close()


def _newer(quarters: dict[str, Any]) -> dict[str, Any]:
    return {quarter: totals for quarter, totals in quarters.items() if quarter >= "2026-11-18"}


def _delete_newest(connection: sqlite3.Connection) -> None:
    """Those of an older file that are not counted yet, with all after them: their ids are used again."""
    progress = read_progress(connection)
    (newest,) = connection.execute("SELECT coalesce(max(id), 0) FROM invocations").fetchone()
    if newest == progress.uncounted_to:
        connection.execute("DELETE FROM invocations WHERE id > ?", (newest - 15,))


def _reprice(connection: sqlite3.Connection) -> None:
    rows = connection.execute(
        "SELECT id, invocation_id, agent_name, timestamp, operation, cost_usd FROM invocations WHERE id % 10 = 0"
    ).fetchall()
    costs = [
        NewCost(
            row_id, 2.5, "computed", usd, None,
            Change(name, None, agent, None, None, None, None, None, operation, moment,
                   None if usd is None else int(usd * 1e9 + 0.5), 2_500_000_000),
        )
        for row_id, name, agent, moment, operation, usd in rows
        if usd != 2.5
    ]  # fmt: skip
    connection.execute("BEGIN IMMEDIATE")
    recost(connection, BudgetBook(), costs)
    connection.execute("COMMIT")


def test_ids_that_are_used_again_after_a_purge_of_all_are_counted_once(
    migrated: tuple[sqlite3.Connection, Writers],
) -> None:
    """The newest row is gone, so that the next one gets an id that waits to be counted."""
    connection, writers = migrated
    connection.execute("DELETE FROM invocations")
    writers.write(connection, 5)
    assert read_progress(connection).uncounted_to == 0
    finish(connection)
    assert is_right(connection)


def test_another_process_waits_for_the_lease_and_takes_over_when_it_has_ended(
    migrated: tuple[sqlite3.Connection, Writers],
) -> None:
    """One at a time holds the write lock for it."""
    connection, _ = migrated
    packed(connection)
    connection.execute("UPDATE rollup_progress SET holder = NULL")
    now = 10**18
    one, other = Backfill(lambda: now), Backfill(lambda: now + 1_000 * LEASE + 10**9)
    assert one.step(connection, "one") == 0.0
    assert Backfill(lambda: now).step(connection, "other") == pytest.approx(LEASE / 1e6)
    assert other.step(connection, "other") == 0.0
    assert Backfill(lambda: now + 1_000 * LEASE + 10**9).step(connection, "one") == pytest.approx(LEASE / 1e6)
    connection.execute("UPDATE rollup_progress SET held_until = '2020-01-01 00:00:00.000000Z'")
    finish(connection)
    assert is_right(connection)


def test_days_whose_records_were_deleted_before_they_were_counted_come_from_daily_totals(
    migrated: tuple[sqlite3.Connection, Writers], path: Path
) -> None:
    """They are kept for ever; `quarter_hours` says from which day on it has all."""
    connection, _ = migrated
    since = datetime(2026, 11, 1, tzinfo=UTC)
    known = statistics(path, since)
    purge = Purge(Cutoffs("2026-11-18", None), "me")
    while not purge.done:
        purge.step(connection)
    finish(connection)
    assert read_progress(connection) == (0, "2026-11-18")
    assert statistics(path, since) == known | {"records_since": "2026-11-18"}


def test_a_step_waits_for_no_lock_and_leaves_nothing_of_itself(
    migrated: tuple[sqlite3.Connection, Writers], path: Path
) -> None:
    """It is tried again; the connection waits for others as before."""
    connection, _ = migrated
    with closing(open_for_writing(path, 0)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            Backfill().step(connection, "me")
        other.execute("ROLLBACK")
    assert read_progress(connection).uncounted_to == CALLS
    assert connection.execute("PRAGMA busy_timeout").fetchone() != (0,)
    packed(connection)
    assert finish(connection) == CALLS // 20


@pytest.mark.parametrize(
    "odd", ["cost_usd = 'x'", "latency_ms = x'00ff'", "total_tokens = 1.5", "timestamp = x'ff00'", "timestamp = 'now'",
            "operation = 7", "prompt_tokens = 9e18", "latency_ms = -1"],
)  # fmt: skip
def test_odd_rows_do_not_stop_it(migrated: tuple[sqlite3.Connection, Writers], odd: str) -> None:
    """What no writer wrote counts as unknown, as for the doctor."""
    connection, _ = migrated
    connection.execute(f"UPDATE invocations SET {odd} WHERE id % 50 = 1")
    finish(connection)
    assert is_right(connection)


KILLED = """
import sys
from llm_service.telemetry import InvocationRecord, TelemetryLogger
from llm_service.telemetry.stores.sqlite import backfill
backfill.Pace = lambda *_: type("Pace", (), {"now": 2, "took": lambda *_: None})()
with TelemetryLogger(sys.argv[1], retention_days=None, models=False, policies=False) as logger:
    for number in range(10**9):
        logger.log_invocation_nowait(InvocationRecord(agent_name="new", latency_ms=number % 100))
        if number % 50 == 0:
            logger.flush()
            print("wrote", flush=True)
"""


@pytest.mark.volume
def test_a_process_that_is_killed_in_the_middle_leaves_the_rest_to_the_next(path: Path) -> None:
    """Nothing is counted twice, and nothing is left out."""
    make_older(path, 4 * CALLS)
    for _ in range(2):
        with subprocess.Popen([sys.executable, "-c", KILLED, str(path)], stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            for line in process.stdout:
                share = read(path, backfilled_share)
                if line and share is not None and 0 < share < 1:
                    break
            os.kill(process.pid, signal.SIGKILL)
    with closing(open_for_writing(path, 0)) as connection:
        assert 0 < read_progress(connection).uncounted_to < 4 * CALLS
        finish(connection)
        assert is_right(connection)


def test_a_repair_counts_what_is_left(migrated: tuple[sqlite3.Connection, Writers], path: Path) -> None:
    """A dry run says so; the doctor says how far it is."""
    connection, _ = migrated
    packed(connection)
    Backfill().step(connection, "me")
    (seen,) = [found.seen for found in examine(path) if found.check == "aggregates"]
    assert "quarter_hours counts 5% of the older ones" in seen
    connection.execute("UPDATE rollup_progress SET holder = NULL, held_until = NULL")
    assert [action.what for action in repair(path, dry_run=True)] == [
        f"quarter_hours: count the records up to {CALLS - 20}"
    ]
    assert [action.what for action in repair(path)] == [f"quarter_hours: counted the records up to {CALLS - 20}"]
    assert is_right(connection)
    assert repair(path) == []
