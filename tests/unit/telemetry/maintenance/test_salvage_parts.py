"""The parts of salvage: bisection, pages, WAL frames, and telling a row that was written from one that was not."""

import sqlite3
import struct
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_service.telemetry.maintenance import (
    page_owners,
    page_rows,
    private_copy,
    row_bisection,
    table_shapes,
    wal_frames,
)
from llm_service.telemetry.maintenance import recovery as recovering
from llm_service.telemetry.maintenance.check_session import side_file


def test_a_torn_or_foreign_wal_is_read_as_far_as_it_is_whole(tmp_path: Path) -> None:
    """Frames count up to the first wrong one, transactions when they are complete."""
    path = tmp_path / "x.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as writer:
        writer.execute("PRAGMA journal_mode = WAL")
        writer.execute("CREATE TABLE t (x)")
        writer.execute("INSERT INTO t VALUES (zeroblob(20000))")
        wal = tmp_path / "wal"
        whole = side_file(path, "-wal").read_bytes()
    wal.write_bytes(whole)
    everything = wal_frames.overlay_of(wal)
    assert 1 in everything
    assert len(everything) > 5
    wal.write_bytes(whole[:-100])
    assert set(wal_frames.overlay_of(wal)) == {1, 2}
    torn = bytearray(whole)
    torn[32 + 24 + 100] ^= 1
    for content in (
        bytes(torn),
        whole[:20],
        b"\0" * 64,
        whole[:8] + b"\0\0\0\7" + whole[12:],
        whole[:24] + b"12345678",
    ):
        wal.write_bytes(content)
        assert wal_frames.overlay_of(wal) == {}


class _Stopping:
    """A connection whose reads stop at some rowids, as those of a damaged file do."""

    def __init__(self, rows: list[int], bad: range, garbage: int | None = None) -> None:
        self.rows, self.bad, self.garbage = rows, bad, garbage
        self.queries = 0

    def execute(self, sql: str, parameters: tuple[int, ...] = ()) -> Any:
        """Rows from a rowid on."""
        self.queries += 1
        found = self._from(parameters[0])
        if "LIMIT 1" not in sql:
            return found
        first = list(next(found, ()))
        return type("Cursor", (), {"fetchone": lambda _: first})()

    def _from(self, start: int) -> Iterator[tuple[int]]:
        for row in (row for row in self.rows if row >= start):
            if row in self.bad or start in self.bad:
                if self.garbage is not None:
                    yield (self.garbage,)
                raise sqlite3.DatabaseError("malformed")
            yield (row,)
        if self.bad and max(self.rows, default=0) in self.bad and start > max(self.rows):
            raise sqlite3.DatabaseError("malformed")


def test_bisection_finds_where_a_table_goes_on_in_few_queries() -> None:
    """About sixty for each gap."""
    connection: Any = _Stopping(list(range(1, 1000)), range(400, 412))
    found = [row and row[0] for row in row_bisection.by_rowid(connection, "t", ["x"])]
    assert found == [*range(1, 400), None, *range(412, 1000)]
    assert connection.queries < 100


@pytest.mark.parametrize("garbage", [-5, 3, 10**9])
def test_rowids_that_a_damaged_page_makes_up_end_the_reading_all_the_same(garbage: int) -> None:
    """They lead neither back nor round."""
    connection: Any = _Stopping(list(range(1, 100)), range(40, 50), garbage)
    found = [row and row[0] for row in row_bisection.by_rowid(connection, "t", ["x"])]
    assert found[:39] == list(range(1, 40))


def test_a_damaged_end_ends_the_reading() -> None:
    """There is nothing to go on with."""
    connection: Any = _Stopping(list(range(1, 100)), range(90, 100))
    assert [row and row[0] for row in row_bisection.by_rowid(connection, "t", ["x"])] == [*range(1, 90), None]


def test_rows_of_no_known_table_are_told_by_their_shape() -> None:
    """A call fits one table only; what fits none is left."""
    row: list[Any] = [None, "id", "2026-03-01 00:00:00.000000Z", *(None,) * 8, "success", *(None,) * 29]
    for there in (row, row[:-1], row[:-3]):  # as earlier versions wrote it, without the columns that were added
        assert [table.name for table in recovering.by_shape(there)] == ["invocations"]
    assert recovering.by_shape(row[:-2]) == recovering.by_shape(row[:-4]) == []
    row[11] = "odd"
    assert recovering.by_shape(row) == []


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("invocation_id", None), ("invocation_id", ""), ("invocation_id", "x" * 201), ("timestamp", "today"),
        ("status", "odd"), ("prompt_tokens", -1), ("cost_usd", float("inf")), ("agent_name", b"\xff"),
        ("latency_ms", "7"),
    ],
)  # fmt: skip
def test_a_value_that_cannot_have_been_written_is_told_from_one_that_can(column: str, value: Any) -> None:
    """By type, shape and range."""
    table = table_shapes.tables()["invocations"]
    row: dict[str, Any] = dict.fromkeys(table.columns) | {
        "id": 1, "invocation_id": "i", "timestamp": "2026-03-01 00:00:00.000000Z", "status": "success",
    }  # fmt: skip
    assert table_shapes.problem_of(table, list(row.values())) is None
    assert table_shapes.problem_of(table, list((row | {column: value}).values())) == column


