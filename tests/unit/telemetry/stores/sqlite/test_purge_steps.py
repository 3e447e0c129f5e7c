"""A purge in steps, on real files: exactly the old rows go, whatever interrupts it, and daily totals stay."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llm_service.telemetry import TelemetryLogger
from llm_service.telemetry.queries.retention_coverage import count_old
from llm_service.telemetry.record.record import InvocationRecord
from llm_service.telemetry.record.timestamps import to_microseconds
from llm_service.telemetry.stores.retention import LEASE, Belief, Cutoffs, PurgeResult
from llm_service.telemetry.stores.sqlite import purge_steps
from llm_service.telemetry.stores.sqlite.batch_writer import SqliteBatchWriter
from llm_service.telemetry.stores.sqlite.opening import open_for_writing
from llm_service.telemetry.stores.sqlite.purge_steps import Purge, has_old, look

TODAY = datetime(2026, 11, 24, tzinfo=UTC)
NOW = to_microseconds(TODAY + timedelta(hours=12))
CUTOFF = "2026-11-14"
RECORDS = Cutoffs(CUTOFF, None)


class Clock:
    """A wall clock to be set, in microseconds."""

    def __init__(self, now: int = NOW) -> None:
        self.now = now

    def __call__(self) -> int:
        return self.now * 1000


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """A new telemetry file."""
    with closing(open_for_writing(tmp_path / "t.db", NOW)) as opened:
        yield opened


@pytest.fixture
def fill(connection: sqlite3.Connection) -> Callable[..., None]:
    """Write records of so many days ago, two for each, with contents for both."""
    return lambda ages, contents=True: write(connection, ages, contents=contents)


def write(connection: sqlite3.Connection, ages: Any, *, contents: bool = True, each: int = 2) -> None:
    """Store `each` records for every age in days, in this order, through the store's own writer."""
    writer = SqliteBatchWriter(f"writer-{id(ages)}", "metadata", clock_ns=lambda: NOW * 1000)
    batch = [
        InvocationRecord(timestamp=TODAY - timedelta(days=age) + timedelta(minutes=number), cost_usd=0.5, latency_ms=10)
        for age in ages
        for number in range(each)
    ]
    writer.write(connection, batch, batch_no=1, durable=False, slice_rows=25)
    if contents:
        connection.execute(
            "INSERT INTO invocation_contents SELECT id, 'p', 'r' FROM invocations "
            "WHERE id NOT IN (SELECT id FROM invocation_contents)"
        )


def finish(purge: Purge, connection: sqlite3.Connection) -> PurgeResult:
    """Step to the end."""
    steps = 0
    while not purge.done:
        purge.step(connection)
        steps += 1
        assert steps < 10_000
    return purge.result()


def ask(connection: sqlite3.Connection, sql: str, *parameters: Any) -> Any:
    """One value."""
    return connection.execute(sql, parameters).fetchone()[0]


def days(connection: sqlite3.Connection) -> set[str]:
    """The days that have records."""
    return {row[0] for row in connection.execute("SELECT DISTINCT substr(timestamp, 1, 10) FROM invocations")}


def totals(connection: sqlite3.Connection) -> Any:
    """All daily totals and buckets."""
    return [connection.execute(f"SELECT * FROM {table}").fetchall() for table in ("daily_costs", "quarter_hours")]


