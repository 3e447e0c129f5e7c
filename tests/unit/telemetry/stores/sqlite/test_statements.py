"""The SQL that writes: columns as documented, bound within SQLite's limits, and never drifting from the record."""

import json
import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from llm_service.config.settings import PrivacyLevel
from llm_service.telemetry.privacy import effective_level, stored_error
from llm_service.telemetry.queries import questions
from llm_service.telemetry.queries.rows import ROW_COLUMNS
from llm_service.telemetry.record.record import (
    CARD_FIELDS,
    CONTENT_FIELDS,
    EXTENSION_FIELDS,
    InvocationRecord,
    _restore,
)
from llm_service.telemetry.stores.sqlite import statements
from llm_service.telemetry.stores.sqlite.migrations import schema_statements
from llm_service.telemetry.stores.sqlite.statements import MAX_VARIABLES, RowBinder, dead_letter_row

WIDE: dict[str, Any] = {
    field: "x"
    for field in EXTENSION_FIELDS
    if field
    not in {
        "cache_read_tokens", "cache_write_tokens", "reasoning_tokens", "cache_write_1h_tokens", "usage_source",
        "cost_source", "ttft_ms", "stream", "attempts", "http_status", "tags", "metadata",
    }
} | {
    "cache_read_tokens": 1, "cache_write_tokens": 2, "reasoning_tokens": 3, "cache_write_1h_tokens": 1,
    "usage_source": "reported", "cost_source": "reported", "ttft_ms": 4.5, "stream": False, "attempts": 1, "http_status": 200, "tags": ["t"],
    "metadata": {"k": "v"},
}  # fmt: skip


@pytest.fixture
def database() -> Iterator[sqlite3.Connection]:
    """All tables, in memory."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    for statement in schema_statements():
        connection.execute(statement)
    yield connection
    connection.close()


def columns(database: sqlite3.Connection, table: str) -> list[str]:
    """Names of a table's columns, in their order."""
    return [row[1] for row in database.execute(f"PRAGMA table_info({table})")]


def test_the_table_has_the_columns_of_the_record(database: sqlite3.Connection) -> None:
    """In the same order, after the id; content never stands there."""
    assert columns(database, "invocations") == ["id", *CARD_FIELDS, *EXTENSION_FIELDS]
    assert not set(CONTENT_FIELDS) & set(columns(database, "invocations"))


def test_the_typed_rows_have_the_columns_of_the_tables(database: sqlite3.Connection) -> None:
    """A column that nobody can read, or a key without a column, fails here."""
    assert list(questions.InvocationRow.__annotations__) == columns(database, "invocations")
    assert list(questions.DailyCost.__annotations__) == [
        column for column in columns(database, "daily_costs") if column not in {"id", "latency_buckets"}
    ]


@pytest.mark.parametrize(
    "statement",
    [
        *(sql for sql, _ in statements.upsert_daily_costs([range(17)] * 76)),
        *(sql for sql, _ in statements.upsert_quarters([range(13)] * 76)),
        statements.FIND_QUARTER_BUCKETS, statements.DROP_EMPTY_QUARTER,
        statements.FIND_DAILY_BUCKETS, statements.DROP_EMPTY_DAILY_COST,
        statements.KEEP_RECEIPT, statements.READ_RECEIPT, statements.QUARANTINE, statements.find_ids(3),
    ],
)  # fmt: skip
def test_every_statement_fits_the_schema(database: sqlite3.Connection, statement: str) -> None:
    """SQLite prepares each with as many values as it has question marks."""
    database.execute(f"EXPLAIN {statement}", [None] * statement.count("?"))


def test_every_upserted_total_is_added_to(database: sqlite3.Connection) -> None:
    """Every column of `daily_costs` but its key appears on both sides of the upsert."""
    ((upsert, _),) = statements.upsert_daily_costs([range(17)])
    for column in columns(database, "daily_costs"):
        if column in {"id", "date", "agent_name", "tool_name", "model_name"}:
            continue
        if column == "latency_buckets":
            assert f"    {column} = excluded.{column}" in upsert
            continue
        assert f"    {column} = (" in upsert or f"    {column} = {column} + excluded.{column}" in upsert


def test_a_plain_record_binds_only_the_cards_columns() -> None:
    """Twelve of them, since it has no error; extensions cost nothing until used."""
    sql, parameters = RowBinder("metadata").insert([InvocationRecord(), InvocationRecord(prompt="kept out")])
    assert sql.count("?") == len(parameters) == 24
    assert not any(field in sql for field in (*EXTENSION_FIELDS, "error_message"))


@pytest.mark.parametrize("used", [("provider",), ("metadata",), ("session_id", "http_status"), tuple(EXTENSION_FIELDS)])
def test_a_slice_binds_the_columns_that_any_of_its_records_uses(
    database: sqlite3.Connection, used: tuple[str, ...]
) -> None:
    """And each value stands in its own column, NULL for the others."""
    made = [
        InvocationRecord(invocation_id="plain"),
        InvocationRecord(invocation_id="used", **{field: WIDE[field] for field in used}),
        InvocationRecord(invocation_id="failed", status="error", error_message="why"),
    ]
    sql, parameters = RowBinder("metadata").insert(made)
    assert sql.count("?") == len(parameters) == 3 * (13 + len(used))
    database.execute(sql, parameters)
    rows = questions.to_invocations(database.execute(f"SELECT {ROW_COLUMNS} FROM invocations"))
    for row, record in zip(rows, made, strict=True):
        for field, value in record.to_dict().items():
            if field in CONTENT_FIELDS:
                continue
            expected = "metadata" if field == "privacy_level" else value
            if field == "timestamp":
                expected = f"{value:%Y-%m-%d %H:%M:%S.%f}Z"
            assert row[field] == expected, field  # type: ignore[literal-required]


