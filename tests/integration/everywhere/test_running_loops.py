"""Where a loop runs already: notebooks, anyio's task groups, pytest-asyncio, and sync code inside a running loop."""

import ast
import asyncio
import inspect
import json
from collections.abc import Callable
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

import anyio
import pytest

from llm_service.telemetry import AsyncTelemetryLogger, InvocationRecord, TelemetryLogger

CELLS = [
    """
from llm_service.telemetry import AsyncTelemetryLogger, InvocationRecord, TelemetryLogger
telemetry = AsyncTelemetryLogger('telemetry.db')
logger = TelemetryLogger('telemetry.db')""",
    "async with telemetry.invocation('cell') as call:\n    call.record_usage(prompt_tokens=5, completion_tokens=7)",
    "with logger.invocation('sync-cell'):\n    pass\nlogger.log_invocation(InvocationRecord(agent_name='sync-cell'))",
    """
@telemetry.instrumented('stream')
async def tokens():
    for n in range(3):
        yield n
stream = tokens()
first = await anext(stream)""",
    "with telemetry.invocation('between'):\n    pass",
    "rest = [n async for n in stream]",
    "await telemetry.log_invocation(InvocationRecord(agent_name='durable'), durable=True)",
    "rows = await telemetry.get_invocations()\nsync_rows = logger.get_invocations()",
    "closed = (await telemetry.aclose()).complete and logger.close().complete",
]
"""A notebook: each cell runs by itself, in the loop that lives on between them."""

EXPECTED = {"cell": 1, "sync-cell": 2, "stream": 1, "between": 1, "durable": 1}


@pytest.mark.slow
def test_a_notebook_of_a_real_kernel_logs_cell_by_cell(
    tmp_path: Path, run: Callable[..., str], agents: Callable[[], Any]
) -> None:
    """A kernel runs each cell in its own running loop, with top-level await: no loop is nested, none is made."""
    driver = f"""
import os
os.environ |= {{name: "." for name in ("HOME", "IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR")}}
from jupyter_client import KernelManager
manager = KernelManager(kernel_name="python3", transport="ipc", ip="kernel", connection_file="kernel.json")
manager.start_kernel()
client = manager.client()
client.start_channels()
try:
    client.wait_for_ready(timeout=25)
    for cell in {CELLS!r} + ["print(len(rows), len(sync_rows), rest, closed)"]:
        said = []
        reply = client.execute_interactive(cell, timeout=25, output_hook=said.append)
        assert reply["content"]["status"] == "ok", reply["content"]
    print("".join(message["content"]["text"] for message in said if message["msg_type"] == "stream"), end="")
finally:
    client.stop_channels()
    manager.shutdown_kernel(now=True)
"""
    (tmp_path / "driver.py").write_text(driver)
    assert run("-W", "ignore", "driver.py") == "6 6 [1, 2] True\n"
    assert agents() == EXPECTED


