"""A fork carries no connection over, and a forked child makes its own queue and locks.

SQLite knows by itself which locks its process holds on a file, and a child inherits that belief without the locks: its
own connection would take none, the parent's close would then remove the WAL under it, and what it commits is lost
[seen]. So the parent lets go of its connections before the fork, between two commits, and opens them again when needed.

`os.register_at_fork` cannot be undone, so one hook serves all engines, which it knows by weak reference. That is the
only state of this package that belongs to the process rather than to a logger.
"""

import os
from typing import Any, Final, Protocol
from weakref import WeakSet

from llm_service.telemetry.stores.own_files import leak

__all__ = ["leak", "watch"]


class Forkable(Protocol):
    """Something to put right in a forked child."""

    def before_fork(self) -> None:
        """Let go of what a child must not inherit; runs in the parent, and blocks for a bounded time."""
        ...

    def after_fork_in_parent(self) -> None:
        """Go on; runs in the parent."""
        ...

    def after_fork_in_child(self) -> None:
        """Start afresh; runs in the child, before `os.fork` returns there."""
        ...


_WATCHED: Final["WeakSet[Any]"] = WeakSet()


def watch(forkable: Forkable) -> None:
    """Have `after_fork_in_child` called in every child forked while the object lives."""
    _WATCHED.add(forkable)


def _before() -> None:
    for forkable in list(_WATCHED):
        forkable.before_fork()


def _in_parent() -> None:
    for forkable in list(_WATCHED):
        forkable.after_fork_in_parent()


def _in_child() -> None:
    for forkable in list(_WATCHED):
        forkable.after_fork_in_child()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before, after_in_parent=_in_parent, after_in_child=_in_child)
