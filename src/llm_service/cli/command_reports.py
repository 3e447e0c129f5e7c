"""`stats`, `costs`, `invocations` and `show`: what was called, what it cost, how it went."""

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click
from click.core import ParameterSource

from llm_service.cli.group import Failure
from llm_service.cli.options import (
    KEYS,
    TIME,
    Number,
    common,
    filters,
    names_in,
    narrowed,
    narrowing,
    report_path,
    say_unpriced,
)
from llm_service.cli.output import json_document, json_line
from llm_service.cli.times import Moment, day_of, start_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date, datetime

    from llm_service.telemetry.queries.costs import CostKey
    from llm_service.telemetry.queries.filters import InvocationFilter

__all__ = ["costs", "invocations", "show", "stats"]

_DEFAULT_DAYS = 7.0


@click.command(
    epilog="""\b
Examples:
  llm-telemetry stats
  llm-telemetry stats --agent backend-dev --since 2h
  llm-telemetry stats --days 30 --db ./telemetry.db --json"""
)
@filters
@click.option("--days", type=Number(), metavar="N", help="The last so many days; fractions are taken.  [default: 7]")
@click.option("--since", type=TIME, metavar="TIME", help="From so long ago, this UTC day, or this moment on.")
@common
def stats(
    *,
    agent_name: str | None,
    tool_name: str | None,
    model_name: str | None,
    days: float | None,
    since: Moment | None,
    db: Path | None,
    config: Path | None,
    as_json: bool,
) -> None:
    """Counts, tokens, costs and latency of the last days.

    Sums are exact; percentiles are within 2.2 %. With --json: one object with the keys of get_statistics.
    """
    from llm_service.cli import known_names, reports, views  # noqa: PLC0415

    if days is not None and since is not None:
        raise click.UsageError("--days and --since both say where to begin; give one of them")
    start = reports.window_start(_DEFAULT_DAYS if days is None else days) if since is None else start_of(since)
    path = report_path(db, config)
    found = reports.statistics(path, start, (agent_name, tool_name, model_name))
    known_names.say_unknown(path, agent_name=agent_name, tool_name=tool_name, model_name=model_name)
    if not found["total_invocations"]:
        click.echo(_no_calls(start, reports.newest_call(path, (agent_name, tool_name, model_name))), err=True)
    if as_json:
        json_document(views.known_values(found))
    else:
        views.show_statistics(found)


def _no_calls(start: "datetime", newest: str | None) -> str:
    if newest is None:
        return "there are no such calls at all"
    return f"no calls since {start:%Y-%m-%d %H:%M} UTC; the newest is of {newest[:16]}, use --since {newest[:10]}"


@click.command(
    epilog="""\b
Examples:
  llm-telemetry costs --since 30d
  llm-telemetry costs --by agent,model --since 2026-11-01 --until 2026-11-30
  llm-telemetry costs --by day --model gpt-4o --json
  llm-telemetry costs --coverage --since 30d"""
)
@click.option(
    "--by",
    type=KEYS,
    metavar="KEYS",
    default="day,agent,tool,model",
    show_default=True,
    help="Any of day, agent, tool, model, in any order, separated by commas.",
)
@click.option("--since", type=TIME, metavar="TIME", help="From the UTC day of this time on.")
@click.option("--until", type=TIME, metavar="TIME", help="Up to the UTC day of this time, inclusive.")
@click.option("--coverage", is_flag=True, help="Instead: how much is priced, by whom, and the models that are not.")
@filters
@common
def costs(
    *,
    by: "tuple[CostKey, ...]",
    since: Moment | None,
    until: Moment | None,
    coverage: bool,
    agent_name: str | None,
    tool_name: str | None,
    model_name: str | None,
    db: Path | None,
    config: Path | None,
    as_json: bool,
) -> None:
    """What was spent, by any keys, with totals and how much of it is known.

    Costs are kept by whole UTC days. Rows are sorted by the keys in the order given, days newest first; the last key,
    where it is no day, by cost. With --json: one object with by, rows, totals, first_day, last_day,
    priced_invocations and counted_invocations; with --coverage the keys of get_coverage.
    """
    from llm_service.cli import known_names, reports, views  # noqa: PLC0415

    path = reports.existing(report_path(db, config))
    names = (agent_name, tool_name, model_name)
    known_names.say_unknown(path, agent_name=agent_name, tool_name=tool_name, model_name=model_name)
    if coverage:
        _coverage(path, day_of(since), day_of(until), names, as_json=as_json)
        return
    found = reports.costs(path, by, day_of(since), day_of(until), names)
    if found["totals"]["unpriced"]:
        say_unpriced()
    if as_json:
        json_document(found)
    else:
        views.show_costs(found)


