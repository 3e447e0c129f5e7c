"""One logger's engine: queue, committer and whoever drives them, through start, failures and fork; see `shutdown`.

It knows nothing of the loggers, of event loops, of threads or of the store behind `stores.base`: a driver
(`task_writer`, `thread_writer`) runs the writer loop, which asks `next_action` what to do; `inline` lets any thread do
the work itself, which is how the sync logger commits and how the interpreter's exit drains.
"""

from collections.abc import Callable
from contextlib import suppress
from errno import EDQUOT, ENOSPC
from threading import get_ident
from time import monotonic, sleep
from typing import Final
from uuid import uuid4

from llm_service.budgets.alerts import OnBudget
from llm_service.budgets.policies import Policies
from llm_service.config.settings import Settings
from llm_service.errors import DatabaseUnusableError, StoreError
from llm_service.pricing.book import PriceBook
from llm_service.telemetry.privacy import Redact, Redactor
from llm_service.telemetry.record.texts import repairs_so_far
from llm_service.telemetry.stores import forks
from llm_service.telemetry.stores.base import BudgetSession, Session, Store, StoreParts
from llm_service.telemetry.writer import threads
from llm_service.telemetry.writer.announcer import Announcer
from llm_service.telemetry.writer.backfill_schedule import BackfillSchedule
from llm_service.telemetry.writer.budget_executor import BudgetExecutor
from llm_service.telemetry.writer.commit_lock import CommitLock
from llm_service.telemetry.writer.committer import Committer, Step
from llm_service.telemetry.writer.drivers import Driver, Drivers
from llm_service.telemetry.writer.events import EventKind, OnDrop, OnEvent
from llm_service.telemetry.writer.inline_writer import InlineWriter
from llm_service.telemetry.writer.journal_recovery import JournalRecovery
from llm_service.telemetry.writer.ledger import DropReason
from llm_service.telemetry.writer.purge_schedule import Retention
from llm_service.telemetry.writer.queue_factory import make_queue
from llm_service.telemetry.writer.schedule import Action, Do, next_action, retry_delay
from llm_service.telemetry.writer.shutdown import Shutdown
from llm_service.telemetry.writer.stats import BadValues, Stats, stats_of

__all__ = ["Engine"]

_FORK_WAITS: Final = 5.0
"""Seconds a fork waits for a commit under way. Longer than a store waits for a lock."""


