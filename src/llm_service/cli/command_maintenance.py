"""`doctor`, `backup`, `dead-letters`: the commands that look after the file. See `telemetry.maintenance`."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from llm_service.cli.options import DATABASE, common, settings_for
from llm_service.cli.output import json_document, progress
from llm_service.config.settings import SettingsError, resolve_db_path
from llm_service.errors import ConfigError

if TYPE_CHECKING:
    from llm_service.config.settings import Settings
    from llm_service.telemetry.maintenance.findings import Finding
    from llm_service.telemetry.maintenance.repair import Action

__all__ = ["backup", "dead_letters", "doctor"]

_PERCENT = 100


@click.command(
    epilog="""\b
Examples:
  llm-telemetry doctor
  llm-telemetry doctor --db ./telemetry.db --full --json
  llm-telemetry doctor --ignore wal_reset_bug --ignore dead_letters
  llm-telemetry doctor --repair --dry-run
  llm-telemetry doctor --db ./telemetry.db.corrupt-20261124T031500Z --salvage ./saved.db"""
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
@click.option(
    "--force", is_flag=True, help="With --salvage: replace DEST where it is no database in use, or of others."
)
@click.option("--ignore", "ignored", multiple=True, metavar="FINDING", help="Do not count this finding; repeatable.")
@common
def doctor(
    *,
    full: bool,
    repairing: bool,
    dry_run: bool,
    salvaging: str | None,
    force: bool,
    ignored: tuple[str, ...],
    db: Path | None,
    config: Path | None,
    as_json: bool,
) -> None:
    """Check the database and the configuration; read-only unless told otherwise.

    The exit code is that of the gravest finding, 0 where all is well; the manual lists them. With --salvage it is 0
    when nothing is lost, 45 where something is or nobody can tell.
    """
    from llm_service.telemetry.maintenance.findings import KINDS  # noqa: PLC0415

    unknown = [name for name in ignored if name not in KINDS]
    if unknown:
        problem = f"there is no finding {unknown[0]!r}; there are: {', '.join(KINDS)}"
        raise click.BadParameter(problem, param_hint="--ignore")
    if (dry_run and not repairing) or (force and salvaging is None) or (repairing and salvaging is not None):
        raise click.UsageError("--dry-run goes with --repair, --force with --salvage, and only one of these at a time")
    if salvaging is not None:
        source = settings_for(db, config).db_path
        destination = resolve_db_path(salvaging) if salvaging else source.with_name(f"{source.name}.salvaged")
        _salvage(source, destination, force=force, as_json=as_json)
        return
    actions = _repair(settings_for(db, config).db_path, dry_run=dry_run) if repairing else None
    _examine(db, config, actions, full=full, ignored=ignored, as_json=as_json)


def _repair(path: Path, *, dry_run: bool) -> "list[Action]":
    from llm_service.telemetry.maintenance.repair import repair  # noqa: PLC0415

    return repair(path, dry_run=dry_run)


def _examine(
    db: Path | None,
    config: Path | None,
    actions: "Sequence[Action] | None",
    *,
    full: bool,
    ignored: Sequence[str],
    as_json: bool,
) -> None:
    from llm_service.cli import upkeep_views as views  # noqa: PLC0415
    from llm_service.telemetry.maintenance.doctor import examine  # noqa: PLC0415
    from llm_service.telemetry.maintenance.findings import exit_code  # noqa: PLC0415

    settings, configuration = _configuration(db, config)
    path = db or (None if settings is None else settings.db_path)
    findings = [configuration, *([] if path is None else examine(path, settings, full=full))]
    code = exit_code(finding for finding in findings if finding.name not in ignored)
    if as_json:
        json_document(views.doctor_dict(path, findings, actions, code))
    else:
        views.show_doctor(path, findings, actions, code, ignored)
    raise click.exceptions.Exit(code)


def _configuration(db: Path | None, config: Path | None) -> "tuple[Settings | None, Finding]":
    """The configuration in force, None where only a path is known; and what is to be said of it."""
    from llm_service.telemetry.maintenance.findings import found, healthy  # noqa: PLC0415

    if db is not None and config is None:
        return None, healthy("config", "not read: --db was given alone")
    try:
        settings = settings_for(db, config)
    except (ConfigError, SettingsError) as error:
        return None, found("config_error", str(error))
    if not settings.enabled or settings.privacy_level == "none":
        return settings, healthy("config", "usable; it says that nothing is recorded")
    return settings, healthy("config", "usable")


def _salvage(source: Path, destination: Path, *, force: bool, as_json: bool) -> None:
    from llm_service.cli import upkeep_views as views  # noqa: PLC0415
    from llm_service.telemetry.maintenance.findings import KINDS  # noqa: PLC0415
    from llm_service.telemetry.maintenance.salvage import salvage  # noqa: PLC0415

    report = salvage(source, destination, force=force)
    if as_json:
        json_document(asdict(report) | {"path": str(report.path), "source": str(source)})
    else:
        views.show_salvage(source, report)
    if report.lost != 0:
        raise click.exceptions.Exit(KINDS["damaged"].exit_code)


@click.command(
    epilog="""\b
