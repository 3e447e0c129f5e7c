"""The SQL of budgets: pure functions and constants, without a connection."""

import json
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple

from llm_service.budgets.limits import Amounts, Totals
from llm_service.telemetry.record.checks import MAX_TOKENS
from llm_service.telemetry.stores.call_sums import IS_CALL
from llm_service.telemetry.stores.sqlite.big_sums import added, is_sum, storable
from llm_service.telemetry.stores.sqlite.statements import MAX_VARIABLES

__all__ = [
    "ADD_COUNTER",
    "ALL_HOLDS",
    "AMOUNTS",
    "BACKFILL",
    "COUNTERS",
    "COUNTERS_VERSION",
    "DROP_HOLD",
    "EXPIRED_HOLDS",
    "FIND_HOLD",
    "HAS_HOLDS",
    "HOLD_COLUMNS",
    "INEXACT",
    "IS_PARTIAL",
    "KEEP_HOLD",
    "NAMED",
    "NANOS_OF",
    "NOT_WHOLE",
    "PARAMETERS",
    "PLACE_HOLD",
    "RENAME_HOLD",
    "TELL_ONCE",
    "TOKENS_OF",
    "UNPLACED",
    "UNREADABLE_KEY",
    "UPDATE_HOLD",
    "Change",
    "Place",
    "add_to_windows",
    "find_holds",
    "names_json",
    "places_json",
    "read_committed",
    "read_windows",
    "to_totals",
]

COUNTERS_VERSION: Final = "SELECT count(*), coalesce(max(id), 0) FROM budget_counters"
COUNTERS: Final = "SELECT id, scope, per, window, timezone, counted_since FROM budget_counters ORDER BY id"
ADD_COUNTER: Final = """
INSERT INTO budget_counters (scope, per, window, timezone, counted_since, named_at) VALUES (?, ?, ?, ?, ?, ?)
"""

RUN_OF: Final = "coalesce(run, trace_id)"
"""The run that a record counts for; `budget_counting.call_of` says the same."""
BACKFILL: Final = f"""
SELECT agent_name, tool_name, model_name, request_model, user_id, session_id, {RUN_OF}, timestamp, cost_usd,
    total_tokens, {IS_CALL}
FROM invocations WHERE timestamp >= ?
"""  # noqa: S608 - built from constants
"""The records of the present window of a new counter."""

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
_NOT_INTEGER: Final = " OR ".join(f"typeof({name}) <> 'integer'" for name in AMOUNTS)
NOT_WHOLE: Final = " OR ".join(f"NOT {is_sum(name)}" for name in AMOUNTS)
"""Whether a row of `budget_windows` has an amount that is no sum (damage, or a manual edit)."""
INEXACT: Final = " OR ".join(f"typeof({name}) = 'real'" for name in AMOUNTS)
"""Whether one is beyond 64 bits, where it is not damaged."""
UNREADABLE_KEY: Final = (
    "typeof(counter_id) <> 'integer' OR counter_id NOT BETWEEN 1 AND "
    "coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'budget_counters'), 0) OR "
    "typeof(subject) <> 'text' OR subject NOT GLOB '[[]*]' OR subject GLOB '*[^ -~]*' OR typeof(window_start) <> 'text'"
    " OR (window_start <> '' AND window_start NOT GLOB '[0-9][0-9][0-9][0-9]-[01][0-9]-[0-3][0-9]"
    " [0-2][0-9]:[0-5][0-9]:[0-5][0-9].[0-9][0-9][0-9][0-9][0-9][0-9]Z')"
)
"""Whether the key of a row of `budget_windows` is invalid, so that its amounts are never found."""

