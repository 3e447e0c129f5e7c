"""What a logger tells about itself while it works: a kind, a sentence, a number, a moment."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final

from llm_service.telemetry.writer.ledger import DropReason

__all__ = ["LEVELS", "Event", "EventKind", "OnDrop", "OnEvent", "Tell"]


class EventKind(StrEnum):
    """What has happened; `count` of the `Event` says how much of it."""

    DROPPED = "dropped"
    """Records were lost, for `reason`; `count` is how many since this was last told."""
    QUARANTINED = "quarantined"
    """SQLite refused records, which are in `dead_letters` now; `count` is how many since this was last told."""
    STORE_FAILING = "store_failing"
    """The file does not accept records (locked, full, failing); `count` is the tries that failed in a row."""
    STORE_RECOVERED = "store_recovered"
    """The file accepts records again; `count` is the tries that had failed."""
    STORE_UNUSABLE = "store_unusable"
    """The file cannot hold telemetry and no retry helps; `count` is the records lost by it so far."""
    FILE_SET_ASIDE = "file_set_aside"
    """A file that could not be used any more was moved beside, or had gone, and a new one takes over.

    `count` is the files moved since this was last told: 0 where nothing was left to move.
    """
    WRITER_FAILED = "writer_failed"
    """An error of the writer itself, with its traceback; `count` is the records it cost."""
    WAL_GROWING = "wal_growing"
    """A reader holds the WAL open and it has passed a bound, told again at each doubling; `count` is its bytes."""
    WAL_TRUNCATED = "wal_truncated"
    """That reader is gone and the WAL is short again; `count` is the bytes it had grown to."""
    BUDGET_COUNTER_UNKNOWN = "budget_counter_unknown"
    """A counter of budgets cannot be evaluated here: what is written counts in all its windows until it is recounted.

    `count` is how many such counters were not told before.
    """
    SEARCH_UNAVAILABLE = "search_unavailable"
    """`search: true`, and no index can be made: search reads the texts themselves; `count` is 1."""
    CLOSED_WITH_LOSS = "closed_with_loss"
    """A close or the end of the process came to its timeout; `count` is the records that were lost by it."""


LEVELS: Final[Mapping[EventKind, int]] = {
    EventKind.DROPPED: logging.WARNING,
    EventKind.QUARANTINED: logging.WARNING,
    EventKind.STORE_FAILING: logging.WARNING,
    EventKind.STORE_RECOVERED: logging.INFO,
    EventKind.STORE_UNUSABLE: logging.ERROR,
    EventKind.FILE_SET_ASIDE: logging.ERROR,
    EventKind.WRITER_FAILED: logging.ERROR,
    EventKind.WAL_GROWING: logging.WARNING,
    EventKind.WAL_TRUNCATED: logging.INFO,
    EventKind.BUDGET_COUNTER_UNKNOWN: logging.WARNING,
    EventKind.SEARCH_UNAVAILABLE: logging.WARNING,
    EventKind.CLOSED_WITH_LOSS: logging.ERROR,
}
"""How loudly each kind is logged on `llm_service.telemetry`."""


@dataclass(frozen=True, slots=True)
class Event:
    """Something that a user may want to know.

    Attributes:
        kind: what has happened.
        message: one sentence for people, without secrets.
        count: how much of it; its unit stands at the kind.
        at: when, aware, UTC.
        reason: why records were lost; None for other kinds than `dropped`.
        error: the exception behind it, where there is one, as it was raised: its own text is not redacted.
    """

    kind: EventKind
    message: str
    count: int
    at: datetime
    reason: DropReason | None = None
    error: BaseException | None = field(default=None, compare=False)


OnEvent = Callable[[Event], None]
"""A user's callback for every event."""

OnDrop = Callable[[DropReason, int], None]
"""A user's callback for losses alone: why, and how many records since it was last called for this reason."""

Tell = Callable[[EventKind, int, str, BaseException | None], None]
"""How the parts of the engine tell: kind, count, message (`{n}` stands for the count), error."""
