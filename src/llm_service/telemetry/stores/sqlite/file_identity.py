"""Identifies a database before a byte of it may change, by the application id of all telemetry databases."""

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Final, NamedTuple

from llm_service.errors import DatabaseUnusableError, ForeignDatabaseError, NewerSchemaError, StoreError
from llm_service.telemetry.stores.private_files import status_of
from llm_service.telemetry.stores.sqlite import migrations
from llm_service.telemetry.stores.sqlite.connections import connect, read_only_uri
from llm_service.telemetry.stores.sqlite.file_security import refuse_planted
from llm_service.telemetry.stores.sqlite.read_only import look, open_read_only, side_file
from llm_service.telemetry.stores.sqlite.transactions import snapshot

__all__ = [
    "APPLICATION_ID",
    "Identity",
    "bears_our_id",
    "identify",
    "identify_file",
    "refuse_foreign",
    "refuse_strangers",
    "require_telemetry",
]

APPLICATION_ID: Final = 0x4C4C4D54
"""`LLMT`: distinguishes a telemetry database from any other SQLite database."""
_TABLES: Final = ("invocations", "daily_costs", "dead_letters", "receipts", "schema_version")
_OURS: Final = f"SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name IN {_TABLES!r}"  # noqa: S608 - our own
_SECONDS: Final = 10.0
_WAIT_MS: Final = 200
_LOOK_AT_BYTES: Final = r"""
import os, stat, struct, sys
ID = b"LLMT"
def read(name, most):
    try: fd = os.open(name, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    except OSError: return b""
    if not stat.S_ISREG(os.fstat(fd).st_mode): return b""
    return os.read(fd, most)
def in_wal(wal):
    if len(wal) < 32 or wal[:3] != b"\x37\x7f\x06": return False
    size = struct.unpack_from(">I", wal, 8)[0]
    size = 65536 if size == 1 else size
    if size < 512: return False
    return any(
        wal[at:at + 4] == b"\0\0\0\1" and wal[at + 24 + 68:at + 24 + 72] == ID
        for at in range(32, len(wal), 24 + size)
    )
sys.exit(0 if read(sys.argv[1], 100)[68:72] == ID or in_wal(read(sys.argv[1] + "-wal", 1 << 26)) else 1)
"""  # the offsets are those of SQLite's file format: sqlite.org/fileformat2.html, 1.3 and 4.1


class Identity(NamedTuple):
    """What identifies a database.

    Attributes:
        objects: number of tables and indexes.
        tables: number of tables of our first version.
        views: number of views with names of our tables: reading one could run for ever.
    """

    application: int
    version: int
    objects: int
    tables: int
    views: int = 0

    @property
    def is_foreign(self) -> bool:
        """Whether it is another program's. One rebuilt from SQL text has no id, and is recognised by its tables."""
        is_ours = self.application == APPLICATION_ID or (self.application == 0 and self.tables == len(_TABLES))
        return not is_ours and bool(self.objects or self.version or self.application)

    @property
    def is_unmarked(self) -> bool:
        """Whether it has neither our application id, which is in the first page from the start, nor our tables."""
        return self.application != APPLICATION_ID and self.tables < len(_TABLES)


def identify(connection: sqlite3.Connection) -> Identity:
    """The identity of a connection's database, in one snapshot: another process may be creating the tables."""
    views = f"SELECT count(*) FROM sqlite_master WHERE type = 'view' AND name IN {migrations.table_names()!r}"  # noqa: S608 - our own
    asked = ("PRAGMA application_id", "PRAGMA user_version", "SELECT count(*) FROM sqlite_master", _OURS, views)
    with snapshot(connection):
        return Identity(*(int(connection.execute(sql).fetchone()[0]) for sql in asked))


