"""What a file needs between commits: its WAL kept short, and the index for search extended to what was there before.

The index is extended in steps of a few milliseconds, after commits and in idle moments, with pauses in which others
have the file. What is not done when a logger closes is done by the next one that wants the index.
"""

import logging
import sqlite3
from collections.abc import Callable
from contextlib import suppress
from time import monotonic
from typing import Final

from llm_service.redaction import clean
from llm_service.telemetry.stores.base import StoreEvent
from llm_service.telemetry.stores.sqlite import error_kinds, search_index
from llm_service.telemetry.stores.sqlite.wal import WalWatch

__all__ = ["FileUpkeep", "IndexUpkeep"]

_LOG: Final = logging.getLogger("llm_service.telemetry")
_TARGET: Final = 0.005
"""Seconds of a step."""
_MOST_ROWS: Final = 200
_PAUSE: Final = 2.0
"""For so many times as long as a step others have the file."""
_AFTER_A_LOCK: Final = 0.05
_AFTER_A_FAULT: Final = 60.0


class IndexUpkeep:
    """Makes the index of a file, and extends it until it has all contents. Used under the commit lock.

    Args:
        wanted: what `search` of the settings says; False leaves what is there to those who want it.
    """

    def __init__(
        self,
        tell: Callable[[StoreEvent, int, str], None],
        *,
        wanted: bool,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._wanted = wanted
        self._tell = tell
        self._clock = clock
        self._due_at: float | None = None
        self._rows = 4
        self._added = 0

    @property
    def due_in(self) -> float | None:
        """Seconds until a step is wanted; None where the index has everything, or is not wanted."""
        return None if self._due_at is None else self._due_at - self._clock()

    def opened(self, connection: sqlite3.Connection) -> None:
        """A connection was opened, of a new file perhaps: make the index, so that all that comes is in it."""
        if self._wanted:
            self._try(connection, lambda: self._begin(connection))

    def step(self, connection: sqlite3.Connection) -> None:
        """Extend it a little, if that is due."""
        due_in = self.due_in
        if due_in is not None and due_in <= 0:
            self._try(connection, lambda: self._extend(connection))

    def _begin(self, connection: sqlite3.Connection) -> None:
        if not search_index.has_fts5(connection):
            self._wanted, self._due_at = False, None
            said = "this SQLite has no FTS5: search: true makes no index ({n}), and search reads the texts themselves"
            self._tell("search_unavailable", 1, said)
            return
        search_index.make(connection)
        self._due_at = None if search_index.is_complete(connection) else self._clock()

    def _extend(self, connection: sqlite3.Connection) -> None:
        if not search_index.is_there(connection):  # it could not be made yet, or was dropped
            self._begin(connection)
            return
        started = self._clock()
        self._added += search_index.extend(connection, self._rows)
        now = self._clock()
        factor = min(2.0, max(0.5, _TARGET / max(now - started, 1e-6)))
        self._rows = min(_MOST_ROWS, max(1, round(self._rows * factor)))
        self._due_at = now + _PAUSE * (now - started)
        if search_index.is_complete(connection):
            self._due_at = None
            _LOG.info("telemetry: the index for search has all contents; %d were added", self._added)

    def _try(self, connection: sqlite3.Connection, work: Callable[[], None]) -> None:
        """No fault of the index may keep records from being written; one that is at fault is made anew."""
        try:
            work()
        except sqlite3.Error as error:
            if error_kinds.is_locked(error):
                self._due_at = self._clock() + _AFTER_A_LOCK
                return
            self._due_at = self._clock() + _AFTER_A_FAULT
            _LOG.warning("telemetry: the index for search does not get on (tried again): %s", clean(str(error)))
            if search_index.is_fault(error):
                with suppress(sqlite3.Error):
                    search_index.empty(connection)


class FileUpkeep:
    """An `Upkeep`: that of the WAL and that of the index."""

    def __init__(self, wal: WalWatch, index: IndexUpkeep) -> None:
        self.wal = wal
        self.index = index
        self.want = wal.want

    @property
    def bytes(self) -> int:
        """How long the WAL was after the latest commit."""
        return self.wal.bytes

    @property
    def due_in(self) -> float | None:
        """See `Upkeep`."""
        return min((due for due in (self.wal.due_in, self.index.due_in) if due is not None), default=None)

    @property
    def is_behind(self) -> bool:
        """See `Upkeep`."""
        return self.wal.is_behind or self.index.due_in is not None

    def after_commit(self, connection: sqlite3.Connection) -> None:
        """Look after both; nobody waits for it."""
        self.index.step(connection)
        self.wal.after_commit(connection)

    def after_another(self, connection: sqlite3.Connection) -> None:
        """As `after_commit`, for a commit that is not of the queue."""
        self.wal.after_another(connection)

    def tidy(self, connection: sqlite3.Connection) -> None:
        """In an idle moment: extend the index, or truncate the WAL."""
        if self.index.due_in is None:
            self.wal.tidy(connection)
        else:
            self.after_commit(connection)
