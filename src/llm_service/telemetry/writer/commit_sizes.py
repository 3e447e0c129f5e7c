"""When to commit, how much at once, how long to pause: functions of values, without threads or clocks."""

from dataclasses import dataclass
from typing import Final

__all__ = ["Backlog", "retry_delay", "seconds_to_flush", "slice_rows", "transaction_rows"]

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


@dataclass(frozen=True, slots=True)
class Backlog:
    """What waits, at one moment.

    Attributes:
        records: how many wait, those of a failed batch included.
        bytes: how many bytes they hold.
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
