"""No command that makes a file puts it where the database is, or where SQLite or a logger takes it for its own."""

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import Result
from tests.slices import quick

from llm_service.telemetry import InvocationRecord, TelemetryLogger
from llm_service.telemetry.maintenance import destinations
from llm_service.telemetry.stores.sqlite.file_security import SIDE_FILES

Run = Callable[..., Result]
MAKERS = {
    "backup": lambda path: ("backup", path),
    "salvage": lambda path: ("doctor", "--salvage", path),
    "export": lambda path: ("export", "-o", path),
}
SUFFIXES = ("", *SIDE_FILES, "-journal-0a1b")


@pytest.mark.parametrize("suffix", quick(SUFFIXES, every=3))
@pytest.mark.parametrize("form", ["plain", "symlink", "relative"])
@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("maker", MAKERS)
def test_a_new_file_never_takes_a_name_of_the_database(
    maker: str, suffix: str, form: str, *, force: bool, run: Run, database: Path, tmp_path: Path
) -> None:
    """By whatever path it is named; the database stays as it was, and nothing appears beside it."""
    target = Path(f"{database}{suffix}")
    if form == "symlink":
        (tmp_path / "link").symlink_to(target)
        target = tmp_path / "link"
    elif form == "relative":
        target = Path(os.path.relpath(target))
    before, beside = database.read_bytes(), set(tmp_path.iterdir())
    result = run(*MAKERS[maker](target), "--db", database, *(["--force"] if force else []))
    assert result.exit_code, result.stdout
    assert result.stderr.count("\n") == 1
    assert "another" in result.stderr
    assert (database.read_bytes(), set(tmp_path.iterdir())) == (before, beside)


@pytest.mark.parametrize("maker", MAKERS)
def test_a_second_name_of_the_database_is_the_database(maker: str, run: Run, database: Path, tmp_path: Path) -> None:
    """A hard link has another path and the same inode."""
    second = tmp_path / "second"
    os.link(database, second)
    result = run(*MAKERS[maker](second), "--db", database, "--force")
    assert result.exit_code
    assert second.samefile(database)


@pytest.mark.parametrize("maker", MAKERS)
@pytest.mark.parametrize("suffix", SIDE_FILES)
def test_a_side_name_of_another_database_is_no_target(
    maker: str, suffix: str, run: Run, database: Path, tmp_path: Path
) -> None:
    """Who opens that one next would delete the file."""
    other = tmp_path / "other.db"
    TelemetryLogger(other).close()
    result = run(*MAKERS[maker](f"{other}{suffix}"), "--db", database)
    assert result.exit_code
    assert not Path(f"{other}{suffix}").exists()


def _application(path: Path, mode: str) -> sqlite3.Connection:
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA journal_mode = {mode}")
    connection.execute("CREATE TABLE users (name)")
    connection.commit()
    return connection


@pytest.mark.parametrize("maker", MAKERS)
@pytest.mark.parametrize("kind", ["closed", "idle", "reading", "wal", "hard link", "symlink"])
def test_force_never_replaces_another_applications_database(
    maker: str, kind: str, run: Run, database: Path, tmp_path: Path
) -> None:
    """Closed or open, by whatever name."""
    path = target = tmp_path / "app.db"
    with closing(_application(path, "WAL" if kind == "wal" else "DELETE")) as connection:
        if kind == "closed":
            connection.close()
        elif kind == "reading":
            connection.execute("BEGIN")
            connection.execute("SELECT * FROM users").fetchall()
        elif kind == "hard link":
            os.link(path, target := tmp_path / "second.db")
        elif kind == "symlink":
            (target := tmp_path / "link.db").symlink_to(path)
        before, beside = path.read_bytes(), set(tmp_path.iterdir())
        result = run(*MAKERS[maker](target), "--db", database, "--force")
        assert result.exit_code == 1
        assert "give another" in result.stderr
        assert (path.read_bytes(), set(tmp_path.iterdir())) == (before, beside)


@pytest.mark.parametrize("maker", MAKERS)
@pytest.mark.parametrize("kind", ["open", "second name", "closed", "damaged"])
def test_force_replaces_a_closed_database_of_telemetry_by_another_alone(
    maker: str, kind: str, run: Run, database: Path, tmp_path: Path
) -> None:
    """An older backup, that is; no export takes its place, and nothing takes that of one in use."""
    path = target = tmp_path / "other.db"
    with TelemetryLogger(path) as logger:
        logger.log_invocation_nowait(InvocationRecord())
        logger.flush()
        if kind in {"closed", "damaged"}:
            logger.close()
        if kind == "damaged":
            with path.open("r+b") as file:
                file.write(b"no header")
        elif kind == "second name":  # no -wal is beside this one
            os.link(path, target := tmp_path / "second.db")
        inode = target.stat().st_ino
        result = run(*MAKERS[maker](target), "--db", database, "--force")
        replaced = target.stat().st_ino != inode
    assert replaced == (kind in {"closed", "damaged"} and maker != "export"), result.stderr
    assert result.exit_code == (0 if replaced else 1)


@pytest.mark.parametrize("maker", MAKERS)
def test_force_replaces_what_is_no_database(maker: str, run: Run, database: Path, tmp_path: Path) -> None:
    """A text of whatever length."""
    for text in ("", "a", "SQLite format", "x" * 10_000):
        target = tmp_path / "target"
        target.write_text(text)
        assert run(*MAKERS[maker](target), "--db", database, "--force").exit_code == 0
        target.unlink()


@pytest.mark.parametrize("maker", MAKERS)
def test_what_cannot_be_looked_at_is_not_replaced(
    maker: str, run: Run, database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It might be a database."""
    target = tmp_path / "target"
    target.write_text("kept")
    for look, said in (("import sys; sys.exit('it is secret')", "it is secret"), ("while True: pass", "in 0.5 s")):
        monkeypatch.setattr(destinations, "_LOOK", look)
        monkeypatch.setattr(destinations, "_SECONDS", 0.5)
        result = run(*MAKERS[maker](target), "--db", database, "--force")
        assert (result.exit_code, target.read_text()) == (1, "kept")
        assert said in result.stderr


@pytest.mark.parametrize("maker", MAKERS)
@pytest.mark.parametrize("name", ["nodir/x", "file/x", "x" * 240])
def test_what_is_wrong_with_a_target_is_said_in_words(
    maker: str, name: str, run: Run, database: Path, tmp_path: Path
) -> None:
    """Not by a number of the system's, and not of a temporary file."""
    (tmp_path / "file").touch()
    result = run(*MAKERS[maker](tmp_path / name), "--db", database)
    assert result.exit_code == 1
    assert "is no folder; give" in result.stderr or "cannot be made: File name too long" in result.stderr
    assert "Errno" not in result.stderr
