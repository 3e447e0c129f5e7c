"""Reading on a read-only connection of its own: opened for one question, so it holds no snapshot after it."""

import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

from llm_service.errors import StoreError
from llm_service.telemetry.stores import migrations

__all__ = ["read"]

_T = TypeVar("_T")
_WAIT_MS: Final = 2000

Fetch = Callable[[tuple[str, Sequence[Any]]], list[tuple[Any, ...]]]


def read(path: Path, question: Callable[[Fetch], _T]) -> _T:
    """Answer a question from one snapshot of the file; a file that does not exist yet is empty, and stays absent.

    Args:
        path: the database.
        question: called with a function that runs `(sql, parameters)` and returns all rows.

    Raises:
        StoreError: the file cannot be read; the SQLite error is its cause.
    """
    try:
        connection = _connect(path)
        try:
            connection.execute("BEGIN")
            return question(lambda query: connection.execute(*query).fetchall())
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise StoreError(f"{path} cannot be read: {error}; check the file and its permissions", path) from error


def _connect(path: Path) -> sqlite3.Connection:
    if path.exists() and path.stat().st_size > 0:
        connection = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, isolation_level=None)
        try:
            connection.execute(f"PRAGMA busy_timeout = {_WAIT_MS:d}")
            (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        except BaseException:
            connection.close()
            raise
        if tables:
            return connection
        connection.close()  # a writer is about to commit the tables: until then there is nothing to read
    connection = sqlite3.connect(":memory:", isolation_level=None)
    for statement in migrations.schema_statements():
        connection.execute(statement)
    return connection
