"""`report month` and `report units`: where the month leads, and what things cost by the piece."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from llm_service.cli.options import MODELS, NAMES, TIME, common, filters, prices_for, report_path
from llm_service.cli.output import json_document
from llm_service.cli.times import Moment, day_of

if TYPE_CHECKING:
    from llm_service.telemetry.queries.grouping import NameKey

__all__ = ["report"]

_BY = "Any of agent, tool, model, in any order, separated by commas; without it, all calls together."


@click.group(
    epilog="""\b
Examples:
  llm-telemetry report month
  llm-telemetry report units --by model --since 7d"""
)
def report() -> None:
    """A month and its forecast; costs by the piece."""


@report.command(
    epilog="""\b
Examples:
  llm-telemetry report month
  llm-telemetry report month --by agent,model --no-forecast
  llm-telemetry report month --month 2026-10 --json
  llm-telemetry report month --as-of 2026-11-15"""
)
@click.option("--by", type=NAMES, metavar="KEYS", help=_BY)
@click.option("--month", metavar="YYYY-MM", help="A month that is over counts whole.  [default: the present one]")
@click.option("--as-of", type=TIME, metavar="TIME", help="As it stood at the end of the UTC day of this time.")
@click.option("--forecast/--no-forecast", default=True, show_default=True, help="What the month will have cost.")
@filters
@common
def month(
    *,
    by: "tuple[NameKey, ...] | None",
    month: str | None,
    as_of: Moment | None,
    forecast: bool,
    agent_name: str | None,
    tool_name: str | None,
    model_name: str | None,
    db: Path | None,
    config: Path | None,
    as_json: bool,
) -> None:
    """The month to date against the month before, and a forecast.

    The forecast adds to what is spent what the last 28 complete days say of the days that are left, by weekday once
    all 28 are known; low and high hold the month's end in about 80 % of cases, as long as it goes on as it did. Costs
    are kept by whole UTC days; "by then" counts of the month before's last day as much as is over of today. With
    --json: one object with the keys of get_month_report.
    """
    from llm_service.cli import known_names, report_views, reports  # noqa: PLC0415

    path = reports.existing(report_path(db, config))
    known_names.say_unknown(path, agent_name=agent_name, tool_name=tool_name, model_name=model_name)
    names = (agent_name, tool_name, model_name)
    found = reports.month(path, by or (), month, day_of(as_of), names, with_forecast=forecast)
    if as_json:
        json_document(found)
    else:
        report_views.show_month(found, with_forecast=forecast)


@report.command(
    epilog="""\b
Examples:
  llm-telemetry report units
  llm-telemetry report units --by agent,model --since 30d
  llm-telemetry report units --model gpt-4o --json"""
)
@click.option("--by", type=NAMES, metavar="KEYS", help=_BY)
@click.option("--since", type=TIME, metavar="TIME", help="From the UTC day of this time on.")
@click.option("--until", type=TIME, metavar="TIME", help="Up to the UTC day of this time, inclusive.")
@filters
@MODELS
@common
def units(
    *,
    by: "tuple[NameKey, ...] | None",
    since: Moment | None,
    until: Moment | None,
    agent_name: str | None,
    tool_name: str | None,
    model_name: str | None,
    models: Path | None,
    db: Path | None,
    config: Path | None,
    as_json: bool,
) -> None:
    """Costs per call, per 1,000 tokens and per success; what failures wasted, what caches saved.

    Read from the calls themselves, so of the days that are kept; the last line says what is missing. A success pays for
    the failures too. Caches saved what calls would have cost more without them, at the prices of their time. With
    --json: one object with the keys of get_unit_costs.
    """
    from llm_service.cli import known_names, report_views, reports  # noqa: PLC0415

    path, names = reports.existing(report_path(db, config)), (agent_name, tool_name, model_name)
    known_names.say_unknown(path, agent_name=agent_name, tool_name=tool_name, model_name=model_name)
    found = reports.units(path, by or (), (day_of(since), day_of(until)), names, prices_for(models, config))
    if as_json:
        json_document(found)
    else:
        report_views.show_units(found)
