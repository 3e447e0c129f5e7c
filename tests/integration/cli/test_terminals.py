"""Real terminals of several widths, and what colours and pipes change."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import click
import pytest

from llm_service.cli.tables import cell_width
from llm_service.telemetry import InvocationRecord, TelemetryLogger

if sys.platform == "win32":
    pytest.skip("no pseudo-terminals", allow_module_level=True)

import fcntl
import pty
import struct
import termios

pytestmark = pytest.mark.slow

REPORTS = (
    ["costs"],
    ["costs", "--by", "agent,model"],
    ["invocations"],
    ["invocations", "--errors"],
    ["stats"],
    ["query", "--by", "model,day"],
    ["query", "--by", "day"],
    ["top"],
    ["top", "calls"],
    ["errors"],
    ["watch", "--once"],
)
Terminal = Callable[..., str]
Terminals = Callable[[int, Sequence[Sequence[object]]], list[str]]
ONE_AFTER_ANOTHER = """
import json, sys
from llm_service.cli.main import main
for arguments in json.loads(sys.argv[1]):
    assert main(arguments) == 0, arguments
    print(sys.argv[2], flush=True)
"""
END = "and that was all of it"


@pytest.fixture
def process(environment: dict[str, str], tmp_path: Path) -> Terminal:
    """Runs a process on a pseudo-terminal of so many columns; gives what it shows."""

    def run(width: int, *arguments: object, **variables: str) -> str:
        master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, width, 0, 0))
        kept = {name: value for name, value in environment.items() if name not in {"COLUMNS", "LINES"}}
        with subprocess.Popen(
            list(map(str, arguments)),
            env=kept | {"TERM": "xterm", **variables}, cwd=tmp_path, stdin=slave, stdout=slave, stderr=slave,
        ) as process:  # fmt: skip
            os.close(slave)
            shown = bytearray()
            while chunk := _read(master):
                shown += chunk
            assert process.wait(30) == 0
        os.close(master)
        return shown.decode().replace("\r\n", "\n")

    return run


@pytest.fixture
def terminal(process: Terminal, command: list[str]) -> Terminal:
    """Runs a command on such a terminal."""
    return lambda width, *arguments, **variables: process(width, *command, *arguments, **variables)


@pytest.fixture
def terminals(process: Terminal) -> Terminals:
    """Runs commands one after another, in one process on one terminal; gives what each shows."""

    def run(width: int, commands: Sequence[Sequence[object]]) -> list[str]:
        given = json.dumps([[str(argument) for argument in arguments] for arguments in commands])
        shown = process(width, sys.executable, "-c", ONE_AFTER_ANOTHER, given, END).split(f"{END}\n")
        assert len(shown) == len(commands) + 1
        return shown[:-1]

    return run


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 65_536)
    except OSError:  # Linux reports the end of a terminal so
        return b""


@pytest.fixture
def wide(database: Path) -> Path:
    """Beside the six calls, one with long names and one with wide ones."""
    with TelemetryLogger(database, retention_days=None) as telemetry:
        long = "an-agent-with-a-name-of-many-words"
        telemetry.log_invocation(
            InvocationRecord(
                agent_name=long, tool_name=long, model_name=long * 2, prompt_tokens=10**9, completion_tokens=10**9,
                cost_usd=1234.5, latency_ms=123_456, status="error", error_message=f"{long} broke\n" * 9,
            )
        )  # fmt: skip
        telemetry.log_invocation(InvocationRecord(agent_name="模型" * 20, model_name="🚀" * 20))
    return database


@pytest.mark.costly
@pytest.mark.parametrize("width", [60, 80, 120, 130])
def test_every_row_of_a_table_is_one_line_that_fits(terminals: Terminals, wide: Path, width: int) -> None:
    """Nothing wraps, whatever the names are; what had to be left out is said."""
    all_shown = terminals(width, [[*arguments, "--db", wide] for arguments in REPORTS])
    for arguments, shown in zip(REPORTS, all_shown, strict=True):
        lines = click.unstyle(shown).splitlines()
        assert max(cell_width(line) for line in lines) <= width, arguments
        if arguments == ["invocations"]:
            assert len(lines) == 1 + 8 + (width < 130) + 1
            assert lines[-1].startswith("range: ")
            assert lines[-2].startswith("not shown for lack of width: ") is (width < 130)


def test_only_our_own_colours_reach_a_terminal(terminals: Terminals, wide: Path) -> None:
    """Hostile names and messages stand escaped."""
    commands = (*REPORTS, ["show", "5"], ["sql", "SELECT * FROM invocations"], ["export"], ["info"])
    all_shown = terminals(100, [[*arguments, "--db", wide] for arguments in commands])
    for arguments, shown in zip(commands, all_shown, strict=True):
        assert re.fullmatch(r"(?:\x1b\[\d*m|[^\x00-\x09\x0b-\x1f\x7f-\x9f\u202e])*", shown), arguments


def test_no_color_leaves_plain_lines_on_a_terminal(terminal: Terminal, wide: Path) -> None:
    """Still cut to its width."""
    shown = terminal(80, "invocations", "--db", wide, NO_COLOR="1")
    assert "\x1b" not in shown
    assert max(map(cell_width, shown.splitlines())) <= 80
    assert "\x1b[31m" in terminal(80, "invocations", "--db", wide)


def test_force_color_colours_a_pipe_and_no_color_counts_more(
    command: list[str], environment: dict[str, str], wide: Path
) -> None:
    """A pipe is plain by itself, and whole: no cell is cut."""

    def piped(**variables: str) -> str:
        return subprocess.run(
            [*command, "invocations", "--db", str(wide)],
            env=environment | variables, capture_output=True, text=True, check=True, timeout=60,
        ).stdout  # fmt: skip

    plain = piped()
    assert "\x1b" not in plain
    assert "an-agent-with-a-name-of-many-words" * 2 in plain
    assert "\x1b[31m" in piped(FORCE_COLOR="1")
    assert click.unstyle(piped(FORCE_COLOR="1")) == plain
    assert piped(FORCE_COLOR="1", NO_COLOR="1") == plain


def test_a_dumb_terminal_gets_what_a_pipe_gets(terminal: Terminal, wide: Path) -> None:
    """No colour, no cut."""
    shown = terminal(60, "costs", "--db", wide, TERM="dumb")
    assert "\x1b" not in shown
    assert "an-agent-with-a-name-of-many-words" * 2 in shown
