"""What became of every record: names of the outcomes, and the snapshot whose equation always holds.

`submitted = written + duplicates + quarantined + sum(dropped.values()) + pending`
"""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

__all__ = ["FULL", "DropReason", "FlushResult", "Ledger", "Outcome", "Settlement"]


class Outcome(StrEnum):
    """A record that was taken care of."""

    WRITTEN = "written"
    DUPLICATE = "duplicate"
    QUARANTINED = "quarantined"


class DropReason(StrEnum):
    """Why a record was lost."""

    QUEUE_FULL = "queue_full"
    BYTES_FULL = "bytes_full"
    BLOCK_TIMEOUT = "block_timeout"
    CLOSED = "closed"
    DISABLED = "disabled"
    PRIVACY = "privacy"
    INVALID = "invalid"
    SHUTDOWN = "shutdown"
    STORE_FAILED = "store_failed"
    JOURNAL_FULL = "journal_full"
    """The crash journal had no room, or could not be made."""
    JOURNALED = "journaled"
    """Not written when the logger ended, and left in its crash journal: the next open of the database writes it."""


FULL: Final = frozenset({DropReason.QUEUE_FULL, DropReason.BYTES_FULL, DropReason.JOURNAL_FULL})
"""Reasons that pass as room is made: a blocking caller waits."""

Settlement = Outcome | DropReason


@dataclass(frozen=True, slots=True)
class Ledger:
    """Exact counts since construction (in a forked child: since the fork).

    Attributes:
        submitted: records handed over, whatever became of them.
        written: committed, each exactly once.
        duplicates: not written because their id was stored already.
        quarantined: refused by SQLite, now in `dead_letters`.
        pending: accepted and not yet settled.
        dropped: lost, by reason; only reasons that occurred.
    """

    submitted: int = 0
    written: int = 0
    duplicates: int = 0
    quarantined: int = 0
    pending: int = 0
    dropped: dict[DropReason, int] = field(default_factory=dict[DropReason, int])

    @property
    def balanced(self) -> bool:
        """Whether the equation holds. It always does; tests ask at every step."""
        settled = self.written + self.duplicates + self.quarantined + sum(self.dropped.values())
        return self.submitted == settled + self.pending


@dataclass(frozen=True, slots=True)
class FlushResult:
    """What became of the records that were pending when `flush` or `close` was called.

    Attributes:
        written, duplicates, quarantined: settled well.
        pending: still waiting when the timeout passed; they stay queued after a flush.
        dropped: lost meanwhile, by reason.
        complete: nothing of them is pending any more.
    """

    written: int = 0
    duplicates: int = 0
    quarantined: int = 0
    pending: int = 0
    dropped: dict[DropReason, int] = field(default_factory=dict[DropReason, int])

    @property
    def complete(self) -> bool:
        """True when every record has been settled."""
        return self.pending == 0
