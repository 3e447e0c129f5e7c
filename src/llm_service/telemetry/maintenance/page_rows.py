"""Rows straight from the pages of a file, where the way to them through the b-tree is damaged.

The layout is SQLite's published file format (sqlite.org/fileformat2.html): sections 1.3 (header), 1.6 (b-tree pages and
cells), 1.8 (pointer map) and 2.1 (records). Read-only, and only of private copies.
"""

import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple

__all__ = ["Cell", "PageFile", "UnreadableCellError", "Wanted"]

_TABLE_LEAF: Final = 0x0D
_INDEX_LEAF: Final = 0x0A
_INDEX_INTERIOR: Final = 0x02
"""The entries of an index, which are the rows of a table without rowids, stand on its interior pages, too."""
_WITH_ROWS: Final = frozenset({_TABLE_LEAF, _INDEX_LEAF, _INDEX_INTERIOR})
_ROOT: Final = 1
_BTREE: Final = 5
_NOWHERE: Final = 0
_MOST_BYTES: Final = 1 << 30
_DEFAULT_PAGE: Final = 4096
_PENDING_BYTE: Final = 0x40000000
"""The page that holds this byte is never used: locks live there."""
_INTEGER_BYTES: Final = (0, 1, 2, 3, 4, 6, 8)
_MOST_DEPTH: Final = 40


Wanted = Callable[[str | None, int], bool]


class UnreadableCellError(ValueError):
    """These bytes are no cell."""


class Cell(NamedTuple):
    """One row: `values` are of all columns, the rowid's own column being None."""

    page: int
    rowid: int
    values: list[Any]


