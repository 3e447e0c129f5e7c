"""Refuses files that somebody else has put in the database's place, by looking at them and never by opening them.

Whoever can write to the folder could plant a symlink or a hard link under the name of the database, its -wal or its
-shm: records would go to a file that others read, or another file of ours would be overwritten. `lstat` tells, and
takes no descriptor, whose close would drop SQLite's POSIX locks.
"""

import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import Final

from llm_service.config.settings import trusted_owner
from llm_service.errors import PlantedFileError

__all__ = ["refuse_planted"]

_SUFFIXES: Final = ("", "-wal", "-shm")


def refuse_planted(path: Path) -> None:
    """Look at the database, its -wal and its -shm before they are opened; those that are missing are fine.

    Raises:
        PlantedFileError: one is no plain file, has a second name, or belongs to another user than this one and root.
        OSError: the folder cannot be looked into.
    """
    for suffix in _SUFFIXES:
        _look_at(path.with_name(path.name + suffix), path)


def _look_at(file: Path, database: Path) -> None:
    found = _lstat(file)
    if found is None:
        return
    if stat.S_ISLNK(found.st_mode):
        # The owner's own link was followed when the settings were made: this one came later, or is another user's.
        problem, remedy = f"is a symlink of user {found.st_uid}", "remove it, or give the path that it names"
    elif not stat.S_ISREG(found.st_mode):
        problem, remedy = "is not a plain file", "remove it, or give another db_path"
    elif not trusted_owner(found.st_uid):
        problem = f"belongs to user {found.st_uid}, this process is user {os.geteuid()}"
        remedy = "change its owner, or give another db_path"
    elif found.st_nlink > 1 and _other_names(file, found) > 1:
        problem, remedy = f"has {found.st_nlink} names (hard links)", "remove the others, or copy the file"
    else:
        return
    raise PlantedFileError(f"{file} {problem}: it is not opened; {remedy}", database)


def _other_names(file: Path, found: os.stat_result) -> int:
    """How many names the file has, once the temporary one of a creator that was killed half-way is gone.

    A new file is made under a temporary name and linked into place; for a moment, or for ever, it has both.
    """
    for name in file.parent.glob(f".{file.name}.*"):
        other = _lstat(name)
        if other is not None and (other.st_dev, other.st_ino) == (found.st_dev, found.st_ino):
            with suppress(FileNotFoundError):  # its creator was quicker
                name.unlink()
    now = _lstat(file)
    return 0 if now is None else now.st_nlink


def _lstat(file: Path) -> os.stat_result | None:
    try:
        return file.lstat()
    except FileNotFoundError:
        return None
