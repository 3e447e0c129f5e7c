"""The one place that starts threads. While the interpreter ends none is started, and none is waited for.

Once it is finalizing, CPython 3.11 starts a thread that never runs, and `Thread.start` waits for it for ever; 3.12 and
later raise. All other threads stop where they are, with whatever locks they hold.
"""

import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from sys import is_finalizing
from time import monotonic
from types import TracebackType
from typing import Final, Protocol, TypeVar

__all__ = [
    "Job",
    "LastLock",
    "ShortLock",
    "ShortLocks",
    "is_ending",
    "is_finalizing",
    "launch",
    "off_the_loop",
    "start",
]

_Done = TypeVar("_Done")
_LOOK_AGAIN: Final = 0.05
"""Seconds between two looks whether a thread is over."""


def is_ending() -> bool:
    """Whether the interpreter ends and this is the thread that ends it: in an `atexit` handler, or finalizing."""
    main = threading.main_thread()
    return is_finalizing() or (main.ident == threading.get_ident() and not main.is_alive())


class Job(threading.Thread):
    """A daemon thread of ours, which may be asked and waited for in a signal handler.

    `Thread.is_alive` and `Thread.join` take a lock for a moment at the thread's end (CPython 3.11, 3.12): a handler
    that comes in that moment, within one of them, finds the thread alive, and waits for itself.
    """

    def __init__(self, function: Callable[[], object], name: str) -> None:
        super().__init__(target=function, name=name, daemon=True)
        self._over = False

    def run(self) -> None:
        """Call the function; then it is over, whatever the lock says."""
        try:
            super().run()
        finally:
            self._over = True

    def is_alive(self) -> bool:
        """See `threading.Thread`."""
        return not self._over and super().is_alive()

    def join(self, timeout: float | None = None) -> None:
        """See `threading.Thread`; in the moment that the class tells of, it is noticed a little later."""
        deadline = None if timeout is None else monotonic() + timeout
        while self.is_alive():
            left = _LOOK_AGAIN if deadline is None else min(_LOOK_AGAIN, deadline - monotonic())
            if left <= 0:
                return
            super().join(left)


def start(function: Callable[[], object], name: str) -> threading.Thread:
    """Run a function in a daemon thread.

    Raises:
        RuntimeError: the system has no thread to spare, or the interpreter ends (from Python 3.12 on, that begins with
            the first `atexit` handler).
    """
    return launch(Job(function, name))


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


class ShortLock(Protocol):
    """A re-entrant lock that a thread holds for a moment."""

    def acquire(self, blocking: bool = ..., timeout: float = ...) -> bool:  # noqa: FBT001 - as `threading.RLock` has it
        """Take it, once more where this thread has it."""
        ...

    def release(self) -> None:
        """Give it back, once; RuntimeError where this thread does not have it."""
        ...

    def __enter__(self) -> object: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> object: ...


class ShortLocks:
    """The short locks of one engine, which nobody holds while waiting for another thread.

    A signal handler or `__del__` comes between two steps of whatever its thread does, also under such a lock. Where it
    waits for a commit, the thread that commits may need that lock. What a lock guards is whole wherever a handler can
    come, or the handler could not use it itself: so the handler's thread lets go of it while it waits.
    """

    __slots__ = ("_locks",)

    def __init__(self, locks: Callable[[], Iterable[ShortLock]]) -> None:
        self._locks = locks

    def waiting(self, wait: Callable[[], _Done]) -> _Done:
        """Call a function that waits for another thread, without any of the locks that this thread holds."""
        held: list[ShortLock] = []
        try:
            for lock in self._locks():
                with suppress(RuntimeError):  # this thread has it no more
                    while True:
                        lock.release()
                        held.append(lock)
            return wait()
        finally:
            for lock in held:
                lock.acquire()


class LastLock:
    """A re-entrant lock, from the end of the program on: whoever holds it while finalizing never gives it back."""

    __slots__ = ("_lock", "release")

    def __init__(self, lock: ShortLock) -> None:
        self._lock = lock
        self.release = lock.release

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:  # noqa: FBT001 - see `ShortLock`
        """See `ShortLock`; while finalizing it waits for nobody, since no other thread runs any more."""
        return self._lock.acquire(False) if is_finalizing() else self._lock.acquire(blocking, timeout)

    def __enter__(self) -> None:
        if is_finalizing():
            self._lock.acquire(blocking=False)
        else:
            self._lock.__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        with suppress(RuntimeError):  # a thread that has stopped holds it
            self._lock.__exit__(kind, error, trace)
