"""Command lines that are proposed: with the options that the user gave, so that they can be copied and run."""

import shlex
from collections.abc import Mapping
from typing import Any, Final, cast

import click
from click.core import ParameterSource

from llm_service.cli.output import clean

__all__ = ["suggested"]

_PROGRAM: Final = "llm-telemetry"
_OF_A_FILE: Final = ("--output", "--force", "--safe-csv")
"""Not repeated: the file is there by now."""


def suggested(command: str | None = None, /, changed: Mapping[str, str | None] | None = None) -> str:
    """A command line like the one that runs.

    Args:
        command: the words of another one; of the options given, those that it has, too, are repeated. None is the one
            that runs, with its arguments.
        changed: by option, another value for it; None leaves it out. Of an option that may be given several times, the
            value is one more.
    """
    running, new = click.get_current_context(), dict.fromkeys(_OF_A_FILE) | dict(changed or {})
    words, known = _command(running, command)
    for parameter in running.command.params:
        name, given = _given(running, parameter)
        is_kept = name not in new or (parameter.multiple and new[name] is not None)
        if is_kept and (command is None or name in known):
            words += given
    words += [word for name, value in new.items() if value is not None for word in (name, value)]
    return clean(shlex.join(words))


def _command(running: click.Context, command: str | None) -> tuple[list[str], set[str]]:
    """The program and the words of a command, and its options."""
    found: click.Command = running.find_root().command if command else running.command
    words = running.command_path.split()[1:] if command is None else command.split()
    for word in words if command else ():
        found = found.commands[word] if isinstance(found, click.Group) else found
    return [_PROGRAM, *words], {_name(one) for one in found.params if isinstance(one, click.Option)}


def _name(parameter: click.Parameter) -> str:
    return max(parameter.opts, key=len)


def _given(running: click.Context, parameter: click.Parameter) -> tuple[str, list[str]]:
    """A parameter's name and its words, as they would be given again; none where the user did not give it."""
    if running.get_parameter_source(str(parameter.name)) is not ParameterSource.COMMANDLINE:
        return _name(parameter), []
    value: Any = running.params[str(parameter.name)]
    if isinstance(parameter, click.Argument):
        return "", [*map(str, _each(value))]
    name = _name(parameter)
    if getattr(parameter, "is_flag", False):
        return name, [name if value else parameter.secondary_opts[0]]
    if isinstance(parameter.type, click.File):
        return name, [name, "-" if value.name == "<stdin>" else value.name]
    several = _each(value) if parameter.multiple else [",".join(map(str, _each(value)))]
    return name, [word for one in several for word in (name, str(one))]


def _each(value: object) -> tuple[object, ...]:
    return cast("tuple[object, ...]", value) if isinstance(value, tuple) else (value,)
