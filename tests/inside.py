"""What stands behind a client and is no part of its interface: tests that break promises reach it here alone."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["core_of", "engine_of", "held_elsewhere"]


def engine_of(client: Any) -> Any:
    """The engine of a logger: queue, writer, store, budget executor."""
    return client._engine


def core_of(owner: Any) -> Any:
    """What a logger, its budgets, or a hold share of it."""
    return owner._core


@contextmanager
def held_elsewhere(lock: Any) -> Iterator[tuple[threading.Thread, threading.Event]]:
    """Another thread has this lock, such as the commit lock, until the event is set, or the block ends."""
    held, enough = threading.Event(), threading.Event()

    def hold() -> None:
        with lock:
            held.set()
            enough.wait(30)

    other = threading.Thread(target=hold)
    other.start()
    try:
        assert held.wait(30)
        yield other, enough
    finally:
        enough.set()
        other.join()
