"""Segments are found by their names, beside their database, and nothing else is."""

from pathlib import Path

from llm_service.telemetry.journal.segment_names import find, is_complete, made_name, segment_name


def test_segments_are_found_and_nothing_else(tmp_path: Path) -> None:
    """Neither SQLite's own files nor another database's segments."""
    db = tmp_path / "t.db"
    mine = segment_name(db, "0d523cae-1d87")
    for name in (
        mine,
        made_name(mine),
        "t.db",
        "t.db-wal",
        "t.db-journal",
        "t.db-journal-",
        "t.db-journal-X!",
        "u.db-journal-a",
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
