"""Watches the WAL between commits: when to truncate it, how long it is, and when that is worth a word.

SQLite has no bound for a WAL that a foreign reader holds open. So its growth is told, and it is truncated within
`TIDY_AFTER` seconds of that reader's end: in an idle moment, or by the next commits, which start it anew.
"""

from collections.abc import Callable
from pathlib import Path
from time import monotonic
from typing import Any, Final

from llm_service.telemetry.stores.sqlite.wal import WAL_ALARM_BYTES, WAL_BYTES, tidy_wal, trim_wal
from llm_service.telemetry.writer.events import EventKind, Tell

__all__ = ["TIDY_AFTER", "WalWatch"]

TIDY_AFTER: Final = 2.0
"""Seconds of idleness after which the WAL is truncated; tried again as often while a foreign reader is in the way."""

_LOOKS: Final = 16
"""Commits of others between two looks at the WAL: each may be of one record, or of none."""


class WalWatch:
    """Called by the committing thread alone, under the commit lock; its numbers may be read from any thread.

    Args:
        path: the database.
        tell: told when the WAL has grown beyond a bound, and when it is short again.
        clock: seconds, monotonic.

    Attributes:
        bytes: how long the WAL was after the latest commit; 0 once it is truncated.
    """

    def __init__(self, path: Path, tell: Tell, clock: Callable[[], float] = monotonic) -> None:
        self._path = path
        self._tell = tell
        self._clock = clock
        self._tidy_at: float | None = None
        self._alarm_at = WAL_ALARM_BYTES
        self._longest = 0  # since it was told that it grows
        self._others = 0
        self.bytes = 0

    @property
    def tidy_in(self) -> float | None:
        """Seconds until the WAL should be truncated, if nothing comes between; None where it is truncated."""
        return None if self._tidy_at is None else self._tidy_at - self._clock()

    @property
    def is_long(self) -> bool:
        """Whether someone has to look after it even if no further commit comes."""
        return self.bytes >= WAL_BYTES

    def after_commit(self, connection: Any) -> None:
        """Copy a long WAL back, and look how long it is."""
        self.written()
        self._saw(trim_wal(connection, self._path))

    def after_another(self, connection: Any) -> None:
        """As `after_commit`, for a commit that is not of the queue; it looks at each sixteenth of them."""
        self._others += 1
        if self._others % _LOOKS == 1:
            self.after_commit(connection)
        else:
            self.written()

    def tidy(self, connection: Any) -> None:
        """Truncate the WAL in an idle moment; where a reader is in the way, or the disk fails, try again later.

        Raises:
            sqlite3.Error: the file cannot be written.
        """
        self.written()
        if tidy_wal(connection):
            self._tidy_at = None
            self._saw(0)

    def written(self) -> None:
        """Something was written that is no commit of records: it is to be copied back as well."""
        self._tidy_at = self._clock() + TIDY_AFTER

    def _saw(self, size: int) -> None:
        self.bytes = size
        if size >= self._alarm_at:
            self._alarm_at = size * 2
            message = "the WAL of %s has grown to {n} bytes: a reader keeps a transaction open; end it"
            self._tell(EventKind.WAL_GROWING, size, message % self._path, None)
        if self._alarm_at > WAL_ALARM_BYTES:
            self._longest = max(self._longest, size)
            if size < WAL_BYTES:
                message = "the WAL of %s is short again; it had grown to {n} bytes"
                self._tell(EventKind.WAL_TRUNCATED, self._longest, message % self._path, None)
                self._alarm_at, self._longest = WAL_ALARM_BYTES, 0
