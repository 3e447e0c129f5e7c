"""`sql`: a question of the user's own; values of any type, columns of any name."""

import io
import math
import sys
from typing import TYPE_CHECKING

import click

from llm_service.cli.group import Misuse
from llm_service.cli.options import Formats, Number, common, examples
from llm_service.cli.output import clean, is_terminal, json_line, table
from llm_service.cli.tables import Column
from llm_service.cli.target import Target, existing

if TYPE_CHECKING:
    from llm_service.cli.sql_process import Answer

__all__ = ["sql"]

_MOST_CHARACTERS = 1024 * 1024
"""Of a statement: what comes from a pipe may have no end."""


@click.command(
    epilog=examples(
        'sql "SELECT model_name, count(*) FROM invocations GROUP BY 1"',
        'sql "SELECT * FROM daily_costs" --format csv --limit 100000',
        'sql "SELECT id, content_text(prompt) FROM invocation_contents ORDER BY id DESC LIMIT 1"',
        "sql - --json < question.sql",
    )
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
    type=click.IntRange(1, 1_000_000),
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
def sql(*, statement: str, form: str, limit: int, timeout: float, target: Target) -> None:
    """Run one SQL statement that only reads; - takes it from standard input.

    Nothing can be changed: SELECT, WITH, VALUES, EXPLAIN and pragmas that tell are allowed, and no other file is
    reached. The manual lists tables and columns. content_text(prompt) and content_text(response) are the texts of
    invocation_contents, cut to 16 MiB; NULL where they are damaged. With --json: one object with columns, rows and
    truncated.
    """
    from llm_service.cli import sql_process

    path = existing(target.report_path())
    text = sys.stdin.read(_MOST_CHARACTERS + 1) if statement == "-" else statement
    if len(text) > _MOST_CHARACTERS:
        raise Misuse(f"the statement is too long; give at most {_MOST_CHARACTERS:,} characters")
    answer = sql_process.ask(path, text, limit=limit, timeout=timeout)
    # Rows as arrays, so that columns of one name stay apart; blobs in hex; infinity as null.
    rows = [[_plain(value) for value in row] for row in answer.rows] if target.as_json else []
    whole = {"columns": answer.columns, "rows": rows, "truncated": bool(answer.truncated)}
    target.show(whole, lambda _: _show(answer, form))
    if answer.truncated == "rows":
        click.echo(f"only the first {limit:,} rows; give --limit for more", err=True)
    elif answer.truncated:
        click.echo(f"only the first {len(answer.rows):,} rows: the answer is too large; select less of each", err=True)


def _show(answer: "Answer", form: str) -> None:
    """Print it as `table`, `csv` or `jsonl`."""
    if form == "table":
        numbers = [_numeric(answer, place) for place in range(len(answer.columns))]
        columns = [
            Column(clean(name), "right" if number else "left")
            for name, number in zip(answer.columns, numbers, strict=True)
        ]
        table(columns, [[_text(value, "NULL") for value in row] for row in answer.rows])
    elif form == "csv":
        click.echo(_csv(answer), nl=False)
    else:
        names = _distinct(answer.columns)
        for row in answer.rows:
            click.echo(json_line(dict(zip(names, map(_plain, row), strict=True))))


def _csv(answer: "Answer") -> str:
    import csv

    text = io.StringIO(newline="")
    shown = is_terminal(sys.stdout)
    writer = csv.writer(text, lineterminator="\n" if shown else "\r\n")
    for row in (answer.columns, *answer.rows):
        cells = [_text(value, "") for value in row]
        writer.writerow([clean(cell) for cell in cells] if shown else cells)
    return text.getvalue()


def _plain(value: object) -> object:
    if isinstance(value, bytes):
        return value.hex()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _text(value: object, null: str) -> str:
    if value is None:
        return null
    return value.hex() if isinstance(value, bytes) else str(value)


def _numeric(answer: "Answer", place: int) -> bool:
    found = [row[place] for row in answer.rows if row[place] is not None]
    return bool(found) and all(isinstance(value, int | float) for value in found)


def _distinct(names: list[str]) -> list[str]:
    """Each name once: a second `x` is `x_2`."""
    given: dict[str, None] = {}
    numbers: dict[str, int] = {}
    for name in names:
        new = name
        while new in given:
            numbers[name] = number = numbers.get(name, 1) + 1
            new = f"{name}_{number}"
        given[new] = None
    return list(given)
