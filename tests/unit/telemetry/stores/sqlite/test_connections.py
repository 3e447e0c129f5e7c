"""Every connection of the process is known, and a fork holds new ones off until those of other threads are closed."""

import gc
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from llm_service.telemetry.stores.sqlite import connections
from llm_service.telemetry.stores.sqlite.connections import connect, go_on, hold_off, read_only_uri


@pytest.fixture(scope="module", autouse=True)
def none_left() -> None:
    """What other modules' tests have left to the collector is gone, whenever it became garbage."""
    gc.unfreeze()
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def none_open() -> Iterator[None]:
    """What other tests have left to the collector is gone; a fork that a failed test began is not under way for ever."""
    gc.collect()
    yield
    left = list(connections.FORKING)
    connections.FORKING.clear()
    assert not left


def test_a_connection_counts_until_it_is_closed_or_collected(tmp_path: Path) -> None:
    """One that could not be made never does."""
    before = dict(connections.OPEN)
    one = connect(tmp_path / "a.db")
    assert set(connections.OPEN) - set(before) == {id(one)}
    one.close()
    assert before == connections.OPEN
    with pytest.raises(sqlite3.OperationalError):
        connect(tmp_path / "missing" / "a.db")
    assert before == connections.OPEN


def test_a_fork_waits_for_the_connections_of_other_threads_only(tmp_path: Path) -> None:
    """For its own it would wait for ever; and for one that stays open it does not wait for ever either."""
    assert hold_off(5)
    go_on()
    opened, leave = threading.Event(), threading.Event()

    def read() -> None:
        connection = connect(tmp_path / "a.db")
        opened.set()
        leave.wait()
        connect(":memory:").close()  # who has one open already may open more
        connection.close()

    thread = threading.Thread(target=read)
    thread.start()
    opened.wait()
    assert not hold_off(0.01)
    go_on()
    leave.set()
    assert hold_off(30)
    go_on()
    thread.join()
    own = connect(":memory:")
    assert not hold_off(30)
    go_on()
    own.close()


def test_nobody_connects_while_a_fork_is_under_way_but_the_thread_that_forks(tmp_path: Path) -> None:
    """Others wait until it is over."""
    assert hold_off(5)
    order: list[str] = []
    asked = threading.Event()

    def open_one() -> None:
        asked.set()
        connect(tmp_path / "a.db").close()
        order.append("connected")

    thread = threading.Thread(target=open_one)
    thread.start()
    asked.wait()
    connect(":memory:").close()
    order.append("over")
    go_on()
    go_on()  # as an interrupted hook does
    thread.join()
    assert order == ["over", "connected"]


@pytest.mark.parametrize("name", ["a b.db", "a?mode=rwc&x=#%41.db", "ü\u6a21.db", "a;b'\"\\.db"])
def test_a_uri_names_the_file_whatever_its_name(name: str, tmp_path: Path) -> None:
    """As `Path.as_uri` does, without an import."""
    path = tmp_path / name
    sqlite3.connect(path).execute("CREATE TABLE t (x)").connection.close()
    assert read_only_uri(path) == f"{path.as_uri()}?mode=ro"
    connection = connect(read_only_uri(path))
    try:
        assert connection.execute("SELECT count(*) FROM t").fetchone() == (0,)
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            connection.execute("INSERT INTO t VALUES (1)")
    finally:
        connection.close()
