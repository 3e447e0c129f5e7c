"""Whatever SQLite can hold, in every column of every table: every command reads it, and doctor names the row."""

import asyncio
import json
import logging
import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import Result

from llm_service.telemetry import AsyncTelemetryLogger, InvocationRecord, TelemetryLogger
from llm_service.telemetry.upkeep.doctor import examine
from llm_service.telemetry.upkeep.tables import Table, tables

from .every_command import command_lines

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
MADE_ALIKE = {"late", "empty text", "NaN in JSON", "negative", "nothing", "largest"}
"""What a writer may have written in some columns."""
COLUMNS = [(table, column) for table in tables().values() for column in table.columns]
CHANGING = {"demo", "replay", "purge", "reprice", "dead-letters", "budgets"}


@pytest.fixture(autouse=True)
def quiet() -> None:
    """What loggers say of such files is not what is tested."""
    logging.getLogger("llm_service.telemetry").setLevel(logging.CRITICAL)


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
                    cache_read_tokens=3, status="success" if number % 2 else "error",
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


@pytest.mark.parametrize("value", ODD)
def test_every_command_reads_every_column_of_every_table(value: str, sound: Path, tmp_path: Path, run: Run) -> None:
    """With one value in all the columns that let it in, one table after another; JSON stays JSON."""
    for table in tables().values():
        path = tmp_path / f"{table.name}.db"
        path.write_bytes(sound.read_bytes())
        if not sum([put(path, table, column, ODD[value]) for column in table.columns if column not in table.key]):
            continue
        new = tmp_path / f"new-{table.name}"
        new.mkdir()
        for line in command_lines(new):
            if line[0] in CHANGING and "--dry-run" not in line and line[:2] != ["dead-letters", "list"]:
                continue
            result = run(*line, "--db", path)  # raises what is not meant for the user
            allowed = set(range(46)) if line[0] == "doctor" else {0, 1} if line[0] == "show" else {0}
            assert result.exit_code in allowed, (table.name, line, result.output)
            if "--json" in line and result.exit_code == 0 and "jsonl" not in line and line[0] != "export":
                json.loads(result.stdout)


@pytest.mark.parametrize("value", ODD)
def test_commands_that_change_go_on_too(value: str, sound: Path, tmp_path: Path, run: Run) -> None:
    """Done, or said in one line."""
    for table in tables().values():
        path = tmp_path / f"{table.name}.db"
        path.write_bytes(sound.read_bytes())
        for column in table.columns:
            put(path, table, column, ODD[value])
        new = tmp_path / f"new-{table.name}"
        new.mkdir()
        for line in command_lines(new):
            if line[0] in CHANGING - {"demo", "replay"} or "--repair" in line:
                result = run(*line, "--db", path)
                assert result.stderr.count("Error: ") <= 1, (table.name, line, result.stderr)
        assert not list(tmp_path.glob("*.corrupt-*"))


@pytest.mark.parametrize(("table", "column"), COLUMNS, ids=[f"{table.name}.{column}" for table, column in COLUMNS])
def test_doctor_names_the_row(table: Table, column: str, sound: Path, tmp_path: Path) -> None:
    """Where no writer can have written it: table, row and column."""
    for value, sql in ODD.items():
        path = tmp_path / "telemetry.db"
        path.write_bytes(sound.read_bytes())
        if not put(path, table, column, sql) or value in MADE_ALIKE:
            continue
        with closing(sqlite3.connect(path)) as connection:
            kind, is_text = connection.execute(
                f"SELECT typeof({column}), typeof({column}) = 'text' FROM {table.name} ORDER BY typeof({column}) = 'null'"
            ).fetchone()
        declared = table.types[table.columns.index(column)]
        if (declared, kind) in {("TEXT", "text"), ("BLOB", "blob")} and value not in {"no UTF-8", "NUL"}:
            continue  # a text among texts; what it says is its own affair
        if kind in {"integer", "real"} and declared in {"INTEGER", "REAL"} and value not in {"infinity", "minus infinity"}:
            if declared == "REAL" or kind == "integer":
                continue
        seen = [finding.seen for finding in examine(path, full=True) if finding.name == "odd_values"]
        assert seen, (table.name, column, value, kind, is_text)
        assert f"{table.name} row" in seen[0]
        assert column in seen[0]


@pytest.mark.parametrize("value", ODD)
def test_both_faces_read_it(value: str, sound: Path, tmp_path: Path) -> None:
    """Every question that takes no argument that must be given."""
    for table in tables().values():
        path = tmp_path / f"{table.name}.db"
        path.write_bytes(sound.read_bytes())
        for column in table.columns:
            if column not in table.key:
                put(path, table, column, ODD[value])
        with TelemetryLogger(path, retention_days=None) as logger:
            for question in questions(logger):
                getattr(logger, question)()
            for row in logger.get_invocations():
                logger.get_content(row["invocation_id"])

        async def ask(db: Path) -> None:
            async with AsyncTelemetryLogger(db, retention_days=None) as telemetry:
                for question in questions(telemetry):
                    await getattr(telemetry, question)()

        asyncio.run(ask(path))
        assert not list(tmp_path.glob("*.corrupt-*"))


def questions(face: object) -> list[str]:
    """The names of its `get_...` that can be asked without arguments."""
    return [name for name in dir(face) if name.startswith("get_") and name != "get_content"]
