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


async def test_one_long_job_runs_with_the_raw_connection_in_a_daemon_thread(db: Path) -> None:
    """It ends by itself, and so does the thread; what it has opened is closed and opened again as it likes."""
    connection = WriterConnection(lambda: sqlite3.connect(db, check_same_thread=False))
    seen: list[Any] = []

    def turn() -> bool:
        thread = threading.current_thread()
        seen.append((thread.name, thread.daemon, connection.opened().execute("SELECT 7").fetchone()[0]))
        if len(seen) == 2:
            connection.let_go()
        return len(seen) < 4

    await connection.drive(turn, lambda: seen.append(connection.let_go()))
    assert seen == [("llm-telemetry-writer", True, 7)] * 4 + [None]
    assert not connection.is_open
    assert connection.join(5)


async def test_a_job_that_raises_is_ended_and_says_why(db: Path) -> None:
    """Whoever waits for it gets the error, and nothing is left running."""
    ended: list[bool] = []

    def refuse() -> sqlite3.Connection:
        raise PermissionError(db)

    connection = WriterConnection(refuse)
    with pytest.raises(PermissionError):
        await connection.drive(lambda: bool(connection.opened()), lambda: ended.append(True))
    assert ended == [True]
    assert connection.join(5)


async def test_where_no_thread_is_to_be_had_there_is_no_job(db: Path) -> None:
    """The error is that of the thread's start."""

    def none_left(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    connection = WriterConnection(lambda: sqlite3.connect(db, check_same_thread=False), none_left)
    with pytest.raises(RuntimeError, match="can't start new thread"):
        connection.drive(lambda: False, lambda: None)
    assert connection.join(0)


def test_a_job_outlives_its_loop(db: Path) -> None:
    """An end that no loop waits for any more is told to nobody, and the thread ends all the same."""
    leave, turns = threading.Event(), list[int]()

    def turn() -> bool:
        leave.wait(5)
        turns.append(connection.opened().execute("SELECT 7").fetchone()[0])
        return len(turns) < 3

    async def begin() -> None:
        connection.drive(turn, connection.let_go)

    connection = WriterConnection(lambda: sqlite3.connect(db, check_same_thread=False))
    asyncio.run(begin())
    leave.set()
    assert connection.join(5)
    assert turns == [7, 7, 7]


def test_a_forgotten_writer_connection_does_not_hang_the_exit(db: Path, run_script: Callable[..., Any]) -> None:
    """Stock aiosqlite would: its thread is joined by the interpreter before anything could stop it."""
    ended = run_script(
        "import sqlite3\n"
        "from llm_service.telemetry.stores.sqlite.async_connection import WriterConnection\n"
        "C = WriterConnection(lambda: sqlite3.connect(PATH, check_same_thread=False))\n"
        "async def main():\n C.drive(lambda: C.opened() and not time.sleep(0.01), C.let_go)\n sys.exit(3)\n"
        "asyncio.run(main())",
        db,
        flags=(),
    )
    assert (ended.code, ended.err) == (3, "")
    assert ended.seconds < 30