@dataclass(frozen=True, slots=True)
class PageFile:
    """The pages of a private copy.

    Attributes:
        path: the copy.
        overlay: newer pages by number, out of its WAL.
        size: bytes of a page.
        usable: those that SQLite uses.
        count: pages.
        has_pointer_map: whether the file says of each page what it is (auto_vacuum, as ours have).
    """

    path: Path
    overlay: Mapping[int, bytes]
    size: int
    usable: int
    count: int
    has_pointer_map: bool

    @classmethod
    def of(cls, path: Path, overlay: Mapping[int, bytes] | None = None) -> "PageFile":
        """Read what the header says; where that is damaged too, what our files have."""
        with path.open("rb") as file:
            header = file.read(100)
        newer = overlay or {}
        header = newer.get(1, header)[:100].ljust(100, b"\0")
        (size,) = struct.unpack_from(">H", header, 16)
        size = 65536 if size == 1 else size
        sound = header.startswith(b"SQLite format 3\0") and size >= 512 and size & (size - 1) == 0
        if not sound:
            size = len(next(iter(newer.values()), b"")) or _DEFAULT_PAGE
        reserved = header[20] if sound else 0
        count = max(path.stat().st_size // size, max(newer, default=0))
        return cls(path, newer, size, size - reserved, count, not sound or header[52:56] != b"\0\0\0\0")

    def schema(self) -> dict[int, str]:
        """Tables by their root page, as far as `sqlite_schema` can be read."""
        with self.path.open("rb") as file:
            pages = _Pages(self, file)
            found: dict[int, str] = {}
            for number, kind in pages.kinds():
                if kind == _TABLE_LEAF and pages.owner(number) in {1, None}:
                    for cell in _cells(number, pages, _anything):
                        if len(cell.values) == 5 and cell.values[0] == "table" and isinstance(cell.values[3], int):
                            found[cell.values[3]] = str(cell.values[1])
            return found

    def rows(self, roots: Mapping[int, str], wanted: Wanted) -> Iterator[tuple[str | None, Cell]]:
        """Every row that can be read on a page in use.

        Args:
            roots: tables by root page.
            wanted: told table and rowid; False saves the reading of a row. Not asked for tables without rowids.

        Yields:
            The table, or None where nothing says which; and the row. Rows of tables without rowids have rowid 0.
        """
        with self.path.open("rb") as file:
            pages = _Pages(self, file)
            for number, kind in pages.kinds():
                owner = pages.owner(number)
                table = None if owner is None else roots.get(owner)
                if kind == _TABLE_LEAF:
                    for cell in _cells(number, pages, partial(wanted, table)):
                        yield table, cell
                elif table is not None:  # an index of another kind is no table
                    for cell in _cells(number, pages, _anything):
                        yield table, cell


def _anything(_: int) -> bool:
    return True


class _Pages:
    """Reads pages, and what the file says about them."""

    def __init__(self, source: PageFile, file: BinaryIO) -> None:
        self._source = source
        self.usable = source.usable
        self._file = file

    def get(self, number: int) -> bytes:
        source = self._source
        if number in source.overlay:
            return source.overlay[number]
        if not 1 <= number <= source.count:
            return bytes(source.size)
        self._file.seek((number - 1) * source.size)
        return self._file.read(source.size).ljust(source.size, b"\0")

    def kinds(self) -> Iterator[tuple[int, int]]:
        """Number and kind of each page in use that holds rows or index entries."""
        free: set[int] = set() if self._source.has_pointer_map else self._free_pages()
        for number in range(1, self._source.count + 1):
            kind = self.get(number)[_start(number)]
            # What is on a page that is in no b-tree was deleted, and stays so.
            if kind in _WITH_ROWS and number not in free and self.owner(number) != _NOWHERE:
                yield number, kind

    def owner(self, number: int) -> int | None:
        """The root of the b-tree that this page is part of; None where it is not known, `_NOWHERE` for no b-tree."""
        if not self._source.has_pointer_map:
            return 1 if number == 1 else None
        for _ in range(_MOST_DEPTH):
            if number == 1:
                return 1
            kind, parent = self._pointer(number)
            if kind == _ROOT:
                return number
            if kind != _BTREE:
                return _NOWHERE
            if not 1 <= parent <= self._source.count:
                return None
            number = parent
        return None

    def _pointer(self, number: int) -> tuple[int, int]:
        usable = self._source.usable
        group = usable // 5 + 1
        at = (number - 2) // group * group + 2
        if at == _PENDING_BYTE // self._source.size + 1:
            at += 1
        if number <= at:
            return 0, 0
        kind, parent = struct.unpack_from(">BI", self.get(at), 5 * (number - at - 1))
        return kind, parent

    def _free_pages(self) -> set[int]:
        """The pages of the freelist."""
        (trunk,) = struct.unpack_from(">I", self.get(1), 32)
        free: set[int] = set()
        while trunk and trunk not in free and trunk <= self._source.count:
            free.add(trunk)
            page = self.get(trunk)
            trunk, leaves = struct.unpack_from(">II", page)
            leaves = min(leaves, self._source.usable // 4 - 2)
            free.update(struct.unpack_from(f">{leaves}I", page, 8))
        return free


def _start(number: int) -> int:
    """Where a page's own header begins: the first page has the file's before it."""
    return 100 if number == 1 else 0


def _cells(number: int, pages: _Pages, wanted: Callable[[int], bool]) -> Iterator[Cell]:
    """The rows of a page that can be read; the others are passed over."""
    page, start = pages.get(number), _start(number)
    kind = page[start]
    head = 12 if kind == _INDEX_INTERIOR else 8
    (count,) = struct.unpack_from(">H", page, start + 3)
    count = min(count, (pages.usable - start - head) // 2)
    for at in struct.unpack_from(f">{count}H", page, start + head):
        try:
            length, body = _varint(page, at + 4 if kind == _INDEX_INTERIOR else at)
            rowid = 0
            if kind == _TABLE_LEAF:
                rowid, body = _varint(page, body)
                if not wanted(rowid):
                    continue
            yield Cell(number, rowid, _values(_payload(page, body, length, kind, pages)))
        except (UnreadableCellError, IndexError, struct.error, UnicodeDecodeError):
            continue


def _payload(page: bytes, at: int, length: int, kind: int, pages: _Pages) -> bytes:
    """A cell's bytes, those on overflow pages included (section 1.6 says how many stay on the page)."""
    usable = pages.usable
    most = usable - 35 if kind == _TABLE_LEAF else (usable - 12) * 64 // 255 - 23
    local = length
    if length > most:
        least = (usable - 12) * 32 // 255 - 23
        local = least + (length - least) % (usable - 4)
        local = local if local <= most else least
    if not 0 < length <= _MOST_BYTES or at + local > usable:
        raise UnreadableCellError
    payload = page[at : at + local]
    if local < length:
        (following,) = struct.unpack_from(">I", page, at + local)
        payload += _overflow(following, length - local, pages)
    return payload


def _overflow(number: int, length: int, pages: _Pages) -> bytes:
    parts: list[bytes] = []
    seen: set[int] = set()
    while length > 0:
        if number == 0 or number in seen:
            raise UnreadableCellError
        seen.add(number)
        page = pages.get(number)
        (number,) = struct.unpack_from(">I", page)
        parts.append(page[4 : 4 + min(length, pages.usable - 4)])
        length -= len(parts[-1])
    return b"".join(parts)


def _values(payload: bytes) -> list[Any]:
    end, at = _varint(payload, 0)
    values: list[Any] = []
    body = end
    if not 0 < end <= len(payload):
        raise UnreadableCellError
    while at < end:
        kind, at = _varint(payload, at)
        value, body = _value(payload, body, kind)
        values.append(value)
    if body != len(payload) or at != end:
        raise UnreadableCellError
    return values


def _value(payload: bytes, at: int, kind: int) -> tuple[Any, int]:
    if kind == 0:
        return None, at
    if kind in {8, 9}:
        return kind - 8, at
    if kind <= 6:
        end = at + _INTEGER_BYTES[kind]
        return int.from_bytes(payload[at:end], "big", signed=True), end
    if kind == 7:
        return struct.unpack_from(">d", payload, at)[0], at + 8
    if kind < 12:
        raise UnreadableCellError
    end = at + (kind - 12) // 2
    raw = payload[at:end]
    return (raw.decode() if kind % 2 else raw), end


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """A big-endian number of 7 bits a byte, nine bytes at most; the ninth has 8 bits. Signed, as rowids are."""
    number = 0
    for place in range(8):
        byte = data[at + place]
        number = number << 7 | byte & 0x7F
        if byte < 0x80:
            return number, at + place + 1
    number = number << 8 | data[at + 8]
    return (number - (1 << 64) if number >= 1 << 63 else number), at + 9
