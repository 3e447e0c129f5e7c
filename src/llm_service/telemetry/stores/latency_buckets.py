"""Counts of latency buckets as one BLOB of a roll-up's row, and how many of them are added up.

Byte 0 is the size of an item (1, 2, 4 or 8), bytes 1 and 2 are the first bucket (signed), and the counts of that bucket
and those after it follow; everything is little-endian. No counts are an empty BLOB. A BLOB that is none of these
(damage) counts as empty: `llm-telemetry doctor` finds it by its records.
"""

import sys
from array import array
from collections.abc import Mapping, Sequence
from typing import Final

__all__ = ["Buckets", "added_up", "is_sound", "pack", "pack_listed", "unpack"]

_CODES: Final = {1: "B", 2: "H", 4: "I", 8: "Q"}
_HEAD: Final = 3
_MOST_BUCKET: Final = 1_000
"""Further from zero than the bucket of any latency: 1e10 ms are in bucket 532."""
_MOST_COUNT: Final = (1 << 63) - 1
_FEW: Final = 16
"""BLOBs that are added up one by one: to take lanes apart costs as much as so many of them."""
_MOST_ADDED: Final = 256
"""Times that the largest item fits a lane of twice its bits."""
_MASKS: Final = {size: int.from_bytes((b"\xff" * size + bytes(size)) * _MOST_BUCKET, "little") for size in _CODES}
"""Every second item of the longest BLOB."""
_IS_BIG: Final = sys.byteorder == "big"


class Buckets:
    """Counts that can be added to."""

    __slots__ = ("_counts", "_first")

    def __init__(self, packed: object = b"") -> None:
        self._first = 0
        self._counts: array[int] = array("B")
        if isinstance(packed, bytes) and is_sound(packed):
            self._first = int.from_bytes(packed[1:_HEAD], "little", signed=True)
            self._counts = array(_CODES[packed[0]], packed[_HEAD:])
            if _IS_BIG:
                self._counts.byteswap()

    def add(self, more: Mapping[int, int]) -> None:
        """Add these counts, none of which is negative; a bucket of no latency (damage) is left out."""
        counts, first = self._counts, self._first
        width = len(counts)
        for bucket, count in more.items():
            place = bucket - first
            if not 0 <= place < width:
                if abs(bucket) >= _MOST_BUCKET:
                    continue
                self._reach(bucket)
                counts, first = self._counts, self._first
                place, width = bucket - first, len(counts)
            try:
                counts[place] += count
            except OverflowError:
                counts = self._widened(counts[place] + count)
                counts[place] = min(counts[place] + count, _MOST_COUNT)  # more is damage: a day has no so many calls

    def _reach(self, bucket: int) -> None:
        counts, size = self._counts, self._counts.itemsize
        if not counts:
            self._first = bucket
        if bucket < self._first:
            self._counts = array(counts.typecode, bytes(size * (self._first - bucket))) + counts
            self._first = bucket
        else:
            counts.frombytes(bytes(size * (bucket + 1 - self._first - len(counts))))

    def _widened(self, most: int) -> "array[int]":
        size = next((size for size in _CODES if most < 1 << 8 * size), 8)
        self._counts = array(_CODES[max(size, self._counts.itemsize)], self._counts)
        return self._counts

    def packed(self) -> bytes:
        """The BLOB."""
        counts = self._counts
        if not counts:
            return b""
        if _IS_BIG:
            counts = counts[:]
            counts.byteswap()
        return bytes((counts.itemsize,)) + self._first.to_bytes(2, "little", signed=True) + counts.tobytes()


def pack(counts: Mapping[int, int]) -> bytes:
    """The BLOB of these counts; what is not positive is left out."""
    buckets = Buckets()
    buckets.add({bucket: count for bucket, count in counts.items() if count > 0})
    return buckets.packed()


def pack_listed(listed: object) -> bytes:
    """The BLOB of counts, given as `hex(a BLOB) || ':' || group_concat(bucket || ' ' || count)`.

    What is no count of a bucket is left out.
    """
    digits, _, pairs = listed.partition(":") if isinstance(listed, str) else ("", "", "")
    counts = added_up([digits])
    for pair in pairs.split(","):
        try:
            bucket, count = map(int, pair.split())
        except ValueError:
            continue
        if abs(bucket) < _MOST_BUCKET and 0 < count < 1 << 63:
            counts[bucket] = counts.get(bucket, 0) + count
    return pack(counts)


def unpack(packed: bytes) -> dict[int, int]:
    """The counts of a BLOB, by bucket."""
    return added_up([packed.hex()])


def added_up(digits: Sequence[object]) -> dict[int, int]:
    """The sum of BLOBs, each read as `hex(latency_buckets)`."""
    found: dict[int, int] = {}
    lanes: dict[bytes, _Lanes] = {}
    few = len(digits) < _FEW
    for one in digits:
        try:
            packed = bytes.fromhex(one)  # type: ignore[arg-type]  # anything may stand there
        except (TypeError, ValueError):
            continue
        head = packed[:_HEAD]
        if few:
            if is_sound(packed):
                _add(found, packed)
            continue
        same = lanes.get(head)
        if same is None:
            if not is_sound(packed):
                continue
            same = lanes[head] = _Lanes(head, found)
        elif len(packed) > same.longest or (len(packed) - _HEAD) % same.size:
            continue
        same.add(packed)
    for same in lanes.values():
        same.flush()
    return found


def _add(found: dict[int, int], packed: bytes) -> None:
    counts = array(_CODES[packed[0]], packed[_HEAD:])
    if _IS_BIG:
        counts.byteswap()
    for bucket, count in enumerate(counts, int.from_bytes(packed[1:_HEAD], "little", signed=True)):
        if count:
            found[bucket] = found.get(bucket, 0) + count


class _Lanes:
    """Adds BLOBs of one head: all counts at once, as lanes of long integers, each twice as wide as an item."""

    __slots__ = ("_even", "_first", "_found", "_left", "_mask", "_odd", "_shift", "longest", "size")

    def __init__(self, head: bytes, found: dict[int, int]) -> None:
        self.size = head[0]
        self._first = int.from_bytes(head[1:_HEAD], "little", signed=True)
        self.longest = _HEAD + self.size * (_MOST_BUCKET - self._first)
        self._found = found
        self._shift, self._mask = 8 * self.size, _MASKS[self.size]
        self._even = self._odd = 0
        self._left = _MOST_ADDED

    def add(self, packed: bytes) -> None:
        counts = int.from_bytes(packed[_HEAD:], "little")
        self._even += counts & self._mask
        self._odd += counts >> self._shift & self._mask
        self._left -= 1
        if not self._left:
            self.flush()

    def flush(self) -> None:
        """Put the sums among what was found."""
        width, found = 2 * self.size, self._found
        for start, sums in ((self._first, self._even), (self._first + 1, self._odd)):
            lanes = sums.to_bytes((sums.bit_length() + 7) // 8 + width, "little")
            for place in range(0, len(lanes) - width, width):
                count = int.from_bytes(lanes[place : place + width], "little")
                if count:
                    bucket = start + place // self.size
                    found[bucket] = found.get(bucket, 0) + count
        self._even = self._odd = 0
        self._left = _MOST_ADDED


def is_sound(packed: bytes) -> bool:
    """Whether a writer can have written it, with counts in it."""
    size, counts = packed[:1], len(packed) - _HEAD
    if not size or size[0] not in _CODES or counts <= 0 or counts % size[0]:
        return False
    first = int.from_bytes(packed[1:_HEAD], "little", signed=True)
    return first >= -_MOST_BUCKET and first + counts // size[0] <= _MOST_BUCKET
