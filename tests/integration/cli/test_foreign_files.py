"""Whatever stands at the path that was given: no command moves, replaces or writes what is not ours, nor hangs on it."""

import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from llm_service.errors import StoreError
from llm_service.telemetry import AsyncTelemetryLogger, InvocationRecord, TelemetryLogger
from llm_service.telemetry.stores.sqlite.migrations import table_names

from .every_command import command_lines

pytestmark = pytest.mark.slow

Run = Callable[..., Result]
MAKERS = {"demo"}
"""Commands that make a database where there is none."""
NEEDS_NO_FILE = {"config", "estimate"}
"""What they say needs no database."""


def text(path: Path) -> None:
    """Somebody's notes."""
    path.write_text("these are notes, not a database\n" * 200)


def other_program_s(path: Path) -> None:
    """A database of another program."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE notes (text)")
        connection.execute("INSERT INTO notes VALUES ('mine')")
        connection.commit()


def other_program_s_wal(path: Path) -> None:
    """The same in WAL mode, left by a process that was killed."""
    other_program_s(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("INSERT INTO notes VALUES ('more')")
        for suffix in ("", "-wal"):
            shutil.copy(f"{path}{suffix}", f"{path}.copy{suffix}")
    for suffix in ("", "-wal"):
        Path(f"{path}.copy{suffix}").replace(f"{path}{suffix}")


def other_program_s_hot(path: Path) -> None:
    """The same, with the rollback journal of a transaction that never ended."""
    other_program_s(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA cache_size = 1")
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("CREATE TABLE pad (a)")
        connection.execute("INSERT INTO pad VALUES (zeroblob(1000000))")
        shutil.copy(f"{path}-journal", f"{path}.copy")
        connection.execute("ROLLBACK")
    Path(f"{path}.copy").replace(f"{path}-journal")


def other_program_s_wal_alone(path: Path) -> None:
    """Its tables are in the -wal alone, and there is no -shm, as a restart leaves it."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE notes (text)")
        for suffix in ("", "-wal"):
            shutil.copy(f"{path}{suffix}", f"{path}.copy{suffix}")
    for suffix in ("", "-wal"):
        Path(f"{path}.copy{suffix}").replace(f"{path}{suffix}")


def one_byte(path: Path) -> None:
    """SQLite takes it for an empty database."""
    path.write_bytes(b"7")


def endless(table: str) -> Callable[[Path], None]:
    """A database of ours in which a view that never ends stands in the place of a table."""

    def make(path: Path) -> None:
        with TelemetryLogger(path) as logger:
            logger.log_invocation(InvocationRecord(agent_name="agent"))
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute(f"ALTER TABLE {table} RENAME TO moved")
            connection.execute(
                f"CREATE VIEW {table} AS WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n)"
                " SELECT moved.* FROM n LEFT JOIN moved ON 1 = 1 WHERE n.x > 1e15"
            )

    make.__name__ = f"endless {table}"
    return make


def numbered(path: Path) -> None:
    """Another program's that has a version of its own and no table."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = -7")


def empty(path: Path) -> None:
    """A lock file, say."""
    path.touch()


def folder(path: Path) -> None:
    """With something in it."""
    path.mkdir()
    (path / "notes").write_text("mine")


def pipe(path: Path) -> None:
    """Whoever opens it waits for ever."""
    os.mkfifo(path)


def link_to_pipe(path: Path) -> None:
    """One's own link, which is followed."""
    os.mkfifo(f"{path}.pipe")
    path.symlink_to(f"{path}.pipe")


def link_to_text(path: Path) -> None:
    """The same."""
    text(Path(f"{path}.txt"))
    path.symlink_to(f"{path}.txt")


def link_to_nothing(path: Path) -> None:
    """A link whose target is gone."""
    path.symlink_to(f"{path}.gone")


def link_of_another(path: Path) -> None:
    """Another user's, to a file of one's own."""
    text(Path(f"{path}.txt"))
    path.symlink_to(f"{path}.txt")
    os.lchown(path, 65534, 65534)


def short_text(path: Path) -> None:
    """A few words."""
    path.write_text("mine\n")


def beside(suffix: str, plant: Callable[[Path], None]) -> Callable[[Path], None]:
    """A database of ours, and something planted beside it."""

    def make(path: Path) -> None:
        with TelemetryLogger(path) as logger:
            logger.log_invocation(InvocationRecord(agent_name="agent"))
        plant(Path(f"{path}{suffix}"))

    make.__name__ = f"{plant.__name__} at {suffix}"
    return make


def beside_killed(suffix: str, plant: Callable[[Path], None]) -> Callable[[Path], None]:
    """The same, where the writer was killed: its -wal and -shm are there, too."""

    def make(path: Path) -> None:
        with TelemetryLogger(path) as logger:
            logger.log_invocation(InvocationRecord(agent_name="agent"))
            for kept in ("", "-wal", "-shm"):
                shutil.copy(f"{path}{kept}", f"{path}.copy{kept}")
        for kept in ("", "-wal", "-shm"):
            Path(f"{path}.copy{kept}").replace(f"{path}{kept}")
        plant(Path(f"{path}{suffix}"))

    make.__name__ = f"{plant.__name__} at {suffix} beside what a kill left"
    return make


