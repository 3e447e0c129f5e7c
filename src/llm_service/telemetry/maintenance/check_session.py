"""What maintenance shares: a read-only look, a patient connection, and a bound on how long a check may take."""

import sqlite3
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, time_ns
from typing import Final

from llm_service.telemetry.stores.private_files import status_of
from llm_service.telemetry.stores.sqlite.file_security import SIDE_FILES
from llm_service.telemetry.stores.sqlite.opening import open_for_writing
from llm_service.telemetry.stores.sqlite.read_only import look, open_read_only, side_file
from llm_service.telemetry.stores.sqlite.sql_callbacks import interrupt_when

__all__ = [
    "SIDE_FILES", "OutOfTimeError", "look", "open_read_only", "open_to_change", "side_file", "status_of", "time_limit",
]  # fmt: skip

_STEPS_BETWEEN_LOOKS: Final = 20_000
"""Of SQLite's virtual machine: about a millisecond."""


class OutOfTimeError(Exception):
    """A check was cut short by its time limit."""


def open_to_change(path: Path) -> sqlite3.Connection:
    """A connection that waits 10 s for a lock; raises as `open_for_writing`."""
    connection = open_for_writing(path, time_ns() // 1000)
    connection.execute("PRAGMA busy_timeout = 10000")
    return connection


@contextmanager
def time_limit(connection: sqlite3.Connection, deadline: float) -> Generator[None]:
    """Interrupt what runs in this block at a moment of `time.monotonic()`."""
    interrupt_when(connection, lambda: monotonic() > deadline, _STEPS_BETWEEN_LOOKS)
    try:
        yield
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode == sqlite3.SQLITE_INTERRUPT:
            raise OutOfTimeError from error
        raise
    finally:
        interrupt_when(connection, None, 0)
