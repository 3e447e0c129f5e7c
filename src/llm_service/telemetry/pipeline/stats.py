"""What a logger says of itself, from memory alone: no file is read, and any thread may ask at any moment."""

from dataclasses import dataclass, field

from llm_service.telemetry.pipeline.committer import Commits
from llm_service.telemetry.pipeline.ledger import Ledger
from llm_service.telemetry.pipeline.queue import RecordQueue
from llm_service.telemetry.rollups import percentile

__all__ = ["Stats", "stats_of"]


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
        files_set_aside: files that could not be used any more and were moved out of the way, beside the database.
        commit_ms_p50, commit_ms_p99: how long commits took in milliseconds, within 2.2 %; 0.0 before the first.
        bad_values: values that `invocation()` left out because no record can hold them.
        purged: records that this logger has deleted because they were too old.
        purge_error: what the latest fault of retention said, or None; it is tried again.
        redactions: secrets taken out of what was committed, by the name of their pattern (`masker-error`: texts for
            which the user's `redact` failed); only names that occurred.
        writer_alive: whether a background writer runs (it starts by itself with the next record).
        closed: whether the logger is closed.
    """

    ledger: Ledger
    queue_records: int
    queue_bytes: int
    oldest_age: float
    transactions: int
    retries: int
    failing: bool
    last_error: str | None
    files_set_aside: int
    commit_ms_p50: float
    commit_ms_p99: float
    bad_values: int
    purged: int
    purge_error: str | None
    writer_alive: bool
    closed: bool
    redactions: dict[str, int] = field(default_factory=dict[str, int])


def stats_of(
    queue: RecordQueue,
    commits: Commits,
    *,
    bad_values: int,
    purged: int,
    purge_error: str | None,
    closed: bool,
    writer_alive: bool,
) -> Stats:
    """Gather the parts."""
    backlog = queue.backlog()
    buckets = dict(commits.buckets)
    return Stats(
        ledger=queue.ledger(),
        queue_records=backlog.records,
        queue_bytes=backlog.bytes,
        oldest_age=backlog.oldest_age,
        transactions=commits.transactions,
        retries=commits.retries,
        failing=commits.failures_in_a_row > 0,
        last_error=commits.last_error,
        files_set_aside=commits.files_set_aside,
        commit_ms_p50=percentile(buckets, 0.50),
        commit_ms_p99=percentile(buckets, 0.99),
        bad_values=bad_values,
        purged=purged,
        purge_error=purge_error,
        writer_alive=writer_alive,
        closed=closed,
        redactions=dict(commits.redactions),
    )
