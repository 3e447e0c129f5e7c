"""The private names of aiosqlite that `stores.sqlite.async_connection` uses are what it takes them for."""

import asyncio
import queue
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiosqlite
import pytest

from llm_service.telemetry.stores.sqlite.async_connection import WriterConnection


async def test_stock_aiosqlite_has_the_names_that_we_use(db: Path) -> None:
    """`_tx` takes (future, function) pairs, `_thread` is not a daemon, `_connection` is sqlite3's, a sentinel stops."""
    connection = aiosqlite.connect(db)
    assert isinstance(connection._thread, threading.Thread)
    assert not connection._thread.daemon
    assert connection._connection is None
    await connection
    assert isinstance(connection._tx, queue.SimpleQueue)
    assert isinstance(connection._connection, sqlite3.Connection)
    assert connection._running
    done = threading.Event()
    connection._tx.put_nowait((None, done.set))
    assert await asyncio.to_thread(done.wait, 5)
    raw = connection._connection
    connection._tx.put_nowait((None, raw.close))
    connection._tx.put_nowait((None, lambda: aiosqlite.core._STOP_RUNNING_SENTINEL))
    await asyncio.to_thread(connection._thread.join, 5)
    assert not connection._thread.is_alive()
    connection._connection = None  # closed: its finalizer has nothing to warn of
    connection._running = False


async def test_asyncio_asks_a_task_whether_to_complain() -> None:
    """`_log_destroy_pending` is what `asyncio.gather` uses for the same purpose."""
    task = asyncio.create_task(asyncio.sleep(0))
    assert task._log_destroy_pending  # type: ignore[attr-defined]
    task._log_destroy_pending = False  # type: ignore[attr-defined]
    await task


async def test_a_job_runs_with_the_raw_connection_in_a_daemon_thread(db: Path) -> None:
    """One hop: the function gets sqlite3's connection in the connection's own thread."""
    guard = threading.Lock()
    connection = WriterConnection(lambda: sqlite3.connect(db, check_same_thread=False), guard)
    await connection.open()

    def look(raw: sqlite3.Connection) -> tuple[str, bool, bool, int]:
        thread = threading.current_thread()
        return thread.name, thread.daemon, guard.locked(), raw.execute("SELECT 7").fetchone()[0]

    assert await connection.run(look) == ("llm-telemetry-writer", True, True, 7)
    with pytest.raises(sqlite3.OperationalError, match="no such table"):
        await connection.run(lambda raw: raw.execute("SELECT * FROM nowhere"))
    with guard:
        connection.let_go()
    assert await connection.run(lambda raw: raw.execute("SELECT 8").fetchone()) == (8,)  # opened again
    await connection.finish()
    assert connection.join(5)


async def test_a_connector_that_raises_ends_the_thread(db: Path) -> None:
    """`open` passes its error on, and leaves nothing running."""

    def refuse() -> sqlite3.Connection:
        raise PermissionError(db)

    connection = WriterConnection(refuse, threading.Lock())
    with pytest.raises(PermissionError):
        await connection.open()
    assert connection.join(5)


def test_a_job_outlives_its_loop(db: Path) -> None:
    """A result that no loop waits for any more is dropped, and the thread goes on to its stop."""
    leave, ran = threading.Event(), threading.Event()

    def job(_raw: sqlite3.Connection) -> None:
        leave.wait(5)
        ran.set()

    async def begin() -> WriterConnection:
        connection = WriterConnection(lambda: sqlite3.connect(db, check_same_thread=False), threading.Lock())
        await connection.open()
        connection.run(job)
        return connection

    connection = asyncio.run(begin())
    leave.set()
    connection.stop_soon()
    assert connection.join(5)
    assert ran.is_set()


def test_a_forgotten_writer_connection_does_not_hang_the_exit(db: Path, run_script: Callable[..., Any]) -> None:
    """Stock aiosqlite would: its thread is joined by the interpreter before anything could stop it."""
    ended = run_script(
        "import sqlite3\n"
        "from llm_service.telemetry.stores.sqlite.async_connection import WriterConnection\n"
        "C = WriterConnection(lambda: sqlite3.connect(PATH, check_same_thread=False), threading.Lock())\n"
        "async def main():\n await C.open()\n sys.exit(3)\n"
        "asyncio.run(main())",
        db,
        flags=(),
    )
    assert (ended.code, ended.err) == (3, "")
    assert ended.seconds < 5
