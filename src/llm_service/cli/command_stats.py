"""`stats`: counts, tokens, costs and latency of the last days."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import click

from llm_service.cli.formats import Output, Rows, formatted, put_out
from llm_service.cli.kinds import kinds_of
from llm_service.cli.options import Number, common, examples, filters, ranged
from llm_service.cli.output import listing, say_deleted
from llm_service.cli.span_notes import say_failed_spans
from llm_service.cli.tables import UNKNOWN, Column, Row, count, usd
from llm_service.cli.target import Names, Target, read, say_unknown
from llm_service.cli.times import shown_time

if TYPE_CHECKING:
    from llm_service.telemetry.queries.questions import Statistics
    from llm_service.telemetry.queries.time_range import TimeRange

__all__ = ["known_values", "show_statistics", "stats"]


@click.command(
    epilog=examples("stats", "stats --agent backend-dev --since today", "stats --days 30 --db ./telemetry.db --json")
)
@filters
@click.option("--days", type=Number(), metavar="N", help="The last so many days; fractions are taken.  [default: 7]")
@ranged
@formatted()
@common
def stats(
    *, names: Names, days: float | None, since: str | None, until: str | None, output: Output, target: Target
) -> None:
    """Counts, tokens, costs and latency of the last days.

    Sums are exact; percentiles are within 2.2 %. With --json: one object with the keys of get_statistics.
    """
    from llm_service.telemetry.queries import questions
    from llm_service.telemetry.queries.filters import InvocationFilter
    from llm_service.telemetry.queries.newest import read_newest

    if days is not None and since is not None:
        raise click.UsageError("--days and --since both say where to begin; give one of them")
    if days is not None and until is not None:
        raise click.UsageError("--days ends now; with --until give --since")
    path, chosen, asked = target.report_path(), InvocationFilter(**names), target.range(since, until)
    if since is None and until is None:
        window = questions.last_days(7.0 if days is None else days, datetime.now(UTC))
        asked = replace(asked, start=window.start)
    found, covered = read(path, lambda fetch: questions.read_statistics_of(fetch, asked, chosen))
    say_unknown(path, names)
    if not found["total_invocations"]:
        newest = [row["timestamp"] for row in read(path, lambda fetch: read_newest(fetch, chosen, 1))]
        click.echo(_no_calls(asked, *newest), err=True)

    known = known_values(found)
    kinds = kinds_of(questions.Statistics)
    put_out(output, target, Rows([known], _COLUMNS, kinds, known, _facts(known)), lambda: show_statistics(known))
    if output.form != "json":
        say_deleted(found, err=target.as_json)
        start = covered.start if since is None and until is None else None
        begins = None if start is None else start.isoformat(timespec="seconds")
        say_failed_spans(target, path, replace(chosen, since=covered.start, until=covered.end), begins)
        target.say_range(covered, asked)


def _no_calls(asked: "TimeRange", newest: str | None = None) -> str:
    if newest is None:
        return "there are no such calls at all"
    when = shown_time(newest, asked.zone, "minutes")
    return f"no calls in this range, {asked}; the newest is of {when}, use --since {when[:10]}"


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
    listing(_COLUMNS, _facts(known))


def _facts(known: dict[str, Any]) -> list[Row]:
    """What is counted; the range is said below it."""
    from llm_service.telemetry.queries.questions import MEASURE_OF

    return [{"statistic": key, "value": _text(key, known[key])} for key in MEASURE_OF]


_COLUMNS: Final = (
    Column("statistic", whole=True, of=lambda fact: fact["statistic"]),
    Column("value", "right", of=lambda fact: fact["value"]),
)


def _text(key: str, value: float | None) -> str:
    if value is None:
        return UNKNOWN if key == "total_cost_usd" else "-"
    if isinstance(value, int):
        return count(value)
    if key == "success_rate":
        return f"{value:.2%}"
    return usd(value) if key.endswith("_usd") else f"{value:,.1f}"
