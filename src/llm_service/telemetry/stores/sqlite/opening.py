"""Opens the database for writing: private, set up once by one of several processes, refused if it is not ours.

Only SQLite opens the database, its -wal and its -shm: closing a descriptor of one drops every lock that this process
holds on it (POSIX). A new file is created under a temporary name and linked into place.
"""

import errno
import os
import re
import sqlite3
import stat
import tempfile
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from time import time_ns
from typing import Final

from llm_service.errors import DatabaseUnusableError, ForeignDatabaseError, SQLiteTooOldError
from llm_service.redaction import shown
from llm_service.telemetry.record.timestamps import microseconds_text
from llm_service.telemetry.stores.base import Fault
from llm_service.telemetry.stores.private_files import make_private_folder
from llm_service.telemetry.stores.sqlite import error_kinds, migrations
from llm_service.telemetry.stores.sqlite.connections import connect
from llm_service.telemetry.stores.sqlite.database_files import Files, OwnConnection, set_aside
from llm_service.telemetry.stores.sqlite.file_identity import APPLICATION_ID, bears_our_id, refuse_strangers
from llm_service.telemetry.stores.sqlite.file_security import refuse_planted
from llm_service.telemetry.stores.sqlite.odd_values import as_text
from llm_service.telemetry.stores.sqlite.transactions import transaction

__all__ = ["APPLICATION_ID", "BUSY_TIMEOUT_MS", "OLDEST_SQLITE", "Opener", "open_for_writing", "set_up"]

OLDEST_SQLITE: Final = (3, 31, 0)
BUSY_TIMEOUT_MS: Final = 200
"""Milliseconds that SQLite waits for a lock. Short, so that a close keeps its timeout; the writer retries."""

_TABLE: Final = re.compile(r"CREATE TABLE (\w+)")
_IGNORES: Final = re.compile(r"raise\s*\(\s*ignore", re.IGNORECASE)

# Each pragma of a writing connection, and why.
_PRAGMAS: Final = (
    "synchronous = NORMAL",  # a process crash loses nothing; a durable batch sets FULL for its commit
    "journal_size_limit = 4194304",  # a WAL that grew because of a reader shrinks to 4 MiB at its next reset
    "wal_autocheckpoint = 4000",  # a safety net of 16 MiB: the writer checkpoints when nobody waits
    "cache_size = -4096",  # 4 MiB: the right edges of a table and its indexes
    "temp_store = MEMORY",  # no temporary file beside the database
)


