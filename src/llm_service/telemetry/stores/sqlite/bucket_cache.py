"""Caches the latency buckets of roll-ups, to save queries: a writer stores them as a whole, its own calls added."""

import sqlite3
from collections.abc import Sequence
from typing import Any, Final

from llm_service.telemetry.stores.latency_buckets import Buckets
from llm_service.telemetry.stores.rollups import DailyKey
from llm_service.telemetry.stores.sqlite import statements

__all__ = ["BucketCache"]

_MOST: Final = 10_000


class BucketCache:
    """Caches rows' buckets until another connection commits, or another user of this connection changes a row."""

    def __init__(self) -> None:
        self._known: dict[DailyKey | str, Buckets] = {}
        self._connection: Any = None
        self._version = self._changes = -1

    def begin(self, connection: sqlite3.Connection) -> bool:
        """A transaction has begun: clear the cache if anyone else has changed the file since; whether it is so."""
        (version,) = connection.execute("PRAGMA data_version").fetchone()
        is_same = connection is self._connection and (version, connection.total_changes) == (
            self._version, self._changes,
        )  # fmt: skip
        if not is_same or len(self._known) > _MOST:
            self.forget()
        self._connection, self._version = connection, version
        return not is_same

    def committed(self, connection: sqlite3.Connection) -> None:
        """The transaction was committed, with what `daily` returned as it was changed since."""
        if connection is self._connection:  # else it was another try that was committed, and nothing is cached
            self._changes = connection.total_changes

    def passed_over(self, connection: sqlite3.Connection, rows: int) -> None:
        """A transaction was committed that changed so many rows, and no buckets."""
        if connection is self._connection:
            self._changes += rows

    def forget(self) -> None:
        """Clear the cache: the transaction was rolled back."""
        self._known.clear()

    def daily(self, key: DailyKey) -> Buckets:
        """The buckets of a row of `daily_costs`, which may not exist yet; to be changed and stored."""
        known = self._known.get(key)
        return known or self._find(key, statements.FIND_DAILY_BUCKETS, [part or "" for part in key])

    def quarter(self, quarter: str) -> Buckets:
        """The same of a row of `quarter_hours`."""
        known = self._known.get(quarter)
        return known or self._find(quarter, statements.FIND_QUARTER_BUCKETS, [quarter])

    def _find(self, key: DailyKey | str, sql: str, parameters: Sequence[str]) -> Buckets:
        found = self._connection.execute(sql, parameters).fetchone()
        known = self._known[key] = Buckets(None if found is None else found[0])
        return known
