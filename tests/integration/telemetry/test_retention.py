"""Old records go, on both faces, by themselves or when asked, among processes, kills, locks and full disks."""

import asyncio
import logging
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.inside import engine_of

from llm_service.telemetry import (
    AsyncTelemetryLogger,
    CommitTimeoutError,
    InvocationRecord,
    PurgeResult,
    QueryError,
    StoreError,
    TelemetryLogger,
)
from llm_service.telemetry.stores.retention import Belief, Cutoffs
from llm_service.telemetry.stores.sqlite.purge_steps import Purge
from llm_service.telemetry.writer.purge_schedule import PurgeJob, Retention
from llm_service.telemetry.writer.schedule import Do
from llm_service.telemetry.writer.waiters import ThreadWaiter

pytestmark = pytest.mark.slow

DAY_NS = 86_400_000_000_000


class Clock:
    """A wall clock to be set, in nanoseconds since 1970."""

    def __init__(self, now: datetime | None = None) -> None:
        self.now = int((now or datetime.now(UTC)).timestamp()) * 10**9

    def __call__(self) -> int:
        return self.now


def aged(days: float, count: int = 1) -> list[InvocationRecord]:
    """Records of so many days ago."""
    moment = datetime.now(UTC) - timedelta(days=days)
    return [InvocationRecord(agent_name="agent", timestamp=moment, cost_usd=0.001, latency_ms=12) for _ in range(count)]


def fill(path: Path, *ages: float, count: int = 20) -> None:
    """A file with so many records of each age, which no retention has touched."""
    with TelemetryLogger(path, retention_days=None) as logger:
        for age in ages:
            for record in aged(age, count):
                logger.log_invocation_nowait(record)


def ask(path: Path, sql: str, *parameters: Any) -> Any:
    """One value of a file."""
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(sql, parameters).fetchone()[0]


def rows(path: Path) -> int:
    """How many records there are."""
    return int(ask(path, "SELECT count(*) FROM invocations"))


def check_sound(path: Path, counted: int) -> None:
    """The file is intact and its totals still count every record there ever was."""
    assert ask(path, "PRAGMA integrity_check") == "ok"
    assert ask(path, "SELECT sum(invocations) FROM daily_costs") == counted
    assert ask(path, "SELECT sum(invocations) FROM latency_counts") == counted


