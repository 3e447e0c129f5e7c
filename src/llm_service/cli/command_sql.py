"""`sql`: a question of the user's own; values of any type, columns of any name."""

import math
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from llm_service.cli.formats import Output, Rows, formatted, put_out
from llm_service.cli.group import Misuse
from llm_service.cli.kinds import guessed
from llm_service.cli.options import Number, common, examples
from llm_service.cli.output import clean, table
from llm_service.cli.tables import Column, Row, plural
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
@formatted()
@common
def sql(*, statement: str, limit: int, timeout: float, output: Output, target: Target) -> None:
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
    put_out(output, target, _rows(answer, output), lambda: _show(answer))
    if answer.truncated == "rows":
        click.echo(f"only the first {plural(limit, 'row')}; give --limit for more", err=True)
    elif answer.truncated:
        click.echo(
            f"only the first {plural(len(answer.rows), 'row')}: the answer is too large; select less of each", err=True
        )


def _rows(answer: "Answer", output: Output) -> Rows:
    """The answer; in JSON rows are arrays, so that columns of one name stay apart. Blobs are hex."""
    plain = _plain if output.form in ("json", "jsonl") else _hex
    names = _distinct(answer.columns)
    rows = [dict(zip(names, map(plain, row), strict=True)) for row in answer.rows]
    document = {
        "columns": answer.columns,
        "rows": [[*row.values()] for row in rows],
        "truncated": bool(answer.truncated),
    }
    columns = [replace(column, of=_cell(name)) for name, column in zip(names, _columns(answer), strict=True)]
    return Rows(rows, columns, guessed(names, rows), document)


def _cell(name: str) -> Callable[[Row], str]:
    return lambda row: _text(row[name], "NULL")


def _columns(answer: "Answer") -> list[Column]:
    return [
        Column(clean(name), "right" if _numeric(answer, place) else "left") for place, name in enumerate(answer.columns)
    ]


def _show(answer: "Answer") -> None:
    table(_columns(answer), [[_text(value, "NULL") for value in row] for row in answer.rows])


def _hex(value: object) -> object:
    return value.hex() if isinstance(value, bytes) else value


def _plain(value: object) -> object:
    """As JSON has it: infinity is null."""
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
