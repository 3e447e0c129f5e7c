"""Tells SQLite's own side files from a user's file that happens to stand at the name of one.

SQLite uses whatever it finds at `X-journal`, `X-wal` and `X-shm`, and deletes or overwrites what it cannot use, for a
reader, too. So the first bytes are looked at before it is let in. A power cut or a kill may leave a side file of
SQLite's empty, cut short, full of zeros or with half of its header: only a header that no SQLite can have left is
somebody else's, and whatever is in doubt is SQLite's.
"""

import struct
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from llm_service.telemetry.stores.private_files import status_of

__all__ = ["SIDE_FILES", "foreign_side_file", "is_of_sqlite"]

# Offsets and values are those of sqlite.org/fileformat2.html (3: rollback journal, 4: WAL) and walformat.html (2.1).
_JOURNAL_MAGIC: Final = bytes.fromhex("d9d505f920a163d7")
_WAL_MAGICS: Final = (bytes.fromhex("377f0682"), bytes.fromhex("377f0683"))
_VERSION: Final = 3007000
_BIG: Final = struct.pack(">I", _VERSION)
_LITTLE: Final = struct.pack("<I", _VERSION)
_COPY_AT: Final = 48
"""Where the second copy of the header of a -shm begins."""
_SIZES: Final = frozenset(1 << power for power in range(5, 17))
"""Sectors and pages have 32 to 65,536 bytes."""
_SHM_REGION: Final = 32768
"""A -shm in use grows by as much."""
_HEADER_BYTES: Final = 100
_SECONDS: Final = 10.0
_READ: Final = rf"""
import os, sys
for name in sys.argv[1:]:
    try:
        fd = os.open(name, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
        print("=" + os.read(fd, {_HEADER_BYTES}).hex())
    except OSError:
        print("=")
"""


def foreign_side_file(path: Path) -> Path | None:
    """A plain file at the name of a side file that is not SQLite's; None if there is none."""
    doubtful = _doubtful(path)
    for file, head in zip(doubtful.values(), _heads(doubtful.values()), strict=False):
        suffix = file.name.removeprefix(path.name)
        if not is_of_sqlite(suffix, head):
            return file
    return None


def is_of_sqlite(suffix: str, head: bytes) -> bool:
    """Whether a side file with this suffix and these first 100 bytes (or fewer) may be SQLite's."""
    return _KINDS[suffix](head)


def _doubtful(path: Path) -> dict[str, Path]:
    """The side files that have to be looked into, by suffix.

    An empty one is nobody's loss. A -wal whose -shm stands beside it, in the sizes that SQLite gives it, is in use or
    was left by a kill: that is how most files are found, and they are not read.
    """
    files = {suffix: path.with_name(path.name + suffix) for suffix in SIDE_FILES}
    found = {suffix: status for suffix, file in files.items() if (status := status_of(file)) is not None}
    sizes = {suffix: status.st_size for suffix, status in found.items()}
    if "-wal" in sizes and sizes.get("-shm", 0) and not sizes["-shm"] % _SHM_REGION:
        sizes["-wal"] = sizes["-shm"] = 0
    return {suffix: files[suffix] for suffix, size in sizes.items() if size}


def _heads(files: Iterable[Path]) -> list[bytes]:
    """The first bytes of files; nothing where no process can be started, or one cannot be read.

    A child process reads them: closing a descriptor here would drop the locks that this process holds on a -shm.
    """
    names = [str(file) for file in files]
    if not names:
        return []
    command = [sys.executable, "-I", "-S", "-c", _READ, *names]
    try:
        done = subprocess.run(command, check=False, capture_output=True, timeout=_SECONDS)  # noqa: S603 - our own interpreter
        lines = done.stdout.decode("ascii").splitlines()
        return [bytes.fromhex(line.removeprefix("=")) for line in lines if line.startswith("=")]
    except (OSError, ValueError, RuntimeError, subprocess.SubprocessError):
        return []


def _is_journal(head: bytes) -> bool:
    """A rollback journal, whose magic is zero until it is synced, and again when it is done with."""
    if _is_or_was_to_be(head, _JOURNAL_MAGIC):
        return True
    return len(head) >= 28 and _SIZES.issuperset(struct.unpack_from(">II", head, 20))  # of a sector, of a page


def _is_wal(head: bytes) -> bool:
    return any(_is_or_was_to_be(head, magic) for magic in _WAL_MAGICS) or head[4:8] == _BIG


def _is_shm(head: bytes) -> bool:
    """A WAL-index, in the byte order of the machine; it has two copies of its header."""
    copy = head[_COPY_AT : _COPY_AT + 4]
    return any(_is_or_was_to_be(head, version) or copy == version for version in (_LITTLE, _BIG))


def _is_or_was_to_be(head: bytes, magic: bytes) -> bool:
    """Whether a file begins with this, as far as it was written: what was not is missing, or zero."""
    return all(found in {0, wanted} for found, wanted in zip(head, magic, strict=False))


_KINDS: Final[dict[str, Callable[[bytes], bool]]] = {"-journal": _is_journal, "-wal": _is_wal, "-shm": _is_shm}
SIDE_FILES: Final = tuple(_KINDS)
"""SQLite's files beside a database; SQLite uses them wherever it finds them."""
