"""A connection that is opened when it is needed, and again after it was closed in between (by a fork, or a fault)."""

import sqlite3
from collections.abc import Callable
from contextlib import suppress

__all__ = ["LazyConnection"]


class LazyConnection:
    """For one thread at a time: whoever holds the commit lock."""

    def __init__(self, connector: Callable[[], sqlite3.Connection]) -> None:
        self._connector = connector
        self._connection: sqlite3.Connection | None = None

    @property
    def is_open(self) -> bool:
        """Whether there is a connection now."""
        return self._connection is not None

    def opened(self) -> sqlite3.Connection:
        """The raw connection; raises what the connector raises."""
        if self._connection is None:
            self._connection = self._connector()
        return self._connection

    def let_go(self) -> None:
        """Close it; `opened` opens it again. Never raises an `Exception`."""
        connection, self._connection = self._connection, None  # first: an interrupt may come as it is closed
        if connection is not None:
            with suppress(Exception):
                connection.close()
