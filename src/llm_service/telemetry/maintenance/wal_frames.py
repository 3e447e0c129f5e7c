"""What a WAL adds to a file that SQLite refuses: its committed pages, frame by frame.

The layout is section 4 of SQLite's published file format (sqlite.org/fileformat2.html). Read-only, and only of copies.
"""

import struct
from pathlib import Path

__all__ = ["overlay_of"]


def overlay_of(wal: Path) -> dict[int, bytes]:
    """The committed pages of a WAL, by number: of valid frames in order, the newest."""
    data = wal.read_bytes()
    if len(data) < 32:
        return {}
    magic, _, size, _, salt1, salt2 = struct.unpack_from(">6I", data)
    if magic & ~1 != 0x377F0682 or size < 512 or size & (size - 1):
        return {}
    order = ">" if magic & 1 else "<"
    sums = _checksum(data[:24], order, (0, 0))
    if sums != struct.unpack_from(">II", data, 24):
        return {}
    committed: dict[int, bytes] = {}
    pending: dict[int, bytes] = {}
    for at in range(32, len(data) - size - 23, 24 + size):
        number, commit, *salts = struct.unpack_from(">4I", data, at)
        sums = _checksum(data[at : at + 8] + data[at + 24 : at + 24 + size], order, sums)
        if salts != [salt1, salt2] or sums != struct.unpack_from(">II", data, at + 16):
            break
        pending[number] = data[at + 24 : at + 24 + size]
        if commit:
            committed |= pending
            pending = {}
    return committed


def _checksum(data: bytes, order: str, sums: tuple[int, int]) -> tuple[int, int]:
    one, two = sums
    for first, second in struct.iter_unpack(f"{order}II", data):
        one = (one + first + two) & 0xFFFFFFFF
        two = (two + second + one) & 0xFFFFFFFF
    return one, two
