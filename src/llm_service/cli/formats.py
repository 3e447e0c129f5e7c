"""Rows as CSV, JSON, JSON lines or Markdown, on standard output or in a file that is in place only when complete."""

import csv
import io
import json
import re
import sys
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, TextIO

import click

from llm_service.cli.output import cells, clean, is_terminal, json_line
from llm_service.cli.tables import Column
from llm_service.cli.target import Target

__all__ = ["Form", "Output", "Rows", "changed", "formatted", "new_file", "put_out"]

Form = Literal["table", "csv", "json", "jsonl", "md"]
_FORMS: Final[tuple[Form, ...]] = ("table", "csv", "json", "jsonl", "md")
_FORMULA: Final = re.compile("[=+\\-@\t\r\uff1d\uff0b\uff0d\uff20]")
"""What makes a spreadsheet take a cell for a formula, full-width forms among it (OWASP, "CSV Injection")."""
_MARKUP: Final = re.compile(r"([\\`*_{}\[\]<>|~&#!$])")
"""What Markdown may take for more than text."""


class Output(NamedTuple):
    """How rows are written, and where to; without a path on standard output."""

    form: Form = "table"
    path: Path | None = None
    force: bool = False
    safe: bool = False


class Rows(NamedTuple):
    """What is written.

    Attributes:
        rows: what CSV and JSON lines have, each with the same keys.
        columns: how Markdown shows them.
        names: the keys of rows.
        document: what JSON is, as a whole.
    """

    rows: Sequence[Mapping[str, Any]]
    columns: Sequence[Column]
    names: Sequence[str]
    document: object


def formatted(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that say how rows are written; it takes them as `output`. It stands above `common`.

    A target is `as_json` wherever no table is meant: what is said beside the rows belongs on stderr then.
    """

    @click.option(
        "--format", "form", type=click.Choice(_FORMS), help="How to write.  [default: as FILE ends, or table]"
    )
    @click.option(
        "-o", "--output", "path", type=click.Path(path_type=Path), metavar="FILE", help="A file (0600), not a table."
    )
    @click.option("--force", is_flag=True, help="Replace FILE where it exists and is no database.")
    @click.option("--safe-csv", "safe", is_flag=True, help="Put ' before cells that a spreadsheet would run.")
    @wraps(command)
    def run(
        *given: Any, form: Form | None, path: Path | None, force: bool, safe: bool, as_json: bool, **options: Any
    ) -> Any:
        chosen = _form(form, path, as_json=as_json)
        output = Output(chosen, path, force, safe)
        return command(*given, output=output, as_json=chosen != "table", **options)

    return run


def _form(form: Form | None, path: Path | None, *, as_json: bool) -> Form:
    ending = "" if path is None else path.suffix.removeprefix(".").lower()
    chosen = "json" if as_json else form or (ending if ending in _FORMS else "table")
    if path is not None and chosen == "table":
        raise click.UsageError(f"a file is no table; give --format {', '.join(_FORMS[1:-1])} or {_FORMS[-1]}")
    return chosen


def put_out(output: Output, target: Target, found: Rows, view: Callable[[], object]) -> None:
    """Write rows where they belong; a table is printed by the view.

    Raises:
        StoreError: see `new_file`.
    """
    if output.form == "table":
        view()
    elif output.path is None:
        # UTF-8 whatever the locale: what programs read is the same everywhere.
        sys.stdout.flush()
        sys.stdout.buffer.write(_text(output, found, shown=is_terminal(sys.stdout)).encode("utf-8", "replace"))
        sys.stdout.buffer.flush()
    else:
        with new_file(output.path, replace=output.force, database=target.path()) as stream:
            stream.write(_text(output, found))
        count = len(found.rows)
        rows = "1 row" if count == 1 else f"{count:,} rows"
        click.echo(f"{rows} written to {click.format_filename(output.path)}", err=True)


def _text(output: Output, found: Rows, *, shown: bool = False) -> str:
    if output.form == "json":
        return json.dumps(found.document, indent=2, allow_nan=False) + "\n"
    if output.form == "jsonl":
        return "".join(f"{json_line(row)}\n" for row in found.rows)
    if output.form == "md":
        return _markdown(found)
    stream = io.StringIO(newline="")
    # RFC 4180: lines end in CRLF, and a text that holds either is quoted. A terminal adds its own CR.
    writer = csv.writer(stream, lineterminator="\n" if shown else "\r\n")
    change = changed(safe=output.safe, shown=shown)
    writer.writerow([_cell(name, change) for name in found.names])
    writer.writerows([_cell(row[name], change) for name in found.names] for row in found.rows)
    return stream.getvalue()


def _cell(value: object, change: Callable[[str], str] | None) -> object:
    """A value as the csv module writes it: NULL as an empty cell, a bool and a list as in JSON."""
    if isinstance(value, bool | list | dict):
        return json.dumps(value)
    return change(value) if change is not None and isinstance(value, str) else value


def _markdown(found: Rows) -> str:
    """A table as GitHub takes it; whatever a cell holds, it is text there."""
    rules = ["---:" if column.justify == "right" else "---" for column in found.columns]
    rows = [[column.name for column in found.columns], *(cells(found.columns, row) for row in found.rows)]
    lines = [[_MARKUP.sub(r"\\\1", clean(cell)) for cell in row] for row in rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in (lines[0], rules, *lines[1:]))


def changed(*, safe: bool, shown: bool) -> Callable[[str], str] | None:
    """What is done to texts of CSV, if anything.

    Args:
        safe: put an apostrophe before what a spreadsheet would take for a formula.
        shown: escape control characters, because a terminal shows them.
    """
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
        database: what is exported; neither it nor what belongs to it is ever replaced.

    Raises:
        StoreError: it is one of these, there is something that must stay, or another user's link; see `target_of`.
    """
    from llm_service.telemetry.maintenance.atomic_file import delivered

    with (
        delivered(path, force=replace, database=database) as making,
        making.open("w", encoding="utf-8", newline="") as stream,
    ):
        yield stream
