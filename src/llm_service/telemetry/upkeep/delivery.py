"""A new file that appears whole or not at all: made private under another name, synced, and put in place at the end."""

import os
import shutil
import tempfile
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from llm_service.errors import StoreError
from llm_service.telemetry.upkeep.looking import side_file, status_of

__all__ = ["delivered", "require_room"]

_SIDE_FILES = ("-journal", "-wal", "-shm")


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


@contextmanager
def delivered(destination: Path, *, force: bool = False) -> Generator[Path]:
    """An empty file of mode 0600 beside `destination`, which takes its name, synced, when the block ends well.

    Args:
        destination: what must not exist yet; nobody ever sees a part of it.
        force: True replaces a file that is there, unless somebody may have it open as a database.

    Raises:
        StoreError: `destination` exists.
    """
    _refuse_existing(destination, force=force)
    descriptor, name = tempfile.mkstemp(prefix=f".{destination.name}.", dir=destination.parent)
    os.close(descriptor)
    making = Path(name)
    try:
        yield making
        _sync(making)
        _refuse_existing(destination, force=force)
        if force:
            making.replace(destination)
        else:
            _link(making, destination)
        _sync(destination.parent)
    finally:
        for file in (making, *(side_file(making, suffix) for suffix in _SIDE_FILES)):
            with suppress(FileNotFoundError):
                file.unlink()


def _link(making: Path, destination: Path) -> None:
    try:
        os.link(making, destination)  # unlike a rename, it replaces nothing
    except FileExistsError:
        raise _exists(destination) from None


def _refuse_existing(destination: Path, *, force: bool) -> None:
    if status_of(destination) is not None and not force:
        raise _exists(destination)
    # SQLite would take them for parts of the new file, and mix the old one's pages into it.
    beside = [side_file(destination, suffix) for suffix in _SIDE_FILES]
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
