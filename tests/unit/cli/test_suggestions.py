"""A command line that is proposed has what the user gave, and can be run."""

import re
import shlex
from pathlib import Path

import click
import pytest
from tests.integration.cli.every_command import commands

import llm_service.cli
from llm_service.cli.commands import cli
from llm_service.cli.options import Number
from llm_service.cli.suggestions import suggested

COMMANDS = dict(commands())
UNREPEATED = {"--output", "--force", "--safe-csv", "--help"}


def parsed(words: list[str]) -> click.Context:
    """The context of a command line that is not run."""
    context = cli.make_context("llm-telemetry", [*words])
    command: click.Command = cli
    while isinstance(command, click.Group) and context._protected_args + context.args:
        name, command, rest = command.resolve_command(context, context._protected_args + context.args)
        context = command.make_context(name, rest, parent=context)
    return context


def values_of(context: click.Context) -> dict[str, object]:
    """What the options say; an open file by its name."""
    return {key: value.name if hasattr(value, "read") else value for key, value in context.params.items()}


def text_for(parameter: click.Parameter, folder: Path) -> str:
    """A value that it takes."""
    kind = parameter.type
    if isinstance(kind, click.Choice):
        return str(kind.choices[0])
    if isinstance(kind, click.Path | click.File):
        return str(folder / "a file")
    if isinstance(kind, Number | click.IntRange | click.FloatRange):
        return "1"
    known = {"keys": "agent", "usd": "0.5", "times": "2.0", "integer": "3", "path": str(folder / "a file")}
    return known.get(kind.name, "a 'text'")


@pytest.mark.parametrize("words", COMMANDS)
def test_every_option_that_was_given_is_repeated(words: str, tmp_path: Path) -> None:
    """What is proposed means the same, but for where an answer is written to."""
    (tmp_path / "a file").touch()
    line = words.split()
    for parameter in COMMANDS[words].params:
        name = max(parameter.opts, key=len)
        if isinstance(parameter, click.Argument):
            line.append(text_for(parameter, tmp_path))
        elif name not in UNREPEATED:
            values = [] if getattr(parameter, "is_flag", False) else [text_for(parameter, tmp_path)]
            line += [name, *values] * (2 if parameter.multiple else 1)
    with parsed(line) as context:
        proposed = shlex.split(suggested())
        assert proposed[0] == "llm-telemetry"
        with parsed(proposed[1:]) as again:
            assert values_of(again) == values_of(context)


def test_of_another_command_what_both_have_is_repeated() -> None:
    """An option is changed, left out, or given once more."""
    line = ["errors", "--by", "agent", "--limit", "3", "--where", "cost>1", "--since", "7d", "--format", "csv"]
    with parsed([*line, "-o", "f.csv", "--db", "/t.db"]):
        assert suggested("query", {"--by": "day", "--limit": None, "--where": "model=a b"}) == (
            "llm-telemetry query --where 'cost>1' --since 7d --format csv --db /t.db --by day --where 'model=a b'"
        )
        assert suggested("budgets holds") == "llm-telemetry budgets holds --format csv --db /t.db"
    with parsed(["report", "month", "--no-forecast"]):
        assert suggested() == "llm-telemetry report month --no-forecast"


PROPOSING = re.compile(r"llm-telemetry (?!COMMAND)[a-z]+")
WITHOUT_OPTIONS = {
    "commands.py": 3,  # examples of the group
    "command_budgets.py": 2,  # examples of a command
    "command_completion.py": 1,
    "command_demo.py": 1,  # names the database itself
    "command_estimate.py": 1,
    "group.py": 1,  # of an error before the options are read, or of the configuration
}
"""How often a command line stands in a module as it is: where there are no options to repeat."""


def test_no_other_line_is_proposed_without_them() -> None:
    """Each is made by `suggested`."""
    found = {
        path.name: len(lines)
        for path in Path(llm_service.cli.__file__).parent.glob("*.py")
        if (lines := [line for line in path.read_text("utf-8").splitlines() if PROPOSING.search(line)])
    }
    found.pop("main.py", None)  # says what is not installed
    assert found == WITHOUT_OPTIONS
