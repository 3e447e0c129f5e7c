"""The queue with a crash journal: a record is in the journal before it is accepted, and leaves it when it is settled.

A class of its own, so that the queue without a journal costs what it did.
"""

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, Protocol

from llm_service.config.settings import PrivacyLevel
from llm_service.redaction import traceback_text
from llm_service.telemetry.privacy import MAX_STORED_ERROR_CHARS, Redactor, effective_level, stored_error
from llm_service.telemetry.record.record import CARD_FIELDS, InvocationRecord, rebuilt
from llm_service.telemetry.writer.ledger import DropReason
from llm_service.telemetry.writer.queue import RecordQueue, require_record
from llm_service.telemetry.writer.queue_accounting import ASKED_LEVEL, NEVER
from llm_service.telemetry.writer.queue_entries import SLOT, WAITER, Batch, Entry, Leaving
from llm_service.telemetry.writer.threads import is_finalizing
from llm_service.telemetry.writer.waiters import Waiter

__all__ = ["Journal", "JournaledQueue", "Preparation"]

_LOG: Final = logging.getLogger("llm_service.telemetry")
_ERROR: Final = CARD_FIELDS.index("error_message")


class Journal(Protocol):
    """What the queue asks of a journal, always under its own re-entrant lock; a slot is the journal's own thing."""

    error: OSError | None

    @property
    def used(self) -> int:
        """Bytes that records occupy."""
        ...

    @property
    def size(self) -> int:
        """Bytes allocated on disk."""
        ...

    def ensure(self) -> bool:
        """Make the segment where it is missing; False where that failed, and `error` says why."""
        ...

    def begin(self, writer_id: str) -> None:
        """Start without a segment, as this writer."""
        ...

    def leak(self) -> None:
        """In a forked child: have no part in what the parent wrote."""
        ...

    def encode(self, record: InvocationRecord, /) -> bytes:
        """The record as `append` takes it; needs no lock."""
        ...

    def append(self, payload: bytes, slot: Any, /) -> bool:
        """Write an encoded record, at a place told to `slot`; False where there is none."""
        ...

    def assign(self, slots: Iterable[Any], batch: int) -> None:
        """Note the batch that is about to commit these."""
        ...

    def drop(self, slots: Iterable[Any]) -> None:
        """These were dropped and counted. A slot that has no place, or no longer, is passed over."""
        ...

    def free(self, slots: Iterable[Any]) -> None:
        """These are committed."""
        ...

    def has_room(self, size: int) -> bool:
        """Whether a record of this `size` would surely find a place."""
        ...

    def could_hold(self, record: InvocationRecord) -> bool:
        """Whether the record would find a place in an empty journal."""
        ...

    def close(self) -> None:
        """Let go; what is held stays for the next open of the database."""
        ...


