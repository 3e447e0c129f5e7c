"""A backup is whole and verified, or is not there."""

import os
import sqlite3
import stat
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from llm_service.errors import PlantedFileError, StoreError
from llm_service.telemetry.maintenance import atomic_file
from llm_service.telemetry.maintenance import backup as module
from llm_service.telemetry.maintenance.backup import backup
from llm_service.telemetry.maintenance.check_session import side_file


def listed(folder: Path) -> list[str]:
    """Names in a folder."""
    return [file.name for file in folder.iterdir()]


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """Where the backup goes."""
    folder = tmp_path / "backups"
    folder.mkdir(0o700)
    return folder / "copy.db"


def test_a_backup_holds_every_row_is_private_and_leaves_the_source_as_it_was(
    db: Path, copy: Path, names: Callable[..., Any]
) -> None:
    """Healthy, with nothing beside it; progress ends at the last page."""
    before = db.read_bytes()
    told: list[tuple[int, int]] = []
    report = backup(db, copy, on_progress=lambda *step: told.append(step))
    assert report.rows["invocations"] == 60
    assert report.bytes == copy.stat().st_size
    assert told[-1][0] == told[-1][1] > 0
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    assert names(copy) == {}
    assert listed(copy.parent) == ["copy.db"]
    assert db.read_bytes() == before
    assert sorted(listed(db.parent)) == ["backups", "telemetry.db"]


def test_what_only_the_wal_holds_is_in_the_backup(db: Path, copy: Path) -> None:
    """The snapshot is of the database, not of one file."""
    with closing(sqlite3.connect(db, isolation_level=None)) as writer:
        writer.execute("PRAGMA wal_autocheckpoint = 0")
        writer.execute("INSERT INTO dead_letters (quarantined_at, error, record) VALUES ('t', 'e', '{}')")
        assert backup(db, copy).rows["dead_letters"] == 1


def test_an_existing_file_is_kept_unless_it_is_to_be_replaced_and_is_not_in_use(db: Path, copy: Path) -> None:
    """A -wal beside it would be mixed into the new one."""
    copy.write_text("mine")
    with pytest.raises(StoreError, match="exists; give another name, or --force"):
        backup(db, copy)
    assert copy.read_text() == "mine"
    side_file(copy, "-wal").touch()
    with pytest.raises(StoreError, match="may be in use"):
        backup(db, copy, force=True)
    side_file(copy, "-wal").unlink()
    assert backup(db, copy, force=True).rows["invocations"] == 60


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a link to another user")
@pytest.mark.parametrize("force", [False, True])
def test_another_user_s_symlink_is_not_followed(force: bool, db: Path, copy: Path, tmp_path: Path) -> None:
    """Where it leads nothing is written."""
    precious = tmp_path / "precious"
    copy.symlink_to(precious)
    os.lchown(copy, 65534, 65534)
    with pytest.raises(PlantedFileError, match="symlink of user 65534: it is not followed"):
        backup(db, copy, force=force)
    assert not precious.exists()


def test_a_file_that_appears_meanwhile_is_not_replaced(copy: Path) -> None:
    """A link replaces nothing, whatever was there a moment ago."""
    with pytest.raises(StoreError, match="exists"), atomic_file.delivered(copy):
        copy.write_text("mine")
    with pytest.raises(StoreError, match="exists"):
        atomic_file._link(copy, copy)
    assert listed(copy.parent) == ["copy.db"]
    assert copy.read_text() == "mine"


@pytest.mark.parametrize("content", [None, "no database " * 1000])
def test_what_is_no_telemetry_database_is_not_backed_up(tmp_path: Path, copy: Path, content: str | None) -> None:
    """An error that says what is there instead."""
    source = tmp_path / "source.db"
    if content is not None:
        source.write_text(content)
    with pytest.raises(StoreError, match=r"there is no|cannot be backed up"):
        backup(source, copy)
    assert not copy.exists()


def test_a_damaged_source_gives_no_backup(db: Path, copy: Path, ask: Callable[..., Any]) -> None:
    """The copy has the damage, too, and is thrown away: whether a leaf or the table's root is damaged."""
    ((root,),) = ask("SELECT rootpage FROM sqlite_master WHERE name = 'idx_invocations_session'")
    with db.open("r+b") as file:
        file.seek((root - 1) * 4096 + 2000)
        file.write(b"\xff" * 2000)
    with pytest.raises(StoreError, match="damaged as its source is"):
        backup(db, copy)
    with db.open("r+b") as file:
        file.seek((root - 1) * 4096)
        file.write(b"\xff" * 4096)
    with pytest.raises(StoreError, match="damaged as its source is"):
        backup(db, copy)
    ((root,),) = ask("SELECT rootpage FROM sqlite_master WHERE name = 'receipts'")
    with db.open("r+b") as file:
        file.seek((root - 1) * 4096)
        file.write(b"\xff" * 4096)
    with pytest.raises(StoreError, match="was not backed up: database disk image is malformed"):
        backup(db, copy)
    assert listed(copy.parent) == []


def test_a_copy_with_other_rows_than_its_snapshot_is_thrown_away(
    db: Path, copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever made it so."""
    counts = iter([{"invocations": 60}, {"invocations": 59}])
    monkeypatch.setattr(module, "count_rows", lambda _: next(counts))
    with pytest.raises(StoreError, match="other rows than its snapshot"):
        backup(db, copy)
    assert listed(copy.parent) == []


def test_a_backup_gives_up_where_the_wal_grows_too_far(db: Path, copy: Path) -> None:
    """While it holds its snapshot the WAL cannot be reused; without a bound it could fill the disk."""
    with closing(sqlite3.connect(db, isolation_level=None)) as writer:
        writer.execute("SELECT count(*) FROM invocations").fetchone()  # the -wal is there now

        def write(*_: int) -> None:
            writer.execute("INSERT INTO dead_letters (quarantined_at, error, record) VALUES ('t', 'e', zeroblob(9999))")

        with pytest.raises(StoreError, match=r"gave up: the WAL .* grew by more than 4,096 bytes"):
            backup(db, copy, max_wal_growth=4096, on_progress=write)
    assert listed(copy.parent) == []


def test_room_and_folder_are_asked_for_before_the_work(db: Path, copy: Path) -> None:
    """Not when half of it is done."""
    with pytest.raises(StoreError, match="is no folder"):
        backup(db, copy.parent / "absent" / "copy.db")
    with pytest.raises(StoreError, match=r"bytes free, .* are needed"):
        atomic_file.require_room(copy.parent, 1 << 60)
