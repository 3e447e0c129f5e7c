"""`export`: every call once, in a private file that is whole or absent, in constant memory."""

import csv
import io
import json
import os
import signal
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from llm_service.cli import formats
from llm_service.cli.kinds import kinds_of
from llm_service.telemetry import InvocationRecord, TelemetryLogger
from llm_service.telemetry.queries.questions import InvocationRow

Run = Callable[..., Result]
Process = Callable[..., "subprocess.CompletedProcess[str]"]
COLUMNS = list(InvocationRow.__annotations__)


def rows_of(text: str) -> list[dict[str, str]]:
    """CSV as dicts."""
    return list(csv.DictReader(io.StringIO(text, newline="")))


def test_csv_holds_every_call_oldest_first(run: Run, database: Path) -> None:
    """Values as they are; NULL is an empty cell."""
    found = rows_of(run("export", "--db", database).stdout)
    assert list(found[0]) == COLUMNS
    assert [row["id"] for row in found] == ["5", "6", "4", "3", "2", "1"]
    assert found[0]["agent_name"].startswith("\x1b]0;owned")
    assert (found[1]["agent_name"], found[1]["cost_usd"], found[2]["cost_usd"]) == ("", "", "0.25")


@pytest.mark.parametrize("option", [("--format", "jsonl"), ("--json",)])
def test_json_lines_are_what_the_api_returns(run: Run, database: Path, option: tuple[str, ...]) -> None:
    """One object a line, ASCII."""
    shown = run("export", "--db", database, *option).stdout
    with TelemetryLogger(database, retention_days=None) as telemetry:
        assert [json.loads(line) for line in shown.splitlines()] == telemetry.get_invocations()[::-1]
    assert shown.isascii()
    assert "\x1b" not in shown


def test_lists_objects_and_flags_are_json_in_csv(run: Run, tmp_path: Path) -> None:
    """A program reads them back."""
    path = tmp_path / "a.db"
    with TelemetryLogger(path) as telemetry:
        telemetry.log_invocation(InvocationRecord(stream=True, tags=["a", "ü"], metadata={"n": [1, None]}))
    (row,) = rows_of(run("export", "--db", path).stdout)
    assert (row["stream"], json.loads(row["tags"]), json.loads(row["metadata"])) == (
        "true",
        ["a", "ü"],
        {"n": [1, None]},
    )


def test_the_filters_of_invocations_narrow_an_export(run: Run, database: Path) -> None:
    """The same options, the same meaning."""
    assert [r["status"] for r in rows_of(run("export", "--db", database, "--errors").stdout)] == ["timeout", "error"]
    assert len(rows_of(run("export", "--db", database, "--since", "90m", "--agent", "tester").stdout)) == 1


def test_an_export_to_a_file_is_private_and_says_how_much_it_is(run: Run, database: Path, tmp_path: Path) -> None:
    """0600, on stderr, and nothing else is left in the folder."""
    output = tmp_path / "out.csv"
    result = run("export", "--db", database, "--output", output)
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == f"6 calls written to {output}; range: all times (UTC)\n"
    assert stat.S_IMODE(output.stat().st_mode) == 0o600
    assert len(rows_of(output.read_text("utf-8"))) == 6
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.csv", "telemetry.db"]


def test_a_file_that_exists_is_replaced_only_with_force(run: Run, database: Path, tmp_path: Path) -> None:
    """Through a link, the file that it names."""
    output, link = tmp_path / "out.csv", tmp_path / "link.csv"
    output.write_text("mine")
    link.symlink_to(output)
    refused = run("export", "--db", database, "-o", link)
    assert (refused.exit_code, output.read_text()) == (1, "mine")
    assert "exists; give another name, or --force to replace it" in refused.stderr
    assert run("export", "--db", database, "-o", link, "--force").exit_code == 0
    assert link.is_symlink()
    assert len(rows_of(output.read_text("utf-8"))) == 6


@pytest.mark.parametrize("suffix", ["", "-wal", "-shm"])
def test_the_database_is_never_replaced(run: Run, database: Path, tmp_path: Path, suffix: str) -> None:
    """Not with --force, not through a link."""
    link = tmp_path / "link"
    link.symlink_to(f"{database}{suffix}")
    before = database.read_bytes()
    result = run("export", "--db", database, "-o", link, "--force")
    assert (result.exit_code, database.read_bytes()) == (1, before)
    assert ("is a name that SQLite keeps for" if suffix else "is the database itself") in result.stderr


def test_a_folder_or_device_is_no_output(run: Run, database: Path, tmp_path: Path) -> None:
    """A device is not replaced by a file."""
    for place in (tmp_path, Path(os.devnull)):
        result = run("export", "--db", database, "-o", place, "--force")
        assert result.exit_code == 1
        assert "is no regular file; give another name" in result.stderr


