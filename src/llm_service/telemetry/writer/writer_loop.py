"""The writer loop of both loggers: the one place that asks what is to be done next, and does it or sleeps.

It runs in a thread: the sync logger has one for it (`thread_writer`); on the async logger it is one long job of the
aiosqlite connection's thread (`task_writer`), so that no batch needs a hop or a wake-up of the event loop.
"""

import threading
from collections.abc import Callable

from llm_service.telemetry.writer.committer import Step
from llm_service.telemetry.writer.schedule import Action, Do

__all__ = ["Alarm", "WriterLoop"]


class Alarm:
    """Ends the sleep of one thread. An alarm that rings while nobody sleeps ends the next sleep at once.

    A lock, used as a binary semaphore: a signal handler or `__del__` may ring it at any moment, also within `ring`. The
    lock inside a `threading.Event` is not re-entrant.
    """

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()

    def ring(self) -> None:
        """Wake the thread. From any thread; never blocks, never raises."""
        try:
            self._lock.release()
        except RuntimeError:  # it rings already
            return

    def wait(self, seconds: float | None) -> None:
        """Sleep until it rings, at most so many seconds."""
        self._lock.acquire(timeout=-1 if seconds is None else min(max(0.0, seconds), threading.TIMEOUT_MAX))


class WriterLoop:
    """See the module; `arm` has the queue ring once so many records wait, and is False where they do."""

    def __init__(
        self, next_action: Callable[[bool], Action], arm: Callable[[int], bool], act: Callable[[Do], Step]
    ) -> None:
        self._next_action = next_action
        self._arm = arm
        self._act = act
        self._alarm = Alarm()
        self._leaving = False

    def turn(self) -> bool:
        """Do what is next, or sleep until something is due; False once nothing is left to do."""
        action = self._next_action(self._leaving)
        if action.do is Do.FINISH:
            return False
        if action.do is Do.SLEEP:
            if self._arm(action.wake_at):
                self._alarm.wait(action.seconds)
            return True
        retry_in = self._act(action.do).retry_in
        if retry_in is not None:
            if self._leaving:
                return False  # what still waits is written by the next writer, or as the process ends
            self._alarm.wait(retry_in)
        return True

    def wake(self) -> None:
        """Have it look again. From any thread, signal handler or `__del__`; never raises."""
        self._alarm.ring()

    def leave(self) -> None:
        """Have it end: it commits what waits, once, and retries nothing."""
        self._leaving = True
        self._alarm.ring()
