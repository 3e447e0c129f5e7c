"""The SQL of budgets, as pure functions of amounts: no connection in sight."""

import json
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple

from llm_service.budgets.limits import Amounts, Totals
from llm_service.budgets.scopes import Call
from llm_service.telemetry.statements import MAX_VARIABLES

__all__ = [
    "ADD_COUNTER",
    "ALL_HOLDS",
    "AMOUNTS",
    "COUNTERS",
    "COUNTERS_VERSION",
    "DROP_HOLD",
    "EXPIRED_HOLDS",
    "FIND_HOLD",
    "HAS_HOLDS",
    "HOLD_COLUMNS",
    "KEEP_HOLD",
    "LATEST",
    "NAMED",
    "PLACE_HOLD",
    "RENAME_HOLD",
    "TELL_ONCE",
    "UPDATE_HOLD",
    "Change",
    "HoldRow",
    "Place",
    "add_to_windows",
    "find_holds",
    "names_call",
    "names_json",
    "places_json",
    "read_committed",
    "read_windows",
    "to_places",
    "to_totals",
]

COUNTERS_VERSION: Final = "SELECT count(*), coalesce(max(id), 0) FROM budget_counters"
COUNTERS: Final = "SELECT id, scope, per, window, timezone, counted_since FROM budget_counters ORDER BY id"
ADD_COUNTER: Final = """
INSERT INTO budget_counters (scope, per, window, timezone, counted_since, named_at) VALUES (?, ?, ?, ?, ?, ?)
"""

AMOUNTS: Final = (
    "spent_nanos",
    "spent_tokens",
    "spent_calls",
    "reserved_nanos",
    "reserved_tokens",
    "reserved_calls",
    "unknown_nanos",
    "unknown_tokens",
    "unknown_calls",
    "unpriced_calls",
)
_SUMS: Final = ", ".join(f"coalesce(sum({name}), 0)" for name in AMOUNTS)

_READ_WINDOW: Final = (
    f"SELECT counter_id, subject, {_SUMS} FROM budget_windows"  # noqa: S608 - names of this module's own
    " WHERE counter_id = ? AND subject = ? AND window_start >= ? AND window_start <= ?"
    " GROUP BY counter_id, subject"
)

NAMED: Final = ("agent", "tool", "model", "user", "session", "run")

HOLD_COLUMNS: Final = "hold_id, state, reserved_at, expires_at, nanos, tokens, calls, windows, names, justification"
KEEP_HOLD: Final = f"""
INSERT INTO budget_holds ({HOLD_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (hold_id) DO NOTHING
"""  # noqa: S608 - as above
ALL_HOLDS: Final = f"SELECT {HOLD_COLUMNS} FROM budget_holds"  # noqa: S608 - as above
PLACE_HOLD: Final = "UPDATE budget_holds SET windows = ? WHERE hold_id = ?"
FIND_HOLD: Final = f"SELECT {HOLD_COLUMNS} FROM budget_holds WHERE hold_id = ?"  # noqa: S608 - as above
UPDATE_HOLD: Final = """
UPDATE OR IGNORE budget_holds SET state = 'unknown', nanos = ?, tokens = ?, calls = ?, hold_id = ? WHERE hold_id = ?
"""
RENAME_HOLD: Final = "UPDATE OR IGNORE budget_holds SET hold_id = ? WHERE hold_id = ?"
DROP_HOLD: Final = "DELETE FROM budget_holds WHERE hold_id = ?"
HAS_HOLDS: Final = "SELECT EXISTS (SELECT 1 FROM budget_holds)"
EXPIRED_HOLDS: Final = f"SELECT {HOLD_COLUMNS} FROM budget_holds WHERE state = 'held' AND expires_at <= ? LIMIT 200"  # noqa: S608 - as above

TELL_ONCE: Final = """
INSERT INTO budget_alerts (policy, counter_id, subject, window_start, metric, threshold_percent, told_at)
VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING
"""


LATEST: Final = "9999-12-31 23:59:59.999999Z"
"""No window starts later."""


class Place(NamedTuple):
    """One key of `budget_windows`; its start is the text that stands there."""

    counter_id: int
    subject: str
    window_start: str


class Change(NamedTuple):
    """What is added to a row of `budget_windows`; numbers may be negative."""

    spent: Amounts = Amounts()
    reserved: Amounts = Amounts()
    unknown: Amounts = Amounts()
    unpriced_calls: int = 0