async def until(holds: Callable[[], bool]) -> None:
    """Give the loop its turns until something holds; pytest-timeout is the deadline."""
    while not holds():  # noqa: ASYNC110 - a condition of the writer's thread, which tells no loop
        await asyncio.sleep(0)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Somebody else writes."""
    with closing(sqlite3.connect(path, isolation_level=None)) as holder:
        holder.execute("BEGIN IMMEDIATE")
        yield


@pytest.fixture
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """One record a step: a purge has many places to be interrupted at."""
    made = Purge.__init__

    def init(self: Purge, *arguments: Any, **options: Any) -> None:
        made(self, *arguments, **options)
        self.rows.now = self.rows.most = self.rows.least = 1

    monkeypatch.setattr(Purge, "__init__", init)


# By itself


async def test_an_async_logger_deletes_what_is_too_old_while_it_is_idle(db: Path) -> None:
    """On opening, without a record being logged; totals and younger records stay."""
    fill(db, 40, 35, 29, 0)
    async with AsyncTelemetryLogger(db, retention_days=30) as telemetry:
        await until(lambda: telemetry.stats().purged == 40 and not engine_of(telemetry).retention.busy)
        assert telemetry.stats().purge_error is None
        assert (await telemetry.get_statistics(days=60))["total_invocations"] == 80
        assert len(await telemetry.get_invocations()) == 40
    assert rows(db) == 40
    check_sound(db, 80)


async def test_an_async_logger_deletes_under_a_load_that_never_pauses(db: Path) -> None:
    """Between two commits: the old ones go while new ones come in all the time, and each new one is written."""
    fill(db, 40, count=500)
    logged = 0
    async with AsyncTelemetryLogger(db, batch_size=1) as telemetry:
        while telemetry.stats().purged < 500:
            await telemetry.log_invocation(aged(0)[0])
            logged += 1
        await telemetry.flush()
        assert telemetry.stats().ledger.written == logged
    assert rows(db) == logged
    check_sound(db, 500 + logged)


async def test_durable_callers_who_never_pause_do_not_stop_retention(db: Path) -> None:
    """It gives way to them, for a quarter of a second at a time."""
    fill(db, 40, count=50)
    logged = 0
    async with AsyncTelemetryLogger(db) as telemetry:
        while telemetry.stats().purged < 50:
            await asyncio.gather(*(telemetry.log_invocation(record, durable=True) for record in aged(0, 5)))
            logged += 5
    check_sound(db, 50 + logged)


def test_a_sync_logger_looks_after_a_commit_and_works_in_the_background(
    db: Path, eventually: Callable[..., None]
) -> None:
    """No thread where nothing is old; one that deletes where something is."""
    fill(db, 40, 0)
    with TelemetryLogger(db, retention_days=50) as logger:
        logger.log_invocation(aged(0)[0])
        assert not logger.stats().writer_alive
    with TelemetryLogger(db, retention_days=30) as logger:
        logger.log_invocation(aged(0)[0])
        eventually(lambda: logger.stats().purged == 20)
    assert rows(db) == 22
    check_sound(db, 42)


def test_a_forgotten_sync_logger_whose_retention_runs_warns_of_nothing(db: Path) -> None:
    """Nothing that it accepted depended on a close."""
    fill(db, 40)
    logger = TelemetryLogger(db)
    logger.log_invocation(aged(0)[0])
    engine = engine_of(logger)
    del logger  # warnings are errors
    engine.inline.close()


@pytest.mark.parametrize("options", [{"retention_days": None}, {"enabled": False}, {"privacy_level": "none"}])
def test_a_logger_without_retention_deletes_nothing(db: Path, options: Any) -> None:
    """It does not even look."""
    fill(db, 4000)
    with TelemetryLogger(db, **options) as logger:
        logger.log_invocation(aged(0)[0])
        logger.log_invocation_nowait(aged(0)[0])
        logger.flush()
        assert not engine_of(logger).retention.busy
    assert ask(db, "SELECT count(*) FROM invocations WHERE timestamp < datetime('now', '-1000 days')") == 20


def test_reading_deletes_nothing(db: Path) -> None:
    """Who only asks does not change the file."""
    fill(db, 40)
    with TelemetryLogger(db) as logger:
        logger.get_statistics()
        logger.get_invocations()
        logger.flush()
        assert not engine_of(logger).retention.busy
    assert rows(db) == 20


def test_contents_have_a_shorter_life(db: Path, eventually: Callable[..., None]) -> None:
    """`content_retention_days` takes prompts and responses; their records stay."""
    fill(db, 10, 0)
    with closing(sqlite3.connect(db)) as connection:
        connection.execute("INSERT INTO invocation_contents SELECT id, 'p', 'r' FROM invocations")
        connection.commit()
    with TelemetryLogger(db, retention_days=None, content_retention_days=7) as logger:
        logger.log_invocation(aged(0)[0])
        eventually(lambda: ask(db, "SELECT count(*) FROM invocation_contents") == 20)
        assert logger.stats().purged == 0
    assert rows(db) == 41


def test_contents_are_gone_through_once_for_each_cut_off(db: Path) -> None:
    """Not at every look; what is young stays, and nothing is written."""
    fill(db, 1)
    with closing(sqlite3.connect(db)) as connection, connection:
        connection.execute("INSERT INTO invocation_contents SELECT id, 'p', 'r' FROM invocations")
    with TelemetryLogger(db, content_retention_days=7) as logger:
        retention = engine_of(logger).retention
        engine_of(logger).inline.retain()
        assert retention.busy
        while retention.busy:
            engine_of(logger).inline.retain()
        retention.due_at = 0.0
        engine_of(logger).inline.retain()
        assert not retention.busy
        assert (retention.due_in() or 0) > 3000
    assert ask(db, "SELECT count(*) FROM invocation_contents") == 20


def test_days_pass_and_each_takes_one_day_along(db: Path, eventually: Callable[..., None]) -> None:
    """A process that lives for days looks again when the UTC day changes."""
    fill(db, *range(10), count=1)
    clock = Clock()
    with TelemetryLogger(db, retention_days=5) as logger:
        retention = engine_of(logger).retention
        retention.clock_ns = clock
        for day in range(1, 5):
            logger.log_invocation(aged(0)[0])
            eventually(lambda day=day: logger.stats().purged == 3 + day and not retention.busy)
            clock.now += DAY_NS
    check_sound(db, 14)


def test_a_leap_of_the_clock_deletes_nothing_and_is_said(
    db: Path, caplog: pytest.LogCaptureFixture, eventually: Callable[..., None]
) -> None:
    """Until it has stood for a day; then what is too old by it goes."""
    fill(db, 0)
    clock = Clock()
    clock.now += 365 * DAY_NS
    with caplog.at_level(logging.WARNING), TelemetryLogger(db, retention_days=30) as logger:
        retention = engine_of(logger).retention
        retention.clock_ns = clock
        for _ in range(20):
            logger.log_invocation(aged(0)[0])
            assert not retention.busy
            retention.due_at = 0.0
            clock.now += DAY_NS // 24
        assert caplog.text.count("the clock is suddenly far ahead") == 1
        assert rows(db) == 40
        logger.log_invocation(aged(0)[0])
        eventually(lambda: logger.stats().purged == 41)


@pytest.mark.volume
@pytest.mark.timeout(60)
def test_a_season_of_a_thousand_records_a_day_stays_small(db: Path) -> None:
    """Ninety days with thirty days' retention: the file holds thirty, and so do its bytes."""
    start = datetime(2026, 1, 1, 12, tzinfo=UTC)
    clock = Clock(start)
    with TelemetryLogger(db, retention_days=30, privacy_level="metadata") as logger:
        engine = engine_of(logger)
        engine.retention.clock_ns = clock
        engine.drivers.ensure = lambda **_: False  # type: ignore[method-assign] # this thread does all of it
        with closing(sqlite3.connect(db)) as other:
            other.execute("UPDATE retention SET clock_believed_until = '2026-01-01 00:00:00.000000Z'")
            other.commit()
        sizes = []
        for day in range(90):
            moment = start + timedelta(days=day)
            for number in range(1000):
                logger.log_invocation_nowait(
                    InvocationRecord(
                        timestamp=moment, agent_name=f"agent-{number % 20}", tool_name="claude-code",
                        model_name="claude-3.5-sonnet", prompt_tokens=1000 + number, completion_tokens=number,
                        cost_usd=0.0123, latency_ms=number,
                    )
                )  # fmt: skip
            logger.flush()
            while engine.retention.busy:
                engine.inline.retain()
            engine.inline.act(Do.TIDY)
            sizes.append(db.stat().st_size)
            clock.now += DAY_NS
        assert logger.stats().purged == 59_000
    assert rows(db) == 31_000
    check_sound(db, 90_000)
    assert max(sizes) < 20e6
    assert sizes[-1] - sizes[40] < 50 * 20_000  # the daily totals of fifty days, and no more


