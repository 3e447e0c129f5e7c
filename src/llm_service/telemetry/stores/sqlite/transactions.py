"""The one way to change a file: all of a block or nothing, and the cause of a failure is never hidden."""

import sqlite3
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress

__all__ = ["roll_back", "transaction"]


@contextmanager
def transaction(connection: sqlite3.Connection, rolled_back: Callable[[], None] = lambda: None) -> Generator[None]:
    """BEGIN IMMEDIATE, the block, COMMIT; whatever it raises, nothing of the block is in the file.

    Not where a signal handler may raise: an interrupt as a generator is entered leaves it suspended.

    Args:
        connection: without a transaction.
        rolled_back: forgets what was remembered of the block.
    """
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        rolled_back()
        roll_back(connection)
        raise


def roll_back(connection: sqlite3.Connection) -> None:
    """End a transaction that failed. SQLite may have done so itself (a full disk does); never raises its errors."""
    if connection.in_transaction:
        with suppress(sqlite3.Error):
            connection.execute("ROLLBACK")
