"""Which counters a file has: a new one knows what is there already, and one that no policy names any more is forgotten.

Every writer counts for every counter, so those that nobody needs would cost each of them for ever. And whatever is kept
of windows that are long over goes as well, a little at a time.
"""

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from llm_service.budgets.limits import Amounts
from llm_service.budgets.scopes import Counter, CounterKey
from llm_service.telemetry.record.timestamps import microseconds_text
from llm_service.telemetry.stores.sqlite import budget_statements as sql
from llm_service.telemetry.stores.sqlite.budget_counting import BudgetBook, end_hold, kept_from, to_change
from llm_service.telemetry.stores.sqlite.budget_rows import (
    HoldRow,
    names_call,
    place_at,
    read_counters,
    spent_by,
    to_places,
)
from llm_service.telemetry.stores.sqlite.transactions import transaction

__all__ = ["FORGOTTEN_DAYS", "add_counters", "find_damaged", "forget", "register"]

FORGOTTEN_DAYS: Final = 62
"""Days after which a counter that no policy has named is forgotten, and so is a hold of unknown outcome all of whose
windows are long over."""
_DAY_US: Final = 86_400_000_000
_MOST: Final = 500
"""Rows that one step forgets, of each kind."""

_NAMES: Final = "SELECT id, scope, per, window, timezone, named_at FROM budget_counters ORDER BY id"
_NAME: Final = "UPDATE budget_counters SET named_at = ? WHERE id = ?"
_NOT_NAMED: Final = "SELECT id FROM budget_counters WHERE named_at < ?"
_OLD_HOLDS: Final = f"SELECT {sql.HOLD_COLUMNS} FROM budget_holds WHERE state = 'unknown' AND reserved_at < ?"  # noqa: S608
_DROP_COUNTER: Final = "DELETE FROM budget_counters WHERE id = ?"
_NOTHING_HELD: Final = " AND ".join(
    f"{part}_{name} = 0" for part in ("reserved", "unknown") for name in ("nanos", "tokens", "calls")
)
_NO_COUNTER: Final = "NOT EXISTS (SELECT 1 FROM budget_counters WHERE id = counter_id)"
_DAMAGED: Final = f"SELECT DISTINCT counter_id FROM budget_windows WHERE {sql.UNREADABLE_KEY}"  # noqa: S608 - own names
_COUNTER_IDS: Final = "SELECT id FROM budget_counters"
_WINDOW: Final = ("counter_id", "subject", "window_start")
_ALERT: Final = ("policy", *_WINDOW, "metric", "threshold_percent")


# Registering


def register(connection: sqlite3.Connection, book: BudgetBook, wanted: Iterable[CounterKey], now_us: int) -> bool:
    """Have the file count what these limits need, from the start of their present windows on.

    One transaction, which reads the records of those windows where a counter is new. Nothing is written where all are
    there and were named within a day.

    Returns:
        Whether there may be something to `forget`: looked for once a day.

    Raises:
        sqlite3.Error: the file is locked, full or damaged.
    """
    # What no writer wrote counts as named never: it is named anew, or forgotten in time.
    known = {
        CounterKey(*row[1:5]): (row[0], row[5] if isinstance(row[5], str) else "") for row in connection.execute(_NAMES)
    }
    now = microseconds_text(now_us)
    wanted = list(wanted)
    if wanted:
        book.damaged = find_damaged(connection)
    fresh = (microseconds_text(max(0, now_us - _DAY_US)), microseconds_text(now_us + _DAY_US))
    stale = [known[key][0] for key in wanted if key in known and not fresh[0] <= known[key][1] <= fresh[1]]
    if stale or any(key not in known for key in wanted):
        with transaction(connection, book.rolled_back):
            book.begin(connection)
            connection.executemany(_NAME, [(now, number) for number in stale])
            add_counters(connection, book, wanted, now_us)
    before = _long_ago(now_us)
    return bool(stale) or any(named_at < before for _, named_at in known.values())


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
    sums = spent_by(counter, connection.execute(sql.BACKFILL, (since,)))
    for hold in _holds(connection, sql.ALL_HOLDS):
        place = place_at(counter, names_call(hold.names), hold.reserved_at)
        if place is not None and place.window_start >= since:
            row = sums.setdefault(place, [0] * len(sql.AMOUNTS))
            for at, amount in enumerate(hold.amounts, 3 if hold.state == "held" else 6):
                row[at] += amount
            # So the end of the hold takes out of the window what is put into it here.
            windows = sql.places_json([*to_places(hold.windows), place])
            connection.execute(sql.PLACE_HOLD, (windows, hold.hold_id))
    changes = [(place, to_change(row)) for place, row in sums.items()]
    for statement, parameters in sql.add_to_windows(changes):
        connection.execute(statement, parameters)


