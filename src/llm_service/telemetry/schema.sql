-- The tables of llm_service.telemetry, version 6.
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
    operation            TEXT,           -- chat, embeddings...; agent, tool, workflow...: a span, which is no call
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
    metadata             TEXT,           -- JSON object
    cache_write_1h_tokens INTEGER,       -- part of cache_write_tokens: kept for an hour
    service_tier         TEXT,           -- as the provider says: default, batch, flex, priority, ...
    unpriced_usage       TEXT,           -- what was billed and has no price here: no cost is computed
    run                  TEXT,           -- what it is part of: a benchmark, a job; budgets take trace_id where it is NULL
    region               TEXT            -- where the cloud ran it, in its own words: prices depend on it
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
CREATE INDEX idx_invocations_trace ON invocations (trace_id, timestamp) WHERE trace_id IS NOT NULL;
CREATE INDEX idx_invocations_run ON invocations (run, timestamp) WHERE run IS NOT NULL;
CREATE INDEX idx_invocations_user ON invocations (user_id, timestamp) WHERE user_id IS NOT NULL;

-- Prompt and response of calls recorded at level `full`; no row where neither is known.
CREATE TABLE invocation_contents (
    id       INTEGER PRIMARY KEY REFERENCES invocations (id),
    prompt   BLOB,  -- UTF-8, compressed with zlib
    response BLOB
);

-- Daily totals of calls, updated in the transaction that inserts the records they count. Spans are none.
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
    latency_us_sum    INTEGER NOT NULL DEFAULT 0,  -- microseconds
    latency_buckets   BLOB    NOT NULL DEFAULT x'' -- see latency_counts
);

-- NULL never conflicts with NULL: coalesce makes one row of the calls without an agent, tool or model.
CREATE UNIQUE INDEX idx_daily_costs_key ON daily_costs
    (date, coalesce(agent_name, ''), coalesce(tool_name, ''), coalesce(model_name, ''));
CREATE INDEX idx_daily_costs_date ON daily_costs (date);

-- As latency_counts, of writers before version 6: rows wait here to be packed into latency_buckets.
CREATE TABLE daily_latency (
    daily_cost_id INTEGER NOT NULL REFERENCES daily_costs (id),
    bucket        INTEGER NOT NULL,
    invocations   INTEGER NOT NULL,
    PRIMARY KEY (daily_cost_id, bucket)
) WITHOUT ROWID;

