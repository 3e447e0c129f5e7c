"""Purges one file in steps of a few milliseconds: deletes old rows, then frees pages; daily totals stay for ever.

Each step is a short transaction that may be the last one (kill, cancellation, close), and several processes may purge
one file at once. Every transaction stores `records_kept_since` before it deletes anything, so readers never miss
records of a day that counts as complete.
"""

import sqlite3
from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from contextlib import contextmanager
from time import perf_counter, time_ns
from typing import Any, Final, NamedTuple

from llm_service.telemetry.record.timestamps import MAX_MICROSECONDS, microseconds_text
from llm_service.telemetry.stores.base import Fault
from llm_service.telemetry.stores.retention import (
    Belief,
    Cutoffs,
    PurgeResult,
    believe,
    lease_until,
    may_hold,
    moment_of,
)
from llm_service.telemetry.stores.sqlite import error_kinds, search_index
from llm_service.telemetry.stores.sqlite.odd_values import as_stored
from llm_service.telemetry.stores.sqlite.opening import BUSY_TIMEOUT_MS
from llm_service.telemetry.stores.sqlite.record_blocks import DROP_DELETED
from llm_service.telemetry.stores.sqlite.transactions import transaction

__all__ = ["DELETE_RECORDS", "Pace", "Purge", "has_old", "impatient", "look"]

_TARGET_MS: Final = 3.0
"""Target duration of a step. 200 records take 1 to 2 ms, including indexes and secure delete; ten of those whose
contents are in the index for search take as long."""
_STEPS_TO_CHECKPOINT: Final = 4
"""Steps (about 1.5 MiB) between checkpoints: 5 ms each; 8 MiB at once would take 15 to 80 ms."""
_STUCK_PAGES: Final = 16_384
"""Pages of the WAL (64 MiB) that no checkpoint can copy back because of a foreign reader."""
_HOUR_US: Final = 3_600_000_000

_OLDEST: Final = "SELECT id FROM invocations WHERE timestamp < ? ORDER BY timestamp LIMIT ?"
_DELETE_CONTENTS: Final = f"DELETE FROM invocation_contents WHERE id IN ({_OLDEST})"  # noqa: S608 - a constant
DELETE_RECORDS: Final = f"DELETE FROM invocations WHERE id IN ({_OLDEST})"  # noqa: S608 - a constant
_ANY_OLD: Final = "SELECT EXISTS (SELECT 1 FROM invocations WHERE timestamp < ?)"
_ANY_DEAD: Final = "SELECT coalesce((SELECT quarantined_at < ? FROM dead_letters ORDER BY id LIMIT 1), 0)"
_ANY_CONTENTS: Final = "SELECT EXISTS (SELECT 1 FROM invocation_contents)"

_READ_LEASE: Final = "SELECT holder, held_until FROM retention WHERE id = 1"
_HOLD: Final = """
INSERT INTO retention (id, holder, held_until, records_kept_since) VALUES (1, :me, :until, :kept)
ON CONFLICT (id) DO UPDATE SET holder = :me, held_until = :until,
    records_kept_since = max(coalesce(records_kept_since, ''), coalesce(:kept, records_kept_since))
"""
_RELEASE: Final = "UPDATE retention SET holder = NULL, held_until = NULL WHERE id = 1 AND holder = ?"
_READ_BELIEF: Final = "SELECT clock_believed_until, clock_leapt_to, clock_stood_until FROM retention WHERE id = 1"
_KEEP_BELIEF: Final = """
INSERT INTO retention (id, clock_believed_until, clock_leapt_to, clock_stood_until) VALUES (1, ?, ?, ?)
ON CONFLICT (id) DO UPDATE SET clock_believed_until = excluded.clock_believed_until,
    clock_leapt_to = excluded.clock_leapt_to, clock_stood_until = excluded.clock_stood_until
"""


_Place = tuple[str, int | str | bytes]
"""A key: its placeholder in a statement, and its parameter."""


