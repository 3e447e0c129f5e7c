"""The queue between callers and the writer: bounded by count and bytes, fed from any thread, exact in its ledger.

It has `asyncio.Queue`'s interface (put, put_nowait, qsize, full, join) and is not one: the stock queue binds to one
loop, cannot be fed from another thread, and knows neither bytes nor age. A batch that is taken stays in the bounds and
in the ledger until it is settled.
"""

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Any, Final

from llm_service.config.settings import Overflow
from llm_service.telemetry.pipeline.entries import NOTHING_SETTLED, Barrier, Batch, Entry, bytes_of
from llm_service.telemetry.pipeline.ledger import FULL, DropReason, FlushResult, Ledger, Outcome, Settlement
from llm_service.telemetry.pipeline.policy import Backlog
from llm_service.telemetry.pipeline.waiters import LoopWaiter, Waiter
from llm_service.telemetry.records import InvocationRecord
from llm_service.telemetry.stores.base import WriteResult

__all__ = ["RecordQueue", "require_record"]

NEVER: Final = 1 << 62
_ASKED_LEVEL: Final = 12  # privacy_level within InvocationRecord.card
# Half the time of a named tuple's own constructor, which is written in Python.
_new: Final[Callable[[type[Entry], tuple[Any, ...]], Entry]] = tuple.__new__  # pyright: ignore[reportUnknownVariableType]


