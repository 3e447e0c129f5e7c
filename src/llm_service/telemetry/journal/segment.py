"""The format of a segment: pure functions of bytes, without files or clocks.

    0     header: magic, version, its own crc, layout, salt, ceiling, creation time, writer id
    2048  the same again: one flipped byte costs no segment
    4048  marks: the last accepted number and the lowest that may be pending, each with its complement
    4096  frames, each at a multiple of 8: stamp, marker, length, number, crc; payload; padding

Numbers ascend by one with each frame. A *stamp* is an aligned word outside the crc, because it changes: 0 while the
record is pending, then the number of its batch (set before the COMMIT whose receipt names that batch), or DEAD if the
record was dropped and counted. So the writer need not clean up: a frame is done when it is dead, or when the receipt in
the database has reached its batch. The marker is the segment's random salt, so text in a record cannot look like a
frame.
"""

import struct
import zlib
from collections.abc import Collection, Container, Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

from llm_service.config.settings import PRIVACY_LEVELS, PrivacyLevel

__all__ = [
    "ACCEPTED_WORD",
    "DATA_AT",
    "DEAD",
    "FRAME",
    "LOWEST_WORD",
    "VERSION",
    "WORD",
    "Contents",
    "Frame",
    "Header",
    "UnknownSegmentError",
    "contents",
    "frame_head",
    "is_unfinished",
    "pack_header",
    "read_header",
    "stamp_of",
]

VERSION: Final = 1
DATA_AT: Final = 4096
WORD: Final = 8
ACCEPTED_WORD: Final = 4048 // WORD
LOWEST_WORD: Final = ACCEPTED_WORD + 2
ALL_BITS: Final = (1 << 64) - 1
DEAD: Final = (1 << 40) - 1
"""The batch number of records that were dropped and counted; real numbers get there after 34 years at 1,000/s."""

# Native byte order, like the words of a memory view; a segment of the other order has an unknown version.
FRAME: Final = struct.Struct("=QIIQI")
_HEADER: Final = struct.Struct("=8sII")
_REST: Final = struct.Struct("=IIIQ36s")
_MAGIC: Final = b"LLMTJRNL"
_COPIES: Final = (0, 2048)
_WORD: Final = struct.Struct("=Q")
_PAIR: Final = struct.Struct("=QQ")
_MARKER: Final = struct.Struct("=I")
_MARKER_AT: Final = 8
_WASTE: Final = 16
"""Bounds the scan: it gives up after checksumming this many bytes in vain for each byte of the segment."""


class UnknownSegmentError(ValueError):
    """The bytes are not a segment, or one of an unknown version or layout."""


@dataclass(frozen=True, slots=True)
class Header:
    """The writer of a segment, and how to read it.

    Attributes:
        layout: `encoding.LAYOUT` of the writer's release.
        salt: 1 to 2**32 - 1, random: marks the frames of this segment.
    """

    writer_id: str
    ceiling: PrivacyLevel
    layout: int
    salt: int
    created_us: int


class Frame(NamedTuple):
    """One frame: its number, its batch (0: none, or unreadable), the record's bytes, and its end."""

    number: int
    batch: int
    payload: bytes
    end: int


@dataclass(frozen=True, slots=True)
class Contents:
    """The uncommitted records of a segment.

    Attributes:
        waiting: frames of records without a known commit, by number.
        lost: accepted records that may have been pending and cannot be read.
    """

    waiting: list[Frame]
    lost: int
    last: int


def pack_header(header: Header) -> bytes:
    """The bytes before the frames."""
    writer_id = header.writer_id.encode("ascii")
    level = PRIVACY_LEVELS.index(header.ceiling)
    rest = _REST.pack(header.layout, header.salt, level, header.created_us, writer_id)
    copy = _HEADER.pack(_MAGIC, VERSION, zlib.crc32(rest, VERSION)) + rest
    page = bytearray(DATA_AT)
    for at in _COPIES:
        page[at : at + len(copy)] = copy
    _PAIR.pack_into(page, ACCEPTED_WORD * WORD, 0, ALL_BITS)
    _PAIR.pack_into(page, LOWEST_WORD * WORD, 1, 1 ^ ALL_BITS)
    return bytes(page)


def is_unfinished(data: bytes) -> bool:
    """Whether this is a partly created segment: empty, only zeros, or with our magic bytes."""
    return data.startswith(_MAGIC) or not data.strip(b"\0")


