"""`export`, `info` and `sql`: the file as a whole, for other programs and for questions of one's own."""

import codecs
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from llm_service.cli.group import Misuse
from llm_service.cli.options import Formats, Number, common, names_in, narrowed, narrowing, report_path, settings_for
from llm_service.cli.output import is_terminal, json_document

if TYPE_CHECKING:
    from llm_service.cli.exporting import Format

__all__ = ["export", "info", "sql"]

_MOST_ROWS = 1_000_000
_MOST_CHARACTERS = 1024 * 1024
"""Of a statement: what comes from a pipe may have no end."""


@click.command(
    epilog="""\b
Examples:
  llm-telemetry export > calls.csv
  llm-telemetry export --format jsonl --since 30d --output calls.jsonl
  llm-telemetry export --errors --safe-csv --output errors.csv --force"""
)
@click.option(
    "--format", "form", type=Formats(["csv", "jsonl"]), default="csv", show_default=True, help="What to write."
)
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), metavar="FILE", help="A file (0600), in place once complete."
)
@click.option("--force", is_flag=True, help="Replace FILE where it exists and is no database.")
@click.option("--safe-csv", is_flag=True, help="Put ' before cells that a spreadsheet would run as formulas.")
@narrowing
@common
def export(
    *,
    form: "Format",
    output: Path | None,
    force: bool,
    safe_csv: bool,
    db: Path | None,
    config: Path | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Write stored calls as CSV or JSON lines, oldest first, in constant memory.

    What was stored when it began is written, page by page, so that the writer is not held up. CSV holds the values as
    they are: open it in a spreadsheet only with --safe-csv, because texts may begin with =, +, - or @. --json is
    --format jsonl. Prompts and responses are not exported.
    """
    from llm_service.cli import exporting, known_names, reports  # noqa: PLC0415
    from llm_service.telemetry.queries.pages import read_pages  # noqa: PLC0415
    from llm_service.telemetry.stores.sqlite.reader import reading  # noqa: PLC0415

    path = reports.existing(report_path(db, config))
    form = "jsonl" if as_json else form
    known_names.say_unknown(path, **names_in(options))
    with reading(path) as fetch:
        pages = read_pages(fetch, narrowed(options))
        if output is None:
            # UTF-8 whatever the locale: a file for programs is the same everywhere.
            stream = codecs.getwriter("utf-8")(sys.stdout.buffer)
            exporting.write(pages, stream, form, safe=safe_csv, shown=is_terminal(sys.stdout))
            sys.stdout.buffer.flush()
            return
        with exporting.new_file(output, replace=force, database=path) as file:
            written = exporting.write(pages, file, form, safe=safe_csv)
    click.echo(f"{written:,} calls written to {click.format_filename(output)}", err=True)


@click.command(
    epilog="""\b
Examples:
  llm-telemetry info
  llm-telemetry info --db ./telemetry.db --json"""
)
@common
def info(*, db: Path | None, config: Path | None, as_json: bool) -> None:
    """Show the database file: sizes, rows, range of time, versions.

    With --json: one object; sizes in bytes.
    """
    from llm_service.cli import reports, views  # noqa: PLC0415

    found = reports.info(settings_for(db, config).db_path)
    if as_json:
        json_document(found)
    else:
        views.show_info(found)


@click.command(
    epilog="""\b
Examples:
  llm-telemetry sql "SELECT model_name, count(*) FROM invocations GROUP BY 1"
  llm-telemetry sql "SELECT * FROM daily_costs" --format csv --limit 100000
  llm-telemetry sql - --json < question.sql"""
)
@click.argument("statement", metavar="STATEMENT")
@click.option(
    "--format",
    "form",
    type=Formats(["table", "csv", "jsonl"]),
    default="table",
    show_default=True,
    help="How rows are printed.",
)
@click.option(
    "--limit",
    type=click.IntRange(1, _MOST_ROWS),
    default=1_000,
    show_default=True,
    metavar="N",
    help="At most so many rows.",
)
@click.option(
    "--timeout",
    type=Number(0, 86_400, min_open=True),
    default=30,
    show_default=True,
    metavar="SECONDS",
    help="How long the statement may run.",
)
@common
def sql(
    *, statement: str, form: str, limit: int, timeout: float, db: Path | None, config: Path | None, as_json: bool
) -> None:
    """Run one SQL statement that only reads; - takes it from standard input.

    Nothing can be changed: SELECT, WITH, VALUES, EXPLAIN and pragmas that tell are allowed, and no other file is
    reached. The manual lists tables and columns. With --json: one object with columns, rows and truncated.
    """
    from llm_service.cli import querying, reports, sql_views  # noqa: PLC0415

    path = reports.existing(report_path(db, config))
    text = sys.stdin.read(_MOST_CHARACTERS + 1) if statement == "-" else statement
    if len(text) > _MOST_CHARACTERS:
        raise Misuse(f"the statement is too long; give at most {_MOST_CHARACTERS:,} characters")
    answer = querying.ask(path, text, limit=limit, timeout=timeout)
    if as_json:
        json_document(sql_views.answer_dict(answer))
    else:
        sql_views.show(answer, form)
    if answer.truncated == "rows":
        click.echo(f"only the first {limit:,} rows; give --limit for more", err=True)
    elif answer.truncated:
        click.echo(f"only the first {len(answer.rows):,} rows: the answer is too large; select less of each", err=True)
