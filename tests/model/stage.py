"""Loop, clock, thread and disk of one logger, each moved by hand: nothing happens but what a step asks for.

The code that runs is the real one, down to SQLite and the file. Only these are stood in for: the event loop's clock, the
writer thread (each turn of its loop waits until a step lets it run), and the moment at which a statement fails.
"""

import asyncio
import logging
import math
import sqlite3
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any
from unittest import mock

import aiosqlite.core

from llm_service.telemetry.stores.sqlite import async_connection, opening, store, wal
from llm_service.telemetry.stores.sqlite.database_files import OwnConnection
from llm_service.telemetry.writer import engine, inline_writer, queue, writer_loop

PACKAGE = "llm_service.telemetry"


class Clock:
    """Seconds; monotonic, as all clocks of the engine are."""

    now = 0.0

    def __call__(self) -> float:
        """The time."""
        return self.now


class SteppedLoop(asyncio.SelectorEventLoop):
    """A loop that runs one turn at a time, on a clock of its own."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        super().__init__()

    def time(self) -> float:
        """As the clock says."""
        return self._clock.now

    def turn(self) -> None:
        """Run what is ready now, and no more."""
        self.call_soon(self.stop)
        self.run_forever()


class Asleep(BaseException):
    """Out of a turn of the writer loop, which would sleep now: it is the last that a turn does."""


class HeldAlarm:
    """Stands in for the alarm of a writer loop: nobody sleeps, and a step is told until when it would."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._rings = False
        self._until = 0.0

    def ring(self) -> None:
        """End the sleep, or the next one."""
        self._rings = True

    def wait(self, seconds: float | None) -> None:
        """Sleep, unless it rings already."""
        if not self._rings:
            self._until = math.inf if seconds is None else self._clock.now + max(0.0, seconds)
            raise Asleep(self)
        self._rings = False

    def wakes(self) -> bool:
        """Whether the sleep is over."""
        if not self._rings and self._clock.now < self._until:
            return False
        self._rings = False
        return True


class HeldThread:
    """Stands in for aiosqlite's thread: a turn runs when a step asks for it, whole, as one commit does."""

    def __init__(self, jobs: Any) -> None:
        self._jobs = jobs
        self._sleeps: HeldAlarm | None = None
        self.turn: Callable[[], bool] | None = None
        self.ident: int | None = None
        self.ended = False
        self.name = ""
        self.daemon = False

    def start(self) -> None:
        """From now on turns may run."""
        self.ident = 1

    def is_alive(self) -> bool:
        """Until its job is done."""
        return self.ident is not None and not self.ended

    def run_one(self) -> bool:
        """Run the next turn, or the end of the job; False where it sleeps or there is none."""
        if not self.is_alive() or (self._sleeps is not None and not self._sleeps.wakes()):
            return False
        self._sleeps = None
        try:
            if self.turn is not None and self.turn():
                return True
        except Asleep as asleep:
            self._sleeps = asleep.args[0]
            return True
        self.turn = None
        _, job = self._jobs.get_nowait()
        self.ended = job() is aiosqlite.core._STOP_RUNNING_SENTINEL
        return True

    def join(self, _timeout: float | None = None) -> None:
        """Whoever waits for the thread lets it finish."""
        while self.run_one():
            pass


class Disk:
    """What goes wrong, and when."""

    def __init__(self) -> None:
        self.failing = 0
        """So many transactions fail at `where`."""
        self.where = "BEGIN"
        self.full = False
        self.phantoms = 0
        """So many commits fail after they are on disk."""
        self.on_phantom: Callable[[], None] = lambda: None


class FailingConnection(OwnConnection):
    """The real connection, but for the statements that are to fail."""

    disk: Disk

    def execute(self, sql: str, *parameters: Any) -> sqlite3.Cursor:
        """Run the statement, or fail before or after it."""
        disk = self.disk
        if disk.failing and sql.startswith(disk.where):
            disk.failing -= 1
            raise _error(sqlite3.SQLITE_IOERR, "disk I/O error")
        if sql.startswith("BEGIN IMMEDIATE"):
            (pages,) = super().execute("PRAGMA page_count").fetchone()
            super().execute(f"PRAGMA max_page_count = {pages if disk.full else 1_000_000}")
        cursor = super().execute(sql, *parameters)
        if disk.phantoms and sql.startswith("COMMIT"):
            disk.phantoms -= 1
            disk.on_phantom()
            raise _error(sqlite3.SQLITE_IOERR, "disk I/O error")
        return cursor


