"""No command that makes a file puts it where the database is, or where SQLite or a logger takes it for its own."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from llm_service.telemetry import TelemetryLogger
from llm_service.telemetry.stores.sqlite.file_security import SIDE_FILES

Run = Callable[..., Result]
MAKERS = {
    "backup": lambda path: ("backup", path),
    "salvage": lambda path: ("doctor", "--salvage", path),
    "export": lambda path: ("export", "-o", path),
}
SUFFIXES = ("", *SIDE_FILES, "-journal-0a1b")


@pytest.mark.parametrize("suffix", SUFFIXES)
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
