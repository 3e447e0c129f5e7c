"""`invocations`: stored calls, newest first, and new ones as they come."""

from contextlib import closing
from dataclasses import replace
from datetime import tzinfo
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn

import click

from llm_service.cli.formats import Output, Rows, formatted, put_out
from llm_service.cli.kinds import kinds_of
from llm_service.cli.options import common, examples, narrowing
from llm_service.cli.output import Printer, cells, json_line
from llm_service.cli.span_notes import whose
from llm_service.cli.tables import Column, Row, named, rounded, status_colour, usd
from llm_service.cli.target import Names, Target, existing, read, say_unknown
from llm_service.cli.times import in_zone, shown_time

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llm_service.telemetry.queries.filters import InvocationFilter
    from llm_service.telemetry.queries.rows import InvocationRow

__all__ = ["invocations"]


def _columns(zone: tzinfo) -> list[Column]:
    from llm_service.telemetry.record.timestamps import is_ahead

    def time(row: Row) -> str:
        return shown_time(row["timestamp"], zone) + (" (ahead)" if is_ahead(row["timestamp"]) else "")

    return [replace(column, of=time) if column.moment else column for column in in_zone(_COLUMNS, zone)]


_COLUMNS: Final = (
    Column("id", "right", rank=4, typical=5, of=lambda row: str(row["id"])),
    Column("time", typical=19, moment="timestamp"),
    Column("agent", both_ends=True, least=12, typical=16, of=whose),
    Column("tool", both_ends=True, rank=7, typical=11, of=lambda row: named(row["tool_name"])),
    Column("model", both_ends=True, least=12, rank=3, typical=17, of=lambda row: named(row["model_name"])),
    Column("in", "right", rank=6, typical=6, of=lambda row: rounded(row["prompt_tokens"])),
    Column("out", "right", rank=5, typical=6, of=lambda row: rounded(row["completion_tokens"])),
    Column("cost USD", "right", rank=1, typical=8, of=lambda row: usd(row["cost_usd"], 6)),
    Column("ms", "right", rank=2, typical=7, of=lambda row: rounded(row["latency_ms"])),
    Column(
        "status", typical=9,
        of=lambda row: row["status"] if row["error_message"] is None else f"{row['status']}: {row['error_message']}",
    ),
)  # fmt: skip


@click.command(
    epilog=examples(
        "invocations --errors --since 2h",
        "invocations --since yesterday --until yesterday --tz America/Los_Angeles",
        "invocations --since 2026-11-23T18:00:00Z --agent backend-dev",
        "invocations --follow",
        "invocations --session 4711 --json",
    )
)
@narrowing
@click.option("--limit", type=int, default=20, show_default=True, help="At most so many; with --follow, to begin with.")
@click.option("-f", "--follow", is_flag=True, help="Go on: print new calls as any process commits them.")
@formatted()
@common
def invocations(
    *,
    limit: int,
    follow: bool,
    names: Names,
    calls: dict[str, Any],
    since: str | None,
    until: str | None,
    output: Output,
    target: Target,
) -> None:
    """Stored calls, newest first.

    With --follow, oldest first, then the new ones in the order of arrival, until Ctrl-C; --limit 0 begins with new
    ones. With --json: one array of the rows of get_invocations; with --follow, one object a line.
    """
    from llm_service.telemetry.queries import questions
    from llm_service.telemetry.queries.filters import InvocationFilter
    from llm_service.telemetry.queries.newest import read_newest
    from llm_service.telemetry.queries.retention_coverage import records_since

    path, asked = target.report_path(), target.range(since, until)
    chosen = InvocationFilter(**calls, since=asked.start, until=asked.end)
    if follow:
        if output.path is not None or output.form not in ("table", "json", "jsonl"):
            raise click.UsageError("--follow goes on: it has a table, or --format jsonl, on standard output")
        existing(path)
        if since is not None or until is not None:
            click.echo(f"range: {asked}", err=True)
        _follow(path, chosen, limit, None if target.as_json else asked.zone)
    most = limit + 1 if 0 < limit < questions.MAX_LIMIT else limit
    found, since_day = read(path, lambda fetch: (read_newest(fetch, chosen, most), records_since(fetch)))
    say_unknown(path, names)
    if len(found) > limit:
        click.echo(f"only the newest {limit:,} are shown, and there are more; give a larger --limit", err=True)
    rows = found[:limit]
    what = Rows(rows, _columns(asked.zone), kinds_of(questions.InvocationRow), rows)
    put_out(output, target, what, lambda: _show(rows, asked.zone))
    target.say_kept(since_day if len(found) <= limit else None, asked)
    target.say_range(asked)


def _follow(path: Path, chosen: "InvocationFilter", limit: int, zone: tzinfo | None) -> NoReturn:
    from llm_service.cli import following

    arriving = following.follow(path, chosen, limit, following.pause_while_read())
    with closing(arriving):
        if zone is None:  # as JSON
            for rows in arriving:
                if rows:
                    click.echo("\n".join(map(json_line, rows)))
        else:
            stored = next(arriving) if limit else []
            columns = _columns(zone)
            printer = _heading(columns, stored)
            _print(printer, columns, stored)
            for rows in arriving:
                _print(printer, columns, rows)
    raise click.exceptions.Exit(1)  # the reader went away: as when a write to it fails


def _show(rows: "Sequence[InvocationRow]", zone: tzinfo) -> None:
    if not rows:
        click.echo("no such calls")
        return
    columns = _columns(zone)
    printer = _heading(columns, rows)
    _print(printer, columns, rows)
    printer.left_out()


def _heading(columns: "Sequence[Column]", rows: "Sequence[InvocationRow]") -> Printer:
    """A table that may go on; where no rows are known by now, common widths are assumed."""
    columns = [replace(column, typical=0) for column in columns] if rows else columns
    printer = Printer(columns, [cells(columns, row) for row in rows])
    printer.heading()
    return printer


def _print(printer: Printer, columns: "Sequence[Column]", rows: "Sequence[InvocationRow]") -> None:
    printer.rows((cells(columns, row) for row in rows), status_colour)
