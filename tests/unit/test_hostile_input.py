"""Whatever comes in, a clear error or the exact value is what comes out: records, queries, YAML, CSV."""

# ruff: noqa: PT017 - an error is one of two good outcomes of an example

import inspect
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from llm_service.cli.trace import TraceError, read_trace
from llm_service.config.load import load_config
from llm_service.config.schemas import TelemetryConfig
from llm_service.errors import ConfigError, QueryError, RecordError, UnknownRunError
from llm_service.telemetry import InvocationRecord, TelemetryLogger
from llm_service.telemetry.record.record import FIELDS

TEXTS = (
    "invocation_id", "agent_name", "tool_name", "model_name", "error_message", "provider", "operation", "request_model",
    "response_id", "request_id", "session_id", "user_id", "trace_id", "span_id", "parent_invocation_id",
    "finish_reason", "error_type", "source",
)  # fmt: skip
SQL = (
    "'; DROP TABLE invocations; --", '"; DELETE FROM daily_costs; --', "' OR '1'='1", "x' UNION SELECT * FROM sqlite_master --",
    "?1", ":agent_name", "@x", "$1", "%", "_", "*", "[a-z]", "a'b\"c`d", "NULL", "/*", "--", "');", "\\'", "\u02bc; DROP TABLE receipts",
    "1; ATTACH DATABASE '/tmp/x' AS x", "🙂' ", "\x1b[31m'",
)  # fmt: skip
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=300) | st.binary(max_size=50)
    | st.decimals() | st.datetimes() | st.uuids() | st.complex_numbers() | st.sampled_from(SQL),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=8,
)  # fmt: skip
MANY = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def logger(tmp_path: Path) -> Iterator[TelemetryLogger]:
    """On a file of its own."""
    with TelemetryLogger(tmp_path / "t.db", privacy_level="full") as logger:
        yield logger


@MANY
@given(st.dictionaries(st.sampled_from(FIELDS), ANYTHING, min_size=1, max_size=6))
def test_any_value_in_any_field_is_refused_by_name_or_stored(logger: TelemetryLogger, values: dict[str, Any]) -> None:
    """A `RecordError` names one of the fields given; a record that exists is committed, and none is quarantined."""
    try:
        record = InvocationRecord(**values)
    except RecordError as error:
        assert error.field.partition("[")[0] in FIELDS
        assert str(error).startswith(error.field)
        assert len(str(error)) < 1000
        return
    before = logger.stats().ledger
    try:
        logger.log_invocation(record)
    except sqlite3.IntegrityError:
        assert "invocation_id" in values
    after = logger.stats().ledger
    settled = (after.written - before.written, after.duplicates - before.duplicates, after.quarantined)
    stored = record.privacy_level != "none"
    assert settled in ({(1, 0, 0), (0, 1, 0)} if stored else {(0, 0, 0)})
    assert after.balanced


@pytest.mark.parametrize("field", TEXTS)
def test_text_that_looks_like_sql_is_stored_as_it_stands(field: str, logger: TelemetryLogger) -> None:
    """In every text field: read back equal, and all tables are there."""
    for number, text in enumerate(SQL):
        logger.log_invocation(InvocationRecord(**{"session_id": f"s{number}", field: text}))  # type: ignore[arg-type]
    found = {row[field] for row in logger.get_invocations(limit=1000)}  # type: ignore[literal-required]
    assert found == set(SQL)
    with closing(sqlite3.connect(logger.db_path)) as connection:
        tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        assert {"invocations", "daily_costs", "receipts", "dead_letters", "schema_version"} <= tables
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


@pytest.mark.parametrize("text", SQL)
def test_text_that_looks_like_sql_filters_for_itself_alone(text: str, logger: TelemetryLogger) -> None:
    """In every filter of every query: the one record that has it, and nothing of the others."""
    names = {"agent_name": text, "tool_name": text, "model_name": text}
    logger.log_invocation(InvocationRecord(**names, session_id=text, total_tokens=7))  # type: ignore[arg-type]
    logger.log_invocation(InvocationRecord(agent_name="other", tool_name="other", model_name="other", session_id="o"))
    for name in names:
        assert [row["total_tokens"] for row in logger.get_daily_costs(**{name: text})] == [7]  # type: ignore[arg-type]
        assert logger.get_statistics(**{name: text})["total_tokens"] == 7  # type: ignore[arg-type]
    for name in (*names, "session_id"):
        assert [row["total_tokens"] for row in logger.get_invocations(**{name: text})] == [7]  # type: ignore[arg-type]
    refused: list[Callable[[], object]] = [
        lambda: logger.get_invocations(status=text),
        lambda: logger.get_invocations(start_date=text),
        lambda: logger.get_invocations(since=text),
        lambda: logger.get_invocations(limit=text),  # type: ignore[arg-type]
        lambda: logger.get_daily_costs(end_date=text),
        lambda: logger.get_statistics(days=text),  # type: ignore[arg-type]
    ]
    for question in refused:
        with pytest.raises(QueryError):
            question()


@MANY
@given(
    ANYTHING,
    st.sampled_from(["agent_name", "tool_name", "model_name", "session_id", "status", "start_date", "since", "limit"]),
)
def test_any_value_in_any_filter_is_an_answer_or_a_query_error(logger: TelemetryLogger, value: Any, name: str) -> None:
    """Never an error of SQLite, never a `TypeError` from within."""
    try:
        assert isinstance(logger.get_invocations(fresh=False, **{name: value}), list)
    except QueryError as error:
        assert error.field == name


