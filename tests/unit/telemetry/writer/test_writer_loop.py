"""The one loop of both loggers: what ends its sleep, when it ends itself, and what it does without an event loop."""

import asyncio
import os
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from tests.inside import engine_of

from llm_service.telemetry import AsyncTelemetryLogger, InvocationRecord, TelemetryLogger
from llm_service.telemetry.writer import task_writer, threads
from llm_service.telemetry.writer.committer import Step
from llm_service.telemetry.writer.schedule import Action, Do
from llm_service.telemetry.writer.writer_loop import Alarm, WriterLoop


@pytest.fixture
def db(tmp_path: Path) -> Path:
    """Where the database goes."""
    return tmp_path / "telemetry.db"


def rows(db: Path) -> int:
    """Records on disk."""
    with closing(sqlite3.connect(db)) as connection:
        return int(connection.execute("SELECT count(*) FROM invocations").fetchone()[0])


def comes_true(condition: Callable[[], bool], seconds: float = 60.0) -> bool:
    """Whether it holds in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True


# The alarm


def test_an_alarm_that_rings_before_the_sleep_ends_it_at_once() -> None:
    """However often it rang, and only that one sleep."""
    alarm = Alarm()
    alarm.ring()
    alarm.ring()
    began = time.monotonic()
    alarm.wait(30.0)
    alarm.wait(0.0)
    alarm.wait(-1.0)
    assert time.monotonic() - began < 10
    alarm.wait(0.02)
    assert time.monotonic() - began >= 0.02


def test_an_alarm_wakes_a_thread_that_sleeps_without_a_bound() -> None:
    """From another thread."""
    alarm, woken = Alarm(), threading.Event()

    def sleep() -> None:
        alarm.wait(None)
        alarm.wait(float("inf"))
        woken.set()

    thread = threading.Thread(target=sleep, daemon=True)
    thread.start()
    while not woken.wait(0.01):
        alarm.ring()
    thread.join(10)


# The loop


class Script:
    """Says what it is to say, and notes what it is asked."""

    def __init__(self, *actions: Action, step: Step = Step(), armed: bool = True) -> None:  # noqa: B008 - frozen
        self.actions, self.step, self.armed = list(actions), step, armed
        self.asked: list[Any] = []

    def next_action(self, leaving: bool) -> Action:
        self.asked.append(("next", leaving))
        return self.actions.pop(0)

    def arm(self, at: int) -> bool:
        self.asked.append(("arm", at))
        return self.armed

    def act(self, do: Do) -> Step:
        self.asked.append(do)
        return self.step


def loop_of(script: Any) -> WriterLoop:
    """The loop that follows the script."""
    return WriterLoop(script.next_action, script.arm, script.act)


@pytest.mark.parametrize("do", [Do.COMMIT, Do.TIDY, Do.PURGE])
def test_a_turn_does_what_is_next_and_asks_again(do: Do) -> None:
    """Once for each turn."""
    script = Script(Action(do), Action(Do.FINISH))
    loop = loop_of(script)
    assert [loop.turn(), loop.turn()] == [True, False]
    assert script.asked == [("next", False), do, ("next", False)]


def test_a_loop_that_cannot_be_woken_in_time_does_not_sleep() -> None:
    """What was to end the sleep is there already."""
    script = Script(Action(Do.SLEEP, None, 7), Action(Do.FINISH), armed=False)
    loop = loop_of(script)
    assert [loop.turn(), loop.turn()] == [True, False]
    assert ("arm", 7) in script.asked


def test_a_loop_that_leaves_commits_once_more_and_retries_nothing() -> None:
    """The next writer, or the end of the process, writes the rest."""
    script = Script(Action(Do.COMMIT), Action(Do.COMMIT), step=Step(retry_in=0.0))
    loop = loop_of(script)
    assert loop.turn()
    loop.leave()
    assert not loop.turn()
    assert script.asked == [("next", False), Do.COMMIT, ("next", True), Do.COMMIT]


def test_a_loop_that_sleeps_is_ended_at_once() -> None:
    """In the middle of its sleep, or of the pause after a failure."""
    for first in (Script(Action(Do.SLEEP), Action(Do.FINISH)), Script(Action(Do.COMMIT), Action(Do.FINISH))):
        first.step = Step(retry_in=1000.0)
        loop = loop_of(first)
        thread = threading.Thread(target=lambda loop=loop: loop.turn() and loop.turn(), daemon=True)
        thread.start()
        loop.leave()
        thread.join(10)
        assert not thread.is_alive()


# Without an event loop


def test_a_loop_that_stands_still_stops_no_commit(db: Path) -> None:
    """Between two runs, and after it was closed without a cancellation."""
    before = set(threading.enumerate())  # of loggers that other tests left open
    telemetry = AsyncTelemetryLogger(db, flush_interval=0.01)
    loop = asyncio.new_event_loop()
    loop.run_until_complete(telemetry.start())
    assert telemetry.log_invocation_nowait(InvocationRecord())
    assert comes_true(lambda: telemetry.stats().ledger.written == 1)
    loop.close()
    assert telemetry.log_invocation_nowait(InvocationRecord())
    assert comes_true(lambda: telemetry.stats().ledger.written == 2)
    assert telemetry.stats().writer_alive
    asyncio.run(telemetry.aclose())
    assert not telemetry.stats().writer_alive
    assert comes_true(
        lambda: "llm-telemetry-writer" not in {thread.name for thread in {*threading.enumerate()} - before}
    )
    assert rows(db) == 2


@pytest.mark.parametrize("closes", [True, False])
def test_a_loop_that_stops_before_it_could_wake_the_writer_keeps_no_record(closes: bool, db: Path) -> None:
    """Closed, it wakes the writer by that; stopped, the next loop that uses the logger does."""
    telemetry = AsyncTelemetryLogger(db, flush_interval=0.01)
    loop = asyncio.new_event_loop()

    async def stop_and_log() -> None:
        loop.stop()
        assert telemetry.log_invocation_nowait(InvocationRecord())

    loop.run_until_complete(telemetry.start())
    time.sleep(0.05)  # the writer sleeps
    task = loop.create_task(stop_and_log())
    loop.run_forever()
    if closes:
        loop.close()
        assert comes_true(lambda: telemetry.stats().ledger.written == 1)
    else:
        assert asyncio.run(telemetry.flush(10.0)).complete
        loop.close()
    assert task.done()
    asyncio.run(telemetry.aclose())
    assert rows(db) == 1


async def test_a_burst_on_the_loop_wakes_the_writer_with_the_next_turn(db: Path) -> None:
    """Until then it shares the interpreter with nobody; a signal handler, in no task, wakes it as well."""
    async with AsyncTelemetryLogger(db, flush_interval=60.0, batch_size=10) as telemetry:
        await asyncio.to_thread(time.sleep, 0.05)
        for _ in range(20):
            assert telemetry.log_invocation_nowait(InvocationRecord())
        time.sleep(0.1)  # noqa: ASYNC251 - the loop is busy
        assert telemetry.stats().ledger.written == 0
        assert await asyncio.to_thread(comes_true, lambda: telemetry.stats().ledger.written == 20)
        asyncio.get_running_loop().call_soon(
            lambda: [telemetry.log_invocation_nowait(InvocationRecord()) for _ in range(20)]
        )
        assert await asyncio.to_thread(comes_true, lambda: telemetry.stats().ledger.written == 40)


async def test_where_no_thread_is_to_be_had_the_task_tries_again(db: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was accepted meanwhile waits, and whoever waits for it is told."""
    tries: list[int] = []
    launch = threads.launch

    def one_is_free_later(thread: threading.Thread) -> threading.Thread:
        if thread.name == "llm-telemetry-writer":
            tries.append(1)
            if len(tries) < 4:
                raise RuntimeError("can't start new thread")
        return launch(thread)

    monkeypatch.setattr(task_writer.threads, "launch", one_is_free_later)
    async with AsyncTelemetryLogger(db) as telemetry:
        assert await telemetry.log_invocation(InvocationRecord(), durable=True)
        assert "can't start new thread" in str(telemetry.stats().last_error)
    assert len(tries) == 4
    assert rows(db) == 1


