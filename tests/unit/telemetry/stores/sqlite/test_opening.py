"""Opening a file: what is refused, what is repaired on the way, and in what words."""

import os
import re
import sqlite3
import stat
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from llm_service.errors import DatabaseUnusableError, ForeignDatabaseError, NewerSchemaError, StoreError
from llm_service.telemetry.stores.base import Fault
from llm_service.telemetry.stores.private_files import make_private_folder
from llm_service.telemetry.stores.sqlite import error_kinds, migrations, reader
from llm_service.telemetry.stores.sqlite.opening import open_for_writing
from llm_service.telemetry.stores.sqlite.reader import open_for_reading, read


@pytest.fixture
def db(tmp_path: Path) -> Path:
    """A closed, empty file of telemetry."""
    path = tmp_path / "telemetry.db"
    open_for_writing(path, 0).close()
    return path


TABLES = re.findall(r"CREATE TABLE (\w+)", "".join(migrations.schema_statements()))


@pytest.mark.parametrize("event", ["INSERT", "UPDATE", "DELETE"])
@pytest.mark.parametrize("table", TABLES)
def test_a_trigger_that_keeps_rows_out_is_refused_by_name(db: Path, table: str, event: str) -> None:
    """No limit would hold; of records the writer looks what became of them. Any other trigger is the owner's business."""
    with closing(sqlite3.connect(db)) as connection:
        connection.execute(f"CREATE TRIGGER own AFTER {event} ON {table} BEGIN SELECT 1; END")
        open_for_writing(db, 0).close()
        connection.execute(f"CREATE TRIGGER T BEFORE {event} ON {table} BEGIN SELECT Raise (ignore); END")
        if table == "invocations":
            open_for_writing(db, 0).close()
            return
        with pytest.raises(DatabaseUnusableError, match=f"trigger 'T' on '{table}' keeps rows out of it.*DROP TRIGGER"):
            open_for_writing(db, 0)
        connection.execute("DROP TRIGGER T")
    open_for_writing(db, 0).close()


def test_a_newer_file_is_refused_and_left_as_it_is(db: Path) -> None:
    """Both versions and what to do are named."""
    newer = migrations.VERSION + 1
    with closing(sqlite3.connect(db)) as connection:
        connection.execute(f"PRAGMA user_version = {newer}")
    before = db.read_bytes()
    with pytest.raises(NewerSchemaError) as refusal:
        open_for_writing(db, 0)
    assert str(refusal.value) == (
        f"{db} has schema version {newer}, this release knows {migrations.VERSION}: "
        "upgrade llm-service-telemetry, or give another db_path"
    )
    assert db.read_bytes() == before


@pytest.mark.parametrize("what", ["CREATE TABLE notes (text)", "PRAGMA user_version = 7"])
def test_another_program_s_file_is_refused_and_left_as_it_is(what: str, tmp_path: Path) -> None:
    """Tables of its own, or only a version of its own."""
    path = tmp_path / "other.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(what)
    before = path.read_bytes()
    with pytest.raises(ForeignDatabaseError) as refusal:
        open_for_writing(path, 0)
    assert str(refusal.value) == f"{path} is an SQLite database, but not of telemetry: give another db_path"
    assert path.read_bytes() == before


@pytest.mark.parametrize("version", [0, -1])
def test_a_version_that_no_release_wrote_is_refused_and_the_file_left_as_it_is(version: int, db: Path) -> None:
    """It is damaged: nothing is migrated, and the error says how its rows are saved."""
    with closing(sqlite3.connect(db)) as connection:
        connection.execute(f"PRAGMA user_version = {version}")
    before = db.read_bytes()
    with pytest.raises(DatabaseUnusableError, match=f"schema version {version}, which no release wrote.*--salvage"):
        open_for_writing(db, 0)
    assert db.read_bytes() == before