def test_whole_days_before_the_cut_off_go_and_totals_stay(
    connection: sqlite3.Connection, fill: Callable[..., None]
) -> None:
    """With their contents; the day of the cut-off, today and the future stay whole."""
    fill([20, 11, 10, 9, 0, -400])
    before = totals(connection)
    result = finish(Purge(RECORDS, "me"), connection)
    assert (result.records, result.contents, result.complete, result.dry_run) == (4, 4, True, False)
    assert days(connection) == {"2026-11-14", "2026-11-15", "2026-11-24", "2027-12-29"}
    assert ask(connection, "SELECT count(*) FROM invocation_contents") == 8
    assert totals(connection) == before
    assert ask(connection, "SELECT records_kept_since FROM retention") == CUTOFF == result.records_kept_since
    assert ask(connection, "SELECT holder FROM retention") is None
    assert ask(connection, "PRAGMA integrity_check") == "ok"


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    ages=st.lists(st.integers(-3, 40), max_size=30),
    record_days=st.none() | st.integers(0, 35),
    content_days=st.none() | st.integers(0, 35),
    rows=st.integers(1, 7),
)
def test_exactly_what_is_older_goes_whatever_the_order_of_arrival(
    tmp_path_factory: pytest.TempPathFactory,
    ages: list[int],
    record_days: int | None,
    content_days: int | None,
    rows: int,
) -> None:
    """In steps of a few rows, with contents that live shorter or (only on paper) longer than their records."""
    with closing(open_for_writing(tmp_path_factory.mktemp("purge") / "t.db", NOW)) as connection:
        if ages:
            write(connection, ages)
        before = totals(connection)
        first, content_first = (
            None if kept is None else (TODAY - timedelta(days=kept)).date().isoformat()
            for kept in (record_days, content_days)
        )
        stored = connection.execute("SELECT id, timestamp FROM invocations ORDER BY id").fetchall()
        purge = Purge(Cutoffs(first, content_first), "me")
        purge.rows.now = rows
        purge.rows.most = rows
        finish(purge, connection)
        kept = [row for row in stored if first is None or row[1] >= first]
        assert connection.execute("SELECT id, timestamp FROM invocations ORDER BY id").fetchall() == kept
        contents = [id_ for id_, timestamp in kept if content_first is None or timestamp >= content_first]
        assert [row[0] for row in connection.execute("SELECT id FROM invocation_contents ORDER BY id")] == contents
        assert purge.records == len(stored) - len(kept)
        assert purge.contents == len(stored) - len(contents)
        assert totals(connection) == before


def test_contents_may_go_sooner_than_their_records(connection: sqlite3.Connection, fill: Callable[..., None]) -> None:
    """Contents that no record has go as well; no record is touched and no day claimed to be gone."""
    fill([20, 5, 1])
    connection.execute("INSERT INTO invocation_contents (id, prompt) VALUES (999, 'orphan')")
    result = finish(Purge(Cutoffs(None, "2026-11-20"), "me"), connection)
    assert (result.records, result.contents) == (0, 5)
    assert ask(connection, "SELECT count(*) FROM invocations") == 6
    assert ask(connection, "SELECT count(*) FROM invocation_contents") == 2
    assert ask(connection, "SELECT records_kept_since FROM retention") is None


def test_dead_letters_and_receipts_age_out_too(connection: sqlite3.Connection) -> None:
    """By the time they were written."""
    for moment in ("2026-11-13 23:59:59.999999Z", "2026-11-14 00:00:00.000000Z"):
        connection.execute("INSERT INTO dead_letters (quarantined_at, error, record) VALUES (?, 'e', '{}')", (moment,))
        connection.execute("INSERT INTO receipts VALUES (?, 1, ?, 6)", (moment, moment))
    assert has_old(connection, RECORDS, thorough=False)
    assert finish(Purge(RECORDS, "me"), connection).dead_letters == 1
    assert ask(connection, "SELECT min(quarantined_at) FROM dead_letters") == "2026-11-14 00:00:00.000000Z"
    assert ask(connection, "SELECT count(*) FROM receipts") == 1


def test_what_is_gone_is_said_in_the_transaction_of_the_first_deletion(
    connection: sqlite3.Connection, fill: Callable[..., None], tmp_path: Path
) -> None:
    """After any number of steps a reader finds every day that the file claims to keep."""
    fill(range(30))
    purge = Purge(RECORDS, "me")
    purge.rows.now = purge.rows.most = 3
    with closing(sqlite3.connect(tmp_path / "t.db")) as reader:
        while not purge.done:
            purge.step(connection)
            rows = ask(reader, "SELECT count(*) FROM invocations")
            assert (ask(reader, "SELECT records_kept_since FROM retention") == CUTOFF) == (rows < 60)
            assert ask(reader, "SELECT count(*) FROM invocations WHERE timestamp >= ?", CUTOFF) == 22


def test_a_later_purge_of_less_does_not_take_back_what_is_said_to_be_gone(
    connection: sqlite3.Connection, fill: Callable[..., None]
) -> None:
    """`records_kept_since` only rises, also beside a purge of contents alone."""
    fill([30, 20])
    finish(Purge(RECORDS, "me"), connection)
    fill([40, 5])
    finish(Purge(Cutoffs("2026-11-01", "2026-11-20"), "me"), connection)
    finish(Purge(Cutoffs(None, "2026-11-23"), "me"), connection)
    assert ask(connection, "SELECT records_kept_since FROM retention") == CUTOFF


