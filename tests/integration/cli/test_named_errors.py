"""What is wrong on a command line is named as it was given there: the option, its value and the remedy, in one line."""

import inspect
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import click
import pytest
from click.testing import Result
from tests.integration.cli.every_command import ARGUMENTS, MADE_BY_HAND, OPTIONS, commands

from llm_service.cli import formats, group
from llm_service.errors import QueryError
from llm_service.telemetry import AsyncTelemetryLogger, TelemetryLogger
from llm_service.telemetry.queries import field_names

Run = Callable[..., Result]
COMMANDS: Final = dict(commands())
LONG: Final = "x" * 5_000
"""Longer than any name or id."""
WRONG: Final[dict[str, dict[str, str]]] = {
    "--where": {
        "modle=x": "did you mean model?", "cost>much": "no record has this", "status=eror": "use one of: error",
        "timestamp>yesteray": "did you mean yesterday?", "agent>a": "has only = and !=", "=x": "write terms such as",
        "metadata=x": "name a key", 'agent="x': "close the quote", "cost=1*": "has no patterns", f"agent={LONG}": "no record has this",
    },
    "--since": {"yesteray": "did you mean yesterday?", "31.12.2026": "give one of"},
    "--until": {"tomorow": "give one of", "lst-week": "did you mean last-week?"},
    "--at": {"yesteray": "did you mean yesterday?"},
    "--as-of": {"yesteray": "did you mean yesterday?"},
    "--older-than": {"yesteray": "did you mean yesterday?"},
    "--tz": {"Europe/Berln": "did you mean Europe/Berlin?", "Nowhere": "give a name of the IANA"},
    "--by": {"agnt": "", "": "", "agent,agent": ""},
    "--measure": {"cots": "", "": ""},
    "--order": {"-cots": ""},
    "--limit": {"-1": ""},
    "--month": {"2026-13": "give a month", "novmber": "give a month"},
    "--days": {"0": "give a number above 0", "nan": ""},
    "--agent": {LONG: ""}, "--tool": {LONG: ""}, "--model": {LONG: ""}, "--session": {LONG: ""}, "--run": {LONG: ""},
    "--trace": {LONG: ""}, "--user": {LONG: ""},
    "--ignore": {"all": "there is no finding"},
    "--set": {"agent": "is no FIELD=VALUE"},
    "--tokens": {"-1": ""}, "--estimate": {"-1": "", "much": ""}, "--usd": {"-1": "", "much": ""},
    "--prompt-tokens": {"-1": ""}, "--max-tokens": {"-1": ""},
    "--interval": {"0": ""}, "--timeout": {"0": ""}, "--speed": {"fast": ""}, "--agents": {"0": ""},
}  # fmt: skip
"""By option: values that cannot be used, and what is said of some."""
TAKES_ANY: Final = {"--name", "--policy", "--provider", "--service-tier", "--region"}
"""Options whose text may be anything; what there is not is found not to be there."""
WITHOUT: Final = {("estimate", "--model"), ("estimate", "--agent"), ("estimate", "--tool")} | {
    ("budgets check", name) for name in ("--agent", "--tool", "--model", "--session", "--user", "--run")
}
"""Any text is a name of a call that is not made yet."""


def text_options(command: click.Command) -> Iterator[str]:
    """The options of a command that take a text or a number: no flags, choices or paths."""
    for parameter in command.params:
        if isinstance(parameter, click.Option) and not parameter.is_flag:
            name = max(parameter.opts, key=len)
            is_path = isinstance(parameter.type, click.Path | click.File) or parameter.metavar in ("PATH", "[DEST]")
            if not isinstance(parameter.type, click.Choice) and not is_path:
                yield name


CASES: Final = [
    (words, option, value, said)
    for words, command in COMMANDS.items()
    for option in text_options(command)
    if option not in TAKES_ANY and (words, option) not in WITHOUT
    for value, said in WRONG[option].items()
    if (words, option, value) != ("query", "--by", "")  # totals
]


def line_of(words: str) -> list[str]:
    """How a command is called."""
    line, command = words.split(), COMMANDS[words]
    for parameter in command.params:
        if isinstance(parameter, click.Argument) and parameter.required:
            line.append(ARGUMENTS.get(parameter.make_metavar(click.Context(command)), "x"))
        elif parameter.required:
            name = next(name for name in parameter.opts if name in OPTIONS)
            line += [name, OPTIONS[name]]
    return [*line, *MADE_BY_HAND.get(words, [])]


