"""The words of prompts, responses and error messages, by call: an optional table of FTS5 that search asks.

It has an entry for each row of `invocation_contents`, and so for calls at level `full` alone, made of what is on disk.
It keeps no text (`content = ''`) and no positions (`detail = none`), so that it is a third of the size it would have:
what it finds is read again by search. New calls are added in the transaction that stores them, older ones from the
newest down: the index has all contents from its first entry on, and nothing else has to be remembered. An index that is
at fault is emptied, and made anew by whoever wants one; no record is ever lost to it.
"""

import sqlite3
import zlib
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Final, TypeVar

from llm_service.telemetry.privacy import unpack
from llm_service.telemetry.record.words import index_words
from llm_service.telemetry.stores.base import Fetch
from llm_service.telemetry.stores.prepared import BatchContents
from llm_service.telemetry.stores.sqlite.transactions import transaction

__all__ = [
    "FIND_INDEX", "TABLE", "IndexDamagedError", "IndexWriter", "drop", "empty", "extend", "first_indexed", "first_of",
    "go_without", "has_fts5", "is_complete", "is_fault", "is_there", "make", "matching", "merge", "of_index", "remove",
    "reset", "words_of",
]  # fmt: skip

_Done = TypeVar("_Done")
TABLE: Final = "invocation_words"
_SHADOWS: Final = ("config", "data", "docsize", "idx")
"""The tables in which FTS5 keeps it: `invocation_words_config`, ..."""
_HAS_FTS5: Final = "SELECT 1 FROM pragma_module_list WHERE name = 'fts5'"
_IS_THERE: Final = f"SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = '{TABLE}'"  # noqa: S608 - our own name
FIND_INDEX: Final = f"{_IS_THERE} AND EXISTS ({_HAS_FTS5})"
"""Whether there is an index that this SQLite can read."""
_FIRST_INDEXED: Final = f"SELECT rowid FROM {TABLE} ORDER BY rowid LIMIT 1"  # noqa: S608 - as above
_MATCHING: Final = f"""
SELECT rowid FROM {TABLE} WHERE {TABLE} MATCH ? AND rowid BETWEEN ? AND ? ORDER BY rowid DESC LIMIT ?
"""  # noqa: S608 - as above
_MAKE: Final = f"CREATE VIRTUAL TABLE {TABLE} USING fts5(words, content = '', detail = none, tokenize = 'ascii')"
"""`ascii`: what comes is words already, see `record.words`."""
_ADD: Final = f"INSERT INTO {TABLE} (rowid, words) VALUES (?, ?)"  # noqa: S608 - as above
_TAKE_OUT: Final = f"INSERT INTO {TABLE} ({TABLE}, rowid, words) VALUES ('delete', ?, ?)"  # noqa: S608 - as above
_EMPTY: Final = f"INSERT INTO {TABLE} ({TABLE}) VALUES ('delete-all')"  # noqa: S608 - as above
_MERGE: Final = f"INSERT INTO {TABLE} ({TABLE}, rank) VALUES ('merge', ?)"  # noqa: S608 - as above
_EMPTY_WITHOUT_FTS5: Final = f"DELETE FROM {TABLE}_docsize"  # noqa: S608 - as above
_HAS_ENTRY: Final = f"SELECT 1 FROM {TABLE} WHERE rowid = ?"  # noqa: S608 - as above
_ERROR: Final = "CASE WHEN i.status <> 'success' THEN i.error_message END"
_FIND_CALL: Final = f"SELECT i.id, {_ERROR} FROM invocations AS i WHERE i.invocation_id = ?"  # noqa: S608 - as above
_TEXTS: Final = f"""
SELECT c.id, c.prompt, c.response, {_ERROR} FROM invocation_contents AS c LEFT JOIN invocations AS i USING (id)
"""  # noqa: S608 - as above
_TEXTS_OF: Final = f"{_TEXTS} WHERE c.id = ?"
_TEXTS_BELOW: Final = f"{_TEXTS} WHERE c.id < ? ORDER BY c.id DESC"
_LAST: Final = "SELECT coalesce(max(id), 0) + 1 FROM invocation_contents"
_FAULTS: Final = frozenset({sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CORRUPT_VTAB})
_MOST_BYTES: Final = 1024 * 1024
"""Compressed bytes of the texts of one step, unless a single call has more."""


