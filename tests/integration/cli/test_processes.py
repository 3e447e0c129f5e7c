"""`python -m llm_service` as a process: real pipes, real signals, no extra installed."""

import json
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.slices import quick

import llm_service
from llm_service.extras import install
from llm_service.telemetry import InvocationRecord, TelemetryLogger

Process = Callable[..., "subprocess.CompletedProcess[str]"]
DATA = "azure_llm_inference_2023_code.csv"
SLICE = Path(llm_service.__file__).parent / "cli" / "data" / "azure_llm_inference_2023_code_first_1000.csv"
WHOLE = next(filter(Path.exists, (folder / "shared" / "data" / DATA for folder in Path(__file__).parents)), None)
"""The trace that the slice was cut from, where a checkout has it beside it."""


def count(path: Path) -> int:
    """Records in a file."""
    connection = sqlite3.connect(path)
    try:
        return int(connection.execute("SELECT count(*) FROM invocations").fetchone()[0])
    finally:
        connection.close()


def test_the_demo_runs_as_a_process_and_its_piped_output_is_plain(process: Process, tmp_path: Path) -> None:
    """No escape code on either stream, and nothing but progress on stderr."""
    result = process("demo", "--db", tmp_path / "demo.db")
    assert result.returncode == 0
    assert "\x1b" not in result.stdout + result.stderr
    assert "records on disk  1,000" in result.stdout
    assert [line.startswith("replaying: ") for line in result.stderr.splitlines()] == [True] * 4
    assert count(tmp_path / "demo.db") == 1000


@pytest.mark.slow
@pytest.mark.parametrize("name", quick(["stats", "costs", "invocations"], 0))
def test_piped_reports_have_no_escape_codes(process: Process, database: Path, name: str) -> None:
    """Not even from hostile data."""
    result = process(name, "--db", database)
    assert (result.returncode, result.stderr) == (0, "")
    assert "\x1b" not in result.stdout
    json.loads(process(name, "--db", database, "--json").stdout)


@pytest.mark.slow
def test_errors_are_lines_without_a_traceback(process: Process, trace: Path, tmp_path: Path) -> None:
    """From a process, too."""
    trace.write_bytes(b"\x89PNG\r\n\x1a\n\x00")
    for arguments, code in (
        (("demo", "--replay", trace, "--db", tmp_path / "a.db"), 1),
        (("stats", "--db", "none.db"), 1),
    ):
        result = process(*arguments)
        assert (result.returncode, result.stdout) == (code, "")
        assert result.stderr.startswith("Error: ")
        assert result.stderr.count("\n") == 1
    assert process("--wrong").returncode == 2


@pytest.mark.slow
def test_ctrl_c_during_a_replay_ends_quietly_and_keeps_what_was_accepted(
    command: list[str], environment: dict[str, str], tmp_path: Path
) -> None:
    """Exit code 130; the first quarter, which had been reported, is on disk."""
    path = tmp_path / "a.db"
    with subprocess.Popen(
        [*command, "demo", "--replay", str(SLICE), "--db", str(path), "--limit", "100", "--speed", "20"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as replaying:
        assert replaying.stderr is not None
        assert replaying.stderr.readline() == "replaying: 25 of 100\n"
        replaying.send_signal(signal.SIGINT)
        output, errors = replaying.communicate(timeout=30)
    assert replaying.returncode == 130
    assert output == ""
    assert all(line.startswith("replaying: ") for line in errors.splitlines())
    assert 25 <= count(path) < 100


def test_a_reader_that_closes_the_pipe_hears_no_complaint(
    command: list[str], environment: dict[str, str], database: Path
) -> None:
    """As `head` does."""
    with subprocess.Popen(
        [*command, "invocations", "--db", str(database)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as listing:
        assert listing.stdout is not None
        assert listing.stderr is not None
        listing.stdout.close()
        assert listing.stderr.read() == b""
        assert listing.wait(30) == 1


@pytest.mark.slow
def test_a_stream_that_cannot_show_a_character_gets_a_question_mark(
    command: list[str], environment: dict[str, str], database: Path
) -> None:
    """Not a traceback."""
    with TelemetryLogger(database, retention_days=None) as telemetry:
        telemetry.log_invocation(InvocationRecord(model_name="mod模le"))
    shown = subprocess.run(
        [*command, "costs", "--db", str(database)],
        env=environment | {"PYTHONIOENCODING": "latin-1"},
        capture_output=True,
        check=True,
        timeout=60,
    )
    assert b"mod?le" in shown.stdout


def test_without_click_one_line_says_what_to_install(environment: dict[str, str], tmp_path: Path) -> None:
    """`-S` leaves only the standard library and our sources."""
    result = subprocess.run(
        [sys.executable, "-S", "-m", "llm_service", "demo"],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == f"llm-telemetry needs click and rich: {install('cli')}\n"


def test_help_imports_neither_rich_nor_the_engine(environment: dict[str, str], tmp_path: Path) -> None:
    """So that it answers at once."""
    script = (
        "import sys; from llm_service.cli.main import main; main(['demo', '--help']);"
        "print(sorted({'rich', 'yaml', 'pydantic', 'aiosqlite'} & set(sys.modules)))"
    )
    result = subprocess.run(
        [sys.executable, "-c", script],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert result.stdout.splitlines()[-1] == "[]"


@pytest.mark.skipif(WHOLE is None, reason="the whole trace is not here")
def test_the_whole_trace_is_replayed_by_fifty_agents(process: Process, tmp_path: Path) -> None:
    """8,819 calls, each on disk once, and the daily roll-ups count the same."""
    path = tmp_path / "whole.db"
    result = process("demo", "--replay", WHOLE, "--agents", 50, "--db", path, "--json")
    assert result.returncode == 0
    found = json.loads(result.stdout)
    assert (found["rows"], found["records_on_disk"], found["ledger"]["written"]) == (8819, 8819, 8819)
    assert found["ledger"]["dropped"] == {}
    costs = json.loads(process("costs", "--db", path, "--json").stdout)
    assert costs["totals"]["invocations"] == 8819
    assert (costs["first_day"], costs["last_day"]) == ("2023-11-16", "2023-11-16")
