"""Opening the file: made private, set up once however many processes try at once, refused where it is not ours.

The database file, its -wal and its -shm are never opened here other than by SQLite: closing a descriptor of one drops
every lock that this process holds on it (POSIX). A new file is made under another name and linked into place.
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

from llm_service.errors import DatabaseUnusableError, ForeignDatabaseError, SQLiteTooOldError, shown
from llm_service.telemetry.record.timestamps import microseconds_text
from llm_service.telemetry.stores.base import Fault
from llm_service.telemetry.stores.sqlite import error_kinds, migrations
from llm_service.telemetry.stores.sqlite.connections import connect
from llm_service.telemetry.stores.sqlite.database_files import Files, OwnConnection, set_aside
from llm_service.telemetry.stores.sqlite.file_identity import APPLICATION_ID, bears_our_id, refuse_strangers
from llm_service.telemetry.stores.sqlite.file_security import refuse_planted
from llm_service.telemetry.stores.sqlite.odd_values import as_text
from llm_service.telemetry.stores.sqlite.transactions import transaction

__all__ = ["APPLICATION_ID", "BUSY_TIMEOUT_MS", "OLDEST_SQLITE", "Opener", "make_private_folder", "open_for_writing"]

OLDEST_SQLITE: Final = (3, 31, 0)
BUSY_TIMEOUT_MS: Final = 200
"""How long SQLite itself waits for a lock. Short, so that a close keeps its timeout; the writer tries again."""

_TABLE: Final = re.compile(r"CREATE TABLE (\w+)")
_IGNORES: Final = re.compile(r"raise\s*\(\s*ignore", re.IGNORECASE)

# Each pragma of a writing connection, and why.
_PRAGMAS: Final = (
    "synchronous = NORMAL",  # an application crash loses nothing; a durable batch raises it to FULL for its commit
    "journal_size_limit = 4194304",  # a WAL that a reader made grow shrinks to 4 MiB at its next reset
    "wal_autocheckpoint = 4000",  # a safety net of 16 MiB: the writer checkpoints itself, once waiters are gone
    "cache_size = -4096",  # 4 MiB: the right edges of a table and its indexes
    "temp_store = MEMORY",  # no temporary file beside the database
)


class Opener:
    """Opens one file, and puts what cannot be used there out of the way. Used by one thread at a time.

    Only what was a database of telemetry is put out of the way: it bears our application id, or this object opened it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen = Files(None, None, None)
        self._ours: set[tuple[int, int]] = set()

    def open(self) -> OwnConnection:
        """Open the database, creating it where needed; blocks, and raises what `open_for_writing` raises."""
        self._seen = Files.at(Path(os.path.realpath(self._path)))
        try:
            connection = open_for_writing(self._path, time_ns() // 1000)
        except (sqlite3.DatabaseError, OSError) as error:
            if self._is_damaged_or_left(error):
                self._require_ours()
            raise
        self._seen = connection.files or self._seen
        if self._seen.main is not None:
            self._ours.add(self._seen.main)
        return connection

    def make_way(self) -> Path | None:
        """Set aside what was seen at the last try to open, and say what it is called now; see `set_aside`.

        Raises:
            PlantedFileError, ForeignDatabaseError: what stands there now is somebody else's: nothing is moved.
            OSError: not this time.
        """
        refuse_planted(self._path)
        self._require_ours()
        return set_aside(self._path, self._seen)

    @staticmethod
    def _is_damaged_or_left(error: Exception) -> bool:
        return error_kinds.classify(error) is Fault.DAMAGED or getattr(error, "errno", None) == errno.ESTALE

    def _require_ours(self) -> None:
        """Refuse a file that cannot be used and never was ours: notes, a picture, a mistyped path."""
        path = Path(os.path.realpath(self._path))
        present = Files.at(path)
        if present.main is not None and (present.main != self._seen.main or present.main in self._ours):
            return  # another file is there meanwhile, and stays; or it was ours
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
    """Open the file once, creating and setting it up where needed.

    Blocks for at most a few busy timeouts; the caller tries again where the error is transient.

    Args:
        path: absolute path of the database.
        now_us: microseconds since 1970, recorded with a new schema version.
        sqlite_version: the linked library's version.

    Raises:
        SQLiteTooOldError, NewerSchemaError, ForeignDatabaseError, PlantedFileError, DatabaseUnusableError: nothing was
            changed, and no retry will help.
        OSError: (ESTALE) what stands there has to be set aside first, or was replaced while it was being opened.
        sqlite3.Error, OSError: the file could not be opened this time.
    """
    if sqlite_version < OLDEST_SQLITE:
        found, wanted = (".".join(map(str, version)) for version in (sqlite_version, OLDEST_SQLITE))
        raise SQLiteTooOldError(
            f"SQLite {found} is linked; {wanted} or newer is needed: upgrade Python or SQLite", path
        )
    refuse_planted(path)  # before anything follows a link, or asks for a file to be set aside
    path = Path(os.path.realpath(path))  # where SQLite puts -wal and -shm
    _refuse_orphans(path)
    if not path.exists():
        _create_private(path)
    elif path.stat().st_size > 0:
        refuse_strangers(path)
        _let_wal_be_written(path)
    main = Files.at(path).main
    connection = connect(path, OwnConnection, check_same_thread=False, cached_statements=256)
    connection.text_factory = as_text  # bytes that are no UTF-8 must not stop a writer that meets them
    try:
        connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS:d}")
        _set_up(connection, microseconds_text(now_us))
        _refuse_swallowing(connection, path)
        connection.own(path, main)
        for pragma in _PRAGMAS:
            connection.execute(f"PRAGMA {pragma}")
    except BaseException:
        connection.close()
        raise
    return connection


