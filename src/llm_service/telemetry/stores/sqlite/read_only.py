"""Reads a file that may be damaged, in use or foreign, without changing a byte of it.

Only `lstat` and SQLite touch the database and its side files: closing a descriptor of one would drop every lock that
this process holds on it.
"""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Final, TypeVar

from llm_service.telemetry.stores.private_files import status_of
from llm_service.telemetry.stores.sqlite.connections import connect, read_only_uri
from llm_service.telemetry.stores.sqlite.file_security import refuse_planted
from llm_service.telemetry.stores.sqlite.odd_values import as_text

__all__ = ["look", "open_read_only", "side_file"]

_T = TypeVar("_T")
_WAIT_MS: Final = 2000


def side_file(path: Path, suffix: str) -> Path:
    """The `-journal`, `-wal` or `-shm` of a database."""
    return path.with_name(path.name + suffix)


def look(path: Path, question: Callable[[sqlite3.Connection], _T]) -> _T:
    """Call `question` with a read-only connection, which is closed afterwards.

    A file without a -wal is not open anywhere and is read as immutable: this creates no -wal and -shm and plays back no
    rollback journal. If the file changed meanwhile, the question is asked again.

    Args:
        question: may be called twice.

    Raises:
        PlantedFileError, ForeignDatabaseError: the file or a side file must not be opened.
        sqlite3.Error: the file cannot be read.
    """
    refuse_planted(path, reading=True)
    before = _signature(path)
    if before is not None and before[-1] is None:
        answer: _T | None = None
        failure: Exception | None = None
        try:
            answer = _ask(path, "ro&immutable=1", question)
        except Exception as error:  # noqa: BLE001 - raised again below, unless the file moved under us
            failure = error
        if _signature(path) == before:
            if failure is not None:
                raise failure
            return answer  # type: ignore[return-value]  # the question's own answer, which may be None
    return _ask(path, "ro", question)


def open_read_only(path: Path, mode: str = "ro") -> sqlite3.Connection:
    """A read-only connection that decodes texts leniently. The caller closes it."""
    connection = connect(read_only_uri(path, mode))
    connection.text_factory = as_text
    connection.execute(f"PRAGMA busy_timeout = {_WAIT_MS:d}")
    connection.execute("PRAGMA trusted_schema = OFF")  # the schema of a foreign file must not run functions
    return connection


def _ask(path: Path, mode: str, question: Callable[[sqlite3.Connection], _T]) -> _T:
    with closing(open_read_only(path, mode)) as connection:
        return question(connection)


def _signature(path: Path) -> tuple[object, ...] | None:
    status = status_of(path)
    if status is None:
        return None
    wal = status_of(side_file(path, "-wal"))
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, None if wal is None else wal.st_size
