"""An aiosqlite connection that cannot hang the process: a daemon thread, and one long job that needs no living loop.

Stock aiosqlite (0.22) keeps a non-daemon thread, which interpreter exit joins for ever when nobody closed it, and the
thread dies when it reports to a loop that is closed. Here the thread is a daemon, and the job delivers its own result,
to a loop that may be closed. Private names used: `_tx`, `_thread`, `_connection`, `_connector`; each is guarded by a
test.
"""

import asyncio
import sqlite3
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial

import aiosqlite

from llm_service.telemetry.stores.sqlite.lazy_connection import LazyConnection

__all__ = ["WriterConnection"]


class WriterConnection(LazyConnection, aiosqlite.Connection):
    """One connection and its thread, which opens it, does one long job and ends."""

    def __init__(
        self,
        connector: Callable[[], sqlite3.Connection],
        launch: Callable[[threading.Thread], object] = threading.Thread.start,
    ) -> None:
        aiosqlite.Connection.__init__(self, connector, iter_chunk_size=64)  # makes the attributes of both
        self._launch = launch
        self._thread.daemon = True
        self._thread.name = "llm-telemetry-writer"

    def drive(self, turn: Callable[[], bool], ended: Callable[[], None]) -> "asyncio.Future[None]":
        """Have the thread call `turn` until it returns False, then `ended`; then the thread ends.

        Nothing of it needs the loop, which learns of the end alone: a cancelled future, or a closed loop, changes
        nothing.

        Returns:
            Done at the end; with the exception of `turn` or `ended`, if one raised.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()

        def job() -> object:
            deliver: Callable[[], None] = partial(_succeed, future)
            try:
                try:
                    while turn():
                        pass
                finally:
                    ended()
            except BaseException as error:  # noqa: BLE001 - handed to whoever waits, like a future's exception
                deliver = partial(_fail, future, error)
            with suppress(RuntimeError):  # the loop is closed: nobody waits
                loop.call_soon_threadsafe(deliver)
            return aiosqlite.core._STOP_RUNNING_SENTINEL  # noqa: SLF001 - what ends aiosqlite's thread

        self._tx.put_nowait((None, job))
        self._launch(self._thread)
        return future

    def join(self, timeout: float) -> bool:
        """Wait for the thread to end; False if it has not after `timeout` seconds."""
        if self._thread.ident is not None:
            self._thread.join(timeout)
        return not self._thread.is_alive()


def _succeed(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_result(None)


def _fail(future: "asyncio.Future[None]", error: BaseException) -> None:
    if not future.done():
        future.set_exception(error)
