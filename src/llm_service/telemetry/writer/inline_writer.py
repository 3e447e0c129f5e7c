"""The calling thread commits by itself: the sync logger's way, and the last drain's.

Threads that call at the same time form groups: the one that holds the commit lock commits for all that wait, and the
others find their records done.
"""

from collections.abc import Callable
from contextlib import suppress
from threading import TIMEOUT_MAX, get_ident
from time import monotonic, sleep
from typing import Any, Protocol, TypeVar

from llm_service.telemetry.writer import forks
from llm_service.telemetry.writer.commit_lock import CommitLock, CommitLockBusyError
from llm_service.telemetry.writer.committer import Committer, Step
from llm_service.telemetry.writer.drivers import Drivers
from llm_service.telemetry.writer.purge_schedule import Retention
from llm_service.telemetry.writer.schedule import retry_delay

__all__ = ["InlineHost", "InlineWriter"]

_Done = TypeVar("_Done")


class InlineHost(Protocol):
    """What an inline writer needs of its engine."""

    commit_lock: CommitLock
    committer: Committer
    drivers: Drivers
    retention: Retention
    closing: bool

    def open_connection(self) -> Any:
        """Open the database."""
        ...

    def step(self, connection: Any, /) -> Step:
        """Commit the next batch."""
        ...

    def tidy(self, connection: Any, /) -> None:
        """Housekeeping in an idle moment."""
        ...

    def retain(self, connection: Any, /) -> None:
        """Give retention a turn."""
        ...


class InlineWriter:
    """Owns one connection, used by one thread at a time under the engine's commit lock."""

    def __init__(self, engine: InlineHost) -> None:
        self._engine = engine
        self._connection: Any = None

    def open(self, deadline: float) -> None:
        """Open the database now, trying again while it is locked by others that set it up.

        Raises:
            Exception: the last failure, once `deadline` (monotonic seconds) has passed or where no retry helps.
        """
        failures = 0
        while True:
            try:
                self._engine.commit_lock.run(self._ensure_connection)
            except Exception as error:
                failures += 1
                if self._engine.committer.is_hopeless(error) or monotonic() >= deadline:
                    raise
                self._engine.committer.give_way(error)
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
                step = lock.run(lambda: None if done() else self._step(), min(left, TIMEOUT_MAX))
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
        """Look whether retention has work, once an hour; the work itself is a background thread's."""
        engine = self._engine
        due_in = None if engine.closing else engine.retention.due_in()
        if due_in is not None and due_in <= 0:
            if not engine.retention.busy:
                self.retain()
            if engine.retention.busy and engine.drivers.ensure(drives=False):
                engine.drivers.wake()

    def step(self) -> Step:
        """One commit in this thread."""
        return self._engine.commit_lock.run(self._step)

    def tidy(self) -> None:
        """Housekeeping in this thread."""
        self._engine.commit_lock.run(self._tidy)

    def retain(self) -> None:
        """A turn of retention in this thread."""
        self._engine.commit_lock.run(self._retain)

    @property
    def is_open(self) -> bool:
        """Whether there is a connection."""
        return self._connection is not None

    def close(self) -> None:
        """Close the connection, unless another thread is stuck in a commit with it."""
        lock = self._engine.commit_lock
        if self._connection is not None and lock.owner != get_ident():
            with suppress(CommitLockBusyError):
                lock.run(self.let_go, 1.0)

    def let_go(self) -> None:
        """Close the connection; the caller holds the commit lock. The next commit opens another."""
        if self._connection is not None:
            with suppress(Exception):
                self._connection.close()
            self._connection = None

    def leak(self) -> None:
        """In a forked child: never touch a connection of the parent's, not even to close it."""
        if self._connection is not None:
            forks.leak(self._connection)

    def _ensure_connection(self) -> Any:
        if self._connection is None:
            self._connection = self._engine.open_connection()
        return self._connection

    def _step(self) -> Step:
        try:
            connection = self._ensure_connection()
        except Exception as error:  # noqa: BLE001 - counted, logged and paced like a failed commit
            return self._engine.committer.failed(error)
        step = self._kept_clean(self._engine.step, connection)
        if step.reopen:
            self.let_go()
        return step

    def _tidy(self) -> None:
        if self._connection is not None:
            self._kept_clean(self._engine.tidy, self._connection)

    def _retain(self) -> None:
        try:
            connection = self._ensure_connection()
        except Exception as error:  # noqa: BLE001 - noted and paced, as a step that failed
            self._engine.retention.failed(error)
        else:
            self._kept_clean(self._engine.retain, connection)

    def _kept_clean(self, use: Callable[[Any], _Done], connection: Any) -> _Done:
        try:
            return use(connection)
        except BaseException:  # Ctrl-C, say: it may have left a transaction open, which would fail all that follow
            self.let_go()
            raise
