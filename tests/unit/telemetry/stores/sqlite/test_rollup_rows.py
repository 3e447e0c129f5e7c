"""Roll-ups of the file: exact whoever writes, and those of an older file are read as it is, and migrated."""

import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.older_files import as_version_5

from llm_service.telemetry import TelemetryLogger
from llm_service.telemetry.maintenance.doctor import examine
from llm_service.telemetry.queries.filters import InvocationFilter
from llm_service.telemetry.queries.questions import read_statistics_of
from llm_service.telemetry.queries.time_range import TimeRange
from llm_service.telemetry.record.record import InvocationRecord
from llm_service.telemetry.stores.sqlite.batch_writer import SqliteBatchWriter
from llm_service.telemetry.stores.sqlite.opening import open_for_writing
from llm_service.telemetry.stores.sqlite.reader import read

NOW = datetime.now(UTC).replace(hour=18)


def call(number: int) -> InvocationRecord:
    """One of the calls of some days, every fourth of which is untimed, and every fifth unpriced."""
    return InvocationRecord(
        invocation_id=f"call-{number}",
        timestamp=NOW - timedelta(hours=number % 100, minutes=7 * number % 60),
        agent_name=f"agent-{number % 3}",
        model_name=f"model-{number % 2}" if number % 7 else None,
        total_tokens=number,
        cost_usd=None if number % 5 == 0 else 0.001 * number,
        latency_ms=None if number % 4 == 0 else 1.7**(number % 40),
        status="error" if number % 11 == 0 else "success",
    )  # fmt: skip


def wrong(path: Path) -> set[str]:
    """What the doctor finds of this file's totals."""
    return {found.name for found in examine(path) if found.check == "aggregates" and found.exit_code}


def statistics(path: Path) -> dict[str, Any]:
    """Of all calls of a file, by agent and together."""
    return {
        agent or "all": read(
            path, lambda fetch, agent=agent: read_statistics_of(fetch, TimeRange(NOW - timedelta(days=3.3), None, UTC), InvocationFilter(agent_name=agent))[0]
        )
        for agent in (None, "agent-0", "agent-1")
    }  # fmt: skip


def test_two_writers_of_one_connection_and_one_of_another_lose_no_count(tmp_path: Path) -> None:
    """Each caches what it stored; SQLite tells a connection of the commits of others, and not of its own."""
    path = tmp_path / "telemetry.db"
    writers = [SqliteBatchWriter(f"writer-{number}", "metadata") for number in range(3)]
    with closing(open_for_writing(path, 0)) as shared, closing(open_for_writing(path, 0)) as other:
        for turn in range(9):
            for place, writer in enumerate(writers):
                batch = [call(30 * turn + 10 * place + number) for number in range(10)]
                connection = other if place == 2 else shared
                writer.write(connection, batch, batch_no=turn + 1, durable=False, slice_rows=25)
        other.execute("UPDATE daily_costs SET latency_buckets = x'' WHERE id = 1")
    assert wrong(path) == {"aggregates"}
    with closing(open_for_writing(path, 0)) as shared:
        shared.execute("DELETE FROM invocations")
        shared.execute("DELETE FROM daily_costs")
        shared.execute("DELETE FROM quarter_hours")
        writers[0].write(shared, [call(1)], batch_no=10, durable=False, slice_rows=25)
    assert wrong(path) == set()


@pytest.fixture
def older(tmp_path: Path) -> tuple[Path, dict[str, Any]]:
    """A file of version 5, and the statistics that it had."""
    path = tmp_path / "older.db"
    with TelemetryLogger(path, retention_days=None) as logger:
        for number in range(300):
            logger.log_invocation_nowait(call(number))
    known = statistics(path)
    with closing(sqlite3.connect(path)) as connection:
        as_version_5(connection)
        connection.commit()
    return path, known


def test_an_older_file_is_read_and_examined_as_it_is(older: tuple[Path, dict[str, Any]]) -> None:
    """The same statistics, to the percentile, and not a byte changes."""
    path, known = older
    before = path.read_bytes()
    assert statistics(path) == known
    assert wrong(path) == set()
    assert path.read_bytes() == before


def test_an_older_file_is_migrated_with_its_latencies(older: tuple[Path, dict[str, Any]]) -> None:
    """The same statistics afterwards."""
    path, known = older
    TelemetryLogger(path, retention_days=None).close()
    assert statistics(path) == known
    assert wrong(path) == set()
