"""A fork carries no connection over, and a forked child makes its own queue and locks.

The parent lets go of its connections before the fork, between two commits, and opens them again when needed. Each kind
of store says by `guard` how a fork waits for the connections that others have, those that read: see
`sqlite.connections`.

A forked child ends by `os._exit`, whoever makes it: multiprocessing, billiard (Celery's), a server of its own. Only
some call a registry before (a worker of billiard's pool calls none), so in a child `os._exit` itself writes first what
was accepted, as coverage.py does with `patch = _exit`. Where nothing was forked it stays what it is.

`os.register_at_fork` cannot be undone, so one hook serves all engines, which it knows by weak reference. That is the
only state of this package that belongs to the process rather than to a logger.
"""

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, NamedTuple, NoReturn, Protocol
from weakref import WeakKeyDictionary

__all__ = ["guard", "leak", "watch"]


class Forkable(Protocol):
    """Something to put right in a forked child."""

    def before_fork(self) -> None:
        """Let go of what a child must not inherit; runs in the parent, and blocks for a bounded time."""
        ...

    def after_fork_in_parent(self) -> None:
        """Go on; runs in the parent."""
        ...

    def after_fork_in_child(self, *, alone: bool) -> None:
        """Start afresh, in the child, before `os.fork` returns there; `alone`: no other thread had a connection."""
        ...

    def before_os_exit(self) -> None:
        """The child calls `os._exit`: write what it has accepted; blocks for a bounded time."""
        ...


class _Guard(NamedTuple):
    """What keeps the connections of one kind of store out of a fork."""

    hold_off: Callable[[float], bool]
    go_on: Callable[[], None]
    leak_all: Callable[[], None]


_exit: Final = os._exit
_GUARDS: Final[list[_Guard]] = []
_WATCHED: Final["WeakKeyDictionary[Any, None]"] = WeakKeyDictionary()
_alone: list[bool] = []
_WAITS: Final = 5.0
"""Seconds a fork waits for those that read."""


def guard(hold_off: Callable[[float], bool], go_on: Callable[[], None], leak_all: Callable[[], None]) -> None:
    """Guard the connections of one kind of store; once in a process.

    Args:
        hold_off: before a fork: blocks new connections, and waits so many seconds until all are closed; whether they
            are.
        go_on: after it, in the parent: allows connections again. May be called twice.
        leak_all: after it, in the child: never touches the parent's connections, not even to close them.
    """
    _GUARDS.append(_Guard(hold_off, go_on, leak_all))


def leak(thing: object) -> None:
    """Keep an object for ever: collecting a connection would close it."""
    import ctypes  # noqa: PLC0415 - only a fork or a lost file pays for it

    ctypes.pythonapi.Py_IncRef(ctypes.py_object(thing))


def watch(forkable: Forkable) -> None:
    """Have `after_fork_in_child` called in every child forked while the object lives."""
    _WATCHED[forkable] = None
    if os._exit is _exit and _is_worker():
        _write_at_os_exit()


def _watched() -> list[Any]:
    """All that live; taken in one step, as other threads may add some."""
    return [one for held in _WATCHED.keyrefs() if (one := held()) is not None]


def _is_worker() -> bool:
    """Whether a process pool's library made this process, and will end it by `os._exit`.

    One that was forked before this package was imported (multiprocessing's `forkserver`) is known by that alone; while
    it imports the program's main module, it only says that it is inheriting.
    """
    libraries = (sys.modules.get(f"{name}.process") for name in ("multiprocessing", "billiard"))
    workers = [library.current_process() for library in libraries if library is not None]
    return any(getattr(it, "_inheriting", False) or getattr(it, "_parent_pid", None) is not None for it in workers)


def _before() -> None:
    _alone.clear()
    for forkable in _watched():
        forkable.before_fork()
    # After the commit locks: whoever holds one of them may open the file.
    held_off = [each.hold_off(_WAITS) for each in _GUARDS]
    _alone[:] = [all(held_off)]


def _in_parent() -> None:
    go_on = [each.go_on for each in _GUARDS]
    for give_back in (*go_on, *(forkable.after_fork_in_parent for forkable in _watched())):
        try:
            give_back()
        except BaseException:  # noqa: BLE001 - a signal handler raised; what is held now would be held for ever
            give_back()


def _in_child() -> None:
    for each in _GUARDS:
        each.leak_all()
    for forkable in _watched():
        forkable.after_fork_in_child(alone=_alone == [True])
    _write_at_os_exit()  # the child may make a logger yet


def _write_at_os_exit() -> None:
    os._exit = _end_of_child


def _end_of_child(status: int) -> NoReturn:
    try:
        for forkable in _watched():
            with suppress(Exception):  # nobody is left to tell
                forkable.before_os_exit()
    finally:
        _exit(status)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before, after_in_parent=_in_parent, after_in_child=_in_child)