# When asked


def test_purge_deletes_whole_days_and_says_what(db: Path) -> None:
    """What was accepted before is flushed first; younger records and totals stay."""
    with TelemetryLogger(db, retention_days=None) as logger:
        for record in aged(31, 5) + aged(30, 5) + aged(0, 5):
            logger.log_invocation_nowait(record)
        since = (datetime.now(UTC) - timedelta(days=30)).date().isoformat()
        would = logger.purge(30, dry_run=True)
        assert would == PurgeResult(records=5, records_kept_since=since, dry_run=True)
        assert len(logger.get_invocations()) == 15
        assert ask(db, "SELECT records_kept_since FROM retention") is None
        done = logger.purge(older_than_days=30)
        assert (done.records, done.records_kept_since, done.complete, done.dry_run) == (5, since, True, False)
        assert len(logger.get_invocations()) == 10
        assert logger.purge(30).records == 0
        assert logger.stats().purged == 5
        assert logger.get_statistics(days=60)["total_invocations"] == 15
        assert sum(day["invocations"] for day in logger.get_daily_costs()) == 15
    check_sound(db, 15)


def test_a_durable_commit_is_synced_also_after_a_purge(db: Path) -> None:
    """The purge deletes, and gives pages back, on the connection that commits."""
    fill(db, 9, count=200)
    with TelemetryLogger(db, retention_days=None) as logger:
        logger.log_invocation(InvocationRecord(), durable=True)
        assert logger.purge(3).bytes_freed > 0
        logger.log_invocation(InvocationRecord(), durable=True)
        assert engine_of(logger).inline.session.connection._connection.execute("PRAGMA synchronous").fetchone() == (
            2,
        )  # FULL


