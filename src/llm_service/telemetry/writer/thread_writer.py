"""The sync logger's writer: a daemon thread that commits what `log_invocation_nowait` left in the queue."""

import threading
from typing import TYPE_CHECKING

from llm_service.telemetry.writer import threads
from llm_service.telemetry.writer.writer_loop import WriterLoop

if TYPE_CHECKING:
    from llm_service.telemetry.writer.engine import Engine

__all__ = ["ThreadWriter"]


class ThreadWriter:
    """A `Driver` with a thread of its own; it commits through the engine's inline writer."""

    def __init__(self, engine: "Engine") -> None:
        self._engine = engine
        self._loop = WriterLoop(engine, engine.inline)
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
        self._loop.wake()
        return self.is_alive()

    def is_alive(self) -> bool:
        """See `Driver`."""
        thread = self._thread
        return thread is not None and thread.is_alive()

    async def ready(self) -> None:
        """See `Driver`: the file was opened before."""

    def leave(self) -> None:
        """See `Driver`."""
        self._loop.leave()

    def let_go(self) -> None:
        """See `Driver`: the engine's inline writer has the connection."""

    def join(self, timeout: float) -> None:
        """See `Driver`."""
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout)

    def _run(self) -> None:
        try:
            while self._loop.turn():
                pass
        finally:
            self._engine.retire(self)
