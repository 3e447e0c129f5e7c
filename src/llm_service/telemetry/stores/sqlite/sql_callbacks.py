"""Python callbacks that SQLite calls while a statement runs; their exceptions reach the caller of the statement.

sqlite3 turns any exception of a callback into an OperationalError, so Ctrl-C within one would look like a damaged file
or a time limit. Here the exception is stored, the statement is interrupted, and the cursor raises the stored exception.
A Python function can be interrupted before its first line, outside its own `try`; a generator that waits at a `yield`
within its `try` cannot. So the callback is the `send` of a generator.
"""

import sqlite3
from array import array
from collections.abc import Callable, Generator
from functools import wraps
from types import SimpleNamespace
from typing import Any, Final, TypeVar, cast
from weakref import ref

__all__ = ["WatchedConnection", "add_function", "add_sum", "add_values", "interrupt_when", "malformed"]

_F = TypeVar("_F", bound=Callable[..., Any])
_FAILED: Final = "user-defined function raised exception"


class WatchedConnection(sqlite3.Connection):
    """A connection whose cursors raise the stored exception of a callback."""

    kept: list[BaseException] | None = None

    def execute(self, *arguments: Any) -> sqlite3.Cursor:
        """Run a statement."""
        try:
            if self.kept is None:
                return super().execute(*arguments)
            return self.cursor(_WatchedCursor).execute(*arguments)
        except UnicodeDecodeError as error:
            raise _unreadable(error) from None


def malformed(message: str) -> sqlite3.DatabaseError:
    """The error with which SQLite itself says that a file is damaged."""
    error = sqlite3.DatabaseError(message)
    error.sqlite_errorcode, error.sqlite_errorname = sqlite3.SQLITE_CORRUPT, "SQLITE_CORRUPT"
    return error


def _unreadable(error: UnicodeDecodeError) -> sqlite3.Error:
    """SQLite's message quotes a damaged schema, which is no UTF-8 any more, so that sqlite3 could not make an error."""
    return malformed(error.object.decode("utf-8", "backslashreplace"))


def _raising(method: _F) -> _F:
    """The cursor's method, which raises an exception stored while it ran instead of sqlite3's own."""

    @wraps(method)
    def run(cursor: "_WatchedCursor", *arguments: Any) -> Any:
        kept = cast("WatchedConnection", cursor.connection).kept
        answer: Any = None
        try:
            answer = method(cursor, *arguments)
        except (sqlite3.Error, StopIteration):
            if not kept:
                raise
        if not kept:
            return answer
        first = kept[0]
        kept.clear()
        cursor.close()  # while its statement is active, SQLite interrupts all others
        if isinstance(first, Exception):
            raise sqlite3.OperationalError(_FAILED) from first
        raise first

    return cast("_F", run)


class _WatchedCursor(sqlite3.Cursor):
    execute = _raising(sqlite3.Cursor.execute)
    fetchone = _raising(sqlite3.Cursor.fetchone)
    fetchmany = _raising(sqlite3.Cursor.fetchmany)
    fetchall = _raising(sqlite3.Cursor.fetchall)
    __next__ = _raising(sqlite3.Cursor.__next__)


def add_function(connection: sqlite3.Connection, name: str, function: Callable[[Any], Any]) -> None:
    """Register a deterministic SQL function of one argument."""
    connection.create_function(name, 1, _guarded(connection, function).send, deterministic=True)


def add_sum(connection: sqlite3.Connection, name: str, made: Callable[[], Any]) -> None:
    """Register an SQL aggregate of one argument.

    Args:
        connection: opened by `connections.connect`.
        made: returns a new object with `step(value)` and `finalize()`.
    """

    def begin(_: object) -> SimpleNamespace:
        one = made()
        step, end = _guarded(connection, one.step), _guarded(connection, lambda _: one.finalize())
        return SimpleNamespace(step=step.send, finalize=end.__next__)

    connection.create_aggregate(name, 1, _guarded(connection, begin).__next__)


def add_values(connection: sqlite3.Connection, name: str, made: Callable[["array[float]"], Any]) -> None:
    """Register an SQL aggregate of one number: what `made` makes of all values of a group. NULL is none: filter it out.

    Its step is a method of C: it takes a fifth of the time of one in Python.
    """

    def begin(_: object) -> SimpleNamespace:
        values = array("d")
        return SimpleNamespace(step=values.append, finalize=_guarded(connection, lambda _: made(values)).__next__)

    connection.create_aggregate(name, 1, _guarded(connection, begin).__next__)


def interrupt_when(connection: sqlite3.Connection, is_over: Callable[[], bool] | None, steps: int) -> None:
    """Call `is_over` every `steps` instructions of SQLite's virtual machine; if true, interrupt. None ends that."""
    if is_over is None:
        connection.set_progress_handler(None, 0)
        return
    asked = _guarded(connection, lambda _: is_over(), after_fault=True)
    connection.set_progress_handler(asked.__next__, steps)


def _guarded(
    connection: sqlite3.Connection, function: Callable[[Any], Any], *, after_fault: Any = None
) -> Generator[Any, Any, None]:
    """Yields the function's result for each sent value, and stores the exception that the function raises."""
    watched: ref[WatchedConnection] | None = None
    if isinstance(connection, WatchedConnection):
        connection.kept = connection.kept if connection.kept is not None else []
        watched = ref(connection)  # the connection refers to the function
    guard = _calls(function, watched, after_fault)
    next(guard)
    return guard


def _calls(
    function: Callable[[Any], Any], watched: "ref[WatchedConnection] | None", after_fault: Any
) -> Generator[Any, Any, None]:
    answer: Any = None
    while True:
        try:
            while True:
                value = yield answer
                answer = function(value)
        except GeneratorExit:
            return
        except BaseException as error:
            connection = None if watched is None else watched()
            if connection is None or connection.kept is None:
                raise  # no cursor would raise it later
            connection.kept.append(error)
            answer = after_fault
            connection.interrupt()
