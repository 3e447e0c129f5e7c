"""One logger used by successive loops, by two loops at once, and by many threads."""

import asyncio
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from llm_service.telemetry import AsyncTelemetryLogger, InvocationRecord, TelemetryLogger
from llm_service.telemetry.stores.sqlite.batch_writer import SqliteBatchWriter

Record = Callable[..., InvocationRecord]


def in_threads(count: int, work: Callable[[int], None]) -> None:
    """Run `work(0)`, `work(1)`, … in threads that start together; the first failure is raised."""
    failures: list[BaseException] = []
    ready = threading.Barrier(count)

    def run(number: int) -> None:
        try:
            ready.wait()
            work(number)
        except BaseException as error:  # noqa: BLE001 - raised in the test's own thread
            failures.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    if failures:
        raise failures[0]


def test_two_successive_runs_share_one_logger(db: Path, record: Record, truth: Callable[..., Any]) -> None:
    """What the first `asyncio.run` left in the queue is on disk at its end, and the second one starts a new writer."""
    telemetry = AsyncTelemetryLogger(db)

    async def log(agent: str) -> None:
        for _ in range(100):
            await telemetry.log_invocation(record(agent))
        await telemetry.log_invocation(record(agent), durable=True)
        for _ in range(100):
            telemetry.log_invocation_nowait(record(agent))

    asyncio.run(log("first"))
    assert telemetry.stats().ledger.pending == 0
    asyncio.run(log("second"))
    assert telemetry.stats().ledger.pending == 0
    asyncio.run(telemetry.aclose())
    assert telemetry.stats().ledger.written == 402
    assert truth(db).agents == {"first": 201, "second": 201}


def test_what_waits_when_a_run_ends_is_on_disk_when_it_has_ended(db: Path, record: Record) -> None:
    """The writer task is cancelled, as every task: it writes first, and leaves nothing to the exit or the next use."""
    telemetry = AsyncTelemetryLogger(db, flush_interval=3600.0)

    async def leave() -> None:
        await telemetry.start()
        for _ in range(700):
            telemetry.log_invocation_nowait(record())

    asyncio.run(leave())
    with closing(sqlite3.connect(db)) as other:
        assert other.execute("SELECT count(*) FROM invocations").fetchone() == (700,)
    ledger = telemetry.stats().ledger
    assert (ledger.written, ledger.pending) == (700, 0)
    asyncio.run(telemetry.aclose())


def test_a_loop_that_is_run_again_and_again(db: Path, record: Record, truth: Callable[..., Any]) -> None:
    """Between two `run_until_complete` the writer rests, `nowait` keeps, and the next run goes on."""
    telemetry = AsyncTelemetryLogger(db, flush_interval=0.01)
    loop = asyncio.new_event_loop()
    for _ in range(20):
        loop.run_until_complete(telemetry.log_invocation(record(), durable=True))
        assert telemetry.log_invocation_nowait(record())
    assert loop.run_until_complete(telemetry.flush()).complete
    loop.run_until_complete(telemetry.aclose())
    loop.close()
    assert truth(db).rows == telemetry.stats().ledger.written == 40


async def _all_end(loop: asyncio.AbstractEventLoop) -> None:
    await asyncio.gather(*(task for task in asyncio.all_tasks(loop) if task.get_name() == "llm-telemetry-writer"))


