"""Opening the file: made private, set up once however many processes try at once, refused where it is not ours.

The database file, its -wal and its -shm are never opened here other than by SQLite: closing a descriptor of one drops
every lock that this process holds on it (POSIX). A new file is made under another name and linked into place.
"""

import errno
import os
import sqlite3
import stat
import tempfile
from contextlib import suppress
from pathlib import Path
from time import time_ns
from typing import Final

from llm_service.errors import ForeignDatabaseError, NewerSchemaError, SQLiteTooOldError
from llm_service.telemetry.stores import migrations
from llm_service.telemetry.stores.own_files import Files, OwnConnection, set_aside
from llm_service.telemetry.stores.planted import refuse_planted
from llm_service.telemetry.stores.texts import readable
from llm_service.telemetry.timestamps import microseconds_text

__all__ = ["APPLICATION_ID", "BUSY_TIMEOUT_MS", "OLDEST_SQLITE", "Opener", "make_private_folder", "open_for_writing"]

OLDEST_SQLITE: Final = (3, 31, 0)
APPLICATION_ID: Final = 0x4C4C4D54
"""`LLMT`: tells our file from any other SQLite database."""
BUSY_TIMEOUT_MS: Final = 200
"""How long SQLite itself waits for a lock. Short, so that a close keeps its timeout; the writer tries again."""

# Each pragma of a writing connection, and why.
_PRAGMAS: Final = (
    "synchronous = NORMAL",  # an application crash loses nothing; a durable batch raises it to FULL for its commit
    "journal_size_limit = 4194304",  # a WAL that a reader made grow shrinks to 4 MiB at its next reset
    "wal_autocheckpoint = 4000",  # a safety net of 16 MiB: the writer checkpoints itself, once waiters are gone
    "cache_size = -4096",  # 4 MiB: the right edges of a table and its indexes
    "temp_store = MEMORY",  # no temporary file beside the database
)


class Opener:
    """Opens one file, and puts what cannot be used there out of the way. Used by one thread at a time."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen = Files(None, None, None)

    def open(self) -> OwnConnection:
        """Open the database, creating it where needed; blocks, and raises what `open_for_writing` raises."""
        self._seen = Files.at(Path(os.path.realpath(self._path)))
        connection = open_for_writing(self._path, time_ns() // 1000)
        self._seen = connection.files or self._seen
        return connection

    def make_way(self) -> Path | None:
        """Set aside what was seen at the last try to open, and say what it is called now; see `set_aside`.

        Raises:
            PlantedFileError: what stands there now is somebody else's: nothing is moved.
            OSError: not this time.
        """
        refuse_planted(self._path)
        return set_aside(self._path, self._seen)


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
        SQLiteTooOldError, NewerSchemaError, ForeignDatabaseError, PlantedFileError: nothing was changed, and no retry
            will help.
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
        _let_wal_be_written(path)
        _refuse_strangers(path)
    main = Files.at(path).main
    connection = sqlite3.connect(
        path, isolation_level=None, check_same_thread=False, cached_statements=256, factory=OwnConnection
    )
    connection.text_factory = readable  # a flipped byte in a text costs that text, not what is read with it
    try:
        connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS:d}")
        _set_up(connection, microseconds_text(now_us))
        connection.own(path, main)
        for pragma in _PRAGMAS:
            connection.execute(f"PRAGMA {pragma}")
    except BaseException:
        connection.close()
        raise
    return connection


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


def _refuse_strangers(path: Path) -> None:
    """Look through a read-only connection, whose close writes nothing, before anything may change."""
    connection = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, isolation_level=None)
    try:
        connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS:d}")
        # One snapshot: between three of them, another process may set the file up, and ours would look foreign.
        connection.execute("BEGIN")
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    finally:
        connection.close()
    if application == APPLICATION_ID and version > migrations.VERSION:
        raise NewerSchemaError(
            f"{path} has schema version {version}, this release knows {migrations.VERSION}: "
            "upgrade llm-service-telemetry, or give another db_path",
            path,
        )
    if application != APPLICATION_ID and (tables or version):
        raise ForeignDatabaseError(f"{path} is an SQLite database, but not of telemetry: give another db_path", path)


def _set_up(connection: sqlite3.Connection, now: str) -> None:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (mode,) = connection.execute("PRAGMA journal_mode").fetchone()
    if version == migrations.VERSION and mode == "wal":
        return
    if version == 0:
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")  # only takes before the first table
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("BEGIN IMMEDIATE")
    try:
        (version,) = connection.execute("PRAGMA user_version").fetchone()  # another process may have been first
        if version == 0:
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID:d}")
            migrations.create(connection, now)
        else:
            migrations.migrate(connection, version, now)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
