"""The one place that connects to SQLite. It tracks all open connections of the process, and a fork waits for them.

SQLite knows by itself which locks its process holds on a file, and a child inherits that belief without the locks: its
own connection would take none, the parent's close would then remove the WAL under it, and what it commits is lost
[seen]. A child that is forked while another thread is within SQLite inherits mutexes that are never released. So a fork
blocks new connections, and waits until those of other threads are closed.
"""

import os
import sqlite3
import weakref
from contextlib import suppress
from pathlib import Path
from threading import get_ident
from time import monotonic, sleep
from typing import Any, Final, TypeVar, overload
from urllib.parse import quote

from llm_service.telemetry.stores import forks
from llm_service.telemetry.stores.sqlite.sql_callbacks import WatchedConnection

__all__ = ["FORKING", "OPEN", "TrackedConnection", "connect", "go_on", "hold_off", "leak_all", "read_only_uri"]

_A_MOMENT: Final = 0.0005

# Plain containers, changed by single operations: no lock that a fork or a signal could leave held.
OPEN: Final[dict[int, tuple["weakref.ref[TrackedConnection]", int]]] = {}
"""By id: the connection and the thread that opened it."""
FORKING: Final[list[int]] = []
"""Threads that are about to fork."""


class TrackedConnection(WatchedConnection):
    """A connection that a fork waits for. During a fork, threads without an open connection wait to open one."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        me, key = get_ident(), id(self)
        while True:
            mine = any(opener == me for _, opener in tuple(OPEN.values()))
            OPEN[key] = (weakref.ref(self, lambda _: OPEN.pop(key, None)), me)
            if mine or not FORKING or me in FORKING:
                break
            self._forget()  # a fork may have begun meanwhile: either it sees this connection, or this check sees it
            sleep(_A_MOMENT)
        try:
            super().__init__(*arguments, **options)
        except BaseException:
            self._forget()
            raise

    def _forget(self) -> None:
        """Stop tracking: it is closed, or never used again."""
        OPEN.pop(id(self), None)

    def close(self) -> None:
        """Close the database."""
        super().close()
        self._forget()


_C = TypeVar("_C", bound=TrackedConnection)


@overload
def connect(database: str | Path) -> TrackedConnection: ...
@overload
def connect(database: str | Path, factory: type[_C], **options: Any) -> _C: ...
def connect(database: str | Path, factory: Any = TrackedConnection, **options: Any) -> Any:
    """Open a database (a path, `:memory:`, or a result of `read_only_uri`) in autocommit mode."""
    uri = isinstance(database, str) and database.startswith("file:")
    return sqlite3.connect(database, uri=uri, isolation_level=None, factory=factory, **options)


def read_only_uri(path: Path, mode: str = "ro") -> str:
    """The URI of a file; `Path.as_uri` would import, which a finalizing interpreter cannot. `mode` may carry more."""
    name = quote(os.fsencode(path)) if os.name == "posix" else path.as_uri().removeprefix("file://")
    return f"file://{name}?mode={mode}"


def hold_off(seconds: float) -> bool:
    """Before a fork: block new connections and wait until all are closed; False if some are open after `seconds`."""
    FORKING.append(get_ident())
    deadline = monotonic() + seconds
    while OPEN:
        if monotonic() >= deadline or all(opener == get_ident() for _, opener in tuple(OPEN.values())):
            return False  # this thread cannot wait for its own
        sleep(_A_MOMENT)
    return True


def go_on() -> None:
    """After a fork, in the parent: allow connections again. Repeated calls are harmless."""
    with suppress(ValueError):
        FORKING.remove(get_ident())


def leak_all() -> None:
    """In a forked child: never touch the parent's connections, not even to close them."""
    for found, _ in tuple(OPEN.values()):
        forks.leak(found())
    OPEN.clear()
    FORKING.clear()


forks.guard(hold_off, go_on, leak_all)
