"""`dead-letters`: records that SQLite refused, listed, tried again, or dropped."""

import json
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from typing import Any, Final

import click

from llm_service.cli.formats import Output, Rows, formatted, put_out
from llm_service.cli.kinds import kinds_of
from llm_service.cli.options import common, examples, zoned
from llm_service.cli.output import clean, listing
from llm_service.cli.tables import Column
from llm_service.cli.target import Target
from llm_service.cli.times import in_zone

__all__ = ["dead_letters"]

_LETTERS: Final = (
    Column("id", "right", of=lambda letter: str(letter["id"])),
    Column("time", moment="quarantined_at"),
    Column("invocation id", of=lambda letter: letter["invocation_id"] or "-"),
    Column("why", of=lambda letter: letter["error"]),
)


@click.group(
    name="dead-letters", epilog=examples("dead-letters list", "dead-letters retry --all", "dead-letters drop 3 5 --yes")
)
def dead_letters() -> None:
    """Records that SQLite refused: list them, try them again, or drop them.

    Each command takes --db PATH, --config PATH and --json.
    """


@dead_letters.command(name="list", epilog=examples("dead-letters list", "dead-letters list --json"))
@zoned
@formatted()
@common
def list_letters(*, output: Output, target: Target) -> None:
    """List them, oldest first; --json shows the records."""
    from llm_service.telemetry.maintenance.dead_letters import DeadLetter, letters

    found = [asdict(letter) for letter in letters(target.path())]
    columns = in_zone(_LETTERS, target.zone())
    what = Rows(found, columns, kinds_of(DeadLetter), found)
    put_out(output, target, what, lambda: listing(columns, found, empty="no dead letters"))


def _chosen(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the arguments that choose letters."""
    command = click.option("--all", "everything", is_flag=True, help="All of them.")(command)
    return click.argument("ids", metavar="[ID]...", type=click.IntRange(min=1), nargs=-1)(command)


def _ids(ids: tuple[int, ...], everything: bool) -> list[int] | None:  # noqa: FBT001 - the flag as it was given
    if bool(ids) == everything:
        raise click.UsageError("give the ids of letters, or --all")
    return None if everything else list(ids)


@dead_letters.command(
    epilog=examples(
        "dead-letters retry 3 5",
        "dead-letters retry --all",
        "dead-letters retry 3 --set cost_usd=0.25 --set agent_name=null",
    )
)
@_chosen
@click.option(
    "--set", "changes", multiple=True, metavar="FIELD=VALUE", help="Replace a field; JSON or text; repeatable."
)
@common
def retry(*, ids: tuple[int, ...], everything: bool, changes: tuple[str, ...], target: Target) -> None:
    """Log them again, as a logger with this configuration would; what is stored is no letter any more.

    Exit code 1 where one is still refused.
    """
    from llm_service.config.files import locate
    from llm_service.telemetry import TelemetryLogger
    from llm_service.telemetry.maintenance import dead_letters as letters

    replaced = dict(map(_change, changes))
    settings = target.settings()
    found = letters.letters(settings.db_path, _ids(ids, everything))
    options: dict[str, Any] = {name: getattr(settings, name) for name in settings.names()}
    options |= {"models": locate("models", target.config) or False, "policies": False}
    options["retention_days"] = None  # a short life is no time to delete in
    open_logger: Callable[[], TelemetryLogger] = partial(TelemetryLogger, options.pop("db_path"), **options)
    outcomes = letters.retry(found, open_logger, replaced) if found else []
    target.show([asdict(one) | {"outcome": one.outcome.value} for one in outcomes], _show_retried)
    if any(one.outcome is letters.Outcome.REFUSED for one in outcomes):
        raise click.exceptions.Exit(1)


def _show_retried(outcomes: list[dict[str, Any]]) -> None:
    if not outcomes:
        click.echo("no dead letters")
    for one in outcomes:
        click.echo(clean(f"{one['id']}: {one['outcome']}{': ' if one['why'] else ''}{one['why']}"))


def _change(text: str) -> tuple[str, Any]:
    from llm_service.telemetry.record.record import FIELDS

    field, given, value = text.partition("=")
    if not given or field not in FIELDS:
        problem = f"{text!r} is no FIELD=VALUE; the fields are: {', '.join(FIELDS)}"
        raise click.BadParameter(problem, param_hint="--set")
    try:
        return field, json.loads(value)
    except (ValueError, RecursionError):
        return field, value


@dead_letters.command(epilog=examples("dead-letters drop 3 5 --yes", "dead-letters drop --all --yes"))
@_chosen
@click.option("--yes", is_flag=True, help="Really delete them; nothing keeps a copy.")
@common
def drop(*, ids: tuple[int, ...], everything: bool, yes: bool, target: Target) -> None:
    """Delete them for good."""
    from llm_service.telemetry.maintenance import dead_letters as letters

    path = target.path()
    found = [letter.id for letter in letters.letters(path, _ids(ids, everything))]
    if not yes:
        raise click.UsageError(f"this deletes {len(found)} records for good; say so with --yes")
    dropped = letters.drop(path, found) if found else 0
    target.show({"dropped": dropped}, lambda _: click.echo(f"dropped {dropped:,}"))
