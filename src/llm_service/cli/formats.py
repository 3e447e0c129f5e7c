"""Rows as CSV, JSON, JSON lines, Markdown or Parquet, on standard output or in a file, in place once complete."""

import codecs
import csv
import json
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import wraps
from itertools import chain
from pathlib import Path
from typing import IO, Any, Final, Literal, NamedTuple

import click

from llm_service.cli import parquet
from llm_service.cli.kinds import Kind, cell_of
from llm_service.cli.output import cells, clean, is_terminal, json_line
from llm_service.cli.tables import Column, plural
from llm_service.cli.target import Target
from llm_service.errors import ConfigError, SettingsError

__all__ = ["Form", "Output", "Rows", "changed", "formatted", "put_out", "write", "written"]

Form = Literal["table", "csv", "json", "jsonl", "md", "parquet"]
_FORMS: Final[tuple[Form, ...]] = ("table", "csv", "json", "jsonl", "md", "parquet")
_FORMULA: Final = re.compile("[=+\\-@\t\r\uff1d\uff0b\uff0d\uff20]")
"""What makes a spreadsheet take a cell for a formula, full-width forms among it (OWASP, "CSV Injection")."""
_MARKUP: Final = re.compile(r"([\\`*_{}\[\]<>|~&#!$])")
"""What Markdown may take for more than text."""
_OTHER_NAMES: Final[dict[Form, tuple[str, ...]]] = {
    "table": ("text", "txt", "plain"),
    "csv": ("tsv", "excel", "xlsx", "xls", "spreadsheet"),
    "json": (),
    "jsonl": ("ndjson", "jsonlines", "json-lines", "lines"),
    "md": ("markdown", "mkd"),
    "parquet": ("pq",),
}
_JSON_OF_ROWS: Final = "give --json, or --format jsonl"

Command = Callable[..., Any]


class Output(NamedTuple):
    """How rows are written, and where to; without a path on standard output."""

    form: Form = "table"
    path: Path | None = None
    force: bool = False
    safe: bool = False


class Rows(NamedTuple):
    """What is written.

    Attributes:
        rows: what CSV, JSON lines and Parquet have, each with the same keys.
        columns: how Markdown shows them.
        kinds: the columns, in their order, and what they hold; of a row within a row, `name.inner`.
        document: what JSON is, as a whole.
        shown: what Markdown has a line for, where that is not the rows.
    """

    rows: Sequence[Mapping[str, Any]]
    columns: Sequence[Column]
    kinds: Mapping[str, Kind]
    document: object
    shown: Sequence[Any] | None = None


def formatted(*forms: Form) -> Callable[[Command], Command]:
    """The options that say how rows are written; the command takes them as `output`. It stands above `common`.

    A target is `as_json` wherever no table is meant: what is said beside the rows belongs on stderr then.

    Args:
        forms: those that there are, the default first; none for all.
    """
    known = forms or _FORMS

    def decorate(command: Command) -> Command:
        @click.option(
            "--format", "form", type=_Forms(known), help=f"How to write.  [default: as FILE ends, or {known[0]}]"
        )
        @click.option(
            "-o",
            "--output",
            "path",
            type=click.Path(path_type=Path),
            metavar="FILE",
            help="A file (0600), in place once complete.",
        )
        @click.option("--force", is_flag=True, help="Replace FILE where it exists and is no database.")
        @click.option("--safe-csv", "safe", is_flag=True, help="Put ' before cells that a spreadsheet would run.")
        @wraps(command)
        def run(
            *given: Any, form: Form | None, path: Path | None, force: bool, safe: bool, as_json: bool, **options: Any
        ) -> Any:
            chosen = _form(known, form, path, as_json=as_json)
            output = Output(chosen, path, force, safe)
            return command(*given, output=output, as_json=chosen != "table", **options)

        return run

    return decorate


