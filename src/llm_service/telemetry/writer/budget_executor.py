"""Budgets at the counter: reservations and settlements in transactions of their own, never behind the queue.

Requests that come at the same time share a transaction. On the async logger a daemon thread serves them; on the sync
logger the calling thread does. Both hold the engine's commit lock meanwhile, so that they wait for one transaction of
the writer at most, and a fork finds no connection open.
"""

import random
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue
from threading import get_ident
from time import monotonic, sleep, time_ns
from typing import Any, Final

from llm_service.errors import CommitTimeoutError, StoreError, TelemetryError
from llm_service.redaction import clean
from llm_service.telemetry.stores import forks
from llm_service.telemetry.stores.base import Fault, WriteResult
from llm_service.telemetry.stores.sqlite import error_kinds
from llm_service.telemetry.stores.sqlite.batch_writer import SqliteBatchWriter
from llm_service.telemetry.stores.sqlite.budget_reservations import HoldKeeper
from llm_service.telemetry.stores.sqlite.database_files import OwnConnection
from llm_service.telemetry.stores.sqlite.opening import open_for_writing
from llm_service.telemetry.writer import threads
from llm_service.telemetry.writer.budget_requests import BudgetExecutorHost, Request, Work
from llm_service.telemetry.writer.commit_lock import CommitLockBusyError
from llm_service.telemetry.writer.ledger import Outcome, Settlement

__all__ = ["BudgetExecutor", "BudgetExecutorHost", "Request", "Work"]

_MOST_TOGETHER: Final = 64
_SHORTEST_NAP: Final = 0.00005
_LONGEST_NAP: Final = 0.002
"""Seconds between two tries for a lock that another process holds: SQLite's own waits grow to a tenth of a second."""
_PAUSE: Final = 0.01
_LONGEST_WITHOUT_LOOKING: Final = 0.25
_EXPIRE_SECONDS: Final = 0.1
_NO_WAITING: Final = "PRAGMA busy_timeout = 0"


