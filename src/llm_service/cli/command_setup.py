"""`config` and `completion`: what is in force here, and how the shell helps."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from llm_service.cli.options import common
from llm_service.cli.output import clean, json_document, lines

if TYPE_CHECKING:
    from llm_service.config.models_sanity import RateBook
    from llm_service.errors import ConfigError

__all__ = ["completion", "config_group"]

_PROGRAM = "llm-telemetry"
_VARIABLE = "_LLM_TELEMETRY_COMPLETE"


def _yaml(option: str, text: str) -> Callable[[Any], Any]:
    kind = click.Path(exists=True, dir_okay=False, path_type=Path)
    return click.option(option, type=kind, metavar="PATH", help=text)


@click.group(
    name="config",
    epilog="""\b
Examples:
  llm-telemetry config show
  llm-telemetry config check --config ./telemetry.yaml""",
)
def config_group() -> None:
    """The configuration in force, and whether it is usable."""


@config_group.command(
    name="show",
    epilog="""\b
Examples:
  llm-telemetry config show
  llm-telemetry config show --config ./telemetry.yaml --json""",
)
@common
def config_show(*, db: Path | None, config: Path | None, as_json: bool) -> None:
    """Show each setting and where its value comes from, and which models.yaml and policies.yaml are in force.

    The source is `default`, FILE:LINE, the name of an environment variable, or --db. With --json: one object with
    settings, an array of name, value and source, and models and policies, each a path or null.
    """
    from llm_service.cli import views  # noqa: PLC0415
    from llm_service.config.files import locate  # noqa: PLC0415
    from llm_service.config.load import ConfigValue, describe_config  # noqa: PLC0415

    values = describe_config(config)
    if db is not None:
        values = [ConfigValue(v.name, str(db), "--db") if v.name == "db_path" else v for v in values]
    models, policies = locate("models", config), locate("policies", config)
    if as_json:
        settings = [value._asdict() for value in values]
        json_document({"settings": settings, "models": _text(models), "policies": _text(policies)})
    else:
        views.show_settings(values)
        click.echo()
        lines([("models.yaml", _text(models) or "none"), ("policies.yaml", _text(policies) or "none")])


@config_group.command(
    name="check",
    epilog="""\b
Examples:
  llm-telemetry config check
  llm-telemetry config check --config ./telemetry.yaml --json
  llm-telemetry config check --models ./models.yaml --policies ./policies.yaml""",
)
@common
@_yaml("--models", "A models.yaml to check instead of the one in force.")
@_yaml("--policies", "A policies.yaml to check instead of the one in force.")
def config_check(
    *, db: Path | None, config: Path | None, as_json: bool, models: Path | None, policies: Path | None
) -> None:
    """Check telemetry.yaml, models.yaml and policies.yaml, each and against each other.

    All errors and warnings are shown at once, with file and line. Exit code 1 where there are errors; what only looks
    wrong, such as a price 1,000 times off, is a warning. With --json: one object with ok, db_path (null where it is not
    known), models and policies (the files, or null), error (the first, or null), and errors and warnings, arrays of
    file, line, key and message.
    """
    from llm_service.config.checking import check_files  # noqa: PLC0415

    checked = check_files(config, models=models, policies=policies, bundled=_bundled_prices)
    errors = [error for error in checked.errors if db is None or error.file is not None or error.key != "db_path"]
    path: Path | None = None
    if not errors:
        path = db if db is not None or checked.telemetry is None else checked.telemetry.get_db_path()
    if as_json:
        json_document(
            {
                "ok": not errors,
                "db_path": _text(path),
                "models": _text(checked.models),
                "policies": _text(checked.policies),
                "error": str(errors[0]) if errors else None,
                "errors": [_place(error) for error in errors],
                "warnings": [_place(warning) for warning in checked.warnings],
            }
        )
    else:
        for title, found in (("Error", errors), ("Warning", checked.warnings)):
            for item in found:
                click.echo(clean(f"{title}: {item}"), err=True)
        if not errors:
            click.echo(clean(f"the configuration is usable; the database is {path}"))
    if errors:
        raise click.exceptions.Exit(1)


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)


def _place(error: "ConfigError") -> dict[str, object]:
    return {"file": _text(error.file), "line": error.line, "key": error.key, "message": str(error)}


def _bundled_prices() -> "RateBook":
    """The prices of the `prices` extra; of a book without it, all are unknown."""
    from llm_service.pricing.book import PriceBook  # noqa: PLC0415 - not for --help

    return PriceBook()


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
