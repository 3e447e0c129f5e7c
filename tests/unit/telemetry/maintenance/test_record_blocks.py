"""`record_blocks` in a file of version 5, in a repair, in a salvage, and in what doctor finds."""

import sqlite3
from collections.abc import Iterable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.older_files import as_version_5

from llm_service.telemetry.maintenance.doctor import examine
from llm_service.telemetry.maintenance.repair import repair
from llm_service.telemetry.maintenance.salvage import salvage
from llm_service.telemetry.record.record import InvocationRecord
from llm_service.telemetry.stores.sqlite.backfill import Backfill
from llm_service.telemetry.stores.sqlite.batch_writer import SqliteBatchWriter
from llm_service.telemetry.stores.sqlite.opening import open_for_writing

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
CALLS = 2_100
BLOCKS = [0, 1, 2, 3]
"""All but the newest one, which is not full."""


def calls(numbers: Iterable[int]) -> list[InvocationRecord]:
    """Calls of some days, each of one of a few agents."""
    return [InvocationRecord(timestamp=NOON - timedelta(minutes=n), agent_name=f"agent-{n // 300}") for n in numbers]


@pytest.fixture
def db(tmp_path: Path) -> Path:
    """A file of four full blocks and a bit."""
    path = tmp_path / "telemetry.db"
    with closing(open_for_writing(path, 0)) as connection:
        writer = SqliteBatchWriter("tests", "metadata")
        writer.write(connection, calls(range(CALLS)), batch_no=1, durable=False, slice_rows=50)
    return path


def told(path: Path) -> list[tuple[Any, ...]]:
    """What a file tells of its blocks."""
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute("SELECT * FROM record_blocks ORDER BY block").fetchall()


def change(path: Path, *statements: str) -> None:
    """As by hand."""
    with closing(sqlite3.connect(path)) as connection, connection:
        for statement in statements:
            connection.execute(statement)


def findings(path: Path) -> list[str]:
    """What doctor says of aggregates."""
    return [one.seen for one in examine(path, full=True) if one.name == "aggregates"]


@pytest.mark.parametrize("gap", [False, True])
def test_an_older_file_gets_rows_with_the_backfill(db: Path, gap: bool) -> None:
    """The same as a new file has; of blocks without records none."""
    expected = told(db)
    with closing(sqlite3.connect(db)) as connection, connection:
        as_version_5(connection)
        if gap:
            connection.execute("DELETE FROM invocations WHERE id BETWEEN 500 AND 1100")
    steps = Backfill()
    with closing(open_for_writing(db, 0)) as connection:
        while steps.step(connection, "me") is not None:
            pass
    found = told(db)
    assert [row[0] for row in found] == ([0, 2, 3] if gap else BLOCKS)
    assert found[-1] == expected[-1]
    assert gap or found == expected


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE record_blocks SET names = x'' WHERE block = 1",
        "UPDATE record_blocks SET first_timestamp = ':' WHERE block = 1",
        "UPDATE record_blocks SET last_timestamp = '' WHERE block = 1",
        "UPDATE invocations SET agent_name = 'another' WHERE id = 600",
    ],
)
def test_rows_that_lack_a_name_or_a_time_are_found_and_written_anew(db: Path, damage: str) -> None:
    """They would hide calls; doctor says so, a dry run what it would do."""
    expected = told(db)
    change(db, damage)
    assert any("1 rows of record_blocks lack names or times of their records: 1" in seen for seen in findings(db))
    assert any("record_blocks: write 1 rows" in action.what for action in repair(db, dry_run=True))
    assert any("record_blocks: wrote 1 rows" in action.what for action in repair(db))
    assert not any("record_blocks" in seen for seen in findings(db))
    assert damage.startswith("UPDATE invocations") or told(db) == expected


def test_rows_that_are_lost_are_no_finding_and_written_anew(db: Path) -> None:
    """Without a row, a block is read."""
    expected = told(db)
    change(db, "DELETE FROM record_blocks WHERE block <> 2")
    assert not any("record_blocks" in seen for seen in findings(db))
    assert any("record_blocks: wrote 3 rows" in action.what for action in repair(db))
    assert told(db) == expected
    assert not repair(db)


def test_a_salvaged_file_has_them(db: Path, tmp_path: Path) -> None:
    """Made of the records that are there."""
    salvage(db, tmp_path / "new.db")
    assert told(tmp_path / "new.db") == told(db)


def test_a_transaction_that_is_rolled_back_leaves_none(db: Path) -> None:
    """They are written in the transaction of their records."""
    with closing(open_for_writing(db, 0)) as connection:
        writer = SqliteBatchWriter("tests", "metadata")

        def fails() -> None:
            raise sqlite3.OperationalError("database is locked")

        batch = calls(range(CALLS, CALLS + 1_000))
        with pytest.raises(sqlite3.OperationalError):
            writer.write(connection, batch, batch_no=2, durable=False, slice_rows=50, within=fails)
        assert [row[0] for row in told(db)] == BLOCKS
        writer.write(connection, batch, batch_no=2, durable=False, slice_rows=50)
        assert [row[0] for row in told(db)] == [*BLOCKS, 4, 5]


def test_a_trigger_that_keeps_all_out_fills_no_block(db: Path) -> None:
    """Of the file's owner."""
    change(db, "CREATE TRIGGER no BEFORE INSERT ON invocations BEGIN SELECT RAISE(IGNORE); END")
    with closing(open_for_writing(db, 0)) as connection:
        writer = SqliteBatchWriter("tests", "metadata")
        result = writer.write(connection, calls(range(5_000, 6_000)), batch_no=2, durable=False, slice_rows=50)
    assert len(result.quarantined) == 1_000
    assert [row[0] for row in told(db)] == BLOCKS
