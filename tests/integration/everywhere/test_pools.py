"""Pools of threads and processes, and loggers that travel between them: settings travel, records and connections never."""

import copy
import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from tests.slices import quick

from llm_service.telemetry import AsyncTelemetryLogger, DropReason, Event, InvocationRecord, TelemetryLogger

PROCESSES = """
import asyncio, multiprocessing, os, sys
from concurrent.futures import ProcessPoolExecutor
from llm_service.telemetry import AsyncTelemetryLogger, InvocationRecord, TelemetryLogger

def work(logger, n):
    with logger.invocation(f"worker-{type(logger).__name__}"):
        pass
    return os.getpid()

def durable(telemetry, n):
    async def log():
        await telemetry.log_invocation(InvocationRecord(agent_name="durable"), durable=True)
        await telemetry.aclose()
    asyncio.run(log())
    return os.getpid()

if __name__ == "__main__":
    method = sys.argv[1]
    context = multiprocessing.get_context(method)
    telemetry = AsyncTelemetryLogger("telemetry.db")
    telemetry.log_invocation_nowait(InvocationRecord(agent_name="parent"))
    with TelemetryLogger("telemetry.db") as logger:
        logger.log_invocation(InvocationRecord(agent_name="parent"))
        with ProcessPoolExecutor(2, mp_context=context) as pool:
            pids = set(pool.map(work, [logger, telemetry] * 10, range(20)))
            pids |= set(pool.map(durable, [telemetry] * 10, range(10)))
        with context.Pool(2) as workers:
            pids |= set(workers.starmap(work, [(logger, n) for n in range(10)]))
            workers.close()
            workers.join()
        assert os.getpid() not in pids and 2 <= len(pids) <= 4
        assert logger.stats().ledger.written == 1
    asyncio.run(telemetry.aclose())
    assert telemetry.stats().ledger.written == 1
"""


@pytest.mark.slow
@pytest.mark.parametrize("method", quick(["fork", "spawn", "forkserver"], 0))
def test_a_logger_may_be_sent_to_the_workers_of_a_process_pool(
    method: str, tmp_path: Path, run: Callable[..., str], agents: Callable[[], Any]
) -> None:
    """Each task gets a logger of its own that is never closed: what it accepted is on disk when the workers end."""
    (tmp_path / "pool.py").write_text(PROCESSES)
    # Forgotten loggers are told of, as ever; from 3.12 on Python warns of any fork in a process with threads.
    run("-W", "ignore::ResourceWarning", "-W", "ignore::DeprecationWarning", "pool.py", method)
    assert agents() == {"parent": 2, "worker-TelemetryLogger": 20, "worker-AsyncTelemetryLogger": 10, "durable": 10}


def test_a_thread_pool_shares_a_logger_and_its_decorated_functions(db: Path, agents: Callable[[], Any]) -> None:
    """Calls of many threads are counted one by one, and none becomes the parent of another's."""
    with TelemetryLogger(db) as logger:

        @logger.instrumented("outer")
        def work(number: int) -> int:
            with logger.invocation("inner"):
                return number

        with ThreadPoolExecutor(8) as pool:
            assert sum(pool.map(work, range(200))) == sum(range(200))
        rows = logger.get_invocations(limit=1000)
    outer = {row["invocation_id"] for row in rows if row["agent_name"] == "outer"}
    assert {row["parent_invocation_id"] for row in rows if row["agent_name"] == "inner"} == outer
    assert {row["parent_invocation_id"] for row in rows if row["agent_name"] == "outer"} == {None}
    assert agents() == {"outer": 200, "inner": 200}


def told(reason: DropReason, records: int) -> None:
    """A callback that pickle finds by its name."""


def noted(event: Event) -> None:
    """Another one."""


def sent(logger: Any) -> Any:
    """What another process would get."""
    return pickle.loads(pickle.dumps(logger))  # noqa: S301 - made in this line


@pytest.mark.parametrize("face", [TelemetryLogger, AsyncTelemetryLogger])
@pytest.mark.parametrize("make", [copy.copy, copy.deepcopy, sent], ids=["copy", "deepcopy", "pickle"])
async def test_a_copy_is_a_fresh_logger_of_the_same_settings(face: Any, make: Callable[[Any], Any], db: Path) -> None:
    """Records, ledger, connection and closed state stay with the original; a relative path was resolved long ago."""
    original = face(db, on_drop=told, on_event=noted, batch_size=7, flush_interval=60, strict=True)
    original.log_invocation_nowait(InvocationRecord(agent_name="original"))
    copied = make(original)
    assert type(copied) is face
    assert copied.settings == original.settings
    assert copied._arguments == {
        "on_drop": told, "on_event": noted, "redact": None,
        "models": False, "policies": False, "policy": None, "on_budget": None,  # none were found
    }  # fmt: skip
    assert copied.stats().ledger.submitted == 0
    assert copied.log_invocation_nowait(InvocationRecord(agent_name="copy"))
    for logger in (original, copied, closed := make(original)):
        result = logger.close() if face is TelemetryLogger else await logger.aclose()
        assert result.complete
        assert logger.stats().ledger.submitted == (0 if logger is closed else 1)
    again = make(original)
    assert not again.stats().closed
    assert (again.close() if face is TelemetryLogger else await again.aclose()).complete


def test_what_cannot_travel_is_named(db: Path) -> None:
    """A callback without a name of its own is refused by pickle, which says which."""
    logger = AsyncTelemetryLogger(db, on_drop=lambda *_: None)
    with pytest.raises((pickle.PicklingError, AttributeError), match="lambda"):
        pickle.dumps(logger)
    assert copy.copy(logger)._arguments == logger._arguments