async def test_cells_with_top_level_await_run_in_one_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, agents: Callable[[], Any]
) -> None:
    """The same cells in this test's loop, each in a task of its own as IPython has it; no parent outlives its cell."""
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    for cell in CELLS:
        code = compile(cell, "cell", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        await asyncio.create_task(_run(code, names))
    assert (names["first"], names["rest"], names["closed"]) == (0, [1, 2], True)
    assert len(names["rows"]) == len(names["sync_rows"]) == 6
    assert {row["parent_invocation_id"] for row in names["rows"]} == {None}
    assert agents() == EXPECTED


async def _run(code: CodeType, names: dict[str, Any]) -> None:
    result = FunctionType(code, names)()
    if inspect.isawaitable(result):
        await result


async def test_a_sync_logger_inside_a_running_loop_commits_before_it_returns(
    db: Path, agents: Callable[[], Any]
) -> None:
    """It blocks the loop for its commit, as any sync call does, and needs nothing of the loop."""
    ticks = 0

    async def other() -> None:
        nonlocal ticks
        while True:
            ticks += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(other())
    await asyncio.sleep(0)
    with TelemetryLogger(db) as logger:
        before = ticks
        for _ in range(10):
            assert logger.log_invocation(InvocationRecord(agent_name="sync"))
        assert ticks == before
        await asyncio.gather(*(asyncio.to_thread(logger.log_invocation, InvocationRecord()) for _ in range(10)))
        assert ticks > before  # in a thread it does not block
        assert logger.get_statistics()["total_invocations"] == 20
    task.cancel()
    assert agents() == {"sync": 10, None: 10}


async def test_a_cancelled_task_group_leaves_a_record_of_each_of_its_calls(db: Path, agents: Callable[[], Any]) -> None:
    """Scopes of anyio cancel again and again until a task ends; blocks, functions and streams are recorded once each."""
    async with AsyncTelemetryLogger(db) as telemetry:
        waiting = 0
        all_wait = anyio.Event()

        async def pause() -> None:
            nonlocal waiting
            waiting += 1
            if waiting == 9:
                all_wait.set()
            await anyio.sleep_forever()

        async def block() -> None:
            async with telemetry.invocation("block"):
                await pause()

        @telemetry.instrumented("function")
        async def function() -> None:
            await pause()

        @telemetry.instrumented("stream")
        async def stream() -> Any:
            yield 1
            await pause()

        async def consume() -> None:
            async for _ in stream():
                await telemetry.log_invocation(InvocationRecord(agent_name="item"))

        async with anyio.create_task_group() as group:
            for work in (block, function, consume) * 3:
                group.start_soon(work)
            await all_wait.wait()
            group.cancel_scope.cancel()
        with anyio.move_on_after(0) as scope:
            async with telemetry.invocation("late"):
                await anyio.sleep_forever()
        assert scope.cancelled_caught
        rows = await telemetry.get_invocations()
    cancelled = {row["agent_name"] for row in rows if row["error_type"] == "cancelled"}
    left = {row["agent_name"] for row in rows if row["finish_reason"] == "cancelled"}
    assert (cancelled, left) == ({"block", "function", "late"}, {"stream"})
    assert agents() == {"block": 3, "function": 3, "stream": 3, "item": 3, "late": 1}


PYTEST_ASYNCIO = """
import pytest, pytest_asyncio
from llm_service.telemetry import AsyncTelemetryLogger

shared = AsyncTelemetryLogger("telemetry.db")  # one logger for all loops of the run

@pytest_asyncio.fixture(loop_scope="session", scope="session")
async def of_session():
    async with AsyncTelemetryLogger("telemetry.db") as telemetry:
        yield telemetry

@pytest_asyncio.fixture
async def of_function():
    async with AsyncTelemetryLogger("telemetry.db") as telemetry:
        yield telemetry

@pytest.mark.asyncio(loop_scope="session")
@pytest.mark.parametrize("n", range(3))
async def test_in_the_sessions_loop(of_session, n):
    async with of_session.invocation("session"):
        pass
    assert len(await of_session.get_invocations(agent_name="session")) == n + 1

@pytest.mark.asyncio
@pytest.mark.parametrize("n", range(3))
async def test_in_a_loop_of_its_own(of_function, n):
    async with of_function.invocation("function"):
        pass
    assert len(await of_function.get_invocations(agent_name="function")) == n + 1

@pytest.mark.asyncio
@pytest.mark.parametrize("n", range(3))
async def test_with_a_logger_that_outlives_the_loops(n):
    async with shared.invocation("shared"):
        pass
    assert len(await shared.get_invocations(agent_name="shared")) == n + 1

@pytest.mark.asyncio(loop_scope="session")
async def test_the_end():
    assert (await shared.aclose()).complete
"""


@pytest.mark.slow
def test_loops_of_pytest_asyncio_of_either_scope_log(
    tmp_path: Path, run: Callable[..., str], agents: Callable[[], Any]
) -> None:
    """A logger for the session, one for each test, and one that lives through many loops; warnings are errors."""
    (tmp_path / "test_agents.py").write_text(PYTEST_ASYNCIO)
    (tmp_path / "pytest.ini").write_text(
        "[pytest]\nasyncio_mode = strict\nasyncio_default_fixture_loop_scope = function\n"
    )
    quiet = ("-p", "no:cacheprovider", "-p", "no:randomly", "-p", "no:xdist")
    out = run("-W", "error", "-m", "pytest", "-q", "-W", "error", *quiet, "test_agents.py")
    assert "10 passed" in out, json.dumps(out)
    assert agents() == {"session": 3, "function": 3, "shared": 3}
