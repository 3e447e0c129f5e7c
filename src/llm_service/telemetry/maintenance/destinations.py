"""Where a new file may go: what stands there is looked at before it is made, and again before it takes the name."""

import os
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path
from typing import Final

from llm_service.config.settings import followed
from llm_service.errors import PlantedFileError, StoreError
from llm_service.telemetry.maintenance.check_session import SIDE_FILES, side_file, status_of
from llm_service.telemetry.stores.private_files import refuse_links_of_others
from llm_service.telemetry.stores.sqlite.file_identity import identify_file

__all__ = ["already_there", "refuse_database", "refuse_standing", "target_of"]

_SECONDS: Final = 60.0
_LOOK: Final = r"""
import os, stat, struct, sys
fd = os.open(sys.argv[1], os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
if not stat.S_ISREG(os.fstat(fd).st_mode): sys.exit("it is no regular file")
head = os.read(fd, 100)
said = ["database"] * (head[:16] == b"SQLite format 3\0") + ["id"] * (head[68:72] == b"LLMT")
if sys.platform == "linux":
    import fcntl
    asked = struct.pack("@hhqqi0q", fcntl.F_WRLCK, os.SEEK_SET, 0x40000000, 512, 0)
    answer = fcntl.fcntl(fd, fcntl.F_GETLK, asked)
    said += ["locked"] * (struct.unpack("@hhqqi0q", answer)[0] != fcntl.F_UNLCK)
print(*said)
"""  # sqlite.org/fileformat2.html, 1.3; the bytes that SQLite locks: os.h, PENDING_BYTE. No lock is taken.


def refuse_database(destination: Path, database: Path | None = None) -> None:
    """No new file takes the name of a database that it is made from, or of what SQLite or a logger keeps beside one.

    Args:
        destination: where the file is to go; by its path, through links, and by its inode.
        database: what it is made from. Names beside any other database are refused, too: who opens that one deletes
            what it takes for its own.
    """
    target = Path(os.path.realpath(destination))
    beside = [target.name.removesuffix(suffix) for suffix in SIDE_FILES if target.name.endswith(suffix)]
    bases = [base for name in beside if name and (base := target.with_name(name)).is_file()]
    if database is not None:
        bases.append(Path(os.path.realpath(database)))
    standing = status_of(target)
    for base in bases:
        for file in (base, *(side_file(base, suffix) for suffix in SIDE_FILES)):
            status = status_of(file)
            if target == file or (standing and status and os.path.samestat(standing, status)):
                what = "the database itself" if file == base else f"a name that SQLite keeps for {base.name}"
                raise StoreError(f"{destination} is {what}; give another file", destination)
        if target.name.startswith(f"{base.name}-journal-") and target.parent == base.parent:
            raise StoreError(f"{destination} is a name of a crash journal of {base.name}; give another", destination)


def target_of(destination: Path, *, force: bool = False) -> Path:
    """Where a new file goes: a symlink of one's own or root's is followed, another user's never, wherever it stands.

    Args:
        force: True lets a regular file stand there.

    Raises:
        PlantedFileError: another user's symlink would lead the file elsewhere.
        StoreError: there is no such folder, or something stands there that must stay.
    """
    target = followed(destination.absolute())
    refuse_links_of_others(target)
    if not target.parent.is_dir():
        raise StoreError(f"{target.parent} is no folder; give a file in one that exists", destination)
    status = status_of(target)
    if status is None:
        return target
    if stat.S_ISLNK(status.st_mode):
        message = f"{target} is a symlink of user {status.st_uid}: it is not followed; remove it, or give another name"
        raise PlantedFileError(message, target)
    if not stat.S_ISREG(status.st_mode):
        raise StoreError(f"{destination} is no regular file; give another name", destination)
    if not force:
        raise already_there(destination)
    return target


def refuse_standing(target: Path, *, over_database: bool) -> None:
    """What stands at a target may be replaced: no database, but for a closed one of ours where another takes its place.

    Args:
        over_database: what is made is a database of telemetry, too.

    Raises:
        StoreError: a database that must stay stands there, somebody has it open, or what it is cannot be known.
    """
    # SQLite would take them for parts of the new file, and mix the old one's pages into it.
    names = [file.name for suffix in SIDE_FILES if status_of(file := side_file(target, suffix)) is not None]
    if names:
        raise StoreError(f"{names[0]} is there, so {target} may be in use; give another name", target)
    status = status_of(target)
    if status is None or not status.st_size:
        return
    said = _look_at_bytes(target)
    if "locked" in said:
        raise StoreError(f"{target} is a database that is in use; give another name", target)
    if not said & {"database", "id"}:
        return
    if not over_database:
        raise StoreError(f"{target} is a database, which no export replaces; give another name", target)
    if not _is_ours(target, otherwise="id" in said):
        raise StoreError(f"{target} is another application's database; give another name", target)


def already_there(destination: Path) -> StoreError:
    """What is said where nobody allowed a file to be replaced."""
    return StoreError(f"{destination} exists; give another name, or --force to replace it", destination)


def _look_at_bytes(target: Path) -> set[str]:
    """In a process of its own: closing a descriptor here would drop this process's locks, if it has the file open."""
    command = [sys.executable, "-I", "-S", "-c", _LOOK, str(target)]
    try:
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=_SECONDS)  # noqa: S603 - our own interpreter
    except subprocess.TimeoutExpired:
        raise StoreError(f"{target} cannot be looked at in {_SECONDS:g} s; give another name", target) from None
    if done.returncode:
        problem = (done.stderr.strip().splitlines() or ["unknown"])[-1]
        raise StoreError(f"{target} cannot be looked at: {problem}; give another name", target)
    return set(done.stdout.split())


def _is_ours(target: Path, *, otherwise: bool) -> bool:
    try:
        return not identify_file(target).is_unmarked
    except sqlite3.Error:  # it is damaged
        return otherwise
