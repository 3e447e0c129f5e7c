"""`config show`, `config check`, `config example`: what is in force here, whether it is usable, and what can be set."""

from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from llm_service.cli.options import FILE, common, examples
from llm_service.cli.output import clean, json_document, lines, listing
from llm_service.cli.tables import Column
from llm_service.cli.target import Target
from llm_service.config.files import FILE_VARIABLES, Kind, example

if TYPE_CHECKING:
    from llm_service.errors import ConfigError

__all__ = ["config_group"]

_SETTINGS: Final = (
    Column("setting", whole=True, of=lambda setting: setting["name"]),
    Column("value", of=lambda setting: _value(setting["value"])),
    Column("source", of=lambda setting: setting["source"]),
)


@click.group(
    name="config", epilog=examples("config show", "config check --config ./telemetry.yaml", "config example policies")
)
def config_group() -> None:
    """The configuration in force, and whether it is usable."""


@config_group.command(name="show", epilog=examples("config show", "config show --config ./telemetry.yaml --json"))
@common
def config_show(*, target: Target) -> None:
    """Show each setting and where its value comes from, and which models.yaml and policies.yaml are in force.

    The source is `default`, FILE:LINE, the name of an environment variable, or --db. With --json: one object with
    settings, an array of name, value and source, and models and policies, each a path or null.
    """
    from llm_service.config.files import locate
    from llm_service.config.load import ConfigValue, describe_config

    db, config = target.db, target.config
    values = describe_config(config)
    if db is not None:
        values = [ConfigValue(v.name, str(db), "--db") if v.name == "db_path" else v for v in values]
    models, policies = _text(locate("models", config)), _text(locate("policies", config))
    settings = [value._asdict() for value in values]
    if target.as_json:
        json_document({"settings": settings, "models": models, "policies": policies})
        return
    listing(_SETTINGS, settings)
    click.echo()
    lines([("models.yaml", models or "none"), ("policies.yaml", policies or "none")])


def _value(value: object) -> str:
    if value is None:
        return "none"
    return str(value).lower() if isinstance(value, bool) else str(value)


@config_group.command(
    name="example", epilog=examples("config example policies", "config example telemetry > config/telemetry.yaml")
)
@click.argument("name", metavar="NAME", type=click.Choice(list(FILE_VARIABLES)))
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def config_example(*, name: Kind, as_json: bool) -> None:
    """Print an example of telemetry.yaml, models.yaml or policies.yaml that documents every key.

    Copy what you want to change: what a file leaves out has its default. With --json: one object of `file` and `text`.
    """
    text = example(name)
    if as_json:
        json_document({"file": f"{name}.yaml", "text": text})
    else:
        click.echo(text, nl=False)


@config_group.command(
    name="check",
    epilog=examples(
        "config check",
        "config check --config ./telemetry.yaml --json",
        "config check --models ./models.yaml --policies ./policies.yaml",
    ),
)
@common
@click.option("--models", type=FILE, metavar="PATH", help="A models.yaml to check instead of the one in force.")
@click.option("--policies", type=FILE, metavar="PATH", help="A policies.yaml to check instead of the one in force.")
def config_check(*, target: Target, models: Path | None, policies: Path | None) -> None:
    """Check telemetry.yaml, models.yaml and policies.yaml, each and against each other.

    All errors and warnings are shown at once, with file and line. Exit code 1 where there are errors; what only looks
    wrong, such as a price 1,000 times off, is a warning. With --json: one object with ok, db_path (null where it is not
    known), models and policies (the files, or null), error (the first, or null), and errors and warnings, arrays of
    file, line, key and message.
    """
    from llm_service.config.checking import check_files
    from llm_service.pricing.book import PriceBook

    db, checked = target.db, check_files(target.config, models=models, policies=policies, bundled=PriceBook)
    errors = [error for error in checked.errors if db is None or error.file is not None or error.key != "db_path"]
    path: Path | None = None
    if not errors:
        path = db if db is not None or checked.telemetry is None else checked.telemetry.get_db_path()
    if target.as_json:
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
