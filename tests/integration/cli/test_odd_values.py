"""Whatever SQLite can hold, in every column of every table: every command reads it, and doctor names the row."""

import asyncio
import json
import logging
import math
import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from datetime import UTC, datetime, timedelta
from inspect import signature
from pathlib import Path

import pytest
from click.testing import Result

from llm_service.telemetry import AsyncTelemetryLogger, InvocationRecord, TelemetryLogger
from llm_service.telemetry.maintenance.cell_values import check_values
from llm_service.telemetry.maintenance.salvage import salvage
from llm_service.telemetry.maintenance.table_shapes import Table, tables

from .every_command import command_lines

pytestmark = pytest.mark.slow

Run = Callable[..., Result]
ODD = {
    "bytes": "x'ff00fe'",
    "no UTF-8": "CAST(x'e1676572' AS TEXT)",
    "text": "'many'",
    "empty text": "''",
    "NUL": "CAST(x'610062' AS TEXT)",
    "infinity": "9e999",
    "minus infinity": "-9e999",
    "too large": "1e30",
    "largest": "9223372036854775807",
    "negative": "-1",
    "fraction": "1.5",
    "nothing": "NULL",
    "late": "'9999-12-31 23:59:59.999999Z'",
    "no day": "'2026-13-45 99:99:99.999999Z'",
    "deep": f"'{'[' * 100_000}'",
    "deep and closed": f"'{'[' * 900}{']' * 900}'",
    "NaN in JSON": """'{"a": NaN, "b": [1e999, -Infinity]}'""",
}
STORED = {
    "TEXT": {"text", "null"},
    "INTEGER": {"integer", "null"},
    "REAL": {"real", "integer", "null"},
    "BLOB": {"blob", "null"},
}
"""What a column holds, by its declared type."""
CHANGING = {"demo", "purge", "reprice", "dead-letters", "budgets"}


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    """What loggers say of such files is not what is tested."""
    caplog.set_level(logging.CRITICAL, "llm_service.telemetry")


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with rows in every table."""
    folder = tmp_path_factory.mktemp("sound")
    path, policies = folder / "telemetry.db", folder / "policies.yaml"
    limits = "[{window: day, usd: 1000}, {window: 24h, usd: 1000}, {window: month, tokens: 100000}]"
    policies.write_text(f"policies:\n  default:\n    limits: {limits}\n", "utf-8")
    now = datetime.now(UTC)
    with TelemetryLogger(path, policies=policies, privacy_level="full") as logger:
        for number in range(6):
            logger.log_invocation(
                InvocationRecord(
                    agent_name="agent", tool_name="tool", model_name="gpt-4o", prompt_tokens=10, completion_tokens=5,
                    total_tokens=15, cost_usd=20.0, latency_ms=3.5, prompt="p", response="r", session_id="s",
                    tags=["a"], metadata={"a": 1}, stream=True, timestamp=now - timedelta(days=number % 3),
                    cache_read_tokens=3, run="night", status="success" if number % 2 else "error",
                )
            )  # fmt: skip
        with suppress(KeyError), logger.budgets.reserve(usd=0.5, agent_name="agent"):
            raise KeyError  # its outcome is unknown: the hold stays
    moment = "2026-11-23 18:00:00.000000Z"
    with closing(sqlite3.connect(path)) as connection:
        for number in range(2):
            connection.execute(
                "INSERT INTO dead_letters (quarantined_at, invocation_id, error, record) VALUES (?, ?, 'e', '{}')",
                (moment, f"d{number}"),
            )
        connection.execute("INSERT OR IGNORE INTO prompt_sizes VALUES (9, 'agent', 'gpt-4o', 3, 40, 10)")
        connection.execute(
            "INSERT OR IGNORE INTO budget_alerts VALUES ('default', 1, '[]', ?, 'usd', 80, ?)", (moment, moment)
        )
        connection.commit()
    return path


def put(path: Path, table: Table, column: str, value: str) -> bool:
    """Put an odd value into the last row of a table; False where a constraint keeps it out, or there is no row."""
    order = f"rowid = (SELECT max(rowid) FROM {table.name})" if table.has_rowid else "true"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA ignore_check_constraints = ON")
        with suppress(sqlite3.IntegrityError):
            changed = connection.execute(f"UPDATE OR ABORT {table.name} SET {column} = {value} WHERE {order}").rowcount
            connection.commit()
            return changed > 0
    return False


def odd(sound: Path, folder: Path, value: str, *, keys: bool) -> Path:
    """A database with this value in the last row of every table, in every column that lets it in."""
    path = folder / "telemetry.db"
    path.write_bytes(sound.read_bytes())
    for table in tables().values():
        for column in table.columns:
            if keys or column not in table.key:
                put(path, table, column, ODD[value])
    return path


@pytest.mark.costly
@pytest.mark.parametrize("value", ODD)
def test_every_command_reads_every_column_of_every_table(value: str, sound: Path, tmp_path: Path, run: Run) -> None:
    """Whatever stands there; and JSON stays JSON."""
    path = odd(sound, tmp_path, value, keys=False)
    for line in command_lines(tmp_path):
        if line[0] in CHANGING and "--dry-run" not in line and line[:2] != ["dead-letters", "list"]:
            continue
        if "--repair" in line and "--dry-run" not in line:
            continue
        result = run(*line, "--db", path)  # raises what is not meant for the user
        allowed = set(range(46)) if line[0] == "doctor" else {0, 1} if line[0] in {"show", "compare"} else {0}
        assert result.exit_code in allowed, (line, result.output)
        assert "stopped at what" not in result.output, (line, result.output)
        if "--json" in line and result.exit_code == 0 and line[0] != "export" and "-o" not in line:
            json.loads(result.stdout)


@pytest.mark.costly
@pytest.mark.parametrize("value", ODD)
def test_commands_that_change_go_on_or_say_why_not(value: str, sound: Path, tmp_path: Path, run: Run) -> None:
    """In one line; nothing is set aside."""
    path = odd(sound, tmp_path, value, keys=True)
    for line in command_lines(tmp_path):
        if line[0] in CHANGING - {"demo"} or "--repair" in line:
            result = run(*line, "--db", path)
            assert result.stderr.count("Error: ") <= 1, (line, result.stderr)
    assert not list(tmp_path.glob("*.corrupt-*"))


@pytest.mark.costly
@pytest.mark.parametrize("table", tables().values(), ids=tables())
def test_doctor_names_the_row(table: Table, sound: Path, tmp_path: Path) -> None:
    """Where no writer can have written it: table, row and column."""
    path = tmp_path / "telemetry.db"
    for column, declared in zip(table.columns, table.types, strict=True):
        for value, sql in ODD.items():
            path.write_bytes(sound.read_bytes())
            if not put(path, table, column, sql):
                continue
            with closing(sqlite3.connect(path)) as connection:
                kinds = {row[0] for row in connection.execute(f"SELECT typeof({column}) FROM {table.name}")}
                (found,) = check_values(connection, full=True, deadline=math.inf)
            strange = kinds - STORED[declared]
            if strange or value in {"no UTF-8", "NUL"} or (value == "infinity" and "real" in kinds):
                assert found.name == "odd_values", (column, value, kinds)
            if found.name == "odd_values":
                assert f"{table.name} row" in found.seen, (column, value, found.seen)
                assert column in found.seen, (column, value, found.seen)


@pytest.mark.parametrize("value", ODD)
def test_salvage_goes_on_whatever_stands_anywhere(value: str, sound: Path, tmp_path: Path) -> None:
    """In keys, too; at most the rows that hold it are left out: a key of -1 makes another row the last."""
    path = odd(sound, tmp_path, value, keys=True)
    report = salvage(path, tmp_path / "new.db")
    assert report.tables["invocations"].recovered >= calls_in(sound) - 2


@pytest.mark.parametrize("table", tables().values(), ids=tables())
def test_salvage_goes_on_whatever_number_a_key_is(table: Table, sound: Path, tmp_path: Path) -> None:
    """As one flipped bit makes of it, though no constraint allows it; nothing but content is known by that number."""
    for column in table.key or ("rowid",):
        path = tmp_path / "telemetry.db"
        path.write_bytes(sound.read_bytes())
        put(path, table, column, "3000")
        report = salvage(path, tmp_path / "new.db", force=True)
        assert report.tables["invocations"].recovered == calls_in(sound)
        assert report.tables["retention"].recovered == 1


def calls_in(path: Path) -> int:
    """Rows of invocations."""
    with closing(sqlite3.connect(path)) as connection:
        return int(connection.execute("SELECT count(*) FROM invocations").fetchone()[0])


@pytest.mark.parametrize("value", ODD)
def test_both_faces_read_it(value: str, sound: Path, tmp_path: Path) -> None:
    """Every question that takes no argument that must be given."""
    path = odd(sound, tmp_path, value, keys=False)
    with TelemetryLogger(path, retention_days=None) as logger:
        for question in questions(logger):
            getattr(logger, question)()
        for row in logger.get_invocations():
            logger.get_content(row["invocation_id"])

    async def ask() -> None:
        async with AsyncTelemetryLogger(path, retention_days=None) as telemetry:
            for question in questions(telemetry):
                await getattr(telemetry, question)()

    asyncio.run(ask())
    assert not list(tmp_path.glob("*.corrupt-*"))


@pytest.mark.costly
@pytest.mark.parametrize("value", ODD)
def test_a_writer_goes_on_whatever_stands_anywhere(value: str, sound: Path, tmp_path: Path) -> None:
    """In each table by itself: what is given to a logger is stored."""
    path = tmp_path / "telemetry.db"
    for table in tables().values():
        path.write_bytes(sound.read_bytes())
        for column in table.columns:
            if column not in table.key:
                put(path, table, column, ODD[value])
        before = calls_in(path)
        with TelemetryLogger(path, retention_days=None, policies=False) as logger:
            logger.log_invocation(
                InvocationRecord(agent_name="agent", tool_name="tool", model_name="gpt-4o", latency_ms=3.5)
            )
        assert calls_in(path) == before + 1, table.name
    assert not list(tmp_path.glob("*.corrupt-*"))


def questions(face: object) -> list[str]:
    """The names of its `get_...` that can be asked without arguments."""
    named = [name for name in dir(face) if name.startswith("get_")]
    return [
        name
        for name in named
        if all(
            one.default is not one.empty or one.kind in {one.VAR_POSITIONAL, one.VAR_KEYWORD}
            for one in signature(getattr(face, name)).parameters.values()
        )
    ]


def test_a_sum_beyond_64_bits_is_exact(sound: Path, tmp_path: Path, run: Run) -> None:
    """Nano-dollars and tokens of two rows that are each as large as SQLite's numbers go."""
    path = tmp_path / "telemetry.db"
    path.write_bytes(sound.read_bytes())
    largest = (1 << 63) - 1
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute(
            "UPDATE daily_costs SET cost_nanos = ?, total_tokens = ?", (largest, largest)
        ).rowcount
        connection.commit()
    assert rows > 1
    totals = json.loads(run("costs", "--json", "--db", path).stdout)["totals"]
    assert (totals["cost_nanos"], totals["total_tokens"]) == (rows * largest, rows * largest)
