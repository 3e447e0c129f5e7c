"""`export`: stored calls as CSV or JSON lines, written page by page, in place only when complete."""

import codecs
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, TextIO

import click

from llm_service.cli.formats import changed, new_file
from llm_service.cli.options import Formats, common, examples, narrowing
from llm_service.cli.output import is_terminal, json_line
from llm_service.cli.target import Names, Target, existing, reading, say_unknown

if TYPE_CHECKING:
    from llm_service.telemetry.queries.rows import InvocationRow
    from llm_service.telemetry.stores.base import Fetch

__all__ = ["export", "write"]

Format = Literal["csv", "jsonl"]
_JSON: Final = ("stream", "tags", "metadata")


@click.command(
    epilog=examples(
        "export > calls.csv",
        "export --format jsonl --since 30d --output calls.jsonl",
        "export --errors --safe-csv --output errors.csv --force",
        "export --content --format jsonl --session 4711 > session.jsonl",
    )
)
@click.option(
    "--format", "form", type=Formats(["csv", "jsonl"]), default="csv", show_default=True, help="What to write."
)
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), metavar="FILE", help="A file (0600), in place once complete."
)
@click.option("--force", is_flag=True, help="Replace FILE where it exists and is no database.")
@click.option("--content", is_flag=True, help="Prompts and responses, too, where they are stored (level full).")
@click.option("--safe-csv", is_flag=True, help="Put ' before cells that a spreadsheet would run as formulas.")
@narrowing
@common
def export(
    *,
    form: Format,
    output: Path | None,
    force: bool,
    safe_csv: bool,
    content: bool,
    names: Names,
    calls: dict[str, Any],
    since: str | None,
    until: str | None,
    target: Target,
) -> None:
    """Write stored calls as CSV or JSON lines, oldest first, in constant memory.

    What was stored when it began is written, page by page, so that the writer is not held up. CSV holds the values as
    they are: open it in a spreadsheet only with --safe-csv, because texts may begin with =, +, - or @. --json is
    --format jsonl. With --content, prompt and response are the last two columns.
    """
    from llm_service.telemetry.queries.filters import InvocationFilter
    from llm_service.telemetry.queries.pages import read_pages

    path, asked = existing(target.report_path()), target.range(since, until)
    chosen = InvocationFilter(**calls, since=asked.start, until=asked.end)
    form = "jsonl" if target.as_json else form
    say_unknown(path, names)
    with reading(path) as fetch:
        pages = read_pages(fetch, chosen)
        rows = _with_contents(fetch, pages) if content else pages
        if output is None:
            # UTF-8 whatever the locale: a file for programs is the same everywhere.
            stream = codecs.getwriter("utf-8")(sys.stdout.buffer)
            write(rows, stream, form, safe=safe_csv, shown=is_terminal(sys.stdout), content=content)
            sys.stdout.buffer.flush()
            click.echo(f"range: {asked}", err=True)
            return
        with new_file(output, replace=force, database=path) as file:
            written = write(rows, file, form, safe=safe_csv, content=content)
    click.echo(f"{written:,} calls written to {click.format_filename(output)}; range: {asked}", err=True)


def _with_contents(
    fetch: "Fetch", pages: "Iterable[list[InvocationRow]]"
) -> "Iterator[Iterator[Mapping[str, object]]]":
    from llm_service.telemetry.queries.call_content import read_contents

    for page in pages:
        contents = read_contents(fetch, [row["id"] for row in page])
        yield (
            {**row, "prompt": prompt, "response": response}
            for row, (prompt, response) in zip(page, contents, strict=True)
        )


def write(
    pages: "Iterable[Iterable[Mapping[str, object]]]",
    stream: TextIO | codecs.StreamWriter,
    form: Format,
    *,
    safe: bool = False,
    shown: bool = False,
    content: bool = False,
) -> int:
    """Write pages of calls, and say how many calls it were.

    Args:
        stream: UTF-8, with `newline=""`.
        form: `csv` has a header, empty cells for NULL, `true` and `false`, and JSON in `tags` and `metadata`; `jsonl`
            is one object a line, in ASCII.
        safe: put an apostrophe before cells of CSV that a spreadsheet would take for formulas.
        content: the rows have prompt and response.
        shown: escape control characters of CSV, because a terminal shows them; JSON has none.
    """
    import csv

    from llm_service.telemetry.queries.rows import InvocationRow

    # RFC 4180: lines end in CRLF, and a text that holds either is quoted. A terminal adds its own CR.
    writer = csv.writer(stream, lineterminator="\n" if shown else "\r\n")
    if form == "csv":
        writer.writerow([*InvocationRow.__annotations__, *(("prompt", "response") if content else ())])
    change = changed(safe=safe, shown=shown)
    written = 0
    for row in chain.from_iterable(pages):
        if form == "csv":
            writer.writerow(_cells(row, change))
        else:
            stream.write(f"{json_line(row)}\n")
        written += 1
    return written


def _cells(row: Mapping[str, object], change: Callable[[str], str] | None) -> list[object]:
    """Values as the csv module writes them: it makes NULL an empty cell, and numbers what Python calls them."""
    cells = dict[str, object](row)
    for name in _JSON:
        if cells[name] is not None:
            cells[name] = json.dumps(cells[name])
    if change is None:
        return list(cells.values())
    return [change(cell) if isinstance(cell, str) else cell for cell in cells.values()]
