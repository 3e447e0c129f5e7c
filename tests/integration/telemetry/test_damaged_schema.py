"""A schema that is damaged: found, salvaged, and no reason to lose a record."""

import re
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from llm_service.telemetry import InvocationRecord, TelemetryLogger
from llm_service.telemetry.maintenance.doctor import examine
from llm_service.telemetry.maintenance.salvage import salvage
from llm_service.telemetry.stores.sqlite import migrations


def _objects() -> list[str]:
    with closing(migrations.empty_database()) as connection:
        return [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE sql IS NOT NULL")]


def _columns() -> list[tuple[str, str]]:
    with closing(migrations.empty_database()) as connection:
        return sorted(one for one in migrations.columns(connection) if not one[0].startswith("sqlite_"))


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The bytes of a file of one call."""
    path = tmp_path_factory.mktemp("sound") / "telemetry.db"
    with TelemetryLogger(path) as logger:
        logger.log_invocation(
            InvocationRecord(
                agent_name="before", tool_name="t", model_name="m", provider="p", prompt_tokens=3, completion_tokens=2,
                cost_usd=0.5, latency_ms=7.0, status="error", error_type="E", session_id="s", user_id="u",
                metadata={"key": "value"},
            )
        )  # fmt: skip
    return path.read_bytes()


def _rows(path: Path) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute("SELECT * FROM invocations").fetchall()


def _private(path: Path, content: bytes) -> None:
    """A file that nobody else reads."""
    path.touch(mode=0o600)
    path.write_bytes(content)


def _change(path: Path, name: str, change: Callable[[str], str | bytes]) -> None:
    """Change the text by which an object was made, as a flipped bit does."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA writable_schema = ON")
        (sql,) = connection.execute("SELECT sql FROM sqlite_master WHERE name = ?", (name,)).fetchone()
        changed = change(sql)
        raw = changed if isinstance(changed, bytes) else changed.encode()
        connection.execute("UPDATE sqlite_master SET sql = CAST(? AS TEXT) WHERE name = ?", (raw, name))


def _records_go_on(path: Path, salvaged: Path, rows: list[tuple[object, ...]]) -> None:
    found = [finding for finding in examine(path) if finding.exit_code]
    assert any(finding.name in {"damaged", "schema"} for finding in found), found
    assert salvage(path, salvaged).tables["invocations"].recovered == 1
    assert _rows(salvaged) == rows
    with TelemetryLogger(path, commit_timeout=30.0) as logger:
        assert logger.log_invocation(InvocationRecord(agent_name="after"))
        assert [row["agent_name"] for row in logger.get_invocations()] == ["after"]
        assert logger.stats().files_set_aside == 1
    assert len(list(path.parent.glob("*.corrupt-*"))) >= 1


@pytest.mark.parametrize("name", _objects())
def test_a_byte_of_the_schema_that_is_no_text_costs_no_record(name: str, sound: bytes, tmp_path: Path) -> None:
    """SQLite quotes it in its message, of which sqlite3 then makes a UnicodeDecodeError."""
    path = tmp_path / "telemetry.db"
    _private(path, sound)
    rows = _rows(path)
    _change(path, name, lambda sql: sql.encode().replace(b"CREATE", b"CR\xc1ATE", 1))
    _records_go_on(path, tmp_path / "salvaged.db", rows)


@pytest.mark.parametrize("table", sorted({table for table, _ in _columns()}))
def test_a_column_that_has_lost_its_name_costs_no_record(table: str, sound: bytes, tmp_path: Path) -> None:
    """Each of them: "no such column" passes by no waiting."""
    for column in sorted(column for of, column in _columns() if of == table):
        folder = tmp_path / column
        folder.mkdir(mode=0o700)
        path = folder / "telemetry.db"
        _private(path, sound)
        rows = _rows(path)
        _change(
            path, table, lambda sql, column=column: re.sub(rf"(?<=[\n(]    ){column}\b", f"_{column[1:]}", sql, count=1)
        )
        _records_go_on(path, folder / "salvaged.db", rows)
