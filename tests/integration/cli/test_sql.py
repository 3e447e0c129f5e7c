"""`sql`: any question, and nothing but questions."""

import csv
import io
import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from llm_service.cli import command_sql, sql_process
from llm_service.cli.commands import cli
from llm_service.cli.formats import Output, write
from llm_service.cli.sql_process import Answer
from llm_service.errors import StoreError

pytestmark = pytest.mark.slow

Run = Callable[..., Result]
ENDLESS = "WITH RECURSIVE k (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM k) SELECT count(*) FROM k"

# Each keeps SQLite for minutes within one call of one of its functions, where no progress handler is called.
WITHIN_ONE_FUNCTION = {
    "instr": "SELECT instr(zeroblob(60000000), CAST(zeroblob(30000000) || x'01' AS BLOB))",
    "replace": "SELECT length(replace(hex(zeroblob(30000000)), hex(zeroblob(10000000)) || '1', ''))",
    "like": "SELECT hex(zeroblob(30000000)) LIKE '%" + "0_" * 24_900 + "1'",
    "glob": "SELECT hex(zeroblob(30000000)) GLOB '*" + "0?" * 24_900 + "1'",
}


@pytest.mark.parametrize(
    ("statement", "first"),
    [
        ("SELECT count(*) AS n FROM invocations", "n"),
        ("WITH a AS (SELECT 1 AS n) SELECT n FROM a", "n"),
        ("VALUES (1)", "column1"),
        ("EXPLAIN QUERY PLAN SELECT * FROM invocations", "id"),
        ("PRAGMA table_info(daily_costs)", "cid"),
        ("PRAGMA page_count", "page_count"),
        ("SELECT name FROM pragma_table_info('receipts')", "name"),
        ("SELECT value FROM json_each('[1]')", "value"),
        ("SELECT round(avg(latency_ms), 1) AS ms FROM invocations WHERE timestamp > datetime('now', '-1 day')", "ms"),
    ],
)
def test_what_reads_is_answered(run: Run, database: Path, statement: str, first: str) -> None:
    """With the columns that SQLite names."""
    result = run("sql", statement, "--db", database, "--json")
    assert (result.exit_code, result.stderr) == (0, "")
    assert json.loads(result.stdout)["columns"][0] == first


