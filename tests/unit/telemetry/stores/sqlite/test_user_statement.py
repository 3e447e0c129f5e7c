"""A user's statement, as the process of its own runs it: what it may do, what cuts its answer, who is blamed."""

from collections.abc import Callable
from pathlib import Path

import pytest

from llm_service.telemetry import InvocationRecord, TelemetryLogger
from llm_service.telemetry.stores.sqlite import user_statement
from llm_service.telemetry.stores.sqlite.user_statement import Reply, Request, reply_to

Ask = Callable[..., Reply]


@pytest.fixture
def ask(tmp_path: Path) -> Ask:
    """Asks a file of three calls."""
    path = tmp_path / "telemetry.db"
    with TelemetryLogger(path) as logger:
        for number in range(3):
            logger.log_invocation(InvocationRecord(agent_name=f"agent-{number}"))
    return lambda statement, limit=100, timeout=30.0: reply_to(Request(str(path), statement, limit, timeout))


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT agent_name, upper(tool_name) FROM invocations",
        "PRAGMA table_info(invocations)",
        "PRAGMA user_version",
        "SELECT key FROM json_each('[1, 2]')",
        "WITH n(x) AS (VALUES (1)) SELECT x FROM n",
    ],
)
def test_what_reads_is_answered(ask: Ask, statement: str) -> None:
    """Functions, pragmas that tell, and tables that are functions, too."""
    reply = ask(statement)
    assert (reply.misuse, reply.failure, reply.truncated) == ("", "", "")
    assert reply.columns
    assert reply.rows


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM invocations",
        "INSERT INTO invocations (status) VALUES ('success')",
        "CREATE TABLE mine (a)",
        "PRAGMA user_version = 7",
        "PRAGMA journal_mode = DELETE",
        "ATTACH ':memory:' AS other",
        "SELECT load_extension('x')",
        "VACUUM",
    ],
)
def test_what_does_more_is_refused(ask: Ask, statement: str) -> None:
    """By the statement, not by the file."""
    reply = ask(statement)
    assert (reply.columns, reply.rows, reply.failure) == ([], [], "")
    assert reply.misuse


def test_what_cuts_an_answer(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows, bytes, and time; a single row that is too large is no answer."""
    statement = "SELECT agent_name FROM invocations ORDER BY id"
    assert ask(statement, limit=2) == Reply(["agent_name"], [("agent-0",), ("agent-1",)], truncated="rows")
    monkeypatch.setattr(user_statement, "MOST_ANSWER_BYTES", 2 * (user_statement._VALUE_BYTES + 7))
    assert ask(statement).truncated == "bytes"
    assert "a row takes more than" in ask("SELECT printf('%.200c', 'x')").failure
    endless = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n"
    assert "took more than 0.01 s" in ask(endless, timeout=0.01).failure


def test_who_is_blamed(ask: Ask, tmp_path: Path) -> None:
    """A name that is not there is the statement's fault, a file that cannot be read is its own."""
    assert "did you mean agent_name?" in ask("SELECT agent_nam FROM invocations").misuse
    assert "tables: " in ask("SELECT 1 FROM calls").misuse
    assert ask("SELECT 1 FROM").misuse
    text = tmp_path / "notes.db"
    text.write_text("no database " * 1000)
    assert reply_to(Request(str(text), "SELECT 1", 1, 1.0)).failure
    missing = reply_to(Request(str(tmp_path / "missing.db"), "SELECT 1", 1, 1.0))
    assert (missing.misuse, bool(missing.failure)) == ("", True)
