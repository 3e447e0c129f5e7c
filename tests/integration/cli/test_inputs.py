"""A file that a command is given to read may be a device that never ends: it is refused, by every option that reads."""

import os
import resource
import subprocess
import sys
from pathlib import Path

import click
import pytest

from .every_command import command_lines, commands


def readers() -> dict[str, tuple[str, str]]:
    """By the parameter's name: a command that has it, and the option."""
    found: dict[str, tuple[str, str]] = {}
    for words, command in commands():
        for one in command.params:
            kind = one.type
            if isinstance(kind, click.File) or (isinstance(kind, click.Path) and kind.exists):
                found.setdefault(str(one.name), (words, one.opts[0]))
    return found


@pytest.mark.costly
@pytest.mark.skipif(not os.path.exists("/dev/zero"), reason="there is no such device here")  # noqa: PTH110
@pytest.mark.parametrize("name", readers())
def test_an_input_without_an_end_is_refused(name: str, tmp_path: Path) -> None:
    """In one line, within 2 GiB of memory and some seconds."""
    words, option = readers()[name]
    line = next(line for line in command_lines(tmp_path) if line[: len(words.split())] == words.split())
    if option == "--prompt-file":  # in the place of the number of tokens
        line = [*words.split(), "--model", "gpt-5-mini"]
    given = [*line, "--db", str(tmp_path / "t.db"), option, "/dev/zero"]

    ended = subprocess.run(
        [sys.executable, "-m", "llm_service", *given],
        capture_output=True,
        text=True,
        timeout=60,
        stdin=subprocess.DEVNULL,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30)),
        check=False,
    )
    assert ended.returncode in {1, 2}, ended
    assert "Traceback" not in ended.stderr
    assert "/dev/zero" in ended.stderr


def test_there_are_such_options() -> None:
    """The list is the command line's own."""
    assert {"config", "models", "policies", "prompt_file", "trace"} <= readers().keys()
