"""Triggers that the owner of a file has put on records: what they keep out or take away is not counted as written."""

import sqlite3
from contextlib import closing, suppress
from pathlib import Path

import pytest

from llm_service.errors import RecordQuarantinedError
from llm_service.telemetry import InvocationRecord, TelemetryLogger

KEEPING_OUT = {
    "deleted after": "AFTER INSERT ON invocations BEGIN DELETE FROM invocations WHERE id = new.id; END",
    "some deleted after": "AFTER INSERT ON INVOCATIONS WHEN new.agent_name = 'a' BEGIN "
    "DELETE FROM invocations WHERE invocation_id = new.invocation_id; END",
    "ignored before": "BEFORE INSERT ON invocations BEGIN SELECT raise(IGNORE); END",
}


@pytest.mark.parametrize("trigger", KEEPING_OUT)
def test_what_a_trigger_takes_away_is_not_counted_as_written(trigger: str, tmp_path: Path) -> None:
    """It is a dead letter; totals count what is there."""
    path = tmp_path / "telemetry.db"
    TelemetryLogger(path).close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"CREATE TRIGGER mine {KEEPING_OUT[trigger]}")
        connection.commit()
    with TelemetryLogger(path) as logger:
        for agent in ("a", "b", "a"):
            with suppress(RecordQuarantinedError):
                logger.log_invocation(InvocationRecord(agent_name=agent, cost_usd=0.5))
    with closing(sqlite3.connect(path)) as connection:
        there, letters, counted = (
            connection.execute(sql).fetchone()[0]
            for sql in (
                "SELECT count(*) FROM invocations",
                "SELECT count(*) FROM dead_letters",
                "SELECT coalesce(sum(invocations), 0) FROM daily_costs",
            )
        )
    ledger = logger.stats().ledger
    assert (ledger.written, counted, letters) == (there, there, 3 - there)


def test_a_trigger_that_only_looks_on_changes_nothing(tmp_path: Path) -> None:
    """All is written."""
    path = tmp_path / "telemetry.db"
    TelemetryLogger(path).close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE seen (id)")
        connection.execute(
            "CREATE TRIGGER mine AFTER INSERT ON invocations BEGIN INSERT INTO seen VALUES (new.id); END"
        )
        connection.commit()
    with TelemetryLogger(path) as logger:
        assert logger.log_invocation(InvocationRecord(agent_name="a"))
    assert logger.stats().ledger.written == 1
