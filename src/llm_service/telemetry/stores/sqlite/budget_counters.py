"""The counters of a file: new ones start from the stored records, unused ones are deleted.

Every writer updates every counter, so unused ones would cost time for ever. Data of windows that ended long ago is
deleted as well, in small steps.
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
"""Days after which a counter that no policy names is deleted, and a hold of unknown outcome if all its windows ended
long ago."""
_DAY_US: Final = 86_400_000_000
_MOST: Final = 500
"""Rows of each kind that one step deletes."""

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
    """Create the counters that these limits need, counted from the start of their present windows.

    One transaction; for a new counter it reads the records of its present window. Nothing is written if all counters
    exist and were named within a day.

    Returns:
        Whether to call `forget`: true once a day.
    """
    # An invalid `named_at` counts as never: the counter is named anew, or deleted in time.
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
    """Create counters as `register` does, within a transaction that the book has begun."""
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
            # So the end of the hold subtracts from the window what is added here.
            windows = sql.places_json([*to_places(hold.windows), place])
            connection.execute(sql.PLACE_HOLD, (windows, hold.hold_id))
    changes = [(place, to_change(row)) for place, row in sums.items()]
    for statement, parameters in sql.add_to_windows(changes):
        connection.execute(statement, parameters)


def find_damaged(connection: sqlite3.Connection) -> frozenset[int]:
    """Counters with a window row whose key is damaged; all counters, if a row does not name its counter."""
    found = {number for (number,) in connection.execute(_DAMAGED)}
    there = {number for (number,) in connection.execute(_COUNTER_IDS)}
    return frozenset(there if found - there else found)


# Forgetting


def forget(connection: sqlite3.Connection, book: BudgetBook, now_us: int) -> bool:
    """Delete a few hundred rows that are no longer needed: counters, windows, reported thresholds and old holds.

    Calendar windows are deleted two months after their end, slices once they leave their rolling window. Windows with
    holds or unknown outcomes stay, and so do `total` and counters with holds. The rows are searched before the write
    lock is taken.

    Args:
        connection: not in a transaction.
        now_us: microseconds since 1970, by a trusted clock.

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
        # Another process may have named a counter, or made or ended a hold meanwhile.
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
    # Damaged rows cannot be deleted by key: they stay, and are no reason to go on.
    return connection.total_changes > before or not (gone or holds or windows or alerts)


def _unneeded_counters(connection: sqlite3.Connection, now_us: int) -> list[int]:
    found = [number for (number,) in connection.execute(_NOT_NAMED, (_long_ago(now_us),))]
    if found:
        held = {place.counter_id for hold in _holds(connection, sql.ALL_HOLDS) for place in to_places(hold.windows)}
        found = [number for number in found if number not in held]
    return found


def _old_holds(connection: sqlite3.Connection, now_us: int) -> list[str]:
    """Holds of unknown outcome whose windows all ended long ago: no limit counts them any more."""
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
    """Keys of a few hundred rows that are too old, or whose counter is gone."""
    select = f"SELECT {', '.join(key)} FROM {table}"  # noqa: S608 - names of this module's own
    rows = connection.execute(f"{select} WHERE {_NO_COUNTER} {condition} LIMIT {_MOST}").fetchall()
    for number, before in _bounds(connection, now_us).items():
        old = f"{select} WHERE counter_id = ? AND window_start < ? {condition} LIMIT ?"
        rows += connection.execute(old, (number, before, max(0, _MOST - len(rows)))).fetchall()
    return rows


def _bounds(connection: sqlite3.Connection, now_us: int) -> dict[int, str]:
    """By counter: windows that begin before this are too old."""
    counters = read_counters(connection.execute(sql.COUNTERS), now_us).known
    return {counter.id: microseconds_text(kept_from(counter, now_us)) for counter in counters}


def _holds(connection: sqlite3.Connection, statement: str, *parameters: str) -> Iterator[HoldRow]:
    return map(HoldRow.of, connection.execute(statement, parameters).fetchall())


def _delete(table: str, key: Sequence[str]) -> str:
    return f"DELETE FROM {table} WHERE {' AND '.join(f'{name} = ?' for name in key)}"  # noqa: S608 - built from constants


def _long_ago(now_us: int) -> str:
    return microseconds_text(max(0, now_us - FORGOTTEN_DAYS * _DAY_US))
