"""Reserving: all windows that cover a call, in one transaction, or none; and the ends of a hold that write no record.

Between BEGIN IMMEDIATE and COMMIT nobody else changes a window, so looking first and adding afterwards is exact.
"""

import json
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from llm_service.budgets.limits import (
    METRICS,
    Amounts,
    Limit,
    Policy,
    Standing,
    Totals,
    has_room,
    shown_amount,
    standing,
)
from llm_service.budgets.scopes import Call, Counter, CounterKey
from llm_service.errors import BudgetExceeded, BudgetUnreadableError, DuplicateInvocationError
from llm_service.telemetry.record.timestamps import MAX_MICROSECONDS, TextClock, from_microseconds, microseconds_text
from llm_service.telemetry.stores.rollups import nanos as to_nanos
from llm_service.telemetry.stores.sqlite import budget_statements as sql
from llm_service.telemetry.stores.sqlite.budget_counters import add_counters, find_damaged, register
from llm_service.telemetry.stores.sqlite.budget_counting import BudgetBook, bounds_of, end_hold
from llm_service.telemetry.stores.sqlite.budget_rows import HoldRow, to_places
from llm_service.telemetry.stores.sqlite.budget_statements import Change, Place
from llm_service.telemetry.stores.sqlite.recosting import Change as CostChange
from llm_service.telemetry.stores.sqlite.recosting import NewCost, recost

__all__ = ["HoldKeeper", "ReservationPlan", "exceeded"]

_UNPRICED: Final = """
SELECT id, cost_source, request_model, agent_name, tool_name, model_name, user_id, session_id, trace_id, timestamp,
    cost_usd
FROM invocations WHERE invocation_id = ? AND (cost_usd IS NULL OR usage_source = 'partial')
"""
_MOST_CALLS: Final = 1024
_NOTHING: Final = (0, 0, 0)


class _Ready(NamedTuple):
    """What reservations for calls of the same names have in common while no window ends.

    Attributes:
        learned: what the book said when it was made.
        since, until: microseconds since 1970, between which it holds. The slices of a rolling window are whole parts
            of it, so that what it begins with moves when its last slice ends.
        places: the windows that cover the call, and
        windows: the same as a hold keeps them.
        names: of the call, as a hold keeps them.
        bounds: the windows that have hard limits, for `read_committed`.
        checks: counter, place in `Amounts`, and the most that may be committed, of each hard limit.
    """

    learned: int
    since: int
    until: int
    places: tuple[Place, ...]
    windows: str
    names: str
    bounds: list[Any]
    checks: list[tuple[int, int, int]]


@dataclass(frozen=True, slots=True)
class ReservationPlan:
    """What is to be reserved.

    Attributes:
        hold_id: names the hold; the record with this id ends it.
        call: who calls what, redacted as its record will be.
        amounts: what to reserve.
        policies: those it has to fit into.
        now_us: microseconds since 1970.
        lease_us: microseconds until its outcome counts as unknown.
        justification: the user's reason, if there is one.
    """

    hold_id: str
    call: Call
    amounts: Amounts
    policies: Sequence[Policy]
    now_us: int
    lease_us: int
    justification: str | None = None


def exceeded(one: Standing) -> BudgetExceeded:
    """The error of a limit that a call does not fit into."""
    metric, totals = one.limit.metric, one.totals
    return BudgetExceeded(
        one.limit.policy,
        window=one.limit.counter.window,
        metric=metric,
        limit=shown_amount(metric, one.limit.amount),
        spent=shown_amount(metric, totals.spent.of(metric)),
        reserved=shown_amount(metric, totals.reserved.of(metric)),
        unknown=shown_amount(metric, totals.unknown.of(metric)),
        asked=shown_amount(metric, one.asked),
        subject=tuple(json.loads(one.subject)),
        resets_at=None if one.resets_at_us is None else from_microseconds(one.resets_at_us),
    )


