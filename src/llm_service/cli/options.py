"""What can be given on the command line: the kinds of values, and the options that several commands have."""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click

from llm_service.cli.output import clean
from llm_service.cli.times import Moment, parse_time
from llm_service.config.settings import Settings, SettingsError, resolve_db_path

if TYPE_CHECKING:
    from llm_service.pricing.book import PriceBook
    from llm_service.telemetry.queries.costs import CostKey
    from llm_service.telemetry.queries.filters import InvocationFilter

__all__ = [
    "DATABASE",
    "KEYS",
    "MODELS",
    "NAMES",
    "SPEED",
    "TIME",
    "Formats",
    "Number",
    "common",
    "filters",
    "located",
    "names_in",
    "narrowed",
    "narrowing",
    "prices_for",
    "report_path",
    "say_unpriced",
    "settings_for",
]

_F = TypeVar("_F", bound=Callable[..., Any])


class _Database(click.ParamType[Path]):
    """A database file, as every other part of the project takes it."""

    name = "path"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        try:
            return resolve_db_path(value)
        except SettingsError as error:
            self.fail(str(error), param, ctx)


class Formats(click.Choice[str]):
    """How rows are written; who asks for JSON is told its option."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """One of them."""
        if isinstance(value, str) and value.lower() == "json":
            self.fail(f"{value!r} is no format; give --json, or --format jsonl", param, ctx)
        return super().convert(value, param, ctx)


class Number(click.FloatRange):
    """A finite number within bounds: not-a-number is within any, and passes for one until it meets arithmetic."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """It."""
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"{value!r} is no finite number", param, ctx)
        return number

    def _describe_range(self) -> str:
        """For the help; nothing where there are no bounds."""
        return "" if self.min is None and self.max is None else super()._describe_range()


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


class _Time(click.ParamType["Moment"]):
    """So long ago, a UTC day, or a moment."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Moment:
        if isinstance(value, date):  # click may convert a value twice
            return value
        try:
            return parse_time(value, datetime.now(UTC))
        except ValueError:
            self.fail(f"{value!r} is no time; write 2h, 30d, 2026-11-23 or 2026-11-23T18:00:00Z", param, ctx)


class _Keys(click.ParamType["tuple[CostKey, ...]"]):
    """Keys of a report, separated by commas."""

    name = "keys"

    def __init__(self, keys: "tuple[CostKey, ...]") -> None:
        self._keys = keys

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> "tuple[CostKey, ...]":
        keys = tuple(key.strip() for key in str(value).split(","))
        if len(set(keys)) < len(keys) or not set(keys) <= set(self._keys):
            self.fail(f"{value!r} is not usable; give one or more of {', '.join(self._keys)}, each once", param, ctx)
        return cast("tuple[CostKey, ...]", keys)


DATABASE = _Database()
SPEED = _Speed()
TIME = _Time()
KEYS = _Keys(("day", "agent", "tool", "model"))
NAMES = _Keys(("agent", "tool", "model"))


class _All:
    """Decorators as one, shown by `--help` in the order given."""

    def __init__(self, *options: "Callable[[Any], Any] | _All") -> None:
        self._options = options

    def __call__(self, command: _F) -> _F:
        for option in reversed(self._options):
            command = option(command)
        return command


located = _All(
    click.option("--db", type=DATABASE, metavar="PATH", help="The database file."),
    click.option(
        "--config",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        metavar="PATH",
        help="A telemetry.yaml to take the settings from.",
    ),
)
"""Where the database is: `--db`, `--config`."""

common = _All(located, click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text."))
"""The options of every command that reads or writes a database: `--db`, `--config`, `--json`."""

MODELS = click.option(
    "--models",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="PATH",
    help="A models.yaml with prices; default: where the configuration is.",
)
"""Where prices are: `--models`."""

filters = _All(
    click.option("--agent", "agent_name", metavar="NAME", help="Only this agent."),
    click.option("--tool", "tool_name", metavar="NAME", help="Only this tool."),
    click.option("--model", "model_name", metavar="NAME", help="Only this model."),
)
"""The names that every report can be narrowed to."""

narrowing = _All(
    filters,
    click.option("--status", type=click.Choice(["success", "error", "timeout"]), help="Only calls that ended so."),
    click.option("--errors", "failed", is_flag=True, help="Only calls that did not succeed."),
    click.option("--session", "session_id", metavar="ID", help="Only this session."),
    click.option("--since", type=TIME, metavar="TIME", help="From so long ago, this UTC day, or this moment on."),
    click.option("--until", type=TIME, metavar="TIME", help="Up to this UTC day (inclusive), or before this moment."),
)
"""Which calls are meant; `narrowed` makes a filter of them."""


def names_in(options: Mapping[str, Any]) -> dict[str, str | None]:
    """Of the options of `filters`: the columns and the names that they are narrowed to."""
    return {name: options[name] for name in ("agent_name", "tool_name", "model_name")}


def narrowed(options: Mapping[str, Any]) -> "InvocationFilter":
    """The filter that the options of `narrowing` stand for; a day is inclusive, of moments the latter is not."""
    from llm_service.telemetry.queries.filters import InvocationFilter  # noqa: PLC0415 - not for --help

    days_and_moments: dict[str, Moment] = {}
    for option, day, moment in (("since", "start_date", "since"), ("until", "end_date", "until")):
        value: Moment | None = options[option]
        if value is not None:
            days_and_moments[moment if isinstance(value, datetime) else day] = value
    names = ("agent_name", "tool_name", "model_name", "status", "failed", "session_id")
    given: dict[str, Any] = {name: options[name] for name in names} | days_and_moments
    return InvocationFilter(**given)


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


def report_path(db: Path | None, config: Path | None) -> Path:
    """The database that a report reads, as of `settings_for`; who did not name it is told on stderr, but for JSON.

    Raises:
        ConfigError: (a `ValueError`) naming file, line, key and remedy.
    """
    path = settings_for(db, config).db_path
    context = click.get_current_context(silent=True)
    if db is None and context is not None and not context.params.get("as_json"):
        here = resolve_db_path("telemetry.db")
        beside = (
            "; there is also ./telemetry.db, read it with --db telemetry.db" if here != path and here.exists() else ""
        )
        click.echo(f"database: {clean(str(path))}{beside}", err=True)
    return path


def say_unpriced(book: "PriceBook | None" = None) -> None:
    """Say on stderr that prices are missing for want of genai-prices, where that is so.

    Args:
        book: the prices in force; None for the bundled ones alone.
    """
    from llm_service.pricing.book import NO_BUNDLED, PriceBook  # noqa: PLC0415 - not for --help

    if (book or PriceBook()).lacks_bundled:
        click.echo(f"no price is known: {NO_BUNDLED}; then price what is stored: llm-telemetry reprice", err=True)


def prices_for(models: Path | None, config: Path | None) -> "PriceBook":
    """The prices in force: `--models`, else the models.yaml that loggers find, and the bundled ones.

    Raises:
        ConfigError: (a `ValueError`) naming file, line, key and remedy.
    """
    from llm_service.config.files import locate  # noqa: PLC0415 - pydantic and YAML: not for --help
    from llm_service.config.models_schema import load_models  # noqa: PLC0415
    from llm_service.pricing.book import PriceBook  # noqa: PLC0415

    path = locate("models", config) if models is None else models
    return PriceBook() if path is None else PriceBook(load_models(path), source=str(path))
