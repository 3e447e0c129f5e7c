"""Faults around the engine's own work: each is told or counted, nobody who logs meets it, and the next try succeeds."""

import asyncio
import os
import signal
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NoReturn
from weakref import WeakKeyDictionary

import pytest
from tests.inside import engine_of, held_elsewhere

from llm_service.errors import CommitTimeoutError, DatabaseUnusableError, RecordDroppedError
from llm_service.telemetry import DropReason, Event, EventKind, InvocationRecord, TelemetryLogger
from llm_service.telemetry.stores import forks
from llm_service.telemetry.stores.sqlite.budget_reservations import HoldKeeper
from llm_service.telemetry.writer import commit_lock, shutdown, threads
from llm_service.telemetry.writer.commit_lock import CommitLock
from llm_service.telemetry.writer.drivers import Drivers
from llm_service.telemetry.writer.sigterm import SigtermHandler
from llm_service.telemetry.writer.thread_writer import ThreadWriter


@pytest.fixture
def db(tmp_path: Path) -> Path:
    """Where the database goes."""
    return tmp_path / "telemetry.db"


@pytest.fixture
def told() -> list[Event]:
    """What a logger has told."""
    return []


@pytest.fixture
def logger(db: Path, told: list[Event]) -> Iterator[TelemetryLogger]:
    """One that commits only when it is asked to."""
    with TelemetryLogger(db, flush_interval=3600.0, close_timeout=0.2, on_event=told.append) as made:
        yield made


def failing(error: BaseException) -> Callable[..., NoReturn]:
    """A function that raises this."""

    def fail(*_: object, **__: object) -> NoReturn:
        raise error

    return fail


def agents(db: Path) -> list[str]:
    """Whose records are on disk."""
    with closing(sqlite3.connect(db)) as connection:
        return [row[0] for row in connection.execute("SELECT agent_name FROM invocations ORDER BY id")]


def log(logger: TelemetryLogger, *names: str) -> None:
    """Accept a record of each of these agents."""
    assert all(logger.log_invocation_nowait(InvocationRecord(agent_name=name)) for name in names)


# Starting


