"""Reserves in all windows that cover a call, or in none; and ends holds without a record.

Between BEGIN IMMEDIATE and COMMIT no other process changes a window, so check-then-add is exact.
"""

import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

from llm_service.budgets.limits import (
    METRICS,
    Amounts,
    Limit,
    Standing,
    Totals,
    has_room,
    standing,
)
from llm_service.budgets.scopes import Call, Counter, CounterKey
from llm_service.errors import BudgetUnreadableError, DuplicateInvocationError
from llm_service.telemetry.record.timestamps import MAX_MICROSECONDS, TextClock, microseconds_text
from llm_service.telemetry.stores.budget_requests import BudgetRequest, EndHold, PriceCall, ReservationPlan, exceeded
from llm_service.telemetry.stores.rollups import nanos as to_nanos
from llm_service.telemetry.stores.sqlite import budget_statements as sql
from llm_service.telemetry.stores.sqlite.budget_counters import add_counters, find_damaged, register
from llm_service.telemetry.stores.sqlite.budget_counting import BudgetBook, bounds_of, end_hold
from llm_service.telemetry.stores.sqlite.budget_rows import HoldRow, to_places
from llm_service.telemetry.stores.sqlite.budget_statements import Change, Place
from llm_service.telemetry.stores.sqlite.odd_values import rows_of
from llm_service.telemetry.stores.sqlite.recosting import Change as CostChange
from llm_service.telemetry.stores.sqlite.recosting import NewCost, recost

__all__ = ["HoldKeeper"]

_UNPRICED: Final = f"""
SELECT id, cost_source, request_model, agent_name, tool_name, model_name, user_id, session_id, {sql.RUN_OF}, operation,
    timestamp, cost_usd
FROM invocations WHERE invocation_id = ? AND (cost_usd IS NULL OR usage_source = 'partial')
"""  # noqa: S608 - built from constants
_MOST_CALLS: Final = 1024
_NOTHING: Final = (0, 0, 0)
_CALLS: Final = METRICS.index("calls")


class _Ready(NamedTuple):
    """Cached plan for reservations with the same names; valid until one of its windows ends.

    Attributes:
        learned: `BudgetBook.learned` when it was made.
        since, until: microseconds since 1970 between which it is valid. A rolling window starts with a whole slice, so
            its start moves when its last slice ends.
        places: the windows that cover the call.
        windows: the same, as a hold stores them.
        names: of the call, as a hold stores them.
        bounds: parameters of the windows with hard limits, for `read_committed`.
        checks: for each hard limit: counter, index in `Amounts`, and the maximum.
    """

    learned: int
    since: int
    until: int
    places: tuple[Place, ...]
    windows: str
    names: str
    bounds: list[Any]
    checks: list[tuple[int, int, int]]


