"""Creates the tables, and migrates older files: one migration for each version, committed with its row.

`schema.sql` is the complete newest schema. A test builds the oldest file, migrates it, and compares it with a new one.
"""

import re
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from functools import lru_cache
from importlib.resources import files
from typing import Final

from llm_service.telemetry.record.fields import ADDED
from llm_service.telemetry.stores.rollups import bucket_of
from llm_service.telemetry.stores.sqlite import older_latencies
from llm_service.telemetry.stores.sqlite.connections import connect
from llm_service.telemetry.stores.sqlite.sql_callbacks import add_function, malformed

__all__ = [
    "MIGRATIONS", "VERSION", "columns", "create", "empty_database", "migrate", "read_as_newest", "require_columns",
    "schema_statements", "table_names", "trigger_names",
]  # fmt: skip

_SPANS_OF_KEPT_DAYS: Final = """
    i.operation IN ('agent', 'chain', 'create_agent', 'execute_tool', 'invoke_agent', 'tool', 'workflow')
    AND i.timestamp >= (SELECT coalesce(max(records_kept_since), '') FROM retention)
"""
_TIMED: Final = "i.latency_ms BETWEEN 0 AND 1e10"
_PRICED: Final = "i.cost_usd BETWEEN 0 AND 1e6"
_WITHOUT_SPANS: Final = f"""
INSERT INTO daily_costs (date, agent_name, tool_name, model_name, invocations, errors, timeouts, prompt_tokens,
    completion_tokens, total_tokens, uncounted, cost_nanos, unpriced, latency_count, latency_us_sum)
SELECT substr(i.timestamp, 1, 10), i.agent_name, i.tool_name, i.model_name, -count(*), -sum(i.status = 'error'),
    -sum(i.status = 'timeout'), -CAST(coalesce(sum(i.prompt_tokens), 0) AS INTEGER),
    -CAST(coalesce(sum(i.completion_tokens), 0) AS INTEGER), -CAST(coalesce(sum(i.total_tokens), 0) AS INTEGER),
    -sum(typeof(i.total_tokens) <> 'integer'),
    -coalesce(sum(CASE WHEN {_PRICED} THEN CAST(i.cost_usd * 1e9 + 0.5 AS INTEGER) END), 0),
    -sum(({_PRICED}) IS NOT TRUE), -sum(({_TIMED}) IS TRUE),
    -coalesce(sum(CASE WHEN {_TIMED} THEN CAST(i.latency_ms * 1000 + 0.5 AS INTEGER) END), 0)
FROM invocations AS i WHERE {_SPANS_OF_KEPT_DAYS} GROUP BY 1, 2, 3, 4
ON CONFLICT (date, coalesce(agent_name, ''), coalesce(tool_name, ''), coalesce(model_name, '')) DO UPDATE SET
    invocations = invocations + excluded.invocations,
    errors = errors + excluded.errors,
    timeouts = timeouts + excluded.timeouts,
    prompt_tokens = prompt_tokens + excluded.prompt_tokens,
    completion_tokens = completion_tokens + excluded.completion_tokens,
    total_tokens = total_tokens + excluded.total_tokens,
    uncounted = uncounted + excluded.uncounted,
    total_cost_usd = (cost_nanos + excluded.cost_nanos) / 1e9,
    cost_nanos = cost_nanos + excluded.cost_nanos,
    unpriced = unpriced + excluded.unpriced,
    latency_count = latency_count + excluded.latency_count,
    latency_us_sum = latency_us_sum + excluded.latency_us_sum
"""  # noqa: S608 - constants of our own
"""Of version 5: takes spans out of the daily totals of days whose records are kept."""
_WITHOUT_LATENCIES_OF_SPANS: Final = f"""
INSERT INTO daily_latency (daily_cost_id, bucket, invocations)
SELECT d.id, telemetry_bucket(i.latency_ms), -count(*) FROM invocations AS i JOIN daily_costs AS d
    ON d.date = substr(i.timestamp, 1, 10) AND coalesce(d.agent_name, '') = coalesce(i.agent_name, '')
    AND coalesce(d.tool_name, '') = coalesce(i.tool_name, '')
    AND coalesce(d.model_name, '') = coalesce(i.model_name, '')
WHERE {_SPANS_OF_KEPT_DAYS} AND {_TIMED} GROUP BY 1, 2
ON CONFLICT (daily_cost_id, bucket) DO UPDATE SET invocations = invocations + excluded.invocations
"""  # noqa: S608 - as above
_LATENCY_COUNTS: Final = f"""
CREATE VIEW latency_counts AS
WITH items AS (
    SELECT daily_costs.id, key AS place, substr(latency_buckets, 2, 2) AS first,
        substr(latency_buckets,
            4 + key * instr(x'0102000400000008', substr(latency_buckets, 1, 1)),
            instr(x'0102000400000008', substr(latency_buckets, 1, 1))
        ) AS item,
        x'{bytes(range(256)).hex().upper()}' AS bytes
    FROM daily_costs, json_each('[' || rtrim(replace(hex(zeroblob(
        (length(latency_buckets) - 3) / instr(x'0102000400000008', substr(latency_buckets, 1, 1))
    )), '00', '0,'), ',') || ']')
    WHERE length(latency_buckets) > 3
)
SELECT id AS daily_cost_id,
    place + (
        (instr(bytes, substr(first, 2, 1)) - 1) * 256 + instr(bytes, substr(first, 1, 1)) + 32767
    ) % 65536 - 32768 AS bucket,
    instr(bytes, substr(item, 1, 1)) - 1 + CASE WHEN length(item) > 1 THEN (
        SELECT sum((instr(bytes, substr(item, byte + 1, 1)) - 1) << 8 * byte)
        FROM (SELECT 1 AS byte UNION ALL VALUES (2), (3), (4), (5), (6), (7)) WHERE byte < length(item)
    ) ELSE 0 END AS invocations
FROM items WHERE item <> zeroblob(length(item))
UNION ALL SELECT daily_cost_id, bucket, invocations FROM daily_latency
"""  # noqa: S608 - bytes of our own
"""Of version 6."""
_COUNT_ANEW: Final = """
    DELETE FROM quarter_hours;
    UPDATE rollup_progress SET complete_since = NULL, holder = 'older',
        held_until = strftime('%Y-%m-%d %H:%M:%f000Z', NEW.committed_at, '+30 seconds'),
        (uncounted_to, began_at) = (SELECT coalesce(max(id), 0), coalesce(max(id), 0) FROM invocations);
"""
"""Of version 6."""
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
    5: (
        _WITHOUT_SPANS,
        _WITHOUT_LATENCIES_OF_SPANS,
        "DELETE FROM daily_latency WHERE invocations = 0",
        """
        DELETE FROM daily_costs WHERE invocations = 0 AND id NOT IN (SELECT daily_cost_id FROM daily_latency)
        """,
    ),
    6: (
        "ALTER TABLE daily_costs ADD COLUMN latency_buckets BLOB NOT NULL DEFAULT x''",
        _LATENCY_COUNTS,
        """
        CREATE TABLE quarter_hours (
            quarter           TEXT PRIMARY KEY,
            invocations       INTEGER NOT NULL DEFAULT 0,
            errors            INTEGER NOT NULL DEFAULT 0,
            timeouts          INTEGER NOT NULL DEFAULT 0,
            prompt_tokens     INTEGER NOT NULL DEFAULT 0,
            completion_tokens INTEGER NOT NULL DEFAULT 0,
            total_tokens      INTEGER NOT NULL DEFAULT 0,
            uncounted         INTEGER NOT NULL DEFAULT 0,
            cost_nanos        INTEGER NOT NULL DEFAULT 0,
            unpriced          INTEGER NOT NULL DEFAULT 0,
            latency_count     INTEGER NOT NULL DEFAULT 0,
            latency_us_sum    INTEGER NOT NULL DEFAULT 0,
            latency_buckets   BLOB    NOT NULL DEFAULT x''
        ) WITHOUT ROWID
        """,
        """
        CREATE TABLE record_blocks (
            block           INTEGER PRIMARY KEY,
            first_timestamp TEXT NOT NULL,
            last_timestamp  TEXT NOT NULL,
            names           BLOB
        )
        """,
        """
        CREATE TABLE rollup_progress (
            id             INTEGER PRIMARY KEY CHECK (id = 1),
            uncounted_to   INTEGER NOT NULL,
            began_at       INTEGER NOT NULL,
            complete_since TEXT,
            holder         TEXT,
            held_until     TEXT
        )
        """,
        """
        INSERT INTO rollup_progress (id, uncounted_to, began_at)
        SELECT 1, coalesce(max(id), 0), coalesce(max(id), 0) FROM invocations
        """,
        "ALTER TABLE receipts ADD COLUMN schema_version INTEGER",
        *(
            f"CREATE TRIGGER older_receipt_{done} AFTER {doing} ON receipts WHEN NEW.schema_version IS NULL"
            f" BEGIN {_COUNT_ANEW} END"
            for doing, done in (("INSERT", "inserted"), ("UPDATE", "updated"))
        ),
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
    return _names("TABLE")


@lru_cache(maxsize=1)
def trigger_names() -> tuple[str, ...]:
    """The triggers of `schema.sql`."""
    return _names("TRIGGER")


def _names(kind: str) -> tuple[str, ...]:
    found = (re.match(rf"(?:\s|--[^\n]*\n)*CREATE {kind} (\w+)", statement) for statement in schema_statements())
    return tuple(match[1] for match in found if match)


def empty_database() -> sqlite3.Connection:
    """A database in memory that has all tables, and no row."""
    connection = connect(":memory:")
    _make_tables(connection)
    return connection


def _make_tables(connection: sqlite3.Connection) -> None:
    for statement in schema_statements():
        connection.execute(statement)


_COLUMNS: Final = """
SELECT m.name, c.name FROM main.sqlite_master AS m, pragma_table_info(m.name, 'main') AS c
WHERE m.type = 'table' AND m.sql NOT LIKE 'CREATE VIRTUAL%'
"""


def require_columns(connection: sqlite3.Connection) -> None:
    """Raise DatabaseError (SQLITE_CORRUPT) where a table or column of ours is not there: its schema is damaged."""
    missing = _wanted_columns() - columns(connection)
    if missing:
        table, column = min(missing)
        raise malformed(f"database schema is malformed: {table}.{column} is missing")


@lru_cache(maxsize=1)
def _wanted_columns() -> frozenset[tuple[str, str]]:
    with closing(empty_database()) as connection:
        return columns(connection)


def columns(connection: sqlite3.Connection) -> frozenset[tuple[str, str]]:
    """Table and name of every column, but for those of virtual tables, which may not even open."""
    return frozenset(connection.execute(_COLUMNS))


def create(connection: sqlite3.Connection, now: str) -> None:
    """Make all tables, inside the caller's transaction."""
    _make_tables(connection)
    # A new file trusts the clock: it has no older evidence against it.
    connection.execute("INSERT INTO retention (id, clock_believed_until) VALUES (1, ?)", (now,))
    connection.execute("INSERT INTO rollup_progress (id, uncounted_to, began_at, complete_since) VALUES (1, 0, 0, '')")
    _record(connection, VERSION, now)


def migrate(
    connection: sqlite3.Connection,
    found: int,
    now: str,
    steps: Mapping[int, Sequence[str]] = MIGRATIONS,
    to: int = VERSION,
) -> None:
    """Migrate a file from version `found` to version `to`, inside the caller's transaction."""
    if found < to:
        add_function(connection, "telemetry_bucket", bucket_of)
    for version in range(found + 1, to + 1):
        for statement in steps[version]:
            try:
                connection.execute(statement)
            except sqlite3.OperationalError as error:
                if str(error).startswith("no such"):  # what an older version made is not there
                    raise malformed(f"database schema is malformed: {error}") from error
                raise
        _record(connection, version, now)


def read_as_newest(connection: sqlite3.Connection) -> None:
    """Let a connection read an older file as it is: later columns are NULL, roll-ups empty; and packed latencies.

    Call it before `PRAGMA query_only`.
    """
    there = _columns(connection, "invocations")
    missing = [column for added in ADDED.values() for column in added if column not in there]
    if there and missing:
        later = ", ".join(f"NULL AS {column}" for column in missing)
        connection.execute(f"CREATE TEMP VIEW invocations AS SELECT *, {later} FROM main.invocations")  # noqa: S608
    older_latencies.show(connection)
    if there and not _columns(connection, "rollup_progress"):
        for later in ("quarter_hours", "rollup_progress", "record_blocks"):
            made = next(sql for sql in MIGRATIONS[6] if f"TABLE {later}" in sql)
            connection.execute(made.replace("CREATE", "CREATE TEMP"))


def _columns(connection: sqlite3.Connection, table: str) -> list[str]:
    return [row[1] for row in connection.execute(f"PRAGMA main.table_info({table})")]


def _record(connection: sqlite3.Connection, version: int, now: str) -> None:
    connection.execute("INSERT INTO schema_version (version, applied_at) VALUES (?, ?)", (version, now))
    connection.execute(f"PRAGMA user_version = {version:d}")
