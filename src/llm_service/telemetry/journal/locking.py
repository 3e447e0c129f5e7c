"""Segment locks: a living process holds a POSIX record lock on its segment; the kernel drops it when the process ends.

Such a lock belongs to the process: a fork does not inherit it, and *any* close of *any* descriptor of that file in the
process drops it. So a file that this process holds must not be opened again, whichever logger holds it: a table for the
whole process lists the held files. Its keys contain the process id, because a forked child holds none of them.
"""

import os
import stat
import struct
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

try:  # at import time: a finalizing interpreter cannot import
    import fcntl
except ImportError:  # not on every platform
    fcntl: Any = None  # type: ignore[no-redef]

from llm_service.telemetry.stores.private_files import problem_of

__all__ = ["HELD", "MAKING", "HeldFile", "RefusedFileError", "create", "hold", "is_held"]

HELD: Final[dict[tuple[int, int, int], object]] = {}
MAKING: Final[dict[tuple[str, int], None]] = {}
"""Names and process ids of files that exist and are not in `HELD` yet."""


class RefusedFileError(OSError):
    """The file cannot have been made by this process's user, or the platform has no record locks."""


class HeldFile:
    """An open file under this process's lock; `fd` is its only descriptor, except those of a memory map."""

    def __init__(self, fd: int, key: tuple[int, int, int]) -> None:
        self.fd = fd
        self._key = key

    def let_go(self) -> None:
        """Close the file, which drops the lock (not the parent's, in a forked child). Close its memory map first."""
        os.close(self.fd)
        HELD.pop(self._key, None)


def create(path: Path) -> HeldFile:
    """Create a new file of mode 0600, and lock it. Raises RefusedFileError: this platform has no record locks."""
    making = path.name, os.getpid()
    MAKING[making] = None
    try:
        fd = os.open(path, _FLAGS | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            key = _key(os.fstat(fd))
            locked = _lock(fd)
        except BaseException:
            path.unlink(missing_ok=True)
            os.close(fd)
            raise
        if not locked:  # a replay has just locked it, and will remove it
            os.close(fd)
            raise RefusedFileError(f"{path} was taken by another process")
        HELD[key] = None
        return HeldFile(fd, key)
    finally:
        MAKING.pop(making, None)


def hold(path: Path) -> HeldFile | None:
    """Lock a file whose writer is dead; None if a process (this one included) holds it, or if it is gone.

    Raises:
        RefusedFileError: a symlink, not a regular file, or another user's file; `lstat` tells, it is not opened.
    """
    try:
        found = path.lstat()
    except FileNotFoundError:
        return None
    problem = problem_of(path)
    if problem is not None:
        raise RefusedFileError(f"{path} {problem.what}: it is not opened; {problem.remedy}")
    if hasattr(os, "geteuid") and found.st_uid != os.geteuid():  # root's files are refused, too
        raise RefusedFileError(f"{path} belongs to another user; remove it")
    key = _key(found)
    if not _is_ours_to_open(path, key):
        return None
    fd = -1
    try:
        fd = os.open(path, _FLAGS)
        # The former holder may have removed the file before we got the lock: the name may be another file now.
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
    """Whether a process (this one included) holds a file. Takes no lock and changes nothing.

    It asks the kernel about this file (F_GETLK). Unlike /proc/locks, that covers processes in other namespaces and
    containers, and file systems that report another device number.

    Returns:
        None if unknown: the file is gone, not regular or not readable, or this is not Linux.
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
    """Claim a file that no part of this process holds or creates; `_close` or `HeldFile.let_go` ends the claim."""
    token = object()
    # In this order: a new file is in `HELD` before it leaves `MAKING`.
    return (path.name, key[2]) not in MAKING and HELD.setdefault(key, token) is token


def _close(fd: int, key: tuple[int, int, int]) -> None:
    if fd >= 0:
        with suppress(OSError):
            os.close(fd)
    HELD.pop(key, None)


def _key(found: os.stat_result) -> tuple[int, int, int]:
    return found.st_dev, found.st_ino, os.getpid()


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
