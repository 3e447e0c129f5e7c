"""Bugs that users of other telemetry libraries have reported, where no other test here holds their lesson already."""

import asyncio
import gc
import logging
import threading
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from llm_service.telemetry import AsyncTelemetryLogger, InvocationRecord, TelemetryLogger
from llm_service.telemetry.stores.sqlite.batch_writer import SqliteBatchWriter

Record = Callable[..., InvocationRecord]


async def test_a_flush_under_the_logging_lock_ends_in_time(
    db: Path, record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reconfiguring `logging` holds its lock and flushes handlers: a writer with something to say must go on then."""
    real, faults = SqliteBatchWriter.write, 4  # a warning is due after three

    def write(self: SqliteBatchWriter, *arguments: Any, **options: Any) -> Any:
        nonlocal faults
        faults -= 1
        if faults >= 0:
            raise OSError("the sink is down")
        return real(self, *arguments, **options)

    said = StringIO()
    handler = logging.StreamHandler(said)
    logger = logging.getLogger("llm_service.telemetry")
    logger.addHandler(handler)
    telemetry = AsyncTelemetryLogger(db)
    try:
        await telemetry.log_invocation(record(), durable=True)
        monkeypatch.setattr(SqliteBatchWriter, "write", write)
        lock: Any = logging._lock  # type: ignore[attr-defined]
        assert handler.lock is not None
        with lock, handler.lock:
            logger.manager._clear_cache()  # type: ignore[attr-defined] # the next look at a level takes the lock
            logging.getLogger("aiosqlite").isEnabledFor(logging.DEBUG)  # its own thread looks with each job
            telemetry.log_invocation_nowait(record())
            assert (await telemetry.flush(timeout=20)).written == 1
            assert said.getvalue() == ""
        await telemetry.aclose()
    finally:
        logger.removeHandler(handler)
    assert "does not accept records" in said.getvalue()


async def test_a_flush_that_fails_is_not_called_a_success(
    db: Path, record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While every commit fails, `flush` says what is pending; no record has been let go of."""
    real, broken = SqliteBatchWriter.write, True

    def write(self: SqliteBatchWriter, *arguments: Any, **options: Any) -> Any:
        if broken:
            raise OSError("the sink is down")
        return real(self, *arguments, **options)

    monkeypatch.setattr(SqliteBatchWriter, "write", write)
    async with AsyncTelemetryLogger(db) as telemetry:
        for _ in range(10):
            telemetry.log_invocation_nowait(record())
        result = await telemetry.flush(timeout=0.1)
        assert (result.complete, result.written, result.pending, result.dropped) == (False, 0, 10, {})
        broken = False
        assert (await telemetry.flush()).written == 10


def test_a_fork_after_a_logger_was_collected_says_nothing(run_script: Callable[..., Any]) -> None:
    """The fork hook knows loggers by weak reference: a dead one is skipped, in parent and child."""
    script = """
import gc
for n in range(3):
    T = TelemetryLogger(PATH)
    T.close()
del T
gc.collect()
pid = os.fork()
if pid == 0: os._exit(0)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""
    ended = run_script(script)
    assert (ended.code, ended.err) == (0, "")


@pytest.mark.costly
@pytest.mark.parametrize("locked", ["logging._lock", "handler.lock"])
def test_a_fork_while_a_thread_holds_a_logging_lock_does_not_hang_the_child(
    locked: str, run_script: Callable[..., Any], lawful: Callable[..., Any]
) -> None:
    """The child's hook logs nothing; the child writes its records, and the parent goes on."""
    script = """
import logging
handler = logging.StreamHandler(); logging.getLogger().addHandler(handler)
T = TelemetryLogger(PATH)
committed(T, "parent")
held, leave = threading.Event(), threading.Event()
def hold():
    with LOCKED: held.set(); leave.wait()
thread = threading.Thread(target=hold); thread.start(); held.wait()
threading.Timer(0.1, leave.set).start()  # `logging` waits at a fork for whoever holds its own lock
pid = os.fork()
if pid == 0:
    committed(T, "child")
    T.close(); sum_up(T)
    os._exit(0)
code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
leave.set(); thread.join()
committed(T, "parent")
T.close(); sum_up(T)
sys.exit(code)
"""
    ended = run_script(script.replace("LOCKED", locked))
    assert ended.code == 0, ended.err
    found, _ = lawful()
    assert found == {"parent": 2, "child": 1}


async def test_a_value_that_breaks_one_record_breaks_only_that_record(db: Path, record: Record) -> None:
    """A bad value among good ones: the good ones are on disk, the bad one is refused where it is made."""
    async with AsyncTelemetryLogger(db) as telemetry:
        for number in range(20):
            if number % 5:
                await telemetry.log_invocation(record())
            else:
                with pytest.raises(ValueError, match="metadata"):
                    record(metadata="{}")
                with telemetry.invocation("block", metadata="{}"):
                    pass
        assert (await telemetry.flush()).complete
        stats = telemetry.stats()
    assert (stats.ledger.written, stats.ledger.dropped, stats.bad_values) == (20, {}, 4)


def test_a_drop_callback_that_logs_and_flushes_ends(db: Path, record: Record) -> None:
    """It is called outside the queue's lock and may use the logger, also from several threads at once."""
    told: list[int] = []

    def on_drop(_reason: Any, records: int) -> None:
        told.append(records)
        logger.log_invocation_nowait(record("callback"))
        logger.flush(timeout=1)

    logger = TelemetryLogger(db, queue_max_records=2, overflow="drop_newest", on_drop=on_drop)
    threads = [
        threading.Thread(target=lambda: [logger.log_invocation_nowait(record()) for _ in range(200)]) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive()
    logger.close()
    assert told
    assert logger.stats().ledger.balanced


async def test_a_logger_dropped_in_a_cycle_is_collected_while_it_logs(db: Path, record: Record) -> None:
    """Garbage collection may run inside any call of ours, on the same thread: no lock is taken twice for good."""
    telemetry = AsyncTelemetryLogger(db)

    class Node:
        def __init__(self) -> None:
            self.me = self

        def __del__(self) -> None:
            telemetry.log_invocation_nowait(record("finalizer"))

    gc.disable()
    try:
        for _ in range(200):
            Node()
            telemetry.log_invocation_nowait(record())
            gc.collect(0)
    finally:
        gc.enable()
    await asyncio.wait_for(telemetry.flush(), 10)
    await telemetry.aclose()
    ledger = telemetry.stats().ledger
    assert (ledger.balanced, ledger.written, ledger.dropped) == (True, 400, {})
