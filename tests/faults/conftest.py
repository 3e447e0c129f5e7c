"""What the fault tests share: a process that notes what it was promised, and the law its file is held to afterwards."""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from tests.integration.telemetry.conftest import (
    SOURCE,
    Finished,
    db,
    eventually,
    expect_line,
    finish,
    record,
    tell,
)

from llm_service.telemetry.maintenance import daily_totals
from llm_service.telemetry.stores.rollups import bucket_of
from llm_service.telemetry.stores.sqlite import backfill

__all__ = ["db", "eventually", "expect_line", "finish", "record", "tell"]

PRELUDE = """
import asyncio, json, os, signal, sqlite3, sys, threading, time
from llm_service.telemetry import (
    AsyncTelemetryLogger, CommitTimeoutError, DuplicateInvocationError, InvocationRecord, StoreError, TelemetryLogger)
PATH, NOTES = sys.argv[1:3]
NOTE_FD = os.open(NOTES, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
def note(kind, value):
    # One write each: it survives whatever comes next, and several processes may share the file.
    os.write(NOTE_FD, (json.dumps([kind, value]) + "\\n").encode())
def record(agent="agent", **fields):
    values = {"cost_usd": 0.0015, "prompt_tokens": 10, "completion_tokens": 5, "latency_ms": 12.5}
    return InvocationRecord(agent_name=agent, **(values | fields))
def put(telemetry, agent="agent", **fields):
    one = record(agent, **fields)
    note("offered", one.invocation_id)
    if telemetry.log_invocation_nowait(one): note("accepted", one.invocation_id)
async def promised(telemetry, agent="agent", **fields):
    one = record(agent, **fields)
    note("offered", one.invocation_id)
    await telemetry.log_invocation(one, durable=True)
    note("accepted", one.invocation_id)
    note("acked", one.invocation_id)
def committed(telemetry, agent="agent", **fields):
    one = record(agent, **fields)
    note("offered", one.invocation_id)
    telemetry.log_invocation(one)
    note("accepted", one.invocation_id)
    note("acked", one.invocation_id)
def sum_up(telemetry):
    stats = telemetry.stats()
    ledger = stats.ledger
    note("ledger", {
        "balanced": ledger.balanced, "submitted": ledger.submitted, "written": ledger.written,
        "duplicates": ledger.duplicates, "quarantined": ledger.quarantined, "pending": ledger.pending,
        "dropped": {str(reason): count for reason, count in ledger.dropped.items()},
        "retries": stats.retries, "last_error": stats.last_error})
def wait_until(holds, seconds=20):
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "the condition did not come to hold in time"
        time.sleep(0.002)
"""


@dataclass
class Notes:
    """What processes noted before they ended, however they ended."""

    offered: set[str] = field(default_factory=set[str])
    accepted: set[str] = field(default_factory=set[str])
    acked: set[str] = field(default_factory=set[str])
    ledgers: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])

    @classmethod
    def read(cls, path: Path) -> "Notes":
        """Every whole line; a kill may leave a torn one at the end."""
        notes = cls()
        for line in path.read_text().splitlines(keepends=True) if path.exists() else ():
            if line.endswith("\n"):
                kind, value = json.loads(line)
                if kind == "ledger":
                    notes.ledgers.append(value)
                else:
                    getattr(notes, kind).add(value)
        return notes


class Found(Counter[str | None]):
    """Rows by agent; `ids` are the stored ids, `dead` the dead letters."""

    ids: list[str]
    dead: int


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    """Where the processes of a test write their notes."""
    return tmp_path / "notes.jsonl"


@pytest.fixture
def sound() -> Callable[[Path], Found]:
    """Read a file, having checked that it is sound and that each aggregate equals the sum over its records."""
    return _sound