class _Walk(NamedTuple):
    """A table without an index on its time: scanned by its key, in bounded parts."""

    table: str
    key: str
    first: _Place
    old: str

    def upper(self, connection: sqlite3.Connection, lower: _Place, rows: int) -> _Place | None:
        """The end of a part of `rows` rows; None if no row is left."""
        keys = f"SELECT {self.key} AS k FROM {self.table} WHERE k > {lower[0]} ORDER BY k LIMIT ?"  # noqa: S608
        sql = f"SELECT typeof(k), k, hex(k) FROM (SELECT max(k) AS k FROM ({keys}))"  # noqa: S608
        kind, key, digits = connection.execute(sql, (lower[1], rows)).fetchone()
        return None if key is None else ("?", key) if kind == "integer" else as_stored(kind, digits)

    def part(self, lower: _Place, upper: _Place) -> str:
        """The old rows between two places."""
        return f"FROM {self.table} WHERE {self.key} > {lower[0]} AND {self.key} <= {upper[0]} AND {self.old}"


# Also contents whose record was deleted by hand.
_NO_NEWER_RECORD: Final = (
    "NOT EXISTS (SELECT 1 FROM invocations AS i WHERE i.id = invocation_contents.id AND i.timestamp >= ?)"
)
_CONTENTS: Final = _Walk("invocation_contents", "id", ("?", -(2**63)), _NO_NEWER_RECORD)
_DEAD_LETTERS: Final = _Walk("dead_letters", "id", ("?", -(2**63)), "quarantined_at < ?")
# The receipt of a replay is named after the writer's: `journal.replay`.
_NOT_AWAITED: Final = "instr(?, ' ' || replace(writer_id, ':replay', '') || ' ') = 0"
_RECEIPTS: Final = _Walk("receipts", "writer_id", ("?", ""), f"committed_at < ? AND {_NOT_AWAITED}")


class Pace:
    """Adapts the size of a step so that it takes `_TARGET_MS`."""

    def __init__(self, now: int, least: int, most: int) -> None:
        self.now = now
        self.least, self.most = least, most

    def took(self, ms: float) -> None:
        """Adapt to the duration of a step, by at most a factor of two: one slow step says little."""
        factor = min(2.0, max(0.5, _TARGET_MS / ms if ms > 0 else 2.0))
        self.now = min(self.most, max(self.least, round(self.now * factor)))