def test_a_purge_with_nothing_to_do_writes_nothing(connection: sqlite3.Connection, fill: Callable[..., None]) -> None:
    """The file does not change."""
    fill([1], contents=False)
    before = connection.total_changes
    assert not has_old(connection, RECORDS, thorough=True)
    assert finish(Purge(Cutoffs(CUTOFF, "2026-11-20"), "me"), connection) == PurgeResult(records_kept_since=CUTOFF)
    assert connection.total_changes == before


def test_an_id_is_free_again_once_its_record_is_gone(connection: sqlite3.Connection) -> None:
    """Ids are unique within the retention."""
    old = InvocationRecord(invocation_id="one", timestamp=TODAY - timedelta(days=100))
    writer = SqliteBatchWriter("w", "metadata", clock_ns=lambda: NOW * 1000)
    for number, duplicates in ((1, 0), (2, 1)):
        result = writer.write(connection, [old], batch_no=number, durable=False, slice_rows=25)
        assert len(result.duplicates) == duplicates
    finish(Purge(RECORDS, "me"), connection)
    assert not writer.write(connection, [old], batch_no=3, durable=False, slice_rows=25).duplicates


# Pages


def test_pages_are_given_back(connection: sqlite3.Connection, tmp_path: Path) -> None:
    """In steps; the file shrinks by what is reported, and its WAL stays short meanwhile."""
    write(connection, range(40), each=100)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    before = (tmp_path / "t.db").stat().st_size
    result = finish(Purge(Cutoffs("2026-11-23", None), "me"), connection)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    after = (tmp_path / "t.db").stat().st_size
    assert result.records == 3800
    assert ask(connection, "PRAGMA freelist_count") == 0
    assert after < before / 4
    assert result.bytes_freed == before - after


def test_a_purge_that_was_killed_before_it_gave_pages_back_is_finished(
    connection: sqlite3.Connection,
) -> None:
    """The next thorough look finds free pages; one that is not does not care."""
    write(connection, range(40), each=50)
    purge = Purge(RECORDS, "dead")
    while not ask(connection, "PRAGMA freelist_count") or has_old(connection, RECORDS, thorough=False):
        purge.step(connection)
    assert not has_old(connection, RECORDS, thorough=False)
    assert has_old(connection, RECORDS, thorough=True)
    finish(Purge(RECORDS, "me"), connection)
    assert ask(connection, "PRAGMA freelist_count") == 0


def test_a_file_made_without_auto_vacuum_is_purged_and_keeps_its_size(tmp_path: Path) -> None:
    """Its pages are used again."""
    path = tmp_path / "t.db"
    open_for_writing(path, NOW).close()
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("PRAGMA journal_mode = DELETE")
        other.execute("PRAGMA auto_vacuum = NONE")
        other.execute("VACUUM")
    with closing(open_for_writing(path, NOW)) as connection:
        assert ask(connection, "PRAGMA auto_vacuum") == 0
        write(connection, range(40), each=50)
        result = finish(Purge(RECORDS, "me"), connection)
        assert (result.records, result.bytes_freed) == (1450, 0)
        assert ask(connection, "PRAGMA freelist_count") > 0
        assert not has_old(connection, RECORDS, thorough=True)
        assert ask(connection, "PRAGMA integrity_check") == "ok"


def test_what_is_deleted_is_overwritten(connection: sqlite3.Connection, tmp_path: Path) -> None:
    """No old prompt can be read out of the file's bytes."""
    write(connection, [20, 0])
    connection.execute("UPDATE invocation_contents SET prompt = 'the secret plan' WHERE id = 1")
    finish(Purge(RECORDS, "me"), connection)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    connection.close()
    assert b"the secret plan" not in (tmp_path / "t.db").read_bytes()


