"""How an older file becomes today's: one step for each version, committed together with its record.

`schema.sql` is the newest schema whole; `STEPS[n]` holds the statements that lead from version n to n + 1. A test
builds the oldest file, migrates it, and compares it with a new one.
"""

import re
import sqlite3
from collections.abc import Mapping, Sequence
from functools import lru_cache
from importlib.resources import files
from typing import Final

from llm_service.telemetry.stores.sqlite import migration_steps

__all__ = ["STEPS", "VERSION", "create", "migrate", "read_as_newest", "schema_statements", "table_names"]

VERSION: Final = 3
STEPS: Final[Mapping[int, Sequence[str]]] = {1: migration_steps.TO_2, 2: migration_steps.TO_3}


@lru_cache(maxsize=1)
def schema_statements() -> Sequence[str]:
    """The statements of `schema.sql`, one by one (`executescript` would commit on its own). Read once."""
    statements: list[str] = []
    pending = ""
    for line in files("llm_service.telemetry").joinpath("schema.sql").read_text("utf-8").splitlines(keepends=True):
        pending += line
        if sqlite3.complete_statement(pending):
            statements.append(pending)
            pending = ""
    return tuple(statements)


@lru_cache(maxsize=1)
def table_names() -> tuple[str, ...]:
    """The tables of `schema.sql`."""
    found = (re.match(r"(?:\s|--[^\n]*\n)*CREATE TABLE (\w+)", statement) for statement in schema_statements())
    return tuple(match[1] for match in found if match)


def create(connection: sqlite3.Connection, now: str) -> None:
    """Make all tables, inside the caller's transaction."""
    for statement in schema_statements():
        connection.execute(statement)
    # A new file has no older evidence against the clock that made it.
    connection.execute("INSERT INTO retention (id, clock_believed_until) VALUES (1, ?)", (now,))
    _record(connection, VERSION, now)


def migrate(
    connection: sqlite3.Connection, found: int, now: str, steps: Mapping[int, Sequence[str]] = STEPS, to: int = VERSION
) -> None:
    """Lead a file of version `found` to version `to`, inside the caller's transaction."""
    for version in range(found, to):
        for statement in steps[version]:
            connection.execute(statement)
        _record(connection, version + 1, now)


def read_as_newest(connection: sqlite3.Connection) -> None:
    """Let a connection that may not migrate read calls of an older file: columns that came later are NULL there.

    Must come before `PRAGMA query_only`; it writes nothing into the file.
    """
    there = [row[1] for row in connection.execute("PRAGMA main.table_info(invocations)")]
    missing = [column for added in migration_steps.ADDED.values() for column in added if column not in there]
    if there and missing:
        later = ", ".join(f"NULL AS {column}" for column in missing)
        connection.execute(f"CREATE TEMP VIEW invocations AS SELECT *, {later} FROM main.invocations")  # noqa: S608


def _record(connection: sqlite3.Connection, version: int, now: str) -> None:
    connection.execute("INSERT INTO schema_version (version, applied_at) VALUES (?, ?)", (version, now))
    connection.execute(f"PRAGMA user_version = {version:d}")