-- How many calls of a daily_costs row took how long, as rows to be added up. Bucket b holds latencies to 2 ** (b / 16)
-- milliseconds. latency_buckets is a byte for the size of an item, two for the first bucket, the counts; little-endian.
CREATE VIEW latency_counts AS
WITH items AS (
    SELECT daily_costs.id, key AS place, substr(latency_buckets, 2, 2) AS first,
        substr(latency_buckets,
            4 + key * instr(x'0102000400000008', substr(latency_buckets, 1, 1)),
            instr(x'0102000400000008', substr(latency_buckets, 1, 1))
        ) AS item,
        -- Where a byte stands in it, is its value.
        x'000102030405060708090A0B0C0D0E0F101112131415161718191A1B1C1D1E1F202122232425262728292A2B2C2D2E2F303132333435363738393A3B3C3D3E3F404142434445464748494A4B4C4D4E4F505152535455565758595A5B5C5D5E5F606162636465666768696A6B6C6D6E6F707172737475767778797A7B7C7D7E7F808182838485868788898A8B8C8D8E8F909192939495969798999A9B9C9D9E9FA0A1A2A3A4A5A6A7A8A9AAABACADAEAFB0B1B2B3B4B5B6B7B8B9BABBBCBDBEBFC0C1C2C3C4C5C6C7C8C9CACBCCCDCECFD0D1D2D3D4D5D6D7D8D9DADBDCDDDEDFE0E1E2E3E4E5E6E7E8E9EAEBECEDEEEFF0F1F2F3F4F5F6F7F8F9FAFBFCFDFEFF' AS bytes
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
UNION ALL SELECT daily_cost_id, bucket, invocations FROM daily_latency;

-- Totals of all calls by quarter of an hour, so that a window or a day of any zone is added up of few rows. Its sums and
-- those of daily_costs are updated together.
CREATE TABLE quarter_hours (
    quarter           TEXT PRIMARY KEY,            -- UTC, YYYY-MM-DD HH:MM: where it begins
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
    latency_buckets   BLOB    NOT NULL DEFAULT x''  -- as of daily_costs
) WITHOUT ROWID;

-- What occurs in each full block of 512 records, so that a filter by a rare name reads few of them: block b holds the ids
-- from b * 512 on. `names` has 3 bytes, a checksum, for each agent, tool, model, tag... of them; NULL: there are too many.
CREATE TABLE record_blocks (
    block           INTEGER PRIMARY KEY,
    first_timestamp TEXT NOT NULL,
    last_timestamp  TEXT NOT NULL,
    names           BLOB
);

-- How far quarter_hours counts the records that were in an older file before it got the table: one row.
CREATE TABLE rollup_progress (
    id             INTEGER PRIMARY KEY CHECK (id = 1),
    uncounted_to   INTEGER NOT NULL,  -- records up to this id are not counted yet
    began_at       INTEGER NOT NULL,  -- what uncounted_to was at first
    complete_since TEXT,              -- UTC day from which on all calls are counted, '' for all; NULL until all are
    holder         TEXT,              -- the writer that is counting now
    held_until     TEXT               -- when another may take over, unless it goes on
);

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
    committed_at TEXT NOT NULL,
    schema_version INTEGER        -- what the writer counts by; NULL before version 6
) WITHOUT ROWID;

-- A writer of version 5 that was open when the file was migrated goes on, and counts nothing in quarter_hours. So that is
-- counted anew, half a minute after its last commit.
CREATE TRIGGER older_receipt_inserted AFTER INSERT ON receipts WHEN NEW.schema_version IS NULL BEGIN
    DELETE FROM quarter_hours;
    UPDATE rollup_progress SET complete_since = NULL, holder = 'older',
        held_until = strftime('%Y-%m-%d %H:%M:%f000Z', NEW.committed_at, '+30 seconds'),
        (uncounted_to, began_at) = (SELECT coalesce(max(id), 0), coalesce(max(id), 0) FROM invocations);
END;
CREATE TRIGGER older_receipt_updated AFTER UPDATE ON receipts WHEN NEW.schema_version IS NULL BEGIN
    DELETE FROM quarter_hours;
    UPDATE rollup_progress SET complete_since = NULL, holder = 'older',
        held_until = strftime('%Y-%m-%d %H:%M:%f000Z', NEW.committed_at, '+30 seconds'),
        (uncounted_to, began_at) = (SELECT coalesce(max(id), 0), coalesce(max(id), 0) FROM invocations);
END;

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

-- How many tokens prompts were, for estimates: sums over the calls of an agent and model whose prompt was at hand.
-- A model that was asked by another name (`request_model`) has them under either.
CREATE TABLE prompt_sizes (
    id         INTEGER PRIMARY KEY,
    agent_name TEXT,
    model_name TEXT    NOT NULL,
    prompts    INTEGER NOT NULL,
    bytes      INTEGER NOT NULL,  -- of the texts as they were given, in UTF-8
    tokens     INTEGER NOT NULL   -- prompt_tokens of these calls
);
CREATE UNIQUE INDEX idx_prompt_sizes_key ON prompt_sizes (coalesce(agent_name, ''), model_name);

