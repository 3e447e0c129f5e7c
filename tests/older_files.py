"""Makes what a newer version changed in a file undone, so that a file of an older version can be migrated."""

import sqlite3

__all__ = ["as_version_5"]

_LATENCIES = """
CREATE TABLE daily_latency (
    daily_cost_id INTEGER NOT NULL REFERENCES daily_costs (id),
    bucket        INTEGER NOT NULL,
    invocations   INTEGER NOT NULL,
    PRIMARY KEY (daily_cost_id, bucket)
) WITHOUT ROWID
"""


def as_version_5(connection: sqlite3.Connection) -> None:
    """Give a new file the tables of version 5, with the same content."""
    counted = connection.execute("SELECT daily_cost_id, bucket, invocations FROM daily_latency").fetchall()
    connection.execute("DROP VIEW daily_latency")
    connection.execute(_LATENCIES)
    connection.executemany("INSERT INTO daily_latency VALUES (?, ?, ?)", counted)
    connection.execute("ALTER TABLE daily_costs DROP COLUMN latency_buckets")
    connection.execute("DROP TABLE quarter_hours")
    connection.execute("DROP TABLE rollup_progress")
    connection.execute("DROP TABLE record_blocks")
    for column in ("tool", "model"):
        index = f"idx_invocations_{column} ON invocations ({column}_name) WHERE status <> 'success'"
        connection.execute(f"CREATE INDEX {index}")
    connection.execute("DELETE FROM schema_version")
    connection.execute("INSERT INTO schema_version VALUES (5, 'then')")
    connection.execute("PRAGMA user_version = 5")