def identify_file(path: Path) -> Identity:
    """The identity of a file, through a read-only connection.

    Another program's file is identified by its main file alone, so that no -wal or -shm is created.

    Raises:
        PlantedFileError, ForeignDatabaseError: it or a side file must not be opened.
    """
    refuse_planted(path, reading=True)
    status = status_of(path)
    if status is not None and status.st_size == 1:  # SQLite takes it for empty
        error = sqlite3.DatabaseError("file is not a database")
        error.sqlite_errorcode = sqlite3.SQLITE_NOTADB
        raise error
    wal = status_of(side_file(path, "-wal"))
    found = None if wal is None else _alone(path)
    if found is not None and (found.is_foreign or (wal is not None and wal.st_size and found.is_unmarked)):
        return found if found.is_foreign else found._replace(objects=1)
    return look(path, identify)


def refuse_foreign(path: Path) -> Identity:
    """`identify_file` before reading.

    Raises:
        ForeignDatabaseError: it belongs to another program.
        DatabaseUnusableError: views replace its tables.
    """
    found = _identify_to_open(path)
    if found.is_foreign:
        raise ForeignDatabaseError(f"{path} is an SQLite database, but not of telemetry: give another db_path", path)
    if found.views:
        raise DatabaseUnusableError(
            f"{path} has views in the place of {found.views} of its tables; run: llm-telemetry doctor --db {path}", path
        )
    return found


def _identify_to_open(path: Path) -> Identity:
    """`identify_file`, after the rollback journal of a killed writer: without it a file would pass for damaged."""
    try:
        return identify_file(path)
    except sqlite3.DatabaseError:
        journal = status_of(side_file(path, "-journal"))
        if journal is None or not journal.st_size or not bears_our_id(path):
            raise
    with closing(connect(read_only_uri(path, "rw"))) as connection:
        connection.execute(f"PRAGMA busy_timeout = {_WAIT_MS:d}")
        connection.execute("PRAGMA query_only = ON")
        return identify(connection)


def refuse_strangers(path: Path) -> Identity:
    """`refuse_foreign` before writing; DatabaseUnusableError also for a newer or an impossible schema version."""
    found = refuse_foreign(path)
    if found.version > migrations.VERSION:
        raise NewerSchemaError(
            f"{path} has schema version {found.version}, this release knows {migrations.VERSION}: "
            "upgrade llm-service-telemetry, or give another db_path",
            path,
        )
    if found.version < 0 or (found.objects and not found.version):
        raise DatabaseUnusableError(
            f"{path} has schema version {found.version}, which no release wrote: it is damaged; "
            "run llm-telemetry doctor --salvage NEW.db, or give another db_path",
            path,
        )
    return found


def require_telemetry(path: Path, *, empty: bool = False) -> None:
    """Refuse anything but a telemetry database with its tables, without changing it; used by maintenance.

    Args:
        empty: accept a database without tables.

    Raises:
        StoreError: it is missing, empty, another program's, planted, or cannot be read.
    """
    status = status_of(path)
    if status is None:
        raise StoreError(f"{path} does not exist; give a telemetry database with --db PATH or --config PATH", path)
    refuse_planted(path)
    try:
        found = refuse_strangers(path)
    except sqlite3.Error as error:
        raise StoreError(f"{path} cannot be read: {error}; run: llm-telemetry doctor --db {path}", path) from error
    if not (found.objects or empty):
        raise StoreError(f"{path} is empty, so there is nothing to look after; a logger makes the tables", path)


def _alone(path: Path) -> Identity | None:
    """The identity of the main file without its -wal; None if that cannot be read by itself."""
    with closing(open_read_only(path, "ro&immutable=1")) as connection:
        try:
            return identify(connection)
        except sqlite3.Error:  # it is being written, or is damaged
            return None


def bears_our_id(path: Path) -> bool:
    """Whether a file that SQLite cannot read, or its -wal, has our application id in the right place.

    A child process reads the bytes: closing a descriptor of the database here would drop this process's locks on it.
    False if no process can be started.
    """
    command = [sys.executable, "-I", "-S", "-c", _LOOK_AT_BYTES, str(path)]
    try:
        done = subprocess.run(command, check=False, capture_output=True, timeout=_SECONDS)  # noqa: S603 - our own interpreter
    except (OSError, ValueError, RuntimeError, subprocess.SubprocessError):
        return False
    return done.returncode == 0
