"""How reports about money look: a month with its forecast, unit costs, coverage. `--json` prints the report itself."""

from collections.abc import Sequence
from typing import Any, Final

import click

from llm_service.cli.cell_formats import UNKNOWN, count, named, percent, sum_usd, usd
from llm_service.cli.output import lines, table
from llm_service.cli.tables import Column
from llm_service.cli.views import UNPRICED
from llm_service.telemetry.queries.cost_coverage import CoverageReport
from llm_service.telemetry.queries.forecast import Forecast
from llm_service.telemetry.queries.months import MonthReport
from llm_service.telemetry.queries.unit_costs import UnitReport

__all__ = ["show_coverage", "show_month", "show_units"]

_NAMES: Final = {"agent": Column("agent"), "tool": Column("tool", rank=9), "model": Column("model")}


def show_month(report: MonthReport, *, with_forecast: bool) -> None:
    """A table of the month beside the month before, and what the forecast rests on."""
    totals, before = report["totals"], report["month_before"]
    spent = f"{report['elapsed_days']:.1f} of {report['days_in_month']} days"
    click.echo(f"{report['month']} to {report['last_day']} ({spent}, UTC) against {before}")
    if not totals["to_date"]["invocations"] and not totals["before"]["invocations"]:
        click.echo("no calls in these months")
        return
    forecasting = with_forecast and report["elapsed_days"] < report["days_in_month"]
    unpriced = any(totals[part]["unpriced"] for part in ("to_date", "before"))
    columns = [
        Column("calls", "right", rank=4),
        Column("cost USD", "right"),
        *([Column("forecast", "right"), Column("low", "right", rank=2), Column("high", "right", rank=2)] * forecasting),
        Column(f"{before} by then", "right", rank=1),
        Column("change", "right", rank=3),
        Column(f"{before} whole", "right", rank=5),
        *([UNPRICED, Column(f"unpriced {before}", "right", rank=6)] * unpriced),
    ]

    def cells(costs: Any) -> list[str]:
        to_date, earlier = costs["to_date"], costs["before"]
        known = sum_usd(costs["before_same_days"])
        then = known if known == UNKNOWN else usd(costs["before_elapsed_usd"])
        change = "-" if costs["change"] is None else f"{costs['change']:+.1%}"
        forecast = _forecast_cells(costs["forecast"]) if forecasting else []
        counts = [count(to_date["unpriced"]), count(earlier["unpriced"])] if unpriced else []
        return [
            count(to_date["invocations"]), sum_usd(to_date), *forecast, then, change, sum_usd(earlier), *counts,
        ]  # fmt: skip

    _grouped(report["by"], report["rows"], columns, [cells(row) for row in report["rows"]], cells(totals))
    if forecasting:
        lines([("forecast", _basis(totals["forecast"]))])


def _forecast_cells(forecast: Forecast | None) -> list[str]:
    return ["-"] * 3 if forecast is None else [usd(forecast[key]) for key in ("total_cost_usd", "low_usd", "high_usd")]


def _basis(forecast: Forecast | None) -> str:
    if forecast is None:
        return "none: there is no complete day with a known cost to go by"
    days = f"{count(forecast['days_used'])} complete {'day' if forecast['days_used'] == 1 else 'days'}"
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


