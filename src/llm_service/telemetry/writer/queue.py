"""The queue between callers and the writer: bounded by count and bytes, fed from any thread, exact in its ledger.

It has `asyncio.Queue`'s interface (put, put_nowait, qsize, full, join) and is not one: the stock queue binds to one
loop, cannot be fed from another thread, and knows neither bytes nor age. A batch that is taken stays in the bounds and
in the ledger until it is settled: `holding` is that side, and here is how records come in.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from time import monotonic
from typing import Any

from llm_service.telemetry.record.record import InvocationRecord
from llm_service.telemetry.writer.ledger import FULL, DropReason, Settlement
from llm_service.telemetry.writer.queue_accounting import NEVER, QueueAccounting
from llm_service.telemetry.writer.queue_entries import RECORD, SEQ, WAITER, Barrier, Entry
from llm_service.telemetry.writer.waiters import LoopWaiter, Waiter

__all__ = ["RecordQueue", "require_record"]


class RecordQueue(QueueAccounting):
    """See the module. Every method but `put` and `join` may be called from any thread, a signal handler or `__del__`.

    Args:
        max_records: most records held, those in flight included.
        max_bytes: most bytes held, as `InvocationRecord.size` counts them.
        overflow: what gives way at a bound.
        on_wake: called when whoever drives the commits has asked to be woken; must not raise.
        on_drop: called after records were dropped, with the reason and their number; must not raise.
    """

    def offer(self, record: InvocationRecord, waiter: Waiter | None = None) -> bool:
        """Accept the record, or drop it and count why. Never blocks on anything but the queue's own short lock.

        Args:
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
        # Between reading and storing the counters, and until the entry is there, stands no call: at a call a signal
        # handler or `__del__` may log, on this very thread, and must find counters that add up; or it may raise.
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
                self.entries.append((seq, now, record, waiter, slot))
            wake = (  # as `seconds_to_flush` has it
                wake
                and self._wake_at != NEVER
                and (held >= self._wake_at or total >= self._wake_bytes or waiter is not None)
            )
        if wake:
            self._wake_up()
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
        try:
            with self._lock:
                self._room.append(waiting)  # first: a commit within a signal handler makes room, and tells of it
                if self.has_room(size) or self._refusal is not None:
                    return
                wake = self._wake_at != NEVER
            if wake:
                self._wake_up()  # whoever waits for room waits for a commit, not for the flush interval
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
            self._settled[reason] += 1  # no call between the two: see `accept`
        self._on_drop(reason, 1)

    def account(self, outcomes: Sequence[Settlement]) -> None:
        """Count records that were settled without coming through here."""
        for outcome in outcomes:
            with self._lock:
                self._submitted += 1
                self._settled[outcome] += 1  # no call between the two: see `accept`

    def refuse(self, reason: DropReason) -> None:
        """From now on drop every record for this reason. What is held stays."""
        nobody: deque[tuple[int, Waiter]] = deque()
        with self._lock:
            self._refusal = reason
            self._limit = -1
            waiting, self._room = self._room, nobody
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

    # Making room

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
            if victims is None and not self._within_bounds(size):  # nor is there room by a commit within a handler
                return reason, (reason, evicted) if evicted else None
            for entry in victims or ():
                evicted += self._drop_waiting(entry, reason)
        return None, (reason, evicted)

    def _victims(self, size: int) -> list[Entry] | None:
        """The oldest entries that have to go; None where even all of them would not do, so that none goes in vain."""
        records = self._held + 1 - self._limit
        bytes_ = self._bytes + size - self.max_bytes
        victims: list[Entry] = []
        position = 0
        while len(victims) < records or bytes_ > 0:
            try:
                entry = self.entries[position]
            except IndexError:
                return None
            # Where someone waits, a commit was promised: it stays, as does what is in flight.
            if entry[WAITER] is None and entry[SEQ] > self._taken:
                victims.append(entry)
                bytes_ -= entry[RECORD].size
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

    def last_barrier(self, reason: DropReason, waiter: Waiter) -> Barrier:
        """Refuse what comes from now on, and follow what is pending: nothing is let in or settled between the two."""
        with self._lock:
            self.refuse(reason)
            return self.barrier(waiter, wake=False)

    # A crash journal, where there is one: see `JournaledQueue`

    def begin_journal(self, writer_id: str) -> None:
        """From now on this writer commits: its receipts tell what of the journal is on disk."""

    def ensure_journal(self) -> None:
        """Make the journal now instead of with the first record; OSError where that fails: each record tries again."""

    def close_journal(self) -> None:
        """Let go of the journal: nothing more is accepted or committed."""

    def renew_journal(self) -> None:
        """Where nothing is held, let go of the journal until the next record."""

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


def require_record(record: object) -> None:
    """Raise TypeError for anything but a record."""
    if not isinstance(record, InvocationRecord):
        raise TypeError(f"give an InvocationRecord, not {type(record).__name__}")
