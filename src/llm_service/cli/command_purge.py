"""`purge`: old calls deleted now, or counted."""

from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

import click

from llm_service.cli.options import common, settings_for
from llm_service.cli.output import json_document, lines
from llm_service.cli.times import parse_time

__all__ = ["purge"]


@click.command(
    epilog="""\b
Examples:
  llm-telemetry purge --older-than 30d --dry-run
  llm-telemetry purge --older-than 30d
  llm-telemetry purge --older-than 2026-10-01 --json"""
)
@click.option(
    "--older-than", required=True, metavar="TIME", help="Keep the UTC day of this time and all later ones; see TIME."
)
@click.option("--dry-run", is_flag=True, help="Count what would go, and delete nothing.")
@common
def purge(*, older_than: str, dry_run: bool, db: Path | None, config: Path | None, as_json: bool) -> None:
    """Delete stored calls that are older, with their prompts and responses, and dead letters of that age.

    Daily totals stay. It goes in small steps, so that others write meanwhile; interrupted, it may be called again.
    """
    from llm_service.cli import reports  # noqa: PLC0415
    from llm_service.config.files import locate  # noqa: PLC0415
    from llm_service.telemetry import TelemetryLogger  # noqa: PLC0415
    from llm_service.telemetry.client.purge_api import first_kept  # noqa: PLC0415

    days = _days(older_than, datetime.now(UTC))
    path = reports.looked_after(settings_for(db, config).db_path)
    if dry_run:
        result = reports.old(path, first_kept(days))
    else:
        # Only what was asked for goes: the retention of the configuration is left to the loggers. A crash journal that
        # is replayed by the way is priced as they would.
        models: Path | Literal[False] = locate("models", config) or False
        with TelemetryLogger(path, models=models, policies=False, retention_days=None) as telemetry:
            result = telemetry.purge(days)
    if as_json:
        json_document(asdict(result))
        return
    verb = "would be deleted" if dry_run else "deleted"
    lines(
        [
            ("calls", f"{result.records:,} {verb}"),
            ("contents", f"{result.contents:,} {verb}"),
            ("dead letters", f"{result.dead_letters:,} {verb}"),
            ("kept since", result.records_kept_since or "-"),
            ("bytes freed", f"{result.bytes_freed:,}"),
        ]
    )


def _days(text: str, now: datetime) -> float:
    try:
        moment = parse_time(text, now)
    except ValueError:
        raise click.BadParameter(
            f"{text!r} is no time; give 30d, 4w, or a day such as 2026-10-01", param_hint="--older-than"
        ) from None
    days = (now - moment) / timedelta(days=1) if isinstance(moment, datetime) else float((now.date() - moment).days)
    if days < 0:
        raise click.BadParameter(f"{text!r} lies in the future", param_hint="--older-than")
    return days
