"""The ends that nobody calls: the interpreter's exit, SIGTERM, and `os._exit` in a forked child.

What was accepted is written all the same. The interpreter goes on after its `atexit` handlers: it collects suspended
generators and half-read streams, and calls `__del__`. What they log is committed at once, by the thread that ends it.
"""

import atexit
import sys
import warnings
from collections.abc import Callable
from contextlib import suppress
from threading import get_ident
from time import monotonic
from typing import Any, Final, Protocol

from llm_service.config.settings import Settings
from llm_service.telemetry.writer.announcer import Announcer
from llm_service.telemetry.writer.budget_executor import BudgetExecutor
from llm_service.telemetry.writer.commit_lock import CommitLock
from llm_service.telemetry.writer.drivers import Drivers
from llm_service.telemetry.writer.events import EventKind
from llm_service.telemetry.writer.inline_writer import InlineWriter
from llm_service.telemetry.writer.ledger import DropReason
from llm_service.telemetry.writer.queue import RecordQueue
from llm_service.telemetry.writer.sigterm import SigtermHandler
from llm_service.telemetry.writer.threads import is_ending, is_finalizing
from llm_service.telemetry.writer.waiters import ThreadWaiter

__all__ = ["Shutdown", "ShutdownHost"]

_LATE_WAITS: Final = 1.0
"""Seconds that a record which comes after the last drain may take. Where that is too little, no more are taken."""


class ShutdownHost(Protocol):
    """What the end of a process needs of an engine."""

    settings: Settings
    announcer: Announcer
    commit_lock: CommitLock
    drivers: Drivers
    inline: InlineWriter
    executor: BudgetExecutor
    queue: RecordQueue
    closing: bool
    closed: bool
    gave_up: bool
    before_close: Callable[[], object]

    def begin_close(self) -> Any:
        """Take no more records, and follow those that are held."""
        ...

    def rest(self) -> None:
        """Let go of the file until another record comes."""
        ...

    def give_up(self) -> None:
        """A close's deadline has passed: drop what waits."""
        ...

    def finished(self) -> None:
        """Everything is settled and let go of."""
        ...


class Shutdown:
    """One engine's hooks into the end of its process."""

    def __init__(self, engine: ShutdownHost) -> None:
        self._engine = engine
        self._hooked = False
        self._exiting = False
        self._is_late = self._wrote_late = False
        self._sigterm = SigtermHandler(self._write_at_sigterm, lambda: self._exiting)

    def reset(self) -> None:
        """In a forked child: hook into its exit when needed; its SIGTERM is handled as the parent's."""
        self._unhook()
        self._exiting = self._is_late = self._wrote_late = False
        self._sigterm.reset()

    def over(self) -> None:
        """The engine is closed: let go of the process."""
        self._sigterm.uninstall()
        self._unhook()

    def _unhook(self) -> None:
        if self._hooked:
            self._hooked = False
            atexit.unregister(self._at_exit)

    def flush_on_sigterm(self) -> None:
        """See `BaseClient.flush_on_sigterm`."""
        if not self._engine.closed:
            self._sigterm.install()
            self.hook_exit()

    def hook_exit(self) -> None:
        """Drain when the interpreter exits, unless `over` comes first."""
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

    def warn_forgotten(self) -> None:
        """Nobody closed the logger."""
        warnings.warn(
            f"a telemetry logger for {self._engine.settings.db_path} was not closed; use it in a with block, or call "
            "its close() or aclose(). What it had accepted is written all the same",
            ResourceWarning,
            stacklevel=2,
        )

    @property
    def is_past(self) -> bool:
        """Whether no driver is to be relied on any more."""
        return self._is_late or is_finalizing()

    def before_os_exit(self) -> None:
        """A forked child calls `os._exit`, which is how it ends: nobody was to close the logger that it inherited."""
        engine = self._engine
        if engine.closed:
            return
        self._end_open()
        if engine.drivers.needed or engine.inline.session.is_open or not engine.queue.empty():
            self._drain()

    def announce_losses(self) -> None:
        """Announce what the end has cost, and what the rate of announcements had kept back."""
        engine = self._engine
        if engine.gave_up:
            ledger = engine.queue.ledger()
            lost = ledger.pending + ledger.dropped.get(DropReason.SHUTDOWN, 0)
            if lost:  # none where a crash journal keeps them for the next open: they count as `journaled`
                message = f"{{n}} records could not be written to {engine.settings.db_path} before the end"
                engine.announcer.tell(EventKind.CLOSED_WITH_LOSS, lost, message)
        engine.announcer.last_words()

    def _at_exit(self) -> None:
        self._exiting = True
        try:
            if not self._engine.closed:
                engine = self._engine
                relied = self._wrote_late or engine.drivers.needed or not engine.queue.empty()
                forgotten = relied and not engine.closing
                self._drain()
                if forgotten:
                    self.warn_forgotten()
        finally:
            self._sigterm.passed_on()

    def _drain(self) -> None:
        """The last drain, in this thread, since no thread may be started any more."""
        engine = self._engine
        if not engine.closing:
            self._end_open()
        engine.closing = True
        deadline = monotonic() + engine.settings.close_timeout
        engine.executor.close(1.0)
        engine.drivers.stop(engine.settings.close_timeout)
        left = self._write(deadline)
        if left:
            engine.begin_close()
            engine.give_up()
        engine.inline.close()
        engine.finished()
        if not left:
            self._is_late = True  # what still comes is taken in, and written at once
            engine.queue.outlive_threads()
            engine.announcer.outlive_threads()
            engine.rest()
        engine.announcer.finish()

    def _end_open(self) -> None:
        """What is still open, or kept in blocks, has its rows now."""
        with suppress(Exception):  # nobody is left to tell
            self._engine.before_close()

    def write_late(self) -> None:
        """Commit what has come after the last drain, or where no thread can be started any more."""
        engine = self._engine
        if engine.commit_lock.owner == get_ident():
            engine.queue.rearm()  # `__del__` within a commit of its own thread's, which goes on with this
            return
        self._wrote_late = True
        deadline = monotonic() + _LATE_WAITS
        while not engine.queue.empty():
            if self._write(deadline):
                engine.begin_close()
                engine.give_up()
                break
            if engine.queue.empty():
                engine.rest()

    def _write_at_sigterm(self, *, dies: bool) -> None:
        """In a thread of its own: neither the loop nor the main thread is waited for."""
        engine = self._engine
        deadline = monotonic() + engine.settings.close_timeout
        if dies:
            engine.begin_close()
        if self._write(deadline) and dies:
            engine.give_up()
            self.announce_losses()
        engine.announcer.finish()

    def _write(self, deadline: float) -> int:
        """Commit what is pending, from this thread; returns how much of it still is at the deadline."""
        engine = self._engine
        waiter = ThreadWaiter()
        barrier = engine.queue.barrier(waiter, wake=False)
        engine.inline.drive(lambda: waiter.outcome is not None, deadline)
        return engine.queue.withdraw(barrier).pending
