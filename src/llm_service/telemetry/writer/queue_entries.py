"""What stands in the queue, what is taken from it or leaves it together, and who follows it to its end."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from llm_service.telemetry.record.record import InvocationRecord
from llm_service.telemetry.writer.ledger import DropReason, FlushResult, Outcome, Settlement
from llm_service.telemetry.writer.waiters import Waiter

__all__ = [
    "ACCEPTED_AT",
    "NOTHING_SETTLED",
    "RECORD",
    "SEQ",
    "SLOT",
    "WAITER",
    "Barrier",
    "Batch",
    "Entry",
    "Leaving",
    "bytes_of",
    "waiters_of",
]

NOTHING_SETTLED: Final[dict[Settlement, int]] = dict.fromkeys((*Outcome, *DropReason), 0)
"""All keys are there from the start: `settled[key] += n` then holds no call at which a signal handler could run."""

Entry = tuple[int, float, InvocationRecord, Waiter | None, Any]
"""One accepted record: its number, when it was accepted (monotonic seconds), the record, who waits for it, its place in
the crash journal. Not a named tuple: making one is a call, at which a signal handler could raise."""

SEQ: Final = 0
ACCEPTED_AT: Final = 1
RECORD: Final = 2
WAITER: Final = 3
SLOT: Final = 4


@dataclass(frozen=True, slots=True)
class Batch:
    """Entries taken together; the same object at every try, until it is settled."""

    number: int
    entries: tuple[Entry, ...]
    durable: bool
    awaited: bool
    bytes: int


class Leaving:
    """Entries that leave together, and what became of them.

    Attributes:
        otherwise: what became of those that `outcomes` does not name.
        outcomes: what became of the others, by position.
        size: the bytes that they were taken to need.
        counted: whether the counters say so yet.
        followers: the barriers that have noted it.
    """

    __slots__ = ("counted", "entries", "followers", "otherwise", "outcomes", "size")

    def __init__(
        self, entries: Sequence[Entry], otherwise: Settlement, outcomes: Mapping[int, Settlement], size: int
    ) -> None:
        self.entries = entries
        self.otherwise = otherwise
        self.outcomes = outcomes
        self.size = size
        self.counted = False
        self.followers: list[Barrier] = []

    def up_to(self, seq: int) -> dict[Settlement, int]:
        """What became of those whose number is not above `seq`."""
        found: dict[Settlement, int] = {}
        if not self.outcomes:
            found[self.otherwise] = sum(entry[SEQ] <= seq for entry in self.entries)
            return found
        for position, entry in enumerate(self.entries):
            if entry[SEQ] <= seq:
                outcome = self.outcomes.get(position, self.otherwise)
                found[outcome] = found.get(outcome, 0) + 1
        return found


@dataclass(slots=True, eq=False)
class Barrier:
    """Follows the records that were pending when it was set, and tells its waiter when the last is settled."""

    waiter: Waiter
    target: int = 0
    pending: int = 0
    settled: dict[Settlement, int] = field(default_factory=lambda: dict(NOTHING_SETTLED))

    def follow(self, leaving: Leaving) -> None:
        """Note what became of some of them; the same ones told twice count once."""
        while self not in leaving.followers:
            before = self.settled
            found = leaving.up_to(self.target)
            settled = {outcome: count + found.get(outcome, 0) for outcome, count in before.items()}
            pending = self.pending - sum(found.values())
            followers = [*leaving.followers, self]
            # No call from here on: a signal handler finds all of it done, or nothing. What was settled within one, or
            # while it waited, has changed what was looked at: then once more.
            if self.settled is before:
                leaving.followers = followers
                self.settled = settled
                self.pending = pending

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
    return sum(entry[RECORD].size for entry in entries)


def waiters_of(entries: Iterable[Entry]) -> list[Waiter]:
    """Those who wait for one of these entries."""
    return [waiter for entry in entries if (waiter := entry[WAITER]) is not None]
