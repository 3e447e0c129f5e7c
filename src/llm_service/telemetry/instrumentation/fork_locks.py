"""Locks that a forked child finds free: a thread of the parent that held one is not there to release it.

Python's own `threading` and `logging` do the same with theirs, by the same method of a lock.
"""

import os
from threading import RLock
from typing import Any, Final
from weakref import WeakKeyDictionary

__all__ = ["fork_lock"]

_made: Final[WeakKeyDictionary[Any, None]] = WeakKeyDictionary()


def fork_lock() -> RLock:
    """A re-entrant lock, which in a forked child is held at most by the thread that forked."""
    lock = RLock()
    _made[lock] = None
    return lock


def _free_in_child() -> None:
    for lock in [lock for held in _made.keyrefs() if (lock := held()) is not None]:
        if lock.acquire(blocking=False):  # nobody's, or that of this thread, which releases it
            lock.release()
        else:
            lock._at_fork_reinit()  # noqa: SLF001 - see above


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_free_in_child)