class IndexDamagedError(sqlite3.DatabaseError):
    """A page of the index is damaged. SQLite then fails whatever else stands in the same transaction [seen with 3.40].

    So it is rolled back, the index is dropped, and the transaction is tried again.
    """

    sqlite_errorcode = sqlite3.SQLITE_CORRUPT_VTAB
    sqlite_errorname = "SQLITE_CORRUPT_VTAB"


def has_fts5(connection: sqlite3.Connection) -> bool:
    """Whether this SQLite was built with FTS5."""
    return connection.execute(_HAS_FTS5).fetchone() is not None


def is_there(connection: sqlite3.Connection) -> bool:
    """Whether the file has an index; without FTS5 it can only be emptied."""
    return connection.execute(_IS_THERE).fetchone() is not None


def make(connection: sqlite3.Connection) -> None:
    """Make an empty index, unless there is one."""
    if not is_there(connection):
        with transaction(connection):
            if not is_there(connection):  # another process may have been faster
                connection.execute(_MAKE)


def drop(connection: sqlite3.Connection) -> bool:
    """Delete the index, which holds the write lock until its pages are free; False where there was none."""
    try:
        with of_index(), transaction(connection):
            there = is_there(connection)
            if there:
                connection.execute(f"DROP TABLE {TABLE}")
    except sqlite3.DatabaseError as error:
        if not is_fault(error):
            raise
        _cut_out(connection)
        return True
    return there


def _cut_out(connection: sqlite3.Connection) -> None:
    """Take tables out of the schema that cannot even be dropped; pages of theirs may stay unused until a VACUUM."""
    names = ", ".join(f"'{name}'" for name in (TABLE, *(f"{TABLE}_{shadow}" for shadow in _SHADOWS)))
    _forget(connection, f"'{TABLE}'")
    for shadow in _SHADOWS:  # they are ordinary tables now
        with suppress(sqlite3.DatabaseError):
            connection.execute(f"DROP TABLE {TABLE}_{shadow}")
    _forget(connection, names)


def _forget(connection: sqlite3.Connection, names: str) -> None:
    connection.execute("PRAGMA writable_schema = ON")
    try:
        with transaction(connection):
            connection.execute(f"DELETE FROM sqlite_master WHERE tbl_name IN ({names})")  # noqa: S608 - our own names
            (version,) = connection.execute("PRAGMA schema_version").fetchone()
            connection.execute(f"PRAGMA schema_version = {version + 1:d}")  # other connections look again
    finally:
        connection.execute("PRAGMA writable_schema = RESET")


def is_complete(connection: sqlite3.Connection) -> bool:
    """Whether every stored text is in the index."""
    rest = "SELECT 1 FROM invocation_contents WHERE id < ? LIMIT 1"
    return connection.execute(rest, (first_of(connection),)).fetchone() is None


def first_of(connection: sqlite3.Connection) -> int:
    """The first call in the index; beyond the last content where it is empty."""
    with of_index():
        row = connection.execute(_FIRST_INDEXED).fetchone()
    return int(row[0] if row is not None else connection.execute(_LAST).fetchone()[0])


def go_without(connection: sqlite3.Connection, work: Callable[[], _Done]) -> _Done:
    """Do work that is one transaction; where a damaged page of the index fails it, drop the index and do it again."""
    try:
        return work()
    except IndexDamagedError:
        drop(connection)
        return work()