def test_a_folder_that_another_process_makes_meanwhile_stays_as_that_one_made_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was not there when it was looked for, and is there when it is made."""
    folder = tmp_path / "shared"
    folder.mkdir()
    folder.chmod(0o755)
    is_dir = Path.is_dir
    monkeypatch.setattr(Path, "is_dir", lambda path: path != folder and is_dir(path))
    make_private_folder(folder)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o755


@pytest.mark.parametrize("newest", [False, True])
def test_a_connection_that_cannot_be_made_ready_for_reading_is_closed(
    newest: bool, db: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By Ctrl-C, say: nothing keeps the file open."""
    made: list[sqlite3.Connection] = []
    connect = reader.connect

    def kept(*arguments: Any) -> sqlite3.Connection:
        made.append(connect(*arguments))
        if not newest:
            made[0].set_authorizer(interrupted)
        return made[0]

    def interrupted(*_: object) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(reader, "connect", kept)
    monkeypatch.setattr(migrations, "read_as_newest", interrupted)
    with pytest.raises((KeyboardInterrupt, sqlite3.DatabaseError)):
        open_for_reading(db, newest=newest)
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        made[0].execute("SELECT 1")


def test_a_connection_whose_tables_cannot_be_counted_is_closed(db: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was opened for a question that is not asked any more."""
    made: list[sqlite3.Connection] = []

    def denying(path: Path, **how: Any) -> sqlite3.Connection:
        made.append(open_for_reading(path, **how))
        made[0].set_authorizer(lambda *_: sqlite3.SQLITE_DENY)
        return made[0]

    monkeypatch.setattr(reader, "open_for_reading", denying)
    with pytest.raises(StoreError, match="cannot be read: not authorized"):
        read(db, lambda fetch: fetch(("SELECT 1", [])))
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        made[0].execute("SELECT 1")


def test_a_file_that_another_holds_locked_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As long as SQLite is told to, and then it is a lock, not a stranger."""
    monkeypatch.setattr("llm_service.telemetry.stores.sqlite.opening.BUSY_TIMEOUT_MS", 1)
    path = tmp_path / "new.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        connection.execute("BEGIN EXCLUSIVE")
        with pytest.raises(sqlite3.OperationalError, match="locked") as locked:
            open_for_writing(path, 0)
    assert error_kinds.is_locked(locked.value)


@pytest.mark.parametrize("suffix", ["-wal", "-shm"])
def test_files_that_were_made_while_the_database_was_read_only_may_be_written_again(db: Path, suffix: str) -> None:
    """They have the mode that it had then, and SQLite would fail on them for ever."""
    with closing(sqlite3.connect(db, isolation_level=None)) as other:
        other.execute("SELECT count(*) FROM invocations").fetchone()  # keeps both there
        side = Path(f"{db}{suffix}")
        side.chmod(0o400)
        db.chmod(0o640)
        with closing(open_for_writing(db, 0)) as connection:
            assert stat.S_IMODE(side.stat().st_mode) == 0o640
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("ROLLBACK")


def test_files_that_may_be_written_keep_their_mode(db: Path) -> None:
    """Only the owner's right to write is missed; a read-only database gives none."""
    with closing(sqlite3.connect(db, isolation_level=None)) as other:
        other.execute("SELECT count(*) FROM invocations").fetchone()
        side = Path(f"{db}-shm")
        side.chmod(0o600)
        db.chmod(0o644)
        open_for_writing(db, 0).close()
        assert stat.S_IMODE(side.stat().st_mode) == 0o600


@pytest.mark.skipif(os.name != "posix", reason="extended codes of the POSIX layer")
@pytest.mark.parametrize(("code", "fault"), [(522, Fault.DAMAGED), (778, Fault.TRANSIENT), (8, Fault.REOPEN)])
def test_a_file_that_ends_too_early_is_damaged_and_a_failed_write_is_not(code: int, fault: Fault) -> None:
    """SQLITE_IOERR_SHORT_READ and SQLITE_IOERR_WRITE share their primary code; SQLITE_READONLY wants another open."""
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorcode = code
    assert error_kinds.classify(error) is fault
