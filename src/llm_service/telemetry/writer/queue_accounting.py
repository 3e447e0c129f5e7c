"""What the queue holds, on its way out: taken as a batch, settled or given up, and counted exactly once.

An exception out of a signal handler (Ctrl-C) may come at any call or loop. So every change happens at one point, in
assignments without a call between them. Before that nothing has changed; what follows, telling those who wait, may be
done twice, and is done again if it was interrupted.
"""

import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from itertools import islice
from time import monotonic
from typing import Final

from llm_service.config.settings import Overflow
from llm_service.telemetry.stores.base import WriteResult
from llm_service.telemetry.writer.ledger import DropReason, FlushResult, Ledger, Outcome, Settlement
from llm_service.telemetry.writer.queue_entries import (
    ACCEPTED_AT,
    NOTHING_SETTLED,
    RECORD,
    SEQ,
    WAITER,
    Barrier,
    Batch,
    Entry,
    Leaving,
    bytes_of,
    waiters_of,
)
from llm_service.telemetry.writer.schedule import Backlog
from llm_service.telemetry.writer.threads import LastLock, ShortLock
from llm_service.telemetry.writer.waiters import Waiter

__all__ = ["ASKED_LEVEL", "NEVER", "QueueAccounting"]

NEVER: Final = 1 << 62
ASKED_LEVEL: Final = 12
"""`privacy_level` within `InvocationRecord.card`."""
_DUPLICATE: Final = Outcome.DUPLICATE
_QUARANTINED: Final = Outcome.QUARANTINED
_PRIVACY: Final = DropReason.PRIVACY
_NO_OUTCOMES: Final[dict[int, Settlement]] = {}


