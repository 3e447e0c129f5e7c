"""Changes the cost of stored calls: rows, daily totals and budgets in one transaction."""

import sqlite3
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple, TypeVar

from llm_service.budgets.scopes import Call
from llm_service.telemetry.record.operations import is_span
from llm_service.telemetry.record.timestamps import text_microseconds
from llm_service.telemetry.stores.rollups import DailyKey
from llm_service.telemetry.stores.sqlite.budget_counting import BudgetBook, Recost
from llm_service.telemetry.stores.sqlite.rollup_progress import read_progress

__all__ = ["Change", "NewCost", "recost"]

_K = TypeVar("_K")
_QUARTERS: Final = ("00", "15", "30", "45")

_CHANGE: Final = """
UPDATE invocations SET cost_usd = ?, cost_source = ? WHERE id = ? AND cost_usd IS ? AND cost_source IS ?
"""
_ADD_TO_QUARTER: Final = """
UPDATE quarter_hours SET cost_nanos = cost_nanos + ?, unpriced = unpriced - ? WHERE quarter = ?
"""
# The same double operations as the upsert of `statements`.
_ADD: Final = """
UPDATE daily_costs
SET total_cost_usd = (cost_nanos + :more) / 1e9, cost_nanos = cost_nanos + :more, unpriced = unpriced - :fewer
WHERE date = :date AND coalesce(agent_name, '') = coalesce(:agent_name, '')
AND coalesce(tool_name, '') = coalesce(:tool_name, '') AND coalesce(model_name, '') = coalesce(:model_name, '')
"""


class Change(NamedTuple):
    """A stored call whose cost changed. `timestamp` is the UTC text of the row; None nano-dollars are unknown."""

    invocation_id: str
    request_model: str | None
    agent_name: str | None
    tool_name: str | None
    model_name: str | None
    user_id: str | None
    session_id: str | None
    run: str | None
    operation: str | None
    timestamp: str
    old_nanos: int | None
    new_nanos: int | None


class NewCost(NamedTuple):
    """The new cost of a stored call, whose row is changed only if it still has the old one."""

    id: int
    usd: float
    source: str
    old_usd: float | None
    old_source: str | None
    change: Change


def recost(connection: sqlite3.Connection, book: BudgetBook, rows: Sequence[NewCost], since: str = "") -> list[Change]:
    """Change rows as they were read, with totals and budgets, in the caller's transaction; none before `since`."""
    changed = [
        row
        for row in rows
        if row.change.timestamp >= since
        and connection.execute(_CHANGE, (row.usd, row.source, row.id, row.old_usd, row.old_source)).rowcount
    ]
    changes = [row.change for row in changed]
    for key, (more_nanos, fewer_unpriced) in _sums(_day_of, changes).items():
        connection.execute(_ADD, {**key._asdict(), "more": more_nanos, "fewer": fewer_unpriced})
    uncounted_to = read_progress(connection).uncounted_to
    counted = (row.change for row in changed if row.id > uncounted_to)
    for quarter, sums in _sums(_quarter_of, counted).items():
        connection.execute(_ADD_TO_QUARTER, (*sums, quarter))
    if changes and book.begin(connection):
        book.recost(map(_recost, changes))
    return changes


def _recost(change: Change) -> Recost:
    call = Call(
        change.agent_name, change.tool_name, change.model_name, change.request_model,
        change.user_id, change.session_id, change.run,
    )  # fmt: skip
    moment, is_call = text_microseconds(change.timestamp), not is_span(change.operation)
    return Recost(change.invocation_id, call, moment, change.old_nanos, change.new_nanos, is_call)


def _day_of(change: Change) -> DailyKey:
    return DailyKey(change.timestamp[:10], change.agent_name, change.tool_name, change.model_name)


def _quarter_of(change: Change) -> str:
    minute = change.timestamp[14:16]  # compared as `call_sums.QUARTER` does, whatever stands there
    return change.timestamp[:14] + max((start for start in _QUARTERS if start <= minute), default=_QUARTERS[0])


def _sums(key_of: Callable[[Change], _K], changes: Iterable[Change]) -> dict[_K, tuple[int, int]]:
    """Added nano-dollars and removed unpriced calls, by row of a roll-up."""
    sums: defaultdict[_K, tuple[int, int]] = defaultdict(lambda: (0, 0))
    for change in changes:
        if is_span(change.operation):
            continue
        key = key_of(change)
        more, fewer = sums[key]
        old, new = change.old_nanos, change.new_nanos
        sums[key] = (more + (new or 0) - (old or 0), fewer + (old is None and new is not None))
    return dict(sums)
