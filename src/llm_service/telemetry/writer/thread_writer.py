"""The sync logger's background: a daemon thread that commits what `log_invocation_nowait` left in the queue."""

import threading
from typing import TYPE_CHECKING

from llm_service.telemetry.writer import threads
from llm_service.telemetry.writer.schedule import Do

if TYPE_CHECKING:
    from llm_service.telemetry.writer.engine import Engine

__all__ = ["ThreadWriter"]


class ThreadWriter:
    """A `Driver` with a thread of its own; it commits through the engine's inline writer."""

    def __init__(self, engine: "Engine") -> None:
        self._engine = engine
        self._roused = threading.Event()
        self._thread: threading.Thread | None = None

    @classmethod
    def start(cls, engine: "Engine") -> "ThreadWriter | None":
        """A running writer; None where no thread is to be had."""
        writer = cls(engine)
        try:
            writer._thread = threads.start(writer._run, "llm-telemetry-writer")
        except RuntimeError:
            return None
        return writer

    def wake(self) -> bool:
        """See `Driver`."""
        self._roused.set()
        return self.is_alive()

    def is_alive(self) -> bool:
        """See `Driver`."""
        thread = self._thread
        return thread is not None and thread.is_alive()

    def rests(self) -> bool:
        """See `Driver`: it needs no loop."""
        return False

    def supersede(self) -> None:
        """See `Driver`: never needed."""

    async def ready(self) -> None:
        """See `Driver`."""

    def discard(self) -> None:
        """See `Driver`."""
        self._roused.set()

    def let_go(self) -> None:
        """See `Driver`: the engine's inline writer has the connection."""

    def join(self, timeout: float) -> None:
        """See `Driver`."""
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout)

    def _run(self) -> None:
        engine = self._engine
        try:
            while True:
                action = engine.next_action()
                if action.do is Do.FINISH:
                    return
                if action.do is Do.SLEEP:
                    if engine.queue.arm(action.wake_at):
                        self._sleep(action.seconds)
                elif action.do is Do.TIDY:
                    engine.inline.tidy()
                elif action.do is Do.PURGE:
                    engine.inline.retain()
                else:
                    step = engine.inline.step()
                    if step.retry_in is not None:
                        self._sleep(step.retry_in)
        finally:
            engine.retire(self)

    def _sleep(self, seconds: float | None) -> None:
        self._roused.wait(seconds)
        self._roused.clear()
