"""The documents do what they say: every Python block of README.md and of the guide runs, outputs are today's."""

import json
import os
import re
import sqlite3
import subprocess
import sys
import threading
import tomllib
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from benchmarks._data import records
from click.testing import CliRunner

from llm_service.cli.command_demo import TRACE
from llm_service.cli.commands import cli
from llm_service.telemetry import TelemetryLogger

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text("utf-8")
GUIDE = (ROOT / "src" / "llm_service" / "telemetry" / "GUIDE.md").read_text("utf-8")
DOCUMENTS = README + GUIDE
BLOCKS = re.findall(r"<!-- example: ([\w-]+) -->\s*```python\n(.*?)\n```", DOCUMENTS, re.DOTALL)

FRAMEWORKS = {"langgraph", "litellm", "openai-agents", "pydantic-ai"}
"""Examples of frameworks, whose own warnings are not ours."""
ONE_CALL = """
import sqlite3
connection = sqlite3.connect("telemetry.db")
sql = "SELECT prompt_tokens, cache_read_tokens, cost_usd, source FROM invocations WHERE total_tokens IS NOT NULL"
assert connection.execute(sql).fetchall() == [(1200, 1024, 8.36e-05, "sdk:openai")]
connection.close()
"""
AFTERWARDS = {
    **dict.fromkeys(FRAMEWORKS, ONE_CALL),
    "instrumentation": """
import sqlite3
connection = sqlite3.connect("telemetry.db")
rows = connection.execute("SELECT agent_name, total_tokens, stream, status FROM invocations ORDER BY id").fetchall()
assert rows == [("backend-dev", 13, None, "success"), ("backend-dev", 14, 1, "success")]
connection.close()
""",
    "told-by-arguments": """
import sqlite3
connection = sqlite3.connect("telemetry.db")
rows = connection.execute("SELECT agent_name, session_id, total_tokens, cost_usd > 0 FROM invocations").fetchall()
assert rows == [("planner", "s-1", 301, 1)], rows
connection.close()
""",
    "openai": """
import sqlite3
connection = sqlite3.connect("telemetry.db")
rows = connection.execute(
    "SELECT agent_name, prompt_tokens, completion_tokens, cache_read_tokens, response_id, cost_source FROM invocations"
).fetchall()
assert rows == [("assistant", 1200, 7, 1024, "chatcmpl-1", "computed")], rows
connection.close()
""",
    "openai-stream": """
import sqlite3
connection = sqlite3.connect("telemetry.db")
sql = "SELECT agent_name, stream, prompt_tokens, completion_tokens, status, ttft_ms > 0, cost_usd FROM invocations"
assert connection.execute(sql).fetchall() == [("backend-dev", 1, 1200, 7, "success", 1, 8.36e-05)]
connection.close()
""",
    "instrument": """
import sqlite3
connection = sqlite3.connect("telemetry.db")
sql = "SELECT agent_name, operation, prompt_tokens, cost_usd FROM invocations ORDER BY agent_name, operation"
calls = [(None, "chat"), ("critic", "chat"), ("planner", "agent"), ("planner", "chat"), ("planner", "chat")]
rows = connection.execute(sql).fetchall()
assert [row[:2] for row in rows] == calls, rows
assert [row[2] for row in rows] == [1200, 1200, None, 1200, 1200], rows
connection.close()
""",
    "runs": """
with TelemetryLogger("telemetry.db") as again:
    verdicts = {row["metric"]: row["verdict"] for row in again.compare_runs("nightly-eval~1", "nightly-eval")["rows"]}
assert {verdicts["latency p50"], verdicts["latency p95"]} == {"higher"}, verdicts
assert verdicts["success rate"] == verdicts["tokens per call"] == "no difference shown", verdicts
""",
    "from-a-response": """
import sqlite3
connection = sqlite3.connect("telemetry.db")
rows = connection.execute("SELECT agent_name, prompt_tokens, finish_reason, stream FROM invocations ORDER BY id").fetchall()
call = (1200, "stop")
assert rows == [("assistant", *call, None), ("assistant", *call, 1), ("by hand", *call, None)], rows
connection.close()
""",
    "anyio": """
import sqlite3
connection = sqlite3.connect("telemetry.db")
rows = connection.execute("SELECT agent_name, status, error_type, total_tokens FROM invocations ORDER BY id").fetchall()
answered = ("planner", "success", None, 110)
assert rows == [answered, answered, ("planner", "error", "cancelled", None), ("judge", "success", None, 51)], rows
connection.close()
""",
    "trio": """
import sqlite3
connection = sqlite3.connect("telemetry.db")
rows = connection.execute("SELECT status, error_type, total_tokens, session_id FROM invocations ORDER BY id").fetchall()
assert rows == [("success", None, 110, "s-1"), ("error", "cancelled", None, "s-1")], rows
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


ANSWER = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1_780_000_000,
    "model": "gpt-5-mini",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Because."}, "finish_reason": "stop"}],
    "usage": {
        "prompt_tokens": 1200,
        "completion_tokens": 7,
        "total_tokens": 1207,
        "prompt_tokens_details": {"cached_tokens": 1024},
    },
}


def chunks() -> Iterator[str]:
    """The same as a stream whose last chunk has the usage, as `stream_options` asked."""
    chunk = {**ANSWER, "object": "chat.completion.chunk", "usage": None}
    for text in ("Be", "cause."):
        yield json.dumps({**chunk, "choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}]})
    yield json.dumps({**chunk, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    yield json.dumps({**chunk, "choices": [], "usage": ANSWER["usage"]})
    yield "[DONE]"


class ChatCompletions(BaseHTTPRequestHandler):
    """Answers as the Chat Completions API does (https://platform.openai.com/docs/api-reference/chat/object)."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        streams = asked.get("stream", False)
        if streams:
            assert asked["stream_options"] == {"include_usage": True}
        body = ("".join(f"data: {chunk}\n\n" for chunk in chunks()) if streams else json.dumps(ANSWER)).encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream" if streams else "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name in the base class
        pass


@pytest.fixture(scope="module")
def chat_completions() -> Iterator[str]:
    """The address of a server on this machine, for the real client of an SDK."""
    with ThreadingHTTPServer(("127.0.0.1", 0), ChatCompletions) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/v1"
        finally:
            server.shutdown()
            thread.join()


def test_every_python_block_has_a_name_and_is_run() -> None:
    """No Python in the README or the guide escapes these tests."""
    assert DOCUMENTS.count("```python") == len(BLOCKS) == len(dict(BLOCKS)) >= 5


def test_the_readme_is_short() -> None:
    """A newcomer reads it to the end; what is longer stands in the guide and the manual."""
    assert README.count("\n") < 300


@pytest.mark.costly
@pytest.mark.parametrize(("name", "code"), BLOCKS, ids=[name for name, _ in BLOCKS])
def test_a_python_block_of_the_documents_runs_as_it_stands(
    name: str, code: str, tmp_path: Path, chat_completions: str
) -> None:
    """A reader who pastes the block gets no error and no warning; HOME is a temporary folder."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("LLM_TELEMETRY")}
    environment |= {"HOME": str(tmp_path), "USERPROFILE": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)}
    environment |= {"OPENAI_BASE_URL": chat_completions, "OPENAI_API_KEY": "of a server on this machine"}
    script = tmp_path / f"example_{name.replace('-', '_')}.py"
    if name.startswith("jupyter"):
        code = _as_notebook_cell(code)
    environment |= {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "OPENAI_API_BASE": chat_completions}
    command = [sys.executable, "-X", "dev", "-W", "ignore" if name in FRAMEWORKS else "error", str(script)]
    if name == "mcp-server":
        del command[1:3]  # MCP sets logging up, and wraps what asyncio says in dev mode
    if name.startswith("pytest"):
        command[5:] = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "-o", "asyncio_mode=auto"]
        command += ["-o", "asyncio_default_fixture_loop_scope=function", str(script)]
    script.write_text(code + AFTERWARDS.get(name, ""), "utf-8")
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env=environment,
        stdin=subprocess.DEVNULL,  # a server on stdio ends at once
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    # In dev mode asyncio says so when a step takes 100 ms, as it may while other tests run.
    assert [line for line in done.stderr.splitlines() if not line.startswith("Executing <")] == []


def test_the_blocks_of_the_readme_run_one_after_another_and_print_what_it_shows(
    tmp_path: Path, chat_completions: str
) -> None:
    """In one folder, as a reader pastes them: none spoils the next."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("LLM_TELEMETRY")}
    environment |= {"HOME": str(tmp_path), "USERPROFILE": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)}
    environment |= {"OPENAI_BASE_URL": chat_completions, "OPENAI_API_KEY": "of a server on this machine"}
    shown = dict(re.findall(r"<!-- output: ([\w-]+) -->\s*```text\n(.*?)\n```", README, re.DOTALL))
    names = re.findall(r"<!-- example: ([\w-]+) -->", README)
    assert set(shown) < set(names)
    for name in names:
        code = dict(BLOCKS)[name]
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
        )
        commented = re.findall(r"# prints: (.*)", code)
        assert (name in shown) != bool(commented), name
        expected = shown.get(name, "\n".join(commented)).replace("/home/you", str(tmp_path))
        said = re.sub(r"resets at .*", "resets at ...", done.stdout.rstrip())
        assert _undated(said) == _undated(expected), name


