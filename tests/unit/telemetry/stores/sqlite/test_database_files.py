"""Whether the files of a connection are still its own, and how they are put out of the way."""

import errno
import fcntl
import os
import sqlite3
from datetime import UTC, datetime
from pathlib import Path

import pytest

from llm_service.telemetry.stores.sqlite import database_files
from llm_service.telemetry.stores.sqlite.database_files import Files, OwnConnection, set_aside
from llm_service.telemetry.stores.sqlite.opening import open_for_writing


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the database is."""
    return tmp_path / "telemetry.db"


def test_a_file_that_was_replaced_while_it_was_opened_is_not_used(path: Path) -> None:
    """What was opened is not what stands there."""
    open_for_writing(path, 0).close()
    connection = sqlite3.connect(path, factory=OwnConnection)
    with pytest.raises(OSError, match="replaced while it was open") as caught:
        connection.own(path, (0, 0))
    assert caught.value.errno == errno.ESTALE
    connection.close()  # does nothing any more
    connection.leave()


def test_a_connection_without_files_of_its_own_is_an_ordinary_one() -> None:
    """In memory, say: there is nothing to look at, and a close closes."""
    connection = sqlite3.connect(":memory:", factory=OwnConnection)
    connection.check()
    connection.close()
    with pytest.raises(sqlite3.ProgrammingError):
        connection.execute("SELECT 1")


def test_a_second_file_of_one_moment_gets_a_name_of_its_own(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock may stand still, or go back: what was set aside before is never written over."""
    moments = [datetime(2026, 11, 23, 1, tzinfo=UTC)] * 2 + [datetime(2026, 11, 23, 2, tzinfo=UTC)]

    class Clock:
        @staticmethod
        def now(_zone: object) -> datetime:
            return moments.pop(0)

    monkeypatch.setattr(database_files, "datetime", Clock)
    for content in ("first", "second"):
        path.write_text(content)
        target = set_aside(path, Files.at(path))
        assert target is not None
        assert target.read_text() == content
    assert len(list(path.parent.glob("*.corrupt-*"))) == 2


def test_only_what_was_seen_to_be_bad_is_moved(path: Path) -> None:
    """Another process was faster: its new file stays, with its -wal; nothing at all is nothing to move."""
    assert set_aside(path, Files.at(path)) is None
    path.write_text("bad")
    seen = Files.at(path)
    moved = set_aside(path, seen)
    assert moved is not None
    assert moved.read_text() == "bad"
    connection = open_for_writing(path, 0)
    assert set_aside(path, seen) is None
    connection.check()
    connection.close()


def test_who_moves_files_waits_for_the_lock_of_the_folder(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For a bounded time; then the caller tries again later."""
    monkeypatch.setattr(database_files, "_LOCK_WAITS", 0.02)
    path.write_text("bad")
    descriptor = os.open(path.parent, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    with pytest.raises(BlockingIOError):
        set_aside(path, Files.at(path))
    os.close(descriptor)
    assert set_aside(path, Files.at(path)) is not None


def test_what_is_no_regular_file_is_never_moved(path: Path) -> None:
    """A folder, a device: somebody else's affair."""
    path.mkdir()
    assert set_aside(path, Files.at(path)) is None


def test_a_rollback_journal_goes_with_its_database(path: Path) -> None:
    """Without it, half of a transaction could not be undone; beside another database it stays."""
    journal = path.with_name(f"{path.name}-journal")
    path.write_bytes(b"old")
    journal.write_bytes(b"its journal")
    seen = Files.at(path)
    target = set_aside(path, seen)
    assert target is not None
    assert target.with_name(f"{target.name}-journal").read_bytes() == b"its journal"
    path.write_bytes(b"new")
    journal.write_bytes(b"that of the new one")
    assert set_aside(path, seen) is None
    assert journal.exists()
