"""`config` and `completion`: what is in force here, and how the shell helps."""

from pathlib import Path

import click

from llm_service.cli.options import common, settings_for
from llm_service.cli.output import clean, json_document

__all__ = ["completion", "config_group"]

_PROGRAM = "llm-telemetry"
_VARIABLE = "_LLM_TELEMETRY_COMPLETE"


@click.group(
    name="config",
    epilog="""\b
Examples:
  llm-telemetry config show
  llm-telemetry config check --config ./telemetry.yaml""",
)
def config_group() -> None:
    """The settings in force, and whether they are usable."""


@config_group.command(
    name="show",
    epilog="""\b
Examples:
  llm-telemetry config show
  llm-telemetry config show --config ./telemetry.yaml --json""",
)
@common
def config_show(*, db: Path | None, config: Path | None, as_json: bool) -> None:
    """Show each setting and where its value comes from.

    The source is `default`, FILE:LINE, the name of an environment variable, or --db. With --json: one object with
    settings, an array of name, value and source.
    """
    from llm_service.cli import views  # noqa: PLC0415
    from llm_service.config.load import ConfigValue, describe_config  # noqa: PLC0415

    values = describe_config(config)
    if db is not None:
        values = [ConfigValue(v.name, str(db), "--db") if v.name == "db_path" else v for v in values]
    if as_json:
        json_document({"settings": [value._asdict() for value in values]})
    else:
        views.show_settings(values)


@config_group.command(
    name="check",
    epilog="""\b
Examples:
  llm-telemetry config check
  llm-telemetry config check --config ./telemetry.yaml --json""",
)
@common
def config_check(*, db: Path | None, config: Path | None, as_json: bool) -> None:
    """Check the configuration; exit code 1 where it cannot be used.

    With --json: one object with ok, db_path (null where it is not known) and error (null where there is none).
    """
    from llm_service.errors import ConfigError  # noqa: PLC0415

    try:
        path = settings_for(db, config).db_path
    except ConfigError as error:
        if not as_json:
            raise
        json_document({"ok": False, "db_path": None, "error": str(error)})
        raise click.exceptions.Exit(1) from None
    if as_json:
        json_document({"ok": True, "db_path": str(path), "error": None})
    else:
        click.echo(clean(f"the configuration is usable; the database is {path}"))


@click.command(
    epilog="""\b
Examples:
  eval "$(llm-telemetry completion bash)"
  llm-telemetry completion zsh > ~/.zfunc/_llm-telemetry
  llm-telemetry completion fish > ~/.config/fish/completions/llm-telemetry.fish"""
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, *, shell: str) -> None:
    """Print the script that lets a shell complete commands and options.

    Put the first example into ~/.bashrc, or write the script where the shell looks for such; bash 4.4 or newer.
    """
    from click.shell_completion import get_completion_class  # noqa: PLC0415

    kind = get_completion_class(shell)
    if kind is None:  # pragma: no cover - click has had these three since 8.0
        raise click.UsageError(f"this click knows no completion for {shell}")
    click.echo(kind(context.find_root().command, {}, _PROGRAM, _VARIABLE).source())