READERS = {
    name: [argument for argument in inspect.signature(method).parameters if argument not in ("self", "fresh")]
    for name, method in inspect.getmembers(TelemetryLogger, callable)
    if not name.startswith("_") and "fresh" in inspect.signature(method).parameters
}
"""Methods that read the file, and their arguments."""
ODD_TEXTS = (
    *("", "\0", "a\0b", "\ud800", "a\udcffb", '"', "'", "\\", "[", "*", "\u202e", "x" * 100_000, "-metadata.\ud800"),
    *("metadata.\ud800", "metadata.\0", 'metadata."\ud800"', 'metadata."\0"="\0"', 'metadata.""=', 'metadata."'),
    *("agent=\ud800", "agent=\0", "metadata.\ud800=\ud800", f"metadata.{'x' * 100_000}", f"model={'x' * 100_000}"),
)


@pytest.mark.parametrize("name", READERS)
def test_any_text_in_any_argument_of_a_question_is_an_answer_or_an_error_that_says_why(
    logger: TelemetryLogger, name: str
) -> None:
    """Alone, in a list, as a name and as a value: never an error of SQLite, or of the codec."""
    logger.log_invocation(InvocationRecord(agent_name="a", metadata={"a": 1}, run="r"))
    method = getattr(logger, name)
    parameters = inspect.signature(method).parameters.values()
    needed = {one.name: "r" for one in parameters if one.default is one.empty}
    for argument in READERS[name]:
        for odd in ODD_TEXTS:
            for value in (odd, [odd], {odd: odd}, {odd: None}):
                try:
                    method(**needed | {argument: value})
                except UnknownRunError as error:
                    assert len(str(error)) < 1000
                except QueryError as error:
                    assert error.field in READERS[name]
                    assert len(str(error)) < 2000


HOSTILE_YAML = (
    b"a: &a [x]\nb: &b [*a, *a]\n" + b"".join(b"c%d: [*b, *b]\n" % number for number in range(30)),
    b"db_path: !!python/object/apply:os.system ['true']",
    b"db_path: !!binary aGVsbG8=",
    b"? {a: b}\n: c",
    b"[" * 5000,
    b"{a: " * 3000,
    b"---\nenabled: true\n---\nenabled: false\n",
    b"enabled: " + b"9" * 100_000,
    b"flush_interval: 1e400",
    b"\xff\xfe\x00",
    b"%YAML 9.9\n---\nenabled: true",
    b"<<: {enabled: false}",
    b"db_path: 'telemetry.db\x00'",
    b"x" * 1_100_000,
)


@pytest.mark.parametrize("content", HOSTILE_YAML, ids=range(len(HOSTILE_YAML)))
def test_a_hostile_settings_file_is_refused_with_its_name(content: bytes, tmp_path: Path) -> None:
    """Alias bombs, tags that build objects, deep nests, several documents: refused where they stand, nothing is built."""
    path = tmp_path / "telemetry.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        load_config(path, environ={})
    assert str(caught.value).startswith(str(path))
    assert len(str(caught.value)) < 2000


YAML_PIECES = st.lists(
    st.sampled_from(
        ["enabled", "db_path", "overflow", "batch_size", ": ", "\n", "true", "10", "- ", "&a ", "*a", "!!str ", "{", "}", "[",
         "]", "'", '"', "|", ">", "#", "\t", "---", "...", "~", "%", "@", "`", "\\x00", "block", "null", "1.5", ".nan"]
    ) | st.text(max_size=3), max_size=30,
).map("".join)  # fmt: skip


@MANY
@example(b"")
@given(st.binary(max_size=200) | YAML_PIECES.map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_any_bytes_as_settings_are_a_configuration_or_a_config_error(tmp_path: Path, content: bytes) -> None:
    """Never an error of the YAML library, of pydantic, or of Unicode."""
    path = tmp_path / "telemetry.yaml"
    path.write_bytes(content)
    try:
        assert isinstance(load_config(path, environ={}), TelemetryConfig)
    except ConfigError as error:
        assert error.file == path


CELLS = st.text(max_size=12) | st.sampled_from(
    ["2023-11-16 18:17:03", "12", "-1", "9" * 30, "", '"', "\x00", "١٢", "1e3", "nan"]
)


@MANY
@given(
    st.binary(max_size=200)
    | st.lists(st.lists(CELLS, max_size=5).map(",".join), max_size=6).map(
        lambda lines: "\n".join(["TIMESTAMP,ContextTokens,GeneratedTokens", *lines]).encode("utf-8", "surrogatepass")
    )
)
def test_any_bytes_as_a_trace_are_calls_or_a_trace_error(tmp_path: Path, content: bytes) -> None:
    """What is read makes records; what is not is refused with the file's name."""
    path = tmp_path / "trace.csv"
    path.write_bytes(content)
    try:
        rows = read_trace(path)
    except TraceError as error:
        assert error.path == path
        return
    assert rows
    for row in rows:
        InvocationRecord(
            timestamp=row.timestamp, prompt_tokens=row.context_tokens, completion_tokens=row.generated_tokens
        )
