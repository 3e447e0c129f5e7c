"""Files of this user alone: folders that others cannot look into, and no file that another user put in place of ours.

A user who can write to a folder could plant a symlink or a hard link under the name of a file of ours: then records
would go to a file that others read, or another file of ours would be overwritten. Opening a pipe would hang. Each file
that is opened by name is checked here first: databases, crash journals, targets of exports, backups and salvage. The
check is by `lstat`: it takes no descriptor, whose close would drop SQLite's POSIX locks.
"""

import os
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from llm_service.config.settings import trusted_owner
from llm_service.errors import PlantedFileError

__all__ = ["Problem", "make_private_folder", "problem_of", "refuse_links_of_others", "status_of"]


class Problem(NamedTuple):
    """Why a file must not be opened, and the remedy."""

    what: str
    remedy: str


def refuse_links_of_others(path: Path) -> None:
    """Refuse a path through another user's symlink (PlantedFileError): its owner decides where the file goes."""
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


def make_private_folder(folder: Path) -> None:
    """Create each missing folder with mode 0700; `mkdir(parents=True)` would apply the umask to the parents."""
    if not folder.is_dir():
        make_private_folder(folder.parent)
        try:
            folder.mkdir(mode=0o700)
        except FileExistsError:  # by another process; if it is not a folder, creating the file fails
            return
        folder.chmod(0o700)  # the umask may have removed bits


def status_of(file: Path) -> os.stat_result | None:
    """`lstat`, or None where there is no file."""
    try:
        return file.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None
