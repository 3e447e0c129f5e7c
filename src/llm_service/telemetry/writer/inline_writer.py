"""Commits in the calling thread: one of the user's, a writer's own, or the one that ends the process.

User threads that commit at the same time form groups: the one that holds the commit lock commits for all that wait, and
the others find their records committed.
"""

from collections.abc import Callable
from contextlib import suppress
from threading import TIMEOUT_MAX, get_ident
from time import monotonic, sleep
from typing import Protocol

from llm_service.telemetry.stores import forks
from llm_service.telemetry.stores.base import Session
from llm_service.telemetry.writer.backfill_schedule import BackfillSchedule
from llm_service.telemetry.writer.commit_lock import CommitLock, CommitLockBusyError
from llm_service.telemetry.writer.committer import Committer, Step
from llm_service.telemetry.writer.drivers import Drivers
from llm_service.telemetry.writer.purge_schedule import Retention
from llm_service.telemetry.writer.schedule import Do, retry_delay

__all__ = ["InlineHost", "InlineWriter"]


class InlineHost(Protocol):
    """What an inline writer needs of its engine."""

    commit_lock: CommitLock
    committer: Committer
    drivers: Drivers
    retention: Retention
    backfill: BackfillSchedule
    closing: bool

    def open(self, session: Session, /) -> None:
        """Open it, where that is not done."""
        ...

    def do(self, do: Do, session: Session, /) -> Step:
        """Commit, tidy or purge."""
        ...


class InlineWriter:
    """Owns one session, used by one thread at a time under the engine's commit lock."""

    def __init__(self, engine: InlineHost, session: Session) -> None:
        self._engine = engine
        self.session = session

    def open(self, deadline: float) -> None:
        """Open the database now, trying again while it is locked by others that set it up.

        Raises:
            Exception: the last failure, once `deadline` (monotonic seconds) has passed or where no retry helps.
        """
        failures = 0
        while True:
            try:
                self._engine.commit_lock.run(lambda: self._engine.open(self.session))
            except Exception as error:
                failures += 1
                if self._engine.committer.is_hopeless(error) or monotonic() >= deadline:
                    raise
                self._engine.committer.set_damaged_aside(error)
                sleep(retry_delay(failures))
            else:
                return

    def drive(self, done: Callable[[], bool], deadline: float) -> bool:
        """Commit until `done()`, or until `deadline` (monotonic seconds) has passed; returns `done()`."""
        lock = self._engine.commit_lock
        if lock.owner == get_ident():  # a signal handler, within a commit of its own thread's
            return done()
        while not done():
            left = deadline - monotonic()
            if left <= 0:
                return done()
            try:
                step = lock.run(lambda: None if done() else self._act(Do.COMMIT), min(left, TIMEOUT_MAX))
            except CommitLockBusyError:
                return done()
            if step is None:
                return True
            if step.retry_in is not None:
                sleep(max(0.0, min(step.retry_in, deadline - monotonic())))
            elif not step.committed:
                return done()  # nothing waits: what is awaited cannot come from here
            else:
                self._look_around()
        return True

    def _look_around(self) -> None:
        """Look whether retention or a backfill has work; the work itself is a background thread's."""
        engine = self._engine
        for schedule in () if engine.closing else (engine.retention, engine.backfill):
            due_in = schedule.due_in()
            if due_in is not None and due_in <= 0:
                if not schedule.busy:
                    self.retain()
                if schedule.busy and engine.drivers.ensure(drives=False):
                    engine.drivers.wake()

    def act(self, do: Do) -> Step:
        """Open, commit, tidy or purge in this thread. Whatever goes wrong is a step that failed."""
        return self._engine.commit_lock.run(lambda: self._act(do))

    def retain(self) -> None:
        """A turn of retention in this thread."""
        self.act(Do.PURGE)

    def close(self, seconds: float = 1.0) -> None:
        """Close the session, unless another thread is in a commit for so long (-1: however long that takes)."""
        lock = self._engine.commit_lock
        if self.session.is_open and lock.owner != get_ident():
            with suppress(CommitLockBusyError):
                lock.run(self.let_go, seconds)

    def let_go(self) -> None:
        """Close the session; the caller holds the commit lock. The next commit opens it again."""
        self.session.close()

    def leak(self) -> None:
        """In a forked child: never touch a connection of the parent's, not even to close it."""
        forks.leak(self.session)

    def _act(self, do: Do) -> Step:
        engine = self._engine
        try:
            engine.open(self.session)
        except Exception as error:  # noqa: BLE001 - counted, logged and paced like a failed commit
            if do is Do.PURGE:
                engine.retention.failed(error, warn=False)
                engine.backfill.failed(error, warn=False)
            return engine.committer.failed(error)
        try:
            step = engine.do(do, self.session)
        except BaseException:  # Ctrl-C, say: it may have left a transaction open, which would fail all that follow
            self.let_go()
            raise
        if step.reopen:
            self.let_go()
        return step
