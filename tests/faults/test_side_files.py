"""Databases whose writer was killed: what it left beside them is taken for SQLite's, whole or torn, and recovered."""

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner
from tests.integration.cli.every_command import command_lines
from tests.slices import quick

import llm_service
from llm_service.cli.commands import cli
from llm_service.telemetry import InvocationRecord, TelemetryLogger
from llm_service.telemetry.stores.sqlite.side_files import SIDE_FILES

SOURCES = Path(llm_service.__file__).parents[1]
IN_WAL = """
import os, sys
from llm_service.telemetry import InvocationRecord, TelemetryLogger
logger = TelemetryLogger(sys.argv[1], models=False, policies=False)
for number in range(20):
    logger.log_invocation(InvocationRecord(agent_name="before"))
os.kill(os.getpid(), 9)
"""
IN_ROLLBACK = """
import os, sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("PRAGMA journal_mode = DELETE")
connection.execute("PRAGMA cache_size = 1")
connection.execute("BEGIN IMMEDIATE")
connection.execute("UPDATE invocations SET agent_name = 'half'")
if sys.argv[2] == "spilled":
    connection.execute("CREATE TABLE pad (a)")
    connection.execute("INSERT INTO pad VALUES (zeroblob(1000000))")
os.kill(os.getpid(), 9)
"""


LOOKS_ONLY = {"backup", "doctor"}
"""They change no byte of the file, and say what they find: half of a transaction."""


def killed(script: str, *arguments: object) -> None:
    """Run it until it kills itself."""
    done = subprocess.run(
        [sys.executable, "-c", script, *map(str, arguments)],
        check=False, timeout=60, env=os.environ | {"PYTHONPATH": str(SOURCES)},
    )  # fmt: skip
    assert done.returncode == -signal.SIGKILL


def beside(path: Path, suffix: str) -> Path:
    """A side file."""
    return path.with_name(path.name + suffix)


def agents(path: Path) -> list[str]:
    """Whose records the file has, after one more was logged; the file is sound."""
    with TelemetryLogger(path, models=False, policies=False) as logger:
        logger.log_invocation(InvocationRecord(agent_name="after"))
        assert logger.stats().files_set_aside == 0
        found = [str(row["agent_name"]) for row in logger.get_invocations(limit=100)]
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert connection.execute("SELECT count(*) FROM sqlite_master WHERE name = 'pad'").fetchone() == (0,)
    return sorted(found)


def test_a_wal_that_was_left_is_recovered(tmp_path: Path) -> None:
    """Each record that was committed."""
    path = tmp_path / "telemetry.db"
    killed(IN_WAL, path)
    assert beside(path, "-wal").stat().st_size
    assert agents(path) == ["after", *["before"] * 20]


@pytest.mark.volume
@pytest.mark.parametrize("script", [IN_WAL, IN_ROLLBACK], ids=["WAL", "rollback journal"])
def test_no_command_takes_it_for_somebody_else_s(script: str, tmp_path: Path) -> None:
    """Whichever comes first, and the records are there after it."""
    path, new = tmp_path / "killed.db", tmp_path / "new"
    new.mkdir()
    with TelemetryLogger(path, models=False, policies=False) as logger:
        logger.log_invocation(InvocationRecord(agent_name="before"))
    killed(script, path, "spilled")
    for number, line in enumerate(command_lines(new)):
        copy = tmp_path / f"{number}.db"
        for suffix in ("", *SIDE_FILES):
            if beside(path, suffix).exists():
                shutil.copy(beside(path, suffix), beside(copy, suffix))
        result = CliRunner().invoke(cli, [*line, "--db", str(copy)])
        assert "SQLite's" not in result.output, line
        assert line[0] in LOOKS_ONLY or "malformed" not in result.output, line
        if line[0] not in {"demo", "purge"}:
            assert "before" in agents(copy), line


@pytest.mark.parametrize("how", ["spilled", "unsynced"])
def test_a_rollback_journal_that_was_left_is_played_back(how: str, tmp_path: Path) -> None:
    """Where pages were written already it has its magic, before that it has none."""
    path = tmp_path / "telemetry.db"
    with TelemetryLogger(path, models=False, policies=False) as logger:
        logger.log_invocation(InvocationRecord(agent_name="before"))
    killed(IN_ROLLBACK, path, how)
    journal = beside(path, "-journal")
    assert any(journal.read_bytes()[:8]) == (how == "spilled")
    assert agents(path) == ["after", "before"]
    assert not journal.exists() or not journal.stat().st_size


def emptied(file: Path) -> None:
    """Its name reached the disk, its content did not."""
    file.write_bytes(b"")


def zeroed(file: Path) -> None:
    """Its size did, too."""
    file.write_bytes(bytes(file.stat().st_size))


def without_header(file: Path) -> None:
    """Its first sector did not."""
    file.write_bytes(bytes(512) + file.read_bytes()[512:])


def cut_short(file: Path) -> None:
    """Half of its header did."""
    file.write_bytes(file.read_bytes()[:3])


def half_written(file: Path) -> None:
    """The other way round: the size of the first page, and half of a header."""
    file.write_bytes(file.read_bytes()[:2] + bytes(4094))


def gone(file: Path) -> None:
    """It was never there."""
    file.unlink()


@pytest.mark.costly
@pytest.mark.parametrize("suffix", SIDE_FILES)
@pytest.mark.parametrize("tear", quick([emptied, zeroed, without_header, cut_short, half_written, gone], 2))
@pytest.mark.parametrize("alone", [False, True], ids=["with the others", "alone"])
def test_what_a_power_cut_tore_locks_nobody_out(
    alone: bool, tear: Callable[[Path], None], suffix: str, tmp_path: Path
) -> None:
    """What the main file has is there, and the next record is taken."""
    path = tmp_path / "telemetry.db"
    if suffix == "-journal":
        with TelemetryLogger(path, models=False, policies=False) as logger:
            logger.log_invocation(InvocationRecord(agent_name="before"))
        killed(IN_ROLLBACK, path, "unsynced")
    else:
        with TelemetryLogger(path, models=False, policies=False) as logger:
            logger.log_invocation(InvocationRecord(agent_name="before"))
        killed(IN_WAL, path)
    for other in SIDE_FILES:
        if alone and other != suffix:
            beside(path, other).unlink(missing_ok=True)
    tear(beside(path, suffix))
    found = agents(path)
    assert "after" in found
    assert "before" in found


@pytest.mark.costly
@pytest.mark.parametrize("alone", [False, True], ids=["with its -wal", "alone"])
def test_a_wal_index_of_another_moment_is_used_or_made_again(alone: bool, tmp_path: Path) -> None:
    """As a copy of the files at different moments has it."""
    path, copy = tmp_path / "telemetry.db", tmp_path / "copy"
    killed(IN_WAL, path)
    beside(path, "-shm").rename(copy)
    killed(IN_WAL, path)
    copy.replace(beside(path, "-shm"))
    if alone:
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        copy.write_bytes(bytes(32768))
        copy.replace(beside(path, "-shm"))
    assert agents(path) == ["after", *["before"] * 40]