class RecordQueue:
    """See the module. Every method but `put` and `join` may be called from any thread, a signal handler or `__del__`.

    Args:
        max_records: most records held, those in flight included.
        max_bytes: most bytes held, as `InvocationRecord.size` counts them.
        overflow: what gives way at a bound.
        clock: seconds, monotonic.
        on_wake: called when whoever drives the commits has asked to be woken; must not raise.
        on_drop: called after records were dropped, with the reason and their number; must not raise.
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
        self._overflow: Overflow = overflow
        self._clock = clock
        self._on_wake = on_wake
        self._on_drop = on_drop
        self._refusal: DropReason | None = None
        self.reset()

    def reset(self) -> None:
        """Forget everything and start with an unheld lock: what a forked child does. The refusal stays."""
        self._lock = threading.RLock()
        self._entries: deque[Entry] = deque()
        self._in_flight: Batch | None = None
        self._batches = 0
        self._limit = self.maxsize if self._refusal is None else -1
        self._held = 0
        self._bytes = 0
        self._urgent = 0  # entries in the deque that someone waits for
        self._wake_at = 1
        self._submitted = 0
        self._settled = dict(NOTHING_SETTLED)
        self._barriers: list[Barrier] = []
        self._room: deque[tuple[int, Waiter]] = deque()  # who waits for room, and for how many bytes

    # Putting

    def offer(self, record: InvocationRecord, waiter: Waiter | None = None) -> bool:
        """Accept the record, or drop it and count why. Never blocks on anything but the queue's own short lock.

        Args:
            record: what to store.
            waiter: told the record's `Settlement`; the writer hurries for it.

        Raises:
            TypeError: for anything but an `InvocationRecord`.
        """
        reason = self.accept(record, waiter)
        if reason is None:
            return True
        self.refuse_one(reason)
        return False

    def accept(
        self, record: InvocationRecord, waiter: Waiter | None, *, wake: bool = True, slot: Any = None
    ) -> DropReason | None:
        """Take the record in, or say why not, without counting that.

        Args:
            record: what to store.
            waiter: told the record's `Settlement`; None where nobody waits.
            wake: False where the caller will commit by itself.
            slot: its place in the crash journal.
        """
        if record.__class__ is not InvocationRecord:
            require_record(record)
        size = record.size
        now = self._clock()
        reason: DropReason | None = None
        evicted: tuple[DropReason, int] | None = None
        # Between reading and storing a counter stands no call: a signal handler or `__del__` that logs may run at
        # calls and allocations, on this very thread, and must find counters that add up.
        with self._lock:
            held = self._held + 1
            total = self._bytes + size
            if held > self._limit or total > self.max_bytes:
                reason, evicted = self._make_room(size)
                held = self._held + 1
                total = self._bytes + size
            if reason is None:
                self._held = held
                self._bytes = total
                seq = self._submitted = self._submitted + 1
                if waiter is not None:
                    self._urgent += 1
                self._entries.append(_new(Entry, (seq, now, record, waiter, slot)))
            wake = wake and self._wake_at != NEVER and (held >= self._wake_at or waiter is not None)
            if wake:
                self._wake_at = NEVER
        if wake:
            self._on_wake()
        if evicted is not None:
            self._on_drop(*evicted)
        return reason

    def put_nowait(self, record: InvocationRecord) -> None:
        """Accept the record or raise `asyncio.QueueFull`; the drop is counted either way."""
        if not self.offer(record):
            raise asyncio.QueueFull

    async def put(self, record: InvocationRecord) -> None:
        """Accept the record, waiting for room as long as it takes where the queue blocks; a drop is counted."""
        await self.admit(record)

    async def admit(
        self, record: InvocationRecord, waiter: Waiter | None = None, *, timeout: float | None = None
    ) -> DropReason | None:
        """Accept the record; where the queue is full and blocks, wait for room.

        Args:
            record: what to store.
            waiter: as for `offer`.
            timeout: seconds to wait for room before the record is dropped as `block_timeout`; None waits for ever.

        Returns:
            None when accepted, else why it was dropped and counted. A cancelled wait submits nothing.
        """
        deadline: float | None = None
        while (reason := self.accept(record, waiter)) is not None:
            blocks = reason in FULL and self._overflow == "block" and self.could_hold(record)
            now = monotonic()
            if blocks and timeout is not None and deadline is None:
                deadline = now + timeout
            if not blocks or (deadline is not None and now >= deadline):
                reason = DropReason.BLOCK_TIMEOUT if blocks else reason
                self.refuse_one(reason)
                return reason
            await self._wait_for_room(record.size, None if deadline is None else deadline - now)
        return None

    async def _wait_for_room(self, size: int, seconds: float | None) -> None:
        waiter = LoopWaiter()
        waiting = (size, waiter)
        with self._lock:
            if self.has_room(size) or self._refusal is not None:
                return
            self._room.append(waiting)
            wake, self._wake_at = self._wake_at != NEVER, NEVER
        if wake:
            self._on_wake()  # whoever waits for room waits for a commit, not for the flush interval
        try:
            await asyncio.wait([waiter.future], timeout=seconds)
        finally:
            with self._lock:
                if waiting in self._room:
                    self._room.remove(waiting)
                self._tell_room()  # told and gone, or gone from the head of the line: the next one may fit

    def refuse_one(self, reason: DropReason) -> None:
        """Count one record that never came in."""
        with self._lock:
            self._submitted += 1
            self._count(reason, 1)
        self._on_drop(reason, 1)

    def account(self, outcomes: Sequence[Settlement]) -> None:
        """Count records that were settled without coming through here."""
        with self._lock:
            self._submitted += len(outcomes)
            for outcome in outcomes:
                self._count(outcome, 1)

    def refuse(self, reason: DropReason) -> None:
        """From now on drop every record for this reason. What is held stays."""
        with self._lock:
            self._refusal = reason
            self._limit = -1
            waiting, self._room = list(self._room), deque()
        for _, waiter in waiting:
            waiter.resolve(None)

    def qsize(self) -> int:
        """Records held, those in flight included."""
        return self._held

    def empty(self) -> bool:
        """Whether nothing is held."""
        return self._held == 0

    def full(self) -> bool:
        """Whether a bound is reached."""
        with self._lock:
            return not self.has_room(1)

    async def join(self) -> None:
        """Wait until everything held now has been settled."""
        waiter = LoopWaiter()
        barrier = self.barrier(waiter)
        try:
            await waiter.future
        finally:
            self.withdraw(barrier)

    # Taking and settling: the committing thread, one at a time

    def take(self, rows: int) -> Batch | None:
        """The next batch: the one in flight again if there is one, else the oldest `rows` records; None when empty."""
        with self._lock:
            while self._in_flight is None:
                entries: list[Entry] = []
                while len(entries) < rows and self._entries:  # in this order: a nested `offer` may evict at the call
                    entries.append(self._entries.popleft())
                if not entries:
                    return None
                waiters = [entry.waiter for entry in entries if entry.waiter is not None] if self._urgent else []
                self._urgent -= len(waiters)
                private = [entry for entry in entries if entry.record.card[_ASKED_LEVEL] == "none"]
                if private:
                    self._release(private, {}, DropReason.PRIVACY, bytes_of(private))
                    entries = [entry for entry in entries if entry.record.card[_ASKED_LEVEL] != "none"]
                    waiters = [entry.waiter for entry in entries if entry.waiter is not None]
                if entries:
                    self._batches += 1
                    durable = any(waiter.durable for waiter in waiters)
                    self._in_flight = Batch(self._batches, tuple(entries), durable, bool(waiters), bytes_of(entries))
            return self._in_flight

    def settle(self, batch: Batch, result: WriteResult) -> None:
        """The batch is committed: count it, make room, tell who waits. Runs in the committing thread."""
        outcomes: dict[int, Settlement] = dict.fromkeys(result.duplicates, Outcome.DUPLICATE)
        outcomes.update(dict.fromkeys(result.quarantined, Outcome.QUARANTINED))
        with self._lock:
            self._in_flight = None
            self._release(batch.entries, outcomes, Outcome.WRITTEN, batch.bytes)

    def abandon(self, reason: DropReason, *, in_flight: bool) -> int:
        """Drop all that waits, and with `in_flight` also a batch whose tries have failed; returns how many."""
        lost = self.abandon_in_flight(reason) if in_flight else 0
        with self._lock:
            waiting: list[Entry] = []
            while self._entries:  # one by one: what a nested `offer` adds meanwhile is taken as well, not cleared away
                waiting.append(self._entries.popleft())
            awaited = sum(entry.waiter is not None for entry in waiting)
            self._urgent -= awaited
            self._release(waiting, {}, reason, bytes_of(waiting))
        if waiting:
            self._on_drop(reason, len(waiting))
        return lost + len(waiting)

    def abandon_in_flight(self, reason: DropReason) -> int:
        """Drop the batch whose tries have failed, if there is one; returns how many. Only while nothing commits."""
        with self._lock:
            batch, self._in_flight = self._in_flight, None
            if batch is None:
                return 0
            self._release(batch.entries, {}, reason, batch.bytes)
        self._on_drop(reason, len(batch.entries))
        return len(batch.entries)

    def barrier(self, waiter: Waiter, *, wake: bool = True) -> Barrier:
        """Follow what is pending now; the waiter is told a `FlushResult`. The writer hurries for it."""
        with self._lock:
            barrier = Barrier(self._submitted, waiter, self._held)
            done = barrier.pending == 0
            if not done:
                self._barriers.append(barrier)
            wake = wake and not done and self._wake_at != NEVER
            if wake:
                self._wake_at = NEVER
        if done:
            waiter.resolve(barrier.result())
        if wake:
            self._on_wake()
        return barrier

    def last_barrier(self, reason: DropReason, waiter: Waiter) -> Barrier:
        """Refuse what comes from now on, and follow what is pending: nothing is let in or settled between the two."""
        with self._lock:
            self.refuse(reason)
            return self.barrier(waiter, wake=False)

    def withdraw(self, barrier: Barrier) -> FlushResult:
        """Stop following, and say what is known."""
        with self._lock:
            if barrier in self._barriers:
                self._barriers.remove(barrier)
            return barrier.result()

    def arm(self, at: int) -> bool:
        """Ask for `on_wake` once `at` records are held, or sooner for anyone who waits.

        Returns:
            False when that is so already: go on without sleeping.
        """
        with self._lock:
            if self._held >= at or self._is_urgent():
                self._wake_at = NEVER
                return False
            self._wake_at = at
            return True

    def rearm(self) -> None:
        """Nobody could be woken: try again with the next record."""
        with self._lock:
            self._wake_at = 1

    # A crash journal, where there is one: see `JournaledQueue`

    def begin_journal(self, writer_id: str) -> None:
        """From now on this writer commits: its receipts tell what of the journal is on disk."""

    def ensure_journal(self) -> None:
        """Make the journal now instead of with the first record.

        Raises:
            OSError: that was not possible; it is tried again with each record.
        """

    def close_journal(self) -> None:
        """Let go of the journal: nothing more is accepted or committed."""

    @property
    def redactions(self) -> dict[str, int]:
        """Secrets taken out of accepted records, by name; without a journal, that is left to the writer."""
        return {}

    @property
    def journal_bytes(self) -> int:
        """Bytes that records occupy in the journal."""
        return 0

    @property
    def journal_size(self) -> int:
        """Bytes allocated for the journal."""
        return 0

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
            settled = dict(self._settled)
            return Ledger(
                submitted=self._submitted,
                written=settled[Outcome.WRITTEN],
                duplicates=settled[Outcome.DUPLICATE],
                quarantined=settled[Outcome.QUARANTINED],
                pending=len(self._entries) + (len(self._in_flight.entries) if self._in_flight is not None else 0),
                dropped={reason: settled[reason] for reason in DropReason if settled[reason]},
            )

    # Inside the lock

    def _is_urgent(self) -> bool:
        in_flight = self._in_flight
        return bool(self._urgent or self._barriers or self._room or (in_flight is not None and in_flight.awaited))

    def _oldest_age(self) -> float:
        if self._in_flight is not None:
            return max(0.0, self._clock() - self._in_flight.entries[0].accepted_at)
        return max(0.0, self._clock() - self._entries[0].accepted_at) if self._entries else 0.0

    def _make_room(self, size: int) -> tuple[DropReason | None, tuple[DropReason, int] | None]:
        """Why a record of this size cannot come in (None: it can, now); why and how many older ones gave way."""
        if self._refusal is not None:
            return self._refusal, None
        reason = DropReason.QUEUE_FULL if self._held >= self._limit else DropReason.BYTES_FULL
        if self._overflow != "drop_oldest" or size > self.max_bytes:
            return reason, None
        evicted = 0
        while not self._within_bounds(size):  # once, but for what a nested `offer` adds or evicts meanwhile
            victims = self._victims(size)
            if victims is None:
                return reason, (reason, evicted) if evicted else None
            for entry in victims:
                if entry in self._entries:
                    self._entries.remove(entry)
                    self._release((entry,), {}, reason, entry.record.size)
                    evicted += 1
        return None, (reason, evicted)

    def _victims(self, size: int) -> list[Entry] | None:
        """The oldest entries that have to go; None where even all of them would not do, so that none goes in vain."""
        records = self._held + 1 - self._limit
        bytes_ = self._bytes + size - self.max_bytes
        victims: list[Entry] = []
        position = 0
        while len(victims) < records or bytes_ > 0:
            if position >= len(self._entries):
                return None
            entry = self._entries[position]
            if entry.waiter is None:  # where someone waits, a commit was promised: it stays
                victims.append(entry)
                bytes_ -= entry.record.size
            position += 1
        return victims

    def has_room(self, size: int) -> bool:
        """Whether a record of this size would be let in now."""
        return self._within_bounds(size)

    def could_hold(self, record: InvocationRecord) -> bool:
        """Whether the record would be let in if nothing else were held."""
        return record.size <= self.max_bytes

    def _within_bounds(self, size: int) -> bool:
        return self._held < self._limit and self._bytes + size <= self.max_bytes

    def _release(
        self, entries: Sequence[Entry], outcomes: dict[int, Settlement], otherwise: Settlement, size: int
    ) -> None:
        released = len(entries)
        self._held -= released
        self._bytes -= size
        self._count(otherwise, released - len(outcomes))
        for outcome in outcomes.values():
            self._count(outcome, 1)
        for position, entry in enumerate(entries):
            if entry.waiter is not None:
                entry.waiter.resolve(outcomes.get(position, otherwise))
        for barrier in tuple(self._barriers):
            if not outcomes:
                barrier.count(otherwise, sum(entry.seq <= barrier.target for entry in entries))
            else:
                for position, entry in enumerate(entries):
                    if entry.seq <= barrier.target:
                        barrier.count(outcomes.get(position, otherwise), 1)
            if barrier.pending == 0 and barrier in self._barriers:
                self._barriers.remove(barrier)
                barrier.waiter.resolve(barrier.result())
        self._tell_room()

    def _tell_room(self) -> None:
        """Wake those at the head of the line that fit, and no more: who does not fit would only come back."""
        records, bytes_ = self._held, self._bytes
        while self._room:
            size, waiter = self._room[0]
            records += 1
            bytes_ += size
            if records > self._limit or bytes_ > self.max_bytes:
                return
            self._room.popleft()
            waiter.resolve(None)

    def _count(self, outcome: Settlement, records: int) -> None:
        self._settled[outcome] += records


def require_record(record: object) -> None:
    """Raise TypeError for anything but a record."""
    if not isinstance(record, InvocationRecord):
        raise TypeError(f"give an InvocationRecord, not {type(record).__name__}")
