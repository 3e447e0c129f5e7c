"""Costs computed anew: rows, daily totals and budgets together, in steps of some milliseconds, while writers go on.

A step reads a page of rows and looks their prices up without any lock; then one transaction changes those rows that
still hold the cost that was read, and adds to the totals of their days by how much. So each step leaves records and
totals in agreement: a run that is killed is gone on with by the next one, and two at once do the work once.
"""

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal

from llm_service.errors import StoreError
from llm_service.pricing.book import PriceBook
from llm_service.telemetry.maintenance import daily_totals
from llm_service.telemetry.maintenance.check_session import look, open_to_change
from llm_service.telemetry.queries.cells import cost_of as cost_in
from llm_service.telemetry.queries.cells import is_in_range
from llm_service.telemetry.record.operations import is_span
from llm_service.telemetry.record.timestamps import to_microseconds
from llm_service.telemetry.stores.costing import COMPUTED, cost_of
from llm_service.telemetry.stores.rollups import nanos
from llm_service.telemetry.stores.sqlite.budget_counting import BudgetBook
from llm_service.telemetry.stores.sqlite.budget_statements import RUN_OF
from llm_service.telemetry.stores.sqlite.file_identity import identify, require_telemetry
from llm_service.telemetry.stores.sqlite.migrations import read_as_newest
from llm_service.telemetry.stores.sqlite.odd_values import rows_of
from llm_service.telemetry.stores.sqlite.recosting import Change, NewCost, recost
from llm_service.telemetry.stores.sqlite.transactions import transaction

__all__ = ["Change", "OnStep", "RepriceReport", "reprice"]

_ROWS: Final = 256
"""Rows of a step: its transaction takes about 2 ms."""
_ALL: Final = "(cost_usd IS NULL OR cost_source = 'computed')"
_ONLY: Final = {
    None: _ALL,
    "unknown": "cost_usd IS NULL",
    "computed": "(cost_source = 'computed' AND cost_usd IS NOT NULL)",
}
_COLUMNS: Final = (
    "id, invocation_id, timestamp, agent_name, tool_name, model_name, request_model, provider, prompt_tokens, "
    "completion_tokens, cache_read_tokens, cache_write_tokens, reasoning_tokens, cache_write_1h_tokens, service_tier, "
    f"total_tokens, unpriced_usage, cost_usd, cost_source, user_id, session_id, {RUN_OF}, region, operation"
)
_PAGE: Final = (
    "SELECT {columns} FROM invocations WHERE id >= ? AND id <= ? AND timestamp >= ? AND {which} ORDER BY id LIMIT ?"
)
_BOUNDS: Final = "SELECT min(id), max(id), count(*) FROM invocations WHERE timestamp >= ? AND {which}"
_NOTHING_USED: Final = (None,) * 7
_Commit = Callable[[sqlite3.Connection, Sequence[NewCost]], Sequence[Change]]
OnStep = Callable[[sqlite3.Connection, Sequence[Change]], None]
"""Called within the transaction of each step, with what it changed; what it raises undoes the step."""


@dataclass(slots=True)
class RepriceReport:
    """What a run did, or (dry) would do.

    Attributes:
        examined: calls whose cost was unknown or computed.
        priced: calls that have a cost now and had none.
        changed: calls that have another cost now.
        unknown: calls that still have none.
        kept: calls that keep a computed cost because none can be computed any more, mostly for want of a price.
        not_run: calls that cost nothing and used nothing: they were refused, or never sent, so no price concerns them.
        old_nanos, new_nanos: what the calls of `priced` and `changed` cost before and now, in nano-USD.
        unpriced_models: how often a price was missing, by model, provider and service tier as recorded.
    """

    examined: int = 0
    priced: int = 0
    changed: int = 0
    unknown: int = 0
    kept: int = 0
    not_run: int = 0
    old_nanos: int = 0
    new_nanos: int = 0
    unpriced_models: dict[tuple[str | None, str | None, str | None], int] = field(default_factory=dict[Any, int])


def reprice(
    path: Path,
    prices: PriceBook,
    *,
    since: str = "",
    only: Literal["unknown", "computed"] | None = None,
    dry_run: bool = False,
    on_progress: Callable[[int, int], None] = lambda _done, _total: None,
    on_step: OnStep = lambda _connection, _changes: None,
) -> RepriceReport:
    """Compute the cost of stored calls anew, each by the price of its own time, and correct the daily totals.

    Costs that were reported stay, and so do those whose source is not told. Safe beside writers and other runs, and to
    interrupt at any moment; what was done until then stays done. Totals of days whose records are gone stay.

    Args:
        since: UTC text as stored; only calls from then on.
        only: calls without a cost, or those with a computed one.
        on_progress: called with calls examined and calls to examine, after each step.

    Raises:
        StoreError: there is no such file, or it cannot be read or written; steps that were done stay done.
    """
    require_telemetry(path, empty=dry_run)
    run = partial(_run, prices=prices, since=since, which=_ONLY[only], on_progress=on_progress)
    try:
        if dry_run:
            return look(path, partial(_dry, run))
        with closing(open_to_change(path)) as connection:
            return run(connection, commit=partial(_commit, on_step=on_step, book=BudgetBook()))
    except sqlite3.Error as error:
        raise StoreError(f"{path} could not be repriced: {error}; run: llm-telemetry doctor", path) from error


