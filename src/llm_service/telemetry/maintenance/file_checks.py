"""What can be seen of a database from outside: its names, modes and owners, the room around it, what lies beside it."""

import os
import shutil
import sqlite3
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from llm_service.telemetry.journal.locking import is_held
from llm_service.telemetry.journal.segment_names import find
from llm_service.telemetry.maintenance.check_session import SIDE_FILES, side_file, status_of
from llm_service.telemetry.maintenance.findings import Finding, found, healthy
from llm_service.telemetry.stores.sqlite.opening import OLDEST_SQLITE
from llm_service.telemetry.stores.sqlite.wal import WAL_BYTES

__all__ = [
    "check_disk",
    "check_journals",
    "check_leftovers",
    "check_permissions",
    "check_sqlite",
    "check_wal",
    "has_wal_reset_bug",
    "proc_locks",
]

_MIB: Final = 1024 * 1024
_LEAST_FREE: Final = 8 * _MIB
_LOW_FREE: Final = 64 * _MIB
LONG_WAL_BYTES: Final = 2 * WAL_BYTES
"""The writer copies a WAL back at half of this size: one that is longer could not be, or has no writer."""
_PAUSE_S: Final = 0.25
_READ_LOCKS: Final = range(123, 128)
"""Bytes of the -shm that a reading transaction locks: WAL_READ_LOCK(0..4) (sqlite.org/walformat.html, 2.3.1)."""


def has_wal_reset_bug(version: tuple[int, ...]) -> bool:
    """Whether this SQLite may lose committed pages when two connections write or checkpoint at the same instant.

    Versions 3.7.0 to 3.51.2, but for 3.44.6 and 3.50.7 and what follows them in their series
    (sqlite.org/wal.html#walresetbug).
    """
    for series, fixed in (((3, 44), 6), ((3, 50), 7)):
        if version[:2] == series:
            return version[2] < fixed
    return (3, 7, 0) <= version < (3, 51, 3)


def check_sqlite(version: tuple[int, ...] = sqlite3.sqlite_version_info) -> Finding:
    """The SQLite library that this Python links."""
    text = ".".join(map(str, version))
    if version < OLDEST_SQLITE:
        return found("sqlite_too_old", f"SQLite {text}; {'.'.join(map(str, OLDEST_SQLITE))} or newer is needed")
    if has_wal_reset_bug(version):
        return found("wal_reset_bug", f"SQLite {text}: two processes that checkpoint at one instant may lose commits")
    return healthy("sqlite", f"SQLite {text}")


def check_disk(path: Path) -> Finding:
    """Whether there is room for the next commits, and for a copy of the file."""
    folder = next(parent for parent in path.parents if parent.is_dir())
    free = shutil.disk_usage(folder).free
    size = sum(status.st_size for file in (path, side_file(path, "-wal")) if (status := status_of(file)) is not None)
    seen = f"{_size(free)} free, the database has {_size(size)}"
    if free < _LEAST_FREE:
        return found("disk_full", seen)
    return found("disk_low", seen) if free < max(size, _LOW_FREE) else healthy("disk", seen)


def check_permissions(path: Path, user: int | None = None) -> list[Finding]:
    """Modes, owners and links of the database, its -wal and -shm, and its folder."""
    user = os.geteuid() if user is None else user
    findings: list[Finding] = []
    for file in (path, *(side_file(path, suffix) for suffix in SIDE_FILES)):
        status = status_of(file)
        if status is not None:
            findings += _of_file(file, status, user)
    folder = path.parent.lstat()
    # A sticky folder, as /tmp is, lets nobody replace the files of others.
    if folder.st_mode & 0o022 and not folder.st_mode & stat.S_ISVTX:
        findings.append(found("permissions", f"{path.parent} is {_mode(folder)}: others can replace files in it"))
    return findings or [healthy("permissions", f"{_mode(path.lstat())}, owned by {path.lstat().st_uid}")]


def _of_file(file: Path, status: os.stat_result, user: int) -> Iterator[Finding]:
    if stat.S_ISLNK(status.st_mode):
        yield found("links", f"{file.name} is a symbolic link to {file.readlink()}")
        return
    if not stat.S_ISREG(status.st_mode):
        yield found("links", f"{file.name} is no regular file ({stat.filemode(status.st_mode)})")
        return
    if status.st_nlink > 1:
        yield found("links", f"{file.name} has {status.st_nlink} names (hard links)")
    if user not in {0, status.st_uid}:
        yield found("foreign_owner", f"{file.name} belongs to user {status.st_uid}, this is user {user}")
    if status.st_mode & 0o177:
        yield found("permissions", f"{file.name} is {_mode(status)}")