def _undated(text: str) -> str:
    return re.sub(r"\d{4}-\d\d-\d\d", "DATE", text)


FRAMEWORK = re.compile(
    r"^\| [^|`]+; `([\w-]+)` \| `([\w.]+)` \| `.*\[(Telemetry\w+)\(telemetry\)\].*` \|$", re.MULTILINE
)


def test_the_table_of_frameworks_is_what_the_guide_shows() -> None:
    """Each extra with its module, what it gives, and a program that hands that over in the same way."""
    found = FRAMEWORK.findall(README)
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    modules = {f"llm_service.telemetry.{path.stem}" for path in (ROOT / "src/llm_service/telemetry").glob("*.py")}
    assert len(found) == len(FRAMEWORKS)
    for extra, module, given in found:
        assert extra in extras
        assert module in modules
        assert f"from {module} import {given}" in GUIDE
        assert f"[{given}(telemetry)]" in GUIDE


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
    (block,) = re.findall(rf"<!-- capture: {name} -->\s*```text\n\$ llm-telemetry (.*?)\n```", DOCUMENTS, re.DOTALL)
    command, *output = block.split("\n")
    return command.split(), output


@pytest.fixture
def replayed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`demo.db` in the current folder: the calls of the demo, which are the same at each replay."""
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(cli, ["demo", "--replay", str(TRACE), "--db", "demo.db"])
    assert done.exit_code == 0
    return tmp_path / "demo.db"


@pytest.mark.usefixtures("replayed")
@pytest.mark.parametrize("name", ["costs", "stats", "month", "units"])
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


PAGE = 4096


def _write(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    path.chmod(0o600)


def _flip(path: Path) -> None:
    """The first page that holds calls."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro&immutable=1", uri=True)) as connection:
        sql = "SELECT min(pageno) FROM dbstat WHERE name = 'invocations' AND pagetype = 'leaf'"
        (page,) = connection.execute(sql).fetchone()
    with path.open("r+b") as file:
        file.seek((page - 1) * PAGE)
        file.write(b"\xff" * PAGE)


