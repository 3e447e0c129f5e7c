"""Reading a file that may be damaged, in use or nobody's, without changing a byte of it.

The database, its -wal and its -shm are looked at by `lstat` and read by SQLite only: closing a descriptor of one would
drop every lock that this process holds on it.
"""

import os
import sqlite3
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import Final, TypeVar

from llm_service.telemetry.stores.texts import readable

__all__ = ["SIDE_FILES", "OutOfTimeError", "look", "open_read_only", "side_file", "status_of", "time_limit"]

SIDE_FILES: Final = ("-wal", "-shm")
_T = TypeVar("_T")
_WAIT_MS: Final = 2000
_STEPS_BETWEEN_LOOKS: Final = 20_000
"""Of SQLite's virtual machine: about a millisecond."""


class OutOfTimeError(Exception):
    """A check was cut short by its time limit."""


def side_file(path: Path, suffix: str) -> Path:
    """The `-wal` or `-shm` of a database."""
    return path.with_name(path.name + suffix)


def status_of(path: Path) -> os.stat_result | None:
    """`lstat`, or None where there is nothing."""
    try:
        return path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None


def look(path: Path, question: Callable[[sqlite3.Connection], _T]) -> _T:
    """Ask a read-only connection, which is closed afterwards.

    A file without a -wal is open nowhere and is read as immutable, so that no -wal and -shm appear beside it; where it
    changed meanwhile, the question is asked again.

    Args:
        path: the database.
        question: may be asked twice.

    Raises:
        sqlite3.Error: the file cannot be read.
    """
    before = _signature(path)
    if before is not None and before[-1] is None:
        answer: _T | None = None
        failure: Exception | None = None
        try:
            answer = _ask(path, "mode=ro&immutable=1", question)
        except Exception as error:  # noqa: BLE001 - raised again below, unless the file moved under us
            failure = error
        if _signature(path) == before:
            if failure is not None:
                raise failure
            return answer  # type: ignore[return-value]  # the question's own answer, which may be None
    return _ask(path, "mode=ro", question)


def open_read_only(path: Path, options: str = "mode=ro") -> sqlite3.Connection:
    """A connection that cannot write. The caller closes it."""
    connection = sqlite3.connect(f"{path.as_uri()}?{options}", uri=True, isolation_level=None)
    connection.execute(f"PRAGMA busy_timeout = {_WAIT_MS:d}")
    connection.text_factory = readable  # of a strange file, too
    connection.execute("PRAGMA trusted_schema = OFF")  # the schema of a strange file runs no code of its choice
    return connection


def _ask(path: Path, options: str, question: Callable[[sqlite3.Connection], _T]) -> _T:
    connection = open_read_only(path, options)
    try:
        return question(connection)
    finally:
        connection.close()


def _signature(path: Path) -> tuple[object, ...] | None:
    status = status_of(path)
    if status is None:
        return None
    wal = status_of(side_file(path, "-wal"))
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, None if wal is None else wal.st_size


@contextmanager
def time_limit(connection: sqlite3.Connection, deadline: float) -> Generator[None]:
    """Interrupt what runs in this block at a moment of `time.monotonic()`.

    Raises:
        OutOfTimeError: it was interrupted.
    """
    connection.set_progress_handler(lambda: monotonic() > deadline, _STEPS_BETWEEN_LOOKS)
    try:
        yield
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode == sqlite3.SQLITE_INTERRUPT:
            raise OutOfTimeError from error
        raise
    finally:
        connection.set_progress_handler(None, 0)
