"""Walking through stored calls: pages that miss and repeat nothing, newcomers, and single calls."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from llm_service.errors import QueryError, StoreError
from llm_service.telemetry import InvocationRecord, TelemetryLogger
from llm_service.telemetry.queries.filters import InvocationFilter
from llm_service.telemetry.queries.pages import find_invocation, newest_id, read_newer, read_pages
from llm_service.telemetry.queries.questions import InvocationRow
from llm_service.telemetry.stores.base import Query
from llm_service.telemetry.stores.sqlite.reader import read, reading

START = datetime(2026, 11, 20, 12, tzinfo=UTC)
ALL = InvocationFilter()


@pytest.fixture
def telemetry(tmp_path: Path) -> Iterator[TelemetryLogger]:
    """An open logger."""
    with TelemetryLogger(tmp_path / "telemetry.db") as logger:
        yield logger


def log(telemetry: TelemetryLogger, *seconds: int, **fields: Any) -> None:
    """Calls at so many seconds after START, in this order of arrival."""
    for second in seconds:
        telemetry.log_invocation(InvocationRecord(timestamp=START + timedelta(seconds=second), **fields))


def ids(pages: Iterator[list[InvocationRow]]) -> list[list[int]]:
    """Row numbers of each page."""
    return [[row["id"] for row in page] for page in pages]


@pytest.mark.parametrize("page_rows", [1, 2, 3, 4, 7, 8, 100])
def test_pages_hold_every_call_once_oldest_first(telemetry: TelemetryLogger, page_rows: int) -> None:
    """Also where many share one microsecond, and whatever the page's size."""
    log(telemetry, 5, 3, 3, 9, 3, 3, 1, 3)
    with reading(telemetry.db_path) as fetch:
        pages = ids(read_pages(fetch, ALL, page_rows))
    assert [number for page in pages for number in page] == [7, 2, 3, 5, 6, 8, 1, 4]
    assert all(len(page) == page_rows for page in pages[:-1])


def test_pages_end_with_what_was_stored_when_they_began(telemetry: TelemetryLogger) -> None:
    """A busy writer does not make a walk endless."""
    log(telemetry, *range(4))
    with reading(telemetry.db_path) as fetch:
        pages = read_pages(fetch, ALL, 2)
        first = next(pages)
        log(telemetry, 0, 50, 51, 52)
        assert [row["id"] for row in first] == [1, 2]
        assert ids(pages) == [[3, 4]]


def test_a_walk_holds_no_snapshot_between_two_pages(telemetry: TelemetryLogger) -> None:
    """The WAL can be truncated while somebody thinks about a page."""
    log(telemetry, *range(4))
    with reading(telemetry.db_path) as fetch:
        pages = read_pages(fetch, ALL, 2)
        next(pages)
        log(telemetry, 9)
        connection = sqlite3.connect(telemetry.db_path)
        assert connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone() == (0, 0, 0)
        connection.close()
        assert ids(pages) == [[3, 4]]


def test_a_page_inside_one_microsecond_searches_by_row_number(telemetry: TelemetryLogger) -> None:
    """So that a million calls of one moment cost as much as any others."""
    log(telemetry, *[1] * 5)
    asked: list[Query] = []
    with reading(telemetry.db_path) as fetch:

        def recording(query: Query) -> Any:
            asked.append(query)
            return fetch(query)

        list(read_pages(recording, ALL, 2))
        plans = [str(fetch((f"EXPLAIN QUERY PLAN {sql}", parameters))) for sql, parameters in asked[2:]]
    assert any("idx_invocations_timestamp (timestamp=? AND rowid>?" in plan for plan in plans)
    assert not any("TEMP B-TREE" in plan for plan in plans)


def test_newcomers_are_given_in_the_order_of_arrival(telemetry: TelemetryLogger) -> None:
    """Page by page, from the row after the one that was seen, through the last."""
    log(telemetry, 5, 4, 3, 2, 1, agent_name="a")
    with reading(telemetry.db_path) as fetch:
        assert newest_id(fetch) == 5
        assert ids(read_newer(fetch, ALL, 1, 4, page_rows=2)) == [[2, 3], [4]]
        assert ids(read_newer(fetch, InvocationFilter(agent_name="b"), 0, 5)) == []
        assert ids(read_newer(fetch, ALL, 5, 5)) == []
        assert ids(read_newer(fetch, ALL, 3, 5, page_rows=2)) == [[4, 5]]


