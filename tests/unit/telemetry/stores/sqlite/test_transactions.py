"""A block is in the file whole or not at all, and what went wrong is what is raised."""

import ast
import gc
import sqlite3
from pathlib import Path

import pytest

import llm_service
from llm_service.telemetry.stores.sqlite.transactions import roll_back, snapshot, transaction

SOURCES = Path(llm_service.__file__).parent


@pytest.fixture
def connection() -> sqlite3.Connection:
    """One table, no transaction."""
    opened = sqlite3.connect(":memory:", isolation_level=None)
    opened.execute("CREATE TABLE t (x)")
    return opened


def test_a_block_that_ends_is_committed(connection: sqlite3.Connection) -> None:
    """And nothing is forgotten."""
    forgotten: list[int] = []
    with transaction(connection, lambda: forgotten.append(1)):
        connection.execute("INSERT INTO t VALUES (1)")
    assert not connection.in_transaction
    assert (connection.execute("SELECT x FROM t").fetchall(), forgotten) == ([(1,)], [])
    connection.close()


@pytest.mark.parametrize("error", [ValueError("the cause"), KeyboardInterrupt("the cause")])
def test_a_block_that_raises_leaves_nothing(connection: sqlite3.Connection, error: BaseException) -> None:
    """Whatever it raises passes on, and what was remembered of it is forgotten."""
    forgotten: list[int] = []

    def block() -> None:
        with transaction(connection, lambda: forgotten.append(1)):
            connection.execute("INSERT INTO t VALUES (1)")
            raise error

    with pytest.raises(type(error), match="the cause"):
        block()
    assert not connection.in_transaction
    assert (connection.execute("SELECT x FROM t").fetchall(), forgotten) == ([], [1])
    connection.close()


def test_what_rolled_back_by_itself_does_not_hide_the_cause(connection: sqlite3.Connection) -> None:
    """As a full disk does."""

    def block() -> None:
        with transaction(connection):
            connection.execute("ROLLBACK")
            raise sqlite3.OperationalError("database or disk is full")

    with pytest.raises(sqlite3.OperationalError, match="disk is full"):
        block()
    roll_back(connection)
    connection.close()


def test_nobody_else_begins_to_write() -> None:
    """Salvage alone has its own: it fills a file that nobody has yet, part by part."""
    found = {
        path.stem
        for path in SOURCES.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Constant) and node.value == "BEGIN IMMEDIATE"
    }
    assert found == {"transactions", "batch_writer", "salvage"}


def test_a_snapshot_that_is_given_up_after_its_connection_is_silent() -> None:
    """As by a signal that comes just as its block ends."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    block = snapshot(connection)
    block.__enter__()
    connection.close()
    del block
    gc.collect()  # what is raised in a generator that is collected is a warning, and warnings are errors
