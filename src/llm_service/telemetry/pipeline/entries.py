"""What stands in the queue, what is taken from it together, and who follows it to its end."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from llm_service.telemetry.pipeline.ledger import DropReason, FlushResult, Outcome, Settlement
from llm_service.telemetry.pipeline.waiters import Waiter
from llm_service.telemetry.records import InvocationRecord

__all__ = ["NOTHING_SETTLED", "Barrier", "Batch", "Entry", "bytes_of"]

NOTHING_SETTLED: Final[dict[Settlement, int]] = dict.fromkeys((*Outcome, *DropReason), 0)
"""All keys are there from the start: `settled[key] += n` then holds no call at which a signal handler could run."""


class Entry(NamedTuple):
    """One accepted record."""

    seq: int
    accepted_at: float
    record: InvocationRecord
    waiter: Waiter | None
    slot: Any = None  # its place in the crash journal, where there is one


@dataclass(frozen=True, slots=True)
class Batch:
    """Entries taken together; the same object at every try, until it is settled."""

    number: int
    entries: tuple[Entry, ...]
    durable: bool
    awaited: bool
    bytes: int


@dataclass(slots=True, eq=False)
class Barrier:
    """Follows the records that were pending when it was set, and tells its waiter when the last is settled."""

    target: int
    waiter: Waiter
    pending: int
    settled: dict[Settlement, int] = field(default_factory=lambda: dict(NOTHING_SETTLED))

    def count(self, outcome: Settlement, records: int) -> None:
        """Note what became of some of them."""
        self.pending -= records
        self.settled[outcome] += records

    def result(self) -> FlushResult:
        """The truth so far."""
        return FlushResult(
            written=self.settled[Outcome.WRITTEN],
            duplicates=self.settled[Outcome.DUPLICATE],
            quarantined=self.settled[Outcome.QUARANTINED],
            pending=self.pending,
            dropped={reason: self.settled[reason] for reason in DropReason if self.settled[reason]},
        )


def bytes_of(entries: Iterable[Entry]) -> int:
    """The bytes these entries are taken to need."""
    return sum(entry.record.size for entry in entries)
