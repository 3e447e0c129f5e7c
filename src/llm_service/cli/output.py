"""How text reaches the terminal: cleaned of control characters, in tables where one looks, in plain lines where not.

Rich is imported only where a terminal is drawn on.
"""

import json
import os
import re
import sys
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Any, Final, Literal, NamedTuple, TextIO

import click

__all__ = ["Column", "clean", "is_terminal", "json_document", "lines", "progress", "table"]

# C0, DEL and C1; line separators, direction marks and overrides, lone surrogates.
_CONTROLS: Final = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


class Column(NamedTuple):
    """A column's heading, the side it is aligned to, and whether its text stays on one line. Numbers always do."""

    name: str
    justify: Literal["left", "right"] = "left"
    whole: bool = False


def clean(text: str) -> str:
    """Text that no terminal takes as a command: every control character becomes U+FFFD."""
    return _CONTROLS.sub("\ufffd", text)


def is_terminal(stream: TextIO) -> bool:
    """Whether somebody looks at this stream through a terminal that can do more than print lines."""
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def json_document(value: Any) -> None:
    """Print a value as JSON: ASCII, so that no terminal takes part of it as a command."""
    click.echo(json.dumps(value, indent=2))


def lines(pairs: Sequence[tuple[str, str]]) -> None:
    """Print names and values, one pair a line."""
    width = max(len(name) for name, _ in pairs)
    for name, value in pairs:
        click.echo(clean(f"{name:<{width}}  {value}"))


def table(columns: Sequence[Column], rows: Sequence[Sequence[str]], totals: Sequence[str] | None = None) -> None:
    """Print a table: fitted to the width of a terminal, in plain aligned columns elsewhere.

    Args:
        columns: at least one.
        rows: a text for each column; data of any origin.
        totals: a last row, set apart.
    """
    cells = [[clean(cell) for cell in row] for row in rows]
    if is_terminal(sys.stdout):
        _draw(columns, cells, totals)
        return
    shown = [[column.name for column in columns], *cells, *([] if totals is None else [list(totals)])]
    widths = [max(len(row[place]) for row in shown) for place in range(len(columns))]
    for row in shown:
        aligned = (
            cell.rjust(width) if column.justify == "right" else cell.ljust(width)
            for cell, width, column in zip(row, widths, columns, strict=True)
        )
        click.echo("  ".join(aligned).rstrip())


def _draw(columns: Sequence[Column], rows: Sequence[Sequence[str]], totals: Sequence[str] | None) -> None:
    from rich import box  # noqa: PLC0415
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    drawn = Table(box=box.SIMPLE_HEAD, show_footer=totals is not None, show_edge=False, padding=(0, 1, 0, 0))
    for place, column in enumerate(columns):
        drawn.add_column(
            column.name,
            Text("" if totals is None else totals[place], style="bold"),
            justify=column.justify,
            no_wrap=column.whole or column.justify == "right",
            overflow="fold",
        )
    for row in rows:
        drawn.add_row(*(Text(cell) for cell in row))  # Text, not str: data is no markup
    Console(file=sys.stdout, highlight=False).print(drawn)


@contextmanager
def progress(total: int, what: str) -> Generator[Callable[[int], None]]:
    """Show on stderr how far a work of `total` steps is; the block calls what it is given with the steps done.

    A bar on a terminal; a line for each quarter where the output is piped, or `NO_COLOR` is set.
    """
    if not is_terminal(sys.stderr) or os.environ.get("NO_COLOR"):
        yield _Quarters(total, what)
        return
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn  # noqa: PLC0415

    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(file=sys.stderr),
        redirect_stdout=False,
        redirect_stderr=False,
        refresh_per_second=4,  # it draws in a thread of its own; more often would disturb the loop that is measured
    ) as bar:
        task = bar.add_task(what, total=total)
        yield lambda done: bar.update(task, completed=done)


class _Quarters:
    """Says so whenever another quarter is done."""

    def __init__(self, total: int, what: str) -> None:
        self._total = total
        self._what = what
        self._said = 0

    def __call__(self, done: int) -> None:
        quarter = 4 * done // self._total
        if quarter > self._said:
            self._said = quarter
            click.echo(f"{self._what}: {done:,} of {self._total:,}", err=True)
