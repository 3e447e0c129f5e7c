"""The lock under which one thread at a time commits; an interrupt at any call leaves nobody holding it.

`threading.Lock.acquire` may succeed and still end in an exception, when a signal handler raises (Ctrl-C) as the call
ends: then nobody knows that it is held, and nothing is ever committed again. A re-entrant lock knows its owner.
"""

import threading
from collections.abc import Callable
from contextlib import suppress
from threading import get_ident
from time import monotonic, sleep
from types import TracebackType
from typing import Final, TypeVar

from llm_service.telemetry.writer.threads import ShortLocks, is_finalizing

__all__ = ["CommitLock", "CommitLockBusyError"]

_Done = TypeVar("_Done")
_A_MOMENT: Final = 0.0005
_WITHIN: Final = "this thread is within a commit already: a signal handler cannot commit by itself"


class CommitLockBusyError(TimeoutError):
    """Another thread commits for longer than one wants to wait."""


class CommitLock:
    """Not re-entrant: a signal handler that wants to commit within a commit is refused, or it would wait for itself.

    Whoever may be interrupted uses `run`. As a context manager it is for threads in which no signal handler runs: an
    interrupt as its block begins or ends would leave it held. Only a fork, which takes it in one hook and gives it back
    in another, calls `acquire_first` and `release`.

    Args:
        short_locks: what nobody holds while waiting for this one.
    """

    __slots__ = ("first", "lock", "owner", "short_locks")

    def __init__(self, short_locks: ShortLocks) -> None:
        self.lock = threading.RLock()
        self.owner: int | None = None
        self.first: int | None = None
        self.short_locks = short_locks

    def acquire(self, timeout: float = -1.0) -> bool:
        """Take it within so many seconds (-1: however long it takes, 0: at once); False where that was not possible.

        Call it within a `try` that ends in what `release` does, in place, where this thread is the `owner`.
        """
        me = get_ident()
        if self.owner == me:
            return False
        if is_finalizing():
            timeout = 0.0  # no other thread runs any more: one that holds it never gives it back
        if self.first is not None and self.first != me:
            timeout = self._let_pass(timeout)
        try:
            taken = self.lock.acquire(blocking=False)
            if not taken and (timeout > 0 or timeout == -1):
                taken = self.short_locks.waiting(lambda: self.lock.acquire(timeout=timeout))
            # No call from here on.
            if taken:
                self.owner = me
        except BaseException:
            with suppress(RuntimeError):  # it was not taken
                self.lock.release()
            raise
        return taken

    def acquire_first(self, timeout: float) -> bool:
        """As `acquire`, before all others: a thread that commits again and again has the lock back at once, else."""
        self.first = get_ident()
        try:
            return self.acquire(timeout)
        finally:
            self.first = None

    def _let_pass(self, timeout: float) -> float:
        """Wait for the thread that goes first; gives what is left of the time, which is 0 where it is over."""
        deadline = None if timeout == -1 else monotonic() + timeout
        while self.first is not None and (deadline is None or monotonic() < deadline):
            self.short_locks.waiting(lambda: sleep(_A_MOMENT))
        return -1 if deadline is None else max(0.0, deadline - monotonic())

    def release(self) -> None:
        """Give it back, from the thread that took it."""
        self.owner = None
        self.lock.release()

    def run(self, work: Callable[[], _Done], timeout: float = -1.0) -> _Done:
        """Do some work under it, taken as by `acquire`.

        Raises:
            RuntimeError: this thread holds it already.
            CommitLockBusyError: (a `TimeoutError`) it was not to be had in time.
        """
        me = get_ident()
        if self.owner == me:
            raise RuntimeError(_WITHIN)
        try:
            if not self.acquire(timeout):
                raise CommitLockBusyError("the writer is busy")
            done = work()
            return done  # noqa: RET504 - an interrupt at the end of the call is within the block for sure
        finally:  # as `release`, without a call at whose start an interrupt would leave it held
            if self.owner == me:
                self.owner = None
                self.lock.release()

    def __enter__(self) -> None:
        if not self.acquire():
            raise RuntimeError(_WITHIN)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        self.release()
