"""A private copy of a file that may be damaged, to be taken apart without touching the original."""

import secrets
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Generator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from llm_service.errors import StoreError
from llm_service.telemetry.maintenance.check_session import look, open_read_only, side_file, status_of
from llm_service.telemetry.maintenance.page_rows import PageFile
from llm_service.telemetry.maintenance.wal_frames import overlay_of
from llm_service.telemetry.stores.sqlite.connections import connect

__all__ = ["PrivateCopy", "private_copy", "text_or_bytes"]

_COPY: Final = """
import os, stat, sys
for source, copy in zip(sys.argv[1::2], sys.argv[2::2]):
    fd = os.open(source, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    left = os.fstat(fd).st_size
    if not stat.S_ISREG(os.fstat(fd).st_mode): sys.exit(f"{source} is no regular file")
    with open(copy, "wb") as target:
        while left > 0 and (part := os.read(fd, min(left, 1 << 20))): left -= target.write(part)
"""  # no more than the file had when it was opened: another may be writing to it


@dataclass(frozen=True, slots=True)
class PrivateCopy:
    """A copy, both ways to look at it; `connection` is None where it is no database any more."""

    pages: PageFile
    connection: sqlite3.Connection | None


@contextmanager
def private_copy(source: Path, folder: Path) -> Generator[PrivateCopy]:
    """Copy a database page by page as one snapshot, or, where SQLite refuses it, file by file with its WAL.

    Args:
        source: only read; by SQLite, or by a process of its own.

    Raises:
        StoreError: the source cannot be read at all.
    """
    with _room(folder) as room:
        copy = room / "copy.db"
        try:
            look(source, lambda connection: _copy_pages(connection, copy))
        except sqlite3.DatabaseError:
            yield PrivateCopy(_copy_files(source, copy), None)
            return
        with closing(_open(copy)) as connection:
            yield PrivateCopy(PageFile.of(copy), connection)


@contextmanager
def _room(folder: Path) -> Generator[Path]:
    """A folder for this user alone, which is gone after the block, wherever a signal ends it."""
    room = folder / f".salvage-{secrets.token_hex(8)}"
    try:
        room.mkdir(0o700)
        yield room
    finally:
        shutil.rmtree(room, ignore_errors=True)


def _copy_pages(connection: sqlite3.Connection, copy: Path) -> None:
    # It lets SQLite read on where the file is shorter than its header says (pragma.html#pragma_writable_schema).
    connection.execute("PRAGMA writable_schema = ON")
    with closing(connect(copy)) as target:
        target.execute("PRAGMA synchronous = OFF")
        connection.backup(target)


def _copy_files(source: Path, copy: Path) -> PageFile:
    """In a process of its own: closing a descriptor of the database here would drop this process's locks on it."""
    copied_wal = side_file(copy, "-wal.copy")  # a name that SQLite takes no notice of
    pairs = [str(source), str(copy)]
    if status_of(side_file(source, "-wal")) is not None:
        pairs += [str(side_file(source, "-wal")), str(copied_wal)]
    command = [sys.executable, "-I", "-c", _COPY, *pairs]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own interpreter
    if done.returncode:
        problem = (done.stderr.strip().splitlines() or ["unknown"])[-1]
        raise StoreError(f"{source} cannot be read: {problem}; check its permissions", source)
    return PageFile.of(copy, overlay_of(copied_wal) if copied_wal.exists() else None)


def _open(copy: Path) -> sqlite3.Connection:
    connection = open_read_only(copy, "ro&immutable=1")
    connection.text_factory = text_or_bytes
    connection.execute("PRAGMA writable_schema = ON")
    return connection


def text_or_bytes(raw: bytes) -> str | bytes:
    """A text, or its bytes where they are no UTF-8 any more."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw
