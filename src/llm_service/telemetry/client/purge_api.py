"""`purge` on both clients: asked for here, done by the engine in small steps between commits, on its connection.

Another connection would not do: before a fork the engine lets go of its own, and knows of no other.
"""

import asyncio
from functools import partial
from time import monotonic, sleep, time_ns
from typing import Final

from llm_service.errors import CommitTimeoutError, QueryError, StoreError
from llm_service.telemetry.client.client_core import ClientCore
from llm_service.telemetry.client.steps import Step, Steps
from llm_service.telemetry.queries.retention_coverage import count_old
from llm_service.telemetry.stores.retention import Cutoffs, PurgeResult, kept_since
from llm_service.telemetry.writer.purge_schedule import PurgeJob
from llm_service.telemetry.writer.schedule import purge_may_go
from llm_service.telemetry.writer.waiters import LoopWaiter, ThreadWaiter, Waiter

__all__ = ["first_kept", "purge"]

_MOST_DAYS: Final = 36_500
_LOOK_AGAIN: Final = 0.1
"""Seconds between two looks at a purge that another thread drives: its driver may have died with its loop."""
_GIVE_WAY: Final = 0.001


def purge(core: ClientCore, older_than_days: float, *, dry_run: bool = False) -> Steps[PurgeResult]:
    """Delete records of whole UTC days, with their contents, and dead letters; give their pages back to the disk.

    Daily totals stay for ever. It goes in steps of a few milliseconds between the commits, and gives way to whoever
    waits for one; an interrupted or cancelled purge leaves nothing half done and may be called again. It believes the
    clock.

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
    if core.engine.stores_nothing:
        return PurgeResult(dry_run=dry_run)
    if dry_run:
        return (yield from core.ask(lambda fetch: count_old(fetch, cutoff), fresh=True))
    yield from core.flushed()
    return (yield from _Purge(core, cutoff))


class _Purge(Step[PurgeResult]):
    """Waits until the engine has purged."""

    def __init__(self, core: ClientCore, cutoff: str) -> None:
        self._core = core
        self._cutoff = cutoff

    def block(self) -> PurgeResult:
        """Give the engine turns from this thread."""
        engine = self._core.engine
        job = self._request(ThreadWaiter())
        try:
            while not job.over:
                due_in = engine.retention.due_in()
                if purge_may_go(engine.queue.backlog(), due_in):
                    engine.inline.retain()
                else:
                    pause = min(max(_GIVE_WAY, due_in or 0.0), _LOOK_AGAIN)
                    engine.commit_lock.short_locks.waiting(partial(sleep, pause))
                self._check(job)
        finally:
            engine.retention.withdraw(job)
        return job.result()

    async def wait(self) -> PurgeResult:
        """Have the writer task go on with it."""
        engine, waiter = self._core.engine, LoopWaiter()
        job = self._request(waiter)
        try:
            while not waiter.future.done():
                engine.drivers.ensure()
                engine.drivers.wake()
                await asyncio.wait([waiter.future], timeout=_LOOK_AGAIN)
                self._check(job)
        finally:
            engine.retention.withdraw(job)
        return job.result()

    def _request(self, waiter: Waiter) -> PurgeJob:
        path = self._core.db_path
        if self._core.engine.shutdown.closing:
            raise StoreError(f"{path} was not purged: the logger is closed; make another", path)
        return self._core.engine.retention.request(Cutoffs(self._cutoff, None), waiter)

    def _check(self, job: PurgeJob) -> None:
        """Raise where a purge that is not over does not get on."""
        if job.over:
            return
        path, committer = self._core.db_path, self._core.engine.committer
        if committer.fatal is not None:
            raise committer.fatal
        if job.error is not None and committer.is_hopeless(job.error):
            raise StoreError(f"{path} cannot be purged: {job.error}", path) from job.error
        seconds = self._core.settings.commit_timeout
        if monotonic() - job.moved_at > seconds:
            cause = job.error or committer.commits.last_error or "the writer is behind"
            raise CommitTimeoutError(f"{path} was not purged further for {seconds:g} s ({cause}); call again", path)


def first_kept(older_than_days: object) -> str:
    """The first UTC day that a purge keeps."""
    if (
        isinstance(older_than_days, bool)
        or not isinstance(older_than_days, int | float)
        or not 0 <= older_than_days <= _MOST_DAYS
    ):
        raise QueryError("older_than_days", older_than_days, f"give a number of days from 0 to {_MOST_DAYS:,}")
    return kept_since(time_ns() // 1000, older_than_days)