def test_a_foreign_reader_stops_the_purge_before_the_wal_grows_without_bound(
    connection: sqlite3.Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is stuck, says so, deletes no more, and goes on when the reader ends."""
    monkeypatch.setattr(purge_steps, "_STUCK_PAGES", 20)
    write(connection, range(40), each=50)
    purge = Purge(RECORDS, "me")
    purge.rows.now = purge.rows.most = 100
    with closing(sqlite3.connect(tmp_path / "t.db", isolation_level=None)) as reader:
        reader.execute("BEGIN")
        ask(reader, "SELECT count(*) FROM invocations")
        while not purge.stuck:
            purge.step(connection)
        done = purge.records
        purge.step(connection)
        assert (purge.records, purge.stuck) == (done, True)
        assert 0 < done < 1450
    finish(purge, connection)
    assert (purge.records, purge.stuck) == (1450, False)


# Others


def test_receipts_stay_as_long_as_their_writer_s_crash_journal_is_there(connection: sqlite3.Connection) -> None:
    """Its own and its replay's; those of all others go when they are old."""
    rows = ("dead", "dead:replay", "gone", "gone:replay", "dea", "ead")
    connection.executemany(
        "INSERT INTO receipts VALUES (?, 7, '2026-01-01T00:00:00.000000Z', 6)", [(row,) for row in rows]
    )
    finish(Purge(RECORDS, "me", awaited=lambda: {"dead", "living"}), connection)
    assert {row[0] for row in connection.execute("SELECT writer_id FROM receipts")} == {"dead", "dead:replay"}
    finish(Purge(RECORDS, "me"), connection)
    assert ask(connection, "SELECT count(*) FROM receipts") == 0


def test_another_process_that_purges_is_left_alone_until_it_is_silent(
    connection: sqlite3.Connection, fill: Callable[..., None]
) -> None:
    """A holder that died is replaced after its lease."""
    fill([20])
    clock = Clock()
    dead = Purge(RECORDS, "dead", clock_ns=clock)
    dead.rows.now = dead.rows.most = 1
    dead.step(connection)
    assert dead.records == 1
    polite = Purge(RECORDS, "me", clock_ns=clock)
    polite.step(connection)
    assert (polite.held, polite.done, polite.records) == (True, True, 0)
    assert ask(connection, "SELECT holder FROM retention") == "dead"
    clock.now += LEASE + 1
    assert finish(Purge(RECORDS, "me", clock_ns=clock), connection).records == 1


def test_a_purge_that_was_asked_for_takes_over_and_the_other_stops(
    connection: sqlite3.Connection, fill: Callable[..., None]
) -> None:
    """What somebody waits for does not wait for a lease; nothing is deleted twice."""
    fill([20, 19])
    background, asked = Purge(RECORDS, "background"), Purge(RECORDS, "asked", takes_over=True)
    for purge in (background, asked):
        purge.rows.now = purge.rows.most = 1
        purge.step(connection)
    background.step(connection)
    assert (background.held, background.done) == (True, True)
    assert finish(asked, connection).records + background.records == 4


def test_a_walk_through_contents_stops_for_the_lease_too(
    connection: sqlite3.Connection, fill: Callable[..., None]
) -> None:
    """Every transaction asks."""
    fill([20])
    connection.execute("UPDATE retention SET holder = 'other', held_until = '2026-11-24 12:00:10.000000Z'")
    purge = Purge(Cutoffs(None, CUTOFF), "me", clock_ns=Clock())
    purge.step(connection)
    assert (purge.held, purge.contents) == (True, 0)


def test_a_locked_file_is_not_waited_for_and_nothing_is_half_done(
    connection: sqlite3.Connection, fill: Callable[..., None], tmp_path: Path
) -> None:
    """The step raises at once, the connection waits for locks as before, and the next step goes on."""
    fill([20])
    purge = Purge(RECORDS, "me")
    with closing(sqlite3.connect(tmp_path / "t.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            purge.step(connection)
        assert not connection.in_transaction
        assert ask(connection, "PRAGMA busy_timeout") == 200
    assert finish(purge, connection).records == 2


def test_a_full_disk_in_the_middle_of_a_step_does_no_harm(
    connection: sqlite3.Connection, fill: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The step is undone as a whole and may be tried again."""
    fill([20, 5])
    purge = Purge(RECORDS, "me")
    whole = purge_steps.DELETE_RECORDS
    huge = "INSERT INTO dead_letters (quarantined_at, error, record) SELECT ?, ?, zeroblob(9000000)"
    monkeypatch.setattr(purge_steps, "DELETE_RECORDS", huge)
    connection.execute(f"PRAGMA max_page_count = {ask(connection, 'PRAGMA page_count') + 2}").fetchone()
    with pytest.raises(sqlite3.OperationalError, match="full"):
        purge.step(connection)
    assert not connection.in_transaction
    assert ask(connection, "SELECT count(*) FROM invocation_contents") == 4
    assert ask(connection, "SELECT records_kept_since FROM retention") is None
    monkeypatch.setattr(purge_steps, "DELETE_RECORDS", whole)
    assert finish(purge, connection).records == 2
    assert ask(connection, "PRAGMA integrity_check") == "ok"


def test_a_step_that_sqlite_rolled_back_by_itself_raises_its_cause(
    connection: sqlite3.Connection, fill: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a full disk or an I/O error may do; a second ROLLBACK would hide why."""
    fill([20])
    purge = Purge(RECORDS, "me")
    monkeypatch.setattr(purge_steps, "DELETE_RECORDS", "INSERT OR ROLLBACK INTO receipts VALUES (?, ?, NULL, 6)")
    with pytest.raises(sqlite3.IntegrityError, match="NOT NULL"):
        purge.step(connection)
    assert not connection.in_transaction
    assert ask(connection, "SELECT count(*) FROM invocation_contents") == 2


# Looking


def test_a_look_remembers_the_clock_once_an_hour(connection: sqlite3.Connection) -> None:
    """A new file believes the clock that made it; looks in between write nothing."""
    before = connection.total_changes
    assert look(connection, NOW + 59 * 60_000_000) == Belief(NOW + 59 * 60_000_000)
    assert connection.total_changes == before
    assert look(connection, NOW + 3_600_000_000) == Belief(NOW + 3_600_000_000)
    assert ask(connection, "SELECT clock_believed_until FROM retention") == "2026-11-24 13:00:00.000000Z"


def test_a_leap_is_remembered_across_processes(connection: sqlite3.Connection) -> None:
    """The doubt stands in the file, and so does its end."""
    leapt = NOW + 400 * 86_400_000_000
    assert look(connection, leapt).doubted
    assert look(connection, leapt + 1) == Belief(NOW, leapt, leapt + 1)
    assert look(connection, NOW + 1) == Belief(NOW + 1)
    assert ask(connection, "SELECT clock_leapt_to FROM retention") is None


@pytest.mark.parametrize("now", [-5, 2**80])
def test_a_clock_out_of_all_bounds_is_looked_at_as_well(connection: sqlite3.Connection, now: int) -> None:
    """It counts as 1970, or as 9999."""
    assert look(connection, now).until in {0, NOW}


def test_a_file_whose_row_is_gone_gets_it_back(connection: sqlite3.Connection, fill: Callable[..., None]) -> None:
    """Nothing is known then, so the clock has to stand; a purge that was asked for goes on."""
    connection.execute("DELETE FROM retention")
    assert look(connection, NOW) == Belief(None, NOW, NOW)
    connection.execute("DELETE FROM retention")
    fill([20])
    assert finish(Purge(RECORDS, "me"), connection).records == 2
    assert ask(connection, "SELECT records_kept_since FROM retention") == CUTOFF


def test_counting_tells_what_would_go(connection: sqlite3.Connection, fill: Callable[..., None]) -> None:
    """And a purge then finds exactly that."""
    fill([20, 11, 10])
    counted = count_old(lambda query: connection.execute(*query).fetchall(), CUTOFF)
    assert counted == PurgeResult(records=4, contents=4, records_kept_since=CUTOFF, dry_run=True)
    result = finish(Purge(RECORDS, "me"), connection)
    assert (result.records, result.contents) == (4, 4)


def test_the_oldest_are_found_by_an_index(connection: sqlite3.Connection) -> None:
    """A step never walks the table."""
    plan = connection.execute(f"EXPLAIN QUERY PLAN {purge_steps.DELETE_RECORDS}", ("x", 1)).fetchall()
    assert any("idx_invocations_timestamp" in row[3] for row in plan)
    assert not any(row[3].startswith("SCAN") for row in plan)


@pytest.mark.parametrize("key", ["CAST(x'ff80c3' AS TEXT)", "CAST('blob' AS BLOB)", "'zz'"])
def test_a_purge_ends_whatever_the_key_of_a_receipt_is(key: str, tmp_path: Path) -> None:
    """It goes on from the bytes that are stored, not from what can be read of them."""
    path = tmp_path / "telemetry.db"
    with TelemetryLogger(path, retention_days=None) as logger:
        logger.log_invocation(InvocationRecord(timestamp=datetime(2026, 1, 1, tzinfo=UTC)))
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(f"UPDATE receipts SET writer_id = {key}, committed_at = '2026-01-01 00:00:00.000000Z'")
    with TelemetryLogger(path, retention_days=None) as logger:
        assert logger.purge(1).records == 1
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT count(*) FROM receipts WHERE committed_at < '2026-02'").fetchone() == (0,)
