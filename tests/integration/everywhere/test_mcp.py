"""An MCP server on stdio: its handlers' calls are recorded, and nothing but MCP is on its stdout."""

import ast
import os
import re
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

import llm_service
from llm_service.examples.local_provider import local_provider

SOURCES = Path(llm_service.__file__).parent
GUIDE = (SOURCES / "telemetry" / "GUIDE.md").read_text("utf-8")
SPEAKS = {"print", "sys.stdout", "sys.__stdout__"}
ITS_OUTPUT_IS_ITS_ANSWER = {"telemetry/stores/sqlite/user_statement.py"}
"""Run as a process of its own, by the command line."""


@pytest.mark.slow
async def test_the_server_of_the_guide_records_each_call_of_a_tool(tmp_path: Path) -> None:
    """By the real client, over stdio: each call of the tool and of the model is a row of the server's session."""
    mcp = pytest.importorskip("mcp")
    pytest.importorskip("openai")
    (code,) = re.findall(r"<!-- example: mcp-server -->\s*```python\n(.*?)\n```", GUIDE, re.DOTALL)
    server = tmp_path / "server.py"
    server.write_text(code, "utf-8")
    with local_provider() as url:
        environment = {**os.environ, "OPENAI_BASE_URL": f"{url}/v1", "OPENAI_API_KEY": "none", "HOME": str(tmp_path)}
        started = mcp.StdioServerParameters(
            command=sys.executable, args=[str(server)], env=environment, cwd=str(tmp_path)
        )
        async with mcp.Client(started) as client:
            for _ in range(3):
                answer = await client.call_tool("answer", {"question": "Why 42?"})
                assert answer.is_error is False
                assert answer.content[0].text.startswith("It is the answer")
    with closing(sqlite3.connect(tmp_path / "telemetry.db")) as connection:
        rows = connection.execute("SELECT operation, agent_name, tags FROM invocations ORDER BY id").fetchall()
        assert [row[:2] for row in rows] == [("chat", "answers"), ("execute_tool", "answers")] * 3
        assert len({row[2] for row in rows}) == 3  # a request of MCP each
        ((sessions, session),) = connection.execute("SELECT count(DISTINCT session_id), session_id FROM invocations")
        assert (sessions, session[:4]) == (1, "mcp-")


NOISY = """
import asyncio, gc, sys, warnings
from llm_service.telemetry import AsyncTelemetryLogger, InvocationRecord, TelemetryLogger
warnings.simplefilter("always")

def fails(*_):
    raise RuntimeError("of the program")

async def main():
    open("foreign.db", "w").write("not a database\\n" * 100)
    for path in ("telemetry.db", "foreign.db"):
        telemetry = AsyncTelemetryLogger(path, queue_max_records=2, overflow="drop_newest", on_drop=fails, on_event=fails)
        for _ in range(9):
            telemetry.log_invocation_nowait(InvocationRecord(agent_name="dropped"))
        async with telemetry.invocation("bad", latency_ms=-1, no_such_field=2) as call:
            call.record_usage(object())
        await telemetry.flush(timeout=1)
    TelemetryLogger("forgotten.db").log_invocation_nowait(InvocationRecord())
    gc.collect()

asyncio.run(main())
"""


def test_nothing_is_said_on_stdout_whatever_goes_wrong(tmp_path: Path) -> None:
    """Bad values, losses, a foreign file, callbacks that raise, loggers that nobody closes: stderr has it all."""
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-c", NOISY], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == ""
    for said in ("no_such_field", "not closed", "foreign.db", "RuntimeError"):
        assert said in done.stderr


@pytest.mark.slow
def test_only_commands_and_examples_write_on_stdout() -> None:
    """What is imported into a program has no `print`, and no handle of its standard output."""
    found = {
        path.relative_to(SOURCES).as_posix()
        for path in SOURCES.rglob("*.py")
        if not path.is_relative_to(SOURCES / "cli") and not path.is_relative_to(SOURCES / "examples")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Name | ast.Attribute) and ast.unparse(node) in SPEAKS
    }
    assert found == ITS_OUTPUT_IS_ITS_ANSWER
