"""`purge` on both loggers: asked for here, done by the engine in small steps between commits, on its connection.

Another connection would not do: before a fork the engine lets go of its own, and knows of no other.
"""

import asyncio
from time import monotonic, sleep, time_ns
from typing import Final

from llm_service.errors import CommitTimeoutError, QueryError, StoreError
from llm_service.telemetry.client.reports_api import AsyncReports, Reports
from llm_service.telemetry.client.shared import BaseClient
from llm_service.telemetry.stores.retention import Cutoffs, kept_since
from llm_service.telemetry.stores.sqlite.purge_steps import PurgeResult, count_old
from llm_service.telemetry.writer.purge_schedule import PurgeJob
from llm_service.telemetry.writer.schedule import purge_may_go
from llm_service.telemetry.writer.waiters import LoopWaiter, ThreadWaiter, Waiter

__all__ = ["AsyncPurges", "Purges", "first_kept"]

_MOST_DAYS: Final = 36_500
_LOOK_AGAIN: Final = 0.1
"""Seconds between two looks at a purge that another thread drives: its driver may have died with its loop."""
_GIVE_WAY: Final = 0.001


class _PurgeJobs(BaseClient):
    """What both loggers do about a purge."""

    def _request(self, cutoff: str, waiter: Waiter) -> PurgeJob:
        if self._engine.closing:
            raise StoreError(f"{self.db_path} was not purged: the logger is closed; make another", self.db_path)
        return self._engine.retention.request(Cutoffs(cutoff, None), waiter)

    def _check(self, job: PurgeJob) -> None:
        """Raise where a purge that is not over does not get on."""
        if job.over:
            return
        path, committer = self.db_path, self._engine.committer
        if committer.fatal is not None:
            raise committer.fatal
        if job.error is not None and committer.is_hopeless(job.error):
            raise StoreError(f"{path} cannot be purged: {job.error}", path) from job.error
        seconds = self._settings.commit_timeout
        if monotonic() - job.moved_at > seconds:
            cause = job.error or committer.commits.last_error or "the writer is behind"
            raise CommitTimeoutError(f"{path} was not purged further for {seconds:g} s ({cause}); call again", path)


class AsyncPurges(_PurgeJobs, AsyncReports):
    """`await telemetry.purge(...)`."""

    async def purge(self, older_than_days: float, *, dry_run: bool = False) -> PurgeResult:
        """See `TelemetryLogger.purge`. The loop goes on meanwhile; cancelling ends the purge between two steps."""
        cutoff = first_kept(older_than_days)
        if self._engine.stores_nothing:
            return PurgeResult(dry_run=dry_run)
        if dry_run:
            return await self._ask(lambda fetch: count_old(fetch, cutoff), fresh=True)
        if not (await self.flush()).complete:
            raise self._late("what was accepted could not be flushed", self._settings.commit_timeout)
        waiter = LoopWaiter()
        job = self._request(cutoff, waiter)
        try:
            while not waiter.future.done():
                self._engine.drivers.ensure()
                self._engine.drivers.wake()
                await asyncio.wait([waiter.future], timeout=_LOOK_AGAIN)
                self._check(job)
        finally:
            self._engine.retention.withdraw(job)
        return job.result()


class Purges(_PurgeJobs, Reports):
    """`logger.purge(...)`."""

    def purge(self, older_than_days: float, *, dry_run: bool = False) -> PurgeResult:
        """Delete records of whole UTC days, with their contents, and dead letters; give their pages back to the disk.

        Daily totals stay for ever. It goes in steps of a few milliseconds between the commits, and gives way to whoever
        waits for one; an interrupted purge leaves nothing half done and may be called again. It believes the clock.

        Args:
            older_than_days: from 0 to 36,500; the UTC day that was so many days ago and all later ones are kept. 0
                keeps today alone. Fractions are taken.
            dry_run: True counts and deletes nothing.

        Returns:
            What was deleted; all zero where this logger stores nothing. `complete` is False when a close came first.

        Raises:
            QueryError: (a `ValueError`) for anything but such a number.
            CommitTimeoutError: nothing could be done for `commit_timeout`: the file is locked or full.
            StoreError: the file cannot be used, or the logger is closed.
        """
        cutoff = first_kept(older_than_days)
        if self._engine.stores_nothing:
            return PurgeResult(dry_run=dry_run)
        if dry_run:
            return self._ask(lambda fetch: count_old(fetch, cutoff), fresh=True)
        if not self.flush().complete:
            raise self._late("what was accepted could not be flushed", self._settings.commit_timeout)
        engine = self._engine
        job = self._request(cutoff, ThreadWaiter())
        try:
            while not job.over:
                due_in = engine.retention.due_in()
                if purge_may_go(engine.queue.backlog(), due_in):
                    engine.inline.retain()
                    self._check(job)
                else:
                    sleep(min(max(_GIVE_WAY, due_in or 0.0), _LOOK_AGAIN))
        finally:
            engine.retention.withdraw(job)
        return job.result()


def first_kept(older_than_days: object) -> str:
    """The first UTC day that a purge keeps.

    Raises:
        QueryError: it is no number of days.
    """
    if (
        isinstance(older_than_days, bool)
        or not isinstance(older_than_days, int | float)
        or not 0 <= older_than_days <= _MOST_DAYS
    ):
        raise QueryError("older_than_days", older_than_days, f"give a number of days from 0 to {_MOST_DAYS:,}")
    return kept_since(time_ns() // 1000, older_than_days)