-- What budgets count in this file: every writer counts for all of them, whatever its own policies are. What may be spent
-- stands in policies.yaml and is no part of a counter.
CREATE TABLE budget_counters (
    id            INTEGER PRIMARY KEY AUTOINCREMENT,  -- never used again: writers remember it
    scope         TEXT NOT NULL,  -- JSON object: patterns by field (agent, tool, model, user, session, run)
    per           TEXT NOT NULL,  -- JSON array of fields: each value of them is counted by itself
    window        TEXT NOT NULL,  -- hour | day | week | month | total, or a rolling one such as 24h
    timezone      TEXT NOT NULL,  -- IANA name: where days, weeks and months begin
    counted_since TEXT NOT NULL,  -- all records from this moment on are counted
    named_at      TEXT NOT NULL   -- when a logger last had a policy that needs it; long after, it is forgotten
);

CREATE UNIQUE INDEX idx_budget_counters_key ON budget_counters (scope, per, window, timezone);

-- What was counted. `spent` is the sum of the records it covers, updated in the transactions that insert them. Money in
-- nano-dollars.
CREATE TABLE budget_windows (
    counter_id      INTEGER NOT NULL REFERENCES budget_counters (id),
    subject         TEXT    NOT NULL,            -- JSON array of the values of `per`
    window_start    TEXT    NOT NULL,            -- of a rolling window: of one slice; '': a writer could not tell it
    spent_nanos     INTEGER NOT NULL DEFAULT 0,
    spent_tokens    INTEGER NOT NULL DEFAULT 0,
    spent_calls     INTEGER NOT NULL DEFAULT 0,
    reserved_nanos  INTEGER NOT NULL DEFAULT 0,  -- by calls under way
    reserved_tokens INTEGER NOT NULL DEFAULT 0,
    reserved_calls  INTEGER NOT NULL DEFAULT 0,
    unknown_nanos   INTEGER NOT NULL DEFAULT 0,  -- by calls whose end nobody knows: what was reserved for them
    unknown_tokens  INTEGER NOT NULL DEFAULT 0,
    unknown_calls   INTEGER NOT NULL DEFAULT 0,
    unpriced_calls  INTEGER NOT NULL DEFAULT 0,  -- records among spent_calls whose cost is unknown
    PRIMARY KEY (counter_id, subject, window_start)
) WITHOUT ROWID;

-- What is reserved for calls under way, and for those whose end nobody knows. A hold goes when the record of its call is
-- inserted, in the same transaction.
CREATE TABLE budget_holds (
    hold_id       TEXT PRIMARY KEY,      -- also the invocation_id of the call's record, unless it chose another
    state         TEXT    NOT NULL,      -- held | unknown
    reserved_at   TEXT    NOT NULL,
    expires_at    TEXT    NOT NULL,      -- a hold that nobody ended by then is of unknown outcome
    nanos         INTEGER NOT NULL,
    tokens        INTEGER NOT NULL,
    calls         INTEGER NOT NULL,      -- 1, or 0 once the call's record is stored and only its cost is unknown
    windows       TEXT    NOT NULL,      -- JSON array of [counter_id, subject, window_start]
    names         TEXT    NOT NULL,      -- JSON object: agent, tool, model, user, session, run
    justification TEXT
) WITHOUT ROWID;

CREATE INDEX idx_budget_holds_expires_at ON budget_holds (expires_at) WHERE state = 'held';

-- Thresholds that were told, so that each is told once a window, whichever process sees it.
CREATE TABLE budget_alerts (
    policy            TEXT    NOT NULL,
    counter_id        INTEGER NOT NULL,
    subject           TEXT    NOT NULL,
    window_start      TEXT    NOT NULL,
    metric            TEXT    NOT NULL,  -- usd | tokens | calls
    threshold_percent INTEGER NOT NULL,
    told_at           TEXT    NOT NULL,
    PRIMARY KEY (policy, counter_id, subject, window_start, metric, threshold_percent)
) WITHOUT ROWID;

CREATE TABLE schema_version (
    version    INTEGER PRIMARY KEY,
    applied_at TEXT NOT NULL
);
