"""A database of ours in any state it may be left in: what only reads, or only tries, changes nothing of it."""

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from llm_service.telemetry import InvocationRecord, TelemetryLogger
from llm_service.telemetry.stores.sqlite.file_identity import APPLICATION_ID

from .conftest import SOURCES
from .every_command import command_lines

pytestmark = pytest.mark.slow

Run = Callable[..., Result]
OLD_SCHEMA = Path(__file__).parents[2] / "data" / "schema_version_1.sql"
WRITERS = {
    "budgets reconcile", "budgets release", "dead-letters drop", "dead-letters retry", "demo --replay",
    "doctor --repair", "purge", "reprice", "search --drop-index", "search --index",
}  # fmt: skip
"""What a command that writes begins with, unless it only tries."""
KILLED = """
import os, sys
from llm_service.telemetry import InvocationRecord, TelemetryLogger
logger = TelemetryLogger(sys.argv[1], journal=True, flush_interval=60, queue_max_bytes=1 << 20)
for _ in range(3):
    logger.log_invocation_nowait(InvocationRecord(agent_name="orphan"))
os.kill(os.getpid(), 9)
"""


def journal(path: Path) -> None:
    """A process was killed that had accepted records and not committed them."""
    subprocess.run([sys.executable, "-c", KILLED, path], check=False, env=os.environ | {"PYTHONPATH": str(SOURCES)})


def wal(path: Path) -> None:
    """A -wal whose writer was killed."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("UPDATE invocations SET tool_name = 'tool'")
        for suffix in ("", "-wal"):
            shutil.copy(f"{path}{suffix}", f"{path}.copy{suffix}")
    for suffix in ("", "-wal"):
        Path(f"{path}.copy{suffix}").replace(f"{path}{suffix}")


def older(path: Path) -> None:
    """A file of the first version."""
    path.unlink()
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.executescript(OLD_SCHEMA.read_text("utf-8"))
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID:d}")
        connection.execute("PRAGMA user_version = 1")
        connection.execute("INSERT INTO schema_version VALUES (1, 'then')")
        connection.execute("INSERT INTO retention (id) VALUES (1)")


def state(place: Path) -> dict[str, Any]:
    """All files but the -shm, which SQLite needs to read a -wal."""
    return {
        path.name: (path.lstat().st_ino, path.lstat().st_mtime_ns, path.read_bytes())
        for path in place.iterdir()
        if not path.name.endswith("-shm")
    }


@pytest.mark.costly
@pytest.mark.parametrize("leave", [journal, wal, older], ids=lambda leave: str(leave.__name__))
def test_what_reads_or_only_tries_changes_no_byte(leave: Callable[[Path], None], tmp_path: Path, run: Run) -> None:
    """No journal is replayed, no schema brought up to date, no -wal copied back."""
    place, new = tmp_path / "place", tmp_path / "new"
    place.mkdir()
    new.mkdir()
    path = place / "telemetry.db"
    with TelemetryLogger(path) as logger:
        logger.log_invocation(InvocationRecord(agent_name="agent"))
    leave(path)
    before = state(place)
    tried = 0
    for line in command_lines(new):
        if any(" ".join(line).startswith(writer) for writer in WRITERS) and "--dry-run" not in line:
            continue
        result = run(*line, "--db", path)
        assert state(place) == before, line
        assert "Traceback" not in result.output
        tried += 1
    assert tried > 30


def test_a_closed_output_is_no_traceback(tmp_path: Path) -> None:
    """As a daemon or a line of cron may have it."""
    path, new = tmp_path / "telemetry.db", tmp_path / "new"
    new.mkdir()
    with TelemetryLogger(path) as logger:
        logger.log_invocation(InvocationRecord(agent_name="agent"))
    command = [sys.executable, "-m", "llm_service", "stats", "--db", str(path)]
    for closed in (">&-", "2>&-", ">&- 2>&-"):
        done = subprocess.run(
            ["/bin/sh", "-c", f'exec "$@" {closed}', "sh", *command],
            check=False, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(SOURCES)},
        )  # fmt: skip
        assert (done.returncode, done.stderr) == (0, ""), closed
