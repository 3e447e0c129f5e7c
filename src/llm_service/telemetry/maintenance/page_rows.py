"""Rows straight from the pages of a file, where the way to them through the b-tree is damaged.

The layout is SQLite's published file format (sqlite.org/fileformat2.html): sections 1.3 (header), 1.6 (b-tree pages and
cells) and 2.1 (records). Read-only, and only of private copies.
"""

import struct
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

from llm_service.telemetry.maintenance.page_owners import INDEX_INTERIOR, TABLE_LEAF, Pages, Source, start_of

__all__ = ["Cell", "PageFile", "Schema", "UnreadableCellError", "Wanted"]

_MOST_BYTES: Final = 1 << 30
_DEFAULT_PAGE: Final = 4096
_INTEGER_BYTES: Final = (0, 1, 2, 3, 4, 6, 8)


Wanted = Callable[[str | None, int], bool]


class UnreadableCellError(ValueError):
    """These bytes are no cell."""


class Cell(NamedTuple):
    """One row: `values` are of all columns, the rowid's own column being None."""

    page: int
    rowid: int
    values: list[Any]


class PageFile(Source):
    """The pages of a private copy, and what can be read on them."""

    __slots__ = ()

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

    def schema(self) -> "Schema":
        """What is where, as far as `sqlite_schema` can be read."""
        with self.path.open("rb") as file:
            pages = Pages(self, file)
            found = Schema({}, set())
            for number, kind in pages.kinds():
                if kind == TABLE_LEAF and pages.owner(number) in {1, None}:
                    for cell in _cells(number, pages, _anything):
                        if cell is None or len(cell.values) != 5 or not isinstance(cell.values[3], int):
                            continue
                        if cell.values[0] == "table":
                            found.tables[cell.values[3]] = str(cell.values[1])
                        elif cell.values[0] == "index":
                            found.indexes.add(cell.values[3])
            return found

    def rows(self, schema: "Schema", wanted: Wanted, whole: set[str]) -> Iterator[tuple[str | None, Cell]]:
        """Every row that can be read on a page in use, those first of which it is known whose they are.

        Args:
            wanted: told table and rowid; False saves the reading of a row. Not asked for tables without rowids.
            whole: gets the names of tables of which every page and every row could be read, at the end.

        Yields:
            The table, or None where nothing says which; and the row. Rows of tables without rowids have rowid 0.
        """
        with self.path.open("rb") as file:
            pages = Pages(self, file, {*schema.tables, *schema.indexes})
            broken: set[str | None] = {schema.tables.get(root) for root in pages.broken}
            unknown: list[tuple[int, int]] = []
            for number, kind in pages.kinds():
                owner = pages.owner(number)
                table = None if owner is None else schema.tables.get(owner)
                if owner is None:
                    unknown.append((number, kind))
                    continue
                for cell in _rows_on(number, kind, table, pages, wanted):
                    if cell is None:
                        broken.add(table)
                    else:
                        yield table, cell
            whole.update(name for name in schema.tables.values() if name not in broken)
            for number, kind in unknown:
                for cell in _rows_on(number, kind, None, pages, wanted):
                    if cell is not None:
                        yield None, cell


class Schema(NamedTuple):
    """Root pages: the names of tables by root, and the roots of indexes."""

    tables: dict[int, str]
    indexes: set[int]


def _rows_on(number: int, kind: int, table: str | None, pages: Pages, wanted: Wanted) -> Iterator[Cell | None]:
    if kind == TABLE_LEAF:
        yield from _cells(number, pages, partial(wanted, table))
    elif table is not None:  # an index of another kind is no table
        yield from _cells(number, pages, _anything)


def _anything(_: int) -> bool:
    return True


def _cells(number: int, pages: Pages, wanted: Callable[[int], bool]) -> Iterator[Cell | None]:
    """The rows of a page; None for each that cannot be read."""
    page, start = pages.get(number), start_of(number)
    kind = page[start]
    head = 12 if kind == INDEX_INTERIOR else 8
    (count,) = struct.unpack_from(">H", page, start + 3)
    most = (pages.usable - start - head) // 2
    if count > most:
        count = most
        yield None
    for at in struct.unpack_from(f">{count}H", page, start + head):
        try:
            length, body = _varint(page, at + 4 if kind == INDEX_INTERIOR else at)
            rowid = 0
            if kind == TABLE_LEAF:
                rowid, body = _varint(page, body)
                if not wanted(rowid):
                    continue
            yield Cell(number, rowid, _values(_payload(page, body, length, kind, pages)))
        except (UnreadableCellError, IndexError, struct.error, UnicodeDecodeError):
            yield None


def _payload(page: bytes, at: int, length: int, kind: int, pages: Pages) -> bytes:
    """A cell's bytes, those on overflow pages included (section 1.6 says how many stay on the page)."""
    usable = pages.usable
    most = usable - 35 if kind == TABLE_LEAF else (usable - 12) * 64 // 255 - 23
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


def _overflow(number: int, length: int, pages: Pages) -> bytes:
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
