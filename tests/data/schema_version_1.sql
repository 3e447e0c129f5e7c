-- The tables of llm_service.telemetry, version 1.
--
-- Plain tables for plain SQL. Timestamps are UTC text `YYYY-MM-DD HH:MM:SS.ffffffZ`, which sorts rightly against
-- datetime('now', '-7 days'). Unknown is NULL, never 0. Money beside the REAL columns is in integer nano-dollars.

-- One row per LLM call. `id` is the order of arrival in this file.
CREATE TABLE invocations (
    id                   INTEGER PRIMARY KEY,
    invocation_id        TEXT NOT NULL,  -- unique; UUIDv7 unless the caller chose one
    timestamp            TEXT NOT NULL,
    agent_name           TEXT,
    tool_name            TEXT,
    model_name           TEXT,
    prompt_tokens        INTEGER,        -- includes cached tokens
    completion_tokens    INTEGER,        -- includes reasoning tokens
    total_tokens         INTEGER,        -- as reported: may exceed the sum
    cost_usd             REAL,           -- USD
    latency_ms           REAL,           -- milliseconds
    status               TEXT NOT NULL,  -- success | error | timeout
    error_message        TEXT,
    privacy_level        TEXT,           -- the level this row was stored at
    provider             TEXT,
    operation            TEXT,
    request_model        TEXT,
    response_id          TEXT,
    request_id           TEXT,
    session_id           TEXT,
    user_id              TEXT,
    trace_id             TEXT,
    span_id              TEXT,
    parent_invocation_id TEXT,
    cache_read_tokens    INTEGER,
    cache_write_tokens   INTEGER,
    reasoning_tokens     INTEGER,
    usage_source         TEXT,           -- reported | partial | estimated | missing
    cost_source          TEXT,           -- reported | computed | unknown
    ttft_ms              REAL,           -- milliseconds to the first token
    stream               INTEGER,        -- 0 | 1
    finish_reason        TEXT,
    attempts             INTEGER,
    http_status          INTEGER,
    error_type           TEXT,
    source               TEXT,           -- who reported the call: manual, sdk:openai, otlp, ...
    tags                 TEXT,           -- JSON array of texts
    metadata             TEXT            -- JSON object
);

CREATE UNIQUE INDEX idx_invocations_invocation_id ON invocations (invocation_id);
-- Newest first, since/until, and the edge of a statistics window.
CREATE INDEX idx_invocations_timestamp ON invocations (timestamp);
-- Newest first of one agent, without a sort.
CREATE INDEX idx_invocations_agent ON invocations (agent_name, timestamp);
-- Failures are what people look for by status, tool and model, and they are few: these three cost almost no bytes.
-- A tool or model of successful calls is common, so its newest rows are found soon by walking the timestamps.
CREATE INDEX idx_invocations_status ON invocations (status, timestamp) WHERE status <> 'success';
CREATE INDEX idx_invocations_tool ON invocations (tool_name) WHERE status <> 'success';
CREATE INDEX idx_invocations_model ON invocations (model_name) WHERE status <> 'success';
CREATE INDEX idx_invocations_session ON invocations (session_id, timestamp) WHERE session_id IS NOT NULL;

-- Prompt and response of calls recorded at level `full`; no row where neither is known.
CREATE TABLE invocation_contents (
    id       INTEGER PRIMARY KEY REFERENCES invocations (id),
    prompt   BLOB,  -- UTF-8, compressed with zlib
    response BLOB
);

-- Daily totals, updated in the transaction that inserts the records they count.
CREATE TABLE daily_costs (
    id                INTEGER PRIMARY KEY,
    date              TEXT NOT NULL,               -- UTC day, YYYY-MM-DD
    agent_name        TEXT,
    tool_name         TEXT,
    model_name        TEXT,
    invocations       INTEGER NOT NULL DEFAULT 0,
    total_tokens      INTEGER NOT NULL DEFAULT 0,
    total_cost_usd    REAL    NOT NULL DEFAULT 0,  -- cost_nanos / 1e9
    errors            INTEGER NOT NULL DEFAULT 0,  -- status error
    timeouts          INTEGER NOT NULL DEFAULT 0,  -- status timeout
    prompt_tokens     INTEGER NOT NULL DEFAULT 0,
    completion_tokens INTEGER NOT NULL DEFAULT 0,
    uncounted         INTEGER NOT NULL DEFAULT 0,  -- calls whose total_tokens is unknown
    cost_nanos        INTEGER NOT NULL DEFAULT 0,  -- exact sum, nano-dollars
    unpriced          INTEGER NOT NULL DEFAULT 0,  -- calls whose cost is unknown
    latency_count     INTEGER NOT NULL DEFAULT 0,  -- calls whose latency is known
    latency_us_sum    INTEGER NOT NULL DEFAULT 0   -- microseconds
);

-- NULL never conflicts with NULL: coalesce makes one row of the calls without an agent, tool or model.
CREATE UNIQUE INDEX idx_daily_costs_key ON daily_costs
    (date, coalesce(agent_name, ''), coalesce(tool_name, ''), coalesce(model_name, ''));
CREATE INDEX idx_daily_costs_date ON daily_costs (date);

-- How many calls of a daily_costs row took how long. Bucket b holds latencies to 2 ** (b / 16) milliseconds.
CREATE TABLE daily_latency (
    daily_cost_id INTEGER NOT NULL REFERENCES daily_costs (id),
    bucket        INTEGER NOT NULL,
    invocations   INTEGER NOT NULL,
    PRIMARY KEY (daily_cost_id, bucket)
) WITHOUT ROWID;

-- Records that SQLite refused, kept for a look; their neighbours were committed.
CREATE TABLE dead_letters (
    id             INTEGER PRIMARY KEY,
    quarantined_at TEXT NOT NULL,
    invocation_id  TEXT,
    error          TEXT NOT NULL,
    record         TEXT NOT NULL   -- JSON of the fields, without prompt and response
);

-- The last batch of each writer, so that a commit which failed and yet is on disk is not written twice.
CREATE TABLE receipts (
    writer_id    TEXT PRIMARY KEY,
    batch_no     INTEGER NOT NULL,
    committed_at TEXT NOT NULL
) WITHOUT ROWID;

-- Who deletes old records now, what is gone, and how far the clock is believed: one row. Moments are UTC timestamps.
CREATE TABLE retention (
    id                   INTEGER PRIMARY KEY CHECK (id = 1),
    records_kept_since   TEXT,  -- UTC day: records of earlier days may be deleted; their daily totals are not
    holder               TEXT,  -- the writer that is deleting now
    held_until           TEXT,  -- when another may take over, unless it goes on
    clock_believed_until TEXT,  -- the latest moment of the wall clock that days are counted from
    clock_leapt_to       TEXT,  -- what it showed when it was suddenly far ahead; nothing is deleted meanwhile
    clock_stood_until    TEXT   -- the latest moment it showed since
);

CREATE TABLE schema_version (
    version    INTEGER PRIMARY KEY,
    applied_at TEXT NOT NULL
);