def find_damaged(connection: sqlite3.Connection) -> frozenset[int]:
    """Counters of which a window cannot be found any more; all of them, where a row does not say whose it is."""
    found = {number for (number,) in connection.execute(_DAMAGED)}
    there = {number for (number,) in connection.execute(_COUNTER_IDS)}
    return frozenset(there if found - there else found)


# Forgetting


def forget(connection: sqlite3.Connection, book: BudgetBook, now_us: int) -> bool:
    """Let go of a few hundred rows that nobody needs: counters, windows, thresholds that were told, and old holds.

    What is long over: calendar windows two months after their end, slices once they are out of their rolling window. A
    window in which something is held, or of unknown outcome, stays; so does `total`, and a counter with holds. What may
    go is looked for before the write lock is taken.

    Args:
        connection: not in a transaction.
        book: of this connection.
        now_us: microseconds since 1970, by a clock that can be believed.

    Returns:
        Whether more may be left.

    Raises:
        sqlite3.Error: nothing was changed.
    """
    counters, holds = _unneeded_counters(connection, now_us), _old_holds(connection, now_us)
    windows, alerts = _old_windows(connection, now_us), _old_alerts(connection, now_us)
    if not (counters or holds or windows or alerts):
        return False
    before = connection.total_changes
    with transaction(connection, book.rolled_back):
        book.begin(connection)
        # Somebody may have named a counter, held something, or ended a hold meanwhile.
        again = set(_unneeded_counters(connection, now_us))
        gone = [(number,) for number in counters if number in again]
        if gone:
            connection.executemany(_DROP_COUNTER, gone)
            windows, alerts = _old_windows(connection, now_us), _old_alerts(connection, now_us)
        for hold_id in holds[:_MOST]:
            row = connection.execute(sql.FIND_HOLD, (hold_id,)).fetchone()
            if row is not None:
                book.add(end_hold(connection, HoldRow.of(row), Amounts()))
        connection.executemany(f"{_delete('budget_windows', _WINDOW)} AND {_NOTHING_HELD}", windows)
        connection.executemany(_delete("budget_alerts", _ALERT), alerts)
    # What is damaged cannot be named: it stays, and is no reason to go on.
    return connection.total_changes > before or not (gone or holds or windows or alerts)


def _unneeded_counters(connection: sqlite3.Connection, now_us: int) -> list[int]:
    found = [number for (number,) in connection.execute(_NOT_NAMED, (_long_ago(now_us),))]
    if found:
        held = {place.counter_id for hold in _holds(connection, sql.ALL_HOLDS) for place in to_places(hold.windows)}
        found = [number for number in found if number not in held]
    return found


def _old_holds(connection: sqlite3.Connection, now_us: int) -> list[str]:
    """Those of unknown outcome all of whose windows are long over: no limit counts them any more."""
    holds = list(_holds(connection, _OLD_HOLDS, _long_ago(now_us)))
    bounds = _bounds(connection, now_us) if holds else {}
    return [
        hold.hold_id
        for hold in holds
        if all(place.window_start < bounds.get(place.counter_id, "~") for place in to_places(hold.windows))
    ]


def _old_windows(connection: sqlite3.Connection, now_us: int) -> list[tuple[Any, ...]]:
    return _old_rows(connection, "budget_windows", _WINDOW, f"AND {_NOTHING_HELD}", now_us)


def _old_alerts(connection: sqlite3.Connection, now_us: int) -> list[tuple[Any, ...]]:
    return _old_rows(connection, "budget_alerts", _ALERT, "", now_us)


def _old_rows(
    connection: sqlite3.Connection, table: str, key: Sequence[str], condition: str, now_us: int
) -> list[tuple[Any, ...]]:
    """Keys of rows that are long over, or whose counter is gone; a few hundred."""
    select = f"SELECT {', '.join(key)} FROM {table}"  # noqa: S608 - names of this module's own
    rows = connection.execute(f"{select} WHERE {_NO_COUNTER} {condition} LIMIT {_MOST}").fetchall()
    for number, before in _bounds(connection, now_us).items():
        old = f"{select} WHERE counter_id = ? AND window_start < ? {condition} LIMIT ?"
        rows += connection.execute(old, (number, before, max(0, _MOST - len(rows)))).fetchall()
    return rows


def _bounds(connection: sqlite3.Connection, now_us: int) -> dict[int, str]:
    """By counter: windows that begin before are long over."""
    counters = read_counters(connection.execute(sql.COUNTERS), now_us).known
    return {counter.id: microseconds_text(kept_from(counter, now_us)) for counter in counters}


def _holds(connection: sqlite3.Connection, statement: str, *parameters: str) -> Iterator[HoldRow]:
    return map(HoldRow.of, connection.execute(statement, parameters).fetchall())


def _delete(table: str, key: Sequence[str]) -> str:
    return f"DELETE FROM {table} WHERE {' AND '.join(f'{name} = ?' for name in key)}"  # noqa: S608 - as above


def _long_ago(now_us: int) -> str:
    return microseconds_text(max(0, now_us - FORGOTTEN_DAYS * _DAY_US))
