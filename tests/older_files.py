"""Files of an older version, and what a writer of that version does in them."""

import sqlite3
from collections.abc import Iterable

from llm_service.telemetry.record.record import CARD_FIELDS, EXTENSION_FIELDS, InvocationRecord
from llm_service.telemetry.record.timestamps import microseconds_text
from llm_service.telemetry.stores.rollups import SUMS, fold
from llm_service.telemetry.stores.sqlite.migrations import trigger_names

__all__ = ["as_version_5", "write_as_version_5"]

_COLUMNS = [name for name in (*CARD_FIELDS, *EXTENSION_FIELDS) if name != "timestamp"]
_MARKS = ", ".join("?" * (len(_COLUMNS) + 1))
_INSERT = f"INSERT INTO invocations (timestamp, {', '.join(_COLUMNS)}) VALUES ({_MARKS})"
_COUNT = f"""
INSERT INTO daily_costs (date, agent_name, tool_name, model_name, total_cost_usd, {", ".join(SUMS)})
VALUES ({", ".join("?" * (len(SUMS) + 5))})
ON CONFLICT (date, coalesce(agent_name, ''), coalesce(tool_name, ''), coalesce(model_name, '')) DO UPDATE SET
    total_cost_usd = (cost_nanos + excluded.cost_nanos) / 1e9,
    {", ".join(f"{name} = {name} + excluded.{name}" for name in SUMS)}
"""
_COUNT_LATENCY = """
INSERT INTO daily_latency (daily_cost_id, bucket, invocations)
SELECT id, ?, ? FROM daily_costs
WHERE date = ? AND coalesce(agent_name, '') = ? AND coalesce(tool_name, '') = ? AND coalesce(model_name, '') = ?
ON CONFLICT (daily_cost_id, bucket) DO UPDATE SET invocations = invocations + excluded.invocations
"""
_KEEP_RECEIPT = """
INSERT INTO receipts (writer_id, batch_no, committed_at) VALUES ('older', 1, ?)
ON CONFLICT (writer_id) DO UPDATE SET batch_no = batch_no + 1, committed_at = excluded.committed_at
"""


def as_version_5(connection: sqlite3.Connection) -> None:
    """Give a new file the tables of version 5, with the same content."""
    counted = connection.execute("SELECT daily_cost_id, bucket, invocations FROM latency_counts").fetchall()
    connection.execute("DROP VIEW latency_counts")
    connection.executemany("INSERT INTO daily_latency VALUES (?, ?, ?)", counted)
    connection.execute("ALTER TABLE daily_costs DROP COLUMN latency_buckets")
    for trigger in trigger_names():
        connection.execute(f"DROP TRIGGER {trigger}")
    connection.execute("ALTER TABLE receipts DROP COLUMN schema_version")
    connection.execute("DROP TABLE quarter_hours")
    connection.execute("DROP TABLE rollup_progress")
    connection.execute("DROP TABLE record_blocks")
    connection.execute("DELETE FROM schema_version")
    connection.execute("INSERT INTO schema_version VALUES (5, 'then')")
    connection.execute("PRAGMA user_version = 5")


def write_as_version_5(
    connection: sqlite3.Connection, records: Iterable[InvocationRecord], now: str = "2020-01-01 00:00:00.000000Z"
) -> None:
    """Commit a batch by the statements of version 5; `now` is told in its receipt."""
    batch = list(records)
    connection.execute("BEGIN IMMEDIATE")
    for record in batch:
        given = [getattr(record, name) for name in _COLUMNS]
        connection.execute(_INSERT, [microseconds_text(record.card[1]), *given])
    for key, totals in fold(batch).items():
        sums = [getattr(totals, name) for name in SUMS]
        connection.execute(_COUNT, [*key, totals.cost_nanos / 1e9, *sums])
        for bucket in totals.buckets.items():
            connection.execute(_COUNT_LATENCY, [*bucket, *(part or "" for part in key)])
    connection.execute(_KEEP_RECEIPT, (now,))
    connection.execute("COMMIT")
