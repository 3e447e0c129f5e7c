"""Refuses a database that another user put in place of ours, or beside which one stands: see `stores.private_files`.

With a planted rollback journal, foreign pages would be written into our database. And a user's own file at the name of
a side file would be deleted: see `side_files`.
"""

import stat
from contextlib import suppress
from glob import escape
from pathlib import Path

from llm_service.config.settings import trusted_owner
from llm_service.errors import ForeignDatabaseError, PlantedFileError
from llm_service.telemetry.stores.private_files import problem_of, refuse_links_of_others, status_of
from llm_service.telemetry.stores.sqlite.side_files import SIDE_FILES, foreign_side_file

__all__ = ["SIDE_FILES", "refuse_planted"]


def refuse_planted(path: Path, *, reading: bool = False) -> None:
    """Check the database and its side files before they are opened; missing files are fine.

    Args:
        reading: accept another user's database, or one with several names, if its owner also owns the side files.

    Raises:
        PlantedFileError: a file is not regular, has a second name, or belongs to another user (root is trusted).
        ForeignDatabaseError: what stands in the place of a side file is not SQLite's.
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
    foreign = foreign_side_file(path)
    if foreign is not None:
        message = f"{foreign} has a name that SQLite keeps for itself, but is not SQLite's, who would delete it"
        raise ForeignDatabaseError(f"{message}: it is not opened; move it away, or give another path", path)


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
