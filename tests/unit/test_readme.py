"""The documents do what they say: every Python block of README.md runs, and the commands CI extracts are there."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from llm_service.cli.commands import cli
from llm_service.cli.demo import TRACE

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text("utf-8")
BLOCKS = re.findall(r"<!-- example: ([\w-]+) -->\s*```python\n(.*?)\n```", README, re.DOTALL)

AFTERWARDS = {
    "instrumentation": """
import sqlite3
connection = sqlite3.connect("telemetry.db")
rows = connection.execute("SELECT agent_name, total_tokens, stream, status FROM invocations ORDER BY id").fetchall()
assert rows == [("backend-dev", 13, None, "success"), ("backend-dev", 14, 1, "success")]
connection.close()
""",
    "fastapi": """
import sqlite3
from fastapi.testclient import TestClient
with TestClient(app) as client:
    assert client.post("/ask").json() == {"answer": "42"}
connection = sqlite3.connect("telemetry.db")
assert connection.execute("SELECT agent_name, total_tokens FROM invocations").fetchall() == [("api", 46)]
connection.close()
""",
}
"""What a reader would do next with a block that only defines something."""


def test_every_python_block_has_a_name_and_is_run() -> None:
    """No Python in the README escapes these tests."""
    assert README.count("```python") == len(BLOCKS) >= 5


@pytest.mark.parametrize(("name", "code"), BLOCKS, ids=[name for name, _ in BLOCKS])
def test_a_python_block_of_the_readme_runs_as_it_stands(name: str, code: str, tmp_path: Path) -> None:
    """A reader who pastes the block gets no error and no warning; HOME is a temporary folder."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("LLM_TELEMETRY")}
    environment |= {"HOME": str(tmp_path), "USERPROFILE": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)}
    script = tmp_path / f"example_{name.replace('-', '_')}.py"
    if name.startswith("jupyter"):
        code = _as_notebook_cell(code)
    command = [sys.executable, "-X", "dev", "-W", "error", str(script)]
    if name == "pytest":
        command[5:] = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "-o", "asyncio_mode=auto"]
        command += ["-o", "asyncio_default_fixture_loop_scope=function", str(script)]
    script.write_text(code + AFTERWARDS.get(name, ""), "utf-8")
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    # In dev mode asyncio says so when a step takes 100 ms, as it may while other tests run.
    assert [line for line in done.stderr.splitlines() if not line.startswith("Executing <")] == []


@pytest.mark.parametrize("name", ["demo", "tests"])
def test_a_command_that_ci_extracts_is_one_line_from_an_empty_environment(name: str) -> None:
    """CI runs the README's own words, so that they cannot drift."""
    done = subprocess.run(
        [sys.executable, str(ROOT / ".ci" / "readme_command.py"), name], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("python3 -m venv .venv && ")
    assert done.stdout.count("\n") == 1


def capture(name: str) -> tuple[list[str], list[str]]:
    """The arguments and the output of a capture of `llm-telemetry`."""
    (block,) = re.findall(rf"<!-- capture: {name} -->\s*```text\n\$ llm-telemetry (.*?)\n```", README, re.DOTALL)
    command, *output = block.split("\n")
    return command.split(), output


@pytest.fixture
def replayed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`demo.db` in the current folder: the calls of the demo, which are the same at each replay."""
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(cli, ["replay", str(TRACE), "--db", "demo.db"])
    assert done.exit_code == 0
    return tmp_path / "demo.db"


@pytest.mark.usefixtures("replayed")
@pytest.mark.parametrize("name", ["costs", "stats"])
def test_a_capture_of_a_report_is_what_the_command_prints_today(name: str) -> None:
    """To the letter: the calls are those of the real trace, and what is modelled of them has a fixed seed."""
    arguments, output = capture(name)
    assert CliRunner().invoke(cli, arguments).stdout.splitlines() == output


@pytest.mark.usefixtures("replayed")
def test_the_capture_of_follow_shows_calls_of_the_trace() -> None:
    """The order of arrival is that of one run: each row is there, whatever its number."""
    (heading, *rows) = capture("follow")[1]
    arguments = ["invocations", "--errors", "--limit", "1000", "--db", "demo.db"]
    stored = [line.split()[1:] for line in CliRunner().invoke(cli, arguments).stdout.splitlines()]
    assert heading.split()[1:] == stored[0]
    assert rows
    for row in rows:
        assert row.split()[1:] in stored


def _as_notebook_cell(code: str) -> str:
    """A notebook runs a cell inside a running loop, where top-level `await` is allowed."""
    indented = "\n".join(f"    {line}" for line in code.splitlines())
    return f"import asyncio\n\nasync def cell():\n{indented}\n\nasyncio.run(cell())\n"
