"""`search`: calls by the words of their prompts, responses and error messages; the index that makes it fast."""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import click

from llm_service.cli.formats import Output, Rows, formatted, put_out
from llm_service.cli.group import EXIT_INTERRUPTED
from llm_service.cli.kinds import kinds_of
from llm_service.cli.options import common, examples, narrowing
from llm_service.cli.output import listing, progress
from llm_service.cli.span_notes import whose
from llm_service.cli.tables import Column, Row, named
from llm_service.cli.target import Names, Target, existing, reading, say_unknown
from llm_service.cli.times import in_zone

if TYPE_CHECKING:
    from pathlib import Path

    from llm_service.telemetry.queries.search import Search

__all__ = ["search"]

_LONG: Final = 5_000
"""Calls to be read from which on a bar shows how far it is."""


def _marked(row: Row) -> str:
    """The snippet on one line, what was found in brackets."""
    text, parts, at = row["snippet"], list[str](), 0
    for start, stop in row["marks"]:
        parts += [text[at:start], "[", text[start:stop], "]"]
        at = stop
    return " ".join("".join([*parts, text[at:]]).split())


_COLUMNS: Final = (
    Column("id", "right", whole=True, of=lambda row: str(row["id"])),
    Column("time", rank=1, moment="timestamp"),
    Column("agent", both_ends=True, rank=3, of=whose),
    Column("model", both_ends=True, rank=2, of=lambda row: named(row["model_name"])),
    Column("in", rank=4, of=lambda row: row["where"].removesuffix("_message")),
    Column("text", least=30, of=_marked),
)


@click.command(
    epilog=examples(
        "search rate limit --since 7d",
        """search '"rate limit" retr* -test' --agent backend-dev""",
        "search invoice --json --limit 1000",
        "search --index",
    )
)
@click.argument("words", nargs=-1, metavar="[WORDS]...")
@narrowing
@click.option("--limit", type=int, default=50, show_default=True, help="At most so many calls.")
@click.option("--index", "indexing", is_flag=True, help="Make the index, or complete it, and do nothing else.")
@click.option("--drop-index", "dropping", is_flag=True, help="Remove the index, and do nothing else.")
@formatted()
@common
def search(
    *,
    words: tuple[str, ...],
    limit: int,
    indexing: bool,
    dropping: bool,
    names: Names,
    calls: dict[str, Any],
    since: str | None,
    until: str | None,
    output: Output,
    target: Target,
) -> None:
    """Calls whose prompt, response or error message has all WORDS; the one that arrived last first.

    Case and accents do not matter. begin* finds the beginnings of words. In single quotes of the shell, '"a phrase"'
    finds words that stand together, and 'word -other' leaves out calls that have the other. Prompts and responses are
    stored at level full alone. With an index the answer comes at once; without one the texts are read, and Ctrl-C shows
    what was found by then. With --json: one array of the rows of TelemetryLogger.search().
    """
    if indexing or dropping:
        if words or (indexing and dropping) or output.path is not None:
            raise click.UsageError("--index and --drop-index stand alone")
        _change(target, indexing=indexing)
        return
    from llm_service.telemetry.queries.filters import InvocationFilter
    from llm_service.telemetry.queries.retention_coverage import records_since
    from llm_service.telemetry.queries.search import FoundRow, Search, check_limit
    from llm_service.telemetry.queries.search_terms import Wanted

    wanted, most = Wanted.of(" ".join(words)), check_limit(limit)
    path, asked = existing(target.report_path()), target.range(since, until)
    chosen = InvocationFilter(**calls, since=asked.start, until=asked.end)
    say_unknown(path, names)
    found: list[FoundRow] = []
    interrupted = False
    with reading(path) as fetch:
        since_day = records_since(fetch)
        work = Search(fetch, wanted, chosen, most + 1)
        try:
            with _bar(work) as on_progress:
                found.extend(work.rows(on_progress))
        except KeyboardInterrupt:
            interrupted = True
    if len(found) > most:
        click.echo(f"only the newest {most:,} are shown, and there are more; give a larger --limit", err=True)
    rows, columns = found[:most], in_zone(_COLUMNS, asked.zone)
    what = Rows(rows, columns, kinds_of(FoundRow), rows)
    put_out(output, target, what, lambda: listing(columns, rows, empty="no such calls"))
    target.say_kept(since_day if len(found) <= most and not interrupted else None, asked)
    target.say_range(asked)
    if interrupted:
        click.echo("interrupted: older calls were not looked at", err=True)
        raise click.exceptions.Exit(EXIT_INTERRUPTED)


@contextmanager
def _bar(work: "Search") -> Generator[Callable[[int], object]]:
    if work.scans < _LONG:
        yield lambda _: None
        return
    with progress(work.scans, "calls read") as on_progress:
        yield on_progress


def _change(target: Target, *, indexing: bool) -> None:
    from llm_service.telemetry.maintenance import word_index

    path: Path = target.path_to_change()
    if indexing:
        with progress(100, "percent indexed") as on_progress:
            added = word_index.build(path, on_progress)
        target.show({"added": added}, lambda _: click.echo(f"the index has all contents; {added:,} were added"))
    else:
        there = word_index.remove(path)
        target.show({"dropped": there}, lambda _: click.echo("dropped" if there else "there was no index"))