def test_an_export_that_fails_leaves_nothing(
    run: Run, database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And what was there stays."""
    output = tmp_path / "out.csv"
    output.write_text("mine")

    def fail(*_: object, **__: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(formats, "write", fail)
    result = run("export", "--db", database, "-o", output, "--force")
    assert (result.exit_code, output.read_text()) == (1, "mine")
    assert "No space left on device" in result.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.csv", "telemetry.db"]


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\tx", "\r=1", "＝1"])  # noqa: RUF001 - full-width
def test_safe_csv_disarms_formulas_and_plain_csv_keeps_values(run: Run, tmp_path: Path, text: str) -> None:
    """An apostrophe makes a spreadsheet take the cell for text; numbers are left alone."""
    path = tmp_path / "a.db"
    with TelemetryLogger(path) as telemetry:
        telemetry.log_invocation(InvocationRecord(status="error", error_message=text, cost_usd=0.5))
    (plain,) = rows_of(run("export", "--db", path).stdout)
    (safe,) = rows_of(run("export", "--db", path, "--safe-csv").stdout)
    assert (plain["error_message"], safe["error_message"]) == (text, f"'{text}")
    assert safe["cost_usd"] == "0.5"


def test_csv_for_a_terminal_is_cleaned() -> None:
    """Elsewhere values are data, there they would be commands."""
    stream = io.BytesIO()
    row = {**dict.fromkeys(COLUMNS), "error_message": "\x1b[2J", "id": 1}
    rows = formats.Rows([], [], kinds_of(InvocationRow), None)
    assert formats.write(stream, formats.Output("csv"), rows, [[row]], shown=True) == 1
    assert b"\\x1b[2J" in stream.getvalue()
    assert b"\x1b" not in stream.getvalue()


def many(path: Path, rows: int) -> Path:
    """A database of so many calls."""
    with TelemetryLogger(path):
        pass
    connection = sqlite3.connect(path)
    with connection:
        connection.execute(
            "WITH RECURSIVE k (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM k WHERE i < ?)"
            " INSERT INTO invocations (invocation_id, timestamp, agent_name, status, error_message)"
            " SELECT printf('%09d', i), '2026-11-01 00:00:00.000000Z', 'a', 'error', printf('%.*c', 300, 'x') FROM k",
            [rows],
        )
    connection.close()
    return path


@pytest.mark.volume
def test_memory_does_not_grow_with_the_number_of_calls(
    environment: dict[str, str], database: Path, tmp_path: Path
) -> None:
    """60,000 calls of one moment take at most a few pages more than six; all at once they would take 100 MB."""
    script = (
        "import resource, sys; from llm_service.cli.main import main; code = main(sys.argv[1:]);"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss); sys.exit(code)"
    )

    def peak(path: Path, output: Path) -> int:
        done = subprocess.run(
            [sys.executable, "-c", script, "export", "--format", "jsonl", "--db", str(path), "-o", str(output)],
            env=environment, capture_output=True, text=True, check=True, timeout=100,
        )  # fmt: skip
        return int(done.stdout)

    few = peak(database, tmp_path / "few.jsonl")
    large = peak(many(tmp_path / "many.db", 60_000), tmp_path / "many.jsonl")
    with (tmp_path / "many.jsonl").open(encoding="utf-8") as lines:
        assert len({json.loads(line)["id"] for line in lines}) == 60_000
    assert large - few < 24 * 1024


@pytest.mark.slow
def test_a_reader_that_closes_the_pipe_ends_an_export_quietly(
    command: list[str], environment: dict[str, str], tmp_path: Path
) -> None:
    """As `head -1` does."""
    path = many(tmp_path / "many.db", 5_000)
    with subprocess.Popen(
        [*command, "export", "--db", str(path)], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as exporting_process:
        assert exporting_process.stdout is not None
        assert exporting_process.stderr is not None
        assert exporting_process.stdout.readline().startswith(b"id,invocation_id,")
        exporting_process.stdout.close()
        assert exporting_process.stderr.read() == b""
        assert exporting_process.wait(30) == 1


@pytest.mark.costly
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_an_export_that_is_ended_leaves_no_part(
    environment: dict[str, str], tmp_path: Path, number: signal.Signals, code: int
) -> None:
    """The temporary file is taken away, whichever signal it was."""
    path = many(tmp_path / "many.db", 5_000)
    folder = tmp_path / "out"
    folder.mkdir()
    slow = (
        "import sys, time; from llm_service.cli import formats; from llm_service.cli.main import main\n"
        "def stuck(stream, *_, **__):\n"
        "    print('writing', flush=True)\n"
        "    while True: time.sleep(0.05)\n"
        "formats.write = stuck\n"
        "sys.exit(main(sys.argv[1:]))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", slow, "export", "--db", str(path), "-o", str(folder / "x.csv")],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as stuck:  # fmt: skip
        assert stuck.stdout is not None
        assert stuck.stdout.readline() == "writing\n"
        assert [item.suffix for item in folder.iterdir()] == [".part"]
        stuck.send_signal(number)
        _, errors = stuck.communicate(timeout=30)
    assert (stuck.returncode, errors) == (code, "")
    assert list(folder.iterdir()) == []


@pytest.mark.slow
def test_an_export_is_utf_8_whatever_the_locale(
    command: list[str], environment: dict[str, str], tmp_path: Path
) -> None:
    """A file for programs is the same everywhere."""
    path = tmp_path / "a.db"
    with TelemetryLogger(path) as telemetry:
        telemetry.log_invocation(InvocationRecord(agent_name="模型"))
    done = subprocess.run(
        [*command, "export", "--db", str(path)],
        env=environment | {"PYTHONIOENCODING": "latin-1"}, capture_output=True, check=True, timeout=60,
    )  # fmt: skip
    assert "模型".encode() in done.stdout
