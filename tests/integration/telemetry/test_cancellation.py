"""A cancellation at any await loses no record, kills no writer, and is delivered."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from llm_service.telemetry import AsyncTelemetryLogger, InvocationRecord

MAX_STEPS = 400

Call = Callable[[AsyncTelemetryLogger, Callable[..., InvocationRecord]], Coroutine[Any, Any, Any]]


async def _flush(telemetry: AsyncTelemetryLogger, record: Callable[..., InvocationRecord]) -> None:
    telemetry.log_invocation_nowait(record())
    await telemetry.flush()


async def _aclose(telemetry: AsyncTelemetryLogger, record: Callable[..., InvocationRecord]) -> None:
    telemetry.log_invocation_nowait(record())
    await telemetry.aclose()


async def _durable(telemetry: AsyncTelemetryLogger, record: Callable[..., InvocationRecord]) -> None:
    await telemetry.log_invocation(record(), durable=True)


async def _start(telemetry: AsyncTelemetryLogger, record: Callable[..., InvocationRecord]) -> None:
    await telemetry.start()
    telemetry.log_invocation_nowait(record())


async def _body(telemetry: AsyncTelemetryLogger, record: Callable[..., InvocationRecord]) -> None:
    async with telemetry:
        telemetry.log_invocation_nowait(record())
        async with telemetry.invocation("block"):
            await asyncio.sleep(0)
        await telemetry.log_invocation(record(), durable=True)


async def _read(telemetry: AsyncTelemetryLogger, record: Callable[..., InvocationRecord]) -> None:
    telemetry.log_invocation_nowait(record())
    await telemetry.get_statistics()


async def _wait_for_room(telemetry: AsyncTelemetryLogger, record: Callable[..., InvocationRecord]) -> None:
    for _ in range(6):
        await telemetry.log_invocation(record())


CALLS = [_flush, _aclose, _durable, _start, _body, _read, _wait_for_room]
OPTIONS: dict[Call, dict[str, Any]] = {_wait_for_room: {"queue_max_records": 2, "batch_size": 1}}


class CancelledAtStep:
    """Drives a coroutine and cancels its task when it has been suspended `step` times."""

    def __init__(self, call: Coroutine[Any, Any, Any], step: int, *, again: bool) -> None:
        self._call = call
        self._step = step
        self._again = again
        self.reached = False

    def __await__(self) -> Any:
        """Pass on what the coroutine waits for, and ask for a cancellation at the chosen moments."""
        task = asyncio.current_task()
        assert task is not None
        awaitable = self._call.__await__()
        steps, sent, error = 0, None, None
        while True:
            try:
                waits_for = awaitable.send(sent) if error is None else awaitable.throw(error)
            except StopIteration as end:
                return end.value
            steps += 1
            if steps == self._step or (self._again and steps > self._step):
                self.reached = True
                asyncio.get_running_loop().call_soon(task.cancel)
            sent = error = None
            try:
                sent = yield waits_for
            except BaseException as thrown:  # noqa: BLE001 - handed to the coroutine as it came
                error = thrown


async def _settle(telemetry: AsyncTelemetryLogger) -> None:
    """The writer lives, or the close is complete; either way the counts add up afterwards."""
    if not telemetry.stats().closed:
        result = await telemetry.flush()
        assert result.complete
    await telemetry.aclose()
    stats = telemetry.stats()
    assert stats.closed
    assert not stats.writer_alive
    assert stats.ledger.balanced
    assert stats.ledger.pending == 0


def _rows(path: Path) -> int:
    if not path.exists() or path.stat().st_size == 0:
        return 0
    connection = sqlite3.connect(path)
    try:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        return int(connection.execute("SELECT count(*) FROM invocations").fetchone()[0])
    finally:
        connection.close()


@pytest.mark.parametrize("again", [False, True], ids=["once", "again and again"])
@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.__name__[1:])
async def test_a_cancel_at_every_step_loses_nothing(
    call: Call, again: bool, tmp_path: Path, record: Callable[..., InvocationRecord]
) -> None:
    """`task.cancel()` at the first, second, … suspension until the call gets through: the ledger and the file agree."""
    for step in range(1, MAX_STEPS):
        telemetry = AsyncTelemetryLogger(tmp_path / f"{step}.db", **OPTIONS.get(call, {}))
        driver = CancelledAtStep(call(telemetry, record), step, again=again)

        async def drive(driver: CancelledAtStep = driver) -> None:
            await driver

        task = asyncio.create_task(drive())
        done, _ = await asyncio.wait([task], timeout=15)
        assert done, f"hangs when cancelled at step {step}"
        if driver.reached:
            # The last cancel may come when the call has its result already; then nothing is left to interrupt.
            assert task.cancelled() or task.exception() is None
        await _settle(telemetry)
        assert _rows(telemetry.db_path) == telemetry.stats().ledger.written
        assert telemetry.stats().ledger.dropped == {}
        if not driver.reached:
            assert step > 1
            return
    pytest.fail("the call never came to its end")


@asynccontextmanager
async def _locked(path: Path) -> AsyncIterator[None]:
    """Another connection holds the file, so that every commit waits."""
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    try:
        yield
    finally:
        holder.close()


async def _by_move_on_after(call: Awaitable[Any]) -> None:
    with anyio.move_on_after(0.05) as scope:
        await call
        await anyio.lowlevel.checkpoint()  # what a shield held off is delivered at the next checkpoint
    assert scope.cancelled_caught


async def _by_scope_cancel(call: Awaitable[Any]) -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(_await, call)
        await anyio.sleep(0.02)
        group.cancel_scope.cancel()


async def _by_timeout(call: Awaitable[Any]) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await call


async def _by_wait_for(call: Awaitable[Any]) -> None:
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(call, 0.05)


async def _by_task_cancel(call: Awaitable[Any]) -> None:
    task = asyncio.create_task(_await(call))
    await asyncio.sleep(0.02)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def _by_many_cancels(call: Awaitable[Any]) -> None:
    task = asyncio.create_task(_await(call))
    await asyncio.sleep(0.02)
    while not task.done():
        task.cancel()
        await asyncio.sleep(0)
    assert task.cancelled()


async def _await(call: Awaitable[Any]) -> None:
    await call


WAYS = [_by_move_on_after, _by_scope_cancel, _by_timeout, _by_wait_for, _by_task_cancel, _by_many_cancels]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__[4:])
@pytest.mark.parametrize("what", ["flush", "durable", "room", "read"])
async def test_a_wait_on_a_locked_file_can_be_cancelled(
    what: str, way: Callable[..., Any], db: Path, record: Callable[..., InvocationRecord], truth: Callable[..., Any]
) -> None:
    """The caller is let go at once; what it had handed over is written when the lock is gone."""
    telemetry = AsyncTelemetryLogger(db, queue_max_records=10, flush_interval=0.01, block_timeout=60)
    await telemetry.start()
    calls = {
        "flush": telemetry.flush,
        "durable": lambda: telemetry.log_invocation(record("durable"), durable=True),
        "room": lambda: telemetry.log_invocation(record("room")),
        "read": telemetry.get_daily_costs,
    }
    async with _locked(db):
        for _ in range(10 if what == "room" else 9):
            assert telemetry.log_invocation_nowait(record())
        await way(calls[what]())
        assert telemetry.stats().ledger.balanced
    expected = 10 if what in {"durable", "room"} else 9
    assert (await telemetry.flush()).complete
    await telemetry.aclose()
    ledger = telemetry.stats().ledger
    assert (ledger.submitted, ledger.written, ledger.dropped) == (expected, expected, {})
    assert truth(db).agents.get("room", 0) == 0  # a cancelled wait for room submits nothing
    assert truth(db).rows == expected


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__[4:])
async def test_a_cancelled_close_is_complete_all_the_same(
    way: Callable[..., Any], db: Path, record: Callable[..., InvocationRecord], truth: Callable[..., Any]
) -> None:
    """`aclose` on a locked file goes on to its timeout, counts what it drops, and then passes the cancellation on."""
    telemetry = AsyncTelemetryLogger(db)
    await telemetry.start()
    for _ in range(20):
        telemetry.log_invocation_nowait(record())
    async with _locked(db):
        await way(telemetry.aclose(timeout=0.3))
        stats = telemetry.stats()
        assert (stats.closed, stats.writer_alive, stats.queue_records) == (True, False, 0)
        assert stats.ledger.balanced
        assert stats.ledger.dropped == {"shutdown": 20}
    assert truth(db).rows == 0


async def test_the_body_of_async_with_is_cancelled_and_its_records_are_written(
    db: Path, record: Callable[..., InvocationRecord], truth: Callable[..., Any]
) -> None:
    """A cancelled scope around `async with` ends the block, closes the logger, and ends as cancelled."""
    with anyio.CancelScope() as scope:
        async with AsyncTelemetryLogger(db) as telemetry:
            for _ in range(30):
                telemetry.log_invocation_nowait(record())
            scope.cancel()
            with telemetry.invocation("cancelled"):
                await anyio.sleep(60)
    assert scope.cancelled_caught
    assert telemetry.stats().closed
    assert truth(db).agents == {"agent": 30, "cancelled": 1}


async def test_the_writer_task_itself_may_be_cancelled(
    db: Path, record: Callable[..., InvocationRecord], truth: Callable[..., Any]
) -> None:
    """A zealous supervisor that cancels every task only makes the next record start another writer."""
    telemetry = AsyncTelemetryLogger(db)
    for _ in range(10):
        await telemetry.start()
        telemetry.log_invocation_nowait(record())
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
    await telemetry.log_invocation(record(), durable=True)
    await telemetry.aclose()
    assert telemetry.stats().ledger.written == truth(db).rows == 11


async def test_a_writer_task_cancelled_before_its_first_step_does_not_hang_start(
    db: Path, record: Callable[..., InvocationRecord]
) -> None:
    """A task that is cancelled before it ran never runs its `finally`; whoever waits for it is told all the same."""
    telemetry = AsyncTelemetryLogger(db)
    starting = asyncio.create_task(telemetry.start())
    telemetry.log_invocation_nowait(record())
    for task in asyncio.all_tasks() - {asyncio.current_task(), starting}:
        task.cancel()
    done, _ = await asyncio.wait([starting], timeout=5)
    assert done
    starting.result()
    await telemetry.aclose()
    assert telemetry.stats().ledger.written == 1
