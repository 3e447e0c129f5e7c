"""One logger, several loops and threads: the first loop writes, and what it leaves another takes over."""

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from llm_service.telemetry import AsyncTelemetryLogger, InvocationRecord, TelemetryLogger


def test_two_successive_loops_share_a_logger(db: Path, truth: Callable[..., Any]) -> None:
    """Each run writes what it accepted; nobody closes between them."""
    telemetry = AsyncTelemetryLogger(db)

    async def run(durable: bool) -> None:
        for _ in range(100):
            await telemetry.log_invocation(InvocationRecord())
        await telemetry.log_invocation(InvocationRecord(), durable=durable)

    asyncio.run(run(durable=False))
    assert telemetry.stats().ledger.written == 101
    asyncio.run(run(durable=True))
    assert telemetry.stats().ledger.written == 202
    asyncio.run(telemetry.aclose())
    assert truth(db).rows == 202


def test_a_loop_that_ends_hands_the_writer_to_the_other(db: Path, truth: Callable[..., Any]) -> None:
    """Durable callers are told on their own loop, before and after the change."""
    telemetry = AsyncTelemetryLogger(db)
    first_writes, second_waits, first_is_over = threading.Event(), threading.Event(), threading.Event()

    async def first() -> None:
        await telemetry.log_invocation(InvocationRecord(agent_name="first"), durable=True)
        first_writes.set()
        await asyncio.to_thread(second_waits.wait, 10)

    async def second() -> None:
        await telemetry.log_invocation(InvocationRecord(agent_name="second"), durable=True)
        second_waits.set()
        await asyncio.to_thread(first_is_over.wait, 10)
        for _ in range(10):
            await telemetry.log_invocation(InvocationRecord(agent_name="second"), durable=True)
        await telemetry.aclose()

    def run_first() -> None:
        asyncio.run(first())
        first_is_over.set()

    def run_second() -> None:
        assert first_writes.wait(10)
        asyncio.run(second())

    threads = [threading.Thread(target=target) for target in (run_first, run_second)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()
    assert truth(db).agents == {"first": 1, "second": 11}
    assert telemetry.stats().ledger.balanced


async def test_eight_threads_feed_a_running_loop(db: Path, truth: Callable[..., Any]) -> None:
    """An idle loop is woken by the first record, and every record is counted once."""
    async with AsyncTelemetryLogger(db) as telemetry:

        def feed() -> None:
            for _ in range(500):
                assert telemetry.log_invocation_nowait(InvocationRecord())

        await asyncio.gather(*(asyncio.to_thread(feed) for _ in range(8)))
        assert (await telemetry.flush()).complete
        assert telemetry.stats().ledger.written == 4000
    assert truth(db).rows == 4000


def test_records_before_the_first_loop_are_written_by_it(db: Path, truth: Callable[..., Any]) -> None:
    """Use before start is bounded and kept."""
    telemetry = AsyncTelemetryLogger(db)
    for _ in range(10):
        assert telemetry.log_invocation_nowait(InvocationRecord())

    async def run() -> None:
        async with telemetry:
            pass

    asyncio.run(run())
    assert truth(db).rows == 10


def test_a_loop_that_is_run_piece_by_piece_keeps_its_writer(db: Path, truth: Callable[..., Any]) -> None:
    """Between the pieces records wait, and no second writer starts."""
    loop = asyncio.new_event_loop()
    telemetry = AsyncTelemetryLogger(db)
    for _ in range(5):
        telemetry.log_invocation_nowait(InvocationRecord())
        loop.run_until_complete(telemetry.log_invocation(InvocationRecord(), durable=True))
    loop.run_until_complete(telemetry.aclose())
    loop.close()
    assert truth(db).rows == 10


async def test_a_sync_logger_works_inside_a_running_loop(db: Path, truth: Callable[..., Any]) -> None:
    """It needs no loop of its own."""
    with TelemetryLogger(db) as logger:
        assert logger.log_invocation(InvocationRecord())
        assert logger.log_invocation_nowait(InvocationRecord())
        with logger.invocation("agent"):
            pass
    assert truth(db).rows == 3