def show_units(report: UnitReport) -> None:
    """A table of costs by the piece, and what is missing from it."""
    totals = report["totals"]
    if not totals["invocations"]:
        click.echo("no such calls")
        _say_deleted(report)
        return
    unpriced = [UNPRICED] if totals["unpriced"] else []
    columns = [
        Column("calls", "right", rank=5),
        Column("cost USD", "right", rank=4),
        Column("per call", "right"),
        Column("per 1k tokens", "right"),
        Column("per success", "right", rank=3),
        Column("failed", "right", rank=6),
        Column("wasted USD", "right", rank=1),
        Column("retried", "right", rank=7),
        Column("cache saved", "right", rank=2),
        *unpriced,
    ]

    def cells(costs: Any) -> list[str]:
        failed = costs["errors"] + costs["timeouts"]
        some_known = not failed or costs["wasted_unpriced"] < failed
        cost = sum_usd(costs)
        pieces = [usd(costs[key], 6) for key in ("usd_per_call", "usd_per_1k_tokens", "usd_per_success")]
        return [
            count(costs["invocations"]),
            cost,
            *([UNKNOWN] * len(pieces) if cost == UNKNOWN else pieces),
            count(failed),
            usd(costs["wasted_usd"]) if some_known else UNKNOWN,
            count(costs["retried"]) if costs["attempts_known"] else "-",
            _saved(costs),
            *([count(costs["unpriced"])] if unpriced else []),
        ]

    _grouped(report["by"], report["rows"], columns, [cells(row) for row in report["rows"]], cells(totals))
    if totals["wasted_share"]:
        click.echo(f"wasted on calls that did not succeed: {percent(totals['wasted_share'])} of the cost")
    if totals["cache_unknown"]:
        calls = _of(totals["cache_unknown"], totals["cache_invocations"], "calls that used one")
        click.echo(f"cache: not known what it saved in {calls}")
    if (totals["cache_saved_nanos"] or 0) < 0:
        click.echo("cache: writing to it cost more than reading from it saved")
    _say_deleted(report)


def _saved(costs: Any) -> str:
    if costs["cache_saved_usd"] is None:
        return UNKNOWN if costs["cache_invocations"] else "-"
    return usd(costs["cache_saved_usd"])


def show_coverage(report: CoverageReport) -> None:
    """How much is priced, by source, and the models that are not."""
    calls = report["invocations"]
    if not calls:
        click.echo("no such calls")
        _say_deleted(report)
        return
    columns = [
        Column("cost source"),
        Column("calls", "right"),
        Column("priced", "right"),
        Column("tokens", "right", rank=1),
        Column("cost USD", "right"),
    ]
    rows = [
        [
            "not said" if row["cost_source"] is None else row["cost_source"],
            count(row["invocations"]),
            count(row["priced_invocations"]),
            count(row["total_tokens"]),
            usd(row["total_cost_usd"]) if row["priced_invocations"] else UNKNOWN,
        ]
        for row in report["by_source"]
    ]
    table(columns, rows)
    tokens = _of(report["priced_tokens"], report["total_tokens"], "tokens")
    click.echo(f"priced: {_of(report['priced_invocations'], calls, 'calls')}, {tokens}")
    unknown = report["unknown_models"]
    if unknown:
        tiers = any(row["service_tier"] is not None for row in unknown)
        columns = [
            Column("unpriced model"),
            Column("provider", rank=1),
            *([Column("service tier")] * tiers),
            Column("calls", "right"),
            Column("tokens", "right", rank=3),
            Column("first seen (UTC)", whole=True, rank=4),
            Column("last seen (UTC)", whole=True, rank=2),
        ]
        table(columns, [
            [
                named(row["model_name"]),
                named(row["provider"]),
                *([named(row["service_tier"])] * tiers),
                count(row["invocations"]),
                count(row["total_tokens"]) if row["uncounted"] < row["invocations"] else UNKNOWN,
                row["first_timestamp"][:19],
                row["last_timestamp"][:19],
            ]
            for row in unknown
        ])  # fmt: skip
    _say_deleted(report)


def _of(part: int, whole: int, what: str) -> str:
    return f"{count(part)} of {count(whole)} {what}" + (f" ({part / whole:.1%})" if whole else "")


def _say_deleted(report: UnitReport | CoverageReport) -> None:
    deleted = report["deleted_invocations"]
    if deleted:
        since = report["records_since"]
        kept = "" if since is None else f"; records are kept since {since}"
        calls = "call" if deleted == 1 else "calls"
        click.echo(f"not counted: {count(deleted)} {calls} of which only daily totals are left{kept}")


def _grouped(
    by: Sequence[str],
    rows: Sequence[dict[str, Any]],
    columns: Sequence[Column],
    cells: Sequence[Sequence[str]],
    totals: Sequence[str],
) -> None:
    """A table with a column for each name, and totals; of one row where nothing is grouped."""
    if not by:
        table(columns, [totals])
        return
    labelled = [[*(named(row[f"{key}_name"]) for key in by), *values] for row, values in zip(rows, cells, strict=True)]
    table([*(_NAMES[key] for key in by), *columns], labelled, ["total", *[""] * (len(by) - 1), *totals])