def _refuse_swallowing(connection: sqlite3.Connection, path: Path) -> None:
    """A trigger that keeps rows out of a table where each row counts: no limit would hold, and no sum be right.

    Of `invocations` the writer looks what came of its inserts.
    """
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
    """A -wal with content whose database is gone or empty: SQLite would delete it."""
    try:
        # In this order: a -wal has content only once the database has.
        if path.with_name(f"{path.name}-wal").lstat().st_size == 0 or path.lstat().st_size > 0:
            return
    except FileNotFoundError:
        if Files.at(path).wal is None or Files.at(path).main is not None:
            return
    raise OSError(errno.ESTALE, "the -wal stands there without its database", str(path))


def _let_wal_be_written(path: Path) -> None:
    """SQLite gives -wal and -shm the mode of the database: those made while it was read-only get today's mode."""
    mode = stat.S_IMODE(path.stat().st_mode)
    for name in (f"{path}-wal", f"{path}-shm"):
        with suppress(FileNotFoundError, PermissionError):  # not there, or another user's
            found = os.lstat(name)
            if stat.S_ISREG(found.st_mode) and mode & ~found.st_mode & stat.S_IWUSR:
                os.chmod(name, mode)  # noqa: PTH101 - a name made of a path and a suffix


def _create_private(path: Path) -> None:
    """Put an empty file of mode 0600 in place, unless another process was first."""
    make_private_folder(path.parent)
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # 0600 by its contract
    if hasattr(os, "fchmod"):  # not on Windows, where a mode says nothing
        os.fchmod(descriptor, 0o600)  # whatever the umask took away
    os.close(descriptor)
    try:
        os.link(name, path)
    except FileExistsError:
        pass
    finally:
        with suppress(FileNotFoundError):  # another process that found the file with two names was quicker
            os.unlink(name)  # noqa: PTH108 - the pair of mkstemp


def make_private_folder(folder: Path) -> None:
    """Each folder that is missing is made 0700; `mkdir(parents=True)` would leave those above to the umask."""
    if not folder.is_dir():
        make_private_folder(folder.parent)
        try:
            folder.mkdir(mode=0o700)
        except FileExistsError:  # another process was quicker; what is no folder fails where the file is made
            return
        folder.chmod(0o700)  # whatever the umask took away


def _set_up(connection: sqlite3.Connection, now: str) -> None:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (mode,) = connection.execute("PRAGMA journal_mode").fetchone()
    if version == migrations.VERSION and mode == "wal":
        return
    if version == 0:
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")  # only takes before the first table
        # Into the file itself, not into the -wal: whose it is can be told from its first page, whatever comes.
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID:d}")
    connection.execute("PRAGMA journal_mode = WAL")
    with transaction(connection):
        (version,) = connection.execute("PRAGMA user_version").fetchone()  # another process may have been first
        if version == 0:
            migrations.create(connection, now)
        else:
            migrations.migrate(connection, version, now)
