"""Creates the tables, and migrates older files: one migration for each version, committed with its row.

`schema.sql` is the complete newest schema. A test builds the oldest file, migrates it, and compares it with a new one.
"""

import re
import sqlite3
from collections.abc import Mapping, Sequence
from functools import lru_cache
from importlib.resources import files
from typing import Final

from llm_service.telemetry.record.fields import ADDED

__all__ = ["MIGRATIONS", "VERSION", "create", "migrate", "read_as_newest", "schema_statements", "table_names"]

MIGRATIONS: Final[Mapping[int, Sequence[str]]] = {
    2: (
        "ALTER TABLE invocations ADD COLUMN cache_write_1h_tokens INTEGER",
        "ALTER TABLE invocations ADD COLUMN service_tier TEXT",
        """
        CREATE TABLE prompt_sizes (
            id         INTEGER PRIMARY KEY,
            agent_name TEXT,
            model_name TEXT    NOT NULL,
            prompts    INTEGER NOT NULL,
            bytes      INTEGER NOT NULL,
            tokens     INTEGER NOT NULL
        )
        """,
        """
        CREATE UNIQUE INDEX idx_prompt_sizes_key ON prompt_sizes (coalesce(agent_name, ''), model_name)
        """,
        """
        CREATE TABLE budget_counters (
            id            INTEGER PRIMARY KEY AUTOINCREMENT,
            scope         TEXT NOT NULL,
            per           TEXT NOT NULL,
            window        TEXT NOT NULL,
            timezone      TEXT NOT NULL,
            counted_since TEXT NOT NULL,
            named_at      TEXT NOT NULL
        )
        """,
        """
        CREATE UNIQUE INDEX idx_budget_counters_key ON budget_counters (scope, per, window, timezone)
        """,
        """
        CREATE TABLE budget_windows (
            counter_id      INTEGER NOT NULL REFERENCES budget_counters (id),
            subject         TEXT    NOT NULL,
            window_start    TEXT    NOT NULL,
            spent_nanos     INTEGER NOT NULL DEFAULT 0,
            spent_tokens    INTEGER NOT NULL DEFAULT 0,
            spent_calls     INTEGER NOT NULL DEFAULT 0,
            reserved_nanos  INTEGER NOT NULL DEFAULT 0,
            reserved_tokens INTEGER NOT NULL DEFAULT 0,
            reserved_calls  INTEGER NOT NULL DEFAULT 0,
            unknown_nanos   INTEGER NOT NULL DEFAULT 0,
            unknown_tokens  INTEGER NOT NULL DEFAULT 0,
            unknown_calls   INTEGER NOT NULL DEFAULT 0,
            unpriced_calls  INTEGER NOT NULL DEFAULT 0,
            PRIMARY KEY (counter_id, subject, window_start)
        ) WITHOUT ROWID
        """,
        """
        CREATE TABLE budget_holds (
            hold_id       TEXT PRIMARY KEY,
            state         TEXT    NOT NULL,
            reserved_at   TEXT    NOT NULL,
            expires_at    TEXT    NOT NULL,
            nanos         INTEGER NOT NULL,
            tokens        INTEGER NOT NULL,
            calls         INTEGER NOT NULL,
            windows       TEXT    NOT NULL,
            names         TEXT    NOT NULL,
            justification TEXT
        ) WITHOUT ROWID
        """,
        """
        CREATE INDEX idx_budget_holds_expires_at ON budget_holds (expires_at) WHERE state = 'held'
        """,
        """
        CREATE TABLE budget_alerts (
            policy            TEXT    NOT NULL,
            counter_id        INTEGER NOT NULL,
            subject           TEXT    NOT NULL,
            window_start      TEXT    NOT NULL,
            metric            TEXT    NOT NULL,
            threshold_percent INTEGER NOT NULL,
            told_at           TEXT    NOT NULL,
            PRIMARY KEY (policy, counter_id, subject, window_start, metric, threshold_percent)
        ) WITHOUT ROWID
        """,
    ),
    3: ("ALTER TABLE invocations ADD COLUMN unpriced_usage TEXT",),
    4: (
        "ALTER TABLE invocations ADD COLUMN run TEXT",
        "ALTER TABLE invocations ADD COLUMN region TEXT",
        "CREATE INDEX idx_invocations_trace ON invocations (trace_id, timestamp) WHERE trace_id IS NOT NULL",
        "CREATE INDEX idx_invocations_run ON invocations (run, timestamp) WHERE run IS NOT NULL",
        "CREATE INDEX idx_invocations_user ON invocations (user_id, timestamp) WHERE user_id IS NOT NULL",
    ),
}
"""By version: the statements that migrate a file from the version before. Never changed afterwards."""

VERSION: Final = max(MIGRATIONS)


@lru_cache(maxsize=1)
def schema_statements() -> Sequence[str]:
    """The statements of `schema.sql`, one by one (`executescript` would commit on its own). Read once."""
    statements: list[str] = []
    pending = ""
    for line in files("llm_service.telemetry").joinpath("schema.sql").read_text("utf-8").splitlines(keepends=True):
        pending += line
        if sqlite3.complete_statement(pending):
            statements.append(pending)
            pending = ""
    return tuple(statements)


@lru_cache(maxsize=1)
def table_names() -> tuple[str, ...]:
    """The tables of `schema.sql`."""
    found = (re.match(r"(?:\s|--[^\n]*\n)*CREATE TABLE (\w+)", statement) for statement in schema_statements())
    return tuple(match[1] for match in found if match)


def create(connection: sqlite3.Connection, now: str) -> None:
    """Make all tables, inside the caller's transaction."""
    for statement in schema_statements():
        connection.execute(statement)
    # A new file trusts the clock: it has no older evidence against it.
    connection.execute("INSERT INTO retention (id, clock_believed_until) VALUES (1, ?)", (now,))
    _record(connection, VERSION, now)


def migrate(
    connection: sqlite3.Connection,
    found: int,
    now: str,
    steps: Mapping[int, Sequence[str]] = MIGRATIONS,
    to: int = VERSION,
) -> None:
    """Migrate a file from version `found` to version `to`, inside the caller's transaction."""
    for version in range(found + 1, to + 1):
        for statement in steps[version]:
            connection.execute(statement)
        _record(connection, version, now)


def read_as_newest(connection: sqlite3.Connection) -> None:
    """Let a connection that must not migrate read an older file: later columns are NULL.

    Call it before `PRAGMA query_only`; it writes nothing to the file.
    """
    there = [row[1] for row in connection.execute("PRAGMA main.table_info(invocations)")]
    missing = [column for added in ADDED.values() for column in added if column not in there]
    if there and missing:
        later = ", ".join(f"NULL AS {column}" for column in missing)
        connection.execute(f"CREATE TEMP VIEW invocations AS SELECT *, {later} FROM main.invocations")  # noqa: S608


def _record(connection: sqlite3.Connection, version: int, now: str) -> None:
    connection.execute("INSERT INTO schema_version (version, applied_at) VALUES (?, ?)", (version, now))
    connection.execute(f"PRAGMA user_version = {version:d}")
