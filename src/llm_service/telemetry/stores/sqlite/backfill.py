"""Does what a migration to version 6 left to do, in steps of a few milliseconds: roll-ups of what was there before.

Each step is a short transaction that may be the last one (kill, cancellation, close). First it packs rows of
`daily_latency`; where none are left, it adds the totals of the newest records that are not counted to `quarter_hours`,
and lowers `uncounted_to`. Several processes may want to do it: one holds a lease. A writer of version 5 that commits
meanwhile takes it (see the triggers of `receipts`), since all is counted anew after it; to pack needs no lease of its.
"""

import sqlite3
from collections.abc import Callable
from time import perf_counter, time_ns
from typing import Final

from llm_service.telemetry.stores.call_sums import IS_CALL, LATENCY, QUARTER, added_up
from llm_service.telemetry.stores.latency_buckets import pack, unpack
from llm_service.telemetry.stores.retention import lease_until, may_hold, moment_of
from llm_service.telemetry.stores.rollups import SUMS, DailyTotals, bucket_of
from llm_service.telemetry.stores.sqlite import older_latencies, statements
from llm_service.telemetry.stores.sqlite.odd_values import rows_of
from llm_service.telemetry.stores.sqlite.purge_steps import Pace, impatient
from llm_service.telemetry.stores.sqlite.record_blocks import blocks_begun, write_blocks
from llm_service.telemetry.stores.sqlite.transactions import transaction

__all__ = ["OLDER", "Backfill", "add_quarter", "quarters_of"]

_STEPS_TO_CHECKPOINT: Final = 32
_SUMS: Final = f"SELECT {QUARTER} AS q, {added_up(*SUMS)} FROM invocations WHERE {{which}} AND {IS_CALL} GROUP BY q"  # noqa: S608
_LATENCIES: Final = f"SELECT {QUARTER}, latency_ms FROM invocations WHERE {{which}} AND {IS_CALL} AND {LATENCY}"  # noqa: S608
_LEASE: Final = "SELECT uncounted_to, holder, held_until FROM rollup_progress WHERE id = 1 AND complete_since IS NULL"
_LOWEST: Final = "SELECT min(id) FROM (SELECT id FROM invocations WHERE id <= ? ORDER BY id DESC LIMIT ?)"
OLDER: Final = "older"
"""Who holds the lease after a commit of a writer before version 6; see `schema.sql`."""
_HOLD: Final = "UPDATE rollup_progress SET holder = ?, held_until = ? WHERE id = 1"
_GO_ON: Final = "UPDATE rollup_progress SET uncounted_to = ?, holder = ?, held_until = ? WHERE id = 1"
# Records of earlier days may have been deleted before they were counted.
_COMPLETE: Final = """
UPDATE rollup_progress SET uncounted_to = 0, holder = NULL, held_until = NULL,
    complete_since = (SELECT coalesce(max(records_kept_since), '') FROM retention)
WHERE id = 1
"""


class Backfill:
    """See the module. Used by one thread at a time; holds no connection between its steps."""

    def __init__(self, clock_ns: Callable[[], int] = time_ns, timer: Callable[[], float] = perf_counter) -> None:
        self._clock_ns = clock_ns
        self._timer = timer
        self._packed, self._counted = Pace(200, 20, 5000), Pace(200, 20, 5000)
        self._pace = self._packed
        self._steps = 0

    def step(self, connection: sqlite3.Connection, holder: str) -> float | None:
        """Pack or count some, waiting for no lock.

        Where it raises, it was rolled back and may be tried again.

        Returns:
            None: nothing is left; else the seconds that another process has the lease for, 0.0 where this one has it.
        """
        if connection.execute(_LEASE).fetchone() is None:
            return None
        with impatient(connection):
            connection.execute("PRAGMA synchronous = NORMAL")
            started = self._timer()
            with transaction(connection):
                waits = self._go_on(connection, holder)
            self._pace.took((self._timer() - started) * 1000)
            self._steps += 1
            if self._steps % _STEPS_TO_CHECKPOINT == 0:
                connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        return waits

    def _go_on(self, connection: sqlite3.Connection, holder: str) -> float | None:
        row = connection.execute(_LEASE).fetchone()
        if row is None:
            return None
        upper, held_by, held_until = row
        now = self._clock_ns() // 1000
        is_free = may_hold(held_by, held_until, holder, now)
        if older_latencies.wait_to_be_packed(connection) and (is_free or held_by == OLDER):
            self._pace = self._packed
            older_latencies.pack_some(connection, self._packed.now)
            if is_free:
                connection.execute(_HOLD, (holder, lease_until(now)))
            return 0.0
        if not is_free:
            return max(1, (moment_of(held_until) or now) - now + 1) / 1e6
        self._pace = self._counted
        return 0.0 if self._count(connection, upper, holder, lease_until(now)) else None

    def _count(self, connection: sqlite3.Connection, upper: int, holder: str, held_until: str) -> bool:
        """Count the newest records up to an id; whether there are more."""
        (lowest,) = connection.execute(_LOWEST, (upper, self._counted.now)).fetchone()
        if lowest is None or lowest <= 0:
            lowest = 1
        for quarter, totals in quarters_of(connection, "id >= ? AND id <= ?", (lowest, upper)).items():
            add_quarter(connection, quarter, totals)
        write_blocks(connection, blocks_begun(connection, lowest, upper))
        connection.execute(_GO_ON, (lowest - 1, holder, held_until))
        if lowest == 1:
            connection.execute(_COMPLETE)
        return bool(lowest > 1)


def quarters_of(connection: sqlite3.Connection, which: str, bound: tuple[object, ...]) -> dict[str, DailyTotals]:
    """The totals of some rows, by quarter of an hour; what no writer wrote counts as unknown."""
    found: dict[str, DailyTotals] = {}
    for quarter, *counts in rows_of(connection, _SUMS.format(which=which), bound):
        totals = DailyTotals()
        for name, count in zip(SUMS, counts, strict=True):
            setattr(totals, name, int(count) if isinstance(count, int) or count.is_integer() else 0)
        found.setdefault(str(quarter), DailyTotals()).add(totals)
    for quarter, latency_ms in rows_of(connection, _LATENCIES.format(which=which), bound):
        buckets, bucket = found[str(quarter)].buckets, bucket_of(latency_ms)
        buckets[bucket] = buckets.get(bucket, 0) + 1
    return found


def add_quarter(connection: sqlite3.Connection, quarter: str, more: DailyTotals) -> None:
    """Add to a row of `quarter_hours`, in the caller's transaction; numbers may be negative, and nothing goes."""
    found = connection.execute(statements.FIND_QUARTER_BUCKETS, (quarter,)).fetchone()
    total = DailyTotals(buckets=unpack(found[0]) if found is not None and isinstance(found[0], bytes) else {})
    total.add(DailyTotals(buckets=more.buckets))
    for sql, parameters in statements.upsert_quarters([statements.quarter_row(quarter, more, pack(total.buckets))]):
        connection.execute(sql, parameters)
    for sql in (statements.BRING_BACK_QUARTER, statements.DROP_EMPTY_QUARTER):
        connection.execute(sql, (quarter,))