@pytest.mark.parametrize(
    ("words", "option", "value", "said"),
    CASES,
    ids=[f"{words} {option} {value[:12]}" for words, option, value, _ in CASES],
)
def test_an_error_names_the_option_its_value_and_the_remedy(
    run: Run, database: Path, tmp_path: Path, words: str, option: str, value: str, said: str
) -> None:
    """Never the argument that Python has for it."""
    line = line_of(words)
    if words == "estimate" and option == "--prompt-tokens":
        line = ["estimate", "--model", "gpt-4o"]
    if words in ("budgets", "budgets check"):
        (tmp_path / "policies.yaml").write_text("policies: {default: {daily_budget_usd: 1}}\n", "utf-8")
        line += ["--policies", str(tmp_path / "policies.yaml")]
    if option == "--speed":
        (tmp_path / "t.csv").write_text("TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:17:03,1,1\n", "utf-8")
        line += ["--replay", str(tmp_path / "t.csv")]
    has_db = any("--db" in parameter.opts for parameter in COMMANDS[words].params) and words != "demo"
    ended = run(*line, *(["--db", database] if has_db else []), option, value)
    assert ended.exit_code == 2, ended.output
    (error,) = [text for text in ended.stderr.splitlines() if not text.startswith("database:")]
    assert f"{option}: " in error or f"'{option}'" in error, error
    assert not value or any(word[:20] in error for word in re.findall(r"[\w.]+", value)) or "=x" in value
    assert said in error
    parameters = [p for p in COMMANDS[words].params if option in p.opts]
    hidden = {str(p.name) for p in parameters if str(p.name) != option.strip("-")}
    assert not any(f"{name}:" in error for name in hidden | {"time_zone", "filters", "measures", "agent_name"}), error


def test_an_argument_is_named_as_help_shows_it(run: Run, database: Path) -> None:
    """`WHAT`, `WORDS`, `ID`."""
    assert run("top", "agnts", "--db", database).stderr.startswith(
        "Error: WHAT: 'agnts' is not usable; there is no key"
    )
    assert run("search", '"', "--db", database).stderr.startswith("Error: WORDS: ")
    assert run("show", LONG, "--db", database).stderr.startswith("Error: ID: ")


@pytest.mark.parametrize("method", ["query", "get_invocations", "get_statistics", "get_unit_costs", "get_coverage"])
def test_in_python_an_error_names_the_argument(tmp_path: Path, method: str) -> None:
    """Each argument that takes a word, a name or a filter."""
    wrong: dict[str, Any] = {
        "filters": "modle=x", "since": "yesteray", "until": "lst-week", "time_zone": "Europe/Berln", "by": "agnt",
        "measures": "cots", "order": "cots", "limit": 0, "start_date": "x", "end_date": "x", "agent_name": LONG,
        "tool_name": LONG, "model_name": LONG, "session_id": LONG, "trace_id": LONG, "run": LONG, "user_id": LONG,
        "status": "eror", "days": 0, "before": {},
    }  # fmt: skip
    with TelemetryLogger(tmp_path / "a.db", retention_days=None) as telemetry:
        ask = getattr(telemetry, method)
        names = set(inspect.signature(ask).parameters) - {"fresh", "prices"}
        assert names <= set(wrong)
        for name in names:
            with pytest.raises(QueryError) as caught:
                ask(**{name: wrong[name]})
            assert caught.value.field == name
        for text in ("status=eror", "timestamp>yesteray", "cost>much", "metadata.a>x"):
            with pytest.raises(QueryError) as caught:
                ask(filters=text)
            assert caught.value.field == "filters"


OTHER_OPTIONS: Final = {**field_names.ARGUMENTS, **group._ON_THE_COMMAND_LINE}
"""By another name, the argument that it is."""


@pytest.mark.parametrize("name", OTHER_OPTIONS)
def test_an_option_by_another_name_is_told_the_right_one(run: Run, name: str) -> None:
    """By every command that has the one and not the other; some command has it."""
    told = 0
    for words, command in COMMANDS.items():
        options = [one for one in command.params if isinstance(one, click.Option)]
        meant = [max(one.opts, key=len) for one in options if one.name == OTHER_OPTIONS[name]]
        given = "--" + name.replace("_", "-")
        if not meant or any(given in one.opts for one in options):
            continue
        result = run(*words.split(), given, "x")
        assert result.exit_code == 2
        assert f"did you mean {meant[0]}?" in result.stderr, words
        told += 1
    is_one = any("--" + name in parameter.opts for command in COMMANDS.values() for parameter in command.params)
    assert told or is_one


@pytest.mark.parametrize("client", [TelemetryLogger, AsyncTelemetryLogger])
def test_an_argument_by_another_name_is_one_that_questions_have(client: type) -> None:
    """Each leads to an argument of `query`, and no question has the other name itself."""
    parameters = {
        name: inspect.signature(method).parameters
        for name, method in inspect.getmembers(client, callable)
        if not name.startswith("_") and "fresh" in inspect.signature(method).parameters
    }
    assert set(field_names.ARGUMENTS.values()) <= set(parameters["query"])
    assert not set(field_names.ARGUMENTS) & {name for given in parameters.values() for name in given}


@pytest.mark.parametrize("form", formats._OTHER_NAMES)
def test_a_format_by_another_name_is_told_the_right_one(
    run: Run, database: Path, tmp_path: Path, form: formats.Form
) -> None:
    """As an option, in any case, and as the ending of a file."""
    for other in (form.upper(), form.title(), f".{form}", *formats._OTHER_NAMES[form]):
        result = run("query", "--db", database, "--format", other)
        assert result.exit_code == 2
        assert f"did you mean {form}?" in result.stderr
    for other in formats._OTHER_NAMES[form]:
        result = run("query", "--db", database, "-o", tmp_path / f"out.{other}")
        assert result.exit_code == 2
        assert (f"did you mean --format {form}?" if form != "table" else "give --format csv") in result.stderr
