"""How text reaches the terminal: cleaned of control characters, in tables where one looks, in plain lines where not."""

import json
import os
import re
import shutil
import sys
import textwrap
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, TextIO

import click

from llm_service.cli.tables import Column, Layout, count, fit, plural, row_text

__all__ = [
    "Printer", "block", "cells", "clean", "is_colored", "is_terminal", "json_document", "json_line", "lines", "listing",
    "progress", "say_deleted", "table",
]  # fmt: skip

# C0, DEL and C1; soft hyphen; zero-width characters other than the two joiners that scripts need; line separators,
# direction marks and overrides; lone surrogates; the byte-order mark, interlinear marks, tags of invisible text.
_CONTROLS: Final = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufeff\ufff9-\ufffb"
    "\U000e0000-\U000e007f]"
)
_COLOURS: Final = frozenset({"red", "yellow"})
_SHORT: Final = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def clean(text: str) -> str:
    r"""Text that no terminal takes as a command: control and invisible characters stand as `\n`, `\x1b`, `\u202e`.

    A backslash stays one, so that paths read as they are; who must tell `\n` from a line break reads the JSON.
    """
    return text if text.isascii() and text.isprintable() else _CONTROLS.sub(_escaped, text)


def _escaped(found: re.Match[str]) -> str:
    character = found[0]
    code = ord(character)
    short = f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
    return _SHORT.get(character, short)


def is_terminal(stream: TextIO) -> bool:
    """Whether somebody looks at this stream through a terminal that can do more than print lines."""
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def is_colored(stream: TextIO) -> bool:
    """Whether to colour: never with `NO_COLOR`, else always with `FORCE_COLOR`, else on a terminal.

    Both count where they are set and not empty (https://no-color.org, https://force-color.org).
    """
    if os.environ.get("NO_COLOR"):
        return False
    return bool(os.environ.get("FORCE_COLOR")) or is_terminal(stream)


def json_document(value: Any) -> None:
    """Print a value as JSON: ASCII, so that no terminal takes part of it as a command."""
    click.echo(json.dumps(value, indent=2, allow_nan=False))


def json_line(value: Any) -> str:
    """A value as one line of JSON, ASCII."""
    return json.dumps(value, allow_nan=False)


def lines(pairs: Sequence[tuple[str, str]]) -> None:
    """Print names and values, one pair a line; on a terminal, long values go on below, broken between words."""
    indent = max(len(name) for name, _ in pairs) + 2
    columns = shutil.get_terminal_size().columns if is_terminal(sys.stdout) else None
    for name, value in pairs:
        shown = [clean(value)]
        if columns is not None:
            width = max(20, columns - indent)
            shown = textwrap.wrap(shown[0], width, break_long_words=False, break_on_hyphens=False) or [""]
        click.echo(f"{clean(name):<{indent}}" + f"\n{' ' * indent}".join(shown))


def cells(columns: Sequence[Column], item: Any) -> list[str]:
    """The texts of a row that shows this."""
    return [column.of(item) for column in columns]


def listing(
    columns: Sequence[Column],
    items: Iterable[Any],
    totals: Sequence[str] | None = None,
    marked: Callable[[Sequence[str]], str | None] | None = None,
    *,
    empty: str | None = None,
) -> None:
    """Print a table with a row for each of these (see `table`), or what is to be said where there is none."""
    rows = [cells(columns, item) for item in items]
    if empty is None or rows:
        table(columns, rows, totals, marked)
    else:
        click.echo(empty)


def block(text: str) -> None:
    """Print a text of many lines behind a margin, so that none of them passes for a line of ours."""
    click.echo("\n".join(f"  | {clean(line)}" for line in text.split("\n")))


def table(
    columns: Sequence[Column],
    rows: Sequence[Sequence[str]],
    totals: Sequence[str] | None = None,
    marked: Callable[[Sequence[str]], str | None] | None = None,
) -> None:
    """Print a table: each row one line, cut to the width of a terminal; plain aligned columns, whole, elsewhere.

    Args:
        totals: a last row, set apart.
        marked: the colour of a row, where it has one.
    """
    printer = Printer(columns, rows if totals is None else [*rows, totals])
    printer.heading()
    printer.rows(rows, marked)
    if totals is not None:
        printer.rows([totals], lambda _: "bold")
    printer.left_out()


class Printer:
    """A table that may go on: its layout is decided once."""

    def __init__(self, columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> None:
        self._columns = columns
        self._colored = is_colored(sys.stdout)
        width = shutil.get_terminal_size().columns if is_terminal(sys.stdout) else None
        self._layout: Layout = fit(columns, [[clean(cell) for cell in row] for row in rows], width)

    def heading(self) -> None:
        """Print the names of the columns."""
        self.rows([[column.name for column in self._columns]], lambda _: "bold")

    def rows(self, rows: Iterable[Sequence[str]], marked: Callable[[Sequence[str]], str | None] | None = None) -> None:
        """Print rows, all in one go."""
        shown: list[str] = []
        for row in rows:
            cells = [clean(cell) for cell in row]
            line = "".join(row_text(self._columns, self._layout, cells)).rstrip()
            shown.append(self._styled(line, None if marked is None else marked(row)))
        if shown:
            click.echo("\n".join(shown), color=self._colored)

    def left_out(self) -> None:
        """Say which columns did not fit."""
        missing = [column.name for place, column in enumerate(self._columns) if place not in self._layout.places]
        if missing:
            text = f"not shown for lack of width: {', '.join(missing)}"
            for line in textwrap.wrap(text, max(20, shutil.get_terminal_size().columns)):
                click.echo(self._styled(line, "dim"), color=self._colored)

    def _styled(self, line: str, style: str | None) -> str:
        if style is None or not self._colored:
            return line
        return click.style(line, fg=style) if style in _COLOURS else click.style(line, **{style: True})


def say_deleted(report: Mapping[str, Any], *, err: bool = False) -> None:
    """Say how many calls a report lacks, because their records are deleted."""
    deleted, since = report["deleted_invocations"], report["records_since"]
    if deleted:
        kept = "" if since is None else f"; records are kept since {since} (UTC)"
        failures = report.get("deleted_failures")
        failed = "" if failures is None else f", {count(failures)} of them failed"
        click.echo(f"not counted: {plural(deleted, 'call')} of which only daily totals are left{failed}{kept}", err=err)


@contextmanager
def progress(total: int, what: str) -> Generator[Callable[[int], None]]:
    """Show on stderr how far a work of `total` steps is; the block calls what it is given with the steps done.

    A bar on a terminal; a line for each quarter where the output is piped, or `NO_COLOR` is set.
    """
    if not is_terminal(sys.stderr) or os.environ.get("NO_COLOR"):
        yield _quarters(total, what)
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

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


def _quarters(total: int, what: str) -> Callable[[int], None]:
    """Say so whenever another quarter is done."""
    said = 0

    def say(done: int) -> None:
        nonlocal said
        if 4 * done // total > said:
            said = 4 * done // total
            click.echo(f"{what}: {done:,} of {total:,}", err=True)

    return say