def test_newcomers_are_found_by_row_number_whatever_the_filter(telemetry: TelemetryLogger) -> None:
    """A poll costs what has arrived, not what is stored."""
    asked: list[Query] = []

    def recording(query: Query) -> list[Any]:
        asked.append(query)
        return []

    list(read_newer(recording, InvocationFilter(agent_name="a", failed=True, since=START), 1, 2))
    with reading(telemetry.db_path) as fetch:
        ((*_, plan),) = fetch((f"EXPLAIN QUERY PLAN {asked[0][0]}", asked[0][1]))
    assert plan == "SEARCH invocations USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)"


def test_the_newest_of_an_empty_file_is_0(tmp_path: Path) -> None:
    """There is no row 0."""
    with reading(tmp_path / "absent.db") as fetch:
        assert newest_id(fetch) == 0
        assert ids(read_pages(fetch, ALL)) == []


def test_a_call_is_found_by_its_id_its_number_or_a_beginning(telemetry: TelemetryLogger) -> None:
    """The whole id counts most, then the number."""
    for name in ("abc-1", "abd-2", "1", "abc", "%x_"):
        telemetry.log_invocation(InvocationRecord(invocation_id=name))

    def found(wanted: str) -> int | None:
        row = read(telemetry.db_path, lambda fetch: find_invocation(fetch, wanted))
        return None if row is None else row["id"]

    assert found("abc-1") == 1
    assert found("abc") == 4
    assert found("abd") == 2
    assert found("1") == 3
    assert found("2") == 2
    assert found("%") == 5
    assert found("_") is None
    assert found("99") is None
    assert found("9" * 30) is None


def test_a_beginning_of_several_ids_names_them(telemetry: TelemetryLogger) -> None:
    """At most three, so that the message stays a line."""
    for number in range(9):
        telemetry.log_invocation(InvocationRecord(invocation_id=f"same-{number}"))
    with pytest.raises(QueryError, match=r"several ids begin so; give more of one: same-0, same-1, same-2, \.\.\."):
        read(telemetry.db_path, lambda fetch: find_invocation(fetch, "same"))


@pytest.mark.parametrize("wanted", ["", "x" * 201])
def test_what_is_no_id_is_refused(tmp_path: Path, wanted: str) -> None:
    """An empty beginning would be that of every id."""
    with pytest.raises(QueryError, match="give an invocation_id, the beginning of one, or the number"):
        read(tmp_path / "absent.db", lambda fetch: find_invocation(fetch, wanted))


def test_reading_after_the_last_writer_leaves_no_file_behind(tmp_path: Path) -> None:
    """Neither a -wal nor a -shm, and not a byte of the database changes."""
    with TelemetryLogger(tmp_path / "telemetry.db") as telemetry:
        log(telemetry, 1)
    before = telemetry.db_path.read_bytes()
    assert read(telemetry.db_path, newest_id) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["telemetry.db"]
    assert telemetry.db_path.read_bytes() == before


def test_reading_beside_a_writer_leaves_its_files_alone(telemetry: TelemetryLogger) -> None:
    """A WAL that waits to be copied back is not touched."""
    log(telemetry, 1)
    wal = telemetry.db_path.with_name("telemetry.db-wal")
    size = wal.stat().st_size
    assert size > 0
    assert read(telemetry.db_path, newest_id) == 1
    assert wal.stat().st_size == size
    log(telemetry, 2)
    assert read(telemetry.db_path, newest_id) == 2


def test_nothing_can_be_written_through_a_reading_connection(tmp_path: Path) -> None:
    """Though the file is opened for writing, so that its close may tidy up."""
    with TelemetryLogger(tmp_path / "telemetry.db") as telemetry:
        log(telemetry, 1)
    with (
        pytest.raises(StoreError, match="attempt to write a readonly database"),
        reading(telemetry.db_path) as fetch,
    ):
        fetch(("DELETE FROM invocations", []))
    assert read(telemetry.db_path, newest_id) == 1


@pytest.mark.parametrize("stored", ["CAST(timestamp AS BLOB)", "CAST(x'ff' || timestamp AS TEXT)", "'no moment'"])
def test_pages_go_on_from_a_timestamp_as_it_is_stored(stored: str, tmp_path: Path) -> None:
    """Each call once, whatever bytes a page ends on."""
    path = tmp_path / "telemetry.db"
    with TelemetryLogger(path) as logger:
        for _ in range(25):
            logger.log_invocation_nowait(InvocationRecord())
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(f"UPDATE invocations SET timestamp = {stored}")
    with reading(path) as fetch:
        pages = list(islice(read_pages(fetch, InvocationFilter(), page_rows=4), 20))
    assert sorted(row["id"] for page in pages for row in page) == list(range(1, 26))