def _error(code: int, text: str) -> sqlite3.OperationalError:
    error = sqlite3.OperationalError(text)
    error.sqlite_errorcode = code  # type: ignore[misc]
    error.sqlite_errorname = "SQLITE_IOERR"  # type: ignore[misc]
    return error


class Stage:
    """Puts all of it in place, and back again."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.disk = Disk()
        self.threads: list[HeldThread] = []
        self._undo = ExitStack()
        stage = self

        class Connection(FailingConnection):
            disk = stage.disk

        class HeldWriterConnection(async_connection.WriterConnection):
            def __init__(self, connector: Callable[[], sqlite3.Connection], launch: Any) -> None:
                super().__init__(connector, launch)
                self._thread: Any = HeldThread(self._tx)
                stage.threads.append(self._thread)

            def drive(self, turn: Callable[[], bool], ended: Callable[[], None]) -> "asyncio.Future[None]":
                self._thread.turn = turn
                return super().drive(lambda: False, ended)

        for module, name, value in (
            (store, "WriterConnection", HeldWriterConnection),
            (writer_loop, "Alarm", lambda: HeldAlarm(stage.clock)),
            (opening, "OwnConnection", Connection),
            (opening, "BUSY_TIMEOUT_MS", 0),  # whoever finds a lock comes back: nobody sleeps
            (wal, "BUSY_TIMEOUT_MS", 0),
            (engine, "monotonic", self.clock),
            (queue, "monotonic", self.clock),
            (inline_writer, "monotonic", self.clock),
            (inline_writer, "sleep", self.sleep),
        ):
            self._undo.enter_context(mock.patch.object(module, name, value))
        log = logging.getLogger("llm_service.telemetry")
        self._undo.callback(setattr, log, "disabled", log.disabled)
        log.disabled = True
        self.loop = SteppedLoop(self.clock)

    def sleep(self, seconds: float) -> None:
        """Time passes for everybody."""
        self.clock.now += seconds

    def run_job(self) -> bool:
        """Let a writer thread have one turn; False where each sleeps."""
        self.threads = [thread for thread in self.threads if not thread.ended]
        return any(thread.run_one() for thread in self.threads)

    def turn(self) -> None:
        """Let the loop run one turn."""
        self.loop.turn()

    def run_out(self, done: Callable[[], bool], most: int = 3000) -> None:
        """Let loop, thread and time go on until `done()`."""
        for _ in range(most):
            if done():
                return
            self.turn()
            if not self.run_job():
                self.clock.now += 0.05
        raise AssertionError("it does not come to an end")

    def end_loop(self) -> None:
        """End the loop as `asyncio.run` does, and begin another."""
        tasks = asyncio.all_tasks(self.loop)
        for task in tasks:
            task.cancel()
        self.run_out(lambda: all(task.done() for task in tasks))
        self.loop.close()
        self.loop = SteppedLoop(self.clock)

    def close(self) -> None:
        """Put everything back."""
        with suppress(RuntimeError):
            self.loop.close()
        self._undo.close()


def stored_ids(path: Path) -> list[str]:
    """What is in the file, in the order of its arrival; the aggregates must say the same."""
    if not path.exists() or path.stat().st_size == 0:
        return []
    reader = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, isolation_level=None)
    try:
        reader.execute("BEGIN")
        if not reader.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            return []
        ids = [row[0] for row in reader.execute("SELECT invocation_id FROM invocations ORDER BY id")]
        (counted,) = reader.execute("SELECT coalesce(sum(invocations), 0) FROM daily_costs").fetchone()
        (timed,) = reader.execute("SELECT coalesce(sum(invocations), 0) FROM latency_counts").fetchone()
        (by_quarter,) = reader.execute("SELECT coalesce(sum(invocations), 0) FROM quarter_hours").fetchone()
        assert counted == timed == by_quarter == len(ids)
        return ids
    finally:
        reader.close()
