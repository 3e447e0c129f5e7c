"""Reading a trace: what is taken, and how each fault is named."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_service.cli.trace import MAX_TOKENS, TraceError, TraceRow, read_trace
from llm_service.errors import TelemetryError

Write = Callable[[str | bytes], Path]
HEADER = "TIMESTAMP,ContextTokens,GeneratedTokens\n"
LINE = "2023-11-16 18:17:03.9799600,4808,10\n"


@pytest.fixture
def trace(tmp_path: Path) -> Write:
    """A function that writes a trace and returns its path."""

    def write(content: str | bytes) -> Path:
        path = tmp_path / "trace.csv"
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write


def refusal(path: Path) -> TraceError:
    """The error that reading a file ends with."""
    with pytest.raises(TraceError) as caught:
        read_trace(path)
    return caught.value


def test_a_row_of_the_azure_trace_is_read_with_microseconds_in_utc(trace: Write) -> None:
    """Seven decimals are cut to six, a time without a zone is UTC."""
    moment = datetime(2023, 11, 16, 18, 17, 3, 979960, tzinfo=UTC)
    assert read_trace(trace(HEADER + LINE)) == [TraceRow(0, moment, 4808, 10)]


def test_columns_may_stand_in_any_order_among_others_and_behind_a_byte_order_mark(trace: Write) -> None:
    """Spreadsheets write a BOM, CRLF line ends and columns of their own."""
    path = trace("\ufeffGeneratedTokens, ContextTokens,who,TIMESTAMP\r\n10, 4808 ,me,2023-11-16T19:17:03+01:00\r\n")
    assert read_trace(path) == [TraceRow(0, datetime(2023, 11, 16, 18, 17, 3, tzinfo=UTC), 4808, 10)]


def test_blank_lines_are_skipped_and_do_not_shift_line_numbers(trace: Write) -> None:
    """The line of an error is the line that an editor shows."""
    assert len(read_trace(trace(f"\n{HEADER}\n{LINE}\n\n{LINE}"))) == 2
    error = refusal(trace(f"{HEADER}\n{LINE}\n2023-11-16,x,1\n"))
    assert (error.line, error.column) == (5, "ContextTokens")


@pytest.mark.parametrize(("limit", "rows"), [(None, 3), (1, 1), (2, 2), (3, 3), (9, 3)])
def test_a_limit_takes_the_first_rows(trace: Write, limit: int | None, rows: int) -> None:
    """And never looks at what comes after them."""
    assert [row.number for row in read_trace(trace(HEADER + 3 * LINE), limit)] == list(range(rows))


def test_what_stands_behind_the_limit_is_not_judged(trace: Write) -> None:
    """A fault in a row that nobody asked for is no error."""
    assert len(read_trace(trace(HEADER + LINE + "garbage\n"), 1)) == 1


@pytest.mark.parametrize(
    "value", ["", "x", "-1", "+1", "1.0", "1_000", "\u0661", "1e3", str(MAX_TOKENS + 1), "9" * 5000]
)
@pytest.mark.parametrize("column", ["ContextTokens", "GeneratedTokens"])
def test_a_bad_number_is_named_with_file_line_column_and_remedy(trace: Write, column: str, value: str) -> None:
    """Only plain digits count tokens."""
    cells = {"ContextTokens": "1", "GeneratedTokens": "2"} | {column: value}
    path = trace(f"{HEADER}{LINE}2023-11-16,{cells['ContextTokens']},{cells['GeneratedTokens']}\n")
    error = refusal(path)
    assert (error.path, error.line, error.column) == (path, 3, column)
    assert str(error).startswith(f"{path}:3: {column}: {value[:70]!r}"[:-1])
    assert "whole number from 0 to 100,000,000" in str(error)
    assert len(str(error)) < len(str(path)) + 250


@pytest.mark.parametrize("value", ["", "yesterday", "1969-12-31 23:59:59", "0001-01-01T00:00:00+23:00", "2023-13-01"])
def test_a_bad_time_is_named_with_file_line_column_and_remedy(trace: Write, value: str) -> None:
    """Also one before 1970, and one that UTC cannot hold."""
    path = trace(f"{HEADER}{value},1,2\n")
    error = refusal(path)
    assert str(error).startswith(f"{path}:2: TIMESTAMP: {value!r}")
    assert (error.line, error.column) == (2, "TIMESTAMP")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "the file is empty"),
        (b"\n\n", "the file is empty"),
        (HEADER.encode(), "no rows"),
        (b"TIMESTAMP,ContextTokens\n2023-11-16,1\n", ":1: the column GeneratedTokens is missing"),
        (b"TIMESTAMP,TIMESTAMP,ContextTokens,GeneratedTokens\n", ":1: the column TIMESTAMP stands twice"),
        (HEADER.encode() + b"2023-11-16,1\n", ":2: GeneratedTokens: the line has only 2 values"),
        (b"\x7fELF\x02\x01\x01\x00\xff\xfe", "not UTF-8 text (byte 0xff"),
        (b"\x1f\x8b\x08\x00", "not UTF-8 text (byte 0x8b"),
        (HEADER.encode() + b'2023-11-16,"1"x,2\n', ":2: this is not CSV"),
        (HEADER.encode() + b'2023-11-16,"1,2\n', "this is not CSV"),
        (b"\x00\x00\x00\x00\n", "is missing, the header is '\\x00"),
    ],
)
def test_a_file_that_is_no_trace_is_refused_in_one_clean_line(trace: Write, content: bytes, said: str) -> None:
    """Whatever it holds, the message names the file, and prints nothing raw."""
    path = trace(content)
    error = refusal(path)
    assert str(error).startswith(str(path))
    assert said in str(error)
    assert str(error).isprintable()


def test_a_trace_error_is_a_value_error_of_the_project(trace: Write) -> None:
    """Callers may catch either."""
    assert isinstance(refusal(trace("")), ValueError)
    assert isinstance(refusal(trace("")), TelemetryError)


@given(st.binary(max_size=200), st.booleans())
def test_no_content_raises_anything_but_a_trace_error(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, headed: bool
) -> None:
    """Bytes of any kind, with and without the right header before them."""
    path = tmp_path_factory.getbasetemp() / "any.csv"
    path.write_bytes(HEADER.encode() + content if headed else content)
    try:
        rows = read_trace(path)
    except TraceError:
        return
    assert rows


@given(
    st.lists(
        st.tuples(
            st.datetimes(datetime(1970, 1, 1), datetime(9999, 12, 31)),  # noqa: DTZ001 - written without a zone
            st.integers(0, MAX_TOKENS),
            st.integers(0, MAX_TOKENS),
        ),
        min_size=1,
        max_size=5,
    )
)
def test_what_is_written_is_read(
    tmp_path_factory: pytest.TempPathFactory, calls: list[tuple[datetime, int, int]]
) -> None:
    """Every time and count survives."""
    path = tmp_path_factory.getbasetemp() / "written.csv"
    path.write_text(HEADER + "".join(f"{time},{context},{generated}\n" for time, context, generated in calls))
    read = [(row.timestamp.replace(tzinfo=None), row.context_tokens, row.generated_tokens) for row in read_trace(path)]
    assert read == calls
    assert all(row.timestamp.utcoffset() == timedelta(0) for row in read_trace(path))
