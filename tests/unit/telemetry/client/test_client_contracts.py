"""The two faces: what each call returns, raises, counts and leaves behind."""

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
from tests.inside import core_of, engine_of

from llm_service.config.schemas import TelemetryConfig
from llm_service.telemetry import (
    AsyncTelemetryLogger,
    CommitTimeoutError,
    DatabaseUnusableError,
    DropReason,
    DuplicateInvocationError,
    InvocationRecord,
    RecordDroppedError,
    RecordQuarantinedError,
    SettingsError,
    StoreError,
    TelemetryLogger,
    UnsupportedLoopError,
)
from llm_service.telemetry.writer.ledger import Outcome


@pytest.fixture
def db(tmp_path: Path) -> Path:
    """Where a test's database goes."""
    return tmp_path / "telemetry.db"


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the write lock from another connection."""
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        holder.execute("ROLLBACK")
        holder.close()


def until(condition: Callable[[], bool]) -> None:
    """Poll, with a deadline."""
    deadline = monotonic() + 10
    while not condition():
        assert monotonic() < deadline
        threading.Event().wait(0.005)


# The sync face


def test_a_sync_record_is_committed_on_return(db: Path) -> None:
    """Another connection sees it at once."""
    with TelemetryLogger(db) as logger:
        assert logger.log_invocation(InvocationRecord(agent_name="a")) is True
        assert logger.log_invocation(InvocationRecord(agent_name="b"), durable=True) is True
        connection = sqlite3.connect(db)
        assert connection.execute("SELECT count(*) FROM invocations").fetchone() == (2,)
        connection.close()
        assert logger.stats().ledger.written == 2
        assert not logger.stats().writer_alive


def test_tables_exist_after_construction(db: Path) -> None:
    """Direct SQL works before the first record."""
    with TelemetryLogger(str(db)) as logger:
        connection = sqlite3.connect(logger.db_path)
        assert connection.execute("SELECT count(*) FROM daily_costs").fetchone() == (0,)
        connection.close()


def test_a_duplicate_id_is_an_integrity_error(db: Path) -> None:
    """And counted, and the first record stands."""
    with TelemetryLogger(db) as logger:
        logger.log_invocation(InvocationRecord(invocation_id="one", agent_name="first"))
        with pytest.raises(sqlite3.IntegrityError, match="'one' is already stored") as caught:
            logger.log_invocation(InvocationRecord(invocation_id="one", agent_name="second"))
        assert isinstance(caught.value, DuplicateInvocationError)
        assert (caught.value.invocation_id, caught.value.path) == ("one", db)
        assert logger.stats().ledger.duplicates == 1
        assert [row["agent_name"] for row in logger.get_invocations()] == ["first"]


def test_anything_but_a_record_is_a_type_error(db: Path) -> None:
    """A mistake in the code, said where it is made; nothing is counted."""
    with TelemetryLogger(db) as logger:
        for call in (logger.log_invocation, logger.log_invocation_nowait):
            with pytest.raises(TypeError, match="not dict"):
                call({"agent_name": "a"})  # type: ignore[operator]
        assert logger.stats().ledger.submitted == 0


def test_a_nowait_record_is_committed_in_the_background(db: Path) -> None:
    """Nobody flushes; `flush_interval` is enough."""
    with TelemetryLogger(db, flush_interval=0.01) as logger:
        assert logger.log_invocation_nowait(InvocationRecord()) is True
        until(lambda: logger.stats().ledger.written == 1)
        assert logger.stats().writer_alive
        assert logger.stats().commit_ms_p50 > 0


def test_the_background_writer_truncates_the_wal_when_idle(db: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file stands alone soon after the last record."""
    monkeypatch.setattr("llm_service.telemetry.stores.sqlite.wal.TIDY_AFTER", 0.01)
    with TelemetryLogger(db, flush_interval=0.01) as logger:
        logger.log_invocation_nowait(InvocationRecord())
        until(lambda: logger.stats().ledger.written == 1 and db.with_name("telemetry.db-wal").stat().st_size == 0)


def test_a_sync_flush_tells_what_it_wrote(db: Path) -> None:
    """What was pending, and nothing else."""
    with TelemetryLogger(db, flush_interval=60, batch_size=1000) as logger:
        for _ in range(5):
            logger.log_invocation_nowait(InvocationRecord())
        assert logger.flush().written == 5
        assert logger.flush(timeout=float("inf")).written == 0