def check_wal(
    path: Path,
    locks: Callable[[], str | None] | None = None,
    pause: Callable[[float], None] = time.sleep,
) -> Finding:
    """Whether the WAL is short, and who keeps it from being copied back, by the text of /proc/locks."""
    status = status_of(side_file(path, "-wal"))
    size = 0 if status is None else status.st_size
    hot = status_of(side_file(path, "-journal"))
    if hot is not None and hot.st_size:
        return found("hot_journal", f"{path.name}-journal holds {_size(hot.st_size)}: a transaction that did not end")
    if size < WAL_BYTES:
        return healthy("wal", _size(size))
    read = locks or proc_locks
    readers = _readers(path, read())
    if readers:
        pause(_PAUSE_S)
        readers &= _readers(path, read())
    if readers:
        names = ", ".join(f"{pid} ({_command(pid)})" for pid in sorted(readers))
        return found("wal_blocked", f"{_size(size)}; process {names} keeps a reading transaction open")
    return found("wal_size", _size(size)) if size >= LONG_WAL_BYTES else healthy("wal", _size(size))


def proc_locks() -> str | None:
    """Every lock that can be seen from here; None where there is no such file.

    It leaves out the locks of processes in other PID namespaces, and names a file by the device of its file system,
    which is not what `stat` says on btrfs and some overlays: what stands there is true, what is missing proves nothing.
    """
    try:
        return Path("/proc/locks").read_text("ascii")
    except OSError:  # only Linux has it
        return None


def _readers(path: Path, locks: str | None) -> set[int]:
    """Other processes with a reading transaction. A line reads `1: POSIX ADVISORY READ 10885 fe:00:2146676 124 124`."""
    status = status_of(side_file(path, "-shm"))
    if status is None:
        return set()
    wanted = _place(status)
    readers: set[int] = set()
    for line in (locks or "").splitlines():
        parts = line.split()
        if len(parts) == 8 and parts[1] == "POSIX" and parts[5] == wanted and parts[6].isdigit():  # noqa: SIM102
            if int(parts[6]) in _READ_LOCKS and int(parts[4]) not in {os.getpid(), 0, -1}:
                readers.add(int(parts[4]))
    return readers


def _place(status: os.stat_result) -> str:
    """A file as /proc/locks names it."""
    return f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text("utf-8", "replace").strip()
    except OSError:
        return "gone"


def check_journals(path: Path, pause: Callable[[float], None] = time.sleep) -> Finding:
    """Whether crash journals stand beside it whose writers are dead. A living one holds a lock on its own.

    The locks are those that a replay goes by. A journal counts as left behind where nobody held it at two looks: one
    that is just being made, or done with, is nobody's for a moment.
    """
    journals = find(path)
    held = {file: is_held(file) for file in journals}
    if False in held.values():
        pause(_PAUSE_S)
        held |= {file: is_held(file) for file in journals if held[file] is False}
    there = {file: status for file in journals if (status := status_of(file)) is not None}
    dead = [status.st_size for file, status in there.items() if held[file] is False]
    unseen = sum(held[file] is None for file in there)
    doubt = f"; whether the writers of {unseen} live cannot be seen from here" if unseen else ""
    if dead:
        return found("orphan_journals", f"{len(dead)} of dead processes, {_size(sum(dead))}{doubt}")
    if not there:
        return healthy("journals", "none")
    return healthy("journals", f"{len(there)}{doubt or ', all of living processes'}")


def check_leftovers(path: Path) -> Finding:
    """Damaged files that were moved aside, and are still there."""
    names = sorted(
        file.name
        for file in path.parent.glob("*.corrupt-*")
        if file.name.startswith(f"{path.name}.corrupt-") and not file.name.endswith(SIDE_FILES)
    )
    if names:
        return found("damaged_leftovers", f"{len(names)} beside it, the oldest {names[0]}")
    return healthy("leftovers", "no damaged file beside it")


def _mode(status: os.stat_result) -> str:
    return f"{stat.S_IMODE(status.st_mode):04o}"


def _size(number: int) -> str:
    return f"{number / _MIB:,.1f} MiB"
