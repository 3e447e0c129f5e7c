"""What a logger says of itself, from memory alone: no file is read, and any thread may ask at any moment."""

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from llm_service.telemetry.journal.replay import Replayed
from llm_service.telemetry.stores.rollups import percentile, power_of_two
from llm_service.telemetry.writer.committer import Commits
from llm_service.telemetry.writer.ledger import Ledger
from llm_service.telemetry.writer.queue import RecordQueue

__all__ = ["BadValues", "Stats", "stats_of"]

_MOST_NAMES: Final = 1_000
_OTHER_NAMES: Final = "other names"
"""Stands for names that are no field and come after so many others."""


class BadValues:
    """Values that were left out of records, by the name under which they were given."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()

    def count(self, name: str) -> bool:
        """Count one; True the first time for this name."""
        if len(self._counts) >= _MOST_NAMES and name not in self._counts:
            name = _OTHER_NAMES
        self._counts[name] += 1
        return self._counts[name] == 1

    @property
    def total(self) -> int:
        """How many, under all names."""
        return self._counts.total()


@dataclass(frozen=True, slots=True)
class Stats:
    """One moment of a logger.

    Attributes:
        ledger: exact counts of all records handed over.
        queue_records: records held in memory.
        queue_bytes: bytes they are taken to need.
        oldest_age: seconds the oldest of them has waited; 0.0 where there is none.
        transactions: committed batches.
        retries: failed tries to open the file or to commit.
        failing: whether the latest try failed.
        last_error: what the latest failure said, or None.
        last_error_at: when that was, aware, UTC; None where nothing has failed.
        files_set_aside: files that could not be used any more and were moved out of the way, beside the database.
        commit_ms_p50, commit_ms_p99: how long commits took in milliseconds, within 2.2 %; 0.0 before the first.
        commit_ms_histogram: how many commits took at most so many milliseconds and more than the bound before it: a
            bound (a power of two) -> a number; only bounds that occurred, ascending.
        wal_bytes: how long the WAL was after the latest commit, 0 once truncated; see the event `wal_growing`.
        bad_values: values that `invocation()` left out because no record can hold them.
        repaired: values that records of this process, since this logger was made, hold otherwise than they were given:
            text with U+FFFD for a NUL or a lone surrogate, an odd value within `metadata` or `tags` as its text, and
            what of these was too deep or too long and is cut with a mark.
        purged: records that this logger has deleted because they were too old.
        purge_error: what the latest fault of retention said, or None; it is tried again.
        redactions: secrets taken out of what was committed (with a crash journal: accepted), by the name of their
            pattern (`masker-error`: texts for which the user's `redact` failed); only names that occurred.
        journal_bytes: bytes of the crash journal that records occupy.
        journal_size: bytes allocated for it; 0 where there is none.
        replayed: records of dead processes that this logger committed from their journals; not in the ledger.
        journal_lost: records of dead processes that could not be read any more.
        journals_left: journals found beside the database that this release cannot read, or must not touch.
        writer_alive: whether a background writer runs (it starts by itself with the next record).
    """

    ledger: Ledger
    queue_records: int
    queue_bytes: int
    oldest_age: float
    transactions: int
    retries: int
    failing: bool
    last_error: str | None
    last_error_at: datetime | None
    files_set_aside: int
    commit_ms_p50: float
    commit_ms_p99: float
    commit_ms_histogram: dict[float, int]
    wal_bytes: int
    bad_values: int
    purged: int
    purge_error: str | None
    journal_bytes: int
    journal_size: int
    replayed: int
    journal_lost: int
    journals_left: int
    writer_alive: bool
    closed: bool
    redactions: dict[str, int] = field(default_factory=dict[str, int])
    repaired: int = 0


def stats_of(
    queue: RecordQueue,
    commits: Commits,
    replayed: Replayed,
    *,
    wal_bytes: int,
    bad_values: int,
    purged: int,
    purge_error: str | None,
    closed: bool,
    writer_alive: bool,
    repaired: int = 0,
) -> Stats:
    """Gather the parts. Ledger and queue are of one moment; the numbers of commits are each true by themselves."""
    ledger, backlog = queue.look()
    buckets = dict(commits.buckets)
    return Stats(
        ledger=ledger,
        queue_records=backlog.records,
        queue_bytes=backlog.bytes,
        oldest_age=backlog.oldest_age,
        transactions=commits.transactions,
        retries=commits.retries,
        failing=commits.failures_in_a_row > 0,
        last_error=commits.last_error,
        last_error_at=commits.last_error_at,
        files_set_aside=commits.files_set_aside,
        commit_ms_p50=percentile(buckets, 0.50),
        commit_ms_p99=percentile(buckets, 0.99),
        commit_ms_histogram=_histogram(buckets),
        wal_bytes=wal_bytes,
        bad_values=bad_values,
        repaired=repaired,
        purged=purged,
        purge_error=purge_error,
        journal_bytes=queue.journal_bytes,
        journal_size=queue.journal_size,
        replayed=replayed.written,
        journal_lost=replayed.lost,
        journals_left=replayed.left,
        writer_alive=writer_alive,
        closed=closed,
        redactions=dict(commits.redactions + Counter(queue.redactions)),
    )


def _histogram(buckets: dict[int, int]) -> dict[float, int]:
    """The counted buckets of `rollups`, 16 to a doubling, added up to one for each power of two: exact."""
    counts: dict[float, int] = {}
    for bucket in sorted(buckets):
        bound = power_of_two(bucket)
        counts[bound] = counts.get(bound, 0) + buckets[bucket]
    return counts
