"""Which b-tree each page of a file belongs to, where the ways to tell may be damaged.

Two ways lead there, and each is believed as far as it makes sense. The pointer map (section 1.8 of SQLite's file
format) says of each page what it is and who points to it, from the page up. The b-trees themselves, from the roots that
the schema names, lead down to every page of theirs. Entries of the map that no SQLite writes say nothing; they do not
say that a page is free. What was deleted stays deleted where the map, or the list of free pages, can be read.
"""

import struct
from array import array
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

__all__ = ["INDEX_INTERIOR", "INDEX_LEAF", "TABLE_LEAF", "Pages", "Source", "start_of"]

TABLE_LEAF: Final = 0x0D
TABLE_INTERIOR: Final = 0x05
INDEX_LEAF: Final = 0x0A
INDEX_INTERIOR: Final = 0x02
"""The entries of an index, which are the rows of a table without rowids, stand on its interior pages, too."""
_WITH_ROWS: Final = frozenset({TABLE_LEAF, INDEX_LEAF, INDEX_INTERIOR})
_FAMILIES: Final = (frozenset({TABLE_LEAF, TABLE_INTERIOR}), frozenset({INDEX_LEAF, INDEX_INTERIOR}))
_ROOT: Final = 1
_FREE: Final = 2
_BTREE: Final = 5
_NOWHERE: Final = 0
_PENDING_BYTE: Final = 0x40000000
"""The page that holds this byte is never used: locks live there."""
_MOST_DEPTH: Final = 40


@dataclass(frozen=True, slots=True)
class Source:
    """The pages of a private copy.

    Attributes:
        overlay: newer pages by number, out of its WAL.
        size: bytes of a page.
        usable: those that SQLite uses.
        has_pointer_map: whether the file says of each page what it is (auto_vacuum, as ours have).
    """

    path: Path
    overlay: Mapping[int, bytes]
    size: int
    usable: int
    count: int
    has_pointer_map: bool


class Pages:
    """Reads pages, and what the file says about them.

    Args:
        roots: of the tables and indexes, as far as they are known.

    Attributes:
        usable: bytes of a page that SQLite uses.
        broken: roots from which not every page of their trees can be reached.
    """

    def __init__(self, source: Source, file: BinaryIO, roots: Iterable[int] = ()) -> None:
        self._source = source
        self.usable = source.usable
        self._file = file
        self._roots = frozenset(roots) | {1}
        self._reached = array("I", bytes(4 * (source.count + 1)))
        self.broken = {root for root in sorted(self._roots) if not self._descend(root)}

    def get(self, number: int) -> bytes:
        """A page's bytes, zeros where the file has none."""
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
            kind = self.get(number)[start_of(number)]
            # What is on a page that is in no b-tree was deleted, and stays so.
            if kind in _WITH_ROWS and number not in free and self.owner(number) != _NOWHERE:
                yield number, kind

    def owner(self, number: int) -> int | None:
        """The root of the b-tree that this page is part of; None where it is not known, `_NOWHERE` for no b-tree."""
        reached = self._reached[number] or None
        if not self._source.has_pointer_map:
            return 1 if number == 1 else reached
        for _ in range(_MOST_DEPTH):
            if number in self._roots:
                return number
            pointer = self._pointer(number)
            if pointer is None:
                break
            kind, parent = pointer
            if kind == _ROOT:
                return number
            if kind == _FREE:
                return _NOWHERE
            if kind != _BTREE:
                return reached or _NOWHERE
            number = parent
        return reached or self._reached[number] or None

    def _descend(self, root: int) -> bool:
        """Note whose the pages below a root are; whether the tree is whole."""
        family = next((kinds for kinds in _FAMILIES if self._kind(root) in kinds), None)
        if family is None:
            return False
        whole, waiting = True, [root]
        while waiting:
            number = waiting.pop()
            if self._kind(number) not in family or self._reached[number]:
                whole = False
                continue
            self._reached[number] = root
            if self._kind(number) in _WITH_ROWS - {INDEX_INTERIOR}:
                continue
            children = self._children(number)
            inside = [child for child in children if 1 < child <= self._source.count]
            whole = whole and len(inside) == len(children) > 0
            waiting += inside
        return whole

    def _kind(self, number: int) -> int:
        return self.get(number)[start_of(number)]

    def _children(self, number: int) -> list[int]:
        """The pages that an interior page points to; none where it cannot be one."""
        page, start = self.get(number), start_of(number)
        (count,) = struct.unpack_from(">H", page, start + 3)
        if start + 12 + 2 * count > self.usable:
            return []
        found = [*struct.unpack_from(">I", page, start + 8)]
        for at in struct.unpack_from(f">{count}H", page, start + 12):
            if at + 4 > self.usable:
                return []
            found += struct.unpack_from(">I", page, at)
        return found

    def _pointer(self, number: int) -> tuple[int, int] | None:
        """What the pointer map says of a page: its kind, and what points to it; None where it makes no sense."""
        usable, count = self._source.usable, self._source.count
        group = usable // 5 + 1
        at = (number - 2) // group * group + 2
        if at == _PENDING_BYTE // self._source.size + 1:
            at += 1
        if number <= at:  # it is of the map
            return (_FREE, 0) if self._kind(number) not in {TABLE_LEAF, INDEX_LEAF} else None
        kind, parent = struct.unpack_from(">BI", self.get(at), 5 * (number - at - 1))
        if kind in {_ROOT, _FREE}:
            return (kind, parent) if parent == 0 else None
        return (kind, parent) if _FREE < kind <= _BTREE and 1 <= parent <= count else None

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


def start_of(number: int) -> int:
    """Where a page's own header begins: the first page has the file's before it."""
    return 100 if number == 1 else 0