@pytest.mark.parametrize("end", ["goes on", "is closed", "is forgotten"])
def test_a_loop_that_has_stopped_does_not_keep_the_writer(
    end: str, db: Path, record: Record, truth: Callable[..., Any]
) -> None:
    """Stopped and not closed, it commits nothing: the loop that runs takes over, and the first may go on later."""
    telemetry = AsyncTelemetryLogger(db, commit_timeout=5)
    first = asyncio.new_event_loop()
    first.run_until_complete(telemetry.log_invocation(record("first"), durable=True))

    async def go_on(agent: str) -> None:
        for _ in range(20):
            assert await telemetry.log_invocation(record(agent), durable=True)
            telemetry.log_invocation_nowait(record(agent))
        assert (await telemetry.flush()).complete

    asyncio.run(go_on("second"))
    if end == "goes on":
        first.run_until_complete(go_on("first again"))
        asyncio.run(go_on("third"))
        first.run_until_complete(telemetry.aclose())
        first.run_until_complete(asyncio.wait_for(_all_end(first), 10))  # the writers that were superseded
    if end != "is forgotten":
        first.close()
    asyncio.run(telemetry.aclose())
    first.close()
    stats = telemetry.stats()
    assert (stats.closed, stats.writer_alive, stats.ledger.pending) == (True, False, 0)
    expected = {"first": 1, "second": 40} | ({"first again": 40, "third": 40} if end == "goes on" else {})
    assert truth(db).agents == expected


def test_ownership_moves_when_the_first_of_two_loops_ends(
    db: Path, record: Record, truth: Callable[..., Any], eventually: Callable[..., None]
) -> None:
    """Durable waiters on each loop resolve there, and the second loop's records are written after the first is gone."""
    telemetry = AsyncTelemetryLogger(db, flush_interval=0.01)
    first_is_over = threading.Event()
    both_logged = threading.Barrier(2)

    async def log(agent: str) -> None:
        for _ in range(30):
            assert await telemetry.log_invocation(record(agent), durable=True)
            await telemetry.log_invocation(record(agent))

    async def first() -> None:
        await telemetry.start()
        await log("first")
        await asyncio.to_thread(both_logged.wait)

    async def second() -> None:
        await log("second")
        await asyncio.to_thread(both_logged.wait)
        await asyncio.to_thread(first_is_over.wait)
        await log("second, alone")
        assert telemetry.log_invocation_nowait(record("nobody waits"))
        await asyncio.to_thread(eventually, lambda: telemetry.stats().ledger.pending == 0)
        await telemetry.aclose()

    def run(number: int) -> None:
        if number == 0:
            asyncio.run(first())
            first_is_over.set()
        else:
            asyncio.run(second())

    in_threads(2, run)
    assert telemetry.stats().ledger.balanced
    assert truth(db).agents == {"first": 60, "second": 60, "second, alone": 60, "nobody waits": 1}


@pytest.mark.parametrize("what", ["durable", "nowait", "await", "flush"])
def test_a_loop_closed_in_the_middle_does_not_hold_up_the_next(
    what: str, db: Path, record: Record, truth: Callable[..., Any], eventually: Callable[..., None]
) -> None:
    """Closed without cancelling its tasks, a wake-up on its way: the next loop's records are written in time."""
    telemetry = AsyncTelemetryLogger(db, flush_interval=0.01)

    async def start_and_leave() -> None:
        await telemetry.start()
        await asyncio.sleep(0)
        telemetry.log_invocation_nowait(record())  # wakes the writer, which never gets its turn

    async def go_on() -> None:
        if what == "durable":
            assert await telemetry.log_invocation(record(), durable=True)
        elif what == "flush":
            assert (await telemetry.flush()).complete
        elif what == "nowait":
            telemetry.log_invocation_nowait(record())
        else:
            await telemetry.log_invocation(record())
        await asyncio.to_thread(eventually, lambda: telemetry.stats().ledger.pending == 0, 5)

    loop = asyncio.new_event_loop()
    loop.run_until_complete(start_and_leave())
    loop.close()
    asyncio.run(go_on())
    asyncio.run(telemetry.aclose())
    ledger = telemetry.stats().ledger
    assert ledger.balanced
    assert truth(db).rows == ledger.written == (1 if what == "flush" else 2)


