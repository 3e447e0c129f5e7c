"""A signal handler or `__del__` that waits for the writer, on a thread that holds the engine's short locks."""

import sys
import threading
from contextlib import suppress
from inspect import signature
from pathlib import Path
from time import monotonic
from typing import Any, Final

import pytest
from tests.inside import engine_of

from llm_service.errors import UnknownRunError
from llm_service.telemetry import InvocationRecord, TelemetryLogger
from llm_service.telemetry.writer import threads

_PATIENCE: Final = 20.0
_ARGUMENTS: Final[dict[str, tuple[Any, ...]]] = {
    "log_invocation": (InvocationRecord(agent_name="handler"),),
    "get_content": ("nobody",),
    "search": ("word",),
    "get_trace": ("nobody",),
    "get_run_summary": ("r1",),
    "compare_runs": ("r1", "r2"),
    "estimate": (),
    "purge": (30,),
    "query": ("calls",),
}
BLOCKING: Final = [
    name
    for name, method in vars(TelemetryLogger).items()
    if not name.startswith("_") and callable(method) and name != "run"  # which only makes a block
]


@pytest.mark.parametrize("name", BLOCKING)
def test_whatever_waits_for_the_writer_lets_go_of_the_locks_that_the_writer_needs(name: str, tmp_path: Path) -> None:
    """Another thread is in a commit, and needs each of them before it ends; afterwards they are held as before."""
    logger = TelemetryLogger(tmp_path / "t.db", commit_timeout=_PATIENCE, close_timeout=_PATIENCE)
    engine = engine_of(logger)
    logger.log_invocation_nowait(InvocationRecord(agent_name="before"))
    commits = threading.Event()

    def commit() -> None:
        with engine.commit_lock:
            commits.set()
            for lock in locks:
                lock.acquire()
                lock.release()

    locks = engine._short_locks()
    assert len(locks) == 5
    for lock in locks:
        lock.acquire()
        lock.acquire()
    other = threading.Thread(target=commit)
    other.start()
    commits.wait(_PATIENCE)
    started = monotonic()
    method = getattr(logger, name)
    needed = [one for one in signature(method).parameters.values() if one.default is one.empty and one.kind < 2]
    given = _ARGUMENTS.get(name, ())
    assert len(given) >= len(needed), f"say in _ARGUMENTS what {name} takes"
    try:
        with suppress(UnknownRunError):
            method(*given)
    finally:
        for lock in locks:
            lock.release()
            lock.release()
            with pytest.raises(RuntimeError):
                lock.release()
    other.join()
    logger.close()
    assert monotonic() - started < _PATIENCE
    assert engine.queue.ledger().pending == 0
    assert not engine.queue.ledger().dropped


@pytest.mark.skipif(sys.version_info >= (3, 13), reason="there it takes no such lock")
def test_a_thread_at_its_very_end_is_waited_for_no_longer_than_it_takes() -> None:
    """A handler comes where `Thread.is_alive` has the lock of a thread that has ended (CPython 3.11, 3.12)."""
    thread: Any = threads.start(lambda: None, "ends at once")
    with thread._tstate_lock:
        started = monotonic()
        thread.join(_PATIENCE)
        assert not thread.is_alive()
    assert monotonic() - started < _PATIENCE
    thread.join()


def test_a_thread_that_goes_on_is_waited_for_as_long_as_was_said() -> None:
    """Not at all, a moment, or until it is over."""
    goes_on = threading.Event()
    thread = threads.start(goes_on.wait, "goes on")
    thread.join(0.0)
    thread.join(0.12)
    assert thread.is_alive()
    goes_on.set()
    thread.join()
    assert not thread.is_alive()
