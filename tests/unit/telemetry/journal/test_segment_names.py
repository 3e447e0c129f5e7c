"""Segments are found by their names, beside their database, and nothing else is."""

from pathlib import Path
from uuid import UUID, uuid4

from llm_service.telemetry.journal.segment_names import find, is_complete, made_name, segment_name, writers

OWN = (
    "2026-11-30", "abc", "dead-beef", "notes", "backed", "a" * 32, "0d523cae-1d87-4dad-941f-c0f5f629fa3",
    "0D523CAE-1D87-4DAD-941F-C0F5F629FA3C",
    "0d523cae-1d87-4dad-941f-c0f5f629fa3c\n", "0d523cae1d874dad941fc0f5f629fa3c0000",
)  # fmt: skip
"""What people call files of their own."""


def test_segments_are_found_and_nothing_else(tmp_path: Path) -> None:
    """Neither SQLite's own files nor another database's segments."""
    db = tmp_path / "t.db"
    mine = segment_name(db, str(UUID(int=7)))
    for name in (
        mine,
        made_name(mine),
        "t.db",
        "t.db-wal",
        "t.db-journal",
        "t.db-journal-",
        "t.db-journal-X!",
        f"u.db-journal-{UUID(int=7)}",
        *(f"t.db-journal-{own}{ending}" for own in OWN for ending in ("", ".new")),
    ):
        (tmp_path / name).touch()
    found = find(db)
    assert [path.name for path in found] == [mine, made_name(mine)]
    assert [is_complete(path) for path in found] == [True, False]


def test_a_segment_is_never_called_what_sqlite_would_roll_back(tmp_path: Path) -> None:
    """`<database>-journal` is SQLite's own."""
    assert segment_name(tmp_path / "t.db", "a") != "t.db-journal"


def test_a_folder_that_is_not_there_holds_none(tmp_path: Path) -> None:
    """The database is about to be made."""
    assert find(tmp_path / "missing" / "t.db") == []


def test_every_writers_segment_is_found(tmp_path: Path) -> None:
    """As writers are named."""
    db, names = tmp_path / "t.db", {str(uuid4()) for _ in range(50)}
    for name in names:
        (tmp_path / segment_name(db, name)).touch()
    assert writers(db) == names