def _dry(run: Callable[[sqlite3.Connection, _Commit], RepriceReport], connection: sqlite3.Connection) -> RepriceReport:
    if not identify(connection).objects:  # a writer is about to make the tables
        return RepriceReport()
    read_as_newest(connection)
    return run(connection, lambda _connection, rows: [row.change for row in rows])


def _run(
    connection: sqlite3.Connection,
    commit: _Commit,
    *,
    prices: PriceBook,
    since: str,
    which: str,
    on_progress: Callable[[int, int], None],
) -> RepriceReport:
    report = RepriceReport()
    first, last, total = connection.execute(_BOUNDS.format(which=which), (since,)).fetchone()
    for page in _pages(connection, first, last, since, which):
        rows = list(_new_costs(page, prices, report))
        changes = commit(connection, rows) if rows else ()
        for change in changes:
            if is_span(change.operation):
                continue
            if change.old_nanos is None:
                report.priced += 1
            else:
                report.changed += 1
            report.old_nanos += change.old_nanos or 0
            report.new_nanos += change.new_nanos or 0
        report.examined += len(page)
        on_progress(min(report.examined, total), total)
    return report


def _pages(
    connection: sqlite3.Connection, first: int | None, last: int | None, since: str, which: str
) -> Iterator[list[tuple[Any, ...]]]:
    """Rows that were there at the beginning, each page read in a moment: no snapshot outlives it."""
    at = first
    sql = _PAGE.format(columns=_COLUMNS, which=which)
    while at is not None and last is not None and (page := rows_of(connection, sql, (at, last, since, _ROWS))):
        yield page
        at = None if page[-1][0] == last else page[-1][0] + 1


def _new_costs(page: Iterable[tuple[Any, ...]], prices: PriceBook, report: RepriceReport) -> Iterator[NewCost]:
    for row in page:
        row_id, invocation_id, moment, agent, tool, model, request_model, provider, prompt, completion, *parts = row
        read, written, reasoned, hour, tier, total, unpriced, usd, source, user, session, run, region, operation = parts
        at_us = _microseconds(moment)
        rates = None if at_us is None else prices.rates(model, provider, at_us, tier, request_model, region)
        counts = (prompt, completion, read, written, reasoned, hour, total)
        is_odd = not all(map(_is_count, counts)) or (usd is not None and cost_in(usd) is None)  # what no writer wrote
        new_usd = None if is_odd else cost_of(rates, *counts, unpriced)
        if new_usd is None and is_span(operation):
            continue
        if new_usd is None and usd == 0 and source == COMPUTED and counts == _NOTHING_USED:
            report.not_run += 1
            continue
        if new_usd is None:
            report.unknown += usd is None
            report.kept += usd is not None
            if rates is None:
                key = (request_model if model is None else model, provider, tier)
                report.unpriced_models[key] = report.unpriced_models.get(key, 0) + 1
        elif new_usd != usd or source != COMPUTED:
            old = None if usd is None else nanos(usd)
            change = Change(
                invocation_id, request_model, agent, tool, model, user, session, run, operation, moment, old,
                nanos(new_usd),
            )  # fmt: skip
            yield NewCost(row_id, new_usd, COMPUTED, usd, source, change)


def _is_count(count: object) -> bool:
    return count is None or (type(count) is int and is_in_range("total_tokens", count))


def _microseconds(text: Any) -> int | None:
    """The time of a row; None for what a writer never wrote."""
    try:
        return to_microseconds(datetime.fromisoformat(text))
    except (TypeError, ValueError):
        return None


def _commit(
    connection: sqlite3.Connection, rows: Sequence[NewCost], *, on_step: OnStep, book: BudgetBook
) -> list[Change]:
    """Change rows that are as they were read, with totals and budgets, in one transaction; what was changed."""
    with transaction(connection, book.rolled_back):
        since = daily_totals.kept_since(connection) or ""  # retention leaves the totals of its days alone
        changes = recost(connection, book, rows, since)
        if changes:
            on_step(connection, changes)
    return changes
