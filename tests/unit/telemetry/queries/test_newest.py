"""The newest calls that filters leave, beside the same question without blocks; and what is read for it."""

import random
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from llm_service.errors import QueryError
from llm_service.telemetry import InvocationRecord
from llm_service.telemetry.queries import newest
from llm_service.telemetry.queries.conditions import Condition
from llm_service.telemetry.queries.filters import InvocationFilter
from llm_service.telemetry.queries.newest import read_newest
from llm_service.telemetry.queries.questions import InvocationRow, invocations, to_invocations
from llm_service.telemetry.stores.base import Fetch, Query
from llm_service.telemetry.stores.block_names import BLOCK, COLUMNS, marks_of, name_mark
from llm_service.telemetry.stores.retention import Cutoffs
from llm_service.telemetry.stores.sqlite.batch_writer import SqliteBatchWriter
from llm_service.telemetry.stores.sqlite.opening import open_for_writing
from llm_service.telemetry.stores.sqlite.purge_steps import Purge
from llm_service.telemetry.stores.sqlite.reader import read
from llm_service.telemetry.stores.sqlite.record_blocks import blocks_in_need, write_blocks

START = datetime(2026, 11, 1, tzinfo=UTC)
MANY = 6_000
RARE = 1_234
"""The number of the call whose names no other has."""


def record_of(number: int, draw: random.Random) -> InvocationRecord:
    """A call a minute, some of them late; `seldom` is in one of 700, and `old` in the first third only."""
    name = "rare" if number == RARE else "seldom" if number % 700 == 9 else "old" if number < MANY // 3 else "new"
    late = timedelta(days=draw.random() * 3) if number % 97 == 0 else timedelta(0)
    return InvocationRecord(
        timestamp=START + timedelta(minutes=number) - late,
        agent_name=draw.choice(("a", "b", None)) if name == "new" else name,
        tool_name=None if number == 40 else name,
        model_name=name,
        request_model=name if number % 4 == 2 else None,
        provider=name if number % 2 else None,
        status="timeout" if number in (7, 3_000) else "error" if number % 20 == 0 else "success",
        error_type="RareError" if number == 77 else None,
        tags=[name, 'with "quotes"', "é"] if number % 3 == 0 else None,
        user_id=f"user-{number % 9}" if number % 5 == 0 else None,
    )


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of eleven full blocks and a part of one, in transactions of different lengths."""
    path = tmp_path_factory.mktemp("newest") / "telemetry.db"
    draw = random.Random(7)
    records = [record_of(number, draw) for number in range(MANY)]
    cuts = sorted({0, MANY, 1, 511, 512, 513, *(draw.randrange(MANY) for _ in range(30))})
    with closing(open_for_writing(path, 0)) as connection:
        writer = SqliteBatchWriter("tests", "metadata")
        for number, (start, end) in enumerate(pairwise(cuts), 1):
            writer.write(connection, records[start:end], batch_no=number, durable=False, slice_rows=50)
    return path


def noted(path: Path, narrowed: InvocationFilter, **asked: Any) -> tuple[list[InvocationRow], list[Query], list[str]]:
    """The answer, the queries that it took, and their plans."""
    queries: list[Query] = []

    def question(fetch: Fetch) -> tuple[list[InvocationRow], list[str]]:
        def noting(query: Query) -> Any:
            queries.append(query)
            return fetch(query)

        rows = read_newest(noting, narrowed, **asked)
        return rows, [str(fetch((f"EXPLAIN QUERY PLAN {sql}", bound))) for sql, bound in queries]

    rows, plans = read(path, question)
    return rows, queries, plans


def plainly(path: Path, narrowed: InvocationFilter, **asked: Any) -> list[InvocationRow]:
    """The same by one query of all calls."""
    return read(path, lambda fetch: to_invocations(fetch(invocations(narrowed, **asked))))


FILTERS: list[dict[str, Any]] = [
    *({column: name} for column in ("agent_name", "tool_name", "model_name") for name in ("rare", "seldom", "absent")),
    *(
        {"filters": f"{key}={name}"}
        for key in ("provider", "tag", "tool", "request_model")
        for name in ("rare", "seldom", "old", "none")
    ),
    {"tool_name": "new", "model_name": "old"},
    {"agent_name": "a", "filters": "provider=rare"},
    {"agent_name": "rare", "status": "success"},
    {"filters": "model=rare,seldom"},
    {"filters": "model=rare*"},
    {"filters": "model!=new"},
    {"filters": "model=seldom provider=none"},
    {"filters": "error_type=RareError"},
    {"filters": [Condition("tags", None, "=", ('with "quotes"',))], "tool_name": "seldom"},
    {"filters": "tag=é model=seldom"},
    {"filters": "tool=none"},
    {"status": "timeout"},
    {"status": "success", "tool_name": "rare"},
    {"failed": True, "tool_name": "seldom"},
    {"user_id": "user-3", "tool_name": "seldom"},
    {"filters": "user=user-3 tool=old"},
    {"tool_name": "seldom", "since": START + timedelta(days=1)},
    {"tool_name": "seldom", "until": START + timedelta(days=2)},
    {"tool_name": "old", "start_date": "2026-11-01", "end_date": "2026-11-01"},
    {"tool_name": "seldom", "since": START + timedelta(days=1), "until": START + timedelta(days=3)},
]


@pytest.fixture
def looks_at_few(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that this file is long beside what is looked at first."""
    monkeypatch.setattr(newest, "_LOOKED_AT", 50)
    monkeypatch.setattr(newest, "_LOOKED_AT_OF_AGENT", 20)