def _foreign(path: Path) -> None:
    _write(path, b"")
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE notes (text)")


SPOILT: dict[str, Callable[[Path], None]] = {
    "text.db": lambda path: _write(path, b"2026-03-01 12:00:00 INFO something was logged\n" * 1000),
    "zero.db": lambda path: _write(path, b""),
    "half.db": lambda path: _write(path, path.read_bytes()[: path.stat().st_size // PAGE // 2 * PAGE]),
    "flipped.db": _flip,
    "foreign.db": _foreign,
}
"""As the comments of the capture say."""


def _has_dbstat() -> bool:
    with closing(sqlite3.connect(":memory:")) as connection:
        return ("ENABLE_DBSTAT_VTAB",) in connection.execute("PRAGMA compile_options").fetchall()


@pytest.fixture(scope="module")
def five_thousand(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A file of as many calls."""
    path = tmp_path_factory.mktemp("sound") / "telemetry.db"
    first = datetime(2026, 3, 1, tzinfo=UTC)
    with TelemetryLogger(path, retention_days=None, batch_size=10_000, flush_interval=3600.0) as logger:
        for record in records(5000, start=first, span=timedelta(days=5), agents=25):
            logger.log_invocation_nowait(record)
        logger.flush()
    with closing(sqlite3.connect(path)) as connection:  # where the close had no time for it
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return path.read_bytes()


@pytest.mark.skipif(not _has_dbstat(), reason="this SQLite was built without dbstat, which names pages")
def test_what_doctor_says_of_spoilt_files_is_what_the_readme_shows(
    five_thousand: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each line, but for numbers that SQLite's layout decides; and of the calls none is unaccounted for."""
    monkeypatch.chdir(tmp_path)
    (block,) = re.findall(r"<!-- capture: doctor -->\s*```text\n(.*?)\n```", GUIDE, re.DOTALL)
    captures = re.findall(r"^\$ llm-telemetry ([^#\n]+?) *#[^\n]*\n((?:[^$\n][^\n]*\n?)+)", block, re.MULTILINE)
    assert len(captures) == 6
    for command, shown in captures:
        name = command.split()[2]
        if not Path(name).exists():
            _write(Path(name), five_thousand)
            SPOILT[name](Path(name))
        lines = CliRunner().invoke(cli, command.split()).stdout.splitlines()
        said, expected = _said(lines), [_without_numbers(line) for line in shown.splitlines()]
        if "--salvage" in command.split():  # of its tables the README shows those that hold calls
            said = [line for line in said if line in expected]
        assert said == expected, command
    (recovered, partial) = re.findall(r"^invocations +([\d,]+) +([\d,]+) ", block, re.MULTILINE)[0]
    assert int(recovered.replace(",", "")) + int(partial) == 5000
    assert f"lost: {partial} calls" in block


def _said(lines: list[str]) -> list[str]:
    """Without the name of the file, and without checks that found nothing, were ignored, or are the machine's."""
    said: list[str] = []
    wanted = True
    for line in lines:
        if not line.startswith(" "):
            wanted = not line.startswith(("database ", "ok ", "ignored ")) and "disk_low" not in line
        if wanted:
            said.append(_without_numbers(line))
    return said


def _without_numbers(line: str) -> str:
    return re.sub(r"[\d,]+", "N", " ".join(line.split()))


def _as_notebook_cell(code: str) -> str:
    """A notebook runs a cell inside a running loop, where top-level `await` is allowed."""
    indented = "\n".join(f"    {line}" for line in code.splitlines())
    return f"import asyncio\n\nasync def cell():\n{indented}\n\nasyncio.run(cell())\n"
