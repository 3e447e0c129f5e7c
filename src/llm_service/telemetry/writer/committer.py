"""One step of work: take a batch, have the store commit it, settle it. Runs in whichever thread drives, one at a time.

Settling happens here, in the committing thread, right after COMMIT: whatever becomes of the loop or the task that asked
for the step, the ledger and the file agree.
"""

import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from typing import Final

from llm_service.errors import DatabaseUnusableError
from llm_service.redaction import clean
from llm_service.telemetry.stores.base import Fault, Session, Store
from llm_service.telemetry.stores.rollups import bucket_of
from llm_service.telemetry.writer import schedule
from llm_service.telemetry.writer.events import EventKind, Tell
from llm_service.telemetry.writer.ledger import DropReason
from llm_service.telemetry.writer.queue import RecordQueue
from llm_service.telemetry.writer.queue_entries import RECORD, Batch

__all__ = ["Commits", "Committer", "Step"]

_LOG: Final = logging.getLogger("llm_service.telemetry")
_TRIES_OF_A_BUG: Final = 5
"""After so many failures that are no fault of file or record, a batch is dropped: a bug must not stop all."""
_TRIES_OF_A_CONNECTION: Final = 8
_QUIET_TRIES: Final = 2
"""So many failures in a row are not worth a warning: with several writing processes a lock is everyday life."""


@dataclass(frozen=True, slots=True)
class Step:
    """What a step did.

    Attributes:
        committed: records settled; 0 where nothing waited or the try failed.
        retry_in: seconds to pause before the next step after a failure; None after success.
        reopen: use a new connection for the next step: this one is no good, or has failed for a while.
    """

    committed: int = 0
    retry_in: float | None = None
    reopen: bool = False


@dataclass(slots=True)
class Commits:
    """What the committer has seen; read from other threads, each value by itself."""

    transactions: int
    retries: int
    failures_in_a_row: int
    last_error: str | None
    last_error_at: datetime | None
    files_set_aside: int
    buckets: Counter[int]
    redactions: Counter[str]


