"""The sync logger's writer: a daemon thread that commits what `log_invocation_nowait` left in the queue."""

import threading
from typing import TYPE_CHECKING

from llm_service.telemetry.writer import threads
from llm_service.telemetry.writer.drivers import Driver
from llm_service.telemetry.writer.writer_loop import WriterLoop

if TYPE_CHECKING:
    from llm_service.telemetry.writer.engine import Engine

__all__ = ["ThreadWriter"]


class ThreadWriter(Driver):
    """A driver with a thread of its own; it commits through the engine's inline writer, which has the connection."""

    def __init__(self, engine: "Engine") -> None:
        self._engine = engine
        self.loop = WriterLoop(engine.next_action, engine.queue.arm, engine.inline.act)
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

    def is_alive(self) -> bool:
        """See `Driver`."""
        thread = self._thread
        return thread is not None and thread.is_alive()

    def join(self, timeout: float) -> None:
        """See `Driver`."""
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout)

    def _run(self) -> None:
        try:
            while self.loop.turn():
                pass
        finally:
            self._engine.retire(self)
