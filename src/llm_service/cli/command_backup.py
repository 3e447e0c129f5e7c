"""`backup`: a verified copy of the database while it is written."""

from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import click

from llm_service.cli.options import DATABASE, common, examples
from llm_service.cli.output import lines, progress
from llm_service.cli.tables import plural
from llm_service.cli.target import Target, percent_of

__all__ = ["backup"]

_MIB: Final = 1024 * 1024


@click.command(epilog=examples("backup ./telemetry-2026-11-24.db", "backup /mnt/backups/telemetry.db --force --json"))
@click.argument("destination", metavar="DEST", type=DATABASE)
@click.option("--force", is_flag=True, help="Replace DEST where it is no database in use, or of others.")
@common
def backup(*, destination: Path, force: bool, target: Target) -> None:
    """Make a verified copy of the database while it is written.

    DEST appears when it is whole, checked and synced, with mode 0600.
    """
    from llm_service.telemetry.maintenance.backup import backup as run

    source = target.path()
    with progress(100, "percent copied") as on_progress:
        report = run(source, destination, force=force, on_progress=percent_of(on_progress))
    target.show(asdict(report) | {"path": str(report.path), "source": str(source)}, _show)


def _show(report: dict[str, Any]) -> None:
    """What was copied and how long it took."""
    rows, growth = report["rows"], report["wal_growth_bytes"] / _MIB
    calls = f"{plural(rows.get('invocations', 0), 'call')}, and all rows of {plural(len(rows), 'table')}"
    lines(
        [
            ("from", report["source"]),
            ("into", report["path"]),
            ("verified", f"integrity_check: ok; {calls}"),
            ("size", f"{report['bytes'] / _MIB:,.1f} MiB in {report['seconds']:,.2f} s"),
            ("snapshot", f"held for {report['snapshot_seconds']:,.2f} s; the WAL grew by {growth:,.1f} MiB"),
        ]
    )
