"""The statements that lead from one version of the tables to the next, as they were when that version came."""

from collections.abc import Mapping
from typing import Final

__all__ = ["ADDED", "TO_2", "TO_3"]

ADDED: Final[Mapping[int, tuple[str, ...]]] = {2: ("cache_write_1h_tokens", "service_tier"), 3: ("unpriced_usage",)}
"""The columns that a version added at the end of `invocations`."""

TO_2: Final = (
    """
    ALTER TABLE invocations ADD COLUMN cache_write_1h_tokens INTEGER
    """,
    """
    ALTER TABLE invocations ADD COLUMN service_tier TEXT
    """,
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
)
"""What prices depend on, what prompts teach, and budgets: counters, windows, holds, alerts."""

TO_3: Final = (
    """
    ALTER TABLE invocations ADD COLUMN unpriced_usage TEXT
    """,
)
"""What makes the cost of a call unknown although its model has a price."""
