"""`prices` and `reprice`: what a model costs and why, and stored costs computed anew."""

from datetime import UTC, datetime
from difflib import get_close_matches
from pathlib import Path
from typing import Literal

import click

from llm_service.cli.group import Failure
from llm_service.cli.options import MODELS, TIME, common, prices_for, settings_for
from llm_service.cli.output import json_document, progress
from llm_service.cli.times import Moment, start_of

__all__ = ["prices", "reprice"]


@click.command(
    epilog="""\b
Examples:
  llm-telemetry prices claude-sonnet-4-5
  llm-telemetry prices o3 --at 2025-06-09
  llm-telemetry prices gpt-5 --service-tier batch
  llm-telemetry prices eu.amazon.nova-pro-v1:0 --explain
  llm-telemetry prices llama-3.3-70b-versatile --provider groq --json"""
)
@click.argument("model", metavar="MODEL")
@click.option("--at", type=TIME, metavar="TIME", help="The price of this moment, or of a UTC day's beginning.")
@click.option("--provider", metavar="NAME", help="Who serves it; needed where the name does not say.")
@click.option("--service-tier", metavar="NAME", help="Of batch, flex, priority... calls, instead of standard ones.")
@click.option(
    "--explain", is_flag=True, help="Also say why: which entry, by which rule, since when, and what was passed over."
)
@MODELS
@click.option(
    "--config",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="PATH",
    help="A telemetry.yaml; the models.yaml beside it counts.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")
def prices(
    *,
    model: str,
    at: Moment | None,
    provider: str | None,
    service_tier: str | None,
    explain: bool,
    models: Path | None,
    config: Path | None,
    as_json: bool,
) -> None:
    """Show what a model costs, what its name resolves to, and who says so.

    A name as records have it. Exit code 1 where no price is known: it is never guessed.
    """
    from llm_service.cli import price_views as views  # noqa: PLC0415
    from llm_service.pricing.book import NO_BUNDLED  # noqa: PLC0415
    from llm_service.telemetry.record.timestamps import to_microseconds  # noqa: PLC0415

    moment = datetime.now(UTC) if at is None else start_of(at)
    book = prices_for(models, config)
    found = book.explain(model, provider, to_microseconds(moment), service_tier)
    why = found if explain else None
    if as_json and (explain or found.rates is not None):
        json_document(views.price_dict(model, moment, found.rates, service_tier, why))
    elif explain or found.rates is not None:
        views.show_price(model, moment, found.rates, service_tier, why)
    if found.rates is None:
        if book.lacks_bundled:
            raise Failure(f"no price is known for {model}: {NO_BUNDLED}, or write it into models.yaml")
        said = "" if provider is None else f" of {provider or repr(provider)}"
        said += "" if service_tier is None else f" at service tier {service_tier or repr(service_tier)}"
        unsold = provider is None and not any(one.entry for one in found.passed_over)
        near = (
            []
            if any(one.entry for one in found.passed_over)
            else get_close_matches(model.lower(), set(book.names()), n=1)
        )
        remedy = ", or give --provider" if unsold else ""
        remedy += f"; did you mean {near[0]}?" if near else ""
        remedy += "" if explain else "; --explain says what was looked at"
        raise Failure(
            f"no price is known for {model}{said} at {moment:%Y-%m-%d %H:%M} UTC; write it into models.yaml{remedy}"
        )


@click.command(
    epilog="""\b
Examples:
  llm-telemetry reprice --dry-run
  llm-telemetry reprice --only unknown
  llm-telemetry reprice --since 2026-11-01 --models ./models.yaml --json"""
)
@click.option("--since", type=TIME, metavar="TIME", help="Only calls from so long ago, this UTC day or moment on.")
@click.option(
    "--only", type=click.Choice(["unknown", "computed"]), help="Only calls without a cost, or with a computed one."
)
@click.option("--dry-run", is_flag=True, help="Only say what would change.")
@MODELS
@common
def reprice(
    *,
    since: Moment | None,
    only: Literal["unknown", "computed"] | None,
    dry_run: bool,
    models: Path | None,
    db: Path | None,
    config: Path | None,
    as_json: bool,
) -> None:
    """Compute the cost of stored calls anew, each by the price of its own time.

    Costs that were reported stay. It goes in small steps, records and daily totals together, so that others write
    meanwhile; interrupted, it may be called again.
    """
    from llm_service.cli import price_views as views  # noqa: PLC0415
    from llm_service.telemetry.maintenance.repricing import reprice as run  # noqa: PLC0415
    from llm_service.telemetry.record.timestamps import microseconds_text, to_microseconds  # noqa: PLC0415

    path = settings_for(db, config).db_path
    book = prices_for(models, config)
    start = "" if since is None else microseconds_text(to_microseconds(start_of(since)))
    with progress(100, "percent examined") as on_progress:
        report = run(
            path,
            book,
            since=start,
            only=only,
            dry_run=dry_run,
            on_progress=lambda done, total: on_progress(100 * done // max(1, total)),
        )
    if as_json:
        json_document(views.reprice_dict(path, report, dry_run=dry_run))
    else:
        views.show_reprice(path, report, dry_run=dry_run)
