"""What a logger leaves behind when it is closed: nothing."""

import asyncio
import gc
import os
import sqlite3
import threading
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import aiosqlite.core
import pytest

from llm_service.telemetry import AsyncTelemetryLogger, InvocationRecord, TelemetryLogger
from llm_service.telemetry.stores.sqlite.async_connection import WriterConnection


def descriptors() -> int:
    """Open descriptors of this process."""
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - one call, so that the listing counts itself each time


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="descriptors are counted in /proc")
async def test_closed_loggers_leave_no_task_thread_descriptor_or_file(tmp_path: Path) -> None:
    """After twenty of each face."""

    async def use(number: int) -> None:
        async with AsyncTelemetryLogger(tmp_path / f"{number}.db") as telemetry:
            await telemetry.log_invocation(InvocationRecord(), durable=True)
            await telemetry.get_statistics()
        with TelemetryLogger(tmp_path / f"{number}.db", flush_interval=0.01) as logger:
            logger.log_invocation(InvocationRecord())
            logger.log_invocation_nowait(InvocationRecord())
            logger.get_statistics()

    await use(0)
    gc.collect()
    before = (descriptors(), set(threading.enumerate()), asyncio.all_tasks())
    for number in range(1, 21):
        await use(number)
    gc.collect()
    assert (descriptors(), set(threading.enumerate()), asyncio.all_tasks()) == before
    assert {path.suffix.partition("-")[0] for path in tmp_path.iterdir()} == {".db"}
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_the_private_names_of_aiosqlite_that_are_used_are_there() -> None:
    """A release of aiosqlite that changes them fails here, and not in somebody's agent."""
    connection = WriterConnection(lambda: sqlite3.connect(":memory:"))
    private: Any = connection
    assert isinstance(private._tx, SimpleQueue)
    assert isinstance(private._thread, threading.Thread)
    assert private._thread.daemon
    assert private._connection is None
    assert private._running is True
    assert callable(private._connector)


def test_aiosqlites_thread_takes_jobs_without_a_future_and_ends_on_its_sentinel() -> None:
    """That is how a job delivers its own result, and how a connection is stopped without a loop."""
    done: list[int] = []
    connection = WriterConnection(lambda: sqlite3.connect(":memory:"))
    private: Any = connection
    private._thread.start()
    private._tx.put_nowait((None, lambda: done.append(1)))
    assert not connection.join(0)
    private._tx.put_nowait((None, lambda: aiosqlite.core._STOP_RUNNING_SENTINEL))
    assert connection.join(10)
    assert done == [1]
    assert WriterConnection(lambda: sqlite3.connect(":memory:")).join(0)


async def test_a_connection_that_cannot_be_opened_ends_its_thread() -> None:
    """And raises what the opener raised."""

    def refuse() -> sqlite3.Connection:
        raise sqlite3.OperationalError("no")

    connection = WriterConnection(refuse)
    with pytest.raises(sqlite3.OperationalError, match="no"):
        await connection.drive(lambda: bool(connection.opened()), connection.let_go)
    assert connection.join(10)
