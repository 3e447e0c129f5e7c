"""Loggers come and go without a trace: no thread, task, descriptor, hook or file is left."""

import asyncio
import gc
import threading
import weakref
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.inside import engine_of

from llm_service.telemetry import AsyncTelemetryLogger, InvocationRecord, TelemetryLogger

Record = Callable[..., InvocationRecord]


def open_files(folder: Path) -> list[str]:
    """What this process holds open in a folder."""
    found = []
    for descriptor in Path("/proc/self/fd").iterdir():
        try:
            target = str(descriptor.readlink())
        except OSError:  # closed meanwhile
            continue
        if Path(target).is_relative_to(folder):
            found.append(target)
    return found


def names(folder: Path) -> list[str]:
    """The files of a folder."""
    return [path.name for path in folder.iterdir()]


async def use_async(path: Path, record: Record) -> None:
    """Everything once."""
    async with AsyncTelemetryLogger(path) as telemetry:
        await telemetry.log_invocation(record())
        await telemetry.log_invocation(record(), durable=True)
        telemetry.log_invocation_nowait(record())
        async with telemetry.invocation("agent"):
            pass
        await telemetry.flush()
        await telemetry.get_statistics()


def use_sync(path: Path, record: Record) -> None:
    """Everything once."""
    with TelemetryLogger(path) as logger:
        logger.log_invocation(record())
        logger.log_invocation_nowait(record())
        with logger.invocation("agent"):
            pass
        logger.flush()
        logger.get_statistics()


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="descriptors are listed by /proc")
async def test_twenty_async_loggers_leave_nothing(tmp_path: Path, record: Record) -> None:
    """Threads, tasks, descriptors and files are those of before, and -wal and -shm are gone."""
    db = tmp_path / "telemetry.db"
    await use_async(db, record)
    tasks, threads = asyncio.all_tasks(), set(threading.enumerate())
    for _ in range(20):
        await use_async(db, record)
    assert asyncio.all_tasks() == tasks
    assert not [thread for thread in set(threading.enumerate()) - threads if "telemetry" in thread.name]
    assert open_files(tmp_path) == []
    assert names(tmp_path) == [db.name]


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="descriptors are listed by /proc")
def test_twenty_sync_loggers_leave_nothing(tmp_path: Path, record: Record) -> None:
    """Threads, descriptors and files are those of before, and -wal and -shm are gone."""
    db = tmp_path / "telemetry.db"
    use_sync(db, record)
    threads = set(threading.enumerate())
    for _ in range(20):
        use_sync(db, record)
    assert set(threading.enumerate()) <= threads
    assert open_files(tmp_path) == []
    assert names(tmp_path) == [db.name]


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="descriptors are listed by /proc")
def test_a_forgotten_sync_logger_lets_go_once_it_is_collected(
    tmp_path: Path, record: Record, eventually: Callable[..., None]
) -> None:
    """Its records are written and its connection closed, while the process lives on."""
    logger = TelemetryLogger(tmp_path / "telemetry.db")
    logger.log_invocation_nowait(record())
    engine = weakref.ref(engine_of(logger))
    forgotten = [logger]
    del logger
    with pytest.warns(ResourceWarning, match="was not closed"):
        forgotten.clear()
    eventually(lambda: open_files(tmp_path) == [])

    def is_gone() -> bool:
        gc.collect()
        return engine() is None

    eventually(is_gone)
    assert names(tmp_path) == ["telemetry.db"]


async def test_a_forgotten_async_logger_lets_go_once_it_is_collected(tmp_path: Path, record: Record) -> None:
    """Its writer commits what was left, and ends."""
    telemetry = AsyncTelemetryLogger(tmp_path / "telemetry.db")
    await telemetry.log_invocation(record(), durable=True)
    telemetry.log_invocation_nowait(record())
    engine = engine_of(telemetry)
    forgotten = [telemetry]
    del telemetry
    with pytest.warns(ResourceWarning, match="was not closed"):
        forgotten.clear()
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    if tasks:
        await asyncio.wait(tasks, timeout=5)
    assert engine.stats().ledger.written == 2
    assert engine.stats().closed
    assert open_files(tmp_path) == []
