"""Reading a trace of LLM calls from CSV: one row is when a call was made, and how many tokens went in and came out.

The format is that of the Azure LLM Inference Trace 2023 (https://github.com/Azure/AzurePublicDataset): the columns
`TIMESTAMP`, `ContextTokens` and `GeneratedTokens`, in any order and among others.
"""

import csv
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NamedTuple, TextIO

from llm_service.errors import TelemetryError
from llm_service.redaction import shown

__all__ = ["COLUMNS", "TraceError", "TraceRow", "read_trace"]

COLUMNS: Final = ("TIMESTAMP", "ContextTokens", "GeneratedTokens")
MAX_TOKENS: Final = 100_000_000
"""More than any model takes; what is modelled from it still fits a record."""
_LONGEST_LINE: Final = 65_536
_EARLIEST: Final = datetime(1970, 1, 1, tzinfo=UTC)


class TraceError(TelemetryError, ValueError):
    """A trace cannot be read.

    The message reads `FILE:LINE: COLUMN: what is wrong; remedy`, without the parts that do not apply.

    Attributes:
        line: counted from 1; None where the whole file is at fault.
    """

    def __init__(self, path: Path, problem: str, *, line: int | None = None, column: str | None = None) -> None:
        place = str(path) if line is None else f"{path}:{line}"
        super().__init__(f"{place}: {'' if column is None else f'{column}: '}{problem}")
        self.path = path
        self.line = line
        self.column = column


class TraceRow(NamedTuple):
    """One call of a trace; `number` counts from 0, `timestamp` is aware UTC with microseconds."""

    number: int
    timestamp: datetime
    context_tokens: int
    generated_tokens: int


def read_trace(path: Path, limit: int | None = None) -> list[TraceRow]:
    """Read a trace; further digits than microseconds are cut, a time without a zone is UTC, blank lines are skipped.

    Args:
        path: a UTF-8 CSV file with a header.
        limit: read at most so many rows; None reads all.

    Raises:
        TraceError: naming file, line, column, value and remedy.
    """
    rows: list[TraceRow] = []
    with path.open(encoding="utf-8-sig", newline="") as file:
        lines = _lines(path, file)
        header_line, header = next(lines, (0, None))
        if header is None:
            raise TraceError(path, f"the file is empty; give a CSV with the columns {', '.join(COLUMNS)}")
        positions = _positions(path, header_line, header)
        for line, cells in lines:
            if limit is not None and len(rows) >= limit:
                break
            values: list[Any] = []
            for column, position, read in zip(COLUMNS, positions, (_timestamp, _tokens, _tokens), strict=True):
                try:
                    values.append(read(_cell(cells, position)))
                except ValueError as error:
                    raise TraceError(path, str(error), line=line, column=column) from None
            rows.append(TraceRow(len(rows), *values))
    if not rows:
        raise TraceError(path, "the file has a header but no rows; give at least one call")
    return rows


def _lines(path: Path, file: TextIO) -> Iterator[tuple[int, list[str]]]:
    """The lines that hold something, the header among them, each under its number."""
    reader = csv.reader(_short_lines(path, file), strict=True)
    try:
        for cells in reader:
            if any(cells):
                yield reader.line_num, cells
    except UnicodeDecodeError as error:
        found = f"byte 0x{error.object[error.start]:02x}"
        raise TraceError(
            path, f"the file is not UTF-8 text ({found} after line {reader.line_num}); give a CSV"
        ) from None
    except csv.Error as error:
        raise TraceError(path, f"this is not CSV ({error}); quote or repair it", line=reader.line_num) from None


def _short_lines(path: Path, file: TextIO) -> Iterator[str]:
    """The lines of the file. A device may never end its first one.

    Raises:
        TraceError: one is too long.
    """
    number = 0
    while line := file.readline(_LONGEST_LINE + 1):
        number += 1
        if len(line) > _LONGEST_LINE:
            raise TraceError(path, f"the line is longer than {_LONGEST_LINE:,} characters; give a CSV", line=number)
        yield line


def _positions(path: Path, line: int, header: list[str]) -> list[int]:
    names = [name.strip() for name in header]
    for column in COLUMNS:
        if column not in names:
            found = shown(",".join(names))
            problem = f"the column {column} is missing, the header is {found}; name the columns {', '.join(COLUMNS)}"
            raise TraceError(path, problem, line=line)
        if names.count(column) > 1:
            raise TraceError(path, f"the column {column} stands twice; keep one", line=line)
    return [names.index(column) for column in COLUMNS]


def _cell(cells: list[str], position: int) -> str:
    if position >= len(cells):
        raise ValueError(f"the line has only {len(cells)} values; fill it or remove it")
    return cells[position].strip()


def _timestamp(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
        aware = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        aware = None
    if aware is None or aware < _EARLIEST:
        raise ValueError(f"{shown(text)} is no time from 1970 to 9999; write it as 2023-11-16 18:17:03.979960")
    return aware


def _tokens(text: str) -> int:
    # int() would also take "1_000", "+5" and digits of other scripts.
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(MAX_TOKENS)) and int(text) <= MAX_TOKENS):
        raise ValueError(f"{shown(text)} is no number of tokens; write a whole number from 0 to {MAX_TOKENS:,}")
    return int(text)
