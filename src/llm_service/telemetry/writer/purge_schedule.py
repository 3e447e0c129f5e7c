"""When to delete what is too old: a look now and then, then small steps with pauses, between the commits of a driver.

Whoever drives asks `due_in` and, when it is time and nobody waits for a commit, gives this a `turn` with the session
under the commit lock. Nothing here starts a thread, sleeps, or raises.
"""

import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from time import monotonic, time_ns
from typing import Final

from llm_service.config.settings import Settings
from llm_service.redaction import clean
from llm_service.telemetry.journal.segment_names import writers
from llm_service.telemetry.stores.base import Fault, Purge, Session, Store
from llm_service.telemetry.stores.retention import LEASE, Belief, Cutoffs, PurgeResult
from llm_service.telemetry.writer.schedule import retry_delay
from llm_service.telemetry.writer.threads import ShortLock
from llm_service.telemetry.writer.waiters import Waiter

__all__ = ["PurgeJob", "Retention"]

_LOG: Final = logging.getLogger("llm_service.telemetry")
_LOOK_EVERY: Final = 3600.0
"""Seconds between two looks, unless the UTC day changes."""
_AFTER_A_FAULT: Final = 60.0
_LEASE_SECONDS: Final = LEASE / 1e6
_DAY_NS: Final = 86_400_000_000_000
_PAUSE: Final = 2.0
"""For so many times as long as a step others have the file: a purge has no hurry, and a slow disk slows it down."""
_SHORTEST_PAUSE: Final = 0.001
_STUCK_PAUSE: Final = 1.0


@dataclass(slots=True, eq=False)
class PurgeJob:
    """A purge that somebody asked for and waits for.

    Attributes:
        moved_at: monotonic seconds of the last step that was done.
        error: what the last step failed with, or waits for; None after one that was done.
        over: nothing more will be done: it is complete, withdrawn, or the logger closes.
    """

    purge: Purge
    waiter: Waiter
    moved_at: float = field(default_factory=monotonic)
    error: Exception | None = None
    over: bool = False

    def result(self) -> PurgeResult:
        """What it did."""
        return self.purge.result(complete=self.purge.done)


