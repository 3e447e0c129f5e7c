"""A locked, full or unusable file costs nothing that is not counted, and the agent goes on."""

import asyncio
import math
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.inside import engine_of

from llm_service.telemetry import (
    AsyncTelemetryLogger,
    CommitTimeoutError,
    DatabaseUnusableError,
    DropReason,
    InvocationRecord,
    StoreError,
    TelemetryLogger,
)
from llm_service.telemetry.stores.base import Session
from llm_service.telemetry.stores.sqlite.batch_writer import SqliteBatchWriter
from llm_service.telemetry.writer.committer import Step
from llm_service.telemetry.writer.schedule import Do

pytestmark = pytest.mark.slow

HOLD = """
import sqlite3
holder = sqlite3.connect(PATH, isolation_level=None)
holder.execute("BEGIN EXCLUSIVE")
print("held")
sys.stdin.readline()
"""


@pytest.fixture
def held(
    start_script: Callable[..., Any], expect_line: Callable[..., None], tell: Callable[..., None]
) -> Callable[[Path], Any]:
    """Another process holds the file exclusively for the length of a `with` block."""

    @contextmanager
    def hold(path: Path) -> Iterator[None]:
        process = start_script(HOLD, path, flags=())
        expect_line(process, "held")
        try:
            yield
        finally:
            tell(process)
            process.wait(10)

    return hold


@pytest.mark.parametrize("seconds", [1.5, 5.0])
async def test_an_exclusive_lock_by_another_process_loses_nothing(
    seconds: float,
    db: Path,
    held: Callable[..., Any],
    record: Callable[..., InvocationRecord],
    truth: Callable[..., Any],
) -> None:
    """The loop keeps turning, the queue keeps its bound, `flush(0.3)` tells the truth in time, and all is written."""
    async with AsyncTelemetryLogger(db, queue_max_records=500, block_timeout=60) as telemetry:
        await telemetry.log_invocation(record("before"), durable=True)
        ticks = 0
        most = 0

        async def tick() -> None:
            nonlocal ticks, most
            while True:
                ticks += 1
                stats = telemetry.stats()
                assert stats.ledger.balanced
                most = max(most, stats.queue_records)
                await asyncio.sleep(0.002)

        with held(db):
            ticking = asyncio.create_task(tick())
            until = time.monotonic() + seconds
            for _ in range(400):
                await telemetry.log_invocation(record("during"))
            agents = [asyncio.create_task(telemetry.log_invocation(record("waits"))) for _ in range(300)]
            began = time.monotonic()
            result = await telemetry.flush(timeout=0.3)
            assert time.monotonic() - began < 20
            assert (result.complete, result.written) == (False, 0)
            assert result.pending >= 400
            assert result.dropped == {}
            await asyncio.sleep(until - time.monotonic())
            assert telemetry.stats().failing
        assert all(await asyncio.gather(*agents))
        assert (await telemetry.flush()).complete
        ticking.cancel()
    ledger = telemetry.stats().ledger
    assert (ledger.submitted, ledger.written, ledger.dropped) == (701, 701, {})
    assert most == 500
    assert ticks > 20 * seconds
    assert not telemetry.stats().failing
    assert truth(db).rows == 701


async def test_aclose_on_a_locked_file_drops_as_shutdown_and_says_so(
    db: Path, held: Callable[..., Any], record: Callable[..., InvocationRecord], truth: Callable[..., Any]
) -> None:
    """`aclose(timeout=0.3)` ends in time; its result, the ledger and the callback name the same number."""
    dropped: list[tuple[DropReason, int]] = []
    telemetry = AsyncTelemetryLogger(db, on_drop=lambda *what: dropped.append(what))
    await telemetry.log_invocation(record(), durable=True)
    with held(db):
        for _ in range(700):
            telemetry.log_invocation_nowait(record())
        began = time.monotonic()
        result = await telemetry.aclose(timeout=0.3)
        assert time.monotonic() - began < 20
    assert (result.written, result.pending, result.dropped) == (0, 0, {DropReason.SHUTDOWN: 700})
    stats = telemetry.stats()
    assert stats.ledger.balanced
    assert stats.ledger.dropped == {DropReason.SHUTDOWN: 700}
    assert {reason for reason, _ in dropped} == {DropReason.SHUTDOWN}
    assert not stats.writer_alive
    assert truth(db).rows == 1