async def test_purge_is_awaited_on_the_async_face(db: Path) -> None:
    """The same arguments, the same answer, and pages are given back."""
    fill(db, 60, 40, 0, count=400)
    async with AsyncTelemetryLogger(db, retention_days=None) as telemetry:
        await telemetry.log_invocation(aged(50)[0])
        would = await telemetry.purge(30, dry_run=True)
        assert (would.records, would.dry_run) == (801, True)
        done = await telemetry.purge(30.0)
        assert (done.records, done.complete) == (801, True)
        assert done.bytes_freed > 0
        assert len(await telemetry.get_invocations(limit=1000)) == 400
    check_sound(db, 1201)


def test_purge_of_zero_days_keeps_today_and_the_future(db: Path) -> None:
    """Whole days: nothing of today goes."""
    with TelemetryLogger(db, retention_days=None) as logger:
        for record in aged(1, 3) + aged(0, 3) + aged(-2, 3):
            logger.log_invocation(record)
        assert logger.purge(0).records == 3
        assert len(logger.get_invocations()) == 6


@pytest.mark.parametrize("value", [-1, 36_501, float("nan"), float("inf"), "30", None, True])
async def test_what_is_no_number_of_days_is_refused(db: Path, value: Any) -> None:
    """With name, value and remedy, also in a dry run and where nothing is stored."""
    with (
        TelemetryLogger(db) as logger,
        pytest.raises(QueryError, match=r"older_than_days: .* is not usable; give a number of days from 0 to 36,500"),
    ):
        logger.purge(value)
    async with AsyncTelemetryLogger(db, enabled=False) as telemetry:
        with pytest.raises(QueryError, match="older_than_days"):
            await telemetry.purge(value, dry_run=True)


@pytest.mark.parametrize("options", [{"enabled": False}, {"privacy_level": "none"}])
async def test_a_logger_that_stores_nothing_purges_nothing(tmp_path: Path, options: Any) -> None:
    """And creates nothing."""
    with TelemetryLogger(tmp_path / "a.db", **options) as logger:
        assert logger.purge(1) == PurgeResult()
    async with AsyncTelemetryLogger(tmp_path / "b.db", **options) as telemetry:
        assert await telemetry.purge(1, dry_run=True) == PurgeResult(dry_run=True)
    assert list(tmp_path.iterdir()) == []


async def test_purge_after_a_close_is_refused(db: Path) -> None:
    """The file is let go of for good."""
    with TelemetryLogger(db) as logger:
        pass
    with pytest.raises(StoreError, match="the logger is closed"):
        logger.purge(1)
    async with AsyncTelemetryLogger(db) as telemetry:
        pass
    with pytest.raises(StoreError, match="the logger is closed"):
        await telemetry.purge(1)


async def test_a_file_that_cannot_be_used_is_told_to_who_purges(db: Path) -> None:
    """At once, not after `commit_timeout`."""
    with sqlite3.connect(db) as notes:  # another application's: it is refused and left alone
        notes.execute("CREATE TABLE notes (text TEXT)")
    notes.close()
    telemetry = AsyncTelemetryLogger(db, commit_timeout=60)
    with pytest.raises(StoreError):
        await telemetry.purge(1)
    await telemetry.aclose()