def _sound(path: Path) -> Found:
    connection = sqlite3.connect(path)
    try:
        ask = connection.execute
        assert ask("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert ask("PRAGMA foreign_key_check").fetchall() == []
        keys = "{}, agent_name, tool_name, model_name"
        recorded = ask(
            f"SELECT {keys.format('substr(timestamp, 1, 10)')}, count(*), coalesce(sum(total_tokens), 0), "
            "coalesce(sum(CAST(cost_usd * 1e9 + 0.5 AS INTEGER)), 0), sum(status = 'error'), sum(status = 'timeout'), "
            "count(latency_ms) FROM invocations GROUP BY 1, 2, 3, 4"
        ).fetchall()
        aggregated = ask(
            f"SELECT {keys.format('date')}, invocations, total_tokens, cost_nanos, errors, timeouts, latency_count "
            "FROM daily_costs"
        ).fetchall()
        assert set(recorded) == set(aggregated)
        assert len(recorded) == len(aggregated)
        latencies: Counter[tuple[str, str | None, int]] = Counter()
        for day, agent, latency in ask(
            "SELECT substr(timestamp, 1, 10), agent_name, latency_ms FROM invocations WHERE latency_ms IS NOT NULL"
        ):
            latencies[day, agent, bucket_of(latency)] += 1
        counted: Counter[tuple[str, str | None, int]] = Counter()
        for day, agent, bucket, calls in ask(
            "SELECT date, agent_name, bucket, latency_counts.invocations "
            "FROM latency_counts JOIN daily_costs ON daily_costs.id = daily_cost_id"
        ):
            counted[day, agent, bucket] += calls
        assert counted == latencies
        by_quarter = daily_totals.read_quarters(connection, "")
        assert by_quarter == backfill.quarters_of(connection, "TRUE", ())
        assert sum(totals.invocations for totals in by_quarter.values()) == sum(row[4] for row in aggregated)
        found = Found(row[0] for row in ask("SELECT agent_name FROM invocations"))
        found.ids = [row[0] for row in ask("SELECT invocation_id FROM invocations ORDER BY id")]
        found.dead = ask("SELECT count(*) FROM dead_letters").fetchone()[0]
        return found
    finally:
        connection.close()


@pytest.fixture
def lawful(db: Path, notes: Path) -> Callable[..., tuple[Found, Notes]]:
    """Hold a file to what its processes noted, and return both.

    `killed` allows that accepted records which nobody was promised are missing (they were in the window), and that
    records are on disk whose fate the process did not live to learn.
    """

    def check(*, killed: bool = False) -> tuple[Found, Notes]:
        found, noted = _sound(db), Notes.read(notes)
        rows = set(found.ids)
        assert len(rows) == len(found.ids), "a record is there twice"
        assert noted.acked <= rows, "a promised record is missing"
        assert rows <= noted.offered, "a record is there that nobody logged"
        assert all(ledger["balanced"] for ledger in noted.ledgers)
        if not killed:
            assert noted.ledgers, "a process that was not killed says what became of its records"
            total: Counter[str] = Counter()
            for ledger in noted.ledgers:
                total.update({name: ledger[name] for name in ("submitted", "written", "quarantined", "pending")})
                total["dropped"] += sum(ledger["dropped"].values())
            assert total["submitted"] == len(noted.offered)
            assert total["written"] == len(rows)
            assert total["quarantined"] == found.dead
            assert total["submitted"] == len(rows) + found.dead + total["dropped"] + total["pending"]
        return found, noted

    return check


@pytest.fixture
def start_script(db: Path, notes: Path) -> Iterator[Callable[..., "subprocess.Popen[str]"]]:
    """Start a script after `PRELUDE`, perhaps under another program (`under`), with `PATH` and `NOTES` given."""
    processes: list[subprocess.Popen[str]] = []

    def start(code: str, *arguments: object, under: tuple[str, ...] = (), **environment: str) -> Any:
        process = subprocess.Popen(
            [*under, sys.executable, "-c", PRELUDE + code, str(db), str(notes), *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": str(SOURCE), "PYTHONUNBUFFERED": "1"} | environment,
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
def run_script(start_script: Callable[..., Any], finish: Callable[..., Finished]) -> Callable[..., Finished]:
    """Run a script to its end, which must come in time."""

    def run(code: str, *arguments: object, seconds: float = 40.0, **options: Any) -> Finished:
        return finish(start_script(code, *arguments, **options), seconds)

    return run


@pytest.fixture
def command() -> Callable[..., str]:
    """Run a system's command, or skip the test with what it says."""

    def run(*arguments: object) -> str:
        program = str(arguments[0])
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
        ended = subprocess.run([*map(str, arguments)], check=False, capture_output=True, text=True)
        if ended.returncode != 0:
            pytest.skip(f"{' '.join(map(str, arguments))}: {ended.stderr.strip()}")
        return ended.stdout

    return run