def marked(path: Path) -> None:
    """A database that bears another program's id, before it has any table."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA application_id = 0x47504B47")


def missing(path: Path) -> None:
    """Nothing."""


FOREIGN = [
    text, one_byte, other_program_s, other_program_s_wal, other_program_s_wal_alone, other_program_s_hot, numbered, marked, folder, pipe, link_to_pipe, link_to_text,
    *(beside(suffix, plant) for suffix in ("-journal", "-wal", "-shm") for plant in (pipe, folder, link_to_text, text, short_text)),
    beside_killed("-journal", text),
]  # fmt: skip
if os.geteuid() == 0:
    FOREIGN.append(link_of_another)
else:

    def unreadable(path: Path) -> None:
        """A database that may not be read."""
        other_program_s(path)
        path.chmod(0)

    FOREIGN.append(unreadable)


def state(place: Path) -> dict[str, tuple[Any, ...]]:
    """All that may not change: names, kinds, sizes, times, bytes."""
    found: dict[str, tuple[Any, ...]] = {}
    for path in sorted(place.rglob("*")):
        status = path.lstat()
        content = path.read_bytes() if path.is_file() and os.access(path, os.R_OK) and not path.is_symlink() else b""
        found[str(path)] = (status.st_mode, status.st_ino, status.st_size, status.st_mtime_ns, content)
    return found


def name_of(plant: Callable[[Path], None]) -> str:
    """How it is called."""
    return plant.__name__


@pytest.mark.costly
@pytest.mark.parametrize("plant", FOREIGN, ids=name_of)
def test_every_command_leaves_it_as_it_is_and_says_so_in_one_line(
    plant: Callable[[Path], None], tmp_path: Path, run: Run
) -> None:
    """A failure, or a finding of doctor; never a traceback, never a change, not even of a name beside it."""
    place, new = tmp_path / "place", tmp_path / "new"
    place.mkdir()
    new.mkdir()
    path = place / "data.db"
    plant(path)
    before = state(place)
    for line in command_lines(new):
        result = run(*line, "--db", path)
        assert state(place) == before, line
        if line[0] in NEEDS_NO_FILE and result.exit_code == 0:
            continue
        assert result.exit_code in ({1, 2} if line[0] != "doctor" or "--salvage" in line else {1, *range(34, 46)}), (
            line,
            result.output,
        )
        if line[0] != "doctor" and result.exit_code:
            assert result.stderr.count("\n") == 1, (line, result.stderr)
            assert result.stderr.startswith("Error: "), (line, result.stderr)
    assert [made.name for made in new.iterdir() if made.name.startswith("new-")] == []


@pytest.mark.parametrize("plant", [missing, empty, link_to_nothing], ids=name_of)
def test_what_is_empty_or_missing_stays_so(plant: Callable[[Path], None], tmp_path: Path, run: Run) -> None:
    """Whoever reads, looks after, or only tries makes no database; who replays a trace makes one where nothing is."""
    place, new = tmp_path / "place", tmp_path / "new"
    place.mkdir()
    new.mkdir()
    path = place / "data.db"
    plant(path)
    before = state(place)
    for line in command_lines(new):
        if line[0] in MAKERS and plant is not empty:
            continue
        result = run(*line, "--db", path)
        assert state(place) == before, line
        assert result.exit_code in {0, 1, 2, 3, 41, 42}, (line, result.output)
        assert result.stdout.count("Traceback") == 0


@pytest.mark.costly
@pytest.mark.parametrize("table", table_names())
def test_no_command_runs_for_ever_on_a_view_in_the_place_of_a_table(table: str, tmp_path: Path, run: Run) -> None:
    """Salvage, which reads tables alone, still brings back what it can."""
    place, new = tmp_path / "place", tmp_path / "new"
    place.mkdir()
    new.mkdir()
    path = place / "data.db"
    endless(table)(path)
    before = state(place)
    for line in command_lines(new):
        result = run(*line, "--db", path)
        assert state(place) == before, line
        assert "Traceback" not in result.output, line
        assert result.exit_code in {1, 2, *range(34, 46)} or "--salvage" in line or line[0] in NEEDS_NO_FILE, line
    with pytest.raises(StoreError, match="views in the place of 1 of its tables"):
        TelemetryLogger(path)


@pytest.mark.parametrize("plant", FOREIGN, ids=name_of)
async def test_both_faces_refuse_it_at_once(plant: Callable[[Path], None], tmp_path: Path) -> None:
    """The sync one where it is made, the async one at its start; whoever reads through them is refused as well."""
    path = tmp_path / "data.db"
    plant(path)
    before = state(tmp_path)
    with pytest.raises(StoreError):
        TelemetryLogger(path)
    telemetry = AsyncTelemetryLogger(path)
    with pytest.raises(StoreError):
        await telemetry.start()
    telemetry.log_invocation_nowait(InvocationRecord())
    for question in (telemetry.get_statistics, telemetry.get_invocations, telemetry.get_daily_costs):
        with pytest.raises(StoreError):
            await question(fresh=False)
    await telemetry.aclose()
    assert telemetry.stats().ledger.dropped == {"store_failed": 1}
    assert telemetry.stats().files_set_aside == 0
    assert state(tmp_path) == before
