"""Keeps the WAL short: checkpoints after commits, truncation when idle, never while someone waits for a commit.

SQLite has no bound for a WAL that a foreign reader holds open. So its growth is told, and it is truncated within
`TIDY_AFTER` seconds of that reader's end: in an idle moment, or by the next commits, which start it anew.
"""

import sqlite3
from collections.abc import Callable
from pathlib import Path
from time import monotonic
from typing import Final

from llm_service.telemetry.stores.base import StoreEvent
from llm_service.telemetry.stores.sqlite import error_kinds
from llm_service.telemetry.stores.sqlite.opening import BUSY_TIMEOUT_MS

__all__ = ["TIDY_AFTER", "WAL_ALARM_BYTES", "WAL_BYTES", "WalWatch", "tidy_wal", "trim_wal"]

WAL_BYTES: Final = 8 * 1024 * 1024
"""The WAL is checkpointed after a commit from this size on; half of it would cost a fifth of the rate."""

WAL_ALARM_BYTES: Final = 8 * WAL_BYTES
"""From this size on, a reader that blocks the restart of the WAL causes a warning."""

TIDY_AFTER: Final = 2.0
"""Seconds of idleness after which the WAL is truncated; tried again as often while a foreign reader is in the way."""

_LOOKS: Final = 16
"""Commits of others between two looks at the WAL: each may be of one record, or of none."""


def trim_wal(connection: sqlite3.Connection, path: Path) -> int:
    """After a commit: checkpoint a long WAL, so that the next one restarts it; blocks nobody. Its size in bytes."""
    try:
        size = path.with_name(f"{path.name}-wal").lstat().st_size
    except FileNotFoundError:
        return 0
    if size >= WAL_BYTES:
        connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
    return size


def tidy_wal(connection: sqlite3.Connection) -> bool:
    """When idle: truncate the WAL; False if someone is in the way. Raises what a commit's checkpoint hides."""
    try:
        # Do not wait for readers: it would hold the write lock meanwhile.
        connection.execute("PRAGMA busy_timeout = 0")
        busy, _, _ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    except sqlite3.OperationalError as error:
        if error_kinds.is_locked(error):
            return False
        raise
    finally:
        connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS:d}")
    return not busy


class WalWatch:
    """Called by the committing thread alone, under the commit lock; its numbers may be read from any thread.

    Args:
        tell: told when the WAL has grown beyond a bound, and when it is short again.

    Attributes:
        bytes: how long the WAL was after the latest commit; 0 once it is truncated.
    """

    def __init__(
        self, path: Path, tell: Callable[[StoreEvent, int, str], None], clock: Callable[[], float] = monotonic
    ) -> None:
        self._path = path
        self._tell = tell
        self._clock = clock
        self._tidy_at: float | None = None
        self._alarm_at = WAL_ALARM_BYTES
        self._longest = 0  # since it was told that it grows
        self._others = 0
        self.bytes = 0

    @property
    def due_in(self) -> float | None:
        """Seconds until the WAL should be truncated, if nothing comes between; None where it is truncated."""
        return None if self._tidy_at is None else self._tidy_at - self._clock()

    @property
    def is_behind(self) -> bool:
        """Whether someone has to look after it even if no further commit comes."""
        return self.bytes >= WAL_BYTES

    def after_commit(self, connection: sqlite3.Connection) -> None:
        """Copy a long WAL back, and look how long it is."""
        self.want()
        self._saw(trim_wal(connection, self._path))

    def after_another(self, connection: sqlite3.Connection) -> None:
        """As `after_commit`, for a commit that is not of the queue; it looks at each sixteenth of them."""
        self._others += 1
        if self._others % _LOOKS == 1:
            self.after_commit(connection)
        else:
            self.want()

    def tidy(self, connection: sqlite3.Connection) -> None:
        """Truncate the WAL in an idle moment; where a reader is in the way, or the disk fails, try again later."""
        self.want()
        if tidy_wal(connection):
            self._tidy_at = None
            self._saw(0)

    def want(self) -> None:
        """Something was written that is no commit of records: it is to be copied back as well."""
        self._tidy_at = self._clock() + TIDY_AFTER

    def _saw(self, size: int) -> None:
        self.bytes = size
        if size >= self._alarm_at:
            self._alarm_at = size * 2
            message = "the WAL of %s has grown to {n} bytes: a reader keeps a transaction open; end it"
            self._tell("wal_growing", size, message % self._path)
        if self._alarm_at > WAL_ALARM_BYTES:
            self._longest = max(self._longest, size)
            if size < WAL_BYTES:
                message = "the WAL of %s is short again; it had grown to {n} bytes"
                self._tell("wal_truncated", self._longest, message % self._path)
                self._alarm_at, self._longest = WAL_ALARM_BYTES, 0
