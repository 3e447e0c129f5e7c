"""What the writer loop does next, how much at once, how long to sleep: pure functions of backlog, settings and time."""

from dataclasses import dataclass
from enum import Enum
from typing import Final, NamedTuple

from llm_service.config.settings import Settings

__all__ = [
    "Action",
    "Backlog",
    "Do",
    "next_action",
    "purge_may_go",
    "retry_delay",
    "seconds_to_flush",
    "slice_rows",
    "transaction_rows",
]

STEADY_ROWS: Final = 256
"""Rows of a transaction under ordinary load: about 5 ms, so that nobody waits longer for the write lock."""
CROWDED_ROWS: Final = 2048
"""Most rows of a transaction once a backlog has built up: the fixed costs and the roll-ups are paid for more rows."""
CROWDED: Final = 1024
"""Records waiting from which on the rate matters more than the length of one transaction, for those who wait too."""
SMALL_SLICE: Final = 25
LARGE_SLICE: Final = 76
FIRST_RETRY: Final = 0.01
LONGEST_RETRY: Final = 1.0
_PATIENCE: Final = 0.1
"""Seconds that retention gives way to a backlog. Then it has one step: else it would never come under full load."""
_PATIENCE_WITH_WAITERS: Final = 0.25
"""The same where somebody waits for a commit: at most four steps of a few milliseconds in a second."""


@dataclass(frozen=True, slots=True)
class Backlog:
    """What waits, at one moment.

    Attributes:
        records: how many wait, those of a failed batch included.
        oldest_age: seconds the oldest has waited; 0.0 where nothing waits.
        urgent: a durable caller, a flush or a close is waiting.
    """

    records: int
    bytes: int
    oldest_age: float
    urgent: bool


def seconds_to_flush(backlog: Backlog, *, flush_interval: float, batch_size: int, bytes_bound: int) -> float | None:
    """How long the next commit may still wait: 0.0 is now, None is until something arrives."""
    if backlog.records == 0:
        return None
    if backlog.urgent or backlog.records >= batch_size or backlog.bytes * 2 >= bytes_bound:
        return 0.0
    return max(0.0, flush_interval - backlog.oldest_age)


def transaction_rows(backlog: Backlog) -> int:
    """How many records the next transaction takes."""
    return min(backlog.records, CROWDED_ROWS) if backlog.records >= CROWDED else STEADY_ROWS


def slice_rows(backlog: Backlog) -> int:
    """How many rows are built between two statements: few, for the event loop's turns, unless a backlog grows."""
    return LARGE_SLICE if backlog.records >= CROWDED else SMALL_SLICE


def retry_delay(failures: int) -> float:
    """Seconds to pause after so many failures in a row (1 or more): 10 ms doubled each time, at most one second."""
    return float(min(LONGEST_RETRY, FIRST_RETRY * 2 ** min(failures - 1, 16)))


class Do(Enum):
    """What the writer loop does next."""

    OPEN = "open"
    COMMIT = "commit"
    SLEEP = "sleep"
    TIDY = "tidy"
    PURGE = "purge"
    FINISH = "finish"


class Action(NamedTuple):
    """The next action of the writer loop; a sleep ends after so many seconds, at `wake_at` records, or when woken."""

    do: Do
    seconds: float | None = None
    wake_at: int = 1


def purge_may_go(backlog: Backlog, purge_in: float | None) -> bool:
    """Whether a purge that was wanted so many seconds ago (negative) may go before the commits that are due."""
    patience = 0.0 if backlog.records == 0 else _PATIENCE_WITH_WAITERS if backlog.urgent else _PATIENCE
    return purge_in is not None and purge_in <= -patience


def next_action(
    backlog: Backlog, settings: Settings, *, closing: bool, tidy_in: float | None, purge_in: float | None = None
) -> Action:
    """What to do now.

    Args:
        closing: nothing more comes in: commit what is there, then finish.
        tidy_in: seconds until the WAL should be truncated, if nothing comes between; None where it is truncated.
        purge_in: as for `purge_may_go`.
    """
    # A full queue is never left to wait for the interval: callers may be blocked by it.
    batch_size = min(settings.batch_size, settings.queue_max_records)
    wait = seconds_to_flush(
        backlog,
        flush_interval=settings.flush_interval,
        batch_size=batch_size,
        bytes_bound=settings.queue_max_bytes,
    )
    if closing:
        return Action(Do.FINISH if wait is None else Do.COMMIT)
    if purge_may_go(backlog, purge_in):
        return Action(Do.PURGE)
    if wait == 0.0:
        return Action(Do.COMMIT)
    if purge_in is not None and purge_in <= 0:
        return Action(Do.PURGE)  # nothing is due yet
    if wait is None and tidy_in is not None and tidy_in <= 0:
        return Action(Do.TIDY)
    until = [seconds for seconds in (wait, tidy_in if wait is None else None, purge_in) if seconds is not None]
    return Action(Do.SLEEP, min(until, default=None), 1 if wait is None else batch_size)
