"""`doctor`, `backup` and `dead-letters` as a user runs them: what they print, what they end with, what they leave alone."""

import json
import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from llm_service.telemetry.maintenance import file_checks, salvage
from llm_service.telemetry.maintenance.findings import KINDS

Run = Callable[..., Result]
QUIET = ("--ignore", "wal_reset_bug", "--ignore", "disk_low")
"""What depends on this machine, not on the file."""


@pytest.fixture(autouse=True)
def no_configuration(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A home without settings, and none in the environment."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    for name in [name for name in os.environ if name.startswith("LLM_TELEMETRY")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def sql(database: Path) -> Callable[..., None]:
    """Change the file by hand."""

    def run(*statements: str) -> None:
        with closing(sqlite3.connect(database, isolation_level=None)) as connection:
            for statement in statements:
                connection.execute(statement)

    return run


def _refuse(database: Path, count: int = 1) -> None:
    record = '{"invocation_id": "bad-%d", "agent_name": "a", "cost_usd": "inf", "timestamp": 1795479377991276}'
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        for number in range(count):
            connection.execute(
                "INSERT INTO dead_letters (quarantined_at, invocation_id, error, record)"
                f" VALUES ('2026-03-01 00:00:00.000000Z', 'bad-{number}', 'ValueError: odd', ?)",
                (record % number,),
            )


def test_a_healthy_file_ends_with_0_and_every_check_has_a_line(run: Run, database: Path) -> None:
    """Nothing on stderr."""
    result = run("doctor", "--db", database, *QUIET)
    assert (result.exit_code, result.stderr) == (0, "")
    for check in ("config", "permissions", "wal", "file", "integrity", "schema", "ids", "aggregates", "dead_letters"):
        assert f"ok        {check} " in result.stdout
    assert result.stdout.splitlines()[-1] == "healthy; exit code 0"


def _text(path: Path) -> None:
    path.write_text("2026-03-01 agent-1 called gpt-4o\n" * 500)


def _nothing(path: Path) -> None:
    os.truncate(path, 0)


def _half(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def _flipped(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        ((root,),) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'invocations'").fetchall()
    with path.open("r+b") as file:
        file.seek((root - 1) * 4096)
        file.write(b"\xff" * 4096)


def _foreign(path: Path) -> None:
    path.unlink()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE invoices (id INTEGER PRIMARY KEY, total REAL)")
    path.chmod(0o600)


@pytest.mark.parametrize(
    ("damage", "name"),
    [
        (_text, "not_a_database"), (_nothing, "empty_file"), (_half, "damaged"), (_flipped, "damaged"),
        (_foreign, "foreign_database"),
    ],
)  # fmt: skip
def test_five_kinds_of_bad_files_are_told_apart_by_the_exit_code(
    process: Callable[..., Any], database: Path, damage: Callable[[Path], None], name: str
) -> None:
    """By a process of its own, which changes nothing of them."""
    damage(database)
    before = {file.name: file.read_bytes() for file in database.parent.iterdir() if file.is_file()}
    result = process("doctor", "--db", database)
    assert result.returncode == KINDS[name].exit_code
    assert result.stderr == ""
    assert f"error     {name} " in result.stdout
    assert f"-> {KINDS[name].remedy}" in result.stdout
    assert {file.name: file.read_bytes() for file in database.parent.iterdir() if file.is_file()} == before


def test_json_has_every_finding_with_its_remedy(run: Run, database: Path) -> None:
    """And the code that the process ends with."""
    _refuse(database)
    result = run("doctor", "--db", database, "--json", "--full", *QUIET)
    found = json.loads(result.stdout)
    assert result.exit_code == found["exit_code"] == KINDS["dead_letters"].exit_code
    assert found["db_path"] == str(database)
    (letter,) = [finding for finding in found["findings"] if finding["name"] == "dead_letters"]
    assert letter == {
        "check": "dead_letters", "name": "dead_letters", "severity": "warning", "exit_code": 12,
        "seen": "1 records were refused", "remedy": KINDS["dead_letters"].remedy,
    }  # fmt: skip
    ignoring = run("doctor", "--db", database, *QUIET, "--ignore", "dead_letters")
    assert ignoring.exit_code == 0
    assert "ignored   dead_letters " in ignoring.stdout


def test_a_finding_to_ignore_must_exist_and_options_must_fit(run: Run, database: Path) -> None:
    """A typing error does not silence anything."""
    for arguments in (("--ignore", "wal"), ("--dry-run",), ("--force",), ("--repair", "--salvage", "x.db")):
        result = run("doctor", "--db", database, *arguments)
        assert (result.exit_code, result.stdout) == (2, "")


@pytest.mark.usefixtures("database")
def test_the_configuration_is_checked_too(run: Run, tmp_path: Path) -> None:
    """Where it is broken nothing else can be found; retention is judged by it."""
    config = tmp_path / "telemetry.yaml"
    config.write_text("db_path: telemetry.db\nretention_days: many\n")
    result = run("doctor", "--config", config)
    assert result.exit_code == KINDS["config_error"].exit_code
    assert "telemetry.yaml:2: retention_days" in result.stdout
    config.write_text("db_path: telemetry.db\nretention_days: 30\n")
    assert run("doctor", "--config", config, *QUIET).exit_code == KINDS["retention_lag"].exit_code
    config.write_text("db_path: telemetry.db\nretention_days: none\n")
    assert run("doctor", "--config", config, *QUIET).exit_code == 0
    config.write_text("db_path: telemetry.db\nretention_days: none\nenabled: false\n")
    assert "it says that nothing is recorded" in run("doctor", "--config", config, *QUIET).stdout
    assert run("doctor", *QUIET).exit_code == KINDS["missing_file"].exit_code  # the default path, in an empty home


def test_repair_says_what_it_would_do_and_what_it_did(run: Run, database: Path, sql: Callable[..., None]) -> None:
    """And ends with what doctor finds afterwards."""
    sql("UPDATE daily_costs SET invocations = 99", "DROP INDEX idx_invocations_agent")
    dry = run("doctor", "--db", database, "--repair", "--dry-run", *QUIET)
    assert dry.exit_code == KINDS["aggregates"].exit_code
    assert "not done  missing_index: make idx_invocations_agent" in dry.stdout
    done = run("doctor", "--db", database, "--repair", *QUIET)
    assert done.exit_code == 0
    assert "repaired  missing_index: made idx_invocations_agent" in done.stdout
    assert "repaired  aggregates: 2023-01-15: rebuilt 2 daily totals" in done.stdout
    again = run("doctor", "--db", database, "--repair", *QUIET)
    assert "nothing: there was nothing to repair" in again.stdout
    assert run("doctor", "--db", database.with_name("missing.db"), "--repair").exit_code == 1


def test_salvage_counts_what_it_found_and_ends_with_45_where_calls_are_lost(run: Run, database: Path) -> None:
    """0 where none is."""
    sound = run("doctor", "--db", database, "--salvage")
    assert sound.exit_code == 0
    assert "invocations                  6        0        0           0" in sound.stdout
    assert database.with_name("telemetry.db.salvaged").exists()
    _flipped(database)
    result = run("doctor", "--db", database, "--salvage", database.with_name("saved.db"), "--json")
    found = json.loads(result.stdout)
    assert result.exit_code == KINDS["damaged"].exit_code
    assert (found["tables"]["invocations"]["partial"], found["lost"]) == (6, 6)
    assert run("doctor", "--db", database, "--salvage", database.with_name("saved.db")).exit_code == 1
    assert run("doctor", "--db", database, "--salvage", database.with_name("saved.db"), "--force").exit_code == 45


def test_salvage_ends_with_45_where_nobody_can_tell_what_is_lost(
    run: Run, database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not called nothing."""
    monkeypatch.setattr(salvage._Salvage, "knows_all", lambda _: False)
    result = run("doctor", "--db", database, "--salvage", database.with_name("saved.db"))
    assert result.exit_code == KINDS["damaged"].exit_code
    assert "\nlost: unknown, " in result.stdout
    result = run("doctor", "--db", database, "--salvage", database.with_name("other.db"), "--json")
    assert (result.exit_code, json.loads(result.stdout)["lost"]) == (45, None)


def test_a_backup_says_what_it_verified_and_does_not_replace_unasked(run: Run, database: Path, tmp_path: Path) -> None:
    """Progress goes to stderr."""
    copy = tmp_path / "copy.db"
    result = run("backup", copy, "--db", database)
    assert result.exit_code == 0
    assert "integrity_check: ok; 6 calls, and all rows of" in result.stdout
    assert "percent copied: 100 of 100" in result.stderr
    assert run("backup", copy, "--db", database).exit_code == 1
    found = json.loads(run("backup", copy, "--db", database, "--force", "--json").stdout)
    assert (found["rows"]["invocations"], found["path"]) == (6, str(copy))
    assert run("doctor", "--db", copy, *QUIET).exit_code == 0


def test_dead_letters_are_listed_tried_again_and_dropped(run: Run, database: Path) -> None:
    """Nothing is deleted without --yes, nothing stored that is not sound."""
    assert run("dead-letters", "list", "--db", database).stdout == "no dead letters\n"
    assert run("dead-letters", "retry", "--all", "--db", database).stdout == "no dead letters\n"
    _refuse(database, 3)
    assert "ValueError: odd" in run("dead-letters", "list", "--db", database).stdout
    assert len(json.loads(run("dead-letters", "list", "--db", database, "--json").stdout)) == 3
    refused = run("dead-letters", "retry", 1, "--db", database)
    assert refused.exit_code == 1
    assert "1: refused: cost_usd: 'inf' is not usable" in refused.stdout
    stored = run("dead-letters", "retry", 1, "--set", "cost_usd=0.5", "--set", "agent_name=b", "--db", database)
    assert (stored.exit_code, stored.stdout) == (0, "1: stored\n")
    asked = run("dead-letters", "drop", "--all", "--db", database)
    assert (asked.exit_code, "this deletes 2 records for good" in asked.stderr) == (2, True)
    assert run("dead-letters", "drop", 2, "--yes", "--db", database).stdout == "dropped 1\n"
    assert json.loads(run("dead-letters", "drop", "--all", "--yes", "--json", "--db", database).stdout) == {
        "dropped": 1
    }
    assert json.loads(run("dead-letters", "retry", "--all", "--json", "--db", database).stdout) == []
    assert run("dead-letters", "drop", "--all", "--yes", "--db", database).stdout == "dropped 0\n"
    invocations = json.loads(run("invocations", "--db", database, "--json").stdout)
    assert [call["cost_usd"] for call in invocations if call["agent_name"] == "b"] == [0.5]


@pytest.mark.parametrize(
    "arguments",
    [("retry",), ("drop", "--yes"), ("retry", 1, "--all"), ("retry", 1, "--set", "cost"), ("retry", 1, "--set", "x=1")],
)
def test_letters_must_be_chosen_and_fields_exist(run: Run, database: Path, arguments: tuple[Any, ...]) -> None:
    """Used wrongly is 2, with one line on what to give."""
    _refuse(database)
    result = run("dead-letters", *arguments, "--db", database)
    assert (result.exit_code, result.stdout) == (2, "")


def test_a_reader_that_keeps_the_wal_long_is_named_by_its_process(
    process: Callable[..., Any], database: Path, command: list[str]
) -> None:
    """Here the reader is this test: it holds a snapshot while more than 8 MiB are written."""
    if file_checks.proc_locks() is None:
        pytest.skip("this system does not show the locks of its processes in /proc/locks")
    assert command
    with (
        closing(sqlite3.connect(database, isolation_level=None)) as reader,
        closing(sqlite3.connect(database, isolation_level=None)) as writer,
    ):
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM invocations").fetchone()
        writer.execute("CREATE TABLE ballast (x)")
        for _ in range(20):
            writer.execute("INSERT INTO ballast VALUES (zeroblob(500000))")
        result = process("doctor", "--db", database, *QUIET)
        assert result.returncode == KINDS["wal_blocked"].exit_code
        assert f"process {os.getpid()} (" in result.stdout


@pytest.mark.parametrize("name", ["list", "retry", "drop"])
def test_every_command_for_letters_shows_an_example_and_the_common_options(run: Run, name: str) -> None:
    """As every other command does."""
    shown = run("dead-letters", name, "--help").stdout
    assert f"  llm-telemetry dead-letters {name}" in shown.split("Examples:")[1]
    assert all(option in shown for option in ("--db PATH", "--config PATH", "--json"))