async def test_a_close_where_no_thread_is_to_be_had_ends_in_time(db: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It drops what waits, and says so."""
    launch = threads.launch

    def none_is_free(thread: threading.Thread) -> threading.Thread:
        if thread.name == "llm-telemetry-writer":
            raise RuntimeError("can't start new thread")
        return launch(thread)

    monkeypatch.setattr(task_writer.threads, "launch", none_is_free)
    telemetry = AsyncTelemetryLogger(db)
    assert telemetry.log_invocation_nowait(InvocationRecord())
    result = await telemetry.aclose(timeout=0.1)
    assert (result.written, result.pending, sum(result.dropped.values())) == (0, 0, 1)
    await asyncio.sleep(1.1)  # its task sees the end within the longest pause between two tries
    assert "llm-telemetry-writer" not in {task.get_name() for task in asyncio.all_tasks()}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_after_a_fork_the_file_is_opened_again_to_truncate_its_wal(db: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The parent closed it before, and its writer must not look for something to do again and again."""
    monkeypatch.setattr("llm_service.telemetry.stores.sqlite.wal.TIDY_AFTER", 0.2)
    with TelemetryLogger(db, flush_interval=0.01, retention_days=None) as logger:
        asked: list[bool] = []
        ask = engine_of(logger).next_action
        engine_of(logger).next_action = lambda leaving: asked.append(leaving) or ask(leaving)  # type: ignore[method-assign, func-returns-value]
        assert logger.log_invocation_nowait(InvocationRecord())
        assert comes_true(lambda: logger.stats().ledger.written == 1)
        engine_of(logger).before_fork()
        engine_of(logger).after_fork_in_parent()
        assert comes_true(lambda: logger.stats().wal_bytes == 0)
        time.sleep(0.1)
        assert len(asked) < 50
    assert rows(db) == 1