class Opener:
    """Opens one database, and sets an unusable file aside. Used by one thread at a time.

    Only a telemetry database is set aside: one with our application id, or one that this object had opened.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen = Files(None, None, None)
        self._ours: set[tuple[int, int]] = set()

    def open(self) -> OwnConnection:
        """Open the database, or create it. Blocks, and raises like `open_for_writing`."""
        self._seen = Files.at(Path(os.path.realpath(self._path)))
        try:
            connection = open_for_writing(self._path, time_ns() // 1000)
        except (sqlite3.DatabaseError, OSError) as error:
            if error_kinds.classify(error) is Fault.DAMAGED or getattr(error, "errno", None) == errno.ESTALE:
                self._require_ours()
            raise
        self._seen = connection.files or self._seen
        if self._seen.main is not None:
            self._ours.add(self._seen.main)
        return connection

    def make_way(self) -> Path | None:
        """Set aside the file of the last try to open, and return its new name; see `set_aside`.

        Raises:
            PlantedFileError, ForeignDatabaseError: the present file is not ours: it is not moved.
            OSError: not possible now; try again.
        """
        refuse_planted(self._path)
        self._require_ours()
        return set_aside(self._path, self._seen)

    def _require_ours(self) -> None:
        """Refuse an unusable file that never was ours: notes, a picture, a mistyped path."""
        path = Path(os.path.realpath(self._path))
        present = Files.at(path)
        if present.main is not None and (present.main != self._seen.main or present.main in self._ours):
            return  # it was ours; or it was replaced meanwhile, and stays
        if present.main is None and (present.wal is None or self._ours):
            return
        if not bears_our_id(path):
            raise ForeignDatabaseError(
                f"{self._path} is no database of telemetry that can be read, and never was one by its first bytes: it "
                "is left as it is; give another path, or move it away",
                self._path,
            )
        if present.main is not None:
            self._ours.add(present.main)


def open_for_writing(
    path: Path, now_us: int, sqlite_version: tuple[int, ...] = sqlite3.sqlite_version_info
) -> OwnConnection:
    """Try once to open the file; create it and its tables if needed.

    Blocks for at most a few busy timeouts; the caller retries transient errors.

    Args:
        now_us: microseconds since 1970, recorded with a new schema version.

    Raises:
        SQLiteTooOldError, NewerSchemaError, ForeignDatabaseError, PlantedFileError, DatabaseUnusableError: nothing was
            changed, and no retry will help.
        OSError: (ESTALE) the file must be set aside first, or was replaced meanwhile.
        sqlite3.Error, OSError: the file could not be opened this time.
    """
    if sqlite_version < OLDEST_SQLITE:
        found, wanted = (".".join(map(str, version)) for version in (sqlite_version, OLDEST_SQLITE))
        raise SQLiteTooOldError(
            f"SQLite {found} is linked; {wanted} or newer is needed: upgrade Python or SQLite", path
        )
    refuse_planted(path)  # before a link is followed, or a file is set aside
    path = Path(os.path.realpath(path))  # where SQLite puts -wal and -shm
    _refuse_orphans(path)
    if not path.exists():
        _create_private(path)
    elif path.stat().st_size > 0:
        refuse_strangers(path)
        _let_wal_be_written(path)
    main = Files.at(path).main
    connection = connect(path, OwnConnection, check_same_thread=False, cached_statements=256)
    connection.text_factory = as_text  # invalid UTF-8 must not stop a writer
    try:
        connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS:d}")
        set_up(connection, microseconds_text(now_us))
        migrations.require_columns(connection)
        _refuse_swallowing(connection, path)
        connection.own(path, main)
        for pragma in _PRAGMAS:
            connection.execute(f"PRAGMA {pragma}")
    except BaseException:
        connection.close()
        raise
    return connection


def _refuse_swallowing(connection: sqlite3.Connection, path: Path) -> None:
    """Refuse triggers that keep rows out of tables whose rows all count; of `invocations` the writer looks itself."""
    for name, table, sql in connection.execute("SELECT name, tbl_name, sql FROM sqlite_master WHERE type = 'trigger'"):
        if str(table).lower() in _counted_tables() and _IGNORES.search(str(sql)):
            raise DatabaseUnusableError(
                f"{path}: its trigger {shown(name)} on {shown(table)} keeps rows out of it, so that nothing could be "
                "counted: drop it (DROP TRIGGER), or give another db_path",
                path,
            )


@lru_cache(maxsize=1)
def _counted_tables() -> frozenset[str]:
    """All tables of ours but that of the records."""
    return frozenset(_TABLE.findall("\n".join(migrations.schema_statements()))) - {"invocations"}


def _refuse_orphans(path: Path) -> None:
    """Refuse a -wal with content whose database is gone or empty: SQLite would delete it."""
    try:
        # In this order: a -wal has content only after the database has.
        if path.with_name(f"{path.name}-wal").lstat().st_size == 0 or path.lstat().st_size > 0:
            return
    except FileNotFoundError:
        if Files.at(path).wal is None or Files.at(path).main is not None:
            return
    raise OSError(errno.ESTALE, "the -wal stands there without its database", str(path))


def _let_wal_be_written(path: Path) -> None:
    """Give -wal and -shm the mode of the database: SQLite may have created them while it was read-only."""
    mode = stat.S_IMODE(path.stat().st_mode)
    for name in (f"{path}-wal", f"{path}-shm"):
        with suppress(FileNotFoundError, PermissionError):  # missing, or another user's
            found = os.lstat(name)
            if stat.S_ISREG(found.st_mode) and mode & ~found.st_mode & stat.S_IWUSR:
                os.chmod(name, mode)  # noqa: PTH101 - a name made of a path and a suffix


def _create_private(path: Path) -> None:
    """Put an empty file of mode 0600 in place, unless another process was first."""
    make_private_folder(path.parent)
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # 0600 by its contract
    if hasattr(os, "fchmod"):  # not on Windows, which ignores modes
        os.fchmod(descriptor, 0o600)  # the umask may have removed bits
    os.close(descriptor)
    try:
        os.link(name, path)
    except FileExistsError:
        pass
    finally:
        with suppress(FileNotFoundError):  # another process removed the temporary name first
            os.unlink(name)  # noqa: PTH108 - the pair of mkstemp


def set_up(connection: sqlite3.Connection, now: str) -> None:
    """Make the tables of a new file, or migrate those of an older one; `now` is the UTC time as text."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (mode,) = connection.execute("PRAGMA journal_mode").fetchone()
    if version == migrations.VERSION and mode == "wal":
        return
    if version == 0:
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")  # has an effect only before the first table
        # Into the file itself, not the -wal: its first page identifies the file from now on.
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID:d}")
    connection.execute("PRAGMA journal_mode = WAL")
    with transaction(connection):
        (version,) = connection.execute("PRAGMA user_version").fetchone()  # another process may have been first
        if version == 0:
            migrations.create(connection, now)
        else:
            migrations.migrate(connection, version, now)
