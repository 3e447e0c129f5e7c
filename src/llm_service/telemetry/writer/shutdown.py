"""How an engine ends: closed by its user, or by an end that nobody calls.

Those are the interpreter's exit, SIGTERM, `os._exit` in a forked child, and the collection of a logger that nobody
closed. What was accepted is written all the same. The interpreter goes on after its `atexit` handlers: it collects
suspended generators and half-read streams, and calls `__del__`. What they log is committed at once, by the thread that
ends it.
"""

import atexit
import sys
import warnings
from collections.abc import Callable
from contextlib import suppress
from threading import get_ident, main_thread
from time import monotonic
from typing import Final

from llm_service.config.settings import Settings
from llm_service.telemetry.writer import threads
from llm_service.telemetry.writer.announcer import Announcer
from llm_service.telemetry.writer.budget_executor import BudgetExecutor
from llm_service.telemetry.writer.commit_lock import CommitLock, CommitLockBusyError
from llm_service.telemetry.writer.drivers import Drivers
from llm_service.telemetry.writer.events import EventKind
from llm_service.telemetry.writer.inline_writer import InlineWriter
from llm_service.telemetry.writer.ledger import DropReason, FlushResult
from llm_service.telemetry.writer.purge_schedule import Retention
from llm_service.telemetry.writer.queue import RecordQueue
from llm_service.telemetry.writer.queue_entries import Barrier
from llm_service.telemetry.writer.sigterm import SigtermHandler
from llm_service.telemetry.writer.threads import is_ending, is_finalizing
from llm_service.telemetry.writer.waiters import ThreadWaiter, Waiter

__all__ = ["Shutdown"]

_BUDGETS_WAIT: Final = 1.0
"""Seconds that a close waits for reservations and settlements under way."""
_LATE_WAITS: Final = 1.0
"""Seconds that a record which comes after the last drain may take. Where that is too little, no more are taken."""
_MAIN_THREADS: Final = frozenset({"_MainThread", "_DummyThread"})
"""Those with whose end the interpreter ends, and those whose end nobody can see: a foreign thread that has forked."""


