"""A file of some calls over three days, and ways to change it by hand."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from llm_service.telemetry import InvocationRecord, TelemetryLogger
from llm_service.telemetry.maintenance.doctor import examine

FIRST = datetime(2026, 3, 1, 12, tzinfo=UTC)
CALLS = 60


def call(number: int, **fields: Any) -> InvocationRecord:
    """One of `CALLS` calls: 20 a day, of 2 agents and 2 models, some of them unpriced, untimed or failed."""
    known: dict[str, Any] = {
        "invocation_id": f"call-{number:05}",
        "timestamp": FIRST + timedelta(days=number // 20, seconds=number),
        "agent_name": "a" if number % 2 else None,
        "model_name": f"m{number % 2}",
        "prompt_tokens": number,
        "completion_tokens": 5,
        "cost_usd": None if number % 7 == 0 else 0.0001234567 * number,
        "latency_ms": None if number % 5 == 0 else 1.5 * number,
        "status": "error" if number % 11 == 0 else "success",
        "session_id": "s" if number % 3 == 0 else None,
    }
    return InvocationRecord(**{**known, **fields})


@pytest.fixture
def db(tmp_path: Path) -> Path:
    """A closed file of `CALLS` calls."""
    path = tmp_path / "telemetry.db"
    with TelemetryLogger(path, retention_days=None) as logger:
        for number in range(CALLS):
            logger.log_invocation_nowait(call(number))
    return path


@pytest.fixture
def change(db: Path) -> Callable[..., None]:
    """Run SQL on the file as its owner might, and close it."""

    def run(*statements: str) -> None:
        with closing(sqlite3.connect(db, isolation_level=None)) as connection:
            for statement in statements:
                connection.execute(statement)

    return run


@pytest.fixture
def ask(db: Path) -> Callable[..., list[Any]]:
    """Rows of the file, or of another."""

    def fetch(sql: str, path: Path = db) -> list[Any]:
        with closing(sqlite3.connect(f"file:{path}?mode=ro&immutable=1", uri=True)) as connection:
            return connection.execute(sql).fetchall()

    return fetch


@pytest.fixture
def names(db: Path) -> Callable[..., dict[str, str]]:
    """What doctor finds, what it saw by name; the version of SQLite and the room on the disk are this machine's own."""

    def look(path: Path = db, **how: Any) -> dict[str, str]:
        found = examine(path, **how)
        return {
            finding.name: finding.seen
            for finding in found
            if finding.exit_code and finding.name not in {"wal_reset_bug", "disk_low"}
        }

    return look