@pytest.mark.usefixtures("looks_at_few")
@pytest.mark.parametrize("filters", FILTERS)
def test_calls_are_those_of_plain_sql_page_by_page(stored: Path, filters: dict[str, Any]) -> None:
    """Whatever is common, seldom, rare or absent, and whenever records came."""
    narrowed = InvocationFilter(**filters)
    for limit in (1, 3, 100, 100_000):
        rows, _, _ = noted(stored, narrowed, limit=limit)
        assert rows == plainly(stored, narrowed, limit=limit)
        if len(rows) == limit:
            rest, _, _ = noted(stored, narrowed, limit=limit, before=rows[-1])
            assert rest == plainly(stored, narrowed, limit=limit, before=rows[-1])


@pytest.mark.usefixtures("looks_at_few")
@pytest.mark.parametrize("name", ["rare", "absent"])
@pytest.mark.parametrize(
    "filters", ["tool={}", "model={}", "request_model={}", "provider={}", "tag={}", "error_type={}"]
)
def test_a_rare_or_absent_name_is_looked_for_in_few_blocks(stored: Path, filters: str, name: str) -> None:
    """Each by its id, and nothing else is walked but the newest calls."""
    _, queries, plans = noted(stored, InvocationFilter(filters=filters.format(name)), limit=100)
    blocks = [plan for (sql, _), plan in zip(queries, plans, strict=True) if "NOT INDEXED" in sql]
    assert 1 <= len(blocks) <= 2  # the newest one, which is not full, and that of the name
    assert all("INTEGER PRIMARY KEY (rowid>? AND rowid<?)" in plan for plan in blocks), blocks
    others = [plan for plan in plans if plan not in blocks]
    walked = [plan for plan in others if "invocations" in plan and "timestamp>?" not in plan]
    assert not [plan for plan in walked if "SCAN invocations'" in plan], walked
    assert any("record_blocks USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)" in plan for plan in others)


@pytest.mark.usefixtures("looks_at_few")
def test_names_of_an_agent_are_found_by_its_index(stored: Path) -> None:
    """A rare agent needs no blocks, and a common one is walked by itself."""
    for agent in ("rare", "a"):
        _, queries, plans = noted(stored, InvocationFilter(agent_name=agent), limit=10)
        assert len(queries) == 1
        assert "idx_invocations_agent (agent_name=?)" in plans[0]
    _, _, plans = noted(stored, InvocationFilter(agent_name="a", tool_name="absent"), limit=10)
    assert "COVERING INDEX idx_invocations_agent (agent_name=?)" in plans[0]


@pytest.fixture
def changed(stored: Path, tmp_path: Path) -> Callable[..., Path]:
    """A copy of the file, changed by these statements."""

    def copy(*statements: str) -> Path:
        path = tmp_path / "copy.db"
        with closing(sqlite3.connect(stored)) as old, closing(sqlite3.connect(path)) as new:
            old.backup(new)
            for statement in statements:
                new.execute(statement)
            new.commit()
        return path

    return copy