Examples:
  llm-telemetry backup ./telemetry-2026-11-24.db
  llm-telemetry backup /mnt/backups/telemetry.db --force --json"""
)
@click.argument("destination", metavar="DEST", type=DATABASE)
@click.option("--force", is_flag=True, help="Replace DEST where it is no database in use, or of others.")
@common
def backup(*, destination: Path, force: bool, db: Path | None, config: Path | None, as_json: bool) -> None:
    """Make a verified copy of the database while it is written.

    DEST appears when it is whole, checked and synced, with mode 0600.
    """
    from llm_service.cli import upkeep_views as views  # noqa: PLC0415
    from llm_service.telemetry.maintenance.backup import backup as run  # noqa: PLC0415

    source = settings_for(db, config).db_path
    with progress(_PERCENT, "percent copied") as on_progress:
        report = run(
            source,
            destination,
            force=force,
            on_progress=lambda done, total: on_progress(_PERCENT * done // max(1, total)),
        )
    if as_json:
        json_document(asdict(report) | {"path": str(report.path), "source": str(source)})
    else:
        views.show_backup(source, report)


@click.group(
    name="dead-letters",
    epilog="""\b
Examples:
  llm-telemetry dead-letters list
  llm-telemetry dead-letters retry --all
  llm-telemetry dead-letters drop 3 5 --yes""",
)
def dead_letters() -> None:
    """Records that SQLite refused: list them, try them again, or drop them.

    Each command takes --db PATH, --config PATH and --json.
    """


@dead_letters.command(
    name="list",
    epilog="""\b
Examples:
  llm-telemetry dead-letters list
  llm-telemetry dead-letters list --json""",
)
@common
def list_letters(*, db: Path | None, config: Path | None, as_json: bool) -> None:
    """List them, oldest first; --json shows the records."""
    from llm_service.cli import upkeep_views as views  # noqa: PLC0415
    from llm_service.telemetry.maintenance.dead_letters import letters  # noqa: PLC0415

    found = letters(settings_for(db, config).db_path)
    if as_json:
        json_document([asdict(letter) for letter in found])
    else:
        views.show_letters(found)


def _chosen(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the arguments that choose letters."""
    command = click.option("--all", "everything", is_flag=True, help="All of them.")(command)
    return click.argument("ids", metavar="[ID]...", type=click.IntRange(min=1), nargs=-1)(command)


def _ids(ids: tuple[int, ...], everything: bool) -> list[int] | None:  # noqa: FBT001 - the flag as it was given
    if bool(ids) == everything:
        raise click.UsageError("give the ids of letters, or --all")
    return None if everything else list(ids)


@dead_letters.command(
    epilog="""\b
Examples:
  llm-telemetry dead-letters retry 3 5
  llm-telemetry dead-letters retry --all
  llm-telemetry dead-letters retry 3 --set cost_usd=0.25 --set agent_name=null"""
)
@_chosen
@click.option(
    "--set", "changes", multiple=True, metavar="FIELD=VALUE", help="Replace a field; JSON or text; repeatable."
)
@common
def retry(
    *,
    ids: tuple[int, ...],
    everything: bool,
    changes: tuple[str, ...],
    db: Path | None,
    config: Path | None,
    as_json: bool,
) -> None:
    """Log them again, as a logger with this configuration would; what is stored is no letter any more.

    Exit code 1 where one is still refused.
    """
    from llm_service.cli import upkeep_views as views  # noqa: PLC0415
    from llm_service.config.files import locate  # noqa: PLC0415
    from llm_service.telemetry.logger import TelemetryLogger  # noqa: PLC0415
    from llm_service.telemetry.maintenance import dead_letters as upkeep  # noqa: PLC0415

    settings = settings_for(db, config)
    found = upkeep.letters(settings.db_path, _ids(ids, everything))
    options: dict[str, Any] = {name: getattr(settings, name) for name in settings.names()}
    options |= {"models": locate("models", config) or False, "policies": False}
    # A short life is no time to delete in.
    options |= {"retention_days": None}
    open_logger: Callable[[], TelemetryLogger] = partial(TelemetryLogger, options.pop("db_path"), **options)
    outcomes = upkeep.retry(found, open_logger, dict(map(_change, changes))) if found else []
    if as_json:
        json_document([asdict(one) | {"outcome": one.outcome.value} for one in outcomes])
    else:
        views.show_retried(outcomes)
    if any(one.outcome is upkeep.Outcome.REFUSED for one in outcomes):
        raise click.exceptions.Exit(1)


def _change(text: str) -> tuple[str, Any]:
    from llm_service.telemetry.record.record import FIELDS  # noqa: PLC0415

    field, given, value = text.partition("=")
    if not given or field not in FIELDS:
        problem = f"{text!r} is no FIELD=VALUE; the fields are: {', '.join(FIELDS)}"
        raise click.BadParameter(problem, param_hint="--set")
    try:
        return field, json.loads(value)
    except (ValueError, RecursionError):
        return field, value


@dead_letters.command(
    epilog="""\b
Examples:
  llm-telemetry dead-letters drop 3 5 --yes
  llm-telemetry dead-letters drop --all --yes"""
)
@_chosen
@click.option("--yes", is_flag=True, help="Really delete them; nothing keeps a copy.")
@common
def drop(
    *, ids: tuple[int, ...], everything: bool, yes: bool, db: Path | None, config: Path | None, as_json: bool
) -> None:
    """Delete them for good."""
    from llm_service.telemetry.maintenance import dead_letters as upkeep  # noqa: PLC0415

    path = settings_for(db, config).db_path
    found = [letter.id for letter in upkeep.letters(path, _ids(ids, everything))]
    if not yes:
        raise click.UsageError(f"this deletes {len(found)} records for good; say so with --yes")
    dropped = upkeep.drop(path, found) if found else 0
    if as_json:
        json_document({"dropped": dropped})
    else:
        click.echo(f"dropped {dropped:,}")
