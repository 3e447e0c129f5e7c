"""`doctor`: what is wrong with file and configuration, and what to do; repairs and salvages when told."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from llm_service.cli.formats import Output, Rows, formatted, put_out
from llm_service.cli.kinds import Kind, texts
from llm_service.cli.options import common, examples
from llm_service.cli.output import clean, lines, listing
from llm_service.cli.tables import Column, plural
from llm_service.cli.target import Target
from llm_service.config.settings import SettingsError, resolve_db_path
from llm_service.errors import ConfigError

if TYPE_CHECKING:
    from llm_service.config.settings import Settings
    from llm_service.telemetry.maintenance.findings import Finding
    from llm_service.telemetry.maintenance.salvage import SalvageReport

__all__ = ["doctor"]

_COUNTS: Final[dict[str, Kind]] = dict.fromkeys(("recovered", "partial", "damaged", "duplicates"), "integer")
_SALVAGED: Final = (
    Column("table", whole=True, of=lambda found: found["name"]),
    Column("recovered", "right", of=lambda found: f"{found['recovered']:,}"),
    Column("partial", "right", of=lambda found: f"{found['partial']:,}"),
    Column("damaged", "right", of=lambda found: f"{found['damaged']:,}"),
    Column("duplicates", "right", of=lambda found: f"{found['duplicates']:,}"),
)
_KINDS_SALVAGED: Final = texts("name") | _COUNTS
_FINDINGS: Final = (
    Column("severity", of=lambda finding: finding["severity"]),
    Column("finding", of=lambda finding: finding["name"]),
    Column("seen", of=lambda finding: finding["seen"]),
    Column("remedy", of=lambda finding: finding["remedy"]),
)
_CODE: Final[dict[str, Kind]] = {"exit_code": "integer"}
_KINDS: Final = texts("check", "name", "severity") | _CODE | texts("seen", "remedy")


@click.command(
    epilog=examples(
        "doctor",
        "doctor --db ./telemetry.db --full --json",
        "doctor --ignore wal_reset_bug --ignore dead_letters",
        "doctor --repair --dry-run",
        "doctor --db ./telemetry.db.corrupt-20261124T031500Z --salvage ./saved.db",
    )
)
@click.option("--full", is_flag=True, help="Check every index entry and id, without a time limit.")
@click.option("--repair", "repairing", is_flag=True, help="Rebuild daily totals and indexes, tighten permissions.")
@click.option("--dry-run", is_flag=True, help="With --repair: only say what would be done.")
@click.option(
    "--salvage",
    "salvaging",
    is_flag=False,
    flag_value="",
    metavar="[DEST]",
    help="Recover what can be read into a new file; default: FILE.salvaged beside it.",
)
@click.option("--ignore", "ignored", multiple=True, metavar="FINDING", help="Do not count this finding; repeatable.")
@formatted()
@common
def doctor(
    *,
    full: bool,
    repairing: bool,
    dry_run: bool,
    salvaging: str | None,
    ignored: tuple[str, ...],
    output: Output,
    target: Target,
) -> None:
    """Check the database and the configuration; read-only unless told otherwise.

    The exit code is that of the gravest finding, 0 where all is well; the manual lists them. With --salvage it is 0
    when nothing is lost, 45 where something is or nobody can tell; with --force, DEST is replaced, too, where it is no
    database in use, or of others.
    """
    from llm_service.telemetry.maintenance.findings import KINDS
    from llm_service.telemetry.maintenance.repair import repair

    unknown = [name for name in ignored if name not in KINDS]
    if unknown:
        problem = f"there is no finding {unknown[0]!r}; there are: {', '.join(KINDS)}"
        raise click.BadParameter(problem, param_hint="--ignore")
    idle = output.force and salvaging is None and output.path is None
    if (dry_run and not repairing) or idle or (repairing and salvaging is not None):
        raise click.UsageError("--dry-run goes with --repair, --force with --salvage or -o, and only one at a time")
    if salvaging is None:
        actions = [asdict(action) for action in repair(target.path(), dry_run=dry_run)] if repairing else None
        _examine(target, output, actions, full=full, ignored=ignored)
    else:
        source = target.path()
        destination = resolve_db_path(salvaging) if salvaging else source.with_name(f"{source.name}.salvaged")
        _salvage(source, destination, target, output)


def _examine(
    target: Target, output: Output, actions: list[dict[str, Any]] | None, *, full: bool, ignored: Sequence[str]
) -> None:
    from llm_service.telemetry.maintenance.doctor import examine
    from llm_service.telemetry.maintenance.findings import exit_code

    settings, configuration = _configuration(target)
    path = target.db or (None if settings is None else settings.db_path)
    findings = [configuration, *([] if path is None else examine(path, settings, full=full))]
    code = exit_code(finding for finding in findings if finding.name not in ignored)
    found: dict[str, Any] = {
        "db_path": None if path is None else str(path),
        "exit_code": code,
        "findings": [asdict(finding) | {"severity": finding.severity.value} for finding in findings],
        "actions": actions or [],
    }
    what = Rows(found["findings"], _FINDINGS, _KINDS, found)
    put_out(output, target, what, lambda: _show(found, ignored, repaired=actions is not None))
    raise click.exceptions.Exit(code)


def _show(found: dict[str, Any], ignored: Sequence[str], *, repaired: bool) -> None:
    """One line for each finding, a second one for its remedy."""
    if found["db_path"] is not None:
        click.echo(clean(f"database  {found['db_path']}"))
    for action in found["actions"]:
        click.echo(clean(f"{'repaired' if action['done'] else 'not done'}  {action['name']}: {action['what']}"))
    if repaired and not found["actions"]:
        click.echo("repaired  nothing: there was nothing to repair")
    width = max(len(finding["name"]) for finding in found["findings"])
    counts = {"error": 0, "warning": 0}
    for finding in found["findings"]:
        word = "ignored" if finding["name"] in ignored else finding["severity"]
        counts[word] = counts.get(word, 0) + 1
        click.echo(clean(f"{word:<8}  {finding['name']:<{width}}  {finding['seen']}"))
        if finding["remedy"]:
            click.echo(clean(f"{'':<8}  {'':<{width}}  -> {finding['remedy']}"))
    errors, warnings = counts["error"], counts["warning"]
    verdict = f"{errors} error(s), {warnings} warning(s)" if errors or warnings else "healthy"
    click.echo(f"{verdict}; exit code {found['exit_code']}")


def _configuration(target: Target) -> "tuple[Settings | None, Finding]":
    """The configuration in force, None where only a path is known; and what is to be said of it."""
    from llm_service.telemetry.maintenance.findings import found, healthy

    if target.db is not None and target.config is None:
        return None, healthy("config", "not read: --db was given alone")
    try:
        settings = target.settings()
    except (ConfigError, SettingsError) as error:
        return None, found("config_error", str(error))
    if not settings.enabled or settings.privacy_level == "none":
        return settings, healthy("config", "usable; it says that nothing is recorded")
    return settings, healthy("config", "usable")


def _salvage(source: Path, destination: Path, target: Target, output: Output) -> None:
    from llm_service.telemetry.maintenance.findings import KINDS
    from llm_service.telemetry.maintenance.salvage import salvage

    report = salvage(source, destination, force=output.force)
    found: dict[str, Any] = asdict(report) | {"path": str(report.path), "source": str(source)}
    rows = [{"name": name, **counts} for name, counts in found["tables"].items()]
    what = Rows(rows, _SALVAGED, _KINDS_SALVAGED, found)
    put_out(output, target, what, lambda: _show_salvage(found, report))
    if report.lost != 0:
        raise click.exceptions.Exit(KINDS["damaged"].exit_code)


def _show_salvage(found: dict[str, Any], report: "SalvageReport") -> None:
    """Counts by table, and what is known to be lost."""
    lines([("from", found["source"]), ("into", found["path"])])
    listing(_SALVAGED, [counts | {"name": name} for name, counts in found["tables"].items()])
    if report.lost is None:
        click.echo("lost: unknown, nothing that could be read to its end says how many calls there were")
    else:
        are, lost = "is" if report.lost == 1 else "are", plural(report.lost, "call")
        click.echo(f"lost: {lost} that {are} known to have been stored {are} not whole; see its dead letters")
    click.echo(
        f"daily totals: {report.totals_kept:,} kept from the old file, {report.totals_rebuilt:,} made from its records"
    )
