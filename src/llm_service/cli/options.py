"""What can be given on the command line: the kinds of values, and the options that several commands have."""

import math
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from functools import wraps
from pathlib import Path
from typing import Any, Final

import click

from llm_service.cli.target import Target
from llm_service.config.settings import resolve_db_path

__all__ = [
    "DATABASE", "FILE", "KEYS", "MODELS", "POLICIES", "SCOPED", "SPEED", "USD", "Command", "Number", "as_given",
    "common", "examples", "filters", "narrowing", "only_json", "ranged", "scoped", "seller", "zoned",
]  # fmt: skip

Command = Callable[..., Any]
_NAMES: Final = ("agent_name", "tool_name", "model_name")
_IDS: Final = ("session_id", "run", "trace_id", "user_id")
"""By which calls are narrowed."""
SCOPED: Final = {
    "agent": "agent_name", "tool": "tool_name", "model": "model_name", "user": "user_id", "session": "session_id",
    "run": "run",
}  # fmt: skip
"""By field of a budget's scope: the column."""


class _Value(click.ParamType[Any]):
    """A value that a function makes of the text; of a `ValueError` the message is shown."""

    def __init__(self, name: str, parse: Callable[[str], Any]) -> None:
        self.name = name
        self._parse = parse

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str):  # click may convert a value twice
            return value
        try:
            return self._parse(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


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


def _speed(text: str) -> float:
    try:
        speed = math.inf if text == "max" else float(text)
    except ValueError:
        speed = math.nan
    if not speed >= 0 or (math.isinf(speed) and text != "max"):
        raise ValueError(f"{text!r} is no speed; give a number such as 1 or 60, or max")
    return speed or math.inf


def _usd(text: str) -> Decimal:
    try:
        amount = Decimal(text)
    except InvalidOperation:
        amount = Decimal("NaN")
    if not (amount.is_finite() and amount >= 0 and math.isfinite(float(amount))):
        raise ValueError(f"{text!r} is no amount; give USD such as 0.40")
    return amount


def _keys(text: str) -> tuple[str, ...]:
    """The command says which there are: what it proposes has all options that were given."""
    return tuple(key.strip() for key in text.split(","))


DATABASE: Final = _Value("path", resolve_db_path)
"""A database file, as every other part of the project takes it."""
SPEED: Final = _Value("times", _speed)
"""How many times faster than the trace; infinity for as fast as possible."""
USD: Final = _Value("usd", _usd)
"""An amount of money, exactly as it is written."""
KEYS: Final = _Value("keys", _keys)
"""What to group by."""
FILE: Final = click.Path(exists=True, dir_okay=False, path_type=Path)
"""A file that is there."""

MODELS: Final = click.option(
    "--models", type=FILE, metavar="PATH", help="A models.yaml with prices; default: where the configuration is."
)
POLICIES: Final = click.option(
    "--policies", type=FILE, metavar="PATH", help="The policies.yaml with the limits, instead of the one in force."
)
only_json: Final = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")


def examples(*lines: str) -> str:
    """What `--help` ends with; the program's name is put before lines that do not have it."""
    whole = [line if "llm-telemetry " in line else f"llm-telemetry {line}" for line in lines]
    return "\b\nExamples:\n  " + "\n  ".join(whole)


_GIVEN_AS: Final = {
    "measures": "measure",
    "by": "what",
    "since": "at",
    "until": "as_of",
    "id": "wanted",
    "a": "run_a",
    "b": "run_b",
}
"""By argument of Python: how some commands call theirs."""


def as_given(command: Command) -> Command:
    """Let errors of arguments name the option or argument of the command line that was given."""

    @wraps(command)
    def run(*given: Any, **options: Any) -> Any:
        from llm_service.errors import QueryError

        try:
            return command(*given, **options)
        except QueryError as error:
            parameters = {parameter.name: parameter for parameter in click.get_current_context().command.params}
            found = parameters.get(error.field) or parameters.get(_GIVEN_AS.get(error.field, ""))
            if found is None:
                raise
            name = (found.metavar or "").strip("[].") if isinstance(found, click.Argument) else max(found.opts, key=len)
            raise QueryError(name, error.value, error.remedy.removesuffix(", or None")) from error

    return run


def common(command: Command) -> Command:
    """The options of every command that reads or writes a database; it takes them as one `target`."""

    @click.option("--db", type=DATABASE, metavar="PATH", help="The database file.")
    @click.option("--config", type=FILE, metavar="PATH", help="A telemetry.yaml to take the settings from.")
    @only_json
    @wraps(command)
    def run(
        *given: Any, db: Path | None, config: Path | None, as_json: bool, time_zone: str | None = None, **options: Any
    ) -> Any:
        return as_given(command)(*given, target=Target(db, config, as_json, time_zone), **options)

    return run


def scoped(help_text: str) -> Callable[[Command], Command]:
    """Names by the fields that scopes of budgets have; the command takes them as one `names`, by column."""

    def decorate(command: Command) -> Command:
        @wraps(command)
        def run(*given: Any, **options: Any) -> Any:
            names = {column: options.pop(column) for column in SCOPED.values()}
            return command(*given, names=names, **options)

        for field, column in reversed(SCOPED.items()):
            kind = "NAME" if column in _NAMES else "ID"
            run = click.option(f"--{field}", column, metavar=kind, help=help_text.format(field))(run)
        return run

    return decorate


def seller(command: Command) -> Command:
    """Who serves a model, how and where: what its price depends on beside its name."""
    provider = click.option(
        "--provider", metavar="NAME", help="Who serves the model, where prices differ by it or its name does not say."
    )
    service_tier = click.option(
        "--service-tier", metavar="NAME", help="Of a batch, flex, priority... call, instead of a standard one."
    )
    region = click.option("--region", metavar="NAME", help="Where the cloud runs it, where its name does not say.")
    return provider(service_tier(region(command)))


def zoned(command: Command) -> Command:
    """The zone of times and days, which `common` takes as the target's."""
    return click.option(
        "--tz",
        "time_zone",
        metavar="ZONE",
        help="Where times and days are: Europe/Berlin, UTC, local, ...  [default: the configuration's, else local]",
    )(command)


def ranged(command: Command) -> Command:
    """The range that a report is of, as texts for `Target.range`, and the zone."""
    since = click.option(
        "--since", metavar="TIME", help="From then on, to now: 24h, today, yesterday, last-week, 2026-11-23, ..."
    )
    until = click.option(
        "--until",
        metavar="TIME",
        help="Up to then; a period is in it: yesterday alone is --since yesterday --until yesterday.",
    )
    return since(until(zoned(command)))


def filters(command: Command) -> Command:
    """What reports can be narrowed to: names, and as `filters` what `--where` says; it takes all as one `names`."""

    @click.option("--agent", "agent_name", metavar="NAME", help="Only this agent.")
    @click.option("--tool", "tool_name", metavar="NAME", help="Only this tool.")
    @click.option("--model", "model_name", metavar="NAME", help="Only this model.")
    @click.option(
        "--where",
        "filters",
        multiple=True,
        metavar="FILTER",
        help="Only what fits: 'model=gpt-* cost>0.1 agent!=test'.",
    )
    @wraps(command)
    def run(*given: Any, **options: Any) -> Any:
        names = {name: options.pop(name) for name in (*_NAMES, "filters")}
        return command(*given, names=names, **options)

    return run


def narrowing(command: Command) -> Command:
    """Which calls are meant: it takes `names`, a range, and as `calls` what else narrows an `InvocationFilter`."""

    @filters
    @click.option("--status", type=click.Choice(["success", "error", "timeout"]), help="Only calls that ended so.")
    @click.option("--errors", "failed", is_flag=True, help="Only calls that did not succeed.")
    @click.option("--session", "session_id", metavar="ID", help="Only this session.")
    @click.option("--run", metavar="ID", help="Only this run.")
    @click.option("--trace", "trace_id", metavar="ID", help="Only this trace.")
    @click.option("--user", "user_id", metavar="ID", help="Only this user.")
    @ranged
    @wraps(command)
    def run(*given: Any, names: dict[str, Any], **options: Any) -> Any:
        calls = names | {name: options.pop(name) for name in ("status", "failed", *_IDS)}
        return command(*given, names=names, calls=calls, **options)

    return run
