"""SIGTERM, chained: what was accepted is written, then the signal does what it would have done without us.

The handler itself never waits and takes no lock: it may have interrupted this thread in the middle of a commit. A
helper thread writes, while the program goes on; then it sends the signal again, and the handler passes it on. Each
logger has a handler of its own, which knows the one before it: there is no state that belongs to the process.
"""

import os
import signal
import threading
from collections.abc import Callable
from time import sleep
from types import FrameType
from typing import Any, Final, Protocol

from llm_service.errors import SignalError
from llm_service.telemetry.writer import threads

__all__ = ["SigtermHandler"]

_ASYNCIO: Final = ("asyncio.unix_events", "_sighandler_noop")
"""What `loop.add_signal_handler` installs: asyncio runs its callback apart from handlers, by the wake-up descriptor."""

_ROUSE_EVERY: Final = 0.05
"""Seconds between two tries to have the main thread look at the signal."""


class _Write(Protocol):
    def __call__(self, *, dies: bool) -> None: ...


class SigtermHandler:
    """One logger's link in the chain.

    Args:
        write: writes what was accepted, within its own bound; `dies=True` where the process dies of the signal
            afterwards, so that nothing more is to be accepted. Runs in the helper thread; must not raise.
        is_exiting: whether the end of the process is writing already, and will call `passed_on`.
    """

    def __init__(self, write: _Write, is_exiting: Callable[[], bool]) -> None:
        self._write = write
        self._is_exiting = is_exiting
        self._before: Any = signal.SIG_DFL
        self._calls = 0
        self._active = False
        self.reset()

    def reset(self) -> None:
        """What a forked child does: the helper thread was the parent's."""
        self._busy = threading.Lock()  # held from the signal until it has been passed on
        self._written = False
        self._owed = 0

    def install(self) -> None:
        """Put this handler before the one that is there. Where SIGTERM is ignored it stays ignored.

        Raises:
            SignalError: not the main thread, or the handler that is there was not installed from Python.
        """
        if threading.current_thread() is not threading.main_thread():
            raise SignalError("flush_on_sigterm: Python allows signal handlers in the main thread only; call it there")
        before: Any = signal.getsignal(signal.SIGTERM)
        if before is None:
            raise SignalError("flush_on_sigterm: the handler of SIGTERM was not installed from Python; chain it there")
        if self._active or before is signal.SIG_IGN:
            return
        self._before = before
        self._active = True
        signal.signal(signal.SIGTERM, self)

    def uninstall(self) -> None:
        """Put back what was there (in the main thread), where this is still the handler; else only pass signals on."""
        self._active = False
        if threading.current_thread() is threading.main_thread():
            present: Any = signal.getsignal(signal.SIGTERM)
            if present is self:
                signal.signal(signal.SIGTERM, self._beyond())

    def passed_on(self) -> None:
        """The end of the process has written everything: a signal that came meanwhile has its turn."""
        owed, self._owed = self._owed, 0
        if owed and threading.current_thread() is threading.main_thread():
            self._pass_on(None)

    def __call__(self, _signum: int, frame: FrameType | None) -> None:
        """The handler, in the main thread, between any two of its instructions."""
        self._calls += 1
        if self._written:  # sent by `_help`, or a second one that came first and stands for it
            self._written = False
            owed, self._owed = self._owed, 0
            self._busy.release()
            for _ in range(owed):
                self._pass_on(frame)
        elif not self._active:
            self._pass_on(frame)
        else:
            self._owed += 1
            if not self._is_exiting() and self._busy.acquire(blocking=False):
                self._start_helper(frame)

    def _start_helper(self, frame: FrameType | None) -> None:
        try:
            threads.start(self._help, "llm-telemetry-sigterm")
        except RuntimeError:  # no thread to be had: dying late would be worse than losing what waits
            if threads.is_ending():  # but for the program's own: this thread has nothing else to do any more
                self._write(dies=self._beyond() is signal.SIG_DFL)
            self._owed = 0
            self._busy.release()
            self._pass_on(frame)

    def _help(self) -> None:
        try:
            self._write(dies=self._beyond() is signal.SIG_DFL)
        finally:
            if _is_asyncios(self._beyond()):
                self._owed = 0  # its callback has run already, and a second signal would run it twice
                self._busy.release()
            else:
                self._written = True
                _rouse_main_thread()

    def _beyond(self) -> Any:
        """The handler before all of ours that only pass on."""
        before = self._before
        while isinstance(before, SigtermHandler) and not before._active:  # noqa: SLF001 - its own class
            before = before._before  # noqa: SLF001 - its own class
        return before

    def _pass_on(self, frame: FrameType | None) -> None:
        before = self._beyond()
        if before is signal.SIG_DFL:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGTERM)
        elif callable(before):
            before(signal.SIGTERM, frame)


def _rouse_main_thread() -> None:
    """Send the signal, and again until the handler has run.

    Once is not enough: where it comes after the interpreter's last look and before a system call that blocks, the call
    is not interrupted, and Python would see the signal only when it ends. A handler that is not ours is called once.
    """
    outermost: Any = signal.getsignal(signal.SIGTERM)
    calls = outermost._calls if isinstance(outermost, SigtermHandler) else None  # noqa: SLF001 - of this module
    main = threading.main_thread().ident
    while main is not None:
        signal.pthread_kill(main, signal.SIGTERM)
        sleep(_ROUSE_EVERY)
        present: Any = signal.getsignal(signal.SIGTERM)
        if calls is None or present is not outermost or present._calls != calls:  # noqa: SLF001 - of this module
            return


def _is_asyncios(handler: Any) -> bool:
    return (getattr(handler, "__module__", None), getattr(handler, "__name__", None)) == _ASYNCIO
