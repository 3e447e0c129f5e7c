"""The child process that runs a user's own SQL for `querying`: reads one request, writes one reply, changes nothing.

A progress handler is not called within one SQL function, and a thread cannot be killed. A process can: it is killed
after its time limit, and its resource limits apply meanwhile.

Four barriers allow only reading, since each alone has gaps: `query_only` and a read-only file still let ATTACH and
VACUUM INTO write elsewhere; an authorizer refuses every action but reading; limits bound the memory of a statement.
"""

import marshal
import math
import re
import sqlite3
import sys
import time
from contextlib import closing, suppress
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final, NamedTuple

from llm_service.errors import TelemetryError
from llm_service.telemetry.privacy import unpack_for_sql
from llm_service.telemetry.stores.sqlite.odd_values import as_text
from llm_service.telemetry.stores.sqlite.reader import open_for_reading
from llm_service.telemetry.stores.sqlite.sql_callbacks import add_function, interrupt_when

__all__ = ["MOST_ANSWER_BYTES", "READY", "Reply", "Request", "main", "reply_to"]

READY: Final = b"+"
"""Sent before the reply, when the statement is about to run."""
MOST_ANSWER_BYTES: Final = 32 * 1024 * 1024
"""Of all rows together. For more, there is `export`."""
_MOST_BYTES: Final = 64 * 1024 * 1024
"""Of one value or row within SQLite: far more than any call, far less than zeroblob(1e9)."""
_MOST_HEAP: Final = 256 * 1024 * 1024
"""SQLite's heap limit."""
_MOST_MEMORY: Final = 2 * 1024 * 1024 * 1024
"""Address space of the process: for an SQLite that does not count its memory."""
_VALUE_BYTES: Final = 16
"""Bytes that a value counts besides its text or blob."""
_STEPS: Final = 10_000
"""Instructions of SQLite's virtual machine between two clock checks: well under a millisecond."""
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
"""Pragmas whose argument only selects what to report; with an argument, any other pragma would set something."""
_READING: Final = frozenset({sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_RECURSIVE})
_REFUSED_FUNCTIONS: Final = frozenset({"load_extension", "fts3_tokenizer"})
_REMEDY: Final = "only reading is allowed: SELECT, WITH, VALUES, EXPLAIN, and pragmas that only tell"


class Request(NamedTuple):
    """A database, one statement, the maximum of rows, and the time limit in seconds."""

    path: str
    statement: str
    limit: int
    timeout: float


class Reply(NamedTuple):
    """The result of a statement.

    Attributes:
        columns: their names; empty if the statement gave no rows.
        rows: the result.
        truncated: the limit that cut the rows: `rows`, `bytes`, or empty.
        misuse: an error of the statement; empty if there is none.
        failure: any other error.
    """

    columns: list[str]
    rows: list[tuple[Any, ...]]
    truncated: str = ""
    misuse: str = ""
    failure: str = ""


def main() -> None:
    """Read a request from standard input, and write the reply to standard output; both by `marshal`."""
    request = Request(*marshal.load(sys.stdin.buffer))  # noqa: S302 - from the process that started this one
    _bound(request.timeout)
    out = sys.stdout.buffer
    out.write(READY)
    out.flush()
    with suppress(BrokenPipeError):
        marshal.dump(tuple(reply_to(request)), out)
        out.flush()


def _bound(seconds: float) -> None:
    """Limit memory and time of this process, in case its parent dies."""
    try:
        import resource  # noqa: PLC0415 - POSIX only
    except ImportError:
        return
    most = math.ceil(seconds) + 10
    for what, limit in ((resource.RLIMIT_CPU, most), (resource.RLIMIT_AS, _MOST_MEMORY), (resource.RLIMIT_CORE, 0)):
        with suppress(ValueError, OSError):  # the limit is lower already
            resource.setrlimit(what, (limit, limit))


def reply_to(request: Request) -> Reply:
    """Run the statement on a read-only connection; its snapshot ends before this returns."""
    path = Path(request.path)
    try:
        connection = open_for_reading(path)
    except sqlite3.Error as error:
        return _unreadable(path, error)
    except (TelemetryError, OSError) as error:
        return Reply([], [], failure=str(error))
    with closing(connection):
        try:
            return _asked(connection, request)
        except MemoryError:
            return Reply([], [], failure=f"the statement takes more than {_MOST_HEAP >> 20} MiB of memory; narrow it")
        except (sqlite3.Error, sqlite3.Warning) as error:
            if "interrupted" in str(error):
                took = f"the statement took more than {request.timeout:g} s; narrow it or give --timeout"
                return Reply([], [], failure=took)
            return _refusal(path, error, _hint(connection, request.statement, str(error)))