class _Forms(click.Choice[str]):
    """How rows are written; where rows are no document, who asks for JSON is told what there is."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """One of them."""
        if value == "json" and "json" not in self.choices:
            self.fail(f"{value!r} is no format here; {_JSON_OF_ROWS}", param, ctx)
        meant = _meant(str(value))
        if value not in self.choices and meant in self.choices:
            self.fail(f"{value!r} is no format; did you mean {meant}?", param, ctx)
        return super().convert(value, param, ctx)


def _meant(name: str) -> str:
    """The format of another name, or of an ending of files."""
    plain = name.lower().removeprefix(".")
    return next((form for form, others in _OTHER_NAMES.items() if plain in (form, *others)), "")


def _form(known: Sequence[Form], form: Form | None, path: Path | None, *, as_json: bool) -> Form:
    ending = "" if path is None else path.suffix.removeprefix(".").lower()
    endings: dict[str, Form] = {one: one for one in known}
    json_form: Form = "json" if "json" in known else "jsonl"
    chosen: Form = json_form if as_json else form or endings.get(ending, known[0])
    if path is not None and chosen == "table":
        meant = _meant(ending)
        hint = f"did you mean --format {meant}?" if meant in known[1:] else ""
        hint = hint or f"give --format {', '.join(known[1:-1])} or {known[-1]}"
        raise click.UsageError(f"a file is no table; {hint}")
    if chosen == "parquet":
        if path is None and is_terminal(sys.stdout):
            raise click.UsageError("Parquet is nothing for a terminal; give -o FILE")
        parquet.require_pyarrow()
    return chosen


def put_out(output: Output, target: Target, found: Rows, view: Callable[[], object]) -> None:
    """Write rows where they belong; a table is printed by the view.

    Raises:
        StoreError: see `written`.
    """
    if output.form == "table":
        view()
        return
    count = written(output, None if output.path is None else _database(target), found, [found.rows])
    if output.path is not None:
        rows = plural(count, "row")
        click.echo(f"{rows} written to {click.format_filename(output.path)}", err=True)


def _database(target: Target) -> Path | None:
    """The database that is read; None where the configuration does not say it, as what checks that finds."""
    try:
        return target.path()
    except (ConfigError, SettingsError):
        return None


def written(output: Output, database: Path | None, found: Rows, pages: Iterable[Iterable[Mapping[str, Any]]]) -> int:
    """Write pages of rows, on standard output or into a private file (0600), and say how many rows it were.

    A file comes into its place when all is written; otherwise nothing is left of it.

    Args:
        database: what the rows are of, where that is known; neither it nor what belongs to it is ever replaced.

    Raises:
        StoreError: it is one of these, there is something that must stay, or another user's link; see `target_of`.
    """
    if output.path is None:
        # UTF-8 whatever the locale: what programs read is the same everywhere.
        sys.stdout.flush()
        stream = sys.stdout.buffer
        count = write(stream, output, found, pages, shown=is_terminal(sys.stdout))
        stream.flush()
        return count
    from llm_service.telemetry.maintenance.atomic_file import delivered

    with delivered(output.path, force=output.force, database=database) as making, making.open("wb") as file:
        return write(file, output, found, pages)


def write(
    stream: IO[bytes], output: Output, found: Rows, pages: Iterable[Iterable[Mapping[str, Any]]], *, shown: bool = False
) -> int:
    """Write pages of rows as UTF-8, or as Parquet, and say how many rows it were.

    Args:
        found: what the rows are; JSON is its document and Markdown what it shows, whatever the pages are.
        shown: escape control characters of CSV, because a terminal shows them; JSON has none.
    """
    if output.form == "parquet":
        return parquet.write(stream, found.kinds, pages)
    text = codecs.getwriter("utf-8")(stream, "replace")
    if output.form == "csv":
        return _csv(text, found.kinds, chain.from_iterable(pages), changed(safe=output.safe, shown=shown), shown=shown)
    if output.form == "jsonl":
        count = 0
        for row in chain.from_iterable(pages):
            text.write(f"{json_line(row)}\n")
            count += 1
        return count
    if output.form == "md":
        text.write(_markdown(found))
    else:
        text.write(json.dumps(found.document, indent=2, allow_nan=False) + "\n")
    return len(found.rows)


def _csv(
    stream: codecs.StreamWriter,
    kinds: Mapping[str, Kind],
    rows: Iterable[Mapping[str, Any]],
    change: Callable[[str], str] | None,
    *,
    shown: bool,
) -> int:
    # RFC 4180: lines end in CRLF, and a text that holds either is quoted. A terminal adds its own CR.
    writer = csv.writer(stream, lineterminator="\n" if shown else "\r\n")
    names, as_json = [*kinds], [place for place, kind in enumerate(kinds.values()) if kind in ("flag", "json")]
    is_flat = not any("." in name for name in names)
    writer.writerow(_changed(names, change))
    count = 0
    for row in rows:
        values = [row[name] for name in names] if is_flat else [cell_of(row, name) for name in names]
        for place in as_json:
            if values[place] is not None:
                values[place] = json.dumps(values[place])
        writer.writerow(_changed(values, change))
        count += 1
    return count


def _changed(values: list[Any], change: Callable[[str], str] | None) -> list[Any]:
    return values if change is None else [change(value) if isinstance(value, str) else value for value in values]


def _markdown(found: Rows) -> str:
    """A table as GitHub takes it; whatever a cell holds, it is text there."""
    rules = ["---:" if column.justify == "right" else "---" for column in found.columns]
    items = found.rows if found.shown is None else found.shown
    rows = [[column.name for column in found.columns], *(cells(found.columns, item) for item in items)]
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