def test_use_after_close_is_counted_and_a_promise_is_refused(db: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Nowait returns False and warns once; a commit that cannot come raises."""
    logger = TelemetryLogger(db)
    logger.log_invocation_nowait(InvocationRecord())
    assert logger.close().complete
    assert logger.close().written == 0
    assert [logger.log_invocation_nowait(InvocationRecord()) for _ in range(3)] == [False] * 3
    with pytest.raises(RecordDroppedError, match="closed") as caught:
        logger.log_invocation(InvocationRecord())
    assert caught.value.reason == "closed"
    ledger = logger.stats().ledger
    assert ledger.dropped == {DropReason.CLOSED: 4}
    assert ledger.balanced
    assert logger.stats().closed
    engine_of(logger).announcer.finish(10.0)
    assert caplog.text.count("dropped (closed)") == 1
    assert logger.get_statistics()["total_invocations"] == 1


def test_a_sync_record_on_a_locked_file_times_out_and_is_written_later(db: Path) -> None:
    """The caller is told; the record is not lost."""
    with TelemetryLogger(db, commit_timeout=0.05, flush_interval=0.01) as logger:
        with locked(db):
            with pytest.raises(CommitTimeoutError, match="stays queued"):
                logger.log_invocation(InvocationRecord(agent_name="late"))
            assert logger.stats().ledger.pending == 1
            with pytest.raises(CommitTimeoutError, match="fresh=False"):
                logger.get_invocations()
            assert logger.get_invocations(fresh=False) == []
            assert logger.stats().failing
        until(lambda: logger.stats().ledger.written == 1)
        assert [row["agent_name"] for row in logger.get_invocations()] == ["late"]


def test_a_full_queue_makes_room_by_committing(db: Path) -> None:
    """The sync face blocks for a commit, not for nothing."""
    with TelemetryLogger(db, queue_max_records=2, flush_interval=60, batch_size=1000) as logger:
        engine_of(logger).drivers.ensure = lambda: False  # type: ignore[method-assign]
        assert [logger.log_invocation_nowait(InvocationRecord()) for _ in range(3)] == [True, True, False]
        assert logger.log_invocation(InvocationRecord()) is True
        assert logger.stats().ledger.written == 3


@pytest.mark.parametrize(("overflow", "reason"), [("block", "block_timeout"), ("drop_newest", "queue_full")])
def test_a_full_queue_on_a_locked_file_sheds_and_says_why(db: Path, overflow: Any, reason: str) -> None:
    """After `block_timeout` where it blocks, at once where it does not."""
    with TelemetryLogger(db, queue_max_records=1, overflow=overflow, block_timeout=0.05) as logger:
        with locked(db):
            logger.log_invocation_nowait(InvocationRecord())
            with pytest.raises(RecordDroppedError, match=reason):
                logger.log_invocation(InvocationRecord())
        assert logger.flush().complete
        assert logger.stats().ledger.balanced


def test_a_quarantined_record_is_told_to_its_caller(db: Path) -> None:
    """With where to look."""
    with TelemetryLogger(db) as logger:
        error = core_of(logger).refused(Outcome.QUARANTINED, InvocationRecord(invocation_id="bad"))
        assert isinstance(error, RecordQuarantinedError)
        assert "dead_letters" in str(error)


def test_a_record_may_ask_not_to_be_stored(db: Path) -> None:
    """Counted as privacy; nothing is raised, since nothing was promised."""
    with TelemetryLogger(db) as logger:
        assert logger.log_invocation(InvocationRecord(privacy_level="none")) is False
        assert logger.stats().ledger.dropped == {DropReason.PRIVACY: 1}


def test_a_file_that_is_no_database_is_refused_at_construction(db: Path) -> None:
    """A mistyped path moves nobody's notes."""
    text = b"these are notes, not a database; " * 64
    db.write_bytes(text)
    with pytest.raises(DatabaseUnusableError, match=r"no database of telemetry .* left as it is; give another path"):
        TelemetryLogger(db)
    assert [path.name for path in db.parent.iterdir()] == [db.name]
    assert db.read_bytes() == text


def test_a_damaged_database_of_ours_is_set_aside_at_construction(db: Path) -> None:
    """It is kept beside the new one, byte for byte, and counted."""
    TelemetryLogger(db).close()
    damaged = b"\xff" * 16 + db.read_bytes()[16:]
    db.write_bytes(damaged)
    with TelemetryLogger(db) as logger:
        assert logger.log_invocation(InvocationRecord())
        assert logger.stats().files_set_aside == 1
    (kept,) = db.parent.glob("telemetry.db.corrupt-*")
    assert kept.read_bytes() == damaged


def test_a_foreign_database_is_refused_at_construction(db: Path) -> None:
    """Somebody else's tables are not ours to add to."""
    connection = sqlite3.connect(db)
    connection.execute("CREATE TABLE notes (text)")
    connection.close()
    with pytest.raises(DatabaseUnusableError, match="not of telemetry"):
        TelemetryLogger(db)


def test_a_locked_file_is_awaited_at_construction(db: Path) -> None:
    """For `commit_timeout`; a folder that cannot be made is said at once it has passed."""
    (db.parent / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be opened"):
        TelemetryLogger(db.parent / "file" / "telemetry.db", commit_timeout=0.05)


def test_sixteen_threads_commit_together(db: Path) -> None:
    """Every call returns with its own record committed."""
    with TelemetryLogger(db) as logger:

        def work() -> None:
            for _ in range(20):
                assert logger.log_invocation(InvocationRecord())

        threads = [threading.Thread(target=work) for _ in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert logger.stats().ledger.written == 320
        assert logger.stats().transactions <= 320
        assert logger.get_statistics()["total_invocations"] == 320


# Construction, on both faces


@pytest.mark.parametrize("face", [TelemetryLogger, AsyncTelemetryLogger])
@pytest.mark.parametrize("path", [":memory:", "file:x.db?mode=memory", "", "a\0b"])
def test_a_path_that_is_no_file_is_refused_with_the_reason(face: Any, path: str) -> None:
    """The error names the setting."""
    with pytest.raises(SettingsError, match="db_path"):
        face(path)


@pytest.mark.parametrize("face", [TelemetryLogger, AsyncTelemetryLogger])
def test_an_unknown_option_lists_the_known_ones(face: Any, db: Path) -> None:
    """A typing mistake is found where it is made."""
    with pytest.raises(TypeError, match=r"flush_intervall.*flush_interval"):
        face(db, flush_intervall=1)
    assert not db.exists()


def test_a_relative_path_is_resolved_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A later chdir does not move the file; parents are made."""
    monkeypatch.chdir(tmp_path)
    with TelemetryLogger("a/b/t.db") as logger:
        monkeypatch.chdir("/")
        logger.log_invocation(InvocationRecord())
        assert logger.db_path == tmp_path / "a" / "b" / "t.db"
        assert logger.get_statistics()["total_invocations"] == 1
        assert repr(logger) == f"TelemetryLogger(db_path='{logger.db_path}', privacy_level='metadata')"
        assert logger.settings.db_path == logger.db_path


def test_a_logger_is_made_from_configuration(tmp_path: Path) -> None:
    """From a model, a file, or where `load_config` looks."""
    config = TelemetryConfig(db_path=str(tmp_path / "model.db"), batch_size=7)
    with TelemetryLogger.from_config(config) as logger:
        assert (logger.db_path, logger.settings.batch_size) == (tmp_path / "model.db", 7)
    file = tmp_path / "telemetry.yaml"
    file.write_text("db_path: from-file.db\nprivacy_level: none\n")
    made = AsyncTelemetryLogger.from_config(file)
    assert (made.db_path, made.settings.privacy_level) == (tmp_path / "from-file.db", "none")


# The async face


async def test_an_awaited_record_is_accepted_and_a_durable_one_committed(db: Path) -> None:
    """Both return True; the durable one is on disk already."""
    async with AsyncTelemetryLogger(db, flush_interval=60, batch_size=1000) as telemetry:
        assert await telemetry.log_invocation(InvocationRecord()) is True
        assert telemetry.stats().ledger.pending == 1
        assert telemetry.stats().oldest_age >= 0
        assert await telemetry.log_invocation(InvocationRecord(), durable=True) is True
        assert telemetry.stats().ledger.written == 2


async def test_an_async_duplicate_is_an_integrity_error_only_where_a_commit_was_promised(db: Path) -> None:
    """Else it is counted."""
    async with AsyncTelemetryLogger(db) as telemetry:
        for _ in range(2):
            await telemetry.log_invocation(InvocationRecord(invocation_id="one"))
        with pytest.raises(sqlite3.IntegrityError):
            await telemetry.log_invocation(InvocationRecord(invocation_id="one"), durable=True)
        assert telemetry.stats().ledger.duplicates == 2


async def test_a_durable_record_on_a_locked_file_times_out_and_is_written_later(db: Path) -> None:
    """The caller is told; the record is not lost."""
    async with AsyncTelemetryLogger(db, commit_timeout=0.05) as telemetry:
        with locked(db):
            with pytest.raises(CommitTimeoutError, match="stays queued"):
                await telemetry.log_invocation(InvocationRecord(), durable=True)
            with pytest.raises(CommitTimeoutError, match="fresh=False"):
                await telemetry.get_statistics()
            assert await telemetry.get_daily_costs(fresh=False) == []
        assert (await telemetry.flush(10)).complete
        assert telemetry.stats().ledger.written == 1


async def test_an_async_use_after_close_is_counted_and_a_promise_is_refused(db: Path) -> None:
    """The agent goes on."""
    telemetry = AsyncTelemetryLogger(db)
    assert (await telemetry.aclose()).complete
    assert not db.exists()
    assert await telemetry.log_invocation(InvocationRecord()) is False
    with pytest.raises(RecordDroppedError, match="closed"):
        await telemetry.log_invocation(InvocationRecord(), durable=True)
    assert telemetry.stats().ledger.dropped == {DropReason.CLOSED: 2}
    assert (await telemetry.flush()).complete


async def test_a_bad_file_is_told_by_start_and_counted_afterwards(db: Path) -> None:
    """The agent goes on without telemetry."""
    connection = sqlite3.connect(db)
    connection.execute("CREATE TABLE notes (text)")
    connection.close()
    telemetry = AsyncTelemetryLogger(db)
    with pytest.raises(StoreError):
        await telemetry.start()
    assert telemetry.log_invocation_nowait(InvocationRecord()) is False
    with pytest.raises(StoreError):
        await telemetry.log_invocation(InvocationRecord(), durable=True)
    with pytest.raises(StoreError, match="not of telemetry"):
        await telemetry.get_statistics()
    assert telemetry.stats().ledger.dropped == {DropReason.STORE_FAILED: 2}
    assert telemetry.stats().files_set_aside == 0
    await telemetry.aclose()


async def test_losses_are_told_to_the_callback(db: Path) -> None:
    """With the reason and the number."""
    told: list[tuple[DropReason, int]] = []
    async with AsyncTelemetryLogger(
        db, on_drop=lambda *loss: told.append(loss), overflow="drop_newest", queue_max_records=1
    ) as telemetry:
        telemetry.log_invocation_nowait(InvocationRecord())
        assert telemetry.log_invocation_nowait(InvocationRecord()) is False
    assert told == [(DropReason.QUEUE_FULL, 1)]


async def test_many_awaited_records_give_the_loop_its_turns(db: Path) -> None:
    """A tight loop of accepted records starves nobody."""
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    async with AsyncTelemetryLogger(db) as telemetry:
        task = asyncio.create_task(other())
        for _ in range(640):
            await telemetry.log_invocation(InvocationRecord())
        assert turns >= 9
        task.cancel()


@pytest.mark.parametrize("timeout", [float("nan"), -1])
async def test_a_timeout_that_is_none_is_refused(db: Path, timeout: float) -> None:
    """On every call that takes one."""
    with TelemetryLogger(db) as logger:
        for call in (logger.flush, logger.close):
            with pytest.raises(ValueError, match="timeout"):
                call(timeout)
    async with AsyncTelemetryLogger(db) as telemetry:
        for acall in (telemetry.flush, telemetry.aclose):
            with pytest.raises(ValueError, match="timeout"):
                await acall(timeout)


def test_without_a_loop_the_async_face_says_so_and_keeps_what_nowait_gave_it(db: Path) -> None:
    """Records wait for the first loop."""
    telemetry = AsyncTelemetryLogger(db)
    assert telemetry.log_invocation_nowait(InvocationRecord()) is True
    for call in (telemetry.start, telemetry.flush, telemetry.aclose):
        with pytest.raises(UnsupportedLoopError, match="asyncio"):
            call().send(None)
    with pytest.raises(UnsupportedLoopError, match="asyncio"):
        telemetry.log_invocation(InvocationRecord()).send(None)
    with pytest.raises(UnsupportedLoopError, match="asyncio"):
        telemetry.log_invocation(InvocationRecord(), durable=True).send(None)

    async def later() -> None:
        assert (await telemetry.get_statistics())["total_invocations"] == 1
        await telemetry.aclose()

    asyncio.run(later())


@pytest.mark.parametrize("bounds", [{"queue_max_records": 2}, {"queue_max_bytes": 65_536, "batch_size": 100_000}])
async def test_a_caller_who_waits_for_room_waits_for_a_commit_not_for_the_interval(db: Path, bounds: Any) -> None:
    """A queue that is smaller than a batch still moves, by count and by bytes."""
    async with AsyncTelemetryLogger(db, flush_interval=3600, block_timeout=30, **bounds) as telemetry:
        for _ in range(10):
            assert await asyncio.wait_for(telemetry.log_invocation(InvocationRecord(error_message="e" * 40_000)), 20)
        assert telemetry.stats().ledger.dropped == {}
        assert telemetry.stats().ledger.written >= 8


async def test_a_file_whose_tables_are_not_committed_yet_reads_as_empty(db: Path) -> None:
    """As a reader meets it while another process sets the file up."""
    connection = sqlite3.connect(db)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.close()
    assert db.stat().st_size > 0
    telemetry = AsyncTelemetryLogger(db)
    assert await telemetry.get_invocations(fresh=False) == []
    assert (await telemetry.get_statistics(fresh=False))["total_invocations"] == 0
