"""Which records `quarter_hours` counts in a file that a migration gave it: those above an id that falls to 0.

Writers count what they insert from the migration on; `backfill` counts what was there before, in steps. Both look here
in their own transactions, so that each record is counted once.
"""

import sqlite3
from typing import NamedTuple

from llm_service.telemetry.stores.sqlite.odd_values import rows_of

__all__ = ["Progress", "keep_apart", "read_progress"]

_NEWEST = "SELECT coalesce(max(id), 0) FROM invocations"
_READ = "SELECT uncounted_to, complete_since FROM rollup_progress WHERE id = 1"
# Ids are used again once the newest rows are deleted, by a purge or by the file's owner.
_LOWER = f"UPDATE rollup_progress SET uncounted_to = ({_NEWEST}) WHERE id = 1 AND uncounted_to > ({_NEWEST})"  # noqa: S608


class Progress(NamedTuple):
    """What is counted.

    Attributes:
        uncounted_to: records up to this id are not counted yet.
        complete_since: the UTC day from which on all calls are counted, '' for all; None until the backfill is done.
    """

    uncounted_to: int
    complete_since: str | None


def read_progress(connection: sqlite3.Connection) -> Progress:
    """As it is stored; where no writer wrote what is (damage), nothing is known to be complete."""
    rows = rows_of(connection, _READ)
    uncounted_to, complete_since = rows[0] if rows else (None, None)
    if type(uncounted_to) is not int or uncounted_to < 0:
        return Progress(0, None)
    return Progress(uncounted_to, complete_since if isinstance(complete_since, str) else None)


def keep_apart(connection: sqlite3.Connection) -> bool:
    """Before records are inserted, in their transaction: what comes is above what waits; whether nothing waits."""
    if read_progress(connection).uncounted_to == 0:
        return True
    connection.execute(_LOWER)
    return False
