"""A statement of the user's own, on a connection that can only read, for a bounded time and number of rows.

Three walls, since each alone has a hole: `query_only` and a read-only file still allow ATTACH and VACUUM INTO to write
elsewhere; an authorizer refuses every action but reading; and limits bound what one statement may hold in memory.
"""

import signal
import sqlite3
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

from llm_service.errors import QueryError, StoreError
from llm_service.telemetry.stores.reader import open_for_reading

__all__ = ["Answer", "ask"]

_MOST_BYTES: Final = 64 * 1024 * 1024
"""Of one value or row: a million times what a call holds, and no zeroblob(1e9)."""
_STEPS: Final = 10_000
"""Instructions of SQLite's machine between two looks at the clock: well under a millisecond."""
_TELLING_PRAGMAS: Final = frozenset({
    "application_id", "auto_vacuum", "collation_list", "compile_options", "data_version", "database_list", "encoding",
    "foreign_key_list", "freelist_count", "function_list", "index_info", "index_list", "index_xinfo", "integrity_check",
    "journal_mode", "page_count", "page_size", "pragma_list", "quick_check", "schema_version", "table_info",
    "table_list", "table_xinfo", "user_version",
})  # fmt: skip
_WITH_ARGUMENT: Final = frozenset({
    "foreign_key_list", "index_info", "index_list", "index_xinfo", "integrity_check", "quick_check", "table_info",
    "table_list", "table_xinfo",
})  # fmt: skip
"""Their argument names what to tell of; any other pragma would set something by it."""
_READING: Final = frozenset({sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_RECURSIVE})
_REFUSED_FUNCTIONS: Final = frozenset({"load_extension", "fts3_tokenizer"})
_REMEDY: Final = "only reading is allowed: SELECT, WITH, VALUES, EXPLAIN, and pragmas that only tell"


class Answer(NamedTuple):
    """What a statement gave.

    Attributes:
        columns: their names, as SQLite gives them; some may stand twice.
        rows: at most as many as were asked for.
        truncated: True where there are more.
    """

    columns: list[str]
    rows: list[tuple[Any, ...]]
    truncated: bool


def ask(path: Path, statement: str, *, limit: int, timeout: float) -> Answer:
    """Run one statement that only reads; its snapshot is let go of before this returns.

    Args:
        path: an existing database.
        statement: SQL, one statement.
        limit: most rows that are given back, and held in memory.
        timeout: seconds it may take.

    Raises:
        QueryError: (a `ValueError`) the statement is not SQL, or does more than read.
        StoreError: it took too long, or the file cannot be read.
        KeyboardInterrupt: SIGINT came meanwhile.
    """
    try:
        connection = open_for_reading(path)
    except sqlite3.Error as error:
        raise StoreError(f"{path} cannot be read: {error}; check the file and its permissions", path) from error
    deadline = time.monotonic() + timeout
    with _interruptions() as interrupted:
        try:
            connection.text_factory = _decoded
            connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _MOST_BYTES)
            connection.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
            connection.set_authorizer(_authorize)
            connection.set_progress_handler(lambda: bool(interrupted) or time.monotonic() > deadline, _STEPS)
            cursor = connection.execute(statement)
            rows = cursor.fetchmany(limit + 1)
            columns = [str(column[0]) for column in cursor.description or ()]
        except (sqlite3.Error, sqlite3.Warning) as error:
            if interrupted:
                raise KeyboardInterrupt from None
            if "interrupted" in str(error):
                raise StoreError(f"the statement took more than {timeout:g} s; narrow it or give --timeout") from None
            raise _refusal(path, statement, error) from error
        finally:
            connection.close()
    if not columns:
        raise QueryError("sql", statement, "give a statement that returns rows")
    return Answer(columns, rows[:limit], truncated=len(rows) > limit)


def _decoded(text: bytes) -> str:
    return text.decode("utf-8", "replace")


def _authorize(action: int, first: str | None, second: str | None, _database: str | None, _trigger: str | None) -> int:
    if action in _READING:
        return sqlite3.SQLITE_OK
    if action == sqlite3.SQLITE_FUNCTION and (second or "").lower() not in _REFUSED_FUNCTIONS:
        return sqlite3.SQLITE_OK
    if action == sqlite3.SQLITE_PRAGMA and (first or "").lower() in _TELLING_PRAGMAS:
        allowed = second is None or (first or "").lower() in _WITH_ARGUMENT
        return sqlite3.SQLITE_OK if allowed else sqlite3.SQLITE_DENY
    # Declaring a table-valued function such as json_each asks for this; a real UPDATE of it is refused by SQLite.
    if action == sqlite3.SQLITE_UPDATE and first == "sqlite_master":
        return sqlite3.SQLITE_OK
    return sqlite3.SQLITE_DENY


def _refusal(path: Path, statement: str, error: Exception) -> QueryError | StoreError:
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF  # the primary code
    if code in {sqlite3.SQLITE_AUTH, sqlite3.SQLITE_READONLY} or "not authorized" in str(error):
        return QueryError("sql", statement, _REMEDY)
    if code in {sqlite3.SQLITE_ERROR, sqlite3.SQLITE_MISUSE, sqlite3.SQLITE_TOOBIG, sqlite3.SQLITE_RANGE}:
        return QueryError(
            "sql", statement, f"{str(error).rstrip('.')}; correct the statement (the manual lists tables and columns)"
        )
    return StoreError(f"{path} cannot be read: {error}; check the file and its permissions", path)


@contextmanager
def _interruptions() -> Generator[list[int]]:
    """Signals that came in the block: while SQLite works, an exception out of its callback would be lost."""
    came: list[int] = []
    previous = signal.signal(signal.SIGINT, lambda number, _: came.append(number))
    try:
        yield came
    finally:
        signal.signal(signal.SIGINT, previous)
    if came:
        raise KeyboardInterrupt
