"""Caches the ids of daily totals, to save queries."""

import sqlite3
from typing import Any, Final

from llm_service.telemetry.stores.rollups import DailyKey
from llm_service.telemetry.stores.sqlite import statements

__all__ = ["DailyIds"]

_MOST: Final = 10_000


class DailyIds:
    """Caches the ids of `daily_costs` until another connection commits."""

    def __init__(self) -> None:
        self._ids: dict[DailyKey, int] = {}
        self._connection: Any = None
        self._version = -1

    def begin(self, connection: sqlite3.Connection) -> None:
        """A transaction has begun: clear the cache if another connection has committed since."""
        (version,) = connection.execute("PRAGMA data_version").fetchone()
        if connection is not self._connection or version != self._version or len(self._ids) > _MOST:
            self._ids.clear()
        self._connection, self._version = connection, version

    def forget(self) -> None:
        """Clear the cache: the transaction was rolled back."""
        self._ids.clear()

    def find(self, key: DailyKey) -> int:
        """The id of an existing row."""
        known = self._ids.get(key)
        if known is None:
            found = self._connection.execute(statements.FIND_DAILY_COST, [part or "" for part in key]).fetchone()
            known = self._ids[key] = int(found[0])
        return known