@given(data=st.binary(min_size=512, max_size=512))
@settings(max_examples=200, deadline=None)
def test_no_page_whatever_is_on_it_stops_the_reading(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    """Cells that make no sense are passed over."""
    path = tmp_path_factory.getbasetemp() / "page.db"
    for kind in (b"\x0d", b"\x0a", b"\x02"):
        path.write_bytes(bytes(100) + kind + data[101:] + kind + data[1:])
        source = page_rows.PageFile(path, {}, 512, 512, 2, has_pointer_map=False)
        for roots in ({1: "t"}, {2: "t"}, {}):
            schema = page_rows.Schema(roots, {2} - set(roots))
            assert all(len(cell.values) >= 0 for _, cell in source.rows(schema, lambda *_: True, set()))
        source.schema()


@pytest.mark.parametrize(
    ("entries", "owner"),
    [
        ({3: (5, 4), 4: (1, 0)}, 4),
        ({3: (5, 1)}, 1),
        ({3: (5, 99)}, None),
        ({3: (5, 4), 4: (5, 3)}, None),
        ({3: (2, 0)}, 0),
        ({3: (3, 4)}, 0),
        ({3: (4, 4)}, 0),
        ({}, None),
        ({3: (2, 7)}, None),
        ({3: (1, 4)}, None),
        ({3: (6, 4)}, None),
        ({3: (5, 0)}, None),
        ({3: (5, 4)}, None),
    ],
)
def test_a_page_belongs_to_the_root_that_its_parents_lead_to(
    tmp_path: Path, entries: dict[int, tuple[int, int]], owner: int | None
) -> None:
    """None where they lead nowhere or round, or make no sense; 0 for a page that is in no b-tree."""
    pointers = bytearray(1024)
    for number, (kind, parent) in entries.items():
        struct.pack_into(">BI", pointers, 5 * (number - 3), kind, parent)
    empty = tmp_path / "empty"
    empty.touch()
    source = page_rows.PageFile(empty, {2: bytes(pointers)}, 1024, 1024, 9, has_pointer_map=True)
    with empty.open("rb") as file:
        assert page_owners.Pages(source, file).owner(3) == owner
        assert page_owners.Pages(source, file).owner(2) == 0  # the pointer map itself


def test_the_pointer_map_gives_way_to_the_page_where_locks_live(tmp_path: Path) -> None:
    """At 1 GiB; with pages of 1,024 bytes the two would fall together."""
    lock_page = 0x40000000 // 1024 + 1
    pointers = b"\1\0\0\0\0".ljust(1024, b"\0")
    empty = tmp_path / "empty"
    empty.touch()
    source = page_rows.PageFile(empty, {lock_page + 1: pointers}, 1024, 1024, lock_page + 9, has_pointer_map=True)
    with empty.open("rb") as file:
        assert page_owners.Pages(source, file).owner(lock_page + 2) == lock_page + 2


def test_the_header_tells_the_size_of_pages_and_a_bad_one_is_guessed(tmp_path: Path) -> None:
    """From the WAL where there is one, else what ours have."""
    path = tmp_path / "x.db"
    for size in (1024, 65536):
        path.unlink(missing_ok=True)
        with closing(sqlite3.connect(path)) as connection:
            connection.execute(f"PRAGMA page_size = {size}")
            connection.execute("CREATE TABLE t (x)")
        found = page_rows.PageFile.of(path)
        assert (found.size, found.usable, found.count, found.has_pointer_map) == (size, size, 2, False)
    path.write_bytes(bytes(8192))
    assert page_rows.PageFile.of(path).size == 4096
    assert page_rows.PageFile.of(path, {5: bytes(1024)}).count == 8
    assert page_rows.PageFile.of(path, {99: bytes(1024)}).count == 99


def test_a_schema_that_sqlite_cannot_read_leaves_the_rows_to_the_pages() -> None:
    """Nothing comes through SQLite then, and nothing is raised."""

    class Damaged:
        def execute(self, *_: object) -> None:
            raise sqlite3.DatabaseError("malformed")

    damaged: Any = Damaged()
    recovery = recovering.Recovery(private_copy.PrivateCopy(page_rows.PageFile(Path(), {}, 512, 512, 0, True), None))
    assert list(recovery._through_sqlite(damaged, table_shapes.tables()["invocations"])) == []