NANOS_OF: Final = (
    "CASE WHEN typeof(cost_usd) IN ('real', 'integer') AND cost_usd BETWEEN 0 AND 1000000 "
    "THEN CAST(cost_usd * 1e9 + 0.5 AS INTEGER) END"
)
"""Nano-dollars of a record, by the same double operations as the writer's; NULL if unknown."""
TOKENS_OF: Final = (
    f"CASE WHEN typeof(total_tokens) = 'integer' AND total_tokens BETWEEN 0 AND {MAX_TOKENS:d} "
    "THEN total_tokens ELSE 0 END"
)
"""Tokens of a record; NULL if the stored value is invalid."""

NAMED: Final = ("agent", "tool", "model", "user", "session", "run")

HOLD_COLUMNS: Final = "hold_id, state, reserved_at, expires_at, nanos, tokens, calls, windows, names, justification"
KEEP_HOLD: Final = f"""
INSERT INTO budget_holds ({HOLD_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (hold_id) DO NOTHING
"""  # noqa: S608 - built from constants
ALL_HOLDS: Final = f"SELECT {HOLD_COLUMNS} FROM budget_holds"  # noqa: S608 - built from constants
PLACE_HOLD: Final = "UPDATE budget_holds SET windows = ? WHERE hold_id = ?"
FIND_HOLD: Final = f"SELECT {HOLD_COLUMNS} FROM budget_holds WHERE hold_id = ?"  # noqa: S608 - built from constants
UPDATE_HOLD: Final = """
UPDATE OR IGNORE budget_holds SET state = 'unknown', nanos = ?, tokens = ?, calls = ?, hold_id = ? WHERE hold_id = ?
"""
RENAME_HOLD: Final = "UPDATE OR IGNORE budget_holds SET hold_id = ? WHERE hold_id = ?"
DROP_HOLD: Final = "DELETE FROM budget_holds WHERE hold_id = ?"
IS_PARTIAL: Final = """
SELECT 1 FROM invocations WHERE invocation_id = ? AND usage_source = 'partial' AND cost_source = 'computed'
"""
"""Whether a stored call's usage is partial, so that its computed cost is a lower bound."""
HAS_HOLDS: Final = "SELECT EXISTS (SELECT 1 FROM budget_holds)"
EXPIRED_HOLDS: Final = f"SELECT {HOLD_COLUMNS} FROM budget_holds WHERE state = 'held' AND expires_at <= ? LIMIT 200"  # noqa: S608 - built from constants

TELL_ONCE: Final = """
INSERT INTO budget_alerts (policy, counter_id, subject, window_start, metric, threshold_percent, told_at)
VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING
"""


UNPLACED: Final = ""
"""The window start if a writer could not compute it. Amounts there count in every window."""


class Place(NamedTuple):
    """One key of `budget_windows`; the start is the stored text."""

    counter_id: int
    subject: str
    window_start: str


class Change(NamedTuple):
    """Increments of a row of `budget_windows`; they may be negative."""

    spent: Amounts = Amounts()
    reserved: Amounts = Amounts()
    unknown: Amounts = Amounts()
    unpriced_calls: int = 0


PARAMETERS: Final = 6
"""Parameters for each window: counter, subject, first and last key, then counter and subject again.

Python 3.12 warns of numbered parameters that are given as a sequence."""


@lru_cache(maxsize=64)
def read_committed(count: int, *, closely: bool = False) -> str:
    """Like `read_windows`, only with the sums that count against limits.

    Its rows are counter, nano-dollars, tokens and calls, and whether a number is damaged; or, where not looked at
    `closely`, is no integer, so that it may be: that takes half the time.
    """
    sums = ", ".join(f"sum(spent_{name} + reserved_{name} + unknown_{name})" for name in ("nanos", "tokens", "calls"))
    return _of_windows(f"counter_id, {sums}, max({NOT_WHOLE if closely else _NOT_INTEGER})", count)


@lru_cache(maxsize=64)
def read_windows(count: int) -> str:
    """The statement that reads `count` windows in one step without the GIL. It takes `PARAMETERS` for each.

    Its rows are counter, subject and the arguments of `to_totals`. An empty window has no row; a window may have two
    rows: its own and that of `UNPLACED`.
    """
    return _of_windows(f"counter_id, subject, {_SUMS}", count)


