"""Rows of `record_blocks`, written from what was inserted: in no history do they lack what is in their block."""

import sqlite3
from contextlib import closing, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_service.telemetry import InvocationRecord
from llm_service.telemetry.stores.block_names import BLOCK
from llm_service.telemetry.stores.sqlite import block_writer
from llm_service.telemetry.stores.sqlite.batch_writer import SqliteBatchWriter
from llm_service.telemetry.stores.sqlite.opening import open_for_writing
from llm_service.telemetry.stores.sqlite.record_blocks import blocks_in_need, summary_of

SIZE = 1 << BLOCK
TRIGGER = """
CREATE TRIGGER picky BEFORE INSERT ON invocations WHEN NEW.model_name = 'unwanted' BEGIN SELECT RAISE(IGNORE); END
"""


def batch_of(start: int, length: int, who: str) -> list[InvocationRecord]:
    """Each with names of its own, in columns that not every record uses."""
    return [
        InvocationRecord(
            agent_name=None if number % 5 == 0 else f"{who}-{number % 40}",
            model_name="unwanted" if number % 11 == 0 else "m",
            tags=[f"t{number % 6}"] if number % 3 == 0 else None,
            provider=f"p{number // 50}" if number % 2 else None,
            error_message="x" if number % 17 == 0 else None,
            status="error" if number % 17 == 0 else "success",
        )
        for number in range(start, start + length)
    ]


class History:
    """Two writers of one file, and what else happens to it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.number = 0
        self.connections = [open_for_writing(path, 0) for _ in "ab"]
        self.writers = [SqliteBatchWriter(name, "metadata") for name in "ab"]

    def write(self, who: int, length: int, slice_rows: int = 50, within: Any = None) -> None:
        """A batch of one of them."""
        self.number += 1
        batch = batch_of(self.number * 1_000, length, "ab"[who])
        self.writers[who].write(
            self.connections[who], batch, batch_no=self.number, durable=False, slice_rows=slice_rows, within=within
        )

    def fail(self, who: int, length: int, _: int = 0) -> None:
        """A batch that is rolled back after its inserts."""

        def stop() -> None:
            raise InterruptedError

        with suppress(InterruptedError):
            self.write(who, length, within=stop)

    def again(self, who: int, length: int, _: int = 0) -> None:
        """A batch with records that are there already."""
        batch = batch_of(0, min(length, 60), "ab"[who])
        for _ in range(2):
            self.number += 1
            self.writers[who].write(self.connections[who], batch, batch_no=self.number, durable=False, slice_rows=50)

    def delete(self, _: int, length: int, __: int = 0) -> None:
        """The newest records go, and their ids are used again."""
        self._by_hand(f"DELETE FROM invocations WHERE id > (SELECT max(id) FROM invocations) - {length}")

    def forbid(self, _: int, __: int, ___: int = 0) -> None:
        """From now on a trigger keeps some records out."""
        self._by_hand(TRIGGER.replace("TRIGGER", "TRIGGER IF NOT EXISTS"))

    def _by_hand(self, statement: str) -> None:
        with closing(sqlite3.connect(self.path)) as connection, connection:
            connection.execute(statement)

    def close(self) -> None:
        """Both."""
        for connection in self.connections:
            connection.close()


EVENTS = ("write", "write", "write", "fail", "again", "delete", "forbid")


@given(
    events=st.lists(
        st.tuples(st.sampled_from(EVENTS), st.integers(0, 1), st.integers(1, 700), st.sampled_from([1, 25, 76])),
        min_size=1,
        max_size=12,
    )
)
@settings(max_examples=30, deadline=None)
def test_no_row_of_a_block_lacks_what_is_in_it(events: list[tuple[str, int, int, int]]) -> None:
    """Whoever wrote it, and whatever failed; and each full block has one, unless ids are used again."""
    with TemporaryDirectory() as folder:
        history = History(Path(folder) / "telemetry.db")
        for event, who, length, slice_rows in events:
            getattr(history, event)(who, length, slice_rows)
        connection = history.connections[0]
        lacking = [*blocks_in_need(connection)]
        history.close()
    assert not any(has_row for _, has_row in lacking)
    if "delete" not in {event for event, *_ in events}:
        assert lacking == []


def test_a_writer_that_is_alone_reads_no_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """But the first, which begins with id 1; and what it tells is what is there."""
    read: list[int] = []

    def noting(connection: sqlite3.Connection, block: int) -> Any:
        read.append(block)
        return summary_of(connection, block)

    monkeypatch.setattr(block_writer, "summary_of", noting)
    history = History(tmp_path / "telemetry.db")
    for length in (1, 100, SIZE - 101, SIZE, 3 * SIZE + 7, 1, SIZE - 8, 1, 2):
        history.write(0, length)
    connection = history.connections[0]
    told = connection.execute("SELECT * FROM record_blocks ORDER BY block").fetchall()
    (newest,) = connection.execute("SELECT max(id) FROM invocations").fetchone()
    assert [row[0] for row in told] == [*range(newest >> BLOCK)]
    assert all(row[1:] == summary_of(connection, row[0]) for row in told)
    assert read == [0]
    history.write(1, SIZE)  # another one begins in the middle of a block
    history.write(0, 2 * SIZE)
    assert read[1:] == [newest >> BLOCK, (newest >> BLOCK) + 1]
    assert not [*blocks_in_need(connection)]
    history.close()
