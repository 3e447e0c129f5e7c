"""`show`, `info`, `config` and `completion`."""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from click.testing import Result

from llm_service import __version__
from llm_service.config.settings import Settings
from llm_service.telemetry import InvocationRecord, TelemetryLogger
from llm_service.telemetry.queries.questions import InvocationRow
from llm_service.telemetry.stores.sqlite.migrations import VERSION

Run = Callable[..., Result]


@pytest.fixture
def rich_call(tmp_path: Path) -> Path:
    """One call of which much is known, with hostile content."""
    path = tmp_path / "a.db"
    with TelemetryLogger(path) as telemetry:
        telemetry.log_invocation(
            InvocationRecord(
                invocation_id="0193a1f2-7c1e", agent_name="a", prompt_tokens=1_000, stream=True,
                tags=["x", "y\x1b"], metadata={"k": 1}, cost_usd=0.5,
            )
        )  # fmt: skip
    connection = sqlite3.connect(path)
    with connection:
        connection.execute(
            "INSERT INTO invocation_contents VALUES (1, ?, ?)",
            [zlib.compress(b"first line\n\x1b[2Jsecond"), zlib.compress("Ärger".encode())],
        )
    connection.close()
    return path


@pytest.mark.parametrize("wanted", ["0193a1f2-7c1e", "1", "0193"])
def test_show_gives_one_call_whole(run: Run, rich_call: Path, wanted: str) -> None:
    """By id, number or a beginning: what is known, what is not, and what was said, behind a margin."""
    shown = run("show", wanted, "--db", rich_call).stdout
    values = dict(line.split(maxsplit=1) for line in shown.splitlines() if not line.startswith("  |"))
    assert (values["agent_name"], values["prompt_tokens"], values["stream"]) == ("a", "1,000", "yes")
    assert (values["tags"], values["metadata"]) == ('["x", "y\\u001b"]', '{"k": 1}')
    assert "model_name" in values["unknown"]
    assert shown.endswith(
        "prompt (21 characters)\n  | first line\n  | \\x1b[2Jsecond\nresponse (5 characters)\n  | Ärger\n"
    )


def test_show_as_json_has_every_column_and_the_content(run: Run, rich_call: Path, database: Path) -> None:
    """None where there is no content."""
    found = json.loads(run("show", "1", "--db", rich_call, "--json").stdout)
    assert list(found) == [*InvocationRow.__annotations__, "prompt", "response"]
    assert (found["stream"], found["response"]) == (True, "Ärger")
    found = json.loads(run("show", "1", "--db", database, "--json").stdout)
    assert (found["prompt"], found["response"]) == (None, None)


def test_show_of_an_unknown_id_ends_with_1_and_of_an_ambiguous_one_with_2(run: Run, database: Path) -> None:
    """One line each, that says where ids are."""
    missing = run("show", "no\nsuch", "--db", database)
    assert (missing.exit_code, missing.stdout, missing.stderr.count("\n")) == (1, "", 1)
    assert "has no call with the id 'no\\nsuch'; `llm-telemetry invocations --db " in missing.stderr
    ambiguous = run("show", "0", "--db", database)
    assert ambiguous.exit_code == 2
    assert "several ids begin so" in ambiguous.stderr


def test_info_tells_what_the_file_is_and_holds(run: Run, database: Path) -> None:
    """Sizes as the file system says, rows of each table, the range of time, versions."""
    found = json.loads(run("info", "--db", database, "--json").stdout)
    assert found["db_path"] == str(database)
    assert found["database_bytes"] == database.stat().st_size == found["page_size"] * found["page_count"]
    assert (found["wal_bytes"], found["shm_bytes"], found["free_pages"]) == (0, 0, 0)
    assert found["records"] == found["tables"]["invocations"] == 6
    assert found["first_timestamp"] == "2023-01-15 12:00:00.000000Z"
    assert (found["schema_version"], found["known_schema_version"]) == (VERSION, VERSION)
    assert (found["journal_mode"], found["auto_vacuum"]) == ("wal", "incremental")
    assert found["libraries"] == {
        "llm-service-telemetry": __version__,
        "sqlite": sqlite3.sqlite_version,
        "python": ".".join(map(str, sys.version_info[:3])),
    }
    shown = run("info", "--db", database).stdout
    assert f"database   {database}\n" in shown
    assert "records    6\nfrom       2023-01-15 12:00:00 to " in shown


def test_info_beside_a_writer_counts_its_wal(run: Run, database: Path) -> None:
    """Without opening any of the three files but by SQLite."""
    with TelemetryLogger(database, retention_days=None) as telemetry:
        telemetry.log_invocation(InvocationRecord())
        found = json.loads(run("info", "--db", database, "--json").stdout)
        assert found["wal_bytes"] > 0
        assert found["shm_bytes"] > 0
        assert found["records"] == 7


def test_info_of_an_empty_or_a_newer_file_says_so(run: Run, tmp_path: Path) -> None:
    """No range without calls; a version that this release does not know is named."""
    path = tmp_path / "a.db"
    with TelemetryLogger(path) as telemetry:
        telemetry.flush()
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    shown = run("info", "--db", path).stdout
    assert "from       -\n" in shown
    assert "schema     version 99 (newer than this release knows)\n" in shown