def read_header(data: bytes, layouts: Container[int]) -> Header:
    """The header of a segment.

    Args:
        layouts: the record layouts that this release can read.

    Raises:
        UnknownSegmentError: both copies of the header are unusable, or the layout is unknown.
    """
    if len(data) < DATA_AT:
        raise UnknownSegmentError("it is shorter than a header")
    problem = "it has no header that can be read"
    for at in _COPIES:
        magic, version, crc = _HEADER.unpack_from(data, at)
        rest = data[at + _HEADER.size : at + _HEADER.size + _REST.size]
        if magic != _MAGIC:
            continue
        if version != VERSION:
            problem = f"its version is {version}, this release knows {VERSION}"
            continue
        if crc != zlib.crc32(rest, VERSION):
            continue
        found, salt, level, created_us, writer_id = _REST.unpack(rest)
        if found not in layouts:
            raise UnknownSegmentError("its records have the fields of another release")
        ceiling: PrivacyLevel = PRIVACY_LEVELS[int(level) % len(PRIVACY_LEVELS)]
        return Header(writer_id.rstrip(b"\0").decode("ascii", "replace"), ceiling, found, salt, created_us)
    raise UnknownSegmentError(problem)


def frame_head(salt: int, number: int, payload: bytes) -> bytes:
    """The bytes before a payload; the checksum covers all bits of the number."""
    return FRAME.pack(0, salt, len(payload), number, zlib.crc32(payload, salt + number + (number >> 32) & 0xFFFFFFFF))


def stamp_of(batch: int, salt: int) -> int:
    """A batch number encoded so that a flipped bit makes it unreadable, not another batch."""
    return batch << 24 | ((batch * 0x9E3779B1 ^ salt) & 0xFFFFFF)


def _batch_of(stamp: int, salt: int) -> int:
    batch = stamp >> 24
    return batch if stamp == stamp_of(batch, salt) else 0


def _batch_at(data: bytes, at: int, salt: int) -> int:
    if at + WORD > len(data):
        return 0
    (stamp,) = _WORD.unpack_from(data, at)
    return _batch_of(stamp, salt)


def contents(data: bytes, header: Header, *, committed: int, replayed: int) -> Contents:
    """The records that neither the writer's receipt nor that of an earlier replay (0: none) covers."""
    found: dict[int, Frame] = {}
    for frame in _frames(data, header.salt):
        found.setdefault(frame.number, frame)
    mark = _mark(data, LOWEST_WORD)
    lowest = max(mark, replayed + 1)
    last = max([_mark(data, ACCEPTED_WORD), *found])

    def is_done(number: int, batch: int) -> bool:
        return number < lowest or batch == DEAD or 0 < batch <= committed

    waiting = [found[number] for number in sorted(found) if not is_done(number, found[number].batch)]
    # A gap counts as lost unless its own stamp, or the next frame, is done: records are taken in order.
    start = lowest if mark else _oldest(found.values(), waiting, last)
    lost, behind_is_done = 0, False
    for number in range(last, max(start, last - len(data) // FRAME.size) - 1, -1):
        here, before = found.get(number), found.get(number - 1)
        if here is not None:
            behind_is_done = is_done(number, here.batch)
        elif not behind_is_done:
            lost += before is None or not is_done(number, _batch_at(data, before.end, header.salt))
    return Contents(waiting, lost, last)


def _oldest(found: Collection[Frame], waiting: list[Frame], last: int) -> int:
    """The oldest record that may be pending, where the mark cannot be read: it lies in the page that the damage hit.

    Where all numbers below the oldest frame find room before it, and no other frame lies there, nothing was overwritten
    yet, and they were there.
    """
    first = min(found, default=None)
    if first is not None and first.end == min(frame.end for frame in found):
        begins = first.end - (FRAME.size + len(first.payload) + WORD - 1) // WORD * WORD
        if (begins - DATA_AT) // FRAME.size >= first.number - 1:
            return 1
    return min((frame.number for frame in waiting), default=last + 1)


def _mark(data: bytes, word: int) -> int:
    value, complement = _PAIR.unpack_from(data, word * WORD)
    return value if value == complement ^ ALL_BITS else 0


def _frames(data: bytes, salt: int) -> Iterator[Frame]:
    """All frames with valid checksums, wherever they are; damaged bytes are skipped."""
    marker = _MARKER.pack(salt)
    budget = _WASTE * len(data)
    at = DATA_AT
    while budget > 0:
        found = data.find(marker, at + _MARKER_AT)
        at = found - _MARKER_AT
        if found < 0 or at + FRAME.size > len(data):
            return
        if at % WORD:
            at += 1
            continue
        stamp, _, length, number, crc = FRAME.unpack_from(data, at)
        start = at + FRAME.size
        if length > len(data) - start:
            at += WORD
            continue
        payload = data[start : start + length]
        if crc == zlib.crc32(payload, salt + number + (number >> 32) & 0xFFFFFFFF):
            at = (start + length + WORD - 1) // WORD * WORD
            yield Frame(number, _batch_of(stamp, salt), payload, at)
        else:
            budget -= length + WORD
            at += WORD
