"""What the tests of usual places share: real processes with bounded lives, and the truth about a file."""

import os
import re
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from llm_service.telemetry.queries.cells import IS_CALL

SOURCE = Path(__file__).resolve().parents[3] / "src"
TIMEOUT = 30.0


class Server:
    """A server process that says on its standard error where it listens; ended by SIGTERM to its own id."""

    def __init__(self, process: "subprocess.Popen[str]", log: Path) -> None:
        self._process = process
        self._log = log

    def url(self, wait: Callable[[Callable[[], Any]], Any], said: str = "", times: int = 0) -> str:
        """Where it listens, once it says so and has said something else so many times."""

        def listening() -> str | None:
            assert self._process.poll() is None, self.log
            found = re.search(r"http://127\.0\.0\.1:[1-9]\d*", self.log)
            return found[0] if found and self.log.count(said) >= times else None

        return str(wait(listening))

    @property
    def log(self) -> str:
        """What it has said so far."""
        return self._log.read_text("utf-8")

    def end(self) -> int:
        """SIGTERM, and its exit code."""
        self._process.terminate()
        return self._process.wait(TIMEOUT)


@pytest.fixture
def db(tmp_path: Path) -> Path:
    """Where a test's database goes."""
    return tmp_path / "telemetry.db"


@pytest.fixture
def wait() -> Callable[[Callable[[], Any]], Any]:
    """Ask until the answer is true, or fail at a deadline; returns the answer."""
    from threading import Event
    from time import monotonic

    never = Event()

    def until(ask: Callable[[], Any]) -> Any:
        deadline = monotonic() + TIMEOUT
        while not (answer := ask()):
            assert monotonic() < deadline, "it did not come to be in time"
            never.wait(0.02)
        return answer

    return until


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., "subprocess.Popen[str]"]]:
    """Start Python in the test's folder; at the end of the test nothing of it runs, nor of what it started."""
    started: list[subprocess.Popen[str]] = []

    def run(*arguments: object, out: Any = subprocess.PIPE, error: Any = subprocess.PIPE) -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            [sys.executable, *map(str, arguments)],
            cwd=tmp_path,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=error,
            text=True,
            start_new_session=True,
            env=os.environ | {"PYTHONPATH": str(SOURCE), "PYTHONUNBUFFERED": "1"},
        )
        started.append(process)
        return process

    yield run
    for process in started:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # a session of its own: the process and its workers
        process.communicate(timeout=TIMEOUT)


@pytest.fixture
def run(start: Callable[..., "subprocess.Popen[str]"]) -> Callable[..., str]:
    """Run Python to its end, which must be a good and a silent one; returns what it printed."""

    def finish(*arguments: object) -> str:
        process = start(*arguments)
        out, error = process.communicate(timeout=TIMEOUT)
        assert (process.returncode, error) == (0, ""), out
        return out

    return finish


@pytest.fixture
def serve(start: Callable[..., "subprocess.Popen[str]"], tmp_path: Path) -> Callable[..., Server]:
    """Start a server by `python -m`."""

    def begin(*arguments: object) -> Server:
        log = tmp_path / "server.log"
        with log.open("w") as output:
            return Server(start("-X", "dev", "-m", *arguments, out=output, error=output), log)

    return begin


@pytest.fixture
def agents(db: Path) -> Callable[[], dict[str | None, int]]:
    """How many records each agent has in a file that is sound and whose totals equal its records."""

    def count() -> dict[str | None, int]:
        connection = sqlite3.connect(db)
        try:
            ask = connection.execute
            assert ask("PRAGMA integrity_check").fetchone() == ("ok",)
            rows = Counter(row[0] for row in ask("SELECT agent_name FROM invocations"))
            calls = Counter(row[0] for row in ask(f"SELECT agent_name FROM invocations WHERE {IS_CALL}"))
            days = dict(ask("SELECT agent_name, SUM(invocations) FROM daily_costs GROUP BY agent_name"))
            assert days == calls
            assert ask("SELECT count(*) FROM dead_letters").fetchone() == (0,)
            return dict(rows)
        finally:
            connection.close()

    return count


@pytest.fixture
def ask(db: Path) -> Callable[[str], list[Any]]:
    """Ask the file itself."""

    def query(sql: str) -> list[Any]:
        connection = sqlite3.connect(db)
        try:
            return connection.execute(sql).fetchall()
        finally:
            connection.close()

    return query
