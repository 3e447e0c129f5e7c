"""Reads on a separate connection: one question in one snapshot, or a long export in many short ones.

A read-only connection to a file that is not open elsewhere leaves an empty -wal and a -shm behind, which it may not
remove. So without a -wal, the file is opened for writing with `query_only`: nothing can be written, and the last close
removes both. With a -wal, a writer has the file open or was killed: then the connection is read-only and leaves the
files as they are; SQLite creates a missing -shm, and the next writer removes it. `immutable=1` would be wrong: a writer
may start at any moment. If the permissions do not allow writing, SQLite opens the file read-only by itself.
"""

import sqlite3
from collections.abc import Callable, Generator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final, TypeVar

from llm_service.errors import StoreError
from llm_service.telemetry.stores.base import Fetch
from llm_service.telemetry.stores.private_files import status_of
from llm_service.telemetry.stores.sqlite import migrations
from llm_service.telemetry.stores.sqlite.connections import connect, read_only_uri
from llm_service.telemetry.stores.sqlite.file_identity import refuse_foreign
from llm_service.telemetry.stores.sqlite.file_security import refuse_planted
from llm_service.telemetry.stores.sqlite.odd_values import rows_of
from llm_service.telemetry.stores.sqlite.read_only import side_file

__all__ = ["open_for_reading", "read", "reading"]

_T = TypeVar("_T")
_WAIT_MS: Final = 2000


def read(path: Path, question: Callable[[Fetch], _T]) -> _T:
    """Answer a question from one snapshot of the file. A missing file counts as empty, and is not created.

    Args:
        question: called with a function that runs `(sql, parameters)` and returns all rows.

    Raises:
        StoreError: the file cannot be read (the SQLite error is its cause), or is not a telemetry database.
    """
    with reading(path) as fetch:
        fetch(("BEGIN", ()))
        return question(fetch)


@contextmanager
def reading(path: Path) -> Generator[Fetch]:
    """Answer many questions, each from its own short snapshot: for walks through a long file.

    A missing file counts as empty, and is not created.

    Raises:
        StoreError: the file cannot be read (the SQLite error is its cause), or is not a telemetry database.
    """
    try:
        with closing(_with_tables(path)) as connection:
            yield lambda query: rows_of(connection, *query)
    except sqlite3.Error as error:
        raise StoreError(f"{path} cannot be read: {error}; check the file and its permissions", path) from error


def open_for_reading(path: Path, *, newest: bool = False) -> sqlite3.Connection:
    """A connection that cannot write; the caller closes it.

    Args:
        newest: show the columns that were added after an older file's version, as NULL.

    Raises:
        ForeignDatabaseError, PlantedFileError: the file must not be read; nothing was changed.
        sqlite3.Error: the file is missing, or cannot be read.
    """
    refuse_planted(path, reading=True)
    refuse_foreign(path)
    mode = "ro" if _wal_is_in_use(path) else "rw"
    connection = connect(read_only_uri(path, mode))
    try:
        if newest:
            migrations.read_as_newest(connection)
        connection.execute("PRAGMA query_only = ON")
        connection.execute(f"PRAGMA busy_timeout = {_WAIT_MS:d}")
    except BaseException:
        connection.close()
        raise
    return connection


def _wal_is_in_use(path: Path) -> bool:
    """Whether the -wal has content, or exists together with its -shm."""
    wal = status_of(side_file(path, "-wal"))
    return wal is not None and (wal.st_size > 0 or status_of(side_file(path, "-shm")) is not None)


def _with_tables(path: Path) -> sqlite3.Connection:
    refuse_planted(path, reading=True)
    if path.exists() and path.stat().st_size > 0:
        connection = open_for_reading(path, newest=True)
        try:
            (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        except BaseException:
            connection.close()
            raise
        if tables:
            return connection
        connection.close()  # a writer is creating the tables: there is nothing to read yet
    return migrations.empty_database()
