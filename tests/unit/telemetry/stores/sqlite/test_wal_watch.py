"""A WAL that grows is told, and it is short again soon after the reader that held it has gone."""

import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from llm_service.telemetry import AsyncTelemetryLogger, Event, EventKind, InvocationRecord, TelemetryLogger
from llm_service.telemetry.stores.base import StoreEvent
from llm_service.telemetry.stores.sqlite import wal
from llm_service.telemetry.stores.sqlite.wal import WalWatch

BOUND = wal.WAL_ALARM_BYTES


class Told(list[tuple[str, int]]):
    """What was told."""

    def __call__(self, kind: StoreEvent, count: int, _message: str) -> None:
        """See `StoreParts.tell`."""
        self.append((kind, count))


def watch(monkeypatch: pytest.MonkeyPatch, sizes: list[int], tidied: list[bool]) -> tuple[WalWatch, Told, list[float]]:
    """A watch of a WAL that has these sizes after each commit, and whether each tidying succeeds."""
    told, now = Told(), [100.0]
    monkeypatch.setattr(wal, "trim_wal", lambda _connection, _path: sizes.pop(0))
    monkeypatch.setattr(wal, "tidy_wal", lambda _connection: tidied.pop(0))
    return WalWatch(Path("/t.db"), told, lambda: now[0]), told, now


def test_growth_is_told_at_the_bound_and_at_each_doubling(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not at every commit; and once it is over, how long it had become."""
    sizes = [BOUND - 1, BOUND, BOUND + 1, 2 * BOUND - 1, 2 * BOUND, 3 * BOUND, 1]
    watching, told, _ = watch(monkeypatch, sizes, [])
    while sizes:
        watching.after_commit(None)
    assert told == [
        (EventKind.WAL_GROWING, BOUND), (EventKind.WAL_GROWING, 2 * BOUND), (EventKind.WAL_TRUNCATED, 3 * BOUND),
    ]  # fmt: skip
    assert watching.bytes == 1


def test_it_is_tidied_in_an_idle_moment_and_again_where_that_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two seconds after the latest commit, and every two seconds after that until no reader is in the way."""
    watching, told, now = watch(monkeypatch, [BOUND, BOUND, 5], [False, True])
    assert watching.due_in is None
    assert not watching.is_behind
    watching.after_commit(None)
    assert watching.is_behind
    assert watching.due_in == 2.0
    now[0] += 1.5
    watching.after_commit(None)
    assert watching.due_in == 2.0
    now[0] += 2.0
    assert watching.due_in == 0.0
    watching.tidy(None)
    assert (watching.due_in, watching.bytes) == (2.0, BOUND)
    now[0] += 2.0
    watching.tidy(None)
    assert (watching.due_in, watching.bytes, watching.is_behind) == (None, 0, False)
    assert told == [(EventKind.WAL_GROWING, BOUND), (EventKind.WAL_TRUNCATED, BOUND)]
    watching.after_commit(None)
    assert len(told) == 2


async def _async_run(path: Path, on_event: Callable[[Event], None], grown: threading.Event, end: Any) -> None:
    import asyncio

    async with AsyncTelemetryLogger(path, on_event=on_event) as telemetry:
        while not grown.is_set():
            await telemetry.log_invocation(InvocationRecord(metadata={"text": "x" * 2000}))
        assert (await telemetry.flush()).complete
        assert telemetry.stats().wal_bytes >= wal.WAL_ALARM_BYTES
        assert await asyncio.to_thread(end)
        assert telemetry.stats().wal_bytes < wal.WAL_BYTES


@pytest.mark.parametrize("face", ["async", "sync"])
async def test_a_wal_that_a_foreign_reader_made_grow_is_truncated_after_its_end(
    face: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The event `wal_growing` comes while it reads, `wal_truncated` after it has gone, with no commit in between."""
    monkeypatch.setattr(wal, "WAL_ALARM_BYTES", 1_000_000)
    monkeypatch.setattr(wal, "WAL_BYTES", 500_000)
    path, grown, short = tmp_path / "t.db", threading.Event(), threading.Event()

    def on_event(event: Event) -> None:
        {EventKind.WAL_GROWING: grown, EventKind.WAL_TRUNCATED: short}[event.kind].set()

    TelemetryLogger(path).close()
    with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM invocations").fetchone()

        def end() -> bool:
            assert not short.is_set()
            reader.execute("COMMIT")
            return short.wait(60)

        if face == "async":
            await _async_run(path, on_event, grown, end)
        else:
            with TelemetryLogger(path, on_event=on_event) as logger:
                while not grown.is_set():
                    logger.log_invocation(InvocationRecord(metadata={"text": "x" * 20_000}))
                assert end()
        assert path.with_name("t.db-wal").stat().st_size == 0 or face == "sync"
