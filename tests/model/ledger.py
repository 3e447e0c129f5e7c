"""What the windows of budgets must hold, counted anew from records and holds: the truth that every test compares with."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from llm_service.budgets.scopes import Call, Counter, CounterKey
from llm_service.config.schemas import PoliciesConfig
from llm_service.telemetry.record.operations import SPANS
from llm_service.telemetry.record.timestamps import microseconds_text, text_microseconds

Key = tuple[int, str, str]

_RECORDS = """
SELECT agent_name, tool_name, model_name, request_model, user_id, session_id,
    CASE WHEN run IS NULL THEN trace_id ELSE run END, timestamp, cost_usd, total_tokens, operation
FROM invocations
"""


def policies(**given: Any) -> PoliciesConfig:
    """Policies of these names; one that is only a number is USD a day."""
    named = {name: value if isinstance(value, dict) else {"daily_budget_usd": value} for name, value in given.items()}
    return PoliciesConfig.model_validate({"policies": named})


def windows(path: Path) -> dict[Key, tuple[int, ...]]:
    """What the file says, without windows that hold nothing."""
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute("SELECT * FROM budget_windows").fetchall()
    return {tuple(row[:3]): tuple(row[3:]) for row in rows if any(row[3:])}


def recounted(path: Path) -> dict[Key, tuple[int, ...]]:
    """What it should say: of all records, and of all holds."""
    sums: dict[Key, list[int]] = {}
    with closing(sqlite3.connect(path)) as connection:
        for number, *key, since in connection.execute(
            "SELECT id, scope, per, window, timezone, counted_since FROM budget_counters"
        ).fetchall():
            counter = Counter(number, CounterKey(*key))
            for *names, timestamp, cost, tokens, operation in connection.execute(
                f"{_RECORDS} WHERE timestamp >= ?", (since,)
            ):
                subject = counter.subject(Call(*names))
                if subject is not None:
                    start = microseconds_text(counter.span(text_microseconds(timestamp)).start)
                    row = sums.setdefault((number, subject, start), [0] * 10)
                    row[0] += 0 if cost is None else int(cost * 1e9 + 0.5)
                    row[1] += tokens or 0
                    row[2] += operation not in SPANS
                    row[9] += operation not in SPANS and cost is None
        for state, nanos, tokens, calls, places in connection.execute(
            "SELECT state, nanos, tokens, calls, windows FROM budget_holds"
        ):
            at = 3 if state == "held" else 6
            for place in json.loads(places):
                row = sums.setdefault(tuple(place), [0] * 10)
                for offset, amount in enumerate((nanos, tokens, calls)):
                    row[at + offset] += amount
    return {key: tuple(row) for key, row in sums.items() if any(row)}


def check_books(path: Path) -> dict[Key, tuple[int, ...]]:
    """The windows, having checked that they are the sums of records and holds, as far back as all are counted."""
    found = windows(path)
    with closing(sqlite3.connect(path)) as connection:
        since = dict(connection.execute("SELECT id, counted_since FROM budget_counters"))
    assert {key: row for key, row in found.items() if key[2] >= since.get(key[0], "~")} == recounted(path)
    return found


def totals(path: Path) -> dict[str, tuple[int, int, int]]:
    """Spent, reserved and unknown nano-dollars by window name, all subjects and keys together; books are checked."""
    check_books(path)
    sql = """SELECT window, sum(spent_nanos), sum(reserved_nanos), sum(unknown_nanos)
        FROM budget_counters JOIN budget_windows ON id = counter_id GROUP BY window"""
    with closing(sqlite3.connect(path)) as connection:
        return {row[0]: tuple(row[1:]) for row in connection.execute(sql)}


def holds(path: Path) -> list[tuple[Any, ...]]:
    """Id, state, nanos, tokens and calls of each hold."""
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(
            "SELECT hold_id, state, nanos, tokens, calls FROM budget_holds ORDER BY reserved_at, hold_id"
        ).fetchall()
