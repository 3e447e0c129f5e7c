"""Which counters a file has: a new one knows what is there already, and one that no policy names any more is forgotten.

Every writer counts for every counter, so those that nobody needs would cost each of them for ever. And whatever is kept
of windows that are long over goes as well, a little at a time.
"""

import sqlite3
from collections.abc import Generator, Iterable
from contextlib import contextmanager, suppress
from typing import Final

from llm_service.budgets.scopes import Call, Counter, CounterKey
from llm_service.telemetry import budget_statements as sql
from llm_service.telemetry.budget_statements import HoldRow, Place
from llm_service.telemetry.rollups import nanos as to_nanos
from llm_service.telemetry.stores.budget_counting import BudgetBook, to_change
from llm_service.telemetry.timestamps import microseconds_text, text_microseconds

__all__ = ["add_counters", "register"]

_BACKFILL: Final = """
SELECT agent_name, tool_name, model_name, request_model, user_id, session_id, trace_id, timestamp, cost_usd,
    total_tokens
FROM invocations WHERE timestamp >= ?
"""


# Registering


def register(connection: sqlite3.Connection, book: BudgetBook, wanted: Iterable[CounterKey], now_us: int) -> None:
    """Have the file count what these limits need, from the start of their present windows on.

    One transaction, which reads the records of those windows where a counter is new. Nothing is written where all are
    there.

    Raises:
        sqlite3.Error: the file is locked, full or damaged.
    """
    known = {CounterKey(*row[1:5]) for row in connection.execute(sql.COUNTERS)}
    missing = [key for key in wanted if key not in known]
    if missing:
        with _transaction(connection, book):
            add_counters(connection, book, missing, now_us)


def add_counters(connection: sqlite3.Connection, book: BudgetBook, wanted: Iterable[CounterKey], now_us: int) -> None:
    """As `register`, within a transaction that the book has begun."""
    missing = [key for key in wanted if key not in book.ids()]
    for key in missing:
        _add_counter(connection, key, now_us)
    if missing:
        book.begin(connection)


def _add_counter(connection: sqlite3.Connection, key: CounterKey, now_us: int) -> None:
    since = microseconds_text(Counter(0, key).window.counts_from(now_us, key.timezone))
    row_id = connection.execute(sql.ADD_COUNTER, (*key, since, microseconds_text(now_us))).lastrowid
    counter = Counter(int(row_id or 0), key)
    sums: dict[Place, list[int]] = {}
    for *names, timestamp, cost, tokens in connection.execute(_BACKFILL, (since,)):
        place = _place(counter, Call(*names), timestamp)
        if place is not None:
            row = sums.setdefault(place, [0] * len(sql.AMOUNTS))
            row[0] += 0 if cost is None else to_nanos(cost)
            row[1] += tokens or 0
            row[2] += 1
            row[9] += cost is None
    for hold in map(HoldRow._make, connection.execute(sql.ALL_HOLDS).fetchall()):
        call = sql.names_call(hold.names)
        place = None if call is None else _place(counter, call, hold.reserved_at)
        if place is not None and place.window_start >= since:
            row = sums.setdefault(place, [0] * len(sql.AMOUNTS))
            for at, amount in enumerate(hold.amounts, 3 if hold.state == "held" else 6):
                row[at] += amount
            # So the end of the hold takes out of the window what is put into it here.
            windows = sql.places_json([*sql.to_places(hold.windows), place])
            connection.execute(sql.PLACE_HOLD, (windows, hold.hold_id))
    changes = [(place, to_change(row)) for place, row in sums.items()]
    for statement, parameters in sql.add_to_windows(changes):
        connection.execute(statement, parameters)


def _place(counter: Counter, call: Call, moment: str) -> Place | None:
    """Where a call is counted by a counter; None where it is not."""
    subject = counter.subject(call)
    if subject is None:
        return None
    return Place(counter.id, subject, microseconds_text(counter.span(text_microseconds(moment)).start))


@contextmanager
def _transaction(connection: sqlite3.Connection, book: BudgetBook) -> Generator[None]:
    """All of the block, or nothing of it: in the file, and in the book."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        book.begin(connection)
        yield
        connection.execute("COMMIT")
    except BaseException:
        book.rolled_back()
        if connection.in_transaction:  # a full disk rolls back by itself
            with suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
        raise
