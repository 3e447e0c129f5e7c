"""Commits in the calling thread: one of the user's, a writer's own, or the one that ends the process.

User threads that commit at the same time form groups: the one that holds the commit lock commits for all that wait, and
the others find their records committed.
"""

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from threading import TIMEOUT_MAX, get_ident
from time import monotonic, sleep

from llm_service.telemetry.stores import forks
from llm_service.telemetry.stores.base import Session
from llm_service.telemetry.writer.commit_lock import CommitLock, CommitLockBusyError
from llm_service.telemetry.writer.committer import Step
from llm_service.telemetry.writer.schedule import Do

__all__ = ["InlineWriter"]


class InlineWriter:
    """Owns one session, used by one thread at a time under the commit lock.

    Args:
        step: opens the session and does one thing with it, under the lock; an error is a step that failed.
        after_commit: called after each commit of `drive`, without the lock.
    """

    def __init__(
        self,
        session: Session,
        commit_lock: CommitLock,
        step: Callable[[Do, Session], Step],
        after_commit: Callable[[], None],
    ) -> None:
        self.session = session
        self._commit_lock = commit_lock
        self._step = step
        self._after_commit = after_commit

    def drive(self, done: Callable[[], bool], deadline: float) -> bool:
        """Commit until `done()`, or until `deadline` (monotonic seconds) has passed; returns `done()`."""
        lock = self._commit_lock
        if lock.owner == get_ident():  # a signal handler, within a commit of its own thread's
            return done()
        while not done():
            left = deadline - monotonic()
            if left <= 0:
                return done()
            try:
                step = lock.run(lambda: None if done() else self._step(Do.COMMIT, self.session), min(left, TIMEOUT_MAX))
            except CommitLockBusyError:
                return done()
            if step is None:
                return True
            if step.retry_in is not None:
                pause = max(0.0, min(step.retry_in, deadline - monotonic()))
                lock.short_locks.waiting(partial(sleep, pause))
            elif not step.committed:
                return done()  # nothing waits: what is awaited cannot come from here
            else:
                self._after_commit()
        return True

    def act(self, do: Do) -> Step:
        """Open, commit, tidy or purge in this thread. Whatever goes wrong is a step that failed."""
        return self._commit_lock.run(lambda: self._step(do, self.session))

    def retain(self) -> None:
        """A turn of retention in this thread."""
        self.act(Do.PURGE)

    def close(self, seconds: float = 1.0) -> None:
        """Close the session, unless another thread is in a commit for so long (-1: however long that takes).

        A session that another thread is closing does not count as open, and its files are not whole yet: the lock is
        taken all the same.
        """
        lock = self._commit_lock
        if lock.owner != get_ident():
            with suppress(CommitLockBusyError):
                lock.run(self.let_go, seconds)

    def let_go(self) -> None:
        """Close the session; the caller holds the commit lock. The next commit opens it again."""
        self.session.close()

    def leak(self) -> None:
        """In a forked child: never touch a connection of the parent's, not even to close it."""
        forks.leak(self.session)
