"""One logger's engine: queue, committer and whoever drives them, through start, close, exit and fork.

It knows nothing of the loggers, of event loops, of threads or of the store behind `stores.base`: a driver
(`task_writer`, `thread_writer`) runs the writer loop, which asks `next_action` what to do; `inline` lets any thread do
the work itself, which is how the sync logger commits and how the interpreter's exit drains.
"""

from collections.abc import Callable
from contextlib import suppress
from errno import EDQUOT, ENOSPC
from threading import get_ident
from time import monotonic
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
from llm_service.telemetry.writer.budget_executor import BudgetExecutor
from llm_service.telemetry.writer.commit_lock import CommitLock, CommitLockBusyError
from llm_service.telemetry.writer.committer import Committer, Step
from llm_service.telemetry.writer.drivers import Driver, Drivers
from llm_service.telemetry.writer.events import EventKind, OnDrop, OnEvent
from llm_service.telemetry.writer.inline_writer import InlineWriter
from llm_service.telemetry.writer.journal_recovery import JournalRecovery
from llm_service.telemetry.writer.ledger import DropReason, FlushResult
from llm_service.telemetry.writer.purge_schedule import Retention
from llm_service.telemetry.writer.queue_entries import Barrier
from llm_service.telemetry.writer.queue_factory import make_queue
from llm_service.telemetry.writer.schedule import Action, Do, next_action
from llm_service.telemetry.writer.shutdown import Shutdown
from llm_service.telemetry.writer.stats import BadValues, Stats, stats_of
from llm_service.telemetry.writer.waiters import ThreadWaiter, Waiter

__all__ = ["Engine"]

