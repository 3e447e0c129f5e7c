"""`purge`: old calls deleted now, or counted."""

from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any

import click

from llm_service.cli.options import common, examples, zoned
from llm_service.cli.output import lines
from llm_service.cli.target import Target, read
from llm_service.errors import QueryError
from llm_service.redaction import shown

__all__ = ["purge"]


@click.command(
    epilog=examples(
        "purge --older-than 30d --dry-run", "purge --older-than 30d", "purge --older-than 2026-10-01 --json"
    )
)
@click.option(
    "--older-than", required=True, metavar="TIME", help="Keep the UTC day of this time and all later ones: 30d, ..."
)
@click.option("--dry-run", is_flag=True, help="Count what would go, and delete nothing.")
@zoned
@common
def purge(*, older_than: str, dry_run: bool, target: Target) -> None:
    """Delete stored calls that are older, with their prompts and responses, and dead letters of that age.

    Daily totals stay. It goes in small steps, so that others write meanwhile; interrupted, it may be called again.
    """
    from llm_service.config.files import locate
    from llm_service.telemetry import TelemetryLogger
    from llm_service.telemetry.client.purge_api import first_kept
    from llm_service.telemetry.queries.retention_coverage import count_old

    days = _days(older_than, target)
    path = target.path_to_change()
    if dry_run:
        result = read(path, lambda fetch: count_old(fetch, first_kept(days)))
    else:
        # Only what was asked for goes: the retention of the configuration is left to the loggers. A crash journal that
        # is replayed by the way is priced as they would.
        models = locate("models", target.config)
        with TelemetryLogger(path, models=models or False, policies=False, retention_days=None) as telemetry:
            result = telemetry.purge(days)
    verb = "would be deleted" if dry_run else "deleted"
    target.show(asdict(result), lambda found: _show(found, verb))


def _show(found: dict[str, Any], verb: str) -> None:
    lines(
        [
            ("calls", f"{found['records']:,} {verb}"),
            ("contents", f"{found['contents']:,} {verb}"),
            ("dead letters", f"{found['dead_letters']:,} {verb}"),
            ("kept since", found["records_kept_since"] or "-"),
            ("bytes freed", f"{found['bytes_freed']:,}"),
        ]
    )


def _days(text: str, target: Target) -> float:
    """How long ago the time was, in days; it may lie within its UTC day."""
    try:
        asked = target.range(text)
    except QueryError as error:
        raise click.BadParameter(f"{shown(text)} is not usable; {error.remedy}", param_hint="--older-than") from None
    days = (datetime.now(UTC) - (asked.start or datetime.now(UTC))) / timedelta(days=1)
    if days < 0:
        raise click.BadParameter(f"{text!r} lies in the future", param_hint="--older-than")
    return days
