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
from llm_service.telemetry.stores.planted import refuse_links_of_others
from llm_service.telemetry.upkeep.looking import SIDE_FILES, side_file, status_of

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
def delivered(destination: Path, *, force: bool = False) -> Generator[Path]:
    """An empty file of mode 0600 beside `destination`, which takes its name, synced, when the block ends well.

    Args:
        destination: what must not exist yet; nobody ever sees a part of it. See `target_of` for links.
        force: True replaces a file that is there, unless somebody may have it open as a database.

    Raises:
        StoreError: `destination` exists, or is not to be written; see `target_of`.
    """
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