class HoldRow(NamedTuple):
    """A row of `budget_holds`, in its order."""

    hold_id: str
    state: str
    reserved_at: str
    expires_at: str
    nanos: int
    tokens: int
    calls: int
    windows: str
    names: str
    justification: str | None

    @property
    def amounts(self) -> Amounts:
        """What it holds."""
        return Amounts(self.nanos, self.tokens, self.calls)


@lru_cache(maxsize=64)
def read_committed(count: int) -> str:
    """As `read_windows`, for what counts against limits alone: counter, and nano-dollars, tokens and calls."""
    sums = ", ".join(f"sum(spent_{name} + reserved_{name} + unknown_{name})" for name in ("nanos", "tokens", "calls"))
    one = (
        f"SELECT counter_id, {sums} FROM budget_windows"  # noqa: S608 - names of this module's own
        " WHERE counter_id = ? AND subject = ? AND window_start >= ? AND window_start <= ? GROUP BY counter_id"
    )
    return " UNION ALL ".join([one] * count)


@lru_cache(maxsize=64)
def read_windows(count: int) -> str:
    """The statement that reads `count` windows at once: one step without the GIL. It takes four parameters for each.

    Its rows are counter, subject and what `to_totals` takes; a window in which nothing has happened has none.
    """
    return " UNION ALL ".join([_READ_WINDOW] * count)


def to_totals(row: Sequence[int]) -> Totals:
    """The sums of a window, in the order of `AMOUNTS`."""
    spent, spent_tokens, calls, reserved, reserved_tokens, under_way, unknown, unknown_tokens, lost, unpriced = row
    return Totals(
        Amounts(spent, spent_tokens, calls),
        Amounts(reserved, reserved_tokens, under_way),
        Amounts(unknown, unknown_tokens, lost),
        unpriced,
    )


def places_json(places: Iterable[Place]) -> str:
    """Places as they stand in a hold."""
    return _compact(list(places))


def names_json(names: Sequence[str | None]) -> str:
    """The names of a call, in the order of `NAMED`, as they stand in a hold."""
    return _compact({name: value for name, value in zip(NAMED, names, strict=True) if value is not None})


def names_call(text: str) -> Call | None:
    """The call of which a hold keeps these names; None where a hand has made them unreadable."""
    try:
        names = json.loads(text)
        return Call(**{name: value for name, value in names.items() if name in NAMED and isinstance(value, str)})
    except (ValueError, AttributeError):
        return None


def to_places(text: str) -> list[Place]:
    """The places of a hold."""
    return [Place(*place) for place in json.loads(text)]


_WIDTH: Final = 3 + len(AMOUNTS)
_ROWS: Final = (64, 16, 8, 4, 3, 2, 1)
"""Rows of a statement: few sizes, so that the statements stay prepared; 64 x 13 is within `MAX_VARIABLES`."""
_compact: Final = json.JSONEncoder(separators=(",", ":")).encode  # `json.dumps` would make one at each call


def add_to_windows(changes: Sequence[tuple[Place, Change]]) -> Iterator[tuple[str, list[Any]]]:
    """Statements that add these changes."""
    start = 0
    for size in _ROWS:
        while len(changes) - start >= size:
            parameters: list[Any] = []
            for place, change in changes[start : start + size]:
                parameters += (*place, *change.spent, *change.reserved, *change.unknown, change.unpriced_calls)
            yield _upsert(size), parameters
            start += size


@lru_cache(maxsize=len(_ROWS))
def _upsert(rows: int) -> str:
    one = f"({', '.join('?' * _WIDTH)})"
    sums = ", ".join(f"{name} = {name} + excluded.{name}" for name in AMOUNTS)
    return (
        f"INSERT INTO budget_windows (counter_id, subject, window_start, {', '.join(AMOUNTS)})"  # noqa: S608 - as above
        f" VALUES {', '.join([one] * rows)}"
        f" ON CONFLICT (counter_id, subject, window_start) DO UPDATE SET {sums}"
    )


@lru_cache(maxsize=256)
def _find_holds(count: int) -> str:
    return f"SELECT {HOLD_COLUMNS} FROM budget_holds WHERE hold_id IN ({', '.join('?' * count)})"  # noqa: S608 - as above


def find_holds(ids: Sequence[str]) -> Iterator[tuple[str, Sequence[str]]]:
    """Queries for the holds of these ids."""
    for start in range(0, len(ids), MAX_VARIABLES):
        some = ids[start : start + MAX_VARIABLES]
        yield _find_holds(len(some)), some