def test_a_flush_without_any_time_tries_nothing(
    db: Path, held: Callable[..., Any], record: Callable[..., InvocationRecord], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the sync face, whose callers commit by themselves: what is pending is said, and the file is not touched."""
    tried: list[int] = []

    def step(_do: Do, _session: Session) -> Step:
        tried.append(threading.get_ident())
        return Step(retry_in=0.01)

    with TelemetryLogger(db) as logger:
        logger.log_invocation(record())
        with held(db):
            logger.log_invocation_nowait(record())
            monkeypatch.setattr(engine_of(logger).inline, "_step", step)
            assert logger.flush(timeout=0.0).pending == 1
            monkeypatch.undo()
            assert threading.get_ident() not in tried  # the background may have its turn meanwhile
        assert logger.flush().complete
        assert logger.stats().ledger.written == 2


def test_close_on_a_locked_file_drops_as_shutdown_and_says_so(
    db: Path, held: Callable[..., Any], record: Callable[..., InvocationRecord], truth: Callable[..., Any]
) -> None:
    """The sync face does the same."""
    logger = TelemetryLogger(db)
    with held(db):
        for _ in range(700):
            logger.log_invocation_nowait(record())
        began = time.monotonic()
        result = logger.close(timeout=0.3)
        assert time.monotonic() - began < 20
    assert (result.written, result.pending, result.dropped) == (0, 0, {DropReason.SHUTDOWN: 700})
    assert logger.stats().ledger.balanced
    assert not logger.stats().writer_alive
    assert truth(db).rows == 0


@pytest.mark.parametrize("face", ["aclose", "close"])
async def test_a_close_with_no_time_at_all_does_not_wait(
    face: str, db: Path, held: Callable[..., Any], record: Callable[..., InvocationRecord]
) -> None:
    """`timeout=0` is zero seconds, not for ever."""
    if face == "aclose":
        telemetry = AsyncTelemetryLogger(db)
        await telemetry.start()
        with held(db):
            telemetry.log_invocation_nowait(record())
            result = await asyncio.wait_for(telemetry.aclose(timeout=0), 5)
        ledger = telemetry.stats().ledger
    else:
        logger = TelemetryLogger(db)
        with held(db):
            logger.log_invocation_nowait(record())
            result = logger.close(timeout=0)
        ledger = logger.stats().ledger
    assert result.complete
    assert ledger.balanced
    assert ledger.dropped == {DropReason.SHUTDOWN: 1}


def test_a_sync_record_that_cannot_be_committed_in_time_is_written_later(
    db: Path, held: Callable[..., Any], record: Callable[..., InvocationRecord], truth: Callable[..., Any],
    eventually: Callable[..., None],
) -> None:  # fmt: skip
    """`log_invocation` raises `CommitTimeoutError`, keeps the record, and the background writes it."""
    with TelemetryLogger(db, commit_timeout=0.3) as logger:
        with held(db):
            with pytest.raises(CommitTimeoutError, match="stays queued"):
                logger.log_invocation(record("late"))
            assert logger.stats().ledger.pending == 1
            assert logger.flush(timeout=0.1).pending == 1
        eventually(lambda: logger.stats().ledger.written == 1)
    assert truth(db).agents == {"late": 1}


async def test_a_durable_record_that_cannot_be_committed_in_time_is_written_later(
    db: Path, held: Callable[..., Any], record: Callable[..., InvocationRecord], truth: Callable[..., Any]
) -> None:
    """So does a durable await."""
    async with AsyncTelemetryLogger(db, commit_timeout=0.3) as telemetry:
        with held(db), pytest.raises(CommitTimeoutError, match="stays queued"):
            await telemetry.log_invocation(record("late"), durable=True)
    assert telemetry.stats().ledger.written == 1
    assert truth(db).agents == {"late": 1}


async def test_a_wait_for_ever_is_a_timeout_too(db: Path, record: Callable[..., InvocationRecord]) -> None:
    """`math.inf` is taken by every call that has a timeout."""
    async with AsyncTelemetryLogger(db) as telemetry:
        telemetry.log_invocation_nowait(record())
        assert (await telemetry.flush(timeout=math.inf)).written == 1
        assert (await telemetry.aclose(timeout=math.inf)).complete
    with TelemetryLogger(db) as logger:
        logger.log_invocation_nowait(record())
        assert logger.flush(timeout=math.inf).complete
        logger.log_invocation_nowait(record())
        assert logger.close(timeout=math.inf).complete
    assert logger.stats().ledger.written == 2


class FullDisk:
    """Lets a database grow to some pages only, until told otherwise: SQLITE_FULL as a full disk gives it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.full = False
        real, disk = SqliteBatchWriter.write, self

        def write(self: SqliteBatchWriter, connection: sqlite3.Connection, *arguments: Any, **options: Any) -> Any:
            (pages,) = connection.execute("PRAGMA page_count").fetchone()
            connection.execute(f"PRAGMA max_page_count = {pages if disk.full else 1_000_000}")
            return real(self, connection, *arguments, **options)

        monkeypatch.setattr(SqliteBatchWriter, "write", write)


@pytest.mark.parametrize("face", ["async", "sync"])
async def test_a_full_disk_is_retried_and_written_when_there_is_room(
    face: str, db: Path, monkeypatch: pytest.MonkeyPatch, record: Callable[..., InvocationRecord],
    truth: Callable[..., Any], eventually: Callable[..., None],
) -> None:  # fmt: skip
    """Nothing is dropped while the queue has room; `stats` names the cause; all is there once space returns."""
    disk = FullDisk(monkeypatch)
    if face == "sync":
        with TelemetryLogger(db) as logger:
            logger.log_invocation(record("before"))
            disk.full = True
            for _ in range(2000):
                logger.log_invocation_nowait(record("during"))
            assert logger.flush(timeout=0.2).pending > 0
            assert "FULL" in str(logger.stats().last_error)
            disk.full = False
            eventually(lambda: logger.stats().ledger.pending == 0)
        ledger = logger.stats().ledger
    else:
        async with AsyncTelemetryLogger(db) as telemetry:
            await telemetry.log_invocation(record("before"), durable=True)
            disk.full = True
            for _ in range(2000):
                telemetry.log_invocation_nowait(record("during"))
            assert (await telemetry.flush(timeout=0.2)).pending > 0
            assert "FULL" in str(telemetry.stats().last_error)
            disk.full = False
            assert (await telemetry.flush()).complete
        ledger = telemetry.stats().ledger
    assert ledger.balanced
    assert (ledger.written, ledger.dropped) == (2001, {})
    assert truth(db).rows == 2001


@pytest.mark.parametrize("face", ["async", "sync"])
@pytest.mark.parametrize("times", [1, 4, 5, 12])
async def test_the_writer_outlives_a_bug(
    face: str, times: int, db: Path, monkeypatch: pytest.MonkeyPatch, record: Callable[..., InvocationRecord],
    truth: Callable[..., Any],
) -> None:  # fmt: skip
    """A few failures are retried; a batch that fails five times is dropped and counted, and the next one is written."""
    real = SqliteBatchWriter.write
    left = times

    def write(self: SqliteBatchWriter, *arguments: Any, **options: Any) -> Any:
        nonlocal left
        if left:
            left -= 1
            raise RuntimeError("an injected bug")
        return real(self, *arguments, **options)

    monkeypatch.setattr(SqliteBatchWriter, "write", write)
    if face == "sync":
        with TelemetryLogger(db) as logger:
            for _ in range(1000):
                logger.log_invocation_nowait(record())
            assert logger.flush().complete
            assert logger.log_invocation(record("after"))
            stats = logger.stats()
    else:
        async with AsyncTelemetryLogger(db) as telemetry:
            for _ in range(1000):
                telemetry.log_invocation_nowait(record())
            assert (await telemetry.flush()).complete
            assert await telemetry.log_invocation(record("after"), durable=True)
            stats = telemetry.stats()
            assert stats.writer_alive
    assert stats.ledger.balanced
    assert stats.last_error == "RuntimeError: an injected bug"
    assert stats.retries == times
    lost = stats.ledger.dropped.get(DropReason.STORE_FAILED, 0)
    assert (lost > 0) == (times >= 5)
    assert truth(db).rows == stats.ledger.written == 1001 - lost
    assert truth(db).agents["after"] == 1


@pytest.fixture
def notes(db: Path) -> bytes:
    """Another application's database stands where ours should."""
    connection = sqlite3.connect(db)
    connection.execute("CREATE TABLE notes (text)")
    connection.close()
    return db.read_bytes()


async def test_an_unusable_file_is_said_by_start_and_counted_by_nowait(
    db: Path, notes: bytes, record: Callable[..., InvocationRecord]
) -> None:
    """`start` raises, records are counted as `store_failed`, nothing raises where nothing was promised."""
    telemetry = AsyncTelemetryLogger(db)
    assert telemetry.log_invocation_nowait(record())
    with pytest.raises(DatabaseUnusableError, match="not of telemetry"):
        await telemetry.start()
    assert not telemetry.log_invocation_nowait(record())
    assert not await telemetry.log_invocation(record())
    with telemetry.invocation("agent"):
        pass
    with pytest.raises(StoreError, match="store_failed"):
        await telemetry.log_invocation(record(), durable=True)
    assert (await telemetry.flush()).complete
    await telemetry.aclose()
    ledger = telemetry.stats().ledger
    assert ledger.balanced
    assert ledger.dropped == {DropReason.STORE_FAILED: 5}
    assert _content(db) == notes


def _content(path: Path) -> bytes:
    return path.read_bytes()


def test_the_sync_face_refuses_an_unusable_file(db: Path, notes: bytes) -> None:
    """Construction raises `StoreError` at once and leaves the file untouched."""
    with pytest.raises(StoreError, match="not of telemetry"):
        TelemetryLogger(db)
    assert _content(db) == notes
    assert [path.name for path in db.parent.iterdir()] == [db.name]
