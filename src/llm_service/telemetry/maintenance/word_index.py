"""The index for search: made at once, removed, checked, and made anew where it is wrong."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from time import sleep
from typing import Final

from llm_service.errors import StoreError
from llm_service.telemetry.maintenance.check_session import OutOfTimeError, open_to_change, time_limit
from llm_service.telemetry.maintenance.findings import Finding, found, healthy
from llm_service.telemetry.stores.sqlite import search_index
from llm_service.telemetry.stores.sqlite.search_index import TABLE
from llm_service.telemetry.stores.sqlite.transactions import transaction

__all__ = ["build", "check_index", "fill", "is_wrong", "rebuild", "remove"]

_ROWS: Final = 100
"""Contents of one transaction: about 30 ms of work, of which the write lock is held for half."""
_MOST_BEGINNINGS: Final = 3
"""Times that an index may be emptied, by a fault, while it is made."""
_PAUSE: Final = 0.001
"""Seconds in which others may take the lock."""

# Reading a table of FTS5's, or all words, changes nothing; its own `integrity-check` wants to write.
_STRAY: Final = f"""
SELECT count(*) FROM {TABLE}_docsize WHERE id NOT IN (SELECT id FROM invocation_contents)
"""  # noqa: S608 - a name of our own
_MISSING: Final = f"""
SELECT count(*) FROM invocation_contents WHERE id NOT IN (SELECT id FROM {TABLE}_docsize)
    AND id > (SELECT min(id) FROM {TABLE}_docsize)
"""  # noqa: S608 - as above
_REST: Final = f"""
SELECT count(*) FROM invocation_contents
WHERE id < coalesce((SELECT min(id) FROM {TABLE}_docsize), (SELECT max(id) + 1 FROM invocation_contents))
"""  # noqa: S608 - as above
_ENTRIES: Final = f"SELECT count(*) FROM {TABLE}_docsize"  # noqa: S608 - as above
"""Reads each page of that table: where one is damaged, it is the index that is, and not what else a statement reads."""
_VOCABULARY: Final = f"CREATE VIRTUAL TABLE IF NOT EXISTS temp.all_words USING fts5vocab('main', '{TABLE}', 'row')"
_INTEGRITY: Final = f"INSERT INTO {TABLE} ({TABLE}) VALUES ('integrity-check')"  # noqa: S608 - as above


def build(path: Path, on_progress: Callable[[int], object] = lambda _: None) -> int:
    """Make the index of a file, where it has none, and add all contents that it lacks, while writers go on.

    Interrupted, it goes on where it was.

    Args:
        on_progress: told how many of 100 parts are done.

    Returns:
        How many contents were added.

    Raises:
        StoreError: this SQLite has no FTS5, or the file cannot be written; what was done stays done.
    """
    try:
        with closing(open_to_change(path)) as connection:
            if not search_index.has_fts5(connection):
                raise StoreError("this SQLite was built without FTS5: no index can be made; search works without", path)
            search_index.make(connection)
            return fill(connection, on_progress)
    except sqlite3.Error as error:
        raise StoreError(f"{path} could not be indexed: {error}; run: llm-telemetry doctor", path) from error


def fill(connection: sqlite3.Connection, on_progress: Callable[[int], object] = lambda _: None) -> int:
    """Add all contents that the index lacks; how many.

    Raises:
        sqlite3.DatabaseError: each time it has to begin anew: the contents are damaged.
    """
    (rest,) = connection.execute(_REST).fetchone()
    added = begun = 0
    while search_index.is_there(connection) and not search_index.is_complete(connection):
        first = search_index.first_of(connection)
        added += search_index.extend(connection, _ROWS)
        begun += search_index.first_of(connection) >= first
        if begun > _MOST_BEGINNINGS:
            raise sqlite3.DatabaseError("the contents are damaged, so that no index can be made; see doctor --salvage")
        on_progress(min(100, 100 * added // max(1, rest)))
        sleep(_PAUSE)
    return added


def remove(path: Path) -> bool:
    """Remove the index; False where there was none. Raises StoreError: the file cannot be written."""
    try:
        with closing(open_to_change(path)) as connection:
            return search_index.drop(connection)
    except sqlite3.Error as error:
        raise StoreError(f"the index of {path} could not be removed: {error}", path) from error


def check_index(connection: sqlite3.Connection, deadline: float) -> Finding:
    """Whether the index has an entry for each stored content, and can be read to its end."""
    if connection.execute(search_index.FIND_INDEX).fetchone() is None:
        unreadable = search_index.is_there(connection)
        return healthy("search", f"no index{' that this SQLite can read' * unreadable}: search reads the texts")
    try:
        with time_limit(connection, deadline):
            with search_index.of_index():
                connection.execute(_ENTRIES).fetchone()
                connection.execute(_VOCABULARY)
                words, places = connection.execute("SELECT count(*), sum(doc) FROM temp.all_words").fetchone()
            stray, missing, rest = (int(connection.execute(sql).fetchone()[0]) for sql in (_STRAY, _MISSING, _REST))
    except OutOfTimeError:
        return found("not_checked", "the index for search was not read to its end", "search")
    except sqlite3.DatabaseError as error:
        if not search_index.is_fault(error):
            raise
        return found("search_index", f"it cannot be read to its end: {error}")
    if stray or missing:
        seen = found("search_index", f"{missing:,} contents are not in it, and {stray:,} entries have none")
    elif rest:
        seen = found("search_incomplete", f"{rest:,} contents are not in it yet: search reads them")
    else:
        seen = healthy("search", f"{words:,} words in {places or 0:,} places: each content is in the index")
    return seen


def is_wrong(connection: sqlite3.Connection) -> str | None:
    """What is wrong with the index, in words; None where nothing is, or there is none. Takes the write lock."""
    if connection.execute(search_index.FIND_INDEX).fetchone() is None:
        return None
    try:
        with search_index.of_index():
            connection.execute(_ENTRIES).fetchone()
            with transaction(connection):
                connection.execute(_INTEGRITY)
        stray, missing = (int(connection.execute(sql).fetchone()[0]) for sql in (_STRAY, _MISSING))
    except sqlite3.DatabaseError as error:
        if not search_index.is_fault(error):
            raise
        return f"it cannot be read to its end ({error})"
    return f"{missing:,} contents were not in it, and {stray:,} entries had none" if stray or missing else None


def rebuild(connection: sqlite3.Connection) -> int:
    """Make the index anew from the contents; how many it has. Writers go on, and search reads what is not in it yet."""
    search_index.empty(connection)
    search_index.make(connection)
    return fill(connection)
