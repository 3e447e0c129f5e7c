"""What the checks of a file share: a read-only look, and a bound on how long one may take."""

import sqlite3
from collections.abc import Generator
from contextlib import contextmanager
from time import monotonic
from typing import Final

from llm_service.telemetry.stores.private_files import status_of
from llm_service.telemetry.stores.sqlite.file_security import SIDE_FILES
from llm_service.telemetry.stores.sqlite.read_only import look, open_read_only, side_file
from llm_service.telemetry.stores.sqlite.sql_callbacks import interrupt_when

__all__ = ["SIDE_FILES", "OutOfTimeError", "look", "open_read_only", "side_file", "status_of", "time_limit"]

_STEPS_BETWEEN_LOOKS: Final = 20_000
"""Of SQLite's virtual machine: about a millisecond."""


class OutOfTimeError(Exception):
    """A check was cut short by its time limit."""


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
