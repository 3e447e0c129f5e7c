"""How segments are called: beside the database, so that one folder holds all that belongs to it.

SQLite's own rollback journal would be `<database>-journal` exactly; nothing of its looks at longer names.
"""

import os
import re
from pathlib import Path
from typing import Final

__all__ = ["find", "is_complete", "made_name", "segment_name", "writers"]

_INFIX: Final = "-journal-"
_MADE: Final = ".new"
_ENDING: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}(\.new)?", re.ASCII)
"""A writer's id is a UUID. A shorter name is somebody's own: a date, a word of these letters."""


def segment_name(db_path: Path, writer_id: str) -> str:
    """The file name of a writer's segment."""
    return f"{db_path.name}{_INFIX}{writer_id}"


def made_name(name: str) -> str:
    """What it is called until it is complete."""
    return name + _MADE


def find(db_path: Path) -> list[Path]:
    """Every segment beside this database, complete or not, of living and dead processes; the oldest name first."""
    start = f"{db_path.name}{_INFIX}"
    try:
        names = [entry.name for entry in os.scandir(db_path.parent) if entry.name.startswith(start)]
    except FileNotFoundError:
        return []
    return [db_path.parent / name for name in sorted(names) if _ENDING.fullmatch(name[len(start) :])]


def writers(db_path: Path) -> set[str]:
    """The writers whose segments stand beside this database, living or dead."""
    start = len(f"{db_path.name}{_INFIX}")
    return {path.name[start:].removesuffix(_MADE) for path in find(db_path)}


def is_complete(path: Path) -> bool:
    """Whether its writer has given it its final name."""
    return not path.name.endswith(_MADE)