def test_a_writer_that_cannot_be_started_is_told_of_and_the_next_record_tries_again(
    db: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever logs does not meet the error."""
    told: list[Event] = []
    with TelemetryLogger(db, on_event=told.append) as logger:
        with monkeypatch.context() as broken:
            broken.setattr(engine_of(logger).drivers, "ensure", failing(MemoryError("no room")))
            log(logger, "first")
        log(logger, "second")
        assert logger.flush().complete
    assert agents(db) == ["first", "second"]
    failures = [event for event in told if event.kind is EventKind.WRITER_FAILED]
    assert ["could not be started" in event.message for event in failures] == [True]


def test_where_no_thread_is_to_be_had_there_is_no_writer_and_a_flush_commits(
    db: Path, logger: TelemetryLogger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the thread that flushes."""
    with monkeypatch.context() as full:
        full.setattr(threads, "start", failing(RuntimeError("can't start new thread")))
        assert ThreadWriter.start(engine_of(logger)) is None
        log(logger, "waits")
        assert logger.flush().complete
    assert agents(db) == ["waits"]


async def test_the_writer_goes_to_a_loop_that_runs_and_to_none_where_all_are_closed() -> None:
    """A loop that stands still would keep the records waiting."""
    started: list[asyncio.AbstractEventLoop] = []
    drivers = Drivers(lambda: started.append(asyncio.get_running_loop()), lambda: True)
    await drivers.ready()  # nobody to wait for
    idle, here = asyncio.new_event_loop(), asyncio.get_running_loop()
    for loop in (idle, here):
        drivers.remember_loop(loop)
    assert drivers.hand_over()
    await asyncio.sleep(0)
    assert started == [here]
    drivers.forget_loop(here)
    idle.close()
    assert not drivers.hand_over()


# Opening and housekeeping


def test_a_connection_whose_budgets_cannot_be_read_is_closed(
    logger: TelemetryLogger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is opened again with the next try."""
    opened: list[sqlite3.Connection] = []
    engine, store = engine_of(logger), engine_of(logger).store
    open_file = store._opener.open
    monkeypatch.setattr(store._opener, "open", lambda: opened.append(open_file()) or opened[-1])  # type: ignore[func-returns-value]
    monkeypatch.setattr(HoldKeeper, "register", failing(sqlite3.OperationalError("disk I/O error")))
    session = store.session()
    with pytest.raises(sqlite3.OperationalError, match="disk I/O error"):
        engine.open(session)
    assert not session.is_open
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        opened[0].execute("SELECT 1")


def test_a_wal_that_cannot_be_looked_after_is_noted_and_costs_no_record(
    db: Path, logger: TelemetryLogger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the commit of a budget, too."""
    engine = engine_of(logger)
    monkeypatch.setattr(engine.store.upkeep, "after_another", failing(OSError("no such device")))
    engine.after_budget_commit(engine.executor.session)
    assert "no such device" in str(logger.stats().last_error)
    log(logger, "kept")
    assert logger.flush().complete
    assert agents(db) == ["kept"]


# Within a commit


def test_who_logs_or_flushes_within_a_commit_of_its_own_thread_does_not_wait_for_itself(
    db: Path, logger: TelemetryLogger
) -> None:
    """A signal handler, or `__del__` as the program ends: the commit that was interrupted goes on with it."""
    engine = engine_of(logger)
    log(logger, "interrupted")
    with engine.commit_lock:
        assert not engine.inline.drive(lambda: False, float("inf"))
        engine.shutdown.write_late()
        assert logger.stats().ledger.pending == 1
    assert logger.flush().complete
    assert agents(db) == ["interrupted"]


def test_a_record_that_a_signal_handler_logs_within_a_commit_says_why_it_waits(
    db: Path, logger: TelemetryLogger
) -> None:
    """No time has passed, so the error speaks of none; the record is written by the next commit."""
    with (
        engine_of(logger).commit_lock,
        pytest.raises(CommitTimeoutError, match="yet: a signal handler within a commit"),
    ):
        logger.log_invocation(InvocationRecord(agent_name="handler"))
    assert logger.flush().complete
    assert agents(db) == ["handler"]


def test_while_the_interpreter_ends_nobody_waits_for_a_lock_that_another_thread_holds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """That thread does not run any more."""
    lock = CommitLock(threads.ShortLocks(lambda: ()))
    with held_elsewhere(lock) as (other, _):
        monkeypatch.setattr(commit_lock, "is_finalizing", lambda: True)
        assert not lock.acquire()
        assert lock.owner == other.ident


def test_an_interrupt_as_the_lock_is_taken_leaves_it_to_others() -> None:
    """The call may have taken it when a signal handler raises at its end."""
    lock = CommitLock(threads.ShortLocks(lambda: ()))

    class Interrupted:
        def __init__(self) -> None:
            self.lock = threading.RLock()

        def acquire(self, **how: Any) -> NoReturn:
            self.lock.acquire(**how)
            raise KeyboardInterrupt

        def release(self) -> None:
            self.lock.release()

    raw: Any = Interrupted()
    lock.lock = raw
    with pytest.raises(KeyboardInterrupt):
        lock.acquire()
    assert lock.owner is None
    with pytest.raises(RuntimeError):  # nobody holds it
        raw.lock.release()


# The end


@pytest.fixture
def locked(db: Path, logger: TelemetryLogger) -> Iterator[None]:
    """Another process writes, and does not end."""
    assert logger.flush().complete
    with closing(sqlite3.connect(db, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield


@pytest.mark.usefixtures("locked")
def test_what_comes_too_late_for_a_locked_file_is_counted_as_lost(
    logger: TelemetryLogger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The end of the program waits for a bounded time."""
    log(logger, "late", "later")
    monkeypatch.setattr(shutdown, "_LATE_WAITS", 0.01)
    engine_of(logger).shutdown.write_late()
    engine_of(logger).drivers.join(10.0)  # a driver may be within a commit, and drops what it holds after that
    ledger = logger.stats().ledger
    assert (ledger.pending, ledger.dropped[DropReason.SHUTDOWN]) == (0, 2)
    assert ledger.balanced


@pytest.mark.usefixtures("locked")
@pytest.mark.parametrize("dies", [False, True])
def test_a_signal_that_ends_the_process_counts_and_tells_what_a_locked_file_costs(
    dies: bool, logger: TelemetryLogger, told: list[Event]
) -> None:
    """One that does not leaves it in the queue."""
    log(logger, "waits")
    engine_of(logger).shutdown._write_at_sigterm(dies=dies)
    ledger = logger.stats().ledger
    assert ledger.pending + ledger.dropped.get(DropReason.SHUTDOWN, 0) == 1
    assert (EventKind.CLOSED_WITH_LOSS in {event.kind for event in told}) is dies
    assert engine_of(logger).shutdown.closing is dies


def test_a_signal_without_a_handler_before_ours_ends_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """By its default, and after what is owed was written."""
    done: list[Any] = []
    monkeypatch.setattr(signal, "signal", lambda number, handler: done.append((number, handler)))
    monkeypatch.setattr(os, "kill", lambda pid, number: done.append((pid, number)))
    handler = SigtermHandler(lambda *, dies: done.append(dies), lambda: False)
    handler._active = True
    with monkeypatch.context() as ended:
        ended.setattr(threads, "start", failing(RuntimeError("can't start new thread at interpreter shutdown")))
        ended.setattr(threads, "is_ending", lambda: True)
        handler(signal.SIGTERM, None)
    assert done == [True, (signal.SIGTERM, signal.SIG_DFL), (os.getpid(), signal.SIGTERM)]


# Forks


class Told:
    """Something to put right around a fork, which is interrupted the first time."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def _note(self, what: str) -> None:
        self.calls.append(what)
        if self.calls.count(what) == 1:
            raise ValueError("a signal handler's")

    def after_fork_in_parent(self) -> None:
        self._note("parent")

    def before_os_exit(self) -> None:
        self._note("exit")


def test_a_signal_handler_that_raises_after_a_fork_leaves_nothing_held(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was to be given back is given back again."""
    told = Told()
    monkeypatch.setattr(forks, "_WATCHED", WeakKeyDictionary({told: None}))
    forks._in_parent()
    assert told.calls == ["parent", "parent"]


def test_a_child_ends_with_its_status_whatever_its_loggers_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of them has its turn."""
    one, two, ended = Told(), Told(), list[int]()
    monkeypatch.setattr(forks, "_WATCHED", WeakKeyDictionary({one: None, two: None}))
    monkeypatch.setattr(forks, "_exit", ended.append)
    forks._end_of_child(3)
    assert (one.calls, two.calls, ended) == (["exit"], ["exit"], [3])


@pytest.mark.filterwarnings("ignore:a telemetry logger:ResourceWarning")
def test_the_end_of_the_thread_that_forked_is_that_of_its_child(db: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There it is the main thread, with whose end the interpreter does not end."""
    ends = threading.Event()
    forked = threading.Thread(target=ends.wait, args=(10,))
    forked.start()
    monkeypatch.setattr(shutdown, "main_thread", lambda: forked)
    logger = TelemetryLogger(db, flush_interval=60, models=False, policies=False)
    assert logger.log_invocation_nowait(InvocationRecord(agent_name="child"))
    (ending,) = (one for one in threading.enumerate() if one.name == "llm-telemetry-end")
    ends.set()
    ending.join(10)
    assert engine_of(logger).shutdown.closed
    assert agents(db) == ["child"]
    logger.close()


def test_a_child_that_ends_writes_what_it_has_accepted(db: Path, logger: TelemetryLogger) -> None:
    """Nobody closes the logger that it inherited; where nothing waits, nothing is done."""
    log(logger, "child")
    engine = engine_of(logger)
    engine.before_os_exit()
    assert agents(db) == ["child"]
    engine.before_os_exit()
    assert logger.stats().ledger.written == 1


@pytest.mark.parametrize(
    ("ready", "alone", "what"), [(False, True, "a commit hung"), (True, False, "another thread read")]
)
def test_a_child_of_a_fork_that_could_not_wait_refuses_to_write(
    ready: bool, alone: bool, what: str, db: Path, logger: TelemetryLogger
) -> None:
    """A second connection in one process would take no locks: it says why, and each record is counted."""
    engine = engine_of(logger)
    engine.before_fork()
    engine.after_fork_in_parent()
    engine._fork_ready = ready
    engine.after_fork_in_child(alone=alone)
    assert not logger.log_invocation_nowait(InvocationRecord())
    assert logger.stats().ledger.dropped[DropReason.STORE_FAILED] == 1
    with pytest.raises(RecordDroppedError) as refused:
        logger.log_invocation(InvocationRecord())
    assert isinstance(refused.value.__cause__, DatabaseUnusableError)
    assert f"forked while {what}" in str(refused.value.__cause__)
    assert agents(db) == []


def test_a_close_waits_for_the_writer_that_is_closing_the_file(db: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until then its last checkpoint goes on, and a copy of the file would not be whole."""
    logger = TelemetryLogger(db, flush_interval=0.01)
    session, drivers = engine_of(logger).inline.session, engine_of(logger).drivers
    closes, join = session.connection.let_go, drivers.join
    begun, goes_on, steps = threading.Event(), threading.Event(), list[str]()

    def slow() -> None:
        opened = session.is_open
        session.connection._connection, kept = None, session.connection._connection
        if opened and threading.current_thread() is not threading.main_thread():
            begun.set()
            assert goes_on.wait(10.0)
        session.connection._connection = kept
        closes()
        steps.append("the file is closed")

    def late_join(timeout: float) -> None:
        assert begun.wait(10.0)
        threading.Timer(0.2, goes_on.set).start()
        join(timeout)

    monkeypatch.setattr(session.connection, "let_go", slow)
    monkeypatch.setattr(drivers, "join", late_join)
    assert logger.log_invocation_nowait(InvocationRecord())
    logger.close()
    steps.append("close returns")
    assert steps[0] == "the file is closed"
    assert steps[-1] == "close returns"
