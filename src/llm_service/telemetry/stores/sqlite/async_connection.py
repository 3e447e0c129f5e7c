"""An aiosqlite connection that cannot hang the process.

Stock aiosqlite (0.22) has a non-daemon thread, which interpreter exit joins for ever if the connection is not closed;
the thread dies when it reports to a closed loop. Here the thread is a daemon, and each job delivers its own result,
also if the loop is gone. Private names used: `_tx`, `_thread`, `_connection`; each is guarded by a test.
"""

import asyncio
import sqlite3
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from typing import Any, TypeVar

import aiosqlite

__all__ = ["WriterConnection"]

_T = TypeVar("_T")


class WriterConnection(aiosqlite.Connection):
    """One connection and its thread, owned by one loop and never used by another.

    Args:
        connector: opens the database; runs in the connection's thread.
        guard: held while the thread uses the database; `let_go` needs it.
        launch: starts the thread.
    """

    def __init__(
        self,
        connector: Callable[[], sqlite3.Connection],
        guard: AbstractContextManager[Any],
        launch: Callable[[threading.Thread], object] = threading.Thread.start,
    ) -> None:
        super().__init__(connector, iter_chunk_size=64)
        self._guard = guard
        self._launch = launch
        self._thread.daemon = True
        self._thread.name = "llm-telemetry-writer"

    async def open(self) -> None:
        """Start the thread and open the database.

        Raises:
            Exception: from the connector; the thread has ended.
            RuntimeError: no thread can be started.
        """
        self._launch(self._thread)
        try:
            await self._submit(self._opened)
        except BaseException:
            self.stop_soon()
            raise

    def run(self, function: Callable[[sqlite3.Connection], _T]) -> "asyncio.Future[_T]":
        """Call `function` with the raw connection in the thread: one hop for a whole batch.

        Cancelling the future abandons only the result; the function runs to its end.
        """
        return self._submit(lambda: function(self._opened()))

    async def finish(self) -> None:
        """Close the database in its thread and end the thread, also if the caller is cancelled meanwhile."""
        try:
            await self._submit(self.let_go)
        finally:
            self.stop_soon()
        self.join(1.0)  # only the stop is left

    def stop_soon(self) -> None:
        """Make the thread close the database and end after its pending jobs. Needs no loop."""
        self._running = False
        self._tx.put_nowait((None, self._close_and_stop))

    def let_go(self) -> None:
        """Close the database now, from a thread that holds the guard; the next `run` reopens it."""
        if self._connection is not None:
            with suppress(sqlite3.Error):
                self._connection.close()
            self._connection = None

    def join(self, timeout: float) -> bool:
        """Wait for the thread to end; False if it has not after `timeout` seconds."""
        if self._thread.ident is not None:
            self._thread.join(timeout)
        return not self._thread.is_alive()

    def _submit(self, function: Callable[[], _T]) -> "asyncio.Future[_T]":
        loop = asyncio.get_running_loop()
        future: asyncio.Future[_T] = loop.create_future()

        def job() -> None:
            try:
                with self._guard:
                    result = function()
            except BaseException as error:  # noqa: BLE001 - stored in the future
                _tell(loop, _fail, future, error)
            else:
                _tell(loop, _succeed, future, result)

        self._tx.put_nowait((None, job))
        return future

    def _opened(self) -> sqlite3.Connection:
        if self._connection is None:
            self._connection = self._connector()  # stored first, so that a cancelled `open` closes it
        return self._connection

    def _close_and_stop(self) -> object:
        with self._guard:
            self.let_go()
        return aiosqlite.core._STOP_RUNNING_SENTINEL  # noqa: SLF001 - what ends aiosqlite's thread


def _tell(loop: asyncio.AbstractEventLoop, deliver: Callable[..., None], *arguments: Any) -> None:
    # A closed loop raises RuntimeError: nobody waits for the result any more.
    with suppress(RuntimeError):
        loop.call_soon_threadsafe(deliver, *arguments)


def _succeed(future: "asyncio.Future[_T]", result: _T) -> None:
    if not future.done():
        future.set_result(result)


def _fail(future: "asyncio.Future[Any]", error: BaseException) -> None:
    if not future.done():
        future.set_exception(error)