class Engine:
    """See the module; `start_driver` gives None where no driver can live."""

    def __init__(
        self,
        settings: Settings,
        start_driver: Callable[["Engine"], Driver | None],
        make_store: Callable[[StoreParts], Store],
        on_drop: OnDrop | None = None,
        redact: Redact | None = None,
        on_event: OnEvent | None = None,
        prices: PriceBook | None = None,
        policies: Policies | None = None,
        on_budget: OnBudget | None = None,
    ) -> None:
        self.settings = settings
        self.policies = policies
        self._start_driver = start_driver
        self._make_store = make_store
        self._prices = prices
        self.redactor = Redactor(settings.privacy_level, redact_content=settings.redact_content, redact=redact)
        self.announcer = Announcer(on_event, on_drop, on_budget)
        self.stores_nothing = not settings.enabled or settings.privacy_level == "none"
        self.queue = make_queue(settings, self.redactor, self._wake, self.announcer.dropped)
        self.shutdown = Shutdown(settings, self.queue, self.announcer, stores_nothing=self.stores_nothing)
        self._begin()
        forks.watch(self)
        if not self.stores_nothing:
            self.shutdown.hook_exit()

    def _begin(self) -> None:
        """All that belongs to one process."""
        self.commit_lock = CommitLock(threads.ShortLocks(self._short_locks))
        self._fork_ready = False
        self.drivers = Drivers(self._new_driver, lambda: not (self.stores_nothing or self.shutdown.closed))
        self._bad_values = BadValues()
        self._repairs_before = repairs_so_far()
        writer_id = str(uuid4())
        self.queue.begin_journal(writer_id)
        self.store = store = self._make_store(
            StoreParts(
                settings=self.settings,
                writer_id=writer_id,
                redactor=self.redactor,
                prices=self._prices,
                policies=self.policies,
                on_threshold=self.announcer.threshold,
                tell=lambda event, count, message: self.announcer.tell(EventKind(event), count, message),
            )
        )
        self.executor = BudgetExecutor(
            store, self.queue, self.redactor, self.commit_lock, self.after_budget_commit, self.settings.db_path
        )
        self.recovery = JournalRecovery(self.settings)
        self.committer = Committer(self.queue, store, self.settings.db_path, self._after_commit, self.announcer.tell)
        self.retention = Retention(self.settings, store, writer_id, looks=not self.stores_nothing)
        self.backfill = BackfillSchedule(store, writer_id, looks=not self.stores_nothing)
        self.inline = self.new_writer(store.session())
        self.shutdown.begin(self.commit_lock, self.drivers, self.executor, self.inline, self.retention)

    def _short_locks(self) -> list[threads.ShortLock]:
        users = (self.queue, self.announcer, self.drivers, self.executor, self.retention)
        return [user.short_lock for user in users]

    def new_writer(self, session: Session) -> InlineWriter:
        """What commits through this session, in whichever thread calls it."""
        return InlineWriter(session, self.commit_lock, self.step, self._after_callers_commit)

    # What the writer loop asks and does

    def next_action(self, leaving: bool) -> Action:  # noqa: FBT001 - see `WriterLoop`
        """What a writer loop does now; one that leaves takes what waits with it."""
        if self.shutdown.gave_up:
            return Action(Do.FINISH)
        return next_action(
            self.queue.backlog(),
            self.settings,
            closing=self.shutdown.closing or leaving,
            tidy_in=self.store.upkeep.due_in,
            purge_in=self._purge_in() if self.committer.fatal is None else None,
        )

    def _purge_in(self) -> float | None:
        """Seconds until retention, or what a migration left, wants a turn."""
        due = [seconds for seconds in (self.retention.due_in(), self.backfill.due_in()) if seconds is not None]
        return min(due, default=None)

    def open(self, session: Session) -> None:
        """Open a session, where that is not done; blocks, and raises what `Store.classify` knows.

        What dead processes left in their crash journals is committed first then; where that fails, it is tried again in
        the background.
        """
        if session.is_open:
            return
        with suppress(OSError):  # tried again with each record
            self.queue.ensure_journal()
        try:
            session.open()
            self.recovery.replay(session)
        except BaseException:
            session.close()
            raise
        if self.recovery.waiting:
            self.store.upkeep.want()

    def step(self, do: Do, session: Session) -> Step:
        """Open, and commit the next batch, tidy or purge; the caller holds the commit lock. Raises no `Exception`."""
        try:
            self.open(session)
        except Exception as error:  # noqa: BLE001 - counted, logged and paced like a failed commit
            if do is Do.PURGE:
                self.retention.failed(error, warn=False)
                self.backfill.failed(error, warn=False)
            return self.committer.failed(error)
        try:
            step = self._do(do, session)
        except BaseException:  # Ctrl-C, say: it may have left a transaction open, which would fail all that follow
            session.close()
            raise
        if step.reopen:
            session.close()
        return step

    def _do(self, do: Do, session: Session) -> Step:
        if do is Do.COMMIT:
            step = self.committer.step(session, hurried=self.executor.waiting > 0)
            if self.shutdown.gave_up:
                self.queue.abandon_in_flight(DropReason.SHUTDOWN)
            return step
        if do is Do.TIDY:
            self._tidy(session)
        elif do is Do.PURGE:
            due_in = self.retention.due_in()
            if due_in is not None and due_in <= 0:
                self.retention.turn(session)
            else:
                self.backfill.turn(session)
        return Step()

    def _tidy(self, session: Session) -> None:
        try:
            self.recovery.replay_again(session)
            session.tidy()
            if self.recovery.waiting:
                self.store.upkeep.want()  # the next idle moment is wanted for them
        except Exception as error:  # noqa: BLE001 - the records are safe; it is tried again
            self.committer.housekeeping_failed(error)

    def _after_commit(self, session: Session) -> None:
        self.recovery.replay_again(session)
        session.maintain()
        if self.store.upkeep.is_behind and not self.shutdown.closing:
            self.drivers.ensure()  # callers that commit by themselves may not come again to see to it

    def after_budget_commit(self, session: BudgetSession) -> None:
        """The budget executor has committed: look after the store, as after commits of the queue. As for `do`."""
        upkeep = self.store.upkeep
        is_planned = upkeep.due_in is not None
        try:
            session.maintain()
        except Exception as error:  # noqa: BLE001 - what was written is safe
            self.committer.housekeeping_failed(error)
        if upkeep.is_behind and not self.shutdown.closing:
            self.drivers.ensure(drives=False)
        if not is_planned:
            self.drivers.wake()  # which sleeps until there is something to do

    def _after_callers_commit(self) -> None:
        """Look whether retention or a backfill has work; the work itself is a background thread's."""
        for schedule in () if self.shutdown.closing else (self.retention, self.backfill):
            due_in = schedule.due_in()
            if due_in is not None and due_in <= 0:
                if not schedule.busy:
                    self.inline.retain()
                if schedule.busy and self.drivers.ensure(drives=False):
                    self.drivers.wake()

    # Drivers come and go

    def _new_driver(self) -> Driver | None:
        self.shutdown.hook_exit()
        return self._start_driver(self)

    def retire(self, driver: Driver) -> None:
        """A driver has ended: another loop takes over what waits, or the next record starts another driver."""
        waiters = self.drivers.ended(driver)
        if waiters is None:
            return
        self.shutdown.driver_ended()
        for waiter in waiters:
            waiter.resolve(None)
        if not self.queue.arm(1) and not self.shutdown.gave_up and not self.drivers.hand_over():
            self.queue.rearm()

    def require_journal(self) -> None:
        """Make the journal, if one is wanted; StoreError where it cannot be made, but for a full disk."""
        try:
            self.queue.ensure_journal()
        except OSError as error:
            if error.errno not in {ENOSPC, EDQUOT}:
                raise StoreError(
                    f"the crash journal of {self.settings.db_path} cannot be made: {error}; or set journal to false",
                    self.settings.db_path,
                ) from error

    def _wake(self) -> None:
        """The queue's `on_wake`: from any thread, signal handler or `__del__`; never raises."""
        is_past = self.shutdown.is_past
        if not is_past and self.drivers.wake():
            return
        try:
            started = not is_past and self.drivers.ensure()
            if not started and (is_past or threads.is_ending()):
                self.shutdown.write_late()
        except Exception as error:  # noqa: BLE001 - announced with its traceback; the next record tries again
            self.announcer.tell(EventKind.WRITER_FAILED, 0, "the writer could not be started", error)
            started = False
        if not started:
            self.queue.rearm()

    # What an invocation says

    def lose_invalid(self) -> None:
        """Count a record that could not be made at all."""
        self.queue.refuse_one(DropReason.INVALID)

    def count_bad_value(self, field: str) -> bool:
        """Count a value that was left out; True the first time for this field."""
        return self._bad_values.count(field)

    # The caller's own thread, and another process

    def open_inline(self, deadline: float) -> None:
        """Open the file now for commits in the callers' own threads; try again while others lock it to set it up.

        Raises:
            Exception: the last failure, once `deadline` (monotonic seconds) has passed or where no retry helps.
        """
        self.queue.ensure_journal()
        failures = 0
        while not self.inline.session.is_open:
            try:
                self.commit_lock.run(lambda: self.open(self.inline.session))
            except Exception as error:
                failures += 1
                if self.committer.is_hopeless(error) or monotonic() >= deadline:
                    raise
                self.committer.set_damaged_aside(error)
                sleep(retry_delay(failures))
        self.shutdown.hook_exit()
        if self.recovery.waiting or self.store.upkeep.is_behind:
            self.drivers.ensure()

    def stats(self) -> Stats:
        """The engine's state, from memory alone."""
        return stats_of(
            self.queue,
            self.committer.commits,
            self.recovery.done,
            wal_bytes=self.store.upkeep.bytes,
            bad_values=self._bad_values.total,
            repaired=repairs_so_far() - self._repairs_before,
            purged=self.retention.purged,
            purge_error=self.retention.last_error,
            closed=self.shutdown.closed,
            writer_alive=self.drivers.is_alive,
        )

    def before_fork(self) -> None:
        """Close the connections between two commits, and hold commits off until the fork is over; see `forks`."""
        self._fork_ready = self.commit_lock.acquire_first(_FORK_WAITS)
        if not self._fork_ready:
            return
        self.inline.let_go()
        self.executor.let_go()
        self.drivers.let_go()

    def before_os_exit(self) -> None:
        """See `Shutdown.before_os_exit`."""
        self.shutdown.before_os_exit()

    def after_fork_in_parent(self) -> None:
        """Go on committing."""
        self._fork_ready = False
        lock = self.commit_lock
        if lock.owner == get_ident():  # no call from here on: an interrupt would leave it held
            lock.owner = None
            lock.lock.release()

    def after_fork_in_child(self, *, alone: bool) -> None:
        """Own nothing of the parent's: no record, no lock, no connection."""
        ready = self._fork_ready
        self.drivers.leak()
        self.inline.leak()
        self.executor.leak()
        self.queue.reset()
        self.announcer.reset()
        self.shutdown.reset()
        self._begin()
        if not (ready and alone) and not self.stores_nothing:
            # A commit or a reader hung, so its connection came along: a second one here would take no locks.
            what = "another thread read" if ready else "a commit hung"
            self.committer.fatal = DatabaseUnusableError(
                f"{self.settings.db_path} cannot be used in a child that was forked while {what}",
                self.settings.db_path,
            )
            self.queue.refuse(DropReason.STORE_FAILED)
