"""The writer task: on the loop that used the logger first, it decides when, and its aiosqlite thread commits.

The task may be cancelled at any await, as `asyncio.run` does to every task at its end. A commit under way goes on and
settles itself in its thread; what still waits is written before the task ends.
"""

import asyncio
import weakref
from collections.abc import Coroutine
from contextlib import suppress
from contextvars import Context
from typing import TYPE_CHECKING, Any, Final

from llm_service.telemetry.stores.sqlite.async_connection import WriterConnection
from llm_service.telemetry.writer import threads
from llm_service.telemetry.writer.schedule import Do

if TYPE_CHECKING:
    from llm_service.telemetry.writer.committer import Step
    from llm_service.telemetry.writer.engine import Engine

__all__ = ["LoopWriter"]

_NEVER: Final = 1e9
"""Seconds: about thirty years."""


class _Token:
    """Lives as long as the loop's timer that holds it."""

    __slots__ = ("__weakref__",)

    def keep(self) -> None:
        """What the timer would do."""


class LoopWriter:
    """A `Driver` on the running loop; start it there."""

    def __init__(self, engine: "Engine") -> None:
        self._engine = engine
        self._loop = asyncio.get_running_loop()
        self._connection: WriterConnection | None = None
        self._sleeper: asyncio.Future[None] | None = None
        self._roused = False
        self._superseded = False
        self._tried_to_open: asyncio.Future[None] = self._loop.create_future()
        # An empty context: the task must not hold the first caller's request, span or parent.
        self._task = self._loop.create_task(self._run(), name="llm-telemetry-writer", context=Context())
        # Not in a `finally`: a task that is cancelled before its first step never runs one.
        self._task.add_done_callback(self._ended)
        # A loop that is closed with tasks pending tells nobody. It does let go of its timers: this one holds a token
        # that nothing else holds, and no timer is ever so long.
        token = _Token()
        self._end_of_loop = weakref.finalize(token, LoopWriter._loop_is_gone, weakref.ref(self))
        self._end_of_loop.atexit = False
        self._timer = weakref.ref(self._loop.call_later(_NEVER, _Token.keep, token))

    @classmethod
    def start(cls, engine: "Engine") -> "LoopWriter | None":
        """A writer on the loop that runs in this thread; None where none runs."""
        try:
            return cls(engine)
        except RuntimeError:
            return None

    def wake(self) -> bool:
        """See `Driver`."""
        try:
            self._loop.call_soon_threadsafe(self._rouse)
        except RuntimeError:
            return False
        return not self._task.done()

    def is_alive(self) -> bool:
        """See `Driver`."""
        return not (self._loop.is_closed() or self._task.done())

    def rests(self) -> bool:
        """See `Driver`."""
        if self._loop.is_running():
            return False
        try:
            return asyncio.get_running_loop() is not self._loop
        except RuntimeError:
            return False

    def supersede(self) -> None:
        """See `Driver`."""
        self._superseded = True
        self.wake()

    async def ready(self) -> None:
        """See `Driver`."""
        if asyncio.get_running_loop() is self._loop:
            await asyncio.wait([self._tried_to_open])

    def discard(self) -> None:
        """See `Driver`."""
        if self._connection is not None:
            self._connection.stop_soon()

    def let_go(self) -> None:
        """See `Driver`."""
        if self._connection is not None:
            self._connection.let_go()

    def join(self, timeout: float) -> None:
        """See `Driver`."""
        if self._connection is not None:
            self._connection.join(timeout)

    async def _run(self) -> None:
        try:
            await self._work()
        except asyncio.CancelledError:
            await self._within_bounds(self._last_steps())
            raise
        finally:
            # Without its loop this coroutine is only being collected: `discard` has stopped the thread.
            if self._connection is not None and self._end_of_loop.alive and not self._loop.is_closed():
                await self._within_bounds(self._connection.finish())

    @staticmethod
    def _loop_is_gone(reference: "weakref.ref[LoopWriter]") -> None:
        writer = reference()
        if writer is not None:
            writer._be_abandoned()  # noqa: SLF001 - its own method

    def _be_abandoned(self) -> None:
        # asyncio complains of a task that never ends; here nothing is lost by it.
        self._task._log_destroy_pending = False  # type: ignore[attr-defined] # noqa: SLF001 - guarded by a test
        self.discard()
        self._engine.retire(self)

    def _ended(self, _task: "asyncio.Task[None]") -> None:
        self._end_of_loop.detach()
        timer = self._timer()
        if timer is not None:
            timer.cancel()
        # Its loop may be about to end: it is no heir, unless it uses the logger again.
        self._engine.drivers.forget_loop(self._loop)
        _set(self._tried_to_open)
        self._engine.retire(self)

    async def _within_bounds(self, work: Coroutine[Any, Any, None]) -> None:
        """Ending waits for a disk that hangs no longer than a close would."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self._engine.settings.close_timeout):
                await work

    async def _work(self) -> None:
        engine = self._engine
        await self._act(Do.OPEN)
        while not self._superseded:
            action = engine.next_action()
            if action.do is Do.FINISH:
                return
            if action.do is Do.SLEEP:
                if engine.queue.arm(action.wake_at):
                    await self._sleep(action.seconds)
                continue
            step = await self._act(action.do)
            if step is not None and step.retry_in is not None:
                await self._sleep(step.retry_in)

    async def _act(self, do: Do) -> "Step | None":
        """Commit, tidy or purge, in one hop. Whatever goes wrong becomes a step that failed."""
        engine = self._engine
        try:
            if self._connection is None:
                await self._open()
            if self._connection is None or do is Do.OPEN:
                return None
            if do in {Do.TIDY, Do.PURGE}:
                await self._connection.run(engine.tidy if do is Do.TIDY else engine.retain)
                return None
            step = await self._connection.run(engine.step)
            if step.reopen:
                try:
                    await self._connection.finish()
                finally:
                    self._connection = None
        except Exception as error:  # noqa: BLE001 - the task outlives anything; `failed` counts, logs and paces it
            return engine.committer.failed(error)
        return step

    async def _open(self) -> None:
        # At hand from now on: a fork on this thread lets go of it, and waits for nothing that needs this thread.
        self._connection = WriterConnection(self._engine.open_connection, self._engine.commit_lock, threads.launch)
        try:
            await self._connection.open()
        except BaseException:
            self._connection = None
            raise
        finally:
            _set(self._tried_to_open)

    async def _last_steps(self) -> None:
        """Cancelled: write what waits, as long as the disk plays along; the exit's drain does the rest."""
        while not self._engine.queue.empty():
            step = await self._act(Do.COMMIT)
            if step is None or step.retry_in is not None or not step.committed:
                return

    async def _sleep(self, seconds: float | None) -> None:
        if self._roused:
            self._roused = False
            return
        self._sleeper = self._loop.create_future()
        timer = None if seconds is None else self._loop.call_later(seconds, self._rouse)
        try:
            await self._sleeper
        finally:
            self._sleeper = None
            self._roused = False
            if timer is not None:
                timer.cancel()

    def _rouse(self) -> None:
        sleeper = self._sleeper
        if sleeper is None:
            self._roused = True
        else:
            _set(sleeper)


def _set(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_result(None)
