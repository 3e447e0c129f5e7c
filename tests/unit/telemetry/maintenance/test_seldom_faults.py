"""What maintenance says where a step fails, is locked out, or takes too long."""

import sqlite3
import sys
import zlib
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from time import monotonic
from types import SimpleNamespace
from typing import Any

import pytest

from llm_service.errors import StoreError
from llm_service.telemetry import InvocationRecord, TelemetryLogger
from llm_service.telemetry.maintenance import budget_checks, cell_values, repair, word_index
from llm_service.telemetry.stores.sqlite import file_identity, search_index

ENDLESS = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n"


@pytest.fixture
def indexed(tmp_path: Path) -> Path:
    """A file with an index for search."""
    path = tmp_path / "telemetry.db"
    with TelemetryLogger(path, privacy_level="full", search=True) as logger:
        logger.log_invocation(InvocationRecord(prompt="Why?"))
    return path


def test_an_index_that_cannot_be_checked(indexed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For lack of time, by its own fault, or by another, which is raised; nor can it be removed then."""

    def asked(check: Callable[..., Any], *deadline: float) -> Any:
        with closing(sqlite3.connect(indexed, isolation_level=None)) as connection:
            return check(connection, *deadline)

    later = monotonic() + 60
    assert asked(word_index.check_index, later).exit_code == 0
    assert asked(word_index.is_wrong) is None
    with monkeypatch.context() as patched:
        patched.setattr(word_index, "_STRAY", ENDLESS)
        assert asked(word_index.check_index, monotonic() + 0.01).name == "not_checked"
        patched.setattr(word_index, "_STRAY", "SELECT nothing")
        assert "cannot be read to its end" in asked(word_index.check_index, later).seen
        assert "cannot be read to its end" in asked(word_index.is_wrong)
        patched.setattr(search_index, "is_fault", lambda _: False)
        with pytest.raises(sqlite3.OperationalError):
            asked(word_index.check_index, later)
        with pytest.raises(sqlite3.OperationalError):
            asked(word_index.is_wrong)

    def fails(_connection: Any) -> bool:
        raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr(search_index, "drop", fails)
    with pytest.raises(StoreError, match="could not be removed: disk I/O error"):
        word_index.remove(indexed)


def test_an_index_without_fts5_is_emptied_as_well_as_it_can_be(indexed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a purge takes calls out; and a fault of the program within a write is its own."""
    with closing(sqlite3.connect(indexed, isolation_level=None)) as connection:
        monkeypatch.setattr(search_index, "has_fts5", lambda _: False)
        search_index.remove(connection, "SELECT id FROM invocations", [])
        assert connection.execute("SELECT count(*) FROM invocation_words_docsize").fetchone() == (0,)
        connection.execute("BEGIN")
        with pytest.raises(ZeroDivisionError), search_index._Faults(connection):
            raise ZeroDivisionError
        connection.execute("ROLLBACK")
        search_index.drop(connection)
        search_index.remove(connection, "SELECT id FROM invocations", [])


def test_a_packed_text(monkeypatch: pytest.MonkeyPatch) -> None:
    """Is one, or is damaged; and without a process nobody looks at bytes."""
    assert cell_values._unpacks(zlib.compress(b"text"))
    assert not cell_values._unpacks(b"text")
    assert not cell_values._unpacks(zlib.compress(b"\xff"))
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    assert not file_identity.bears_our_id(Path("t.db"))


def locked(code: int) -> sqlite3.OperationalError:
    """As SQLite reports it."""
    error = sqlite3.OperationalError("database is locked")
    error.sqlite_errorcode = code
    return error


def test_a_step_of_a_repair(monkeypatch: pytest.MonkeyPatch) -> None:
    """Is tried again where another has the file; any other error is raised."""
    monkeypatch.setattr(repair, "_PAUSE", 0.0)
    answers: list[Any] = [0.5, None, locked(sqlite3.SQLITE_BUSY), locked(sqlite3.SQLITE_IOERR)]

    def step(*_given: Any) -> float | None:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    steps: Any = SimpleNamespace(step=step)
    with closing(sqlite3.connect(":memory:")) as connection:
        assert [repair._step(steps, connection) for _ in range(3)] == [0.5, None, 0.0]
        with pytest.raises(sqlite3.OperationalError):
            repair._step(steps, connection)


def test_older_records_that_another_process_counts(indexed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Are waited for, and left to it after a while."""
    with closing(sqlite3.connect(indexed, isolation_level=None)) as connection:
        connection.execute("UPDATE rollup_progress SET complete_since = NULL")
        monkeypatch.setattr(repair, "_PAUSE", 0.001)
        monkeypatch.setattr(repair, "LEASE", 0)
        monkeypatch.setattr(repair, "_PATIENCE", 0.01)
        monkeypatch.setattr(repair, "Backfill", lambda: SimpleNamespace(step=lambda *_: 1.0))
        (action,) = repair._backfill(connection)
    assert not action.done
    assert "another process is counting" in action.what


def test_a_moment_that_is_none_is_in_no_window() -> None:
    """Of a counter's walk through records."""
    counter: Any = SimpleNamespace(span=lambda _: pytest.fail("no window is asked for"))
    assert not budget_checks._Walk(counter).go_to("soon")
