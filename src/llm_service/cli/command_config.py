"""`config show`, `config check`, `config example`: what is in force here, whether it is usable, and what can be set."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from llm_service.cli.formats import Output, Rows, formatted, put_out
from llm_service.cli.kinds import texts
from llm_service.cli.options import FILE, common, examples
from llm_service.cli.output import clean, json_document, lines, listing
from llm_service.cli.tables import Column, named
from llm_service.cli.target import Target
from llm_service.config.files import FILE_VARIABLES, Kind, example

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llm_service.errors import ConfigError

__all__ = ["config_group"]

_SETTINGS: Final = (
    Column("setting", whole=True, of=lambda setting: setting["name"]),
    Column("value", of=lambda setting: _value(setting["value"])),
    Column("source", of=lambda setting: setting["source"]),
)
_FINDINGS: Final = (
    Column("severity", of=lambda item: item["severity"]),
    Column("file", of=lambda item: named(item["file"])),
    Column("line", "right", of=lambda item: "-" if item["line"] is None else str(item["line"])),
    Column("key", of=lambda item: named(item["key"])),
    Column("message", of=lambda item: item["message"]),
)


@click.group(
    name="config", epilog=examples("config show", "config check --config ./telemetry.yaml", "config example policies")
)
def config_group() -> None:
    """The configuration in force, and whether it is usable."""


@config_group.command(name="show", epilog=examples("config show", "config show --config ./telemetry.yaml --json"))
@formatted()
@common
def config_show(*, output: Output, target: Target) -> None:
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
    found = {"settings": settings, "models": models, "policies": policies}
    put_out(
        output, target, Rows(_plain(settings), _SETTINGS, texts("name", "value", "source"), found), lambda: _show(found)
    )


def _plain(settings: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Values of every type as texts, for formats whose columns have one."""
    return [setting | {"value": None if setting["value"] is None else _value(setting["value"])} for setting in settings]


def _show(found: dict[str, Any]) -> None:
    listing(_SETTINGS, found["settings"])
    click.echo()
    lines([(f"{name}.yaml", found[name] or "none") for name in ("models", "policies")])


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
@click.option("--models", type=FILE, metavar="PATH", help="A models.yaml to check instead of the one in force.")
@click.option("--policies", type=FILE, metavar="PATH", help="A policies.yaml to check instead of the one in force.")
@formatted()
@common
def config_check(*, models: Path | None, policies: Path | None, output: Output, target: Target) -> None:
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
    found = {
        "ok": not errors,
        "db_path": _text(path),
        "models": _text(checked.models),
        "policies": _text(checked.policies),
        "error": str(errors[0]) if errors else None,
        "errors": [_place(error) for error in errors],
        "warnings": [_place(warning) for warning in checked.warnings],
    }
    rows = [
        {"severity": severity, **_place(item)}
        for severity, items in (("error", errors), ("warning", checked.warnings))
        for item in items
    ]
    what = Rows(rows, _FINDINGS, texts("severity", "file") | {"line": "integer"} | texts("key", "message"), found)
    put_out(output, target, what, lambda: _show_check(errors, checked.warnings, path))
    if errors:
        raise click.exceptions.Exit(1)


def _show_check(errors: "Sequence[ConfigError]", warnings: "Sequence[ConfigError]", path: Path | None) -> None:
    for title, found in (("Error", errors), ("Warning", warnings)):
        for item in found:
            click.echo(clean(f"{title}: {item}"), err=True)
    if not errors:
        click.echo(clean(f"the configuration is usable; the database is {path}"))


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)


def _place(error: "ConfigError") -> dict[str, object]:
    return {"file": _text(error.file), "line": error.line, "key": error.key, "message": str(error)}