class Purge:
    """See the module. Used by one thread at a time; holds no connection between its steps.

    Args:
        holder: this purger's id, for the lease.
        takes_over: True does not wait for another purging process, which then stops.
        awaited: the writers with a crash journal. Their receipts stay: without them a replay would commit their records
            again.

    Attributes:
        records, contents, dead_letters, bytes_freed: done so far, by this purge alone.
        held: another process is purging: this one stopped.
        stuck: a foreign reader blocks checkpoints: wait before the next step.
    """

    def __init__(
        self,
        cutoffs: Cutoffs,
        holder: str,
        *,
        takes_over: bool = False,
        awaited: Callable[[], Collection[str]] = tuple,
        clock_ns: Callable[[], int] = time_ns,
        timer: Callable[[], float] = perf_counter,
    ) -> None:
        self.cutoffs = cutoffs
        self._holder = holder
        self._takes_over = takes_over
        self._awaited = awaited
        self._clock_ns = clock_ns
        self._timer = timer
        self.records = self.contents = self.dead_letters = self.bytes_freed = 0
        self.held = self.stuck = False
        self._holding = False
        self._unsaved = 0
        self.rows = Pace(25, 5, 1000)
        self._pages = Pace(32, 4, 512)
        self._merged = Pace(16, 4, 512)
        self._merging = False
        self._stages = list(self._plan())

    def _plan(self) -> Iterator[Callable[[sqlite3.Connection], bool]]:
        """The stages; each is called until it returns False."""
        records, contents = self.cutoffs
        if contents is not None and (records is None or contents > records):
            yield self._walk(_CONTENTS, contents, "contents")
        if records is not None:
            yield self._delete_records
            yield self._walk(_DEAD_LETTERS, records, "dead_letters")
            yield self._walk(_RECEIPTS, records, None, lambda: (f" {' '.join(self._awaited())} ",))
        yield self._merge_words
        yield self._give_pages_back
        yield self._release

    @property
    def done(self) -> bool:
        """Whether nothing is left to do."""
        return not self._stages

    def step(self, connection: sqlite3.Connection) -> None:
        """Do one step, waiting for no lock; where it raises, it was rolled back and may be tried again."""
        with impatient(connection):
            if self._unsaved >= _STEPS_TO_CHECKPOINT or self.stuck:
                _, pages, copied = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
                self._unsaved = 0
                self.stuck = pages - copied > _STUCK_PAGES
            elif self._stages and not self._stages[0](connection):
                del self._stages[:1]

    def result(self, *, complete: bool = True) -> PurgeResult:
        """The result so far."""
        return PurgeResult(
            self.records, self.contents, self.dead_letters, self.cutoffs.records, self.bytes_freed, complete=complete
        )

    def _delete_records(self, connection: sqlite3.Connection) -> bool:
        cutoff = self.cutoffs.records
        if not _first(connection, _ANY_OLD, (cutoff,)):
            return False
        started, wanted = self._timer(), (cutoff, self.rows.now)
        statements = (_DELETE_CONTENTS, wanted), (DELETE_RECORDS, wanted), (DROP_DELETED, ())
        deleted = self._write(connection, *statements, contents=(_OLDEST, wanted))
        if deleted is None:
            return True
        self.rows.took((self._timer() - started) * 1000)
        self.contents += deleted[0]
        self.records += deleted[1]
        return True

    def _walk(
        self, walk: _Walk, cutoff: str, counter: str | None, kept: Callable[[], tuple[str, ...]] = tuple
    ) -> Callable[[sqlite3.Connection], bool]:
        position = walk.first
        pace = Pace(100, 10, 2000)

        def stage(connection: sqlite3.Connection) -> bool:
            nonlocal position
            started = self._timer()
            upper = walk.upper(connection, position, pace.now)
            if upper is None:
                return False
            part, bound = walk.part(position, upper), (position[1], upper[1], cutoff, *kept())
            if _first(connection, f"SELECT EXISTS (SELECT 1 {part})", bound):
                ids = (f"SELECT id {part}", bound) if walk is _CONTENTS else None
                deleted = self._write(connection, (f"DELETE {part}", bound), contents=ids)
                if deleted is None:
                    return True
                if counter is not None:
                    setattr(self, counter, getattr(self, counter) + deleted[0])
            position = upper
            pace.took((self._timer() - started) * 1000)
            return True

        return stage

    def _merge_words(self, connection: sqlite3.Connection) -> bool:
        # FTS5 only marks what is taken out; it is gone when the parts of the index are one.
        connection.execute("PRAGMA secure_delete = ON")
        started = self._timer()
        more = search_index.merge(connection, self._merged.now, begin=not self._merging)
        self._merging = True
        self._merged.took((self._timer() - started) * 1000)
        self._unsaved += 1
        return more

    def _give_pages_back(self, connection: sqlite3.Connection) -> bool:
        # Moves the last pages of the file into free ones, a few at a time; needs a file with `auto_vacuum`.
        if _first(connection, "PRAGMA auto_vacuum") != 2 or not _first(connection, "PRAGMA freelist_count"):
            return False
        before, started = _first(connection, "PRAGMA page_count"), self._timer()
        # A script runs to its end without the GIL; `execute` would move one page.
        try:
            connection.executescript(f"PRAGMA synchronous = NORMAL; PRAGMA incremental_vacuum({self._pages.now:d})")
        except sqlite3.DatabaseError as error:
            if error_kinds.classify(error) is not Fault.DAMAGED:
                raise
            return False  # a page that nobody can move: what was to be deleted is, and the file stays as long as it is
        self._pages.took((self._timer() - started) * 1000)
        freed: int = before - _first(connection, "PRAGMA page_count")
        self.bytes_freed += max(0, freed) * _first(connection, "PRAGMA page_size")
        self._unsaved += 1
        return freed > 0

    def _release(self, connection: sqlite3.Connection) -> bool:
        if self._holding:
            connection.execute(_RELEASE, (self._holder,))
        return False

    def _write(
        self,
        connection: sqlite3.Connection,
        *statements: tuple[str, tuple[Any, ...]],
        contents: tuple[str, tuple[Any, ...]] | None = None,
    ) -> list[int] | None:
        """Run these in one transaction with the lease; returns the changed rows of each, None without the lease.

        Args:
            contents: selects the ids of the contents that go by it, whose words leave the index.
        """
        return search_index.go_without(connection, lambda: self._write_once(connection, statements, contents))

    def _write_once(
        self,
        connection: sqlite3.Connection,
        statements: Sequence[tuple[str, tuple[Any, ...]]],
        contents: tuple[str, tuple[Any, ...]] | None,
    ) -> list[int] | None:
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("PRAGMA secure_delete = ON")  # overwrite deleted content with zeros
        now = self._clock_ns() // 1000
        with transaction(connection):
            holder, held_until = connection.execute(_READ_LEASE).fetchone() or (None, None)
            if not self._takes_over and not may_hold(holder, held_until, self._holder, now):
                self.held, self._holding = True, False
                self._stages.clear()
                return None
            connection.execute(_HOLD, {"me": self._holder, "until": lease_until(now), "kept": self.cutoffs.records})
            if contents is not None:
                search_index.remove(connection, *contents)
            deleted = [connection.execute(*statement).rowcount for statement in statements]
        self._holding = True
        self._unsaved += 1
        return deleted