def _asked(connection: sqlite3.Connection, request: Request) -> Reply:
    deadline = time.monotonic() + request.timeout
    connection.text_factory = as_text
    connection.execute(f"PRAGMA hard_heap_limit = {_MOST_HEAP:d}")
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _MOST_BYTES)
    connection.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
    add_function(connection, "content_text", unpack_for_sql)
    connection.set_authorizer(_authorize)
    interrupt_when(connection, lambda: time.monotonic() > deadline, _STEPS)
    cursor = connection.execute(request.statement)
    columns = [str(column[0]) for column in cursor.description or ()]
    rows: list[tuple[Any, ...]] = []
    size = 0
    for row in cursor:
        size += sum(_VALUE_BYTES + (len(value) if isinstance(value, str | bytes) else 0) for value in row)
        if len(rows) == request.limit:
            return Reply(columns, rows, truncated="rows")
        if size > MOST_ANSWER_BYTES:
            if not rows:
                most = MOST_ANSWER_BYTES >> 20
                return Reply([], [], failure=f"a row takes more than {most} MiB; select less, by substr() for example")
            return Reply(columns, rows, truncated="bytes")
        rows.append(row)
    return Reply(columns, rows)


def _authorize(action: int, first: str | None, second: str | None, _database: str | None, _trigger: str | None) -> int:
    if action in _READING:
        return sqlite3.SQLITE_OK
    if action == sqlite3.SQLITE_FUNCTION and (second or "").lower() not in _REFUSED_FUNCTIONS:
        return sqlite3.SQLITE_OK
    if action == sqlite3.SQLITE_PRAGMA and (first or "").lower() in _TELLING_PRAGMAS:
        allowed = second is None or (first or "").lower() in _WITH_ARGUMENT
        return sqlite3.SQLITE_OK if allowed else sqlite3.SQLITE_DENY
    # Table-valued functions such as json_each need this; SQLite refuses a real UPDATE of sqlite_master.
    if action == sqlite3.SQLITE_UPDATE and first == "sqlite_master":
        return sqlite3.SQLITE_OK
    return sqlite3.SQLITE_DENY


def _hint(connection: sqlite3.Connection, statement: str, said: str) -> str:
    """A hint for an unknown name: the columns of the used tables, or the tables."""
    missing = re.match(r"no such (column|table): (?:\w+\.)?(.+)", said)
    if missing is None:
        return ""
    with suppress(sqlite3.Error):
        connection.set_authorizer(None)
        listed = "SELECT name FROM sqlite_master WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite%' ORDER BY 1"
        tables = [str(row[0]) for row in connection.execute(listed)]
        words = {word.lower() for word in re.findall(r"\w+", statement)}
        sources = {"tables": tables}
        if missing[1] == "column":
            sources = {
                table: [str(row[0]) for row in connection.execute("SELECT name FROM pragma_table_info(?)", (table,))]
                for table in tables
                if table.lower() in words
            }
        near = get_close_matches(missing[2].lower(), [name for names in sources.values() for name in names], n=1)
        meant = f"; did you mean {near[0]}?" if near else ""
        return meant + "".join(f"; {source}: {', '.join(names)}" for source, names in sources.items())
    return ""


_CODES_OF_THE_FILE: Final = frozenset(
    getattr(sqlite3, f"SQLITE_{name}")
    for name in ("BUSY", "CANTOPEN", "CORRUPT", "FULL", "IOERR", "LOCKED", "NOLFS", "NOTADB", "PERM", "PROTOCOL")
)
"""Primary codes that blame the file or the disk. Any other blames the statement: a name without a table is SCHEMA."""


def _refusal(path: Path, error: Exception, hint: str = "") -> Reply:
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF  # the primary code
    if code in {sqlite3.SQLITE_AUTH, sqlite3.SQLITE_READONLY} or "not authorized" in str(error):
        return Reply([], [], misuse=_REMEDY)
    if code in _CODES_OF_THE_FILE:
        return _unreadable(path, error)
    said = str(error).rstrip(".")
    remedy = hint or "; correct the statement (the manual lists tables and columns)"
    return Reply([], [], misuse=f"{said}{remedy}")


def _unreadable(path: Path, error: Exception) -> Reply:
    return Reply([], [], failure=f"{path} cannot be read: {error}; check the file and its permissions")
