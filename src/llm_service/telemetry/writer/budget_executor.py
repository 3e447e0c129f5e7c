"""Budgets at the counter: reservations and settlements in transactions of their own, never behind the queue.

Requests that come at the same time share a transaction. On the async logger a daemon thread serves them; on the sync
logger the calling thread does. Both hold the engine's commit lock meanwhile, so that they wait for one transaction of
the writer at most, and a fork finds no connection open.
"""

import random
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import get_ident
from time import monotonic, sleep
from typing import Final

from llm_service.errors import CommitTimeoutError, StoreError, TelemetryError
from llm_service.redaction import clean
from llm_service.telemetry.privacy import Redactor
from llm_service.telemetry.record.record import InvocationRecord
from llm_service.telemetry.stores import forks
from llm_service.telemetry.stores.base import BudgetSession, Fault, Store, WriteResult
from llm_service.telemetry.stores.budget_requests import BudgetRequest
from llm_service.telemetry.writer import threads
from llm_service.telemetry.writer.commit_lock import CommitLock, CommitLockBusyError
from llm_service.telemetry.writer.ledger import Outcome, Settlement
from llm_service.telemetry.writer.queue import RecordQueue
from llm_service.telemetry.writer.waiters import Waiter

__all__ = ["BudgetExecutor", "Request"]

_MOST_TOGETHER: Final = 64
_SHORTEST_NAP: Final = 0.00005
_LONGEST_NAP: Final = 0.002
"""Seconds between two tries for a lock that another process holds."""
_PAUSE: Final = 0.01
_LONGEST_WITHOUT_LOOKING: Final = 0.25


@dataclass(slots=True, eq=False)
class Request(BudgetRequest):
    """A request, who waits for it, and the monotonic second after which it is given up."""

    waiter: Waiter | None = None
    deadline: float = float("inf")
    done: bool = False

    def finish(self) -> None:
        """Tell who waits."""
        self.done = True
        if self.waiter is not None:
            self.waiter.resolve(self)


