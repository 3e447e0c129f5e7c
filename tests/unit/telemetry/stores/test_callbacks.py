"""What ends a function of ours within SQLite reaches who runs the statement, and is no fault of the file."""

import ast
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from tests.slices import quick

import llm_service
from llm_service.telemetry.maintenance.check_session import OutOfTimeError, time_limit
from llm_service.telemetry.maintenance.daily_totals import add_bucket_function
from llm_service.telemetry.stores.sqlite import odd_values
from llm_service.telemetry.stores.sqlite.connections import TrackedConnection, connect
from llm_service.telemetry.stores.sqlite.sql_callbacks import add_function, add_sum, interrupt_when

SOURCES = Path(llm_service.__file__).parent
MANY = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {}) "
ENDS = [KeyboardInterrupt, SystemExit, RecursionError]


@pytest.fixture
def connection() -> Iterator[TrackedConnection]:
    """One of ours, in memory."""
    with closing(connect(":memory:")) as opened:
        yield opened


class _Sum:
    """A sum that fails at 50."""

    fault: type[BaseException] = KeyboardInterrupt

    def __init__(self) -> None:
        self.sum = 0

    def step(self, value: int) -> None:
        self.sum += value
        if value == 50:
            raise self.fault

    def finalize(self) -> int:
        return self.sum


def _function(connection: TrackedConnection, fault: type[BaseException]) -> str:
    def once(value: int) -> int:
        if value == 50:
            raise fault
        return value

    add_function(connection, "once", once)
    return MANY.format(100) + "SELECT once(i) FROM n"


def _sum(connection: TrackedConnection, fault: type[BaseException]) -> str:
    add_sum(connection, "summed", type("_Sum", (_Sum,), {"fault": fault}))
    return MANY.format(100) + "SELECT summed(i) FROM n"


def _made(connection: TrackedConnection, fault: type[BaseException]) -> str:
    def made() -> None:
        raise fault

    add_sum(connection, "summed", made)
    return MANY.format(100) + "SELECT summed(i) FROM n"


def _progress(connection: TrackedConnection, fault: type[BaseException]) -> str:
    def is_over() -> bool:
        raise fault

    interrupt_when(connection, is_over, 100)
    return MANY.format(10_000) + "SELECT max(i) FROM n"


WAYS: list[Callable[[sqlite3.Cursor], Any]] = [
    lambda cursor: cursor.fetchall(), list, lambda cursor: cursor.fetchmany(1000), lambda cursor: [cursor.fetchone() for _ in range(60)]
]  # fmt: skip


@pytest.mark.parametrize("fault", ENDS)
@pytest.mark.parametrize("kind", [_function, _sum, _made, _progress])
@pytest.mark.parametrize("way", WAYS)
def test_what_ends_a_function_is_raised_as_it_is_and_the_connection_goes_on(
    connection: TrackedConnection, kind: Callable[..., str], fault: type[BaseException], way: Callable[..., Any]
) -> None:
    """An error of its own stays what sqlite3 makes of it, with its cause."""
    sql = kind(connection, fault)
    expected = sqlite3.OperationalError if issubclass(fault, Exception) else fault
    with pytest.raises(expected) as caught:
        way(connection.execute(sql))
    if issubclass(fault, Exception):
        assert isinstance(caught.value.__cause__, fault)
    interrupt_when(connection, None, 0)
    assert connection.execute("SELECT 1").fetchall() == [(1,)]


def test_an_interrupt_is_raised_where_the_statement_ended_well(connection: TrackedConnection) -> None:
    """A single row gives SQLite no moment to look."""
    sql = _function(connection, KeyboardInterrupt)
    assert sql
    with pytest.raises(KeyboardInterrupt):
        connection.execute("SELECT once(50)").fetchall()
    assert connection.execute("SELECT once(49)").fetchone() == (49,)


def test_ctrl_c_within_a_time_limit_is_no_end_of_time(connection: TrackedConnection) -> None:
    """Nor is the end of time an interrupt."""
    with pytest.raises(OutOfTimeError), time_limit(connection, 0.0):
        connection.execute(MANY.format(10_000_000) + "SELECT max(i) FROM n").fetchall()
    assert connection.execute("SELECT 1").fetchone() == (1,)


@pytest.mark.slow
@pytest.mark.parametrize("named", quick(["telemetry_bucket", "exact_sum", "progress"], 0))
def test_a_real_signal_at_any_moment_is_an_interrupt(named: str) -> None:
    """Also before the first line of the function: two hundred times, in a process of its own."""
    program = f"""
import random, signal, sqlite3, sys
from time import monotonic
from llm_service.telemetry.stores.sqlite import odd_values
from llm_service.telemetry.stores.sqlite.connections import connect
from llm_service.telemetry.maintenance.check_session import time_limit
from llm_service.telemetry.maintenance.daily_totals import add_bucket_function
def end(*_): raise KeyboardInterrupt
signal.signal(signal.SIGALRM, end)
connection = connect(":memory:")
add_bucket_function(connection)
odd_values.add_sum(connection, "exact_sum", odd_values._ExactSum)
many = {MANY.format(2_000_000)!r}
sql = many + {"'SELECT max(i) FROM n'" if named == "progress" else f"'SELECT sum(x) FROM (SELECT {named}(i) AS x FROM n)'"}
seen = []
for turn in range(200):
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.001 + random.random() / 100)
        with time_limit(connection, monotonic() + 60):
            connection.execute(sql).fetchall()
        seen.append("ended")
    except KeyboardInterrupt: pass
    except BaseException as error: seen.append(repr(error))
print(seen); sys.exit(bool(seen))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr


def test_a_foreign_connection_gets_the_functions_too(connection: TrackedConnection) -> None:
    """It raises what sqlite3 makes of it."""
    with closing(sqlite3.connect(":memory:")) as other:
        add_bucket_function(other)
        assert other.execute("SELECT telemetry_bucket(1024)").fetchone() == (160,)
    add_bucket_function(connection)
    assert connection.execute("SELECT telemetry_bucket(1024)").fetchone() == (160,)
    assert odd_values.rows_of(connection, f"SELECT sum(i) FROM (SELECT {1 << 62} AS i UNION ALL SELECT {1 << 62})")


def test_no_function_is_given_to_sqlite_in_another_way() -> None:
    """Over the sources: each of the ways that runs our code within a statement and loses what it raises."""
    ways = {
        "create_function", "create_aggregate", "create_window_function", "create_collation", "set_progress_handler",
        "set_trace_callback",
    }  # fmt: skip
    used = {
        (file.name, node.attr)
        for file in SOURCES.rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text("utf-8")))
        if isinstance(node, ast.Attribute) and node.attr in ways
    }
    assert {name for name, _ in used} == {"sql_callbacks.py"}