class QueueAccounting:
    """The side of `RecordQueue` that commits; see there for the arguments.

    `take`, `settle` and the `abandon`s are for the committing thread, one at a time; the rest is for any thread.
    """

    def __init__(
        self,
        *,
        max_records: int,
        max_bytes: int,
        overflow: Overflow = "block",
        clock: Callable[[], float] = monotonic,
        on_wake: Callable[[], None] = lambda: None,
        on_drop: Callable[[DropReason, int], None] = lambda _reason, _records: None,
    ) -> None:
        self.maxsize = max_records
        self.max_bytes = max_bytes
        self._wake_bytes = (max_bytes + 1) // 2
        self._overflow: Overflow = overflow
        self._clock = clock
        self._on_wake = on_wake
        self._on_drop = on_drop
        self._refusal: DropReason | None = None
        self.reset()

    def reset(self) -> None:
        """Forget everything and start with an unheld lock: what a forked child does. The refusal stays."""
        self._lock: ShortLock = threading.RLock()
        self.entries: deque[Entry] = deque()  # those up to `_taken` are in flight, or left: see `_trim`
        self._taken = 0
        self._in_flight: Batch | None = None
        self._batches = 0
        self._limit = self.maxsize if self._refusal is None else -1
        self._held = 0
        self._bytes = 0
        self._urgent = 0  # entries that wait for a batch and that someone waits for
        self._wake_at = 1
        self._submitted = 0
        self._settled = dict(NOTHING_SETTLED)
        self._barriers: list[Barrier] = []
        self._room: deque[tuple[int, Waiter]] = deque()  # who waits for room, and for how many bytes

    @property
    def short_lock(self) -> ShortLock:
        """See `ShortLocks`."""
        return self._lock

    def outlive_threads(self) -> None:
        """The program ends: a thread that stops while it holds the lock is not waited for."""
        self._lock = LastLock(self._lock)

    # Taking and settling

    def take(self, rows: int) -> Batch | None:
        """The next batch: the one in flight again if there is one, else the oldest `rows` records; None when empty."""
        with self._lock:
            while self._in_flight is None:
                self._trim()
                if not self.entries:
                    return None
                with suppress(RuntimeError):  # a nested `offer` changed what was being looked at: look again
                    self._take(rows)
            self._trim()
            return self._in_flight

    def _take(self, rows: int) -> None:
        """Put the oldest in flight, and count out those that are to be stored nowhere."""
        held, submitted, taken = self._held, self._submitted, self._taken
        chosen = list(islice(self.entries, rows))
        private = [entry for entry in chosen if entry[RECORD].card[ASKED_LEVEL] == "none"]
        kept = chosen if not private else [entry for entry in chosen if entry not in private]
        waiters = waiters_of(kept) if self._urgent else []
        durable = any(waiter.durable for waiter in waiters)
        batch = Batch(self._batches + 1, tuple(kept), durable, bool(waiters), bytes_of(kept)) if kept else None
        leaving = Leaving(private, _PRIVACY, _NO_OUTCOMES, bytes_of(private))
        last, left = chosen[-1][SEQ], len(private)
        awaited = len(waiters) + len(waiters_of(private))

        def change() -> None:
            # No call in here. Nothing may have come or gone meanwhile.
            if held == self._held and submitted == self._submitted and taken == self._taken:
                self._taken = last
                self._urgent -= awaited
                self._in_flight = batch
                if batch is not None:
                    self._batches += 1
                self._held -= left
                self._bytes -= leaving.size
                self._settled[_PRIVACY] += left
                leaving.counted = True

        self._leave(leaving, change)

    def _trim(self) -> None:
        """Let go of entries that are in flight or gone: `_taken` says so, also where an interrupt came before this."""
        while self.entries and self.entries[0][SEQ] <= self._taken:
            self.entries.popleft()

    def settle(self, batch: Batch, result: WriteResult) -> None:
        """The batch is committed: count it, make room, tell who waits. Runs in the committing thread."""
        outcomes: dict[int, Settlement] = dict.fromkeys(result.duplicates, _DUPLICATE)
        outcomes.update(dict.fromkeys(result.quarantined, _QUARANTINED))
        leaving = Leaving(batch.entries, Outcome.WRITTEN, outcomes, batch.bytes)
        quarantined = sum(outcome is _QUARANTINED for outcome in outcomes.values())
        records, duplicates = len(batch.entries), len(outcomes) - quarantined
        with self._lock:
            self._leave(leaving, lambda: self._count_batch(leaving, records, duplicates, quarantined))

    def abandon(self, reason: DropReason, *, in_flight: bool) -> int:
        """Drop all that waits, and with `in_flight` also a batch whose tries have failed; returns how many."""
        lost = self.abandon_in_flight(reason) if in_flight else 0
        with self._lock:
            while (records := self._abandon_waiting(reason)) is None:
                pass
        if records:
            self._on_drop(reason, records)
        return lost + records

    def _abandon_waiting(self, reason: DropReason) -> int | None:
        """How many were dropped; None where a nested `offer` came between, and nothing was."""
        self._trim()
        held, submitted = self._held, self._submitted
        waiting = list(self.entries)
        leaving = Leaving(waiting, reason, _NO_OUTCOMES, bytes_of(waiting))
        records, awaited = len(waiting), len(waiters_of(waiting))

        def change() -> None:
            # No call in here. Nothing may have come or gone meanwhile.
            if held == self._held and submitted == self._submitted:
                self._taken = submitted
                self._urgent -= awaited
                self._held -= records
                self._bytes -= leaving.size
                self._settled[reason] += records
                leaving.counted = True

        self._leave(leaving, change)
        self._trim()
        return records if leaving.counted else None

    def abandon_in_flight(self, reason: DropReason) -> int:
        """Drop the batch whose tries have failed, if there is one; returns how many. Only while nothing commits."""
        with self._lock:
            batch = self._in_flight
            if batch is None:
                return 0
            leaving, records = Leaving(batch.entries, reason, _NO_OUTCOMES, batch.bytes), len(batch.entries)
            self._leave(leaving, lambda: self._count_batch(leaving, records, 0, 0))
        self._on_drop(reason, records)
        return records

    def _drop_waiting(self, entry: Entry, reason: DropReason) -> bool:
        """Drop one that waits for a batch; False where it is gone already."""
        leaving = Leaving((entry,), reason, _NO_OUTCOMES, entry[RECORD].size)

        def change() -> None:
            if entry in self.entries and entry[SEQ] > self._taken:
                self._held -= 1
                self._bytes -= leaving.size
                self._settled[reason] += 1
                leaving.counted = True
                self.entries.remove(entry)  # the first call: a handler that comes as it ends finds it done

        self._leave(leaving, change)
        return leaving.counted

    def _let_go(self, leaving: Leaving) -> None:
        """They are counted out. Where there is a crash journal, it lets go of them; may be told twice."""

    def _count_batch(self, leaving: Leaving, records: int, duplicates: int, quarantined: int) -> None:
        """The batch in flight leaves. No call and no loop may stand in here: see the module."""
        settled = self._settled
        otherwise = leaving.otherwise
        self._in_flight = None
        self._held -= records
        self._bytes -= leaving.size
        settled[otherwise] += records - duplicates - quarantined
        settled[_DUPLICATE] += duplicates
        settled[_QUARANTINED] += quarantined
        leaving.counted = True

    def _leave(self, leaving: Leaving, change: Callable[[], None]) -> None:
        """Make the change, and tell those who wait for it; who was told already may be told again."""
        try:
            change()
            self._tell_all(leaving)
        except BaseException:
            self._tell_all(leaving)
            raise

    def _tell_all(self, leaving: Leaving) -> None:
        if not leaving.counted or not leaving.entries:
            return
        self._let_go(leaving)
        outcomes, otherwise = leaving.outcomes, leaving.otherwise
        for position, entry in enumerate(leaving.entries):
            waiter = entry[WAITER]
            if waiter is not None:
                waiter.resolve(outcomes.get(position, otherwise))
        for barrier in tuple(self._barriers):
            barrier.follow(leaving)
            if barrier.pending == 0 and barrier in self._barriers:
                barrier.waiter.resolve(barrier.result())
                self._barriers.remove(barrier)
        self._tell_room()

    def _tell_room(self) -> None:
        """Wake those at the head of the line that fit, and no more: who does not fit would only come back."""
        records, bytes_ = self._held, self._bytes
        while self._room:
            head = self._room[0]
            size, waiter = head
            records += 1
            bytes_ += size
            if records > self._limit or bytes_ > self.max_bytes:
                return
            waiter.resolve(None)
            if self._room and self._room[0] is head:
                self._room.popleft()

    # Following

    def barrier(self, waiter: Waiter, *, wake: bool = True) -> Barrier:
        """Follow what is pending now; the waiter is told a `FlushResult`. The writer hurries for it."""
        barrier = Barrier(waiter)
        with self._lock:
            # No call until it is in the list: what is settled in a signal handler is settled before, or followed.
            barrier.target = self._submitted
            barrier.pending = self._held
            if barrier.pending:
                self._barriers.append(barrier)
            done = barrier.pending == 0
            wake = wake and not done and self._wake_at != NEVER
        if done:
            waiter.resolve(barrier.result())
        if wake:
            self._wake_up()
        return barrier

    def withdraw(self, barrier: Barrier) -> FlushResult:
        """Stop following, and say what is known."""
        with self._lock:
            if barrier in self._barriers:
                self._barriers.remove(barrier)
            return barrier.result()

    def arm(self, at: int) -> bool:
        """Ask for `on_wake` at so many records, half of the bytes, or anyone who waits; False if it is so now."""
        with self._lock:
            if self._held >= at or self._bytes >= self._wake_bytes or self._is_urgent():
                self._wake_at = NEVER
                return False
            self._wake_at = at
            return True

    def _wake_up(self) -> None:
        """Call `on_wake`, once; where an interrupt (Ctrl-C) raises out of it, the next record tries again."""
        try:
            self._wake_at = NEVER
            self._on_wake()
        except BaseException:
            self._wake_at = 1
            raise

    def rearm(self) -> None:
        """Nobody could be woken: try again with the next record."""
        with self._lock:
            self._wake_at = 1

    # Looking

    def backlog(self) -> Backlog:
        """What waits now."""
        with self._lock:
            return Backlog(self._held, self._bytes, self._oldest_age(), self._is_urgent())

    def look(self) -> tuple[Ledger, Backlog]:
        """Counts and backlog of one moment."""
        with self._lock:
            return self.ledger(), self.backlog()

    def ledger(self) -> Ledger:
        """The exact counts of this moment."""
        with self._lock:
            while True:
                submitted, held, settled = self._submitted, self._held, dict(self._settled)
                if submitted == self._submitted and held == self._held:  # no nested `offer` came between
                    break
            return Ledger(
                submitted=submitted,
                written=settled[Outcome.WRITTEN],
                duplicates=settled[_DUPLICATE],
                quarantined=settled[_QUARANTINED],
                pending=held,
                dropped={reason: settled[reason] for reason in DropReason if settled[reason]},
            )

    def _is_urgent(self) -> bool:
        in_flight = self._in_flight
        return bool(self._urgent or self._barriers or self._room or (in_flight is not None and in_flight.awaited))

    def _oldest_age(self) -> float:
        oldest = self._in_flight.entries if self._in_flight is not None else self.entries
        if not oldest:
            return 0.0
        accepted_at = oldest[0][ACCEPTED_AT]  # before the clock is asked: at a call a signal handler may commit it
        return max(0.0, self._clock() - accepted_at)