_BUDGETS_WAIT: Final = 1.0
"""Seconds that a close waits for reservations and settlements under way."""
_FORK_WAITS: Final = 2.0
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
        self.closing = False
        self.before_close: Callable[[], object] = lambda: None
        self.closed = False
        self.shutdown = Shutdown(self)
        self._begin()
        forks.watch(self)
        if not self.stores_nothing:
            self.shutdown.hook_exit()

    def _begin(self) -> None:
        """All that belongs to one process."""
        self.commit_lock = CommitLock()
        self._fork_ready = False
        self.drivers = Drivers(self._new_driver, lambda: not (self.stores_nothing or self.closed))
        self.gave_up = False
        self._bad_values = BadValues()
        self._repairs_before = repairs_so_far()
        self._writer_id = writer_id = str(uuid4())
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
        self.executor = BudgetExecutor(self, store)
        self.recovery = JournalRecovery(self.settings)
        self.committer = Committer(self.queue, store, self.settings.db_path, self._after_commit, self.announcer.tell)
        self.retention = Retention(self.settings, store, writer_id, looks=not self.stores_nothing)
        self.inline = InlineWriter(self, store.session())

    # What the writer loop asks and does

    def next_action(self, leaving: bool) -> Action:  # noqa: FBT001 - see `WriterLoop`
        """What a writer loop does now; one that leaves takes what waits with it."""
        if self.gave_up:
            return Action(Do.FINISH)
        return next_action(
            self.queue.backlog(),
            self.settings,
            closing=self.closing or leaving,
            tidy_in=self.store.upkeep.due_in,
            purge_in=self.retention.due_in() if self.committer.fatal is None else None,
        )

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

    def do(self, do: Do, session: Session) -> Step:
        """Commit the next batch, tidy or purge; the caller holds the commit lock. Never raises an `Exception`."""
        if do is Do.COMMIT:
            step = self.committer.step(session, hurried=self.executor.waiting > 0)
            if self.gave_up:
                self.queue.abandon_in_flight(DropReason.SHUTDOWN)
            return step
        if do is Do.TIDY:
            self._tidy(session)
        elif do is Do.PURGE:
            self.retention.turn(session)
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
        if self.store.upkeep.is_behind and not self.closing:
            self.drivers.ensure()  # callers that commit by themselves may not come again to see to it

    def after_budget_commit(self, session: BudgetSession) -> None:
        """The budget executor has committed: look after the store, as after commits of the queue. As for `do`."""
        upkeep = self.store.upkeep
        is_planned = upkeep.due_in is not None
        try:
            session.maintain()
        except Exception as error:  # noqa: BLE001 - what was written is safe
            self.committer.housekeeping_failed(error)
        if upkeep.is_behind and not self.closing:
            self.drivers.ensure(drives=False)
        if not is_planned:
            self.drivers.wake()  # which sleeps until there is something to do

    # Drivers come and go

    def _new_driver(self) -> Driver | None:
        self.shutdown.hook_exit()
        return self._start_driver(self)

    def retire(self, driver: Driver) -> None:
        """A driver has ended: another loop takes over what waits, or the next record starts another driver."""
        waiters = self.drivers.ended(driver)
        if waiters is None:
            return
        self._finish_giving_up()
        if self.closing and self.queue.empty():
            self.inline.close()
            self.finished()
        for waiter in waiters:
            waiter.resolve(None)
        if not self.queue.arm(1) and not self.gave_up and not self.drivers.hand_over():
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

    # Ends

    def open_inline(self, deadline: float) -> None:
        """Open the file for commits in the callers' own threads; see `InlineWriter.open`."""
        self.queue.ensure_journal()
        self.inline.open(deadline)
        self.shutdown.hook_exit()
        if self.recovery.waiting or self.store.upkeep.is_behind:
            self.drivers.ensure()

    def close_inline(self, deadline: float) -> FlushResult:
        """Close from the calling thread, which commits what waits until `deadline` (monotonic seconds)."""
        waiter = ThreadWaiter()
        barrier = self.begin_close(waiter)
        self.executor.close(min(_BUDGETS_WAIT, max(0.0, deadline - monotonic())))
        self.inline.drive(lambda: waiter.outcome is not None, deadline)
        if barrier.pending:
            self.give_up()
        self.drivers.join(max(0.5, min(deadline - monotonic(), 86_400.0)))
        self.inline.close()
        self.finished()
        self.announcer.finish()
        return self.queue.withdraw(barrier)

    async def close_budgets(self, seconds: float) -> None:
        """Wait for reservations and settlements under way, in a thread, at most so many seconds."""
        executor = self.executor
        if executor.is_running:
            await threads.off_the_loop(lambda: executor.close(min(_BUDGETS_WAIT, max(0.0, seconds))))

    def begin_close(self, waiter: Waiter | None = None) -> Barrier:
        """Take no more records, and follow those that are held; drivers end once they have been settled."""
        if not self.closing:
            self.before_close()
        self.closing = True
        self.retention.end()
        waiter = waiter or ThreadWaiter()
        if self.stores_nothing:
            barrier = self.queue.barrier(waiter, wake=False)
        else:
            barrier = self.queue.last_barrier(DropReason.CLOSED, waiter)
        self.drivers.wake()
        return barrier

    def give_up(self) -> None:
        """A close's deadline has passed: drop what waits, and have the driver end whatever the disk does."""
        self.gave_up = True
        self.queue.abandon(DropReason.SHUTDOWN, in_flight=False)
        self._finish_giving_up()
        self.drivers.wake()

    def _finish_giving_up(self) -> None:
        """Drop the batch in flight as well; while it is being committed, that is left to the committing thread."""
        if self.gave_up and self.commit_lock.owner != get_ident():
            with suppress(CommitLockBusyError):
                self.commit_lock.run(lambda: self.queue.abandon_in_flight(DropReason.SHUTDOWN), 0.0)

    def rest(self) -> None:
        """Let go of file and journal until another record comes."""
        self.inline.close()
        self.queue.renew_journal(self._writer_id)
        self.queue.rearm()

    def finished(self) -> None:
        """Everything is settled and let go of."""
        self._finish_giving_up()
        if not self.closed:
            self.closed = True
            self.executor.close_soon()  # who may block has closed it before
            self.queue.close_journal()
            self.shutdown.announce_losses()
        self.shutdown.over()

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
            closed=self.closed,
            writer_alive=self.drivers.is_alive,
        )

    def forgotten(self) -> None:
        """The logger was collected without a close: finish in the background, or at exit, and say so once."""
        if self.closing or self.closed:
            return
        busy = self.drivers.needed or not self.queue.empty()
        self.begin_close()
        if not self.drivers.is_alive and self.queue.empty():
            self.inline.close()
            self.finished()
        if busy:
            self.shutdown.warn_forgotten()

    def before_fork(self) -> None:
        """Close the connections between two commits, and hold commits off until the fork is over; see `forks`."""
        self._fork_ready = self.commit_lock.acquire(timeout=_FORK_WAITS)
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