def test_wide_records_stay_within_the_oldest_limit_of_variables() -> None:
    """999 bound values, whatever a slice holds."""
    binder = RowBinder("metadata")
    for records in ([InvocationRecord()] * 100, [InvocationRecord(**WIDE)] * 100, [InvocationRecord(source="x")] * 100):
        rows = binder.rows_per_statement(records, 100)
        assert rows >= 20
        _, parameters = binder.insert(records[:rows])
        assert len(parameters) <= MAX_VARIABLES
    assert binder.rows_per_statement([InvocationRecord()], 25) == 25


@pytest.mark.parametrize("ceiling", ["metadata", "full"])
@pytest.mark.parametrize("asked", [None, "metadata", "full"])
def test_each_row_says_at_which_level_it_was_stored(
    database: sqlite3.Connection, ceiling: PrivacyLevel, asked: PrivacyLevel | None
) -> None:
    """The lower of the two; at level metadata a message is cut to 500 characters."""
    record = InvocationRecord(privacy_level=asked, status="error", error_message="x" * 1000)
    database.execute(*RowBinder(ceiling).insert([record]))
    level, message = database.execute("SELECT privacy_level, error_message FROM invocations").fetchone()
    assert level == ("full" if ceiling == "full" and asked != "metadata" else "metadata")
    assert message == ("x" * 1000 if level == "full" else "x" * 497 + "...")


@pytest.mark.parametrize("ceiling", ["none", "metadata", "full"])
@pytest.mark.parametrize("asked", [None, "none", "metadata", "full"])
def test_a_record_may_ask_for_less_and_never_for_more(ceiling: PrivacyLevel, asked: PrivacyLevel | None) -> None:
    """The logger's level is a ceiling."""
    order: list[PrivacyLevel] = ["none", "metadata", "full"]
    expected = ceiling if asked is None else min(ceiling, asked, key=order.index)
    assert effective_level(ceiling, asked) == expected


@pytest.mark.parametrize("length", [0, 499, 500])
def test_a_short_message_is_stored_whole(length: int) -> None:
    """And an absent one stays absent."""
    assert stored_error("x" * length, "metadata") == "x" * length
    assert stored_error(None, "metadata") is None


def test_a_cut_message_says_so() -> None:
    """It ends with dots and has 500 characters."""
    assert stored_error("x" * 501, "metadata") == "x" * 497 + "..."
    assert stored_error("x" * 501, "full") == "x" * 501


def damaged(**changes: Any) -> InvocationRecord:
    """A record as only a bug or a foreign pickle makes it: past all checks."""
    record = InvocationRecord(prompt="secret", provider="p")
    card = tuple(changes.get(field, value) for field, value in zip(CARD_FIELDS, record.card, strict=True))
    assert record.extensions is not None
    names = (*EXTENSION_FIELDS, *CONTENT_FIELDS)
    extensions = tuple(changes.get(field, value) for field, value in zip(names, record.extensions, strict=True))
    return _restore(card, extensions, record.size)


class Unprintable:
    """Its repr fails."""

    def __repr__(self) -> str:
        raise RuntimeError("no repr")


@pytest.mark.parametrize(
    "record",
    [
        damaged(agent_name="\ud800"),
        damaged(agent_name=object()),
        damaged(agent_name=Unprintable()),
        damaged(invocation_id="a\0\ud800"),
        damaged(invocation_id=Unprintable()),
        damaged(invocation_id=None),
        damaged(prompt_tokens=2**70),
        damaged(cost_usd=float("nan")),
        damaged(error_message=b"bytes"),
        damaged(error_message=7),
        damaged(privacy_level="everything"),
        damaged(privacy_level=[]),
        damaged(metadata={(1, 2): 3}),
        _restore((), None, 0),
        _restore(("one", "two"), ("short",), 0),
        _restore(tuple(range(50)), tuple(range(50)), 0),
    ],
    ids=range(16),
)
def test_a_dead_letter_holds_whatever_a_damaged_record_holds(
    database: sqlite3.Connection, record: InvocationRecord
) -> None:
    """It is always storable and readable, and never holds content."""
    row = dead_letter_row(record, ValueError("bad"), "metadata", "2026-11-23 00:00:00.000000Z")
    database.execute(statements.QUARANTINE, row)
    (error, text) = database.execute("SELECT error, record FROM dead_letters").fetchone()
    assert error == "ValueError: bad"
    assert isinstance(json.loads(text), dict)
    assert "secret" not in text


def test_a_dead_letter_cuts_the_message_like_any_row() -> None:
    """What may not be stored in `invocations` is not stored here either."""
    record = damaged(agent_name=object(), error_message="x" * 1000)
    assert "x" * 498 not in dead_letter_row(record, ValueError("bad"), "metadata", "now")[3]
    assert len(dead_letter_row(record, ValueError("y" * 1000), "metadata", "now")[2]) == 500


NUMBERED = re.compile(r"= \?(?:\d|\{)")


def test_no_statement_numbers_its_parameters() -> None:
    """From Python 3.12 on sqlite3 warns of `?1` with a sequence, and from 3.14 on it raises."""
    sources = list(Path(questions.__file__).parents[2].rglob("*.py"))
    assert len(sources) > 200
    assert [file.name for file in sources if NUMBERED.search(file.read_text("utf-8"))] == []