def empty(connection: sqlite3.Connection) -> None:
    """Empty the index, or drop it where its tables or pages are not whole."""
    try:
        with of_index(), transaction(connection):  # FTS5 writes as late as at the commit
            reset(connection)
    except IndexDamagedError:
        drop(connection)


def reset(connection: sqlite3.Connection) -> None:
    """Empty the index, within a transaction; one whose tables are not whole is dropped.

    Where not even that is possible it stays, and misleads nobody: who asks it is told that it is at fault.

    Raises:
        IndexDamagedError: a page of it is damaged, see there.
    """
    for statement in (_EMPTY, f"DROP TABLE {TABLE}"):
        try:
            with of_index():
                connection.execute(statement)
        except sqlite3.Error as error:
            if not is_fault(error) or isinstance(error, IndexDamagedError):
                raise
        else:
            return


class IndexWriter:
    """Keeps the index in step with what one writer inserts.

    Attributes:
        known: whether the file had one at the last look: then words are made before the transaction begins.
    """

    def __init__(self) -> None:
        self.known = False

    def add(self, connection: sqlite3.Connection, kept: Mapping[int, str], contents: BatchContents) -> None:
        """Add calls within the transaction that has inserted them; nothing where the file has no index.

        Args:
            kept: the ids of those with contents, by position, in the order in which they were inserted.
        """
        self.known = is_there(connection)
        if not self.known:
            return
        if not has_fts5(connection):  # what is empty misses nothing
            connection.execute(_EMPTY_WITHOUT_FTS5)
            return
        with _Faults(connection):
            _clear_stale(connection)
            for position, invocation_id in kept.items():
                for number, error in connection.execute(_FIND_CALL, (invocation_id,)).fetchall():
                    with of_index():
                        connection.execute(_ADD, (number, _with_error(contents, position, error)))


def _with_error(contents: BatchContents, position: int, error: object) -> str:
    """The words of a call that was prepared, its error message as it is on disk."""
    words = contents.words.get(position)
    if words is None:  # the index was made since
        words = index_words(map(_text, contents.packed[position]))
    return " ".join({*words.split(), *index_words([error]).split()}) if isinstance(error, str) else words


class _Faults:
    """A block in a transaction; where the index is at fault in it, the index is emptied, and the block ends there.

    FTS5 writes at a savepoint what it has in memory; without one a fault would come at the commit, and fail all of it.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def __enter__(self) -> None:
        self._connection.execute("SAVEPOINT words")

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> bool:
        if error is None:
            try:
                with of_index():
                    self._connection.execute("SAVEPOINT written")
                    self._connection.execute("RELEASE words")
            except sqlite3.Error as late:
                if isinstance(late, IndexDamagedError) or not is_fault(late):
                    raise
            else:
                return False
        elif isinstance(error, IndexDamagedError) or not is_fault(error):
            return False
        self._connection.execute("ROLLBACK TO words")
        reset(self._connection)
        self._connection.execute("RELEASE words")
        return True


def is_fault(error: object) -> bool:
    """Whether a statement on the index failed by the index: its tables hold what FTS5 did not write, or are not there.

    A table that is missing is `SQLITE_ERROR`, as a mistake in the statement is; these have none.
    """
    return isinstance(error, sqlite3.Error) and getattr(error, "sqlite_errorcode", 0) in _FAULTS


@contextmanager
def of_index() -> Generator[None]:
    """A block that reads and writes nothing but the index: a damaged page is one of the index (IndexDamagedError)."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        if getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_CORRUPT:
            raise IndexDamagedError(str(error)) from error
        raise


def _clear_stale(connection: sqlite3.Connection) -> None:
    """An index without entries may have words of some: a writer without FTS5 has emptied it as well as it could."""
    with of_index():
        if connection.execute(_FIRST_INDEXED).fetchone() is None:
            connection.execute(_EMPTY)