class HoldKeeper:
    """Keeps the holds of one file, through one connection and its book.

    Args:
        book: knows what is counted in the file.
    """

    def __init__(self, book: BudgetBook) -> None:
        self.book = book
        self._now_text, self._until_text = TextClock(), TextClock()
        self._known: dict[Call, _Ready] = {}

    def register(self, connection: sqlite3.Connection, wanted: Iterable[CounterKey], now_us: int) -> bool:
        """Have the file count what these limits need; see `budget_registry.register`."""
        return register(connection, self.book, wanted, now_us)

    # Within a transaction that the book has begun

    def standings(self, plan: ReservationPlan) -> list[Standing]:
        """Each limit that applies to a call, beside what its window holds now."""
        return standing(_limits(plan), plan.amounts, self._looked_up(plan, self.book.places(plan.call, plan.now_us)))

    def reserve(
        self, connection: sqlite3.Connection, plan: ReservationPlan, *, again: bool = False
    ) -> tuple[Place, ...]:
        """Reserve in every window that covers the call.

        Args:
            connection: the open transaction.
            ask: what to reserve.
            again: it was tried before, and may be on disk although its commit failed.

        Returns:
            Where it was reserved; nothing where no budget of the file covers the call.

        Raises:
            BudgetExceeded: a hard limit has no room for it; nothing was reserved.
            BudgetUnreadableError: what a hard limit's window holds is damaged; nothing was reserved.
            DuplicateInvocationError: there is a hold of this id already; nothing was reserved.
        """
        if again:
            row = connection.execute(sql.FIND_HOLD, (plan.hold_id,)).fetchone()
            if row is not None:
                return tuple(to_places(HoldRow.of(row).windows))
        ready = self._ready(connection, plan)
        if not self._fits(connection, plan, ready):
            standings = self.standings(plan)
            raise exceeded(next(one for one in standings if one.limit.hard and not one.fits))
        if ready.places or self.book.counts:  # a counter that comes later counts it as well
            now, until = self._now_text(plan.now_us), self._until_text(plan.now_us + plan.lease_us)
            row = (plan.hold_id, "held", now, until, *plan.amounts, ready.windows, ready.names, plan.justification)
            if connection.execute(sql.KEEP_HOLD, row).rowcount == 0:  # what was added to windows nobody could free
                raise DuplicateInvocationError(plan.hold_id)
            self.book.add(dict.fromkeys(ready.places, Change(reserved=plan.amounts)))
        return ready.places

    def end(
        self, connection: sqlite3.Connection, hold_id: str, kept: Amounts | None = None, made_at_us: int | None = None
    ) -> bool:
        """End a hold without a record: what is kept of it stays as unknown spend, all of it by default.

        Args:
            connection: the open transaction.
            hold_id: of the hold.
            kept: what stays.
            made_at_us: only if it was reserved at this moment, microseconds since 1970: another may have its id.

        Returns:
            False where there is no such hold, or where it was of unknown outcome already and stays so.
        """
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
        """Give a stored call of unknown or partial cost its cost, which ends its hold; False where there is none."""
        row = connection.execute(_UNPRICED, (invocation_id,)).fetchone()
        if row is None:
            return False
        row_id, source, *said, old = row
        change = CostChange._make((invocation_id, *said, None if old is None else to_nanos(old), to_nanos(usd)))
        return bool(recost(connection, self.book, [NewCost(row_id, usd, "reported", old, source, change)]))

    def expire(self, connection: sqlite3.Connection, now_us: int) -> int:
        """Holds whose lease is over become unknown spend; how many."""
        rows = connection.execute(sql.EXPIRED_HOLDS, (self._now_text(now_us),)).fetchall()
        for row in rows:
            hold = HoldRow.of(row)
            self.book.add(end_hold(connection, hold, hold.amounts))
        return len(rows)

    def _fits(self, connection: sqlite3.Connection, plan: ReservationPlan, ready: "_Ready") -> bool:
        """Whether every hard limit has room; `standings` knows more, and takes longer.

        Raises:
            BudgetUnreadableError: nobody can say.
        """
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
        )

    def _committed(
        self, connection: sqlite3.Connection, plan: ReservationPlan, ready: "_Ready"
    ) -> list[tuple[int, ...]]:
        """What counts against hard limits, by counter; see `read_committed`."""
        damaged = self.book.damaged.intersection(check[0] for check in ready.checks)
        if damaged:  # unless doctor has repaired it meanwhile
            self.book.damaged = find_damaged(connection)
            for counter_id in damaged & self.book.damaged:
                raise _unreadable(plan, self.book.keys()[counter_id])
        try:
            return connection.execute(sql.read_committed(len(ready.bounds) // sql.PARAMETERS), ready.bounds).fetchall()
        except sqlite3.OperationalError as error:
            if "overflow" in str(error):  # a sum beyond 2**63: no amount that could be spent
                raise _unreadable(plan, _limits(plan)[0].counter) from error
            raise

    def _ready(self, connection: sqlite3.Connection, plan: ReservationPlan) -> "_Ready":
        """What a reservation for such a call reads and writes; made anew where a window has ended."""
        known = self._known.get(plan.call)
        if known is not None and known.learned == self.book.learned and known.since <= plan.now_us < known.until:
            return known
        # One that another process has forgotten meanwhile is needed again.
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
    """When the window ends; None for one that has no end, or ends at every moment."""
    return None if counter.window.is_rolling or counter.window.name == "total" else counter.span(now_us).end


def _limits(plan: ReservationPlan) -> list[Limit]:
    return [limit for policy in plan.policies for limit in policy.limits]


def _names(call: Call) -> tuple[Any, ...]:
    return (call.agent, call.tool, call.request_model or call.model, call.user, call.session, call.run)