class BudgetExecutor:
    """Serves requests against one file.

    Args:
        path: the database.
        host: the engine.
        make_writer: a writer for the records that settle, and the keeper that shares its book.
        clock_ns: nanoseconds since 1970.
    """

    def __init__(
        self,
        path: Any,
        host: BudgetExecutorHost,
        make_writer: Callable[[], tuple[SqliteBatchWriter, HoldKeeper]],
        clock_ns: Callable[[], int] = time_ns,
    ) -> None:
        self._path = path
        self._host = host
        self._make_writer = make_writer
        self._clock_ns = clock_ns
        self.reset()

    def reset(self) -> None:
        """Start afresh, with no connection and no thread: also what a forked child does."""
        self._connection: OwnConnection | None = None
        self._queue: SimpleQueue[Request | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._start_lock = threading.RLock()  # a finalizer may submit while this thread is about to start one
        self._starting = False
        self._writer, self._keeper = self._make_writer()
        self._batches = 0
        self._together: list[Request] = []
        self._last_error: Exception | None = None
        self._expire_at = self._look_by = 0.0
        self.waiting = 0

    # Giving

    def submit(self, request: Request) -> None:
        """Have the executor's thread serve a request."""
        self._queue.put(request)
        with self._start_lock:  # a thread that is about to end sees the request, or is seen to have ended
            if self._starting or (self._thread is not None and self._thread.is_alive()):
                return
            self._starting = True
            try:
                self._thread = threads.start(self._run, "llm-telemetry-budgets")
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
                self._host.take_over(request.record)
            raise
        self._look_back()
        if self._host.closed:
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
                        self._thread = None
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
            if self._host.closed and self._queue.empty():  # what came after the close is done; nobody closes again
                self._queue.put(None)

    def _serve(self, requests: list[Request]) -> None:
        """Serve these requests, each until it is done, refused, or its deadline has passed."""
        nap = _SHORTEST_NAP
        while requests:
            try:
                self._transact(requests)
            except Exception as error:  # noqa: BLE001 - told to whoever waits
                self._last_error = error
                requests = self._give_up(requests, error)
                if requests:
                    sleep(random.uniform(_SHORTEST_NAP, nap))  # noqa: S311 - not for secrets: who tries next
                    nap = min(_LONGEST_NAP if error_kinds.is_locked(error) else 0.1, nap * 2)
            else:
                for request in requests:
                    request.finish()
                return

    def _next(self) -> Request | None:
        """The next request. Thresholds are looked at in a pause, when nobody waits for the interpreter."""
        if self._writer.looks_back and monotonic() < self._look_by:
            with suppress(Empty):
                return self._queue.get(timeout=_PAUSE)
        self._look_back()
        self._look_by = monotonic() + _LONGEST_WITHOUT_LOOKING
        return self._queue.get()

    def _look_back(self) -> None:
        """Tell of thresholds, and forget what is old, now that nobody waits."""
        lock = self._host.commit_lock
        if lock.owner == get_ident() or not (self._writer.looks_back or self._host.upkeep_is_due):
            return
        try:
            lock.run(self._look_back_now, 0.1)
        except CommitLockBusyError:
            return
        except Exception as error:  # noqa: BLE001 - it is looked at again when more is spent; the thread goes on
            self._last_error = error

    def _look_back_now(self) -> None:
        connection = self._connection
        if connection is None:
            return
        try:
            if self._host.upkeep_is_due:
                self._host.keep_up(connection, self._keeper)
                connection.execute(_NO_WAITING)
            self._writer.look_back()
        except BaseException as error:
            if not isinstance(error, Exception):
                self.let_go()  # an interrupt may leave a transaction open
            raise

    def _give_up(self, requests: Sequence[Request], error: Exception) -> list[Request]:
        """Those that are worth another try."""
        within = self._host.commit_lock.owner == get_ident()
        hopeless = within or error_kinds.classify(error) is Fault.UNUSABLE
        is_bug = not isinstance(error, (*error_kinds.STORE_ERRORS, TelemetryError))
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
            self._host.take_over(request.record)
        request.finish()

    def _transact(self, requests: Sequence[Request]) -> None:
        soonest = min(request.deadline for request in requests)
        lock = self._host.commit_lock
        if lock.owner == get_ident():  # and stays it: what comes next would give back what is not ours
            raise StoreError(f"{self._path}: a signal handler within a commit cannot wait for another", self._path)
        self.waiting += 1  # until it is done: who looks at this has the lock
        try:
            lock.run(lambda: self._transact_now(requests), max(0.0, min(soonest - monotonic(), 3600.0)))
        finally:
            self.waiting -= 1

    def _transact_now(self, requests: Sequence[Request]) -> None:
        connection = self._opened()
        try:
            settled = self._do(connection, requests)
            connection.check()  # what went into a file that was replaced is done again in the new one
        except BaseException as error:  # an interrupt, too, may leave a transaction open
            if not error_kinds.is_locked(error):
                self.let_go()
            raise
        self._host.account(settled)
        self._host.committed(connection)

    def _do(self, connection: OwnConnection, requests: Sequence[Request]) -> list[Settlement]:
        """One transaction: records first, which make room, then everything else in order."""
        recording = [request for request in requests if request.record is not None]
        if recording != self._together:  # of other records than at the last try: another batch
            self._together, self._batches = recording, self._batches + 1

        def work() -> None:
            self._tidy(connection)
            for request in requests:
                if request.work is not None:
                    request.error = None
                    try:
                        request.outcome = request.work(self._keeper, connection)
                    except TelemetryError as refusal:
                        request.error = refusal

        if recording:
            result = self._writer.write(
                connection,
                [request.record for request in recording if request.record is not None],
                batch_no=self._batches,
                durable=any(request.durable for request in recording),
                slice_rows=_MOST_TOGETHER,
                within=work,
            )
            return self._settled(recording, result)
        self._writer.transact(connection, work)
        return []

    def _tidy(self, connection: OwnConnection) -> None:
        """Holds whose lease is over, now and then."""
        now = monotonic()
        if now >= self._expire_at:
            self._keeper.expire(connection, self._clock_ns() // 1000)
            self._expire_at = now + _EXPIRE_SECONDS

    def expire_now(self) -> None:
        """Look for holds whose lease is over with the next request."""
        self._expire_at = 0.0

    def _settled(self, recording: Sequence[Request], result: WriteResult) -> list[Settlement]:
        outcomes: list[Settlement] = []
        for position, request in enumerate(recording):
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

    def _opened(self) -> OwnConnection:
        if self._connection is None:
            connection = open_for_writing(self._path, self._clock_ns() // 1000)
            try:
                connection.execute(_NO_WAITING)
                self._host.register(connection, self._keeper)
            except BaseException:
                connection.close()
                raise
            self._connection = connection
        return self._connection

    # Ends

    def let_go(self) -> None:
        """Close the database; the caller holds the commit lock. The next request opens it again."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(Exception):
                connection.close()

    def leak(self) -> None:
        """In a forked child: never touch a connection of the parent's, not even to close it."""
        if self._connection is not None:
            forks.leak(self._connection)

    @property
    def is_running(self) -> bool:
        """Whether there is a thread that serves."""
        thread = self._thread
        return thread is not None and thread.is_alive()

    def close(self, seconds: float) -> None:
        """Serve what was given, end the thread and let go of the file, within so many seconds; it blocks."""
        thread = self._thread
        if thread is not None and thread.is_alive() and thread is not threading.current_thread():
            self._queue.put(None)
            thread.join(seconds)
        self._let_go_in_time()

    def close_soon(self) -> None:
        """Have the thread end once it has served what was given; without one, let go of the file here."""
        if self.is_running:
            self._queue.put(None)
        else:
            self._let_go_in_time()

    def _let_go_in_time(self) -> None:
        """Close the database unless somebody works with it."""
        lock = self._host.commit_lock
        if lock.owner == get_ident():
            return
        if self._connection is not None:
            with suppress(CommitLockBusyError):
                lock.run(self.let_go, 0.5)

    @property
    def last_error(self) -> StoreError | Exception | None:
        """What went wrong last."""
        return self._last_error
