"""The one place that starts threads. While the interpreter ends none is started, and none is waited for.

Once it is finalizing, CPython 3.11 starts a thread that never runs, and `Thread.start` waits for it for ever; 3.12 and
later raise. All other threads stop where they are, with whatever locks they hold.
"""

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from sys import is_finalizing
from types import TracebackType
from typing import TypeVar

__all__ = ["LastLock", "is_ending", "is_finalizing", "launch", "off_the_loop", "start"]

_Done = TypeVar("_Done")


def is_ending() -> bool:
    """Whether the interpreter ends and this is the thread that ends it: in an `atexit` handler, or finalizing."""
    main = threading.main_thread()
    return is_finalizing() or (main.ident == threading.get_ident() and not main.is_alive())


def start(function: Callable[[], object], name: str) -> threading.Thread:
    """Run a function in a daemon thread.

    Raises:
        RuntimeError: the system has no thread to spare, or the interpreter ends (from Python 3.12 on, that begins with
            the first `atexit` handler).
    """
    return launch(threading.Thread(target=function, name=name, daemon=True))


def launch(thread: threading.Thread) -> threading.Thread:
    """Start a thread that was made already; raises as `start` does."""
    if is_finalizing():
        raise RuntimeError("can't start new thread: the interpreter ends")
    thread.start()
    return thread


async def off_the_loop(function: Callable[[], _Done]) -> _Done:
    """Run a function that blocks in a thread, which outlives a cancelled caller; here where the interpreter ends."""
    if is_ending():
        return function()
    from anyio import to_thread  # noqa: PLC0415 - readers pay for anyio's threads, `import` does not

    return await to_thread.run_sync(function, abandon_on_cancel=True)


class LastLock:
    """A re-entrant lock, from the end of the program on: whoever holds it while finalizing never gives it back."""

    __slots__ = ("_lock",)

    def __init__(self, lock: AbstractContextManager[object]) -> None:
        self._lock = lock

    def __enter__(self) -> None:
        if is_finalizing():
            self._lock.acquire(blocking=False)  # type: ignore[attr-defined]  # no other thread runs any more
        else:
            self._lock.__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        with suppress(RuntimeError):  # a thread that has stopped holds it
            self._lock.__exit__(kind, error, trace)