@pytest.mark.parametrize("face", ["sync", "async"])
async def test_a_fault_that_no_retry_helps_is_told_to_who_purges(
    face: str, db: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A damaged page is met in a step: the error is raised, and the logger goes on."""
    fill(db, 40)
    damaged = sqlite3.DatabaseError("database disk image is malformed")
    damaged.sqlite_errorcode = sqlite3.SQLITE_CORRUPT  # type: ignore[misc]

    def step(_self: Purge, _connection: Any) -> None:
        raise damaged

    monkeypatch.setattr(Purge, "step", step)
    if face == "sync":
        with TelemetryLogger(db, retention_days=None) as logger:
            with pytest.raises(StoreError, match="malformed"):
                logger.purge(1)
            assert logger.log_invocation(aged(0)[0])
            assert "malformed" in str(logger.stats().purge_error)
    else:
        async with AsyncTelemetryLogger(db, retention_days=None) as telemetry:
            with pytest.raises(StoreError, match="malformed"):
                await telemetry.purge(1)
            assert await telemetry.log_invocation(aged(0)[0], durable=True)


@pytest.mark.parametrize("face", ["sync", "async"])
async def test_purge_of_a_locked_file_waits_and_then_says_so(face: str, db: Path) -> None:
    """Within `commit_timeout`; once the lock is gone it goes through, and nothing is half done meanwhile."""
    fill(db, 40, 0)
    if face == "sync":
        with TelemetryLogger(db, retention_days=None, commit_timeout=0.3) as logger:
            with locked(db), pytest.raises(CommitTimeoutError, match="was not purged further"):
                logger.purge(30)
            assert rows(db) == 40
            assert logger.purge(30).records == 20
    else:
        async with AsyncTelemetryLogger(db, retention_days=None, commit_timeout=0.3) as telemetry:
            with locked(db), pytest.raises(CommitTimeoutError, match="was not purged further"):
                await telemetry.purge(30)
            assert (await telemetry.purge(30)).records == 20
    check_sound(db, 40)


async def test_purge_flushes_first_or_says_that_it_cannot(db: Path) -> None:
    """As every question does."""
    async with AsyncTelemetryLogger(db, retention_days=None, commit_timeout=0.2) as telemetry:
        await telemetry.log_invocation(aged(0)[0], durable=True)
        with locked(db):
            await telemetry.log_invocation(aged(40)[0])
            with pytest.raises(CommitTimeoutError, match="could not be flushed"):
                await telemetry.purge(30)
        assert (await telemetry.purge(30)).records == 1
    with TelemetryLogger(db, commit_timeout=0.2) as logger, locked(db):
        logger.log_invocation_nowait(aged(0)[0])
        with pytest.raises(CommitTimeoutError, match="could not be flushed"):
            logger.purge(30)


@pytest.mark.usefixtures("small_steps")
def test_a_purge_that_a_foreign_reader_stops_says_so(db: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Within `commit_timeout`: else the WAL would grow as long as the reader stays. Afterwards it goes through."""
    monkeypatch.setattr("llm_service.telemetry.stores.sqlite.purge_steps._STUCK_PAGES", 10)
    monkeypatch.setattr("llm_service.telemetry.writer.purge_schedule._STUCK_PAUSE", 0.01)
    fill(db, 40, count=100)
    with TelemetryLogger(db, retention_days=None, commit_timeout=0.3) as logger:
        with closing(sqlite3.connect(db, isolation_level=None)) as reader:
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM invocations").fetchone()
            with pytest.raises(CommitTimeoutError, match="a foreign reader"):
                logger.purge(30)
        assert 0 < logger.stats().purged < 100
        assert logger.purge(30).complete
        assert logger.stats().purged == 100


@pytest.mark.usefixtures("small_steps")
@pytest.mark.parametrize("at", range(12))
async def test_a_purge_that_is_cancelled_at_any_await_does_no_harm(at: int, db: Path) -> None:
    """It ends between two steps; the logger goes on, and the next purge takes the rest."""
    fill(db, 40, 0, count=12)
    async with AsyncTelemetryLogger(db, retention_days=None) as telemetry:
        purging = asyncio.create_task(telemetry.purge(30))
        for _ in range(at):
            await asyncio.sleep(0)
        await until(lambda: telemetry.stats().purged >= at - 5)
        purging.cancel()
        with pytest.raises(asyncio.CancelledError):
            await purging
        assert not engine_of(telemetry).retention.busy
        assert await telemetry.log_invocation(aged(0)[0], durable=True)
        before = telemetry.stats().purged
        assert (await telemetry.purge(30)).records == 12 - before
    assert rows(db) == 13
    check_sound(db, 25)


@pytest.mark.usefixtures("small_steps")
async def test_a_close_ends_a_purge_between_two_steps_and_it_says_so(db: Path) -> None:
    """`complete` is False, and its numbers are true."""
    fill(db, 40, count=200)
    telemetry = AsyncTelemetryLogger(db, retention_days=None)
    purging = asyncio.create_task(telemetry.purge(30))
    await until(lambda: telemetry.stats().purged >= 5)
    await telemetry.aclose()
    result = await purging
    assert not result.complete
    assert 5 <= result.records < 200
    assert rows(db) == 200 - result.records
    check_sound(db, 200)


@pytest.mark.usefixtures("small_steps")
def test_a_close_from_another_thread_ends_a_sync_purge(db: Path, eventually: Callable[..., None]) -> None:
    """Soon, and truthfully."""
    fill(db, 40, count=300)
    logger = TelemetryLogger(db, retention_days=None)
    results: list[PurgeResult] = []
    thread = threading.Thread(target=lambda: results.append(logger.purge(30)))
    thread.start()
    eventually(lambda: logger.stats().purged > 3)
    logger.close()
    thread.join(20)
    assert not results[0].complete
    assert rows(db) == 300 - results[0].records


async def test_two_purges_at_once_share_the_work(db: Path) -> None:
    """Each record is counted by one of them."""
    fill(db, 60, 40, 0, count=200)
    async with AsyncTelemetryLogger(db, retention_days=None) as telemetry:
        results = await asyncio.gather(telemetry.purge(50), telemetry.purge(30), telemetry.purge(30))
        assert sum(result.records for result in results) == 400
        assert all(result.complete for result in results)
    assert rows(db) == 200


def test_a_purge_goes_on_while_other_threads_commit(db: Path) -> None:
    """Both get their turns on the one connection."""
    fill(db, 40, count=2000)
    with TelemetryLogger(db, retention_days=None) as logger:
        threads = [
            threading.Thread(target=lambda: [logger.log_invocation(one) for one in aged(0, 100)]) for _ in range(3)
        ]
        for thread in threads:
            thread.start()
        assert logger.purge(30).records == 2000
        for thread in threads:
            thread.join()
    assert rows(db) == 300
    check_sound(db, 2300)


async def test_a_purge_asked_for_on_another_loop_is_done_by_the_writers_loop(db: Path) -> None:
    """And by a loop that takes over, where that one has ended."""
    fill(db, 60, 40, count=50)
    telemetry = AsyncTelemetryLogger(db, retention_days=None)
    await telemetry.start()
    assert (await asyncio.to_thread(asyncio.run, telemetry.purge(50))).records == 50
    await telemetry.aclose()
    orphan = AsyncTelemetryLogger(db, retention_days=None)
    await asyncio.to_thread(asyncio.run, orphan.start())
    assert (await orphan.purge(30)).records == 50
    await orphan.aclose()


# Faults of retention


def test_a_fault_of_retention_is_told_once_and_tried_again(
    db: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, eventually: Callable[..., None]
) -> None:
    """Records go on being committed; `stats()` says what is wrong until it is right."""
    fill(db, 40)
    real = Purge.step

    def step(_self: Purge, _connection: Any) -> None:
        full = sqlite3.OperationalError("database or disk is full")
        full.sqlite_errorcode = sqlite3.SQLITE_FULL  # type: ignore[misc]
        raise full

    monkeypatch.setattr(Purge, "step", step)
    with TelemetryLogger(db) as logger:
        logger.log_invocation(aged(0)[0])
        eventually(lambda: logger.stats().purge_error is not None)
        assert "disk is full" in str(logger.stats().purge_error)
        engine_of(logger).retention.due_at = 0.0
        logger.log_invocation(aged(0)[0])
        engine_of(logger).drivers.wake()
        assert caplog.text.count("retention does not get on") == 1
        monkeypatch.setattr(Purge, "step", real)
        engine_of(logger).retention.due_at = 0.0
        logger.log_invocation(aged(0)[0])
        engine_of(logger).drivers.wake()
        eventually(lambda: logger.stats().purged == 20 and logger.stats().purge_error is None)


def test_retention_whose_file_cannot_be_opened_for_now_is_paced(db: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fork or a fault has closed the connection, and another cannot be had yet."""
    with TelemetryLogger(db) as logger:
        engine = engine_of(logger)
        engine.inline.let_go()

        def refuse() -> Any:
            raise sqlite3.OperationalError("no")

        monkeypatch.setattr(engine.inline.session.connection, "_connector", refuse)
        engine.inline.retain()
        assert logger.stats().purge_error == "OperationalError: no"
        assert (engine.retention.due_in() or 0) > 10


def test_a_lock_is_no_fault(db: Path) -> None:
    """Somebody else is at work: it comes back soon, and nothing is said."""
    fill(db, 40)
    with TelemetryLogger(db) as logger:
        retention = engine_of(logger).retention
        engine_of(logger).inline.retain()
        assert retention.busy
        with locked(db):
            engine_of(logger).inline.retain()
        assert logger.stats().purge_error is None
        assert 0 < (retention.due_in() or 0) < 1


def test_another_process_that_purges_is_left_alone_for_the_lease(db: Path) -> None:
    """The turn ends without a deletion; the next look is half a minute away."""
    fill(db, 40)
    with closing(sqlite3.connect(db)) as other:
        until = (datetime.now(UTC) + timedelta(seconds=20)).strftime("%Y-%m-%d %H:%M:%S.%fZ")
        other.execute("UPDATE retention SET holder = 'other', held_until = ?", (until,))
        other.commit()
    with TelemetryLogger(db) as logger:
        engine_of(logger).inline.retain()
        engine_of(logger).inline.retain()
        assert not engine_of(logger).retention.busy
        assert (engine_of(logger).retention.due_in() or 0) > 20
    assert rows(db) == 20


def test_retention_that_has_ended_takes_no_turn_and_no_job(db: Path) -> None:
    """What comes while a logger closes is over at once."""
    with TelemetryLogger(db) as logger:
        settings, store = logger.settings, engine_of(logger).store
    retention = Retention(settings, store, "me")
    retention.end()
    assert retention.due_in() is None
    retention.turn(session := store.session())
    assert not session.is_open
    waiter = ThreadWaiter()
    job = retention.request(Cutoffs("2026-11-24", None), waiter)
    assert job.over
    assert not job.result().complete


class Turning:
    """A session in which somebody asks for a purge while a turn is within it."""

    def __init__(
        self, retention: Retention, *, old: bool = False, error: Exception | None = None, held: bool = False
    ) -> None:
        self._retention = retention
        self._old = old
        self._error = error
        self._held = held
        self.jobs: list[PurgeJob] = []

    def believe(self, now: int) -> Belief:
        """The clock."""
        return Belief(now)

    def has_old(self, _cutoffs: Cutoffs, *, thorough: bool) -> bool:  # noqa: ARG002 - of the protocol
        """A look."""
        if not self._old:
            self._ask()
        return self._old

    def purge(self, purge: Purge) -> None:
        """The last step of the logger's own."""
        self._ask()
        purge.done, purge.held = True, self._held

    def _ask(self) -> None:
        self.jobs.append(self._retention.request(Cutoffs("2026-11-24", None), ThreadWaiter()))
        if self._error is not None:
            raise self._error


@pytest.mark.parametrize("error", [None, sqlite3.OperationalError("disk I/O error")], ids=["done", "fault"])
@pytest.mark.parametrize("held", [False, True], ids=["free", "held"])
@pytest.mark.parametrize("old", [False, True], ids=["a look", "a step"])
def test_a_purge_that_is_asked_for_while_a_turn_is_under_way_is_next(
    db: Path, error: Exception | None, *, held: bool, old: bool
) -> None:
    """However the turn ends, it does not put the next one off for an hour."""
    with TelemetryLogger(db) as logger:
        settings, store = logger.settings, engine_of(logger).store
    retention = Retention(settings, store, "me")
    session: Any = Turning(retention, old=old, error=error, held=held)
    for _ in range(1 + old):
        retention.turn(session)
    assert len(session.jobs) == 1
    assert not session.jobs[0].over
    assert (retention.due_in() or 0) < 1


@pytest.mark.parametrize("face", [TelemetryLogger, AsyncTelemetryLogger])
async def test_a_purge_during_the_loggers_own_look_is_done(
    db: Path, face: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was asked for before the look had ended, and waited for the next one, an hour later."""
    looking, asked, tell, ask = threading.Event(), threading.Event(), Retention._tell, Retention.request

    def look(self: Retention, belief: Belief) -> None:
        looking.set()
        asked.wait(10)
        tell(self, belief)

    def request(self: Retention, *args: Any) -> PurgeJob:
        job = ask(self, *args)
        asked.set()
        return job

    fill(db, 40)
    logger = face(db, flush_interval=0.01, retention_days=3650)
    if face is AsyncTelemetryLogger:
        await logger.start()
        await logger.flush()
    else:
        logger.log_invocation(aged(0)[0])
    monkeypatch.setattr(Retention, "_tell", look)
    monkeypatch.setattr(Retention, "request", request)
    engine = logger._core.engine
    engine.retention.due_at = 0.0
    engine.drivers.ensure()
    engine.drivers.wake()
    assert await asyncio.to_thread(looking.wait, 10)
    purge = logger.purge(30) if face is AsyncTelemetryLogger else asyncio.to_thread(logger.purge, 30)
    found = await asyncio.wait_for(purge, 10)
    await logger.aclose() if face is AsyncTelemetryLogger else logger.close()
    assert (found.complete, found.records) == (True, 20)


# Processes

PURGES_WHILE_WRITING = """
from datetime import UTC, datetime, timedelta
async def main():
    async with AsyncTelemetryLogger(PATH, retention_days=None, commit_timeout=60) as telemetry:
        await telemetry.start()
        print("ready")
        await asyncio.to_thread(sys.stdin.readline)
        async def write():
            for _ in range(200):
                await telemetry.log_invocation(record("new"), durable=True)
        writing = asyncio.create_task(write())
        result = await telemetry.purge(30)
        await writing
        assert result.complete
        print(result.records)
asyncio.run(main())
"""

KILLED_WHILE_PURGING = """
from llm_service.telemetry.writer.waiters import ThreadWaiter
from llm_service.telemetry.stores.sqlite.purge_steps import Purge
from llm_service.telemetry.stores.retention import Cutoffs
real = Purge.step
def step(self, connection):
    self.rows.now = self.rows.most = 50
    real(self, connection)
    if self.records >= 500:
        os.kill(os.getpid(), signal.SIGKILL)
Purge.step = step
with TelemetryLogger(PATH, retention_days=None) as logger:
    logger.purge(30)
"""


@pytest.mark.volume
def test_two_processes_purge_one_file_while_both_write(
    db: Path, start_script: Callable[..., Any], expect_line: Callable[..., None], tell: Callable[..., None],
    finish: Callable[..., Any],
) -> None:  # fmt: skip
    """Exactly the right rows remain, each is deleted once, totals and file are sound."""
    fill(db, 40, 35, 29, 1, count=1500)
    processes = [start_script(PURGES_WHILE_WRITING, db) for _ in range(2)]
    for process in processes:
        expect_line(process, "ready")
    for process in processes:
        tell(process)
    done = [finish(process, 60) for process in processes]
    assert [one.code for one in done] == [0, 0], [one.err for one in done]
    assert sum(int(one.out) for one in done) == 3000
    assert rows(db) == 3400
    assert ask(db, "SELECT count(*) FROM invocations WHERE agent_name = 'new'") == 400
    assert ask(db, "SELECT count(*) FROM invocations WHERE timestamp < ?", _first_kept(30)) == 0
    check_sound(db, 6400)


def test_a_purge_that_was_killed_goes_on_in_the_next_process(
    db: Path, run_script: Callable[..., Any], eventually: Callable[..., None]
) -> None:
    """What was deleted is said to be gone, the rest is there; retention takes it once the lease has ended."""
    fill(db, 40, 0, count=1500)
    assert run_script(KILLED_WHILE_PURGING, db).code == -9
    assert rows(db) == 2500
    assert ask(db, "SELECT records_kept_since FROM retention") == _first_kept(30)
    check_sound(db, 3000)
    with TelemetryLogger(db, retention_days=30) as logger:
        clock = Clock()
        clock.now += 40 * 10**9  # the dead process's lease is over
        engine_of(logger).retention.clock_ns = clock
        logger.log_invocation(aged(0)[0])
        eventually(lambda: logger.stats().purged == 1000)
    assert rows(db) == 1501
    check_sound(db, 3001)


def _first_kept(days: int) -> str:
    return (datetime.now(UTC) - timedelta(days=days)).date().isoformat()
