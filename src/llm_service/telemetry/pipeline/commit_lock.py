"""The lock under which one thread at a time commits; an interrupt at any call leaves nobody holding it.

`threading.Lock.acquire` may succeed and still end in an exception, when a signal handler raises (Ctrl-C) as the call
ends: then nobody knows that it is held, and nothing is ever committed again. A re-entrant lock knows its owner.
"""

import threading
from contextlib import suppress
from threading import get_ident
from types import TracebackType

__all__ = ["CommitLock"]


class CommitLock:
    """Not re-entrant: a signal handler that wants to commit within a commit is refused, or it would wait for itself.

    Attributes:
        lock: the lock itself.
        owner: the thread that holds it.
    """

    __slots__ = ("lock", "owner")

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.owner: int | None = None

    def acquire(self, timeout: float = -1.0) -> bool:
        """Take it within so many seconds (-1: however long it takes, 0: at once); False where that was not possible.

        Call it within a `try` that ends in what `release` does, in place, where this thread is the `owner`.
        """
        me = get_ident()
        if self.owner == me:
            return False
        try:
            taken = self.lock.acquire(timeout > 0 or timeout == -1, -1 if timeout <= 0 else timeout)
            # No call from here on.
            if taken:
                self.owner = me
        except BaseException:
            with suppress(RuntimeError):  # it was not taken
                self.lock.release()
            raise
        return taken

    def release(self) -> None:
        """Give it back, from the thread that took it."""
        self.owner = None
        self.lock.release()

    def __enter__(self) -> None:
        if not self.acquire():
            raise RuntimeError("this thread is within a commit already: a signal handler cannot commit by itself")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        self.release()
