"""Refuses planted files: files that another user put in place of ours. It uses `lstat` and never opens them.

A user who can write to the folder could plant a symlink or a hard link under the name of the database or a side file.
Then records would go to a file that others read, another file of ours would be overwritten, or (with a rollback
journal) foreign pages would be written into our database. Opening a pipe would hang. `lstat` takes no descriptor, whose
close would drop SQLite's POSIX locks. Every file that is opened by name is checked here first: the database and its
side files, crash journals, and the targets of exports, backups and salvage.
"""

import os
import stat
from collections.abc import Iterable
from contextlib import suppress
from glob import escape
from pathlib import Path
from typing import Final, NamedTuple

from llm_service.config.settings import trusted_owner
from llm_service.errors import PlantedFileError

__all__ = ["SIDE_FILES", "Problem", "problem_of", "refuse_links_of_others", "refuse_planted", "status_of"]

SIDE_FILES: Final = ("-journal", "-wal", "-shm")
"""SQLite's files beside a database; SQLite uses them wherever it finds them."""


class Problem(NamedTuple):
    """Why a file must not be opened, and the remedy."""

    what: str
    remedy: str


def refuse_planted(path: Path, *, reading: bool = False) -> None:
    """Check the database and its side files before they are opened; missing files are fine.

    Args:
        path: the database.
        reading: accept another user's database, or one with several names, if its owner also owns the side files.

    Raises:
        PlantedFileError: a file is not regular, has a second name, or belongs to another user (root is trusted).
        OSError: the folder cannot be read.
    """
    refuse_links_of_others(path)
    main = status_of(path)
    owner = {main.st_uid} if reading and main is not None else frozenset[int]()
    for suffix in ("", *SIDE_FILES):
        file = path.with_name(path.name + suffix)
        if not suffix and not reading:
            _forget_creator(file)
        problem = problem_of(file, owner, one_name=bool(suffix) or not reading)
        if problem is not None:
            raise PlantedFileError(f"{file} {problem.what}: it is not opened; {problem.remedy}", path)


def refuse_links_of_others(path: Path) -> None:
    """Refuse a path through another user's symlink: its owner decides where the file goes.

    Raises:
        PlantedFileError: a folder of the path is such a symlink.
    """
    for folder in path.parents:
        found = status_of(folder)
        if found is not None and stat.S_ISLNK(found.st_mode) and not trusted_owner(found.st_uid):
            message = f"{folder} is a symlink of user {found.st_uid}: nothing behind it is opened"
            raise PlantedFileError(f"{message}; give the path that it names", path)


def problem_of(file: Path, owners: Iterable[int] = (), *, one_name: bool = True) -> Problem | None:
    """Why a file must not be opened; None if it may be, or does not exist.

    Args:
        file: checked by `lstat`.
        owners: users that are trusted besides this one and root.
        one_name: refuse a second name (hard link).
    """
    found = status_of(file)
    if found is None:
        return None
    if stat.S_ISLNK(found.st_mode):
        # The user's own link was resolved when the path was given: this one is newer, or another user's.
        return Problem(f"is a symlink of user {found.st_uid}", "remove it, or give the path that it names")
    if not stat.S_ISREG(found.st_mode):
        return Problem("is not a plain file", "remove it, or give another path")
    if not trusted_owner(found.st_uid) and found.st_uid not in owners:
        user = f"belongs to user {found.st_uid}, this process is user {os.geteuid()}"
        return Problem(user, "change its owner, or give another path")
    if one_name and found.st_nlink > 1:
        return Problem(f"has {found.st_nlink} names (hard links)", "remove the others, or copy the file")
    return None


def _forget_creator(file: Path) -> None:
    """Remove the temporary name of a creator that was killed half-way.

    A new file is created under a temporary name and linked into place: it has both names for a moment, or for ever if
    the creator was killed.
    """
    found = status_of(file)
    if found is None or found.st_nlink == 1 or not stat.S_ISREG(found.st_mode) or not trusted_owner(found.st_uid):
        return
    for name in file.parent.glob(f".{escape(file.name)}.*"):
        other = status_of(name)
        if other is not None and (other.st_dev, other.st_ino) == (found.st_dev, found.st_ino):
            with suppress(FileNotFoundError):  # its creator removed it first
                name.unlink()


def status_of(file: Path) -> os.stat_result | None:
    """`lstat`, or None where there is no file."""
    try:
        return file.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None
