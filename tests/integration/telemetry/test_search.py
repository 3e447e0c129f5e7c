"""Search on both clients, and an index that several processes write, one of which is killed."""

import asyncio
import signal
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from llm_service.telemetry import AsyncTelemetryLogger, InvocationRecord, QueryError, TelemetryLogger
from llm_service.telemetry.queries.search import Search

FULL: dict[str, Any] = {"privacy_level": "full", "retention_days": None}

WRITE = """
name, count = sys.argv[2], int(sys.argv[3])
with TelemetryLogger(PATH, privacy_level="full", search=True, retention_days=None, commit_timeout=30, close_timeout=30) as telemetry:
    n = 0
    while n != count:
        telemetry.log_invocation_nowait(record(name, prompt=f"shared {name} word{n}", response="answer " * (n % 50)))
        n += 1
        if n % 100 == 0:
            telemetry.flush()
            print(n, flush=True)
"""


def require_exact(path: Path) -> int:
    """Each content has its entry, and what FTS5 itself can check holds; how many there are."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        indexed = connection.execute("SELECT rowid FROM invocation_words ORDER BY 1").fetchall()
        assert indexed == connection.execute("SELECT id FROM invocation_contents ORDER BY 1").fetchall()
        connection.execute("INSERT INTO invocation_words (invocation_words) VALUES ('integrity-check')")
        return len(indexed)


def test_two_processes_write_one_index(db: Path, start_script: Callable[..., Any], finish: Callable[..., Any]) -> None:
    """Both find what each of them wrote."""
    for ended in map(finish, [start_script(WRITE, db, name, 500, flags=()) for name in ("one", "two")]):
        assert (ended.code, ended.err) == (0, "")
    assert require_exact(db) == 1000
    with TelemetryLogger(db, **FULL) as logger:
        assert len(logger.search("shared one", limit=2000)) == 500
        assert {row["agent_name"] for row in logger.search("word77")} == {"one", "two"}


def test_a_killed_writer_leaves_an_exact_index(db: Path, start_script: Callable[..., Any]) -> None:
    """What was committed is indexed, and nothing else."""
    script = start_script(WRITE, db, "one", -1, flags=())
    while int(script.stdout.readline()) < 500:
        pass
    script.send_signal(signal.SIGKILL)
    script.wait()
    script.stdout.close()
    assert require_exact(db) >= 500
    with TelemetryLogger(db, **FULL) as logger:
        stored = logger.get_statistics()["total_invocations"]
        assert len(logger.search("shared", limit=100_000)) == stored


@pytest.mark.asyncio
async def test_the_async_logger_finds_what_was_accepted_before(tmp_path: Path) -> None:
    """You read your own writes; the loop goes on meanwhile."""
    async with AsyncTelemetryLogger(tmp_path / "t.db", search=True, **FULL) as telemetry:
        await telemetry.log_invocation(InvocationRecord(prompt="Hello, Wörld", model_name="m"))
        (row,) = await telemetry.search("world", since="2020-01-01T00:00:00Z", model_name="m")
        assert (row["where"], row["snippet"], row["marks"], row["rank"]) == ("prompt", "Hello, Wörld", [(7, 12)], 1)
        assert await telemetry.search("world", agent_name="nobody") == []
        with pytest.raises(QueryError, match=r"^words: "):
            await telemetry.search("...")
        with pytest.raises(QueryError, match=r"^limit: "):
            await telemetry.search("a", limit=0)


@pytest.mark.asyncio
async def test_a_cancelled_search_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its thread does not read on for minutes."""
    began, ended = threading.Event(), threading.Event()

    def endless(_self: Search, stopped: Callable[[], bool] = lambda: False) -> Any:
        began.set()
        while not stopped():
            pass
        ended.set()
        return iter(())

    monkeypatch.setattr(Search, "rows", endless)
    async with AsyncTelemetryLogger(tmp_path / "t.db", **FULL) as telemetry:
        task = asyncio.create_task(telemetry.search("word"))
        await asyncio.to_thread(began.wait, 20)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await asyncio.to_thread(ended.wait, 20)