class Retention:
    """See the module.

    Args:
        holder: the name under which this process purges.
        looks: False where nothing is stored: then nothing is deleted either.

    Attributes:
        purged: records deleted so far.
        last_error: what the last fault said; None after a step that was done. Locks are no fault.
    """

    def __init__(
        self,
        settings: Settings,
        store: Store,
        holder: str,
        *,
        looks: bool = True,
        clock_ns: Callable[[], int] = time_ns,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._settings = settings
        self._store = store
        self._holder = holder
        self.clock_ns = clock_ns
        self._clock = clock
        self._looks = looks and (settings.retention_days, settings.content_retention_days) != (None, None)
        self._lock = threading.RLock()  # a collected logger ends it at any allocation, on this very thread
        self._jobs: list[PurgeJob] = []
        self._purge: Purge | None = None
        self.due_at = clock()  # at once: a process may live for a moment only
        self._day: int | None = None
        self._gone_through: str | None = None
        self._failures = 0
        self._doubting = False
        self._ended = False
        self.purged = 0
        self.last_error: str | None = None

    def due_in(self) -> float | None:
        """Seconds until a turn is wanted: 0 or less is now, None never."""
        if self._ended or not (self._looks or self._jobs):
            return None
        if self._purge is None and not self._jobs and self._day is not None and self._day != self._today():
            return 0.0
        return self.due_at - self._clock()

    @property
    def short_lock(self) -> ShortLock:
        """See `ShortLocks`."""
        return self._lock

    @property
    def busy(self) -> bool:
        """Whether a purge is under way."""
        return bool(self._jobs) or self._purge is not None

    def turn(self, session: Session) -> None:
        """Look, or do one step. The caller holds the commit lock."""
        started = self._clock()
        with self._lock:
            job = self._jobs[0] if self._jobs else None
        purge = self._purge if job is None else job.purge
        try:
            if self._ended or (job is None and not self._looks):
                return
            if purge is None:
                self._look(session)
                return
            before = purge.records
            session.purge(purge)
            self.purged += purge.records - before
        except Exception as error:  # noqa: BLE001 - noted and paced: a driver outlives anything
            self.failed(error)
            return
        now = self._clock()
        self._failures, self.last_error = 0, None
        self.due_at = now + (_STUCK_PAUSE if purge.stuck else max(_SHORTEST_PAUSE, _PAUSE * (now - started)))
        if job is not None:
            if purge.stuck:
                job.error = TimeoutError("a foreign reader keeps the WAL from being copied back")
            else:
                job.moved_at, job.error = now, None
            if purge.done:
                self.withdraw(job)
        elif purge.done:
            self._finished(purge)

    # What somebody asks for

    def request(self, cutoffs: Cutoffs, waiter: Waiter) -> PurgeJob:
        """Have a purge done by the coming turns, before any other; the waiter is told None when it is over."""
        job = PurgeJob(self._purge_of(cutoffs, takes_over=True), waiter)
        with self._lock:
            ended = self._ended
            if not ended:
                self._jobs.append(job)
                self.due_at = self._clock()
        if ended:
            self.withdraw(job)
        return job

    def withdraw(self, job: PurgeJob) -> None:
        """Do no more of it; a step under way comes to its end."""
        with self._lock, suppress(ValueError):
            self._jobs.remove(job)
        if not job.over:
            job.over = True
            job.waiter.resolve(None)

    def end(self) -> None:
        """The logger closes: what is not done is left to the next process."""
        with self._lock:
            self._ended = True
            jobs = list(self._jobs)
        for job in jobs:
            self.withdraw(job)

    # Inside a turn

    def _look(self, session: Session) -> None:
        self._day = self._today()
        belief = session.believe(self.clock_ns() // 1000)
        self._tell(belief)
        cutoffs = Cutoffs(None, None) if belief.until is None else Cutoffs.at(belief.until, self._settings)
        thorough = self._gone_through != (cutoffs.contents or "")
        if session.has_old(cutoffs, thorough=thorough):
            self._purge = self._purge_of(cutoffs)
            self.due_at = self._clock()
        else:
            self._rest(_LOOK_EVERY)
        self._failures = 0

    def _rest(self, seconds: float) -> None:
        """Nothing is to be done for so long, unless somebody has asked for a purge meanwhile."""
        with self._lock:
            self.due_at = self._clock() + (0.0 if self._jobs else seconds)

    def _purge_of(self, cutoffs: Cutoffs, *, takes_over: bool = False) -> Purge:
        return self._store.begin_purge(
            cutoffs,
            self._holder,
            takes_over=takes_over,
            awaited=lambda: writers(self._settings.db_path),
            clock_ns=self.clock_ns,
        )

    def _finished(self, purge: Purge) -> None:
        self._purge = None
        if purge.held:
            self._rest(_LEASE_SECONDS)
            return
        self._gone_through = purge.cutoffs.contents or ""
        self._rest(_LOOK_EVERY)
        if purge.records or purge.contents:
            _LOG.info("telemetry: retention deleted %d records, %d contents", purge.records, purge.contents)

    def failed(self, error: Exception, *, warn: bool = True) -> None:
        """A turn came to nothing: try again after a pause. With `warn=False` somebody else logs why."""
        with self._lock:
            job = self._jobs[0] if self._jobs else None
        self._failures += 1
        self.due_at = self._clock() + retry_delay(self._failures)
        if job is not None:
            job.error = error
        is_fault = self._store.classify(error) is not Fault.LOCKED
        if job is None and is_fault:
            self._purge = None
            self._rest(_AFTER_A_FAULT)
        if is_fault:
            if warn and self.last_error is None:
                _LOG.warning("telemetry: retention does not get on (tried again later): %s", clean(str(error)))
            self.last_error = clean(f"{type(error).__name__}: {error}")[:500]

    def _tell(self, belief: Belief) -> None:
        if belief.doubted and not self._doubting:
            _LOG.warning("telemetry: the clock is suddenly far ahead; retention waits until it has stood for a day")
        self._doubting = belief.doubted

    def _today(self) -> int:
        return self.clock_ns() // _DAY_NS