class Shutdown:
    """The end of one engine, and its hooks into the end of the process.

    Args:
        stores_nothing: whether no record is ever accepted.

    Attributes:
        closing: no more records are taken.
        closed: everything is settled and let go of.
        gave_up: the deadline of a close has passed: what waited is dropped.
        before_close: called before the first close; has open blocks hand over what they keep.
    """

    before_close: Callable[[], object]
    _commit_lock: CommitLock
    _drivers: Drivers
    _executor: BudgetExecutor
    _inline: InlineWriter
    _retention: Retention

    def __init__(self, settings: Settings, queue: RecordQueue, announcer: Announcer, *, stores_nothing: bool) -> None:
        self._settings = settings
        self._queue = queue
        self._announcer = announcer
        self._stores_nothing = stores_nothing
        self.closing = self.closed = self.gave_up = False
        self.before_close = lambda: None
        self._hooked = False
        self._exiting = False
        self._is_late = self._wrote_late = False
        self.sigterm = SigtermHandler(self._write_at_sigterm, lambda: self._exiting)

    def begin(
        self,
        commit_lock: CommitLock,
        drivers: Drivers,
        executor: BudgetExecutor,
        inline: InlineWriter,
        retention: Retention,
    ) -> None:
        """What belongs to this process: at construction, and in a forked child."""
        self._commit_lock = commit_lock
        self._drivers = drivers
        self._executor = executor
        self._inline = inline
        self._retention = retention
        self.gave_up = False
        if self.closed:  # a closed logger stays closed in a forked child
            executor.close_soon()

    def reset(self) -> None:
        """In a forked child: hook into its exit when needed; its SIGTERM is handled as the parent's."""
        self._unhook()
        self._exiting = self._is_late = self._wrote_late = False
        self.sigterm.reset()

    # A close

    def begin_close(self, waiter: Waiter | None = None) -> Barrier:
        """Take no more records, and follow those that are held; drivers end once they have been settled."""
        if not self.closing:
            self.before_close()
        self.closing = True
        self._retention.end()
        waiter = waiter or ThreadWaiter()
        if self._stores_nothing:
            barrier = self._queue.barrier(waiter, wake=False)
        else:
            barrier = self._queue.last_barrier(DropReason.CLOSED, waiter)
        self._drivers.wake()
        return barrier

    def close(self, deadline: float) -> FlushResult:
        """Close from the calling thread, which commits what waits until `deadline` (monotonic seconds)."""
        waiter = ThreadWaiter()
        barrier = self.begin_close(waiter)
        self._executor.close(min(_BUDGETS_WAIT, max(0.0, deadline - monotonic())))
        self._inline.drive(lambda: waiter.outcome is not None, deadline)
        if barrier.pending:
            self.give_up()
        waiting = self._commit_lock.short_locks.waiting
        waiting(lambda: self._drivers.join(max(0.5, min(deadline - monotonic(), 86_400.0))))
        self._inline.close(max(0.5, min(deadline - monotonic(), 86_400.0)))
        self.finish()
        waiting(self._announcer.finish)
        return self._queue.withdraw(barrier)

    async def close_budgets(self, seconds: float) -> None:
        """Wait for reservations and settlements under way, in a thread, at most so many seconds."""
        executor = self._executor
        if executor.is_running:
            await threads.off_the_loop(lambda: executor.close(min(_BUDGETS_WAIT, max(0.0, seconds))))

    def give_up(self) -> None:
        """A close's deadline has passed: drop what waits, and have the driver end whatever the disk does."""
        self.gave_up = True
        self._queue.abandon(DropReason.SHUTDOWN, in_flight=False)
        self._drop_in_flight()
        self._drivers.wake()

    def _drop_in_flight(self) -> None:
        """After `give_up` the batch in flight as well; while it is being committed, its thread does that."""
        if self.gave_up and self._commit_lock.owner != get_ident():
            with suppress(CommitLockBusyError):
                self._commit_lock.run(lambda: self._queue.abandon_in_flight(DropReason.SHUTDOWN), 0.0)

    def driver_ended(self) -> None:
        """What a driver leaves to be done where it was the last."""
        self._drop_in_flight()
        if self.closing and self._queue.empty():
            self._inline.close()
            self.finish()

    def rest(self) -> None:
        """Let go of file and journal until another record comes."""
        self._inline.close()
        self._queue.renew_journal()
        self._queue.rearm()

    def finish(self) -> None:
        """Everything is settled: let go of it. May be called again."""
        self._drop_in_flight()
        if not self.closed:
            self.closed = True
            self._executor.close_soon()  # who may block has closed it before
            self._queue.close_journal()
            self.announce_losses()
        self.sigterm.uninstall()
        self._unhook()

    def forgotten(self) -> None:
        """The logger was collected without a close: finish in the background, or at exit, and say so once."""
        if self.closing or self.closed:
            return
        busy = self._drivers.needed or not self._queue.empty()
        self.begin_close()
        if not self._drivers.is_alive and self._queue.empty():
            self._inline.close()
            self.finish()
        if busy:
            self._warn_forgotten()

    def announce_losses(self) -> None:
        """Announce what the end has cost, and what the rate of announcements had kept back."""
        if self.gave_up:
            ledger = self._queue.ledger()
            lost = ledger.pending + ledger.dropped.get(DropReason.SHUTDOWN, 0)
            if lost:  # none where a crash journal keeps them for the next open: they count as `journaled`
                message = f"{{n}} records could not be written to {self._settings.db_path} before the end"
                self._announcer.tell(EventKind.CLOSED_WITH_LOSS, lost, message)
        self._announcer.last_words()

    def _warn_forgotten(self) -> None:
        warnings.warn(
            f"a telemetry logger for {self._settings.db_path} was not closed; use it in a with block, or call "
            "its close() or aclose(). What it had accepted is written all the same",
            ResourceWarning,
            stacklevel=2,
        )

    # The end of the process

    def _unhook(self) -> None:
        if self._hooked:
            self._hooked = False
            atexit.unregister(self._at_exit)

    def flush_on_sigterm(self) -> None:
        """See `BaseClient.flush_on_sigterm`."""
        if not self.closed:
            self.sigterm.install()
            self.hook_exit()

    def hook_exit(self) -> None:
        """Drain when the interpreter exits, unless `finish` comes first."""
        if self._hooked:
            return
        self._hooked = True
        self._is_late = is_ending()  # then a new hook is not called any more
        with suppress(RuntimeError):  # already shutting down: then nothing can be hooked
            atexit.register(self._at_exit)
        processes = sys.modules.get("multiprocessing.process")
        if processes is not None and processes.parent_process() is not None:
            # A forked worker of multiprocessing ends without atexit; its own finalizers do run.
            from multiprocessing.util import Finalize  # noqa: PLC0415 - loaded already, or not needed

            Finalize(None, self._at_exit, exitpriority=100)
        if type(main_thread()).__name__ not in _MAIN_THREADS:
            with suppress(RuntimeError):
                threads.start(self._end_with_main_thread, "llm-telemetry-end")

    def _end_with_main_thread(self) -> None:
        """In a child that a thread has forked: it ends with its last thread, and without `atexit`."""
        main_thread().join()
        self._at_exit()

    @property
    def is_past(self) -> bool:
        """Whether no driver is to be relied on any more."""
        return self._is_late or is_finalizing()

    def before_os_exit(self) -> None:
        """A forked child calls `os._exit`, which is how it ends: nobody was to close the logger that it inherited."""
        if self.closed:
            return
        self._end_open()
        if self._drivers.needed or self._inline.session.is_open or not self._queue.empty():
            self._drain()

    def _at_exit(self) -> None:
        self._exiting = True
        try:
            if not self.closed:
                relied = self._wrote_late or self._drivers.needed or not self._queue.empty()
                forgotten = relied and not self.closing
                self._drain()
                if forgotten:
                    self._warn_forgotten()
        finally:
            self.sigterm.passed_on()

    def _drain(self) -> None:
        """The last drain, in this thread, since no thread may be started any more."""
        if not self.closing:
            self._end_open()
        self.closing = True
        deadline = monotonic() + self._settings.close_timeout
        self._executor.close(1.0)
        waiting = self._commit_lock.short_locks.waiting
        waiting(lambda: self._drivers.stop(self._settings.close_timeout))
        left = self._write(deadline)
        if left:
            self.begin_close()
            self.give_up()
        self._inline.close()
        self.finish()
        if not left:
            self._is_late = True  # what still comes is taken in, and written at once
            self._queue.outlive_threads()
            self._announcer.outlive_threads()
            self.rest()
        waiting(self._announcer.finish)

    def _end_open(self) -> None:
        """What is still open, or kept in blocks, has its rows now."""
        with suppress(Exception):  # nobody is left to tell
            self.before_close()

    def write_late(self) -> None:
        """Commit what has come after the last drain, or where no thread can be started any more."""
        if self._commit_lock.owner == get_ident():
            self._queue.rearm()  # `__del__` within a commit of its own thread's, which goes on with this
            return
        self._wrote_late = True
        deadline = monotonic() + _LATE_WAITS
        while not self._queue.empty():
            if self._write(deadline):
                self.begin_close()
                self.give_up()
                break
            if self._queue.empty():
                self.rest()

    def _write_at_sigterm(self, *, dies: bool) -> None:
        """In a thread of its own: neither the loop nor the main thread is waited for."""
        deadline = monotonic() + self._settings.close_timeout
        if dies:
            self.begin_close()
        if self._write(deadline) and dies:
            self.give_up()
            self.announce_losses()
        self._announcer.finish()

    def _write(self, deadline: float) -> int:
        """Commit what is pending, from this thread; returns how much of it still is at the deadline."""
        waiter = ThreadWaiter()
        barrier = self._queue.barrier(waiter, wake=False)
        self._inline.drive(lambda: waiter.outcome is not None, deadline)
        return self._queue.withdraw(barrier).pending
