"""A new file that appears whole or not at all: made private under another name, synced, and put in place at the end."""

import os
import secrets
import shutil
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from llm_service.errors import StoreError
from llm_service.telemetry.maintenance.check_session import SIDE_FILES, side_file
from llm_service.telemetry.maintenance.destinations import (
    already_there,
    refuse_database,
    refuse_standing,
    target_of,
)

__all__ = ["delivered", "require_room"]


def require_room(folder: Path, needed: int) -> None:
    """Refuse a folder that is none, or that has less than `needed` bytes left, before the work is done."""
    if not folder.is_dir():
        raise StoreError(f"{folder} is no folder; give a file in one that exists", folder)
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise StoreError(f"{folder} has {free:,} bytes free, {needed:,} are needed; make room or give another", folder)


@contextmanager
def delivered(
    destination: Path, *, force: bool = False, database: Path | None = None, over_database: bool = False
) -> Generator[Path]:
    """An empty file of mode 0600 beside `destination`, which takes its name, synced, when the block ends well.

    Args:
        destination: what must not exist yet; nobody ever sees a part of it. See `target_of` for links.
        force: True replaces a file that is there, unless it is a database; see `refuse_standing`.
        database: what it is made from, which it never replaces; see `refuse_database`.
        over_database: with `force`, a closed database of telemetry may be replaced, too.

    Raises:
        StoreError: `destination` exists, or is not to be written; see `target_of`.
    """
    refuse_database(destination, database)
    destination = target_of(destination, force=force)
    refuse_standing(destination, over_database=over_database)
    # Its name is known before there is a file of it: a signal at any moment leaves nothing.
    making = destination.with_name(f".{destination.name}.{secrets.token_hex(8)}.part")
    try:
        _make(making, destination)
        yield making
        _sync(making)
        refuse_standing(destination, over_database=over_database)
        if force:
            making.replace(destination)
        else:
            _link(making, destination)
        _sync(destination.parent)
    finally:
        for file in (making, *(side_file(making, suffix) for suffix in SIDE_FILES)):
            with suppress(OSError):
                file.unlink()


def _make(making: Path, destination: Path) -> None:
    try:
        os.close(os.open(making, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    except OSError as error:
        raise StoreError(f"{destination} cannot be made: {error.strerror}; give another", destination) from error


def _link(making: Path, destination: Path) -> None:
    try:
        os.link(making, destination)  # unlike a rename, it replaces nothing
    except FileExistsError:
        raise already_there(destination) from None


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
