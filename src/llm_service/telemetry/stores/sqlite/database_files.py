"""The three files of an open database: checks that they are still in place, and sets damaged ones aside.

SQLite keeps writing to a file that was deleted or replaced, and reports success [seen]. So each batch compares device
and inode, by lstat and never by open. Unusable files are renamed together, never deleted. Several processes that see
the same damage agree by a lock on the folder: one renames, the others find the new file.
"""

import errno
import os
import sqlite3
import stat
from collections.abc import Generator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic, sleep
from typing import Final, NamedTuple

from llm_service.telemetry.stores import forks
from llm_service.telemetry.stores.sqlite.connections import TrackedConnection
from llm_service.telemetry.stores.sqlite.side_files import SIDE_FILES

__all__ = ["Files", "OwnConnection", "set_aside"]

_LOCK_WAITS: Final = 0.2
"""Seconds to wait for another process that is renaming files; then the writer retries."""


class Files(NamedTuple):
    """Device and inode of a database and its side files; None for a missing file."""

    wal: tuple[int, int] | None
    shm: tuple[int, int] | None
    main: tuple[int, int] | None

    @classmethod
    def at(cls, path: Path) -> "Files":
        """The present files, by lstat."""
        name = str(path)
        return cls(_identity(f"{name}-wal"), _identity(f"{name}-shm"), _identity(name))


class OwnConnection(TrackedConnection):
    """A connection that knows its files, and is never closed after they were moved.

    The close of the last connection deletes the -wal by name, which may be that of a newer database by then.

    Attributes:
        path: of the database, symbolic links resolved.
        files: device and inode of each file.
    """

    path: Path
    files: Files | None = None
    _left = False

    def own(self, path: Path, main: tuple[int, int] | None) -> None:
        """Store the identity of the files, all of which exist now.

        Args:
            main: the database file just before it was opened.

        Raises:
            OSError: (ESTALE) the file was replaced meanwhile.
        """
        self.path, self.files = path, Files.at(path)
        if self.files.main != main:
            self._stale("replaced")

    def check(self) -> None:
        """Check that the files are in place. OSError (ESTALE): they are not; use this connection no more."""
        if self.files is None:
            return
        name = str(self.path)
        try:
            main = os.lstat(name)
        except FileNotFoundError:
            self._stale("deleted")
        else:
            if (main.st_dev, main.st_ino) != self.files.main:
                self._stale("replaced")
            if main.st_size == 0:
                self._stale("emptied")
        for suffix, known in (("-wal", self.files.wal), ("-shm", self.files.shm)):
            if known is not None and _identity(name + suffix) != known:
                self._stale(f"left without its {suffix}")

    def _stale(self, what: str) -> None:
        if self.files is not None and Files.at(self.path).wal != self.files.wal and not self.in_transaction:
            # No other process can reach this -wal: copy its content into the database, wherever that is now.
            with suppress(sqlite3.Error):
                self.execute("PRAGMA wal_checkpoint(FULL)").fetchone()
        self.leave()
        raise OSError(errno.ESTALE, f"the database was {what} while it was open", str(self.path))

    def leave(self) -> None:
        """Leak this connection: it is neither used nor closed again."""
        if not self._left:
            self._left = True
            forks.leak(self)
            self._forget()

    def close(self) -> None:
        """Close the database, unless that would touch another file."""
        if not self._left and self.files is not None:
            with suppress(OSError):
                self.check()
        if not self._left:
            super().close()
            self.files = None  # a repeated close has nothing to check


def set_aside(path: Path, seen: Files) -> Path | None:
    """Rename a database with its -journal, -wal and -shm, so that a new one can take its place.

    If another database is there already, only a -wal or -shm that still belongs to the old one is renamed.

    Args:
        seen: the files when the damage was found.

    Returns:
        The database's new name (`NAME.corrupt-<UTC time>`); None if there was nothing to rename.

    Raises:
        OSError: the folder is not writable, or another process holds the lock; try again.
    """
    path = Path(os.path.realpath(path))
    with _alone_in(path.parent):
        present = Files.at(path)
        replaced = present.main is not None and present.main != seen.main
        found = {"-wal": present.wal, "-shm": present.shm, "": present.main}
        old = {"-wal": seen.wal, "-shm": seen.shm, "": seen.main}
        if present.main is not None and not replaced:  # a rollback journal is of no use without its database
            found = {"-journal": _identity(f"{path}-journal"), **found}
        # The others first: if this process dies half-way, no new database meets an old one, which SQLite would delete.
        moving = [suffix for suffix, is_ in found.items() if is_ is not None and not (replaced and is_ != old[suffix])]
        moving = [suffix for suffix in moving if stat.S_ISREG(os.lstat(f"{path}{suffix}").st_mode)]
        if not moving:
            return None
        target = _free_name(path)
        for suffix in moving:
            os.rename(f"{path}{suffix}", f"{target}{suffix}")  # noqa: PTH104 - names made of a path and a suffix
        return target


def _free_name(path: Path) -> Path:
    while True:
        target = path.with_name(f"{path.name}.corrupt-{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}")
        if not any(os.path.lexists(f"{target}{suffix}") for suffix in ("", *SIDE_FILES)):
            return target


def _identity(name: str) -> tuple[int, int] | None:
    try:
        found = os.lstat(name)
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


@contextmanager
def _alone_in(folder: Path) -> Generator[None]:
    """Hold the lock that all processes take before they rename files here. It leaves no file."""
    import fcntl  # noqa: PLC0415 - POSIX only, and rarely needed

    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        deadline = monotonic() + _LOCK_WAITS
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if monotonic() >= deadline:
                    raise
                sleep(0.005)
        yield
    finally:
        os.close(descriptor)
