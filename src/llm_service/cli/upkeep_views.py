"""How findings, repairs, salvage, backups and dead letters look, as text and as dicts for `--json`."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import click

from llm_service.cli.output import clean, lines, table
from llm_service.cli.tables import Column
from llm_service.telemetry.maintenance.backup import BackupReport
from llm_service.telemetry.maintenance.dead_letters import DeadLetter, Retried
from llm_service.telemetry.maintenance.findings import Finding, Severity
from llm_service.telemetry.maintenance.repair import Action
from llm_service.telemetry.maintenance.salvage import SalvageReport

__all__ = ["doctor_dict", "show_backup", "show_doctor", "show_letters", "show_retried", "show_salvage"]

_MIB: Final = 1024 * 1024
_LETTERS: Final = (Column("id", "right"), Column("time (UTC)", whole=True), Column("invocation id"), Column("why"))


def show_doctor(
    path: Path | None, findings: Sequence[Finding], actions: Sequence[Action] | None, code: int, ignored: Sequence[str]
) -> None:
    """One line for each finding, a second one for its remedy."""
    if path is not None:
        click.echo(clean(f"database  {path}"))
    for action in actions or ():
        click.echo(clean(f"{'repaired' if action.done else 'not done'}  {action.name}: {action.what}"))
    if actions is not None and not actions:
        click.echo("repaired  nothing: there was nothing to repair")
    width = max(len(finding.name) for finding in findings)
    for finding in findings:
        word = "ignored" if finding.name in ignored else finding.severity.value
        click.echo(clean(f"{word:<8}  {finding.name:<{width}}  {finding.seen}"))
        if finding.remedy:
            click.echo(clean(f"{'':<8}  {'':<{width}}  -> {finding.remedy}"))
    counted = [finding for finding in findings if finding.name not in ignored]
    errors = sum(finding.severity is Severity.ERROR for finding in counted)
    warnings = sum(finding.severity is Severity.WARNING for finding in counted)
    verdict = "healthy" if not (errors or warnings) else f"{errors} error(s), {warnings} warning(s)"
    click.echo(f"{verdict}; exit code {code}")


def doctor_dict(
    path: Path | None, findings: Sequence[Finding], actions: Sequence[Action] | None, code: int
) -> dict[str, Any]:
    """For `--json`."""
    return {
        "db_path": None if path is None else str(path),
        "exit_code": code,
        "findings": [asdict(finding) | {"severity": finding.severity.value} for finding in findings],
        "actions": [asdict(action) for action in actions or ()],
    }


def show_salvage(source: Path, report: SalvageReport) -> None:
    """Counts by table, and what is known to be lost."""
    lines([("from", str(source)), ("into", str(report.path))])
    columns = (
        Column("table", whole=True),
        *(Column(name, "right") for name in ("recovered", "partial", "damaged", "duplicates")),
    )
    rows = [
        [name, *(f"{number:,}" for number in (found.recovered, found.partial, found.damaged, found.duplicates))]
        for name, found in report.tables.items()
    ]
    table(columns, rows)
    if report.lost is None:
        click.echo("lost: unknown, nothing that could be read to its end says how many calls there were")
    else:
        click.echo(
            f"lost: {report.lost:,} calls that are known to have been stored are not whole; see its dead letters"
        )
    click.echo(
        f"daily totals: {report.totals_kept:,} kept from the old file, {report.totals_rebuilt:,} made from its records"
    )


def show_backup(source: Path, report: BackupReport) -> None:
    """What was copied and how long it took."""
    rows = report.rows.get("invocations", 0)
    lines(
        [
            ("from", str(source)),
            ("into", str(report.path)),
            ("verified", f"integrity_check: ok; {rows:,} calls, and all rows of {len(report.rows)} tables"),
            ("size", f"{report.bytes / _MIB:,.1f} MiB in {report.seconds:,.2f} s"),
            (
                "snapshot",
                f"held for {report.snapshot_seconds:,.2f} s; the WAL grew by {report.wal_growth_bytes / _MIB:,.1f} MiB",
            ),
        ]
    )


def show_letters(letters: Sequence[DeadLetter]) -> None:
    """A table, oldest first."""
    if not letters:
        click.echo("no dead letters")
        return
    rows = [
        [str(letter.id), letter.quarantined_at[:19], letter.invocation_id or "-", letter.error] for letter in letters
    ]
    table(_LETTERS, rows)


def show_retried(outcomes: Sequence[Retried]) -> None:
    """One line for each letter."""
    if not outcomes:
        click.echo("no dead letters")
    for one in outcomes:
        click.echo(clean(f"{one.id}: {one.outcome.value}{': ' if one.why else ''}{one.why}"))