def _of_windows(columns: str, count: int) -> str:
    """Sums of `count` windows, each with its `UNPLACED` part."""
    one = (
        f"SELECT {columns} FROM budget_windows WHERE counter_id = ? AND subject = ?"  # noqa: S608 - names of our own
        " AND {} GROUP BY counter_id, subject"
    )
    parts = (one.format("window_start >= ? AND window_start <= ?"), one.format(f"window_start = '{UNPLACED}'"))
    return " UNION ALL ".join(parts * count)


def to_totals(row: Sequence[Any]) -> Totals:
    """The sums of a window, in the order of `AMOUNTS`."""
    whole = [value if isinstance(value, int) else 0 for value in row]  # damage is reported elsewhere
    return Totals(Amounts(*whole[0:3]), Amounts(*whole[3:6]), Amounts(*whole[6:9]), whole[9])


def places_json(places: Iterable[Place]) -> str:
    """Places as a hold stores them."""
    return _compact(list(places))


def names_json(names: Sequence[str | None]) -> str:
    """The names of a call, in the order of `NAMED`, as a hold stores them."""
    return _compact({name: value for name, value in zip(NAMED, names, strict=True) if value is not None})


_ROWS: Final = (64, 16, 8, 4, 3, 2, 1)
"""Rows per statement: few sizes, so that statements stay prepared; 64 x 13 is within `MAX_VARIABLES`."""
_compact: Final = json.JSONEncoder(separators=(",", ":")).encode  # `json.dumps` would make an encoder at each call


def add_to_windows(changes: Sequence[tuple[Place, Change]]) -> Iterator[tuple[str, list[Any]]]:
    """Statements that add these changes, and name only amounts that change: each costs time, as rows do."""
    rows = [(*change.spent, *change.reserved, *change.unknown, change.unpriced_calls) for _, change in changes]
    used = tuple(at for at, amounts in enumerate(zip(*rows, strict=True)) if any(amounts)) or tuple(range(len(AMOUNTS)))
    start = 0
    for size in _ROWS:
        while len(changes) - start >= size:
            parameters: list[Any] = []
            for at in range(start, start + size):
                parameters += changes[at][0]
                parameters += [storable(rows[at][column]) for column in used]
            yield _upsert(size, used), parameters
            start += size


@lru_cache(maxsize=64)
def _upsert(rows: int, used: Sequence[int]) -> str:
    names = [AMOUNTS[at] for at in used]
    one = f"({', '.join('?' * (3 + len(names)))})"
    # A damaged sum stays damaged until doctor recounts it: it must not make a record fail.
    sums = ", ".join(
        f"{name} = CASE typeof({name}) WHEN 'integer' THEN {name} + excluded.{name}"  # as nearly always
        f" WHEN 'real' THEN {added(name)} ELSE coalesce({name}, '?') END"
        for name in names
    )
    return (
        f"INSERT INTO budget_windows (counter_id, subject, window_start, {', '.join(names)})"  # noqa: S608 - built from constants
        f" VALUES {', '.join([one] * rows)}"
        f" ON CONFLICT (counter_id, subject, window_start) DO UPDATE SET {sums}"
    )


@lru_cache(maxsize=256)
def _find_holds(count: int) -> str:
    return f"SELECT {HOLD_COLUMNS} FROM budget_holds WHERE hold_id IN ({', '.join('?' * count)})"  # noqa: S608 - built from constants


def find_holds(ids: Sequence[str]) -> Iterator[tuple[str, Sequence[str]]]:
    """Queries for the holds of these ids."""
    for start in range(0, len(ids), MAX_VARIABLES):
        some = ids[start : start + MAX_VARIABLES]
        yield _find_holds(len(some)), some
