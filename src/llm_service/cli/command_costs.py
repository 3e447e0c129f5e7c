"""`costs`: what was spent, by any keys; with `--coverage`, how much of it is known."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import click
from click.core import ParameterSource

from llm_service.cli.answer_views import key_kinds, named_keys
from llm_service.cli.formats import Output, Rows, formatted, put_out
from llm_service.cli.kinds import Kind, kinds_of
from llm_service.cli.options import KEYS, common, examples, filters, ranged
from llm_service.cli.output import cells, listing, say_deleted
from llm_service.cli.suggestions import suggested
from llm_service.cli.tables import UNKNOWN, Column, count, named, plural, sum_usd, usd
from llm_service.cli.target import Names, Target, existing, read, say_unknown
from llm_service.cli.times import in_zone

if TYPE_CHECKING:
    from llm_service.telemetry.queries.cost_coverage import CoverageReport
    from llm_service.telemetry.queries.costs import CostReport
    from llm_service.telemetry.queries.time_range import TimeRange

__all__ = ["LABELS", "UNPRICED", "costs", "grouped", "part_of", "say_deleted", "show_costs"]

LABELS: Final = {
    "day": Column("date", whole=True, of=lambda row: str(row["date"])),
    "agent": Column("agent", both_ends=True, least=13, of=lambda row: named(row["agent_name"])),
    "tool": Column("tool", both_ends=True, rank=3, of=lambda row: named(row["tool_name"])),
    "model": Column("model", both_ends=True, least=13, of=lambda row: named(row["model_name"])),
}
_OWN: Final = {"date" if key == "day" else f"{key}_name": column for key, column in LABELS.items()}
"""The same by their columns."""
_SUMS: Final = (
    Column("calls", "right", of=lambda sums: count(sums["invocations"])),
    Column("failed", "right", rank=2, of=lambda sums: count(sums["errors"] + sums["timeouts"])),
    Column("tokens", "right", rank=1, of=lambda sums: count(sums["total_tokens"])),
    Column("cost USD", "right", of=sum_usd),
)
UNPRICED: Final = Column("unpriced", "right", of=lambda sums: count(sums["unpriced"]))
"""How many calls have no known cost: shown as soon as there is one."""
_SOURCES: Final = (
    Column("cost source", of=lambda row: row["cost_source"] or "not said"),
    Column("calls", "right", of=lambda row: count(row["invocations"])),
    Column("priced", "right", of=lambda row: count(row["priced"])),
    Column("tokens", "right", rank=1, of=lambda row: count(row["total_tokens"])),
    Column("cost USD", "right", of=lambda row: usd(row["total_cost_usd"]) if row["priced"] else UNKNOWN),
)
_TIER: Final = Column("service tier", of=lambda row: named(row["service_tier"]))
_MODELS: Final = (
    Column("unpriced model", both_ends=True, of=lambda row: named(row["model_name"])),
    Column("provider", rank=1, of=lambda row: named(row["provider"])),
    _TIER,
    Column("calls", "right", of=lambda row: count(row["invocations"])),
    Column(
        "tokens", "right", rank=3,
        of=lambda row: count(row["total_tokens"]) if row["uncounted"] < row["invocations"] else UNKNOWN,
    ),
    Column("first seen", rank=4, moment="first_timestamp"),
    Column("last seen", rank=2, moment="last_timestamp"),
)  # fmt: skip


@click.command(
    epilog=examples(
        "costs --since today",
        "costs --by agent,model --since last-month --until last-month",
        "costs --by day --since 30d --tz Europe/Berlin",
        "costs --by day --model gpt-4o --json",
        "costs --by request_model,user --since 7d --where 'cost>0.01'",
        "costs --coverage --since 30d",
    )
)
@click.option(
    "--by",
    type=KEYS,
    metavar="KEYS",
    default="day,agent,tool,model",
    show_default=True,
    help="Up to four of day, agent, tool, model, user, tag, ... (as of query), separated by commas.",
)
@ranged
@click.option("--coverage", is_flag=True, help="Instead: how much is priced, by whom, and the models that are not.")
@filters
@formatted()
@common
def costs(
    *,
    by: tuple[str, ...],
    since: str | None,
    until: str | None,
    coverage: bool,
    names: Names,
    output: Output,
    target: Target,
) -> None:
    """What was spent, by any keys, with totals and how much of it is known.

    Rows are sorted by the keys in the order given, days newest first; the last key, where it is no day, by cost. By
    day, agent, tool and model, daily totals answer, which are kept for ever; with other keys or filters the records do.
    Days whose records are deleted already are UTC days in any zone: of these only daily totals are left. With --json:
    one object with by, rows, totals, first_day, last_day, priced, since, until, time_zone, utc_days_before,
    records_since and deleted_invocations; with --coverage the keys of get_coverage, and since, until and time_zone.
    """
    from llm_service.telemetry.queries.cost_coverage import read_coverage
    from llm_service.telemetry.queries.costs import is_of_days, read_costs
    from llm_service.telemetry.queries.filters import InvocationFilter
    from llm_service.telemetry.queries.range_parts import range_parts

    path, asked = existing(target.report_path()), target.range(since, until)
    say_unknown(path, names)
    if coverage:
        if click.get_current_context().get_parameter_source("by") is ParameterSource.COMMANDLINE:
            raise click.UsageError("--coverage has rows of its own; leave out --by")
        narrowed = InvocationFilter(since=asked.start, until=asked.end, **names)
        report = read(path, lambda fetch: read_coverage(fetch, narrowed))
        _put_coverage(report, asked, output, target)
        return
    chosen = InvocationFilter(**names)
    found, covered = read(path, lambda fetch: (read_costs(fetch, by, chosen, asked), range_parts(fetch, asked).covered))
    if found["totals"]["unpriced"]:
        _say_unpriced()
    columns = [*_labels(by), *_SUMS, UNPRICED]
    put_out(output, target, Rows(found["rows"], columns, _kinds(by), found), lambda: show_costs(found))
    if output.form != "json":
        say_deleted(found, err=target.as_json)
        target.say_range(covered if is_of_days(by, chosen) else asked, asked, found["utc_days_before"])


def _labels(by: Sequence[str]) -> list[Column]:
    from llm_service.telemetry.queries.costs import cost_columns

    return named_keys(cost_columns(by), _OWN)


def _kinds(by: Sequence[str]) -> dict[str, Kind]:
    from llm_service.telemetry.queries.costs import CostSums, cost_columns

    return key_kinds(cost_columns(by)) | kinds_of(CostSums)


def _put_coverage(report: "CoverageReport", asked: "TimeRange", output: Output, target: Target) -> None:
    from llm_service.telemetry.queries.cost_coverage import SourceCoverage

    found = Rows(report["by_source"], _SOURCES, kinds_of(SourceCoverage), {**report, **asked.as_json()})
    put_out(output, target, found, lambda: _show_coverage(report, asked))
    if output.form not in ("table", "json"):
        models = len(report["unknown_models"])
        are = "is" if models == 1 else "are"
        click.echo(f"{plural(models, 'model')} without a price {are} in the table and in JSON alone", err=True)
    if output.form != "json":
        say_deleted(report, err=target.as_json)
        target.say_range(asked)


def _say_unpriced() -> None:
    """Say on stderr that prices are missing for want of genai-prices, where that is so."""
    from llm_service.pricing.book import NO_BUNDLED, PriceBook

    if PriceBook().lacks_bundled:
        click.echo(f"no price is known: {NO_BUNDLED}; then price what is stored: {suggested('reprice')}", err=True)


def show_costs(report: "CostReport") -> None:
    """A table of costs by the keys of the report, their totals, and how much of them is known.

    A cost of calls of which none is priced reads `unknown`; where some are not, a column counts them.
    """
    if not report["rows"]:
        click.echo("no such calls")
        return
    totals = report["totals"]
    sums = [*_SUMS, UNPRICED] if totals["unpriced"] else _SUMS
    grouped(_labels(report["by"]), sums, report["rows"], totals)
    calls = totals["invocations"]
    known = (("cost", report["priced"]), ("tokens", calls - totals["uncounted"]))
    click.echo("known: " + ", ".join(f"{what} of {count(n)} ({n / calls:.1%})" for what, n in known))


def _show_coverage(report: "CoverageReport", asked: "TimeRange") -> None:
    """How much is priced, by source, and the models that are not."""
    calls, unknown = report["invocations"], report["unknown_models"]
    if not calls:
        click.echo("no such calls")
    else:
        listing(_SOURCES, report["by_source"])
        tokens = part_of(report["priced_tokens"], report["total_tokens"], "tokens")
        click.echo(f"priced: {part_of(report['priced'], calls, 'calls')}, {tokens}")
    if unknown:
        tiers = any(row["service_tier"] is not None for row in unknown)
        columns = [column for column in _MODELS if tiers or column is not _TIER]
        listing(in_zone(columns, asked.zone), unknown)


def grouped(labels: Sequence[Column], columns: Sequence[Column], rows: Sequence[Any], totals: Any) -> None:
    """A table with a column for each name, and totals; of the totals alone where nothing is grouped."""
    if labels:
        listing([*labels, *columns], rows, ["total", *[""] * (len(labels) - 1), *cells(columns, totals)])
    else:
        listing(columns, [totals])


def part_of(part: int, whole: int, what: str) -> str:
    """How many of how many, and what share that is."""
    return f"{count(part)} of {count(whole)} {what}" + (f" ({part / whole:.1%})" if whole else "")
