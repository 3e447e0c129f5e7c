"""`stats`: counts, tokens, costs and latency of the last days."""

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import click

from llm_service.cli.options import TIME, Number, common, examples, filters
from llm_service.cli.output import table
from llm_service.cli.tables import UNKNOWN, Column, count, usd
from llm_service.cli.target import Names, Target, read, say_unknown
from llm_service.cli.times import Moment, start_of

if TYPE_CHECKING:
    from llm_service.telemetry.queries.questions import Statistics

__all__ = ["known_values", "show_statistics", "stats"]


@click.command(
    epilog=examples("stats", "stats --agent backend-dev --since 2h", "stats --days 30 --db ./telemetry.db --json")
)
@filters
@click.option("--days", type=Number(), metavar="N", help="The last so many days; fractions are taken.  [default: 7]")
@click.option("--since", type=TIME, metavar="TIME", help="From so long ago, this UTC day, or this moment on.")
@common
def stats(*, names: Names, days: float | None, since: Moment | None, target: Target) -> None:
    """Counts, tokens, costs and latency of the last days.

    Sums are exact; percentiles are within 2.2 %. With --json: one object with the keys of get_statistics.
    """
    from llm_service.telemetry.queries import questions
    from llm_service.telemetry.queries.filters import InvocationFilter

    if days is not None and since is not None:
        raise click.UsageError("--days and --since both say where to begin; give one of them")
    days = 7.0 if days is None else days
    questions.check_days(days)
    start = datetime.now(UTC) - timedelta(days=days) if since is None else start_of(since)
    path = target.report_path()
    found = read(path, lambda fetch: questions.read_statistics_since(fetch, start, InvocationFilter(**names)))
    say_unknown(path, names)
    if not found["total_invocations"]:
        query = questions.invocations(InvocationFilter(**names), limit=1)
        newest = [row["timestamp"] for row in read(path, lambda fetch: questions.to_invocations(fetch(query)))]
        click.echo(_no_calls(start, *newest), err=True)
    target.show(known_values(found), show_statistics)


def _no_calls(start: datetime, newest: str | None = None) -> str:
    if newest is None:
        return "there are no such calls at all"
    return f"no calls since {start:%Y-%m-%d %H:%M} UTC; the newest is of {newest[:16]}, use --since {newest[:10]}"


def known_values(statistics: "Statistics") -> dict[str, Any]:
    """The statistics, with None for what no call of the window tells: of none, a rate or a latency is not 0."""
    unknown: set[str] = set()
    if not statistics["total_invocations"]:
        unknown.add("success_rate")
    elif not statistics["priced_invocations"]:
        unknown.add("total_cost_usd")
    if not statistics["timed_invocations"]:
        unknown.update(key for key in statistics if key.endswith("_latency_ms"))
    return {key: None if key in unknown else value for key, value in statistics.items()}


def show_statistics(known: dict[str, Any]) -> None:
    """A table of one value a line, under the keys of the API."""
    rows = [(key, _text(key, value)) for key, value in known.items()]
    table((Column("statistic", whole=True), Column("value", "right")), rows)


def _text(key: str, value: float | None) -> str:
    if value is None:
        return UNKNOWN if key == "total_cost_usd" else "-"
    if isinstance(value, int):
        return count(value)
    if key == "success_rate":
        return f"{value:.2%}"
    return usd(value) if key.endswith("_usd") else f"{value:,.1f}"