class JournaledQueue(RecordQueue):
    """A `RecordQueue` whose records survive the end of the process.

    Args:
        make_slot: makes a place that `journal.append` fills in.
        is_clean: whether a record may be on disk as it is; asked of each.
        prepare: makes of any other what may be on disk, and counts what it took out by name; applied before the
            journal, since nothing secret may reach a file.
    """

    def __init__(
        self,
        *,
        journal: Journal,
        make_slot: Callable[[], Any],
        is_clean: Callable[[InvocationRecord], bool],
        prepare: Callable[[InvocationRecord], tuple[InvocationRecord, Mapping[str, int] | None]],
        **options: Any,
    ) -> None:
        self.journal = journal
        self.append = journal.append
        self._encode = journal.encode
        self._accept = super().accept
        self._make_slot = make_slot
        self._is_clean = is_clean
        self.prepare = prepare
        self._writer_id = ""
        self._assigned = 0
        self._redactions: dict[str, int] = {}
        super().__init__(**options)

    def reset(self) -> None:
        """See `RecordQueue.reset`. The parent's journal is the parent's."""
        super().reset()
        self._assigned = 0
        self._redactions = {}
        self.journal.leak()

    def begin_journal(self, writer_id: str) -> None:
        """See `RecordQueue.begin_journal`."""
        self._writer_id = writer_id
        self.journal.begin(writer_id)

    def ensure_journal(self) -> None:
        """See `RecordQueue.ensure_journal`."""
        with self._lock:
            if not self.journal.ensure() and self.journal.error is not None:
                raise self.journal.error

    def close_journal(self) -> None:
        """See `RecordQueue.close_journal`."""
        with self._lock:
            self.journal.close()

    def renew_journal(self) -> None:
        """See `RecordQueue.renew_journal`."""
        with self._lock:
            if not self._held:
                self.journal.close()
                self.journal.begin(self._writer_id)

    @property
    def journal_bytes(self) -> int:
        """See `RecordQueue.journal_bytes`."""
        return self.journal.used

    @property
    def journal_size(self) -> int:
        """See `RecordQueue.journal_size`."""
        return self.journal.size

    @property
    def redactions(self) -> dict[str, int]:
        """See `RecordQueue.redactions`."""
        return dict(self._redactions)

    def accept(
        self, record: InvocationRecord, waiter: Waiter | None, *, wake: bool = True, slot: Any = None
    ) -> DropReason | None:
        """See `RecordQueue.accept`. A record that is to be stored nowhere is refused at once, with that reason."""
        if record.__class__ is not InvocationRecord:
            require_record(record)
        if self._refusal is not None:
            return self._accept(record, waiter, wake=wake, slot=slot)
        if record.card[ASKED_LEVEL] == "none":
            return DropReason.PRIVACY
        redactions: Mapping[str, int] | None = None
        if not self._is_clean(record):
            cleaned = self._cleaned(record)
            if cleaned is None:
                return DropReason.INVALID
            record, redactions = cleaned
        size = record.size
        if (self._held >= self._limit or self._bytes + size > self.max_bytes) and self._overflow != "drop_oldest":
            with self._lock:
                return self._make_room(size)[0]
        reason = self._enter(record, size, waiter, wake)
        if redactions and reason is None:
            self._count_redactions(redactions)
        return reason

    def _enter(self, record: InvocationRecord, size: int, waiter: Waiter | None, wake: bool) -> DropReason | None:  # noqa: FBT001 - once a record: a keyword costs
        """Into the journal and the queue under one lock; see `RecordQueue.accept` for what may stand between."""
        slot = self._make_slot()
        if is_finalizing():  # it is committed at once, and `marshal` does not work to the end (CPython 3.11, -X dev)
            return self._accept(record, waiter, wake=wake, slot=slot)
        payload = self._encode(record)
        now = self._clock()
        try:
            with self._lock:
                written = self.append(payload, slot)
                held = self._held + 1
                total = self._bytes + size
                entered = written and held <= self._limit and total <= self.max_bytes
                if entered:
                    self._held = held
                    self._bytes = total
                    seq = self._submitted = self._submitted + 1
                    if waiter is not None:
                        self._urgent += 1
                    self.entries.append((seq, now, record, waiter, slot))
                    wake = (
                        wake
                        and self._wake_at != NEVER
                        and (held >= self._wake_at or total >= self._wake_bytes or waiter is not None)
                    )
            if not entered:
                reason = None if written else self._find_place(record, payload, slot)
                reason = reason or self._accept(record, waiter, wake=wake, slot=slot)
                if reason is not None:
                    self._forget(slot)
                return reason
        except BaseException:
            self._forget_unless_in(slot)
            raise
        if wake:
            self._wake_up()
        return None

    def _cleaned(self, record: InvocationRecord) -> tuple[InvocationRecord, Mapping[str, int] | None] | None:
        """The record as it may be in a file; None where that cannot be made of it."""
        try:
            return self.prepare(record)
        except Exception as error:  # noqa: BLE001 - counted as lost: what cannot be cleaned must not be written
            _LOG.error("telemetry: a record could not be prepared for the crash journal: %s", traceback_text(error))
            return None

    def _count_redactions(self, redactions: Mapping[str, int]) -> None:
        known = self._redactions
        with self._lock:
            for name, count in redactions.items():
                known.setdefault(name, 0)
                known[name] += count  # no call between reading and storing: see `RecordQueue.accept`

    def _find_place(self, record: InvocationRecord, payload: bytes, slot: Any) -> DropReason | None:
        """The journal is full: where the oldest give way, let them, until there is a place."""
        evicted, written = 0, False
        if self._overflow == "drop_oldest" and self.journal.could_hold(record):
            with self._lock:
                while not written and (entry := self._oldest_to_go()) is not None:
                    evicted += self._drop_waiting(entry, DropReason.JOURNAL_FULL)
                    written = self.append(payload, slot)
        if evicted:
            self._on_drop(DropReason.JOURNAL_FULL, evicted)
        return None if written else DropReason.JOURNAL_FULL

    def _oldest_to_go(self) -> Entry | None:
        """The oldest record, where dropping it makes room: the journal is freed from its old end only."""
        if self._in_flight is not None:
            return None
        self._trim()
        if not self.entries or self.entries[0][WAITER] is not None:
            return None
        return self.entries[0]

    def _forget(self, slot: Any) -> None:
        with self._lock:
            self.journal.drop((slot,))

    def _forget_unless_in(self, slot: Any) -> None:
        """After an interrupt: take the place back, unless the record came in before that."""
        with self._lock:
            batch = self._in_flight
            held = (*self.entries, *(batch.entries if batch is not None else ()))
            if not any(entry[SLOT] is slot for entry in held):
                self.journal.drop((slot,))

    def take(self, rows: int) -> Batch | None:
        """See `RecordQueue.take`. The journal learns of the batch before the database does."""
        with self._lock:
            batch = super().take(rows)
            if batch is not None and batch.number != self._assigned:
                self.journal.assign((entry[SLOT] for entry in batch.entries), batch.number)
                self._assigned = batch.number
            return batch

    def abandon(self, reason: DropReason, *, in_flight: bool) -> int:
        """See `RecordQueue.abandon`. What an end or an unusable file leaves unwritten stays in the journal."""
        ends = reason in {DropReason.SHUTDOWN, DropReason.STORE_FAILED}
        return super().abandon(DropReason.JOURNALED if ends else reason, in_flight=in_flight)

    def abandon_in_flight(self, reason: DropReason) -> int:
        """See `RecordQueue.abandon_in_flight`."""
        return super().abandon_in_flight(DropReason.JOURNALED if reason is DropReason.SHUTDOWN else reason)

    def has_room(self, size: int) -> bool:
        """Whether a record of this size would be let in now."""
        return super().has_room(size) and self.journal.has_room(size)

    def could_hold(self, record: InvocationRecord) -> bool:
        """Whether the record would be let in if nothing else were held."""
        return super().could_hold(record) and self.journal.could_hold(record)

    def _let_go(self, leaving: Leaving) -> None:
        if leaving.otherwise is not DropReason.JOURNALED:
            slots = [entry[SLOT] for entry in leaving.entries]
            if isinstance(leaving.otherwise, DropReason):
                self.journal.drop(slots)
            else:
                self.journal.free(slots)


class Preparation:
    """Makes of a record what may stand in a file at the logger's level: secrets, content and long messages go."""

    __slots__ = ("_ceiling", "_redacted")

    def __init__(self, ceiling: PrivacyLevel, redactor: Redactor) -> None:
        self._ceiling: PrivacyLevel = ceiling
        self._redacted = redactor.record

    def __call__(self, record: InvocationRecord) -> tuple[InvocationRecord, Counter[str]]:
        """The record as it may be stored, and what was taken out by the name of its pattern."""
        counts: Counter[str] = Counter()
        cleaned = self._redacted(record, counts)
        message = cleaned.card[_ERROR]
        if message is not None and len(message) > MAX_STORED_ERROR_CHARS:
            card = list(cleaned.card)
            card[_ERROR] = stored_error(message, effective_level(self._ceiling, card[ASKED_LEVEL]))
            cleaned = rebuilt(cleaned, tuple(card), cleaned.extensions)
        return cleaned, counts
