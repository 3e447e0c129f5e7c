"""A new file that appears whole or not at all: made private under another name, synced, and put in place at the end."""

import os
import shutil
import stat
import tempfile
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from llm_service.config.settings import followed
from llm_service.errors import PlantedFileError, StoreError
from llm_service.telemetry.maintenance.check_session import SIDE_FILES, side_file, status_of
from llm_service.telemetry.stores.sqlite.file_security import refuse_links_of_others

__all__ = ["delivered", "require_room", "target_of"]


def require_room(folder: Path, needed: int) -> None:
    """Refuse before the work what could only fail after it.

    Raises:
        StoreError: the folder does not exist, or has less than `needed` bytes left.
    """
    if not folder.is_dir():
        raise StoreError(f"{folder} is no folder; give a file in one that exists", folder)
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise StoreError(f"{folder} has {free:,} bytes free, {needed:,} are needed; make room or give another", folder)


def refuse_database(destination: Path, database: Path | None = None) -> None:
    """No new file takes the name of a database that it is made from, or of what SQLite or a logger keeps beside one.

    Args:
        destination: where the file is to go; by its path, through links, and by its inode.
        database: what it is made from. Names beside any other database are refused, too: who opens that one deletes
            what it takes for its own.

    Raises:
        StoreError: it is one of these.
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
        destination: what was asked for.
        force: True lets a regular file stand there.

    Raises:
        PlantedFileError: another user's symlink would lead the file elsewhere.
        StoreError: something stands there that must stay.
    """
    target = followed(destination.absolute())
    refuse_links_of_others(target)
    status = status_of(target)
    if status is None:
        return target
    if stat.S_ISLNK(status.st_mode):
        message = f"{target} is a symlink of user {status.st_uid}: it is not followed; remove it, or give another name"
        raise PlantedFileError(message, target)
    if not stat.S_ISREG(status.st_mode):
        raise StoreError(f"{destination} is no regular file; give another name", destination)
    if not force:
        raise _exists(destination)
    return target


@contextmanager
def delivered(destination: Path, *, force: bool = False, database: Path | None = None) -> Generator[Path]:
    """An empty file of mode 0600 beside `destination`, which takes its name, synced, when the block ends well.

    Args:
        destination: what must not exist yet; nobody ever sees a part of it. See `target_of` for links.
        force: True replaces a file that is there, unless somebody may have it open as a database.
        database: what it is made from, which it never replaces; see `refuse_database`.

    Raises:
        StoreError: `destination` exists, or is not to be written; see `target_of`.
    """
    refuse_database(destination, database)
    destination = target_of(destination, force=force)
    _refuse_in_use(destination)
    descriptor, name = tempfile.mkstemp(prefix=f".{destination.name}.", suffix=".part", dir=destination.parent)
    os.close(descriptor)
    making = Path(name)
    try:
        yield making
        _sync(making)
        _refuse_in_use(destination)
        if force:
            making.replace(destination)
        else:
            _link(making, destination)
        _sync(destination.parent)
    finally:
        for file in (making, *(side_file(making, suffix) for suffix in SIDE_FILES)):
            with suppress(FileNotFoundError):
                file.unlink()


def _link(making: Path, destination: Path) -> None:
    try:
        os.link(making, destination)  # unlike a rename, it replaces nothing
    except FileExistsError:
        raise _exists(destination) from None


def _refuse_in_use(destination: Path) -> None:
    # SQLite would take them for parts of the new file, and mix the old one's pages into it.
    beside = [side_file(destination, suffix) for suffix in SIDE_FILES]
    names = [file.name for file in beside if status_of(file) is not None]
    if names:
        raise StoreError(f"{names[0]} is there, so {destination} may be in use; give another name", destination)


def _exists(destination: Path) -> StoreError:
    return StoreError(f"{destination} exists; give another name, or --force to replace it", destination)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