def _coverage(
    path: Path, since: "date | None", until: "date | None", names: "Sequence[str | None]", *, as_json: bool
) -> None:
    from llm_service.cli import report_views, reports  # noqa: PLC0415

    if click.get_current_context().get_parameter_source("by") is ParameterSource.COMMANDLINE:
        raise click.UsageError("--coverage has rows of its own; leave out --by")
    found = reports.coverage(path, since, until, names)
    if as_json:
        json_document(found)
    else:
        report_views.show_coverage(found)


@click.command(
    epilog="""\b
Examples:
  llm-telemetry invocations --errors --since 2h
  llm-telemetry invocations --since 2026-11-23T18:00:00Z --agent backend-dev
  llm-telemetry invocations --follow
  llm-telemetry invocations --session 4711 --json"""
)
@narrowing
@click.option("--limit", type=int, default=20, show_default=True, help="At most so many; with --follow, to begin with.")
@click.option("-f", "--follow", is_flag=True, help="Go on: print new calls as any process commits them.")
@common
def invocations(
    *, limit: int, follow: bool, db: Path | None, config: Path | None, as_json: bool, **options: Any
) -> None:
    """Stored calls, newest first.

    With --follow, oldest first, then the new ones in the order of arrival, until Ctrl-C; --limit 0 begins with new
    ones. With --json: one array of the rows of get_invocations; with --follow, one object a line.
    """
    from llm_service.cli import known_names, reports, views  # noqa: PLC0415

    path = report_path(db, config)
    if follow:
        _follow(reports.existing(path), narrowed(options), limit, as_json=as_json)
    found = reports.invocations(path, narrowed(options), limit)
    known_names.say_unknown(path, **names_in(options))
    if as_json:
        json_document(found)
    else:
        views.show_invocations(found)


def _follow(path: Path, chosen: "InvocationFilter", limit: int, *, as_json: bool) -> NoReturn:
    from llm_service.cli import following, views  # noqa: PLC0415

    arriving = following.follow(path, chosen, limit, following.pause_while_read())
    with closing(arriving):
        if as_json:
            for rows in arriving:
                if rows:
                    click.echo("\n".join(map(json_line, rows)))
        else:
            stored = next(arriving) if limit else []
            follower = views.Follower(stored)
            follower.show(stored)
            for rows in arriving:
                follower.show(rows)
    raise click.exceptions.Exit(1)  # the reader went away: as when a write to it fails


@click.command(
    epilog="""\b
Examples:
  llm-telemetry show 0193a1f2-7c1e-7b3a-9d51-2f5e8c1a4b6d
  llm-telemetry show 0193a1f2-7c1e
  llm-telemetry show 4711 --json"""
)
@click.argument("wanted", metavar="ID")
@common
def show(*, wanted: str, db: Path | None, config: Path | None, as_json: bool) -> None:
    """Show one call whole, with prompt and response where they are stored.

    ID is an invocation_id, the number that `invocations` shows as id, or the beginning of an invocation_id that no
    other has. With --json: one object with all columns, prompt and response. Exit code 1 where there is no such call.
    """
    from llm_service.cli import reports, views  # noqa: PLC0415

    path = report_path(db, config)
    found = reports.invocation(path, wanted)
    if found is None:
        raise Failure(f"{path} has no call with the id {wanted!r}; `llm-telemetry invocations` shows ids")
    row, content = found
    if as_json:
        json_document({**row, **content})
    else:
        views.show_invocation(row, content)