def remove(connection: sqlite3.Connection, ids: str, parameters: Sequence[Any]) -> None:
    """Take these calls out, within the transaction that deletes their contents, and before it does.

    Args:
        ids: a SELECT of ids.
    """
    if not is_there(connection):
        return
    if not has_fts5(connection):
        connection.execute(_EMPTY_WITHOUT_FTS5)
        return
    wanted = f"SELECT id FROM invocation_contents WHERE id IN ({ids}) ORDER BY id"  # noqa: S608 - the caller's constant
    with _Faults(connection):
        for (number,) in connection.execute(wanted, parameters).fetchall():
            with of_index():
                has_entry = connection.execute(_HAS_ENTRY, (number,)).fetchone() is not None
            if has_entry:
                row = connection.execute(_TEXTS_OF, (number,)).fetchone()
                with of_index():
                    connection.execute(_TAKE_OUT, (number, words_of(row)))


def extend(connection: sqlite3.Connection, rows: int) -> int:
    """Add the newest contents that it lacks, in one transaction; how many were added.

    Words are made before the write lock is taken. Safe beside writers, purges and others who extend it.
    """
    first = first_of(connection)
    entries = [(row[0], words_of(row)) for row in _newest_below(connection, first, rows)]
    added = 0
    with transaction(connection):
        if not is_there(connection) or first_of(connection) != first:
            return 0  # another was faster
        with _Faults(connection):
            _clear_stale(connection)
            for number, words in reversed(entries):  # FTS5 wants them ascending
                if connection.execute(_TEXTS_OF, (number,)).fetchone() is not None:
                    with of_index():
                        connection.execute(_ADD, (number, words))
                    added += 1
    return added


def _newest_below(connection: sqlite3.Connection, first: int, rows: int) -> Iterator[Sequence[Any]]:
    size = 0
    cursor = connection.execute(f"{_TEXTS_BELOW} LIMIT ?", (first, rows))
    for row in cursor:
        yield row
        size += sum(len(cell) for cell in row if isinstance(cell, bytes))
        if size > _MOST_BYTES:
            break
    cursor.close()


def words_of(row: Sequence[Any]) -> str:
    """The entry of a call: of its id, prompt and response as stored, and error message."""
    _, prompt, response, error = row
    return index_words([_text(prompt), _text(response), error if isinstance(error, str) else None])


def _text(packed: Any) -> str | None:
    with suppress(zlib.error, ValueError, TypeError):
        return unpack(packed)
    return None  # NULL, or damaged


def merge(connection: sqlite3.Connection, pages: int, *, begin: bool) -> bool:
    """Do a part of putting the whole index into one piece, in which nothing is left of what was taken out.

    Args:
        pages: of FTS5, about 4 KiB each.
        begin: the first part.

    Returns:
        False once it is done.
    """
    if connection.execute(FIND_INDEX).fetchone() is None:
        return False
    before = connection.total_changes
    try:
        with of_index():
            connection.execute(_MERGE, (-pages if begin else pages,))
    except sqlite3.DatabaseError as error:
        if is_fault(error):
            return False
        raise
    return connection.total_changes - before >= 2  # as FTS5 documents it


def first_indexed(fetch: Fetch) -> int | None:
    """From which call on the index has all contents; None where it has none, or there is none that can be read."""
    if not fetch((FIND_INDEX, [])):
        return None
    try:
        with of_index():
            rows = fetch((_FIRST_INDEXED, []))
    except sqlite3.Error as error:
        if is_fault(error):
            return None
        raise
    return int(rows[0][0]) if rows else None


def matching(fetch: Fetch, match: str, low: int, high: int, rows: int) -> list[int] | None:
    """Calls from `low` to `high` that it finds, last first; None where there is no index, or one that is at fault."""
    try:
        with of_index():
            return [row[0] for row in fetch((_MATCHING, [match, low, high, rows]))]
    except sqlite3.Error as error:
        if is_fault(error):
            return None
        raise