@pytest.mark.parametrize("arguments", [("show", "1"), ("info",), ("export",), ("sql", "SELECT 1"), ("costs",)])
def test_a_missing_database_is_an_error_and_stays_missing(run: Run, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    """For every command that reads; nothing is created."""
    result = run(*arguments, "--db", tmp_path / "no" / "such.db")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "does not exist; give a telemetry database with --db PATH or --config PATH" in result.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def configured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A configuration of its own: a file and one variable, in an empty folder."""
    for name in [name for name in os.environ if name.startswith("LLM_TELEMETRY_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("LLM_TELEMETRY_BATCH_SIZE", "7")
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "telemetry.yaml"
    file.write_text("enabled: true\nretention_days: none\n")
    return file


def test_config_show_says_where_each_value_comes_from(run: Run, configured: Path) -> None:
    """File and line, variable, --db, or default; every setting, as JSON too."""
    found = json.loads(run("config", "show", "--config", configured, "--db", "x.db", "--json").stdout)["settings"]
    assert [setting["name"] for setting in found] == list(Settings.names())
    by_name = {setting["name"]: (setting["value"], setting["source"]) for setting in found}
    assert by_name["retention_days"] == (None, f"{configured}:2")
    assert by_name["batch_size"] == (7, "LLM_TELEMETRY_BATCH_SIZE")
    assert by_name["db_path"] == (str(configured.parent / "x.db"), "--db")
    assert by_name["strict"] == (False, "default")
    lines = run("config", "show", "--config", configured).stdout.splitlines()
    assert lines[0].split() == ["setting", "value", "source"]
    assert ["retention_days", "none", f"{configured}:2"] in [line.split() for line in lines]


def test_config_check_tells_whether_it_is_usable(run: Run, configured: Path) -> None:
    """0 and the database, or 1 with file, line, key and remedy; as JSON both on standard output."""
    good = run("config", "check", "--config", configured, "--db", "x.db")
    assert (good.exit_code, good.stderr) == (0, "")
    assert good.stdout == f"the configuration is usable; the database is {configured.parent / 'x.db'}\n"
    found = json.loads(run("config", "check", "--config", configured, "--db", "x.db", "--json").stdout)
    nothing = {"models": None, "policies": None, "error": None, "errors": [], "warnings": []}
    assert found == {"ok": True, "db_path": str(configured.parent / "x.db"), **nothing}
    configured.write_text("enabled: true\nretention_day: 3\n")
    bad = run("config", "check", "--config", configured)
    assert (bad.exit_code, bad.stdout) == (1, "")
    assert bad.stderr.startswith(f"Error: {configured}:2: retention_day: there is no such setting; did you mean")
    bad = run("config", "check", "--config", configured, "--json")
    assert (bad.exit_code, bad.stderr) == (1, "")
    found = json.loads(bad.stdout)
    assert (found["ok"], found["db_path"], "did you mean" in found["error"]) == (False, None, True)


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_completion_prints_a_script_that_names_the_program(run: Run, shell: str) -> None:
    """Those shells are not run here."""
    script = run("completion", shell).stdout
    assert "_LLM_TELEMETRY_COMPLETE" in script
    assert "llm-telemetry" in script


@pytest.mark.costly
@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["llm-telemetry", "inv"], ["invocations"]),
        (["llm-telemetry", "costs", "--si"], ["--since"]),
        (["llm-telemetry", "config", ""], ["check", "example", "show"]),
        (["llm-telemetry", "export", "--format", ""], ["csv", "jsonl", "parquet"]),
    ],
)
def test_bash_completes_commands_options_and_values(
    command: list[str], environment: dict[str, str], tmp_path: Path, words: list[str], offered: list[str]
) -> None:
    """The script is sourced by a real bash, and its function asked as bash asks it."""
    program = tmp_path / "llm-telemetry"
    program.write_text(f'#!/bin/sh\nexec {command[0]} {" ".join(command[1:])} "$@"\n')
    program.chmod(0o755)
    quoted = " ".join(f"'{word}'" for word in words)
    script = (
        "source <(llm-telemetry completion bash) || exit 9\n"
        f"COMP_WORDS=({quoted}); COMP_CWORD={len(words) - 1}\n"
        'function=$(complete -p llm-telemetry | sed "s/.*-F \\([^ ]*\\).*/\\1/")\n'
        '"$function" llm-telemetry; printf "%s\\n" "${COMPREPLY[@]}"\n'
    )
    done = subprocess.run(
        ["bash", "--norc", "-c", script],  # noqa: S607 - whichever bash is there
        env=environment | {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    assert (sorted(done.stdout.split()), done.stderr) == (offered, "")


def test_completion_of_an_unknown_shell_names_the_known_ones(run: Run) -> None:
    """Code 2."""
    result = run("completion", "tcsh")
    assert result.exit_code == 2
    assert "'tcsh' is not one of 'bash', 'zsh', 'fish'" in click.unstyle(result.stderr)
