"""`report month` and `report units`: where the month leads, and what things cost by the piece."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from llm_service.cli.answer_views import heading
from llm_service.cli.command_costs import LABELS, UNPRICED, grouped, part_of, say_deleted
from llm_service.cli.formats import Output, Rows, formatted, put_out
from llm_service.cli.kinds import kinds_of, texts
from llm_service.cli.options import KEYS, MODELS, Command, common, examples, filters, ranged, zoned
from llm_service.cli.output import lines
from llm_service.cli.span_notes import say_failed_spans
from llm_service.cli.suggestions import suggested
from llm_service.cli.tables import UNKNOWN, Column, Row, count, named, percent, plural, sum_usd, usd
from llm_service.cli.target import Names, Target, existing, read, say_unknown

if TYPE_CHECKING:
    from llm_service.telemetry.queries.filters import InvocationFilter
    from llm_service.telemetry.queries.forecast import Forecast
    from llm_service.telemetry.queries.grouping import NameKey, RecordKey
    from llm_service.telemetry.queries.months import MonthReport
    from llm_service.telemetry.queries.time_range import TimeRange
    from llm_service.telemetry.queries.unit_costs import UnitReport

__all__ = ["report"]


def _by(names: str) -> Callable[[Command], Command]:
    return click.option(
        "--by",
        type=KEYS,
        metavar="KEYS",
        help=f"Any of {names}, in any order, separated by commas; without it, all calls together.",
    )


_LABELS: Final = LABELS | {
    "tool": replace(LABELS["tool"], rank=9),
    "request_model": Column("model asked", both_ends=True, least=13, of=lambda row: named(row["request_model"])),
}


@click.group(epilog=examples("report month", "report units --by model --since 7d"))
def report() -> None:
    """A month and its forecast; costs by the piece."""


@report.command(
    epilog=examples(
        "report month",
        "report month --by agent,model --no-forecast",
        "report month --month 2026-10 --json",
        "report month --as-of 2026-11-15",
    )
)
@_by("agent, tool, model")
@click.option("--month", metavar="YYYY-MM", help="A month that is over counts whole.  [default: the present one]")
@click.option("--as-of", metavar="TIME", help="As it stood at the end of the day of this time.")
@click.option("--forecast/--no-forecast", default=True, show_default=True, help="What the month will have cost.")
@zoned
@filters
@formatted()
@common
def month(
    *,
    by: "tuple[NameKey, ...] | None",
    month: str | None,
    as_of: str | None,
    forecast: bool,
    names: Names,
    output: Output,
    target: Target,
) -> None:
    """The month to date against the month before, and a forecast.

    The forecast adds to what is spent what the last 28 complete days say of the days that are left, by weekday once
    all 28 are known; low and high hold the month's end in about 80 % of cases, as long as it goes on as it did. Days
    whose records are deleted already are UTC days in any zone; "by then" counts of the month before's last day as much
    as is over of today. With --json: one object with the keys of get_month_report.
    """
    from llm_service.telemetry.queries.filters import InvocationFilter
    from llm_service.telemetry.queries.grouping import NAME_KEYS, column_of
    from llm_service.telemetry.queries.months import MonthCosts, read_month

    if month is not None and as_of is not None:
        raise click.UsageError("--month and --as-of both say the month; give one of them")
    _check_keys(by, NAME_KEYS)
    path, now, zone = existing(target.report_path()), datetime.now(UTC), target.zone()
    day = _last_day(target.range(None, as_of))
    chosen = InvocationFilter(**names)
    _check_filters(chosen)
    say_unknown(path, names)
    found = read(
        path,
        lambda fetch: read_month(fetch, now, by or (), month, day, chosen, with_forecast=forecast, zone=zone),
    )
    keys, rows = found["by"], found["rows"] if found["by"] else [found["totals"]]
    columns = [*(_LABELS[key] for key in keys), *_month_columns(found, with_forecast=forecast)]
    kinds = texts(*map(column_of, keys)) | kinds_of(MonthCosts)
    put_out(output, target, Rows(rows, columns, kinds, found), lambda: _show_month(found, with_forecast=forecast))
    if output.form not in ("table", "json"):
        click.echo(_month_range(found), err=True)


def _check_keys(by: Sequence[str] | None, known: Sequence[str]) -> None:
    """Refuse others; of those that `query` has, say so.

    Raises:
        BadParameter: naming what can be given, or another command line that answers.
    """
    from llm_service.errors import QueryError
    from llm_service.telemetry.queries.group_keys import group_keys

    if by is None or (by and len({*by}) == len(by) and {*by} <= {*known}):
        return
    text = ",".join(by)
    try:
        is_answered = bool(group_keys(by))
    except QueryError:
        is_answered = False
    others = f"; give: {suggested('query', {'--by': text})}" if is_answered else ", each once"
    raise click.BadParameter(f"{text!r}: this command groups by {', '.join(known)}{others}", param_hint="--by")


def _check_filters(chosen: "InvocationFilter") -> None:
    """Refuse what daily totals do not have.

    Raises:
        BadParameter: naming it, and the command line that answers.
    """
    from llm_service.telemetry.queries.conditions import columns_of
    from llm_service.telemetry.queries.filters import NAMES

    others = columns_of(chosen.conditions()) - {*NAMES}
    if others:
        query = suggested("query", {"--by": "month"})
        raise click.BadParameter(
            f"{', '.join(map(heading, sorted(others)))}: daily totals have agent, tool and model alone; give: {query}",
            param_hint="--where",
        )


def _last_day(asked: "TimeRange") -> date | None:
    """The day that a range ends in; None where it is open."""
    from llm_service.telemetry.queries.time_range import day_of

    return None if asked.end is None else day_of(asked.end - timedelta(microseconds=1), asked.zone)


def _show_month(report: "MonthReport", *, with_forecast: bool) -> None:
    """A table of the month beside the month before, and what the forecast rests on."""
    totals = report["totals"]
    click.echo(_month_range(report))
    if report["utc_days_before"] is not None:
        click.echo(f"days before {report['utc_days_before']} are UTC days, of which only daily totals are left")
    if not totals["to_date"]["invocations"] and not totals["before"]["invocations"]:
        click.echo("no calls in these months")
        return
    columns = _month_columns(report, with_forecast=with_forecast)
    grouped([_LABELS[key] for key in report["by"]], columns, report["rows"], totals)
    if with_forecast and not _is_over(report):
        lines([("forecast", _basis(totals["forecast"]))])


def _month_range(report: "MonthReport") -> str:
    spent = f"{report['elapsed_days']:.1f} of {report['days_in_month']} days, {report['time_zone']}"
    return f"{report['month']} to {report['last_day']} ({spent}) against {report['month_before']}"


def _is_over(report: "MonthReport") -> bool:
    return report["elapsed_days"] >= report["days_in_month"]


def _month_columns(report: "MonthReport", *, with_forecast: bool) -> list[Column]:
    before, totals = report["month_before"], report["totals"]
    unpriced = totals["to_date"]["unpriced"] or totals["before"]["unpriced"]

    def forecast(name: str, key: str, rank: int = 0) -> Column:
        return Column(name, "right", rank=rank, of=lambda row: usd(row["forecast"] and row["forecast"][key]))

    forecasts = (forecast("forecast", "total_cost_usd"), forecast("low", "low_usd", 2), forecast("high", "high_usd", 2))
    return [
        Column("calls", "right", rank=4, of=lambda row: count(row["to_date"]["invocations"])),
        Column("cost USD", "right", of=lambda row: sum_usd(row["to_date"])),
        *(forecasts if with_forecast and not _is_over(report) else ()),
        Column(f"{before} by then", "right", rank=1, of=_by_then),
        Column("change", "right", rank=3, of=lambda row: "-" if row["change"] is None else f"{row['change']:+.1%}"),
        Column(f"{before} whole", "right", rank=5, of=lambda row: sum_usd(row["before"])),
        *([
            Column(UNPRICED.name, "right", of=lambda row: count(row["to_date"]["unpriced"])),
            Column(f"unpriced {before}", "right", rank=6, of=lambda row: count(row["before"]["unpriced"])),
        ] if unpriced else ()),
    ]  # fmt: skip


def _by_then(costs: Row) -> str:
    known = sum_usd(costs["before_same_days"])
    return known if known == UNKNOWN else usd(costs["before_elapsed_usd"])


def _basis(forecast: "Forecast | None") -> str:
    if forecast is None:
        return "none: there is no complete day with a known cost to go by"
    days = plural(forecast["days_used"], "complete day")
    span = f"{forecast['first_day_used']} to {forecast['last_day_used']}"
    left = f"{forecast['remaining_days']:.1f} days left at {usd(forecast['daily_cost_usd'])} USD"
    parts = [f"{left} ({forecast['method']} of {days}, {span})"]
    parts.append(
        "one day does not tell how much days differ"
        if forecast["low_usd"] is None
        else f"low to high holds in about {forecast['range_share']:.0%} of cases"
    )
    share = forecast["priced_share"]
    if share is not None and share < 1:
        parts.append(f"of the {percent(share)} of calls whose cost is known")
    return "; ".join(parts)


@report.command(
    epilog=examples("report units", "report units --by agent,model --since 30d", "report units --model gpt-4o --json")
)
@_by("agent, tool, model, request_model")
@ranged
@filters
@MODELS
@formatted()
@common
def units(
    *,
    by: "tuple[RecordKey, ...] | None",
    since: str | None,
    until: str | None,
    names: Names,
    models: Path | None,
    output: Output,
    target: Target,
) -> None:
    """Costs per call, per 1,000 tokens and per success; what failures wasted, what caches saved.

    Read from the calls themselves, so of the days that are kept; the last line says what is missing. A success pays for
    the failures too. Caches saved what calls would have cost more without them, at the prices of their time. With
    --json: one object with the keys of get_unit_costs, and since, until and time_zone.
    """
    from llm_service.telemetry.queries.filters import InvocationFilter
    from llm_service.telemetry.queries.grouping import RECORD_KEYS, column_of
    from llm_service.telemetry.queries.unit_costs import UnitCosts, read_unit_costs

    _check_keys(by, RECORD_KEYS)
    path, asked = existing(target.report_path()), target.range(since, until)
    narrowed = InvocationFilter(since=asked.start, until=asked.end, **names)
    say_unknown(path, names)
    prices = target.prices(models)
    report = read(path, lambda fetch: read_unit_costs(fetch, by or (), narrowed, prices=prices))
    keys, rows = report["by"], report["rows"] if report["by"] else [report["totals"]]
    columns = [*(_LABELS[key] for key in keys), *_UNITS, UNPRICED]
    kinds = texts(*map(column_of, keys)) | kinds_of(UnitCosts)
    found = Rows(rows, columns, kinds, {**report, **asked.as_json()})
    put_out(output, target, found, lambda: _show_units(report))
    if output.form != "json":
        say_deleted(report, err=target.as_json)
        say_failed_spans(target, path, narrowed)
        target.say_range(asked)


def _show_units(report: "UnitReport") -> None:
    """A table of costs by the piece, and what is missing from it."""
    totals = report["totals"]
    if not totals["invocations"]:
        click.echo("no such calls")
        return
    columns = [*_UNITS, UNPRICED] if totals["unpriced"] else _UNITS
    grouped([_LABELS[key] for key in report["by"]], columns, report["rows"], totals)
    if totals["wasted_share"]:
        click.echo(f"wasted on calls that did not succeed: {percent(totals['wasted_share'])} of the cost")
    if totals["cache_unknown"]:
        calls = part_of(totals["cache_unknown"], totals["cache_invocations"], "calls that used one")
        click.echo(f"cache: not known what it saved in {calls}")
    if (totals["cache_saved_nanos"] or 0) < 0:
        click.echo("cache: writing to it cost more than reading from it saved")


def _piece(name: str, key: str, rank: int = 0) -> Column:
    """What a piece costs: unknown as the cost is."""
    return Column(name, "right", rank=rank, of=lambda row: UNKNOWN if sum_usd(row) == UNKNOWN else usd(row[key], 6))


def _failed(costs: Row) -> int:
    return int(costs["errors"] + costs["timeouts"])


def _wasted(costs: Row) -> str:
    failed = _failed(costs)
    return usd(costs["wasted_usd"]) if not failed or costs["wasted_unpriced"] < failed else UNKNOWN


def _saved(costs: Row) -> str:
    unknown = costs["cache_saved_usd"] is None and costs["cache_invocations"]
    return UNKNOWN if unknown else usd(costs["cache_saved_usd"])


_UNITS: Final = (
    Column("calls", "right", rank=5, of=lambda row: count(row["invocations"])),
    Column("cost USD", "right", rank=4, of=sum_usd),
    _piece("per call", "usd_per_call"),
    _piece("per 1k tokens", "usd_per_1k_tokens"),
    _piece("per success", "usd_per_success", rank=3),
    Column("failed", "right", rank=6, of=lambda row: count(_failed(row))),
    Column("wasted USD", "right", rank=1, of=_wasted),
    Column("retried", "right", rank=7, of=lambda row: count(row["retried"]) if row["attempts_known"] else "-"),
    Column("cache saved", "right", rank=2, of=_saved),
)
