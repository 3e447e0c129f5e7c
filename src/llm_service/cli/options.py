"""What can be given on the command line: the kinds of values, and the options that every command has."""

import math
from collections.abc import Callable
from dataclasses import replace
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from llm_service.config.settings import Settings, SettingsError, resolve_db_path

if TYPE_CHECKING:
    from llm_service.cli.reports import Moment

__all__ = ["DATABASE", "DAY", "DAY_OR_MOMENT", "SPEED", "common", "filters", "settings_for"]

_F = TypeVar("_F", bound=Callable[..., Any])


class _Database(click.ParamType[Path]):
    """A database file, as every other part of the project takes it."""

    name = "path"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        try:
            return resolve_db_path(value)
        except SettingsError as error:
            self.fail(str(error), param, ctx)


class _Speed(click.ParamType[float]):
    """How many times faster than the trace; infinity for as fast as possible."""

    name = "times"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if value in {"max", "0"}:
            return math.inf
        try:
            speed = float(value)
        except ValueError:
            speed = math.nan
        if not (math.isfinite(speed) and speed >= 0):
            self.fail(f"{value!r} is no speed; give a number such as 1 or 60, or max", param, ctx)
        return speed or math.inf


class _Day(click.ParamType[date]):
    """A UTC day."""

    name = "yyyy-mm-dd"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> date:
        try:
            return date.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r} is no day; write it as 2026-11-23", param, ctx)


class _DayOrMoment(click.ParamType["Moment"]):
    """A UTC day, or a moment with its offset."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> "Moment":
        try:
            return date.fromisoformat(value)
        except ValueError:
            pass
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            moment = None
        if moment is None or moment.utcoffset() is None:
            self.fail(f"{value!r} is neither a day nor a moment; write 2026-11-23 or 2026-11-23T18:00:00Z", param, ctx)
        return moment


DATABASE = _Database()
SPEED = _Speed()
DAY = _Day()
DAY_OR_MOMENT = _DayOrMoment()


def common(command: _F) -> _F:
    """Add the options of every command: `--db`, `--config`, `--json`."""
    file = click.Path(exists=True, dir_okay=False, path_type=Path)
    for option in (
        click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text."),
        click.option("--config", type=file, metavar="PATH", help="A telemetry.yaml to take the settings from."),
        click.option("--db", type=DATABASE, metavar="PATH", help="The database file."),
    ):
        command = option(command)
    return command


def filters(command: _F) -> _F:
    """Add the names that every report can be narrowed to: `--agent`, `--tool`, `--model`."""
    for option in (
        click.option("--model", "model_name", metavar="NAME", help="Only this model."),
        click.option("--tool", "tool_name", metavar="NAME", help="Only this tool."),
        click.option("--agent", "agent_name", metavar="NAME", help="Only this agent."),
    ):
        command = option(command)
    return command


def settings_for(db: Path | None, config: Path | None) -> Settings:
    """The settings in force: `--db` counts over `--config`, and without both the configuration is searched for.

    Raises:
        ConfigError: (a `ValueError`) naming file, line, key and remedy.
    """
    if db is not None and config is None:
        return Settings(db_path=db)
    from llm_service.config.load import load_config  # noqa: PLC0415 - pydantic and YAML: not for --help or --db

    settings = load_config(config).to_settings()
    return settings if db is None else replace(settings, db_path=db)
