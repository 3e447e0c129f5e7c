"""Stored calls as a file for other programs: CSV or JSON lines, written page by page, in place only when complete."""

import codecs
import csv
import json
import re
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Literal, TextIO

from llm_service.cli.output import clean, json_line
from llm_service.telemetry.maintenance.atomic_file import delivered
from llm_service.telemetry.queries.questions import InvocationRow

__all__ = ["Format", "new_file", "write"]

Format = Literal["csv", "jsonl"]
Output = TextIO | codecs.StreamWriter
_COLUMNS: Final = tuple(InvocationRow.__annotations__)
_JSON: Final = tuple(_COLUMNS.index(name) for name in ("stream", "tags", "metadata"))
_FORMULA: Final = re.compile("[=+\\-@\t\r\uff1d\uff0b\uff0d\uff20]")
"""What makes a spreadsheet take a cell for a formula, full-width forms among it (OWASP, "CSV Injection")."""


def write(
    pages: Iterable[list[InvocationRow]], stream: Output, form: Format, *, safe: bool = False, shown: bool = False
) -> int:
    """Write pages of calls, and say how many calls it were.

    Args:
        pages: as `read_pages` gives them; one is held at a time.
        stream: UTF-8, with `newline=""`.
        form: `csv` has a header, empty cells for NULL, `true` and `false`, and JSON in `tags` and `metadata`; `jsonl`
            is one object a line, in ASCII.
        safe: put an apostrophe before cells of CSV that a spreadsheet would take for formulas.
        shown: escape control characters of CSV, because a terminal shows them; JSON has none.
    """
    if form == "jsonl":
        return _write_each(pages, lambda page: stream.writelines([f"{json_line(row)}\n" for row in page]))
    # RFC 4180: lines end in CRLF, and a text that holds either is quoted. A terminal adds its own CR.
    writer = csv.writer(stream, lineterminator="\n" if shown else "\r\n")
    writer.writerow(_COLUMNS)
    change = _changes(safe=safe, shown=shown)
    return _write_each(pages, lambda page: writer.writerows(_cells(row, change) for row in page))


def _write_each(pages: Iterable[list[InvocationRow]], put: Callable[[list[InvocationRow]], None]) -> int:
    written = 0
    for page in pages:
        put(page)
        written += len(page)
    return written


def _cells(row: InvocationRow, change: Callable[[str], str] | None) -> list[object]:
    """Values as the csv module writes them: it makes NULL an empty cell, and numbers what Python calls them."""
    cells: list[object] = list(row.values())
    for place in _JSON:
        if cells[place] is not None:
            cells[place] = json.dumps(cells[place])
    return cells if change is None else [change(cell) if isinstance(cell, str) else cell for cell in cells]


def _changes(*, safe: bool, shown: bool) -> Callable[[str], str] | None:
    if not (safe or shown):
        return None

    def change(text: str) -> str:
        if safe and _FORMULA.match(text):
            text = f"'{text}"
        return clean(text) if shown else text

    return change


@contextmanager
def new_file(path: Path, *, replace: bool, database: Path) -> Generator[TextIO]:
    """A private file (0600) that comes into its place when the block ends well; otherwise nothing is left of it.

    Args:
        path: where it shall be; the folder exists.
        replace: True replaces a file that is there.
        database: what is exported; neither it nor what belongs to it is ever replaced.

    Raises:
        StoreError: it is one of these, there is something that must stay, or another user's link; see `target_of`.
        OSError: the file cannot be written.
    """
    with (
        delivered(path, force=replace, database=database) as making,
        making.open("w", encoding="utf-8", newline="") as stream,
    ):
        yield stream