@pytest.mark.costly
@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM invocations",
        "INSERT INTO schema_version VALUES (9, '')",
        "UPDATE daily_costs SET cost_nanos = 0",
        "UPDATE sqlite_master SET sql = ''",
        "CREATE TABLE x (y)",
        "CREATE TEMP TABLE x (y)",
        "DROP TABLE invocations",
        "ATTACH DATABASE 'other.db' AS other",
        "DETACH DATABASE main",
        "VACUUM",
        "VACUUM INTO 'copy.db'",
        "BEGIN IMMEDIATE",
        "SAVEPOINT s",
        "REINDEX",
        "ANALYZE",
        "PRAGMA journal_mode = DELETE",
        "PRAGMA query_only = OFF",
        "PRAGMA writable_schema = ON",
        "PRAGMA user_version = 9",
        "PRAGMA wal_checkpoint(TRUNCATE)",
        "PRAGMA optimize",
        "SELECT load_extension('x.so')",
        "SELECT * FROM pragma_wal_checkpoint('TRUNCATE')",
        "EXPLAIN DELETE FROM invocations",
    ],
)
def test_what_does_more_than_read_is_refused(
    run: Run, database: Path, tmp_path: Path, statement: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one line, with code 2; the file does not change, and no other comes into being."""
    monkeypatch.chdir(tmp_path)
    before = database.read_bytes()
    result = run("sql", statement, "--db", database)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("Error: sql: ")
    assert result.stderr.count("\n") == 1
    assert database.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["telemetry.db"]


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("SELEC 1", 'near "SELEC": syntax error'),
        ("SELECT missing", "no such column: missing; correct the statement"),
        ("SELECT missing FROM invocations", "no such column: missing; invocations: id, invocation_id, timestamp, "),
        ("SELECT i.model FROM invocations i", "no such column: i.model; did you mean model_name?; invocations: id, "),
        ("SELECT * FROM invocation", "no such table: invocation; did you mean invocations?; tables: "),
        ("SELECT 1; SELECT 2", "You can only execute one statement at a time; correct"),
        ("", "give a statement that returns rows"),
        ("-- a comment", "give a statement that returns rows"),
        ("SELECT zeroblob(1000000000)", "string or blob too big"),
        ("SELECT ?", "correct the statement"),
        ("SELECT 1 \0", "correct the statement"),
        (
            "SELECT 'a\udcff'",
            "it has bytes that are no UTF-8, at character 10; look for such a text by CAST(x'...' AS TEXT)",
        ),
        ("DELETE FROM invocations", "only reading is allowed: SELECT, WITH, VALUES, EXPLAIN"),
    ],
)
def test_a_mistake_is_one_line_with_its_remedy(run: Run, database: Path, statement: str, said: str) -> None:
    """Code 2: the statement is at fault."""
    result = run("sql", "--db", database, "--", statement)
    assert result.exit_code == 2
    assert said in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("statement", [ENDLESS, *WITHIN_ONE_FUNCTION.values()], ids=["rows", *WITHIN_ONE_FUNCTION])
def test_a_statement_without_end_is_ended(statement: str, run: Run, database: Path) -> None:
    """After the time that was given, whatever it calls; code 1."""
    result = run("sql", statement, "--db", database, "--timeout", "0.05")
    assert result.exit_code == 1
    assert result.stderr == "Error: the statement took more than 0.05 s; narrow it or give --timeout\n"


@pytest.mark.parametrize("statement", [ENDLESS, *WITHIN_ONE_FUNCTION.values()], ids=["rows", *WITHIN_ONE_FUNCTION])
def test_ctrl_c_ends_a_statement_with_130(statement: str, environment: dict[str, str], database: Path) -> None:
    """While SQLite works, also within one function, and quietly."""
    script = (
        "import sys; from llm_service.cli import sql_process; from llm_service.cli.main import main\n"
        "answer_of = sql_process._answer_of\n"
        "def say(*a):\n"
        "    print('running', flush=True)\n"
        "    return answer_of(*a)\n"
        "sql_process._answer_of = say\n"
        "sys.exit(main(sys.argv[1:]))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, "sql", statement, "--db", str(database)],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as endless:  # fmt: skip
        assert endless.stdout is not None
        assert endless.stdout.readline() == "running\n"
        endless.send_signal(signal.SIGINT)
        _, errors = endless.communicate(timeout=25)
    assert (endless.returncode, errors) == (130, "")


def test_rows_beyond_the_limit_are_left_out_and_said_so(run: Run, database: Path) -> None:
    """On stderr; in JSON as a key."""
    result = run("sql", "SELECT id FROM invocations ORDER BY id", "--limit", 2, "--db", database)
    assert result.stdout.split() == ["id", "1", "2"]
    assert result.stderr == "only the first 2 rows; give --limit for more\n"
    found = json.loads(run("sql", "VALUES (1), (2)", "--limit", 2, "--db", database, "--json").stdout)
    assert found == {"columns": ["column1"], "rows": [[1], [2]], "truncated": False}


LARGE = {
    "blobs": ("SELECT zeroblob(10000000) FROM {many}", 3),
    "texts": ("SELECT hex(zeroblob(5000000)) FROM {many}", 3),
    "small values": ("SELECT " + ", ".join(["x"] * 100) + " FROM {many}", 20_971),
}


@pytest.mark.parametrize("name", LARGE)
def test_what_is_too_large_to_look_at_is_cut_and_said_so(name: str, database: Path) -> None:
    """Whatever the limit of rows allows, a result takes 32 MiB at most."""
    statement, rows = LARGE[name]
    many = "(WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c LIMIT 100000) SELECT x FROM c)"
    answer = sql_process.ask(database, statement.format(many=many), limit=1_000_000, timeout=60)
    assert (len(answer.rows), answer.truncated) == (rows, "bytes")


def test_a_large_answer_says_what_to_do(run: Run, database: Path) -> None:
    """On stderr, as where the limit of rows is reached."""
    result = run("sql", "VALUES (zeroblob(20000000)), (zeroblob(20000000))", "--db", database, "--format", "csv")
    assert (result.exit_code, result.stderr) == (
        0,
        "only the first 1 row: the answer is too large; select less of each\n",
    )
    result = run("sql", "SELECT zeroblob(40000000)", "--db", database)
    assert result.exit_code == 1
    assert "a row takes more than 32 MiB" in result.stderr


def test_memory_has_a_bound(run: Run, database: Path) -> None:
    """A row of many large values is refused before it takes gigabytes."""
    result = run("sql", "SELECT " + ", ".join(["zeroblob(60000000)"] * 50), "--db", database)
    assert result.exit_code == 1
    assert "the statement takes more than 256 MiB of memory; narrow it" in result.stderr


def test_a_killed_process_is_told_of(database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the machine that has no memory left, say."""
    program = "import os, sys; sys.stdin.buffer.read(); os.write(1, b'+'); os.kill(os.getpid(), 9)  # {path}"
    monkeypatch.setattr(sql_process, "_PROGRAM", program)
    with pytest.raises(StoreError, match="has ended by SIGKILL"):
        sql_process.ask(database, "SELECT 1", limit=1, timeout=10)
    monkeypatch.setattr(sql_process, "_PROGRAM", "pass  # {path}")
    with pytest.raises(StoreError, match="did not start"):
        sql_process.ask(database, "SELECT 1", limit=1, timeout=10)


def test_columns_of_one_name_are_told_apart_in_few_steps() -> None:
    """2,000 of them, as many as SQLite allows; one after the other is numbered, and no number is tried twice."""
    names = ["x"] * 1_000 + ["x_2"] * 1_000
    found = command_sql._distinct(names)
    assert len(set(found)) == 2_000
    assert found[:3] == ["x", "x_2", "x_3"]


def test_a_statement_may_come_from_standard_input(database: Path) -> None:
    """Long ones live in files."""
    result = CliRunner().invoke(cli, ["sql", "-", "--db", str(database), "--json"], input="SELECT 1\nAS one\n")
    assert json.loads(result.stdout)["columns"] == ["one"]


def test_values_of_every_type_have_a_form_in_each_format(run: Run, database: Path) -> None:
    """JSON stays valid: infinity is null, a blob is hex, and a name that stands twice is told apart."""
    statement = "SELECT 1 AS x, 2.5 AS x, NULL AS n, x'ff00' AS b, 9e999 AS i, 'a' || char(10) || char(27) AS t"
    table = run("sql", statement, "--db", database).stdout.splitlines()[1]
    assert table.split() == ["1", "2.5", "NULL", "ff00", "inf", "a\\n\\x1b"]
    text = run("sql", statement, "--db", database, "--format", "csv").stdout
    assert list(csv.reader(io.StringIO(text, newline="")))[1] == ["1", "2.5", "", "ff00", "inf", "a\n\x1b"]
    (line,) = run("sql", statement, "--db", database, "--format", "jsonl").stdout.splitlines()
    assert json.loads(line) == {"x": 1, "x_2": 2.5, "n": None, "b": "ff00", "i": None, "t": "a\n\x1b"}
    whole = json.loads(run("sql", statement, "--db", database, "--json").stdout)
    assert whole["rows"] == [[1, 2.5, None, "ff00", None, "a\n\x1b"]]


def test_text_that_is_no_utf_8_is_shown_with_a_mark(run: Run, database: Path) -> None:
    """Not an error."""
    found = json.loads(run("sql", "SELECT CAST(x'61ff' AS TEXT) AS t", "--db", database, "--json").stdout)
    assert found["rows"] == [["a\ufffd"]]


def test_csv_for_a_terminal_is_cleaned() -> None:
    """Elsewhere values are data."""
    stream, output = io.BytesIO(), Output("csv")
    found = command_sql._rows(Answer(["t"], [("\x1b[2J",)], truncated=False), output)
    write(stream, output, found, [found.rows], shown=True)
    assert stream.getvalue() == b"t\n\\x1b[2J\n"


def test_a_file_that_is_no_database_is_named(run: Run, tmp_path: Path) -> None:
    """Code 1: the file is at fault; a folder cannot even be opened."""
    text = tmp_path / "text.db"
    text.write_text("no database" * 100)
    for path, words in ((text, "cannot be read"), (tmp_path, "is not a plain file")):
        result = run("sql", "SELECT * FROM invocations", "--db", path)
        assert result.exit_code == 1
        assert words in result.stderr


def test_the_snapshot_is_let_go_of_before_anything_is_printed(database: Path) -> None:
    """A pager that waits for its reader holds no WAL."""
    assert sql_process.ask(database, "SELECT id FROM invocations", limit=1, timeout=10).truncated
    assert [path.name for path in database.parent.iterdir()] == ["telemetry.db"]
    with pytest.raises(StoreError, match="cannot be read"):
        sql_process.ask(database.parent / "none.db", "SELECT 1", limit=1, timeout=10)


def test_a_statement_without_an_end_is_refused(database: Path) -> None:
    """No more of standard input is read than a statement may have."""
    long = "SELECT 1 --" + "x" * 1024 * 1024
    result = CliRunner().invoke(cli, ["sql", "-", "--db", str(database)], input=long, prog_name="llm-telemetry")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "the statement is too long; give at most 1,048,576 characters" in result.stderr


def test_an_export_is_no_document_and_says_so(run: Run, database: Path) -> None:
    """Who asks for any other form is told which there are."""
    result = run("export", "--format", "json", "--db", database)
    assert result.exit_code == 2
    assert "give --json" in result.stderr
    assert "jsonl" in run("export", "--format", "xml", "--db", database).stderr
