"""Who is alive: a process holds a POSIX record lock on its segment for as long as it lives, whatever ends it.

Such a lock belongs to the process: it is not inherited by a fork, and *any* close of *any* descriptor of that file in
the process drops it. So a file that this process holds must not be opened again, whichever logger holds it. A table
of what is held belongs to the process for that reason; its keys name the process, so that a forked child, which holds
nothing, does not take the parent's entries for its own.
"""

import os
import stat
import struct
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

try:  # here, not where it is needed: while the interpreter is finalizing nothing can be imported
    import fcntl
except ImportError:  # not on every platform
    fcntl: Any = None  # type: ignore[no-redef]

from llm_service.telemetry.stores.sqlite.file_security import problem_of

__all__ = ["HeldFile", "RefusedFileError", "create", "hold", "is_held"]

_HELD: Final[dict[tuple[int, int, int], object]] = {}
_MAKING: Final[dict[tuple[str, int], None]] = {}
"""Names, with the process, of files that stand there already and are not in `_HELD` yet."""


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
    making = path.name, os.getpid()
    _MAKING[making] = None
    try:
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
    finally:
        _MAKING.pop(making, None)


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
    problem = problem_of(path)
    if problem is not None:
        raise RefusedFileError(f"{path} {problem.what}: it is not opened; {problem.remedy}")
    if found.st_uid != _user(found.st_uid):  # not root's either: root keeps no journal for others
        raise RefusedFileError(f"{path} belongs to another user; remove it")
    key = _key(found)
    if not _is_ours_to_open(path, key):
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


def is_held(path: Path) -> bool | None:
    """Whether a process holds a file, this one included. Takes no lock and changes nothing.

    The kernel is asked about this one file (F_GETLK), as `hold` would ask it: it answers for processes in other
    namespaces and containers as well, and whatever the file system calls its device, which /proc/locks does not.

    Returns:
        None where that cannot be known: it is gone, is no regular file, may not be read, or this is not Linux.
    """
    try:
        found = path.lstat()
    except OSError:
        return None
    if sys.platform != "linux" or not stat.S_ISREG(found.st_mode):
        return None
    key, fd = _key(found), -1
    if not _is_ours_to_open(path, key):
        return True
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
        answer = fcntl.fcntl(fd, fcntl.F_GETLK, _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0))
        is_free = bool(_FLOCK.unpack(answer)[0] == fcntl.F_UNLCK)
        return None if _key(os.fstat(fd)) != key else not is_free
    except OSError:
        return None
    finally:
        _close(fd, key)


def _is_ours_to_open(path: Path, key: tuple[int, int, int]) -> bool:
    """Whether no part of this process holds it or makes it; then nobody does until `_close`, or `HeldFile.let_go`."""
    token = object()
    # In this order: what is made stands in the one table before it leaves the other.
    return (path.name, key[2]) not in _MAKING and _HELD.setdefault(key, token) is token


def _close(fd: int, key: tuple[int, int, int]) -> None:
    if fd >= 0:
        with suppress(OSError):
            os.close(fd)
    _HELD.pop(key, None)


def _key(found: os.stat_result) -> tuple[int, int, int]:
    return found.st_dev, found.st_ino, os.getpid()


def _user(otherwise: int) -> int:
    return os.geteuid() if hasattr(os, "geteuid") else otherwise


_FLAGS: Final = os.O_RDWR | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0)


_FLOCK: Final = struct.Struct("@hhqqi0q")
"""`struct flock` of Linux, with the padding at its end: type, whence, start, length, process."""


def _lock(fd: int) -> bool:
    if fcntl is None:
        raise RefusedFileError("this platform has no POSIX record locks; set journal to false")
    try:
        fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    return True
