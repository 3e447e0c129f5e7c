"""What these tests share: records, real processes, the truth about a file, and providers on this machine."""

import os
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

import pytest
import pytest_asyncio
from tests.kept_connections import close_kept_connections
from tests.provider_server import ProviderServer

from llm_service.telemetry import InvocationRecord

SOURCE = Path(__file__).resolve().parents[3] / "src"
PRELUDE = """
import asyncio, logging, os, signal, sys, threading, time
logging.getLogger("asyncio").setLevel(logging.ERROR)  # -X dev tells of every slow callback of a busy machine
from llm_service.telemetry import AsyncTelemetryLogger, InvocationRecord, TelemetryLogger
PATH = sys.argv[1]
def record(agent="agent", **fields):
    values = {"cost_usd": 0.0015, "prompt_tokens": 10, "completion_tokens": 5, "latency_ms": 12.5}
    return InvocationRecord(agent_name=agent, **(values | fields))
"""


class Truth(NamedTuple):
    """What a telemetry file holds."""

    rows: int
    agents: dict[str | None, int]
    ids: list[str]
    dead: int


class Finished(NamedTuple):
    """How a process ended."""

    code: int
    out: str
    err: str
    seconds: float


@pytest.fixture
def db(tmp_path: Path) -> Path:
    """Where a test's database goes."""
    return tmp_path / "telemetry.db"


@pytest.fixture(scope="module")
def server() -> Iterator[ProviderServer]:
    """The providers, for clients and frameworks."""
    with ProviderServer() as server:
        yield server


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def connections() -> AsyncIterator[None]:
    """What frameworks keep is closed at the end, in the loop of the module."""
    yield
    await close_kept_connections()


@pytest.fixture
def record() -> Callable[..., InvocationRecord]:
    """Make a plain record of an agent."""

    def make(agent: str | None = "agent", **fields: Any) -> InvocationRecord:
        values = {"cost_usd": 0.0015, "prompt_tokens": 10, "completion_tokens": 5, "latency_ms": 12.5}
        return InvocationRecord(agent_name=agent, **(values | fields))

    return make


@pytest.fixture
def truth() -> Callable[[Path], Truth]:
    """Read a file, having checked that it is sound and that its aggregates equal its records."""

    def look(path: Path) -> Truth:
        connection = sqlite3.connect(path)
        try:
            ask = connection.execute
            assert ask("PRAGMA integrity_check").fetchone() == ("ok",)
            sums = "SELECT {}, coalesce(sum({}), 0), coalesce(sum({}), 0) FROM {}"
            counted = ask(
                sums.format("coalesce(sum(invocations), 0)", "cost_nanos", "total_tokens", "daily_costs")
            ).fetchone()
            nanos = "CAST(cost_usd * 1e9 + 0.5 AS INTEGER)"
            stored = ask(sums.format("count(*)", nanos, "total_tokens", "invocations")).fetchone()
            assert counted == stored
            return Truth(
                stored[0],
                dict(Counter(row[0] for row in ask("SELECT agent_name FROM invocations"))),
                [row[0] for row in ask("SELECT invocation_id FROM invocations ORDER BY id")],
                ask("SELECT count(*) FROM dead_letters").fetchone()[0],
            )
        finally:
            connection.close()

    return look


@pytest.fixture
def eventually() -> Callable[..., None]:
    """Poll a condition until it holds, or fail at a deadline."""

    def wait(holds: Callable[[], bool], seconds: float = 10.0) -> None:
        deadline = time.monotonic() + seconds
        while not holds():
            assert time.monotonic() < deadline, "the condition did not come to hold in time"
            time.sleep(0.005)

    return wait


@pytest.fixture
def start_process() -> Iterator[Callable[..., "subprocess.Popen[str]"]]:
    """Start Python with some arguments; killed at the end of the test if it still runs."""
    processes: list[subprocess.Popen[str]] = []

    def start(*arguments: object) -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            [sys.executable, *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": str(SOURCE), "PYTHONUNBUFFERED": "1"},
        )
        processes.append(process)
        return process

    yield start
    for process in processes:
        if process.poll() is None:
            process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()


@pytest.fixture
def start_script(start_process: Callable[..., "subprocess.Popen[str]"]) -> Callable[..., "subprocess.Popen[str]"]:
    """Start a script after `PRELUDE`; its first argument is `PATH`."""

    def start(code: str, *arguments: object, flags: tuple[str, ...] = ("-X", "dev")) -> "subprocess.Popen[str]":
        return start_process(*flags, "-c", PRELUDE + code, *arguments)

    return start


@pytest.fixture
def finish() -> Callable[..., Finished]:
    """Wait for a process to end by itself, in time."""

    def wait(process: "subprocess.Popen[str]", seconds: float = 20.0) -> Finished:
        started = time.monotonic()
        out, err = process.communicate(timeout=seconds)
        return Finished(process.returncode, out, err, time.monotonic() - started)

    return wait


@pytest.fixture
def run_script(start_script: Callable[..., Any], finish: Callable[..., Finished]) -> Callable[..., Finished]:
    """Run a script to its end."""

    def run(code: str, *arguments: object, flags: tuple[str, ...] = ("-X", "dev")) -> Finished:
        return finish(start_script(code, *arguments, flags=flags))

    return run


@pytest.fixture
def run_file(start_process: Callable[..., Any], finish: Callable[..., Finished]) -> Callable[..., Finished]:
    """Run a Python file to its end: what a spawned child of multiprocessing can import."""

    def run(*arguments: object) -> Finished:
        return finish(start_process(*arguments))

    return run


@pytest.fixture
def expect_line() -> Callable[[Any, str], None]:
    """Wait for a process to say something."""

    def expect(process: "subprocess.Popen[str]", line: str) -> None:
        pipe: IO[str] | None = process.stdout
        assert pipe is not None
        said = pipe.readline()
        assert said == line + "\n", (said, process.stderr.read() if not said and process.stderr else "")

    return expect


@pytest.fixture
def tell() -> Callable[[Any], None]:
    """Let a process that waits for a line on its standard input go on."""

    def send(process: "subprocess.Popen[str]") -> None:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()

    return send
