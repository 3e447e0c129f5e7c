"""How the answer to a statement of the user's own looks: values of any type, columns of any name."""

import csv
import io
import math
import sys
from typing import Any

import click

from llm_service.cli.output import clean, is_terminal, json_line, table
from llm_service.cli.querying import Answer
from llm_service.cli.tables import Column

__all__ = ["answer_dict", "show"]


def answer_dict(answer: Answer) -> dict[str, Any]:
    """For `--json`: rows as arrays, so that columns of one name stay apart; blobs in hex; infinity as null."""
    return {
        "columns": answer.columns,
        "rows": [[_plain(value) for value in row] for row in answer.rows],
        "truncated": bool(answer.truncated),
    }


def show(answer: Answer, form: str) -> None:
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


def _csv(answer: Answer) -> str:
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


def _numeric(answer: Answer, place: int) -> bool:
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
