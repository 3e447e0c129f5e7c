"""Who is alive: a process holds a POSIX record lock on its segment for as long as it lives, whatever ends it.

Such a lock belongs to the process: it is not inherited by a fork, and *any* close of *any* descriptor of that file in
the process drops it. So a file that this process holds must not be opened again, whichever logger holds it. A table
of what is held belongs to the process for that reason; its keys name the process, so that a forked child, which holds
nothing, does not take the parent's entries for its own.
"""

import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import Final

__all__ = ["HeldFile", "RefusedFileError", "create", "hold"]

_HELD: Final[dict[tuple[int, int, int], object]] = {}


class RefusedFileError(OSError):
    """A file is not what this process would have made, or the platform has no record locks."""


class HeldFile:
    """An open file under this process's lock.

    Attributes:
        fd: its only descriptor, but for those that a mapping makes.
    """

    def __init__(self, fd: int, key: tuple[int, int, int]) -> None:
        self.fd = fd
        self._key = key

    def let_go(self) -> None:
        """Close it, which drops the lock; whatever maps it is closed before. In a forked child only the former."""
        os.close(self.fd)
        _HELD.pop(self._key, None)


def create(path: Path) -> HeldFile:
    """Make a file of mode 0600 that was not there, and lock it.

    Raises:
        OSError: it is there already, or could not be made.
        RefusedFileError: this platform has no record locks.
    """
    fd = os.open(path, _FLAGS | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        key = _key(os.fstat(fd))
        locked = _lock(fd)
    except BaseException:
        path.unlink(missing_ok=True)
        os.close(fd)
        raise
    if not locked:  # a cleaner found it a moment ago, and is about to remove it
        os.close(fd)
        raise RefusedFileError(f"{path} was taken by another process")
    _HELD[key] = None
    return HeldFile(fd, key)


def hold(path: Path) -> HeldFile | None:
    """Lock a file whose writer is dead; None where another process, or this one, holds it, or where it is gone.

    Raises:
        RefusedFileError: a symlink, no regular file, or another user's: looked at by lstat, never opened.
        OSError: it could not be opened.
    """
    try:
        found = path.lstat()
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(found.st_mode) or found.st_nlink != 1:
        raise RefusedFileError(f"{path} is a link or no regular file; remove it")
    if found.st_uid != _user(found.st_uid):
        raise RefusedFileError(f"{path} belongs to another user; remove it")
    key, token = _key(found), object()
    if _HELD.setdefault(key, token) is not token:
        return None
    fd = -1
    try:
        fd = os.open(path, _FLAGS)
        # Locked by now, and yet removed by who held it before: then the name stands for nothing, or for another file.
        if _key(os.fstat(fd)) == key and _lock(fd) and _key(path.lstat()) == key:
            return HeldFile(fd, key)
    except FileNotFoundError:
        pass
    except BaseException:
        _close(fd, key)
        raise
    _close(fd, key)
    return None


def _close(fd: int, key: tuple[int, int, int]) -> None:
    if fd >= 0:
        with suppress(OSError):
            os.close(fd)
    _HELD.pop(key, None)


def _key(found: os.stat_result) -> tuple[int, int, int]:
    return found.st_dev, found.st_ino, os.getpid()


def _user(otherwise: int) -> int:
    return os.geteuid() if hasattr(os, "geteuid") else otherwise


_FLAGS: Final = os.O_RDWR | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)


def _lock(fd: int) -> bool:
    try:
        import fcntl  # noqa: PLC0415 - not on every platform
    except ImportError:
        raise RefusedFileError("this platform has no POSIX record locks; set journal to false") from None
    try:
        fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    return True