def test_a_loop_closed_with_sql_pending_frees_the_lock(
    db: Path, record: Record, monkeypatch: pytest.MonkeyPatch, truth: Callable[..., Any]
) -> None:
    """The commit under way settles itself in its thread, and another connection gets the write lock at once."""
    inside, leave = threading.Event(), threading.Event()
    real = SqliteBatchWriter.write

    def write(self: SqliteBatchWriter, *arguments: Any, **options: Any) -> Any:
        inside.set()
        assert leave.wait(10)
        return real(self, *arguments, **options)

    monkeypatch.setattr(SqliteBatchWriter, "write", write)
    telemetry = AsyncTelemetryLogger(db)
    waits: list[asyncio.Task[Any]] = []

    async def begin() -> None:
        await telemetry.start()
        waits.append(asyncio.create_task(telemetry.log_invocation(record(), durable=True)))
        await asyncio.to_thread(inside.wait)

    loop = asyncio.new_event_loop()
    loop.run_until_complete(begin())
    waits[0]._log_destroy_pending = False  # type: ignore[attr-defined] # left pending by this test, on purpose
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()
    leave.set()
    asyncio.run(telemetry.log_invocation(record(), durable=True))
    other = sqlite3.connect(db, timeout=0, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    other.execute("ROLLBACK")
    other.close()
    asyncio.run(telemetry.aclose())
    assert truth(db).rows == telemetry.stats().ledger.written == 2
    assert telemetry.stats().ledger.balanced


async def test_use_before_start_keeps_and_then_writes(db: Path, record: Record, truth: Callable[..., Any]) -> None:
    """Outside any loop `nowait` accepts; the file is made by the first use in a loop."""
    telemetry = AsyncTelemetryLogger(db)
    await asyncio.to_thread(lambda: [telemetry.log_invocation_nowait(record()) for _ in range(50)])
    assert not await asyncio.to_thread(db.exists)
    assert telemetry.stats().ledger.pending == 50
    await telemetry.log_invocation(record(), durable=True)
    await telemetry.aclose()
    assert truth(db).rows == 51


async def test_eight_threads_log_while_the_loop_runs(db: Path, record: Record, truth: Callable[..., Any]) -> None:
    """Every accepted record is written once, and the ledger adds up at every look."""
    async with AsyncTelemetryLogger(db) as telemetry:

        def log(_number: int) -> None:
            for _ in range(500):
                assert telemetry.log_invocation_nowait(record())

        working = asyncio.create_task(asyncio.to_thread(in_threads, 8, log))
        while not working.done():
            assert telemetry.stats().ledger.balanced
            await telemetry.log_invocation(record("loop"))
            await asyncio.sleep(0.001)
        await working
        assert (await telemetry.flush()).complete
        ledger = telemetry.stats().ledger
    found = truth(db)
    assert found.rows == len(set(found.ids)) == ledger.written == ledger.submitted
    assert found.agents["agent"] == 4000


def test_sixteen_threads_share_a_sync_logger(db: Path, record: Record, truth: Callable[..., Any]) -> None:
    """Each call has committed when it returns; they commit in groups, and the ledger adds up at every look."""
    with TelemetryLogger(db) as logger:

        def log(number: int) -> None:
            for turn in range(50):
                assert logger.log_invocation(record(f"thread-{number}"), durable=turn % 10 == 0)
                assert logger.log_invocation_nowait(record("nowait"))
                assert logger.stats().ledger.balanced

        in_threads(16, log)
        assert logger.flush().complete
        stats = logger.stats()
    assert stats.ledger.written == 1600
    assert truth(db).rows == 1600


async def test_a_sync_logger_works_inside_a_running_loop(db: Path, record: Record, truth: Callable[..., Any]) -> None:
    """It blocks for the commit, as it says, and needs nothing of the loop."""
    with TelemetryLogger(db) as logger:
        assert logger.log_invocation(record())
        async with logger.invocation("agent"):
            await asyncio.sleep(0)
        assert logger.get_statistics()["total_invocations"] == 2
    assert truth(db).rows == 2
