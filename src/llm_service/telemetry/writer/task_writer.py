"""The async logger's writer: a task of the loop that used the logger first, and the thread of its session.

The thread (with SQLite that of an aiosqlite connection) runs the writer loop as one long job, which needs no event loop
to commit, to close the file or to end. The task gives the writer the lifetime of its loop: `asyncio.run` cancels every
task at its end, and then this one waits until what was accepted is on disk. A loop that stops, or is closed without a
cancellation, stops no commit.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from contextvars import Context
from typing import TYPE_CHECKING

from llm_service.telemetry.writer import threads
from llm_service.telemetry.writer.drivers import Driver
from llm_service.telemetry.writer.schedule import Do
from llm_service.telemetry.writer.writer_loop import WriterLoop

if TYPE_CHECKING:
    from llm_service.telemetry.writer.engine import Engine

__all__ = ["TaskWriter"]


class _Rung:
    """A callback that has rung. Its end runs no Python: what a signal handler raises in a `__del__` is lost."""

    __slots__ = ("_ring",)

    def __init__(self, ring: Callable[[], None]) -> None:
        self._ring = ring


class _Ring(_Rung):
    """A callback that rings in its turn, or as the event loop is closed before that."""

    __slots__ = ()

    def __call__(self) -> None:
        """The turn has come."""
        self._ring()
        self.__class__ = _Rung  # type: ignore[assignment]  # from now on without `__del__`

    def __del__(self) -> None:
        self._ring()


class TaskWriter(Driver):
    """A driver on the running loop; start it there."""

    def __init__(self, engine: "Engine") -> None:
        self._engine = engine
        self._event_loop = asyncio.get_running_loop()
        self._tried_to_open: asyncio.Future[None] = self._event_loop.create_future()
        self._has_ended = False
        self._has_tried = False
        self._rings_soon = False
        self._retry_in: float | None = None
        self._begin_job()
        # An empty context: the task must not hold the first caller's request, span or parent.
        self._task = self._event_loop.create_task(self._run(), name="llm-telemetry-writer", context=Context())
        # Not in a `finally`: a task that is cancelled before its first step never runs one.
        self._task.add_done_callback(self._task_ended)
        with suppress(AttributeError):  # asyncio complains of a task that ends with its loop; here nothing is lost
            self._task._log_destroy_pending = False  # type: ignore[attr-defined] # noqa: SLF001 - guarded by a test

    @classmethod
    def start(cls, engine: "Engine") -> "TaskWriter | None":
        """A writer on the loop that runs in this thread; None where none runs."""
        try:
            return cls(engine)
        except RuntimeError:
            return None

    def wake(self) -> bool:
        """See `Driver`. On the loop's own thread it waits for the loop's next turn: a commit slows no burst."""
        loop = self._event_loop
        if _running_loop() is not loop:
            self._ring()
        else:
            self._rings_soon = True
            # Without a task it may be a signal handler, while the loop sleeps.
            soon = loop.call_soon_threadsafe if asyncio.current_task(loop) is None else loop.call_soon
            soon(_Ring(self._ring))
        return self.is_alive()

    def nudge(self) -> None:
        """See `Driver`."""
        if self._rings_soon and _running_loop() is not self._event_loop:
            self._ring()  # its loop may have stopped before its next turn

    def is_alive(self) -> bool:
        """See `Driver`."""
        return not self._has_ended and (self._job is not None or not self._event_loop.is_closed())

    async def ready(self) -> None:
        """See `Driver`."""
        if asyncio.get_running_loop() is self._event_loop:
            await asyncio.wait([self._tried_to_open])

    def let_go(self) -> None:
        """See `Driver`."""
        self._inline.let_go()

    def join(self, timeout: float) -> None:
        """See `Driver`."""
        self._worker.join(timeout)

    # In the event loop

    def _begin_job(self) -> None:
        """Start the session's thread, where one is to be had; it works from then on, whatever the loop does."""
        session, self._worker = self._engine.store.session_and_worker(threads.launch)
        self._inline = self._engine.new_writer(session)
        self.loop = WriterLoop(self._engine.next_action, self._engine.queue.arm, self._inline.act)
        self._job: asyncio.Future[None] | None = None
        try:
            self._job = self._worker.drive(self._turn, self._job_ended)
        except RuntimeError as error:
            self._retry_in = self._engine.committer.failed(error).retry_in

    async def _run(self) -> None:
        while self._job is None and self._retry_in is not None and not self._engine.shutdown.closed:
            await asyncio.sleep(self._retry_in)
            self._begin_job()
        if self._job is None:
            return
        try:
            await asyncio.wait([self._job])
        except asyncio.CancelledError:
            self.leave()
            await asyncio.wait([self._job], timeout=self._engine.settings.close_timeout)
            raise
        finally:
            if self._job.done():
                self._worker.join(1.0)  # nothing is left for the thread to do but to end
        self._job.result()

    def _ring(self) -> None:
        self._rings_soon = False
        self.loop.wake()

    def _task_ended(self, _task: "asyncio.Task[None]") -> None:
        self._has_ended = True
        self.leave()
        # The loop may be about to end: it starts no writer for what still waits, unless it uses the logger again.
        self._engine.drivers.forget_loop(self._event_loop)
        _set(self._tried_to_open)
        self._engine.retire(self)

    # In the session's thread

    def _turn(self) -> bool:
        if self._has_tried:
            return self.loop.turn()
        self._inline.act(Do.OPEN)
        self._has_tried = True
        with suppress(RuntimeError):  # the event loop is closed: nobody waits
            self._event_loop.call_soon_threadsafe(_set, self._tried_to_open)
        return True

    def _job_ended(self) -> None:
        self._inline.close(-1.0)
        self._has_ended = True
        if not self._event_loop.is_running():
            self._engine.retire(self)  # as the task would, which may never go on


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def _set(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_result(None)