class Committer:
    """Moves batches from a queue into a store.

    Args:
        store: says what errors mean, and sets aside what cannot be used any more.
        after_commit: called with the session once a batch is settled (checkpoints); its errors are noted and logged.

    Attributes:
        fatal: why the file cannot be used at all, once that is known.
    """

    def __init__(
        self,
        queue: RecordQueue,
        store: Store,
        path: Path,
        after_commit: Callable[[Session], None] = lambda _session: None,
        tell: Tell = lambda _kind, _count, _message, _error: None,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._queue = queue
        self._store = store
        self._path = path
        self._after_commit = after_commit
        self._tell = tell
        self._clock = clock
        self.commits = Commits(0, 0, 0, None, None, 0, Counter(), Counter())
        self.fatal: Exception | None = None
        self._damaged = 0  # how often in a row the file could not be read
        self._bugs = (0, 0)  # a batch's number, and how often it failed by nobody's fault but the writer's

    def step(self, session: Session, *, hurried: bool = False) -> Step:
        """Commit the next batch, if there is one; a short one where others wait. Never raises an `Exception`."""
        backlog = self._queue.backlog()
        batch = self._queue.take(schedule.STEADY_ROWS if hurried else schedule.transaction_rows(backlog))
        if batch is None:
            return Step()
        started = self._clock()
        try:
            result = session.commit(
                [entry[RECORD] for entry in batch.entries],
                batch_no=batch.number,
                durable=batch.durable,
                slice_rows=schedule.slice_rows(backlog),
            )
        except Exception as error:  # noqa: BLE001 - the writer outlives anything; `failed` counts, logs and paces it
            return self.failed(error, batch)
        self._queue.settle(batch, result)
        commits = self.commits
        if commits.failures_in_a_row > _QUIET_TRIES:
            message = f"{self._path} accepts records again after {{n}} failures"
            self._tell(EventKind.STORE_RECOVERED, commits.failures_in_a_row, message, None)
        if result.quarantined:
            message = "{n} records were refused by the store and put into dead_letters"
            self._tell(EventKind.QUARANTINED, len(result.quarantined), message, None)
        commits.failures_in_a_row = self._damaged = 0
        commits.transactions += 1
        if result.redactions:
            commits.redactions = commits.redactions + Counter(result.redactions)  # another object: stats may be reading
        commits.buckets[bucket_of((self._clock() - started) * 1000)] += 1
        try:
            self._after_commit(session)
        except Exception as error:  # noqa: BLE001 - the records are safe; housekeeping is tried again after the next commit
            self.housekeeping_failed(error)
        return Step(committed=len(batch.entries))

    def housekeeping_failed(self, error: Exception) -> None:
        """Note that the WAL could not be copied back: no record is touched by it, but the WAL will grow."""
        said = self.commits.last_error
        self._note(error)
        if self.commits.last_error != said:
            _LOG.warning("telemetry: the WAL of %s cannot be copied back (goes on): %s", self._path, clean(str(error)))

    def failed(self, error: Exception, batch: Batch | None = None) -> Step:
        """Note that a commit, or opening the file, failed, and say when to try again."""
        self._note(error)
        commits = self.commits
        commits.failures_in_a_row += 1
        commits.retries += 1
        failures = commits.failures_in_a_row
        if self.is_hopeless(error):
            self.fatal = self._as_store_error(error)
            self._queue.refuse(DropReason.STORE_FAILED)
            lost = self._queue.abandon(DropReason.STORE_FAILED, in_flight=True)
            message = f"{self._path} cannot be used, {{n}} records are lost: {error}"
            self._tell(EventKind.STORE_UNUSABLE, lost, message, error)
            return Step()
        if batch is not None and self._store.classify(error) is Fault.BUG:
            tries = self._bugs[1] + 1 if self._bugs[0] == batch.number else 1
            self._bugs = (batch.number, tries)
            if tries >= _TRIES_OF_A_BUG:
                lost = self._queue.abandon_in_flight(DropReason.STORE_FAILED)
                message = "{n} records are lost to an error of the writer"
                self._tell(EventKind.WRITER_FAILED, lost, message, error)
                return Step(committed=lost)
            failures = tries
        fault = self.set_damaged_aside(error)
        if failures == _QUIET_TRIES + 1 or failures % 64 == 0:
            message = f"{self._path} does not accept records (try {{n}}, goes on): {error}"
            self._tell(EventKind.STORE_FAILING, failures, message, error)
        reopen = fault in {Fault.REOPEN, Fault.DAMAGED} or failures % _TRIES_OF_A_CONNECTION == 0
        return Step(retry_in=schedule.retry_delay(failures), reopen=reopen)

    def set_damaged_aside(self, error: Exception) -> Fault:
        """Set the file aside where the error says that it cannot be used any more; returns what the error means.

        A damaged file must fail on two connections in a row: the first may be what is wrong. A disk on which every new
        file is damaged gets one at the 2nd, 4th, 8th, … failure only.
        """
        fault = self._store.classify(error)
        if fault is Fault.DAMAGED:
            self._damaged += 1
        is_due = fault is Fault.DAMAGED and self._damaged > 1 and self._damaged & (self._damaged - 1) == 0
        if is_due or (fault is Fault.REOPEN and isinstance(error, OSError)):
            try:
                kept = self._store.make_way()
            except (OSError, DatabaseUnusableError) as obstacle:
                # The folder may not be written, another process is at it, or what stands there is not ours to move:
                # then the next try to open refuses it for good.
                _LOG.warning("telemetry: %s cannot be set aside (goes on): %s", self._path, clean(str(obstacle)))
                return fault
            if kept is not None:
                self.commits.files_set_aside += 1
            where = "nothing of it is left there" if kept is None else f"it is kept as {kept.name}"
            message = f"{self._path} cannot be used any more ({error}); {where}, and a new file takes over"
            self._tell(EventKind.FILE_SET_ASIDE, 0 if kept is None else 1, message, error)
        return fault

    def _as_store_error(self, error: Exception) -> DatabaseUnusableError:
        if isinstance(error, DatabaseUnusableError):
            return error
        unusable = DatabaseUnusableError(f"{self._path} cannot be used: {error}; give another db_path", self._path)
        unusable.__cause__ = error
        return unusable

    def is_hopeless(self, error: Exception) -> bool:
        """Whether no retry can help."""
        return self._store.classify(error) is Fault.UNUSABLE

    def _note(self, error: Exception) -> None:
        self.commits.last_error_at = datetime.now(UTC)
        self.commits.last_error = clean(self._store.describe(error))[:500]
