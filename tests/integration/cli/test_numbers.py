"""A number that is none, or has no end, is a usage error of every option that takes one."""

from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest
from click.testing import Result

from llm_service.cli.options import Number

from .every_command import command_lines, commands

Run = Callable[..., Result]
ODD = ("nan", "NaN", "inf", "-inf", "infinity", "1e999")


def _options() -> Iterator[tuple[str, click.Option]]:
    """Each option of each command that takes a value."""
    for words, command in commands():
        for parameter in command.params:
            if isinstance(parameter, click.Option) and not parameter.is_flag and parameter.nargs == 1:
                yield words, parameter


def _is_number(parameter: click.Option) -> bool:
    """Whether it takes a number and refuses words."""
    converted: list[object] = []
    for value in ("1", "word"):
        try:
            converted.append(parameter.type.convert(value, parameter, None))
        except click.BadParameter:
            converted.append(None)
    return isinstance(converted[0], int | float) or type(converted[0]).__name__ == "Decimal"


NUMBERS = [(words, option.opts[0]) for words, option in _options() if _is_number(option)]


def test_the_options_are_found() -> None:
    """Of every kind."""
    assert {option for _, option in NUMBERS} >= {"--timeout", "--days", "--usd", "--estimate", "--tokens", "--limit"}
    assert not [
        option for _, option in _options() if type(option.type) in {click.FloatRange, click.types.FloatParamType}
    ]


@pytest.mark.parametrize(("words", "option"), NUMBERS)
def test_what_is_no_number_is_a_usage_error(words: str, option: str, run: Run, database: Path, tmp_path: Path) -> None:
    """Before anything is done."""
    line = next(line for line in command_lines(tmp_path) if line[: len(words.split())] == words.split())
    for value in ODD:
        result = run(*line, f"{option}={value}", "--db", database)
        assert result.exit_code == 2, (value, result.output)
        assert option in result.stderr
        assert result.stderr.count("\n") == 1


def test_a_finite_number_keeps_its_bounds() -> None:
    """The bounds are click's."""
    assert Number(0, 10).convert("2.5", None, None) == 2.5
    for value in ("11", "nan", "x"):
        with pytest.raises(click.BadParameter):
            Number(0, 10).convert(value, None, None)


@pytest.mark.parametrize("words", sorted({words for words, _ in _options()}))
def test_no_help_shows_a_bound_that_is_none(words: str, run: Run) -> None:
    """Python's None is no number that anybody could give."""
    assert "None" not in run(*words.split(), "--help").stdout
