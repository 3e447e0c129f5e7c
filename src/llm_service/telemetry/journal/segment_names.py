"""Names of segments: in the database's folder, so that everything of a database is in one place.

SQLite's own rollback journal is exactly `<database>-journal`; SQLite ignores longer names.
"""

import os
import re
from pathlib import Path
from typing import Final

__all__ = ["find", "is_complete", "made_name", "segment_name", "writers"]

_INFIX: Final = "-journal-"
_MADE: Final = ".new"
_ENDING: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}(\.new)?", re.ASCII)
"""A writer's id is a UUID. Shorter names, such as dates, are files of the user."""


def segment_name(db_path: Path, writer_id: str) -> str:
    """The file name of a writer's segment."""
    return f"{db_path.name}{_INFIX}{writer_id}"


def made_name(name: str) -> str:
    """The temporary name until the segment is complete."""
    return name + _MADE


def find(db_path: Path) -> list[Path]:
    """All segments of this database, complete or not, of living and dead processes; oldest name first."""
    start = f"{db_path.name}{_INFIX}"
    try:
        names = [entry.name for entry in os.scandir(db_path.parent) if entry.name.startswith(start)]
    except FileNotFoundError:
        return []
    return [db_path.parent / name for name in sorted(names) if _ENDING.fullmatch(name[len(start) :])]


def writers(db_path: Path) -> set[str]:
    """The ids of all writers with a segment of this database, living or dead."""
    start = len(f"{db_path.name}{_INFIX}")
    return {path.name[start:].removesuffix(_MADE) for path in find(db_path)}


def is_complete(path: Path) -> bool:
    """Whether the segment has its final name."""
    return not path.name.endswith(_MADE)
