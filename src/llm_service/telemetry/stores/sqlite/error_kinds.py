"""Classifies errors: retry, reopen, set the file aside, give up, or quarantine one record."""

import errno
import sqlite3
from collections.abc import Sequence
from typing import Any, Final

from llm_service.errors import DatabaseUnusableError
from llm_service.telemetry.stores.base import Fault, Fetch, Query

__all__ = ["STORE_ERRORS", "classify", "describe", "is_duplicate", "is_locked", "is_poison", "unless_damaged"]

STORE_ERRORS: Final = (OSError, sqlite3.Error)
"""The errors that a store may raise; anything else is a bug."""
_DAMAGED_CODES: Final = frozenset({sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT})
# A -wal that was removed while in use gives short reads; a damaged file system reports CORRUPTFS.
_DAMAGED_EXTENDED: Final = frozenset({sqlite3.SQLITE_IOERR_SHORT_READ, sqlite3.SQLITE_IOERR_CORRUPTFS})
# A statement failed because of its values, not because of the file. SQLITE_ERROR is not listed: it means that the
# tables are wrong, and every record would be quarantined one by one.
_POISON_CODES: Final = frozenset(
    {sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_MISMATCH, sqlite3.SQLITE_TOOBIG, sqlite3.SQLITE_RANGE}
)


def _primary_code(error: BaseException) -> int | None:
    code = getattr(error, "sqlite_errorcode", None)
    return None if code is None else code & 0xFF


def classify(error: BaseException) -> Fault:
    """The kind of fault, which decides about a retry."""
    if isinstance(error, DatabaseUnusableError):
        return Fault.UNUSABLE
    code = _primary_code(error)
    if code is None and not isinstance(error, OSError):
        return Fault.BUG
    if is_locked(error):
        return Fault.LOCKED
    if code in _DAMAGED_CODES or getattr(error, "sqlite_errorcode", None) in _DAMAGED_EXTENDED:
        return Fault.DAMAGED
    stale = isinstance(error, OSError) and error.errno == errno.ESTALE
    return Fault.REOPEN if stale or code == sqlite3.SQLITE_READONLY else Fault.TRANSIENT


def describe(error: BaseException) -> str:
    """The error in a line: its type, SQLite's name of it, and what it says."""
    name = getattr(error, "sqlite_errorname", None)
    return f"{type(error).__name__}{f' {name}' if name else ''}: {error}"


def unless_damaged(fetch: Fetch, query: Query) -> Sequence[Any] | None:
    """The rows of a query; None where the pages that it needs are damaged, or a virtual table cannot be opened."""
    try:
        return fetch(query)
    except sqlite3.OperationalError as error:
        if _primary_code(error) == sqlite3.SQLITE_ERROR:
            return None
        raise
    except sqlite3.DatabaseError as error:
        if _primary_code(error) in _DAMAGED_CODES:
            return None
        raise


def is_locked(error: BaseException) -> bool:
    """Whether another connection held a lock."""
    return _primary_code(error) in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}


def is_duplicate(error: BaseException) -> bool:
    """Whether a unique index refused the row."""
    return getattr(error, "sqlite_errorcode", None) in {
        sqlite3.SQLITE_CONSTRAINT_UNIQUE,
        sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY,
    }


def is_poison(error: BaseException) -> bool:
    """Whether a record is at fault: SQLite refused a value, or it could not be bound."""
    code = _primary_code(error)
    if code is not None:
        return code in _POISON_CODES
    return isinstance(
        error, OverflowError | ValueError | TypeError | LookupError | sqlite3.ProgrammingError | sqlite3.DataError
    ) or type(error) in {sqlite3.InterfaceError, sqlite3.Error}