@pytest.mark.usefixtures("looks_at_few")
@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM record_blocks",
        "DELETE FROM record_blocks WHERE block IN (2, 5)",
        "UPDATE record_blocks SET names = NULL",
        "UPDATE record_blocks SET names = 'text' WHERE block = 2",
        "UPDATE record_blocks SET last_timestamp = ',z,' WHERE block = 4",
        "INSERT INTO record_blocks VALUES (4000, '', ':', x'')",
        "DELETE FROM invocations WHERE id BETWEEN 100 AND 2000",
        "DELETE FROM invocations",
        "DELETE FROM invocations WHERE id > 1300",
        "UPDATE invocations SET timestamp = x'00' WHERE id % 1000 = 10",
        "UPDATE invocations SET tags = '[' WHERE id % 7 = 0",
        "INSERT INTO invocations (id, invocation_id, timestamp, status) VALUES (1 << 50, 'far', '2026-11-02', 'success')",
    ],
)
def test_blocks_without_a_row_or_with_another_are_read(
    changed: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, statement: str
) -> None:
    """As of an older file that is not gone through yet, after a purge, and where a hand has changed something."""
    path = changed(statement)
    if statement.startswith("UPDATE invocations SET timestamp"):  # by hand: then the rows are to be written anew
        with closing(open_for_writing(path, 0)) as connection:
            write_blocks(connection, [block for block, _ in blocks_in_need(connection)])
    for most in (newest._MOST_UNKNOWN, 1):
        monkeypatch.setattr(newest, "_MOST_UNKNOWN", most)
        for filters in FILTERS[:12]:
            narrowed = InvocationFilter(**filters)
            assert noted(path, narrowed, limit=20)[0] == plainly(path, narrowed, limit=20)


def rows_of_blocks(connection: sqlite3.Connection) -> list[tuple[Any, ...]]:
    """What is told of blocks."""
    return connection.execute("SELECT block, first_timestamp, last_timestamp, names FROM record_blocks").fetchall()


def test_each_full_block_has_a_row_and_the_newest_has_none(changed: Callable[..., Path]) -> None:
    """Written in the transaction that fills it; rows that are lost are written the same again."""
    with closing(open_for_writing(changed(), 0)) as connection:
        told = rows_of_blocks(connection)
        assert [row[0] for row in told] == [*range(MANY >> BLOCK)]
        assert not [*blocks_in_need(connection)]
        connection.execute("DELETE FROM record_blocks WHERE block = 3")
        connection.execute("UPDATE record_blocks SET names = x'' WHERE block = 2")
        connection.execute("UPDATE record_blocks SET last_timestamp = '' WHERE block = 1")
        connection.execute("UPDATE record_blocks SET names = NULL WHERE block = 0")  # says nothing wrong
        assert [*blocks_in_need(connection)] == [(3, False), (2, True), (1, True)]
        write_blocks(connection, range(4))
        assert sorted(rows_of_blocks(connection)) == told


def test_a_purge_drops_the_rows_of_blocks_that_are_gone(changed: Callable[..., Path]) -> None:
    """And where all are gone, ids are used again, and get rows of their own."""
    with closing(open_for_writing(changed(), 0)) as connection:
        for kept_since in ("2026-11-03", "2027-01-01"):
            purge = Purge(Cutoffs(kept_since, None), "me")
            while not purge.done:
                purge.step(connection)
            (first,) = connection.execute("SELECT min(id) >> 9 FROM invocations").fetchone()
            told = [row[0] for row in rows_of_blocks(connection)]
            assert told == ([] if first is None else [*range(first, MANY >> BLOCK)])
            assert not [*blocks_in_need(connection)]
        records = [record_of(number, random.Random(1)) for number in range(1_100)]
        SqliteBatchWriter("again", "metadata").write(connection, records, batch_no=1, durable=False, slice_rows=50)
        assert [row[0] for row in rows_of_blocks(connection)] == [0, 1]


def test_marks_tell_each_name_of_each_column() -> None:
    """And tags one by one; a list of tags that cannot be read may have any."""
    cells = [*(f"of {column}" for column in COLUMNS[:-1]), '["x", "y", 5]']
    marks = marks_of([cells, [None] * len(COLUMNS)])
    assert marks is not None
    for column, cell in zip(COLUMNS[:-1], cells, strict=False):
        assert name_mark(column, cell) in marks
        assert name_mark(column, None) in marks
    assert all(name_mark("tags", tag) in marks for tag in ("x", "y", None))
    assert marks_of([[None] * (len(COLUMNS) - 1) + ["[" * 100_000]]) in (None, marks_of([[None] * len(COLUMNS)]))
    assert marks_of([[f"{row} {column}" for column in COLUMNS] for row in range(512)]) is None


def test_what_no_call_can_have_is_refused(stored: Path) -> None:
    """As by `questions.invocations`."""
    for narrowed, limit in ((InvocationFilter(tool_name="x"), 0), (InvocationFilter(status="odd", tool_name="x"), 1)):
        with pytest.raises(QueryError):
            noted(stored, narrowed, limit=limit)
