"""`reprice`: stored costs computed anew."""

from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import click

from llm_service.cli.options import MODELS, common, examples, zoned
from llm_service.cli.output import lines, listing, progress
from llm_service.cli.tables import Column, plural
from llm_service.cli.target import Target, percent_of

if TYPE_CHECKING:
    from llm_service.telemetry.maintenance.repricing import RepriceReport
    from llm_service.telemetry.queries.time_range import TimeRange

__all__ = ["reprice"]

_MOST_MODELS: Final = 10
_TIER: Final = Column("service tier", of=lambda row: row["service_tier"] or "-")
_UNPRICED: Final = (
    Column("no price for", of=lambda row: row["model_name"] or "-"),
    Column("provider", of=lambda row: row["provider"] or "-"),
    _TIER,
    Column("calls", "right", of=lambda row: f"{row['invocations']:,}"),
)


@click.command(
    epilog=examples(
        "reprice --dry-run", "reprice --only unknown", "reprice --since 2026-11-01 --models ./models.yaml --json"
    )
)
@click.option("--since", metavar="TIME", help="Only calls from then on: 24h, today, last-week, 2026-11-23, ...")
@zoned
@click.option(
    "--only", type=click.Choice(["unknown", "computed"]), help="Only calls without a cost, or with a computed one."
)
@click.option("--dry-run", is_flag=True, help="Only say what would change.")
@MODELS
@common
def reprice(
    *,
    since: str | None,
    only: Literal["unknown", "computed"] | None,
    dry_run: bool,
    models: Path | None,
    target: Target,
) -> None:
    """Compute the cost of stored calls anew, each by the price of its own time.

    Costs that were reported stay. It goes in small steps, records and daily totals together, so that others write
    meanwhile; interrupted, it may be called again.
    """
    from llm_service.telemetry.maintenance.repricing import reprice as run
    from llm_service.telemetry.queries.filters import moment_text

    path, book, asked = target.path(), target.prices(models), target.range(since)
    start = "" if asked.start is None else moment_text("since", asked.start)
    with progress(100, "percent examined") as on_progress:
        report = run(path, book, since=start, only=only, dry_run=dry_run, on_progress=percent_of(on_progress))
    most = sorted(report.unpriced_models.items(), key=lambda one: (-one[1], str(one[0])))[:_MOST_MODELS]
    found = {
        "db_path": str(path),
        "dry_run": dry_run,
        **asked.as_json(),
        **{name: getattr(report, name) for name in ("examined", "priced", "changed", "unknown", "kept", "not_run")},
        "usd_before": report.old_nanos / 1e9,
        "usd_after": report.new_nanos / 1e9,
        "unpriced_models": [
            {"model_name": model, "provider": provider, "service_tier": tier, "invocations": count}
            for (model, provider, tier), count in most
        ],
    }
    target.show(found, lambda found: _show(found, report, asked))


def _show(found: dict[str, Any], report: "RepriceReport", asked: "TimeRange") -> None:
    """What changed, in calls and dollars."""
    would = "would be " if found["dry_run"] else ""
    lines(
        [
            ("database", found["db_path"]),
            ("range", str(asked)),
            ("examined", f"{plural(report.examined, 'call')} whose cost is unknown or computed"),
            (f"{would}priced", f"{plural(report.priced, 'call')} that had no cost"),
            (f"{would}changed", f"{plural(report.changed, 'call')} that had another cost"),
            ("cost of both", f"{_usd(report.old_nanos)} before, {_usd(report.new_nanos)} after"),
            ("still unknown", plural(report.unknown, "call")),
            ("kept", f"{report.kept:,} computed costs that cannot be computed any more"),
            ("not run", f"{plural(report.not_run, 'call')} refused or never sent, at no cost"),
        ]
    )
    rows = found["unpriced_models"]
    tiers = any(row["service_tier"] for row in rows)
    if rows:
        listing([column for column in _UNPRICED if tiers or column is not _TIER], rows)


def _usd(nanos: int) -> str:
    return f"${Decimal(nanos).scaleb(-9):,f}"