class BudgetExecutor:
    """Serves requests against one store.

    Args:
        queue: takes what is not settled here, and counts what is.
        redactor: knows the id under which the store has a record.
        after_commit: called with the session after each commit, under the lock.
        path: the file, for errors.
    """

    def __init__(
        self,
        store: Store,
        queue: RecordQueue,
        redactor: Redactor,
        commit_lock: CommitLock,
        after_commit: Callable[[BudgetSession], None],
        path: Path,
    ) -> None:
        self._store = store
        self._records = queue
        self._redactor = redactor
        self._commit_lock = commit_lock
        self._after_commit = after_commit
        self._path = path
        self.session = store.budget_session()
        self._queue: SimpleQueue[Request | None] = SimpleQueue()
        self.thread: threading.Thread | None = None
        self._start_lock = threading.RLock()  # a finalizer may submit while this thread is about to start one
        self._starting = False
        self._look_by = 0.0
        self._closed = False
        self.waiting = 0
        self.last_error: Exception | None = None
        """What went wrong last."""

    # Giving

    def submit(self, request: Request) -> None:
        """Have the executor's thread serve a request."""
        self._queue.put(request)
        with self._start_lock:  # a thread that is about to end sees the request, or is seen to have ended
            if self._starting or (self.thread is not None and self.thread.is_alive()):
                return
            self._starting = True
            try:
                self.thread = threads.start(self._run, "llm-telemetry-budgets")
            except RuntimeError as error:  # too many threads, or the interpreter ends: nobody waits for ever
                self._refuse_all(error)
            finally:
                self._starting = False

    def _refuse_all(self, error: Exception) -> None:
        with suppress(Empty):
            while True:
                request = self._queue.get_nowait()
                if request is not None:
                    self._refuse(request, StoreError(f"{self._path}: budgets need a thread, and {error}", self._path))

    def serve(self, request: Request) -> None:
        """Serve a request in the calling thread."""
        try:
            self._serve([request])
        except BaseException:  # Ctrl-C, say: a record that is on disk already counts as a duplicate
            if request.record is not None and not request.done:
                self.take_over(request.record)
            raise
        self._look_back()
        if self._closed:
            self._let_go_in_time()

    # Serving

    def _run(self) -> None:
        while True:
            first = self._next()
            if first is None:
                self._look_back()
                self._let_go_in_time()  # before the thread counts as ended; a late request opens the file again
                with self._start_lock:
                    if self._queue.empty():
                        self.thread = None
                        return
                continue
            requests = [first]
            with suppress(Empty):
                while len(requests) < _MOST_TOGETHER:
                    further = self._queue.get_nowait()
                    if further is None:
                        self._queue.put(None)
                        break
                    requests.append(further)
            self._serve(requests)
            if self._closed and self._queue.empty():  # what came after the close is done; nobody closes again
                self._queue.put(None)

    def _serve(self, requests: list[Request]) -> None:
        """Serve these requests, each until it is done, refused, or its deadline has passed."""
        nap = _SHORTEST_NAP
        while requests:
            try:
                self._transact(requests)
            except Exception as error:  # noqa: BLE001 - told to whoever waits
                self.last_error = error
                requests = self._give_up(requests, error)
                if requests:
                    pause = random.uniform(_SHORTEST_NAP, nap)  # noqa: S311 - not for secrets: who tries next
                    self._commit_lock.short_locks.waiting(partial(sleep, pause))
                    nap = min(_LONGEST_NAP if self._store.classify(error) is Fault.LOCKED else 0.1, nap * 2)
            else:
                for request in requests:
                    request.finish()
                return

    def _next(self) -> Request | None:
        """The next request. Thresholds are looked at in a pause, when nobody waits for the interpreter."""
        if self.session.looks_back and monotonic() < self._look_by:
            with suppress(Empty):
                return self._queue.get(timeout=_PAUSE)
        self._look_back()
        self._look_by = monotonic() + _LONGEST_WITHOUT_LOOKING
        return self._queue.get()

    def _look_back(self) -> None:
        """Tell of thresholds, and forget what is old, now that nobody waits."""
        lock = self._commit_lock
        if lock.owner == get_ident() or not self.session.looks_back:
            return
        try:
            lock.run(self._look_back_now, 0.1)
        except CommitLockBusyError:
            return
        except Exception as error:  # noqa: BLE001 - it is looked at again when more is spent; the thread goes on
            self.last_error = error

    def _look_back_now(self) -> None:
        if not self.session.is_open:
            return
        try:
            self.session.look_back()
        except BaseException as error:
            if not isinstance(error, Exception):
                self.let_go()  # an interrupt may leave a transaction open
            raise

    def _give_up(self, requests: Sequence[Request], error: Exception) -> list[Request]:
        """Those that are worth another try."""
        within = self._commit_lock.owner == get_ident()
        hopeless = within or self._store.classify(error) is Fault.UNUSABLE
        is_bug = not isinstance(error, (*self._store.errors, TelemetryError))
        left: list[Request] = []
        for request in requests:
            request.tries += 1
            if hopeless or is_bug:
                self._refuse(request, error)
            elif monotonic() >= request.deadline:
                message = f"{self._path} did not answer about budgets in time ({clean(str(error))})"
                self._refuse(request, CommitTimeoutError(message, self._path))
            else:
                left.append(request)
        return left

    def _refuse(self, request: Request, error: Exception) -> None:
        request.error = error
        if request.record is not None:
            self.take_over(request.record)
        request.finish()

    def take_over(self, record: InvocationRecord) -> None:
        """Queue a record that is not settled here; it ends its hold when it is written."""
        if not self._records.offer(record):
            self._store.hold_ids.pop(self._redactor.invocation_id(record.card[0]), None)

    def _transact(self, requests: Sequence[Request]) -> None:
        soonest = min(request.deadline for request in requests)
        lock = self._commit_lock
        if lock.owner == get_ident():  # and stays it: what comes next would give back what is not ours
            raise StoreError(f"{self._path}: a signal handler within a commit cannot wait for another", self._path)
        self.waiting += 1  # until it is done: who looks at this has the lock
        try:
            lock.run(lambda: self._transact_now(requests), max(0.0, min(soonest - monotonic(), 3600.0)))
        finally:
            self.waiting -= 1

    def _transact_now(self, requests: Sequence[Request]) -> None:
        try:
            self.session.open()
            result = self.session.serve(requests)
        except BaseException as error:  # an interrupt, too, may leave a transaction open
            if self._store.classify(error) is not Fault.LOCKED:
                self.let_go()
            raise
        self._records.account(_settled(requests, result))
        self._after_commit(self.session)

    # Ends

    def let_go(self) -> None:
        """Close the database; the caller holds the commit lock. The next request opens it again."""
        self.session.close()

    def leak(self) -> None:
        """In a forked child: never touch a connection of the parent's, not even to close it."""
        forks.leak(self.session)

    @property
    def short_lock(self) -> threads.ShortLock:
        """See `ShortLocks`."""
        return self._start_lock

    @property
    def is_running(self) -> bool:
        """Whether there is a thread that serves."""
        thread = self.thread
        return thread is not None and thread.is_alive()

    def close(self, seconds: float) -> None:
        """Serve what was given, end the thread and let go of the file, within so many seconds; it blocks."""
        thread = self.thread
        if thread is not None and thread.is_alive() and thread is not threading.current_thread():
            self._queue.put(None)
            self._commit_lock.short_locks.waiting(lambda: thread.join(seconds))
        self._let_go_in_time()

    def close_soon(self) -> None:
        """Have the thread end once it has served what was given; without one, let go of the file here.

        What still comes is served all the same, and the file let go of again.
        """
        self._closed = True
        if self.is_running:
            self._queue.put(None)
        else:
            self._let_go_in_time()

    def _let_go_in_time(self) -> None:
        """Close the database unless somebody works with it."""
        lock = self._commit_lock
        if lock.owner == get_ident():
            return
        if self.session.is_open:
            with suppress(CommitLockBusyError):
                lock.run(self.let_go, 0.5)


def _settled(requests: Sequence[Request], result: WriteResult) -> list[Settlement]:
    """What became of their records, which is the outcome of those that had nothing else to be done."""
    outcomes: list[Settlement] = []
    for position, request in enumerate(request for request in requests if request.record is not None):
        outcome = (
            Outcome.DUPLICATE
            if position in result.duplicates
            else Outcome.QUARANTINED
            if position in result.quarantined
            else Outcome.WRITTEN
        )
        outcomes.append(outcome)
        if request.work is None:
            request.outcome = outcome
    return outcomes
