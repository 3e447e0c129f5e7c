"""Transaction helpers: a block is committed or rolled back, and the cause of a failure is never hidden."""

import sqlite3
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress

__all__ = ["roll_back", "snapshot", "transaction"]


@contextmanager
def transaction(connection: sqlite3.Connection, rolled_back: Callable[[], None] = lambda: None) -> Generator[None]:
    """BEGIN IMMEDIATE, the block, COMMIT; on an exception, roll back.

    Do not use it where a signal handler may raise: an interrupt on entry would leave the generator suspended.

    Args:
        connection: without an open transaction.
        rolled_back: called after a roll-back, to clear caches.
    """
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        rolled_back()
        roll_back(connection)
        raise


@contextmanager
def snapshot(connection: sqlite3.Connection) -> Generator[None]:
    """All that the block reads is of one moment."""
    connection.execute("BEGIN")
    try:
        yield
    finally:
        with suppress(sqlite3.ProgrammingError):  # it is closed: a signal came just as the block ended
            connection.execute("ROLLBACK")


def roll_back(connection: sqlite3.Connection) -> None:
    """Roll back a failed transaction. Does not raise, since SQLite may have rolled back itself (on a full disk)."""
    if connection.in_transaction:
        with suppress(sqlite3.Error):
            connection.execute("ROLLBACK")