def look(connection: sqlite3.Connection, now_us: int) -> Belief:
    """Read the clock, and store the reading in the file, at most once an hour while it advances steadily.

    Returns:
        Up to which time the clock is trusted.

    Raises:
        sqlite3.Error: the belief could not be read or stored; try again later. Does not wait for locks.
    """
    now_us = min(max(0, now_us), MAX_MICROSECONDS)
    known = _belief(connection)
    found = believe(known, now_us)
    went_on = not known.doubted and known.until is not None and 0 <= now_us - known.until < _HOUR_US
    if went_on and not found.doubted:
        return found
    with impatient(connection):
        connection.execute("PRAGMA synchronous = NORMAL")
        with transaction(connection):
            found = believe(_belief(connection), now_us)  # another process may have stored one meanwhile
            connection.execute(_KEEP_BELIEF, [None if one is None else microseconds_text(one) for one in found])
    return found


def has_old(connection: sqlite3.Connection, cutoffs: Cutoffs, *, thorough: bool) -> bool:
    """Whether a purge has work to do: a cheap check, or one that scans contents and looks for free pages as well."""
    records, contents = cutoffs
    if records is not None and (_first(connection, _ANY_OLD, (records,)) or _first(connection, _ANY_DEAD, (records,))):
        return True
    if not thorough:
        return False
    may_give_back = _first(connection, "PRAGMA auto_vacuum") == 2 and _first(connection, "PRAGMA freelist_count") > 0
    return may_give_back or (contents is not None and bool(_first(connection, _ANY_CONTENTS)))


def _belief(connection: sqlite3.Connection) -> Belief:
    row = connection.execute(_READ_BELIEF).fetchone() or (None, None, None)
    return Belief(*map(moment_of, row))


def _first(connection: sqlite3.Connection, sql: str, parameters: Sequence[Any] = ()) -> Any:
    return connection.execute(sql, parameters).fetchone()[0]


@contextmanager
def impatient(connection: sqlite3.Connection) -> Generator[None]:
    """Fail at once if another process holds the lock: a purge can wait."""
    try:
        connection.execute("PRAGMA busy_timeout = 0")
        yield
    finally:
        connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS:d}")