class HoldKeeper:
    """Makes and ends the holds of one file, through one connection and its book."""

    def __init__(self, book: BudgetBook) -> None:
        self.book = book
        self._now_text, self._until_text = TextClock(), TextClock()
        self._known: dict[Call, _Ready] = {}

    def register(self, connection: sqlite3.Connection, wanted: Iterable[CounterKey], now_us: int) -> bool:
        """Create the counters that these limits need; see `budget_counters.register`."""
        return register(connection, self.book, wanted, now_us)

    # All below: within a transaction that the book has begun

    def do(self, connection: sqlite3.Connection, request: BudgetRequest) -> Any:
        """The work of a request; its outcome."""
        match request.work:
            case ReservationPlan() as plan:
                return self.reserve(connection, plan, again=request.tries > 0)
            case EndHold(hold_id, kept, made_at_us):
                return self.end(connection, hold_id, kept, made_at_us)
            case PriceCall(invocation_id, usd):
                return self.price(connection, invocation_id, usd)
            case _:  # expired by the session, as with every request
                return None

    def standings(self, plan: ReservationPlan) -> list[Standing]:
        """Each limit that applies to a call, with the present sums of its window."""
        return standing(_limits(plan), plan.amounts, self._looked_up(plan, self.book.places(plan.call, plan.now_us)))

    def reserve(
        self, connection: sqlite3.Connection, plan: ReservationPlan, *, again: bool = False
    ) -> tuple[Place, ...]:
        """Reserve in every window that covers the call.

        Args:
            again: a retry: an earlier try may be on disk although its commit reported failure.

        Returns:
            The windows in which it was reserved; empty if no budget of the file covers the call.

        Raises:
            BudgetExceeded: a hard limit has no room for it; nothing was reserved.
            BudgetUnreadableError: the window of a hard limit is damaged; nothing was reserved.
            DuplicateInvocationError: a hold with this id exists; nothing was reserved.
        """
        if again:
            row = connection.execute(sql.FIND_HOLD, (plan.hold_id,)).fetchone()
            if row is not None:
                return tuple(to_places(HoldRow.of(row).windows))
        ready = self._ready(connection, plan)
        if not self._fits(connection, plan, ready):
            standings = self.standings(plan)
            raise exceeded(next(one for one in standings if one.limit.hard and not one.fits))
        if ready.places or self.book.counts:  # counters that are created later count it as well
            now, until = self._now_text(plan.now_us), self._until_text(plan.now_us + plan.lease_us)
            row = (plan.hold_id, "held", now, until, *plan.amounts, ready.windows, ready.names, plan.justification)
            if connection.execute(sql.KEEP_HOLD, row).rowcount == 0:  # without the hold, nothing could free the windows
                raise DuplicateInvocationError(plan.hold_id)
            self.book.add(dict.fromkeys(ready.places, Change(reserved=plan.amounts)))
        return ready.places

    def end(
        self, connection: sqlite3.Connection, hold_id: str, kept: Amounts | None = None, made_at_us: int | None = None
    ) -> bool:
        """End a hold without a record; what is kept (None: all) stays unknown. False: no hold, or it was so already."""
        row = connection.execute(sql.FIND_HOLD, (hold_id,)).fetchone()
        if row is None:
            return False
        hold = HoldRow.of(row)
        if made_at_us is not None and hold.reserved_at != microseconds_text(made_at_us):
            return False
        if kept is None and hold.state == "unknown":
            return False
        self.book.add(end_hold(connection, hold, hold.amounts if kept is None else kept))
        return True

    def price(self, connection: sqlite3.Connection, invocation_id: str, usd: float) -> bool:
        """Set the cost of a stored call of unknown or partial cost, which ends its hold; False if there is none."""
        row = connection.execute(_UNPRICED, (invocation_id,)).fetchone()
        if row is None:
            return False
        row_id, source, *said, old = row
        change = CostChange._make((invocation_id, *said, None if old is None else to_nanos(old), to_nanos(usd)))
        return bool(recost(connection, self.book, [NewCost(row_id, usd, "reported", old, source, change)]))

    def expire(self, connection: sqlite3.Connection, now_us: int) -> int:
        """Turn holds whose lease has ended into unknown spend. Returns how many."""
        rows = connection.execute(sql.EXPIRED_HOLDS, (self._now_text(now_us),)).fetchall()
        for row in rows:
            hold = HoldRow.of(row)
            self.book.add(end_hold(connection, hold, hold.amounts))
        return len(rows)

    def _fits(self, connection: sqlite3.Connection, plan: ReservationPlan, ready: "_Ready") -> bool:
        """Whether every hard limit has room; `standings` gives details, but is slower."""
        if not ready.checks:
            return True
        committed: dict[int, Sequence[int]] = {}
        for counter_id, *sums, is_damaged in self._committed(connection, plan, ready):
            if is_damaged or min(sums) < 0:
                raise _unreadable(plan, self.book.keys()[counter_id])
            before = committed.get(counter_id, _NOTHING)
            committed[counter_id] = [one + more for one, more in zip(before, sums, strict=True)]
        return all(
            has_room(committed.get(counter_id, _NOTHING)[at], plan.amounts[at], amount)
            for counter_id, at, amount in ready.checks
            if at != _CALLS or plan.amounts.calls  # as `Standing.fits`
        )

    def _committed(
        self, connection: sqlite3.Connection, plan: ReservationPlan, ready: "_Ready"
    ) -> list[tuple[int, ...]]:
        """The amounts that count against hard limits, by counter; see `read_committed`."""
        damaged = self.book.damaged.intersection(check[0] for check in ready.checks)
        if damaged:  # unless doctor has repaired it meanwhile
            self.book.damaged = find_damaged(connection)
            for counter_id in damaged & self.book.damaged:
                raise _unreadable(plan, self.book.keys()[counter_id])
        count = len(ready.bounds) // sql.PARAMETERS
        rows = rows_of(connection, sql.read_committed(count), ready.bounds)
        if any(row[-1] for row in rows):
            rows = rows_of(connection, sql.read_committed(count, closely=True), ready.bounds)
        return rows

    def _ready(self, connection: sqlite3.Connection, plan: ReservationPlan) -> "_Ready":
        """The cached plan for such a call; made anew if a window has ended."""
        known = self._known.get(plan.call)
        if known is not None and known.learned == self.book.learned and known.since <= plan.now_us < known.until:
            return known
        # Another process may have deleted a counter that is needed again.
        add_counters(connection, self.book, {limit.counter: None for limit in _limits(plan)}, plan.now_us)
        covering = self.book.places(plan.call, plan.now_us)
        spans = [counter.span(plan.now_us) for counter, _ in covering]
        limits = [limit for limit in _limits(plan) if limit.hard]
        wanted = {limit.counter for limit in limits}
        limited = [(counter, place) for counter, place in covering if counter.key in wanted]
        ids = {counter.key: counter.id for counter, _ in limited}
        places = (*(place for _, place in covering), *self.book.unplaced(plan.call))
        made = _Ready(
            learned=self.book.learned,
            since=max((span.start for span in spans), default=0),
            until=min((span.end for span in spans), default=MAX_MICROSECONDS),
            places=places,
            windows=sql.places_json(places),
            names=sql.names_json(_names(plan.call)),
            bounds=bounds_of(limited, plan.now_us),
            checks=[(ids[limit.counter], METRICS.index(limit.metric), limit.amount) for limit in limits],
        )
        if len(self._known) >= _MOST_CALLS:
            self._known.clear()
        self._known[plan.call] = made
        return made

    def _looked_up(
        self, plan: ReservationPlan, covering: Sequence[tuple[Counter, Place]]
    ) -> dict[CounterKey, tuple[str, Totals, int | None]]:
        wanted = {limit.counter for limit in _limits(plan)}
        limited = [(counter, place) for counter, place in covering if counter.key in wanted]
        totals = self.book.totals(limited, plan.now_us)
        return {
            counter.key: (place.subject, totals[place], _end_of(counter, plan.now_us)) for counter, place in limited
        }


def _unreadable(plan: ReservationPlan, key: CounterKey) -> BudgetUnreadableError:
    limit = next(limit for limit in _limits(plan) if limit.counter == key)
    return BudgetUnreadableError(limit.policy, key.window)


def _end_of(counter: Counter, now_us: int) -> int | None:
    """The end of the present window; None if it has none, or if it rolls."""
    return None if counter.window.is_rolling or counter.window.name == "total" else counter.span(now_us).end


def _limits(plan: ReservationPlan) -> list[Limit]:
    return [limit for policy in plan.policies for limit in policy.limits]


def _names(call: Call) -> tuple[Any, ...]:
    return (call.agent, call.tool, call.request_model or call.model, call.user, call.session, call.run)
