"""Budget counting: each inserted record is counted in the windows that cover it, and ends its hold.

Every writer of a file updates all counters of the file, whatever policies its own logger has. So the spend is the sum
of all records, by all writers. A span (see `operations`) is no call: only money and tokens that it tells itself count.
"""

import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from time import monotonic, time_ns
from typing import Any, Final, NamedTuple

from llm_service.budgets.alerts import BudgetEvent
from llm_service.budgets.limits import Amounts, Limit, Totals, crossed
from llm_service.budgets.policies import Policies
from llm_service.budgets.scopes import Call, Counter, CounterKey
from llm_service.budgets.windows import MICROSECONDS
from llm_service.telemetry.record.operations import SPANS
from llm_service.telemetry.record.record import EXTENSION_FIELDS, InvocationRecord
from llm_service.telemetry.record.timestamps import from_microseconds, microseconds_text, text_microseconds
from llm_service.telemetry.stores.budget_requests import call_of
from llm_service.telemetry.stores.rollups import nanos as to_nanos
from llm_service.telemetry.stores.sqlite import budget_statements as sql
from llm_service.telemetry.stores.sqlite.budget_rows import HoldRow, UnknownCounter, read_counters, to_places
from llm_service.telemetry.stores.sqlite.budget_statements import UNPLACED, Change, Place
from llm_service.telemetry.stores.sqlite.odd_values import rows_of

__all__ = ["SOON", "BudgetBook", "BudgetTerms", "Recost", "bounds_of", "end_hold", "kept_from", "to_change"]

_OPERATION: Final = EXTENSION_FIELDS.index("operation")
_MOST_CALLS: Final = 4096
_MOST_AT_ONCE: Final = 32
"""Windows that one statement reads at most."""
SOON: Final = 60.0
"""Seconds until a logger first looks for what budgets do not need any more, and after a look that failed."""
_KEPT_US: Final = 62 * 86_400_000_000
"""Calendar windows are kept for two months after their end, for reports."""


@dataclass(slots=True)
class BudgetTerms:
    """The budget state that all connections of one logger share.

    Attributes:
        hold_ids: maps the id of a record that is about to be stored to its hold, if that has another id.
        tell: called with each threshold alert, after the commit.
        tell_unknown: called for each counter that this process cannot evaluate, whenever the counters are read.
        keep_up_at: when to look next for what nobody needs any more; seconds, monotonic.
    """

    policies: Policies | None = None
    hold_ids: dict[str, str] = field(default_factory=dict[str, str])
    tell: Callable[[BudgetEvent], None] = lambda _event: None
    tell_unknown: Callable[[UnknownCounter], None] = lambda _counter: None
    keep_up_at: float = field(default_factory=lambda: monotonic() + SOON)


_NOTHING: Final = Totals()
_start_text: Final = lru_cache(maxsize=4096)(microseconds_text)


class Recost(NamedTuple):
    """A stored record whose cost changes; None nano-dollars are unknown."""

    invocation_id: str
    call: Call
    moment_us: int
    old_nanos: int | None
    new_nanos: int | None
    is_call: bool = True


class BudgetBook:
    """The budgets of one file for one connection. Used by one thread at a time, inside transactions.

    Args:
        terms: shared by the connections of a logger.

    Attributes:
        damaged: counters with a window row whose key is damaged.
        learned: how often the counters were read: another number means that they may have changed.
    """

    def __init__(self, terms: BudgetTerms | None = None, clock_ns: Callable[[], int] = time_ns) -> None:
        self.terms = BudgetTerms() if terms is None else terms
        self._clock_ns = clock_ns
        self._connection: Any = None
        self._version: tuple[int, int] | None = None
        self.learned = 0
        self._counters: list[Counter] = []
        self._unknown: list[UnknownCounter] = []
        self._ids: frozenset[int] = frozenset()
        self.damaged: frozenset[int] = frozenset()
        self._matching: dict[Call, tuple[tuple[Counter, str], ...]] = {}
        self._limits: dict[int, list[Limit]] = {}
        self._touched: dict[Place, None] = {}  # windows with own limits in which this transaction spent
        self._to_look_at: dict[Place, None] = {}  # the same, of committed transactions
        self._told: set[tuple[Any, ...]] = set()

    # The life of a transaction

    def begin(self, connection: sqlite3.Connection) -> bool:
        """A transaction has begun: read the counters if they changed. Returns whether there are any."""
        version = connection.execute(sql.COUNTERS_VERSION).fetchone()
        if connection is not self._connection or version != self._version:
            if connection is not self._connection:
                self._to_look_at.clear()  # it may be another file
            self._connection, self._version = connection, version
            self._learn()
        return self.counts

    def rolled_back(self) -> None:
        """The transaction was rolled back: drop its state."""
        self._version = None
        self._touched.clear()

    def committed(self) -> None:
        """The transaction was committed: keep its state."""
        self._to_look_at |= self._touched
        self._touched.clear()

    def settled(self, record_ids: Iterable[str]) -> None:
        """Drop the `hold_ids` of these records: they are stored, or never will be."""
        for record_id in record_ids:
            self.terms.hold_ids.pop(record_id, None)

    @property
    def looks_back(self) -> bool:
        """Whether there is spend whose thresholds were not checked yet."""
        return bool(self._to_look_at)

    def look_back(self) -> None:
        """Report passed thresholds when nobody waits for the commit any more; where that fails, after the next one."""
        while self._to_look_at:
            some: dict[tuple[int, str], Place] = {}  # one window of each counter and subject at a time
            for place in self._to_look_at:
                if len(some) < _MOST_AT_ONCE:
                    some.setdefault(place[:2], place)
            self._look_at_thresholds(list(some.values()))
            for place in some.values():
                del self._to_look_at[place]

    def _learn(self) -> None:
        """Read the counters anew."""
        self.learned += 1
        self._counters, self._unknown = read_counters(self._connection.execute(sql.COUNTERS), self._clock_ns() // 1000)
        self._ids = frozenset({*(one.id for one in self._counters), *(one.id for one in self._unknown)})
        for unknown in self._unknown:
            self.terms.tell_unknown(unknown)
        self._matching.clear()
        self._limits = {}
        if self.terms.policies is not None:
            ids = self.ids()
            for limit in self.terms.policies.limits():
                if limit.counter in ids:
                    self._limits.setdefault(ids[limit.counter], []).append(limit)
        for place in [place for place in self._to_look_at if place.counter_id not in self._limits]:
            del self._to_look_at[place]

    # Looking

    @property
    def counts(self) -> bool:
        """Whether the file has counters."""
        return bool(self._counters or self._unknown)

    def ids(self) -> Mapping[CounterKey, int]:
        """Row ids of the counters that this process can evaluate."""
        return {counter.key: counter.id for counter in self._counters}

    def keys(self) -> Mapping[int, CounterKey]:
        """The same, by row id."""
        return {counter.id: counter.key for counter in self._counters}

    def matching(self, call: Call) -> tuple[tuple[Counter, str], ...]:
        """The counters that count a call, with its subject in each."""
        known = self._matching.get(call)
        if known is None:
            if len(self._matching) >= _MOST_CALLS:
                self._matching.clear()
            found = ((counter, counter.subject(call)) for counter in self._counters)
            known = tuple((counter, subject) for counter, subject in found if subject is not None)
            self._matching[call] = known
        return known

    def places(self, call: Call, moment_us: int) -> list[tuple[Counter, Place]]:
        """The windows that count a call at a moment."""
        return [
            (counter, Place(counter.id, subject, _start_text(counter.span(moment_us).start)))
            for counter, subject in self.matching(call)
        ]

    def unplaced(self, call: Call) -> list[Place]:
        """The places of a call in counters whose windows this process cannot compute; it counts in all of them."""
        found = (counter.place(call) for counter in self._unknown)
        return [place for place in found if place is not None]

    def totals(self, places: Sequence[tuple[Counter, Place]], now_us: int) -> dict[Place, Totals]:
        """The sums of these windows at a moment; for a rolling window, of all its slices."""
        wanted = {(place.counter_id, place.subject): place for _, place in places}
        found = dict.fromkeys(wanted.values(), _NOTHING)
        if wanted:
            rows = rows_of(self._connection, sql.read_windows(len(places)), bounds_of(places, now_us))
            for counter_id, subject, *sums in rows:
                place = wanted[counter_id, subject]
                found[place] = found[place].plus(sql.to_totals(sums))
        return found

    # Changing

    def charge(self, records: Iterable[InvocationRecord]) -> None:
        """Count the records that this transaction inserted, and end their holds."""
        changes: dict[Place, list[int]] = {}
        if self._has_holds():
            records = list(records)
            self._end_holds(records, changes)
        for record in records:
            card = record.card
            cost, tokens = card[8], card[7]
            nanos = 0 if cost is None else to_nanos(cost)
            values = record.extensions
            is_call = 0 if values is not None and values[_OPERATION] in SPANS else 1
            if not (is_call or nanos or tokens):  # a span that tells nothing
                continue
            call = call_of(record)
            for _, place in self.places(call, card[1]):
                sums = changes.get(place)
                if sums is None:
                    sums = changes[place] = [0] * 10
                sums[0] += nanos
                sums[1] += tokens or 0
                sums[2] += is_call
                if cost is None:
                    sums[9] += is_call
            if self._unknown:
                for place in self.unplaced(call):
                    _add(changes, place, [0] * 6 + [nanos, tokens or 0, is_call, 0])
        self.add({place: to_change(sums) for place, sums in changes.items()})

    def set_aside(self, record_ids: Iterable[str]) -> None:
        """Give the holds of quarantined records their ids, so that they end if the record is stored after all."""
        for record_id in record_ids:
            hold_id = self.terms.hold_ids.get(record_id)
            if hold_id is not None:
                self._connection.execute(sql.RENAME_HOLD, (record_id, hold_id))

    def recost(self, costs: Iterable[Recost]) -> None:
        """Update windows and holds of stored records whose cost this transaction changed."""
        changes: dict[Place, list[int]] = {}
        has_holds = self._has_holds()
        for one in costs:
            for _, place in self.places(one.call, one.moment_us):
                sums = changes.setdefault(place, [0] * 10)
                sums[0] += (one.new_nanos or 0) - (one.old_nanos or 0)
                sums[9] += one.is_call * ((one.new_nanos is None) - (one.old_nanos is None))
            for place in self.unplaced(one.call):  # the old cost may be counted elsewhere: never subtract
                _add(changes, place, [0] * 6 + [max(0, (one.new_nanos or 0) - (one.old_nanos or 0)), 0, 0, 0])
            row = self._connection.execute(sql.FIND_HOLD, (one.invocation_id,)).fetchone() if has_holds else None
            if row is not None and one.new_nanos is not None:
                hold = HoldRow.of(row)
                partial = self._connection.execute(sql.IS_PARTIAL, (one.invocation_id,)).fetchone() is not None
                left = max(0, hold.nanos + (one.old_nanos or 0) - one.new_nanos) if partial else 0
                _add_all(changes, end_hold(self._connection, hold, Amounts(left, hold.tokens, 0)))
        self.add({place: to_change(sums) for place, sums in changes.items()})

    def add(self, changes: Mapping[Place, Change]) -> None:
        """Add to windows, and note their thresholds for the check. A hold may name a deleted counter."""
        if not self._ids.issuperset(place.counter_id for place in changes):
            changes = {place: change for place, change in changes.items() if place.counter_id in self._ids}
        for statement, parameters in sql.add_to_windows(list(changes.items())):
            self._connection.execute(statement, parameters)
        if self._limits:
            for place, change in changes.items():
                spends = any(change.spent) or any(change.unknown)
                if spends and place.counter_id in self._limits and place.window_start != UNPLACED:
                    self._touched[place] = None

    def _has_holds(self) -> bool:
        return bool(self._connection.execute(sql.HAS_HOLDS).fetchone()[0])

    def _end_holds(self, records: Sequence[InvocationRecord], changes: dict[Place, list[int]]) -> None:
        named = self.terms.hold_ids
        by_hold: dict[str, InvocationRecord] = {}
        for record in records:
            record_id: str = record.card[0]
            by_hold[named.get(record_id, record_id)] = record
        for statement, parameters in sql.find_holds(list(by_hold)):
            for row in map(HoldRow.of, self._connection.execute(statement, parameters).fetchall()):
                record = by_hold[row.hold_id]
                _add_all(changes, end_hold(self._connection, row, row.kept_after(record), record.card[0]))

    def _look_at_thresholds(self, places: Sequence[Place]) -> None:
        now = self._clock_ns() // 1000
        counters = {counter.id: counter for counter in self._counters}
        pairs = [(counters[place.counter_id], place) for place in places]
        # The window of an old record may have left its rolling window, or be older than the stored alerts.
        pairs = [pair for pair in pairs if text_microseconds(pair[1].window_start) >= kept_from(pair[0], now)]
        for place, totals in self.totals(pairs, now).items():
            for limit in self._limits[place.counter_id]:
                used = totals.spent.of(limit.metric) + totals.unknown.of(limit.metric)
                for percent in crossed(limit.thresholds, used, limit.amount):
                    self._tell_once(counters[place.counter_id], place, limit, percent, totals, now)

    def _tell_once(
        self, counter: Counter, place: Place, limit: Limit, percent: int, totals: Totals, now_us: int
    ) -> None:
        told_as = place.window_start
        if counter.window.is_rolling:  # once in its length
            told_as = microseconds_text(now_us - now_us % (counter.window.seconds * MICROSECONDS))
        key = (limit.policy, place.counter_id, place.subject, told_as, limit.metric, percent)
        if key not in self._told and self._is_first(key, now_us):
            start = from_microseconds(text_microseconds(place.window_start))
            self.terms.tell(BudgetEvent.of(limit, percent, totals, place.subject, start))

    def _is_first(self, key: tuple[Any, ...], now_us: int) -> bool:
        """Whether no process has reported this yet."""
        first: bool = self._connection.execute(sql.TELL_ONCE, (*key, microseconds_text(now_us))).rowcount == 1
        if len(self._told) >= _MOST_CALLS:
            self._told.clear()
        self._told.add(key)
        return first


def kept_from(counter: Counter, now_us: int) -> int:
    """The start of the oldest window that is kept, in microseconds since 1970; 0 for `total`."""
    oldest = counter.window.counts_from(now_us, counter.key.timezone)
    return max(0, oldest if counter.window.is_rolling else oldest - _KEPT_US)


def bounds_of(places: Iterable[tuple[Counter, Place]], now_us: int) -> list[Any]:
    """The parameters of each window for the statements that read it: see `budget_statements.PARAMETERS`."""
    bounds: list[Any] = []
    for counter, place in places:
        counter_id, subject, last = place
        first = last
        if counter.window.seconds:
            first = _start_text(counter.window.counts_from(now_us, counter.key.timezone))
            last = microseconds_text(counter.window.counts_until(now_us, counter.key.timezone))
        bounds += (counter_id, subject, first, last, counter_id, subject)
    return bounds


def end_hold(
    connection: sqlite3.Connection, row: HoldRow, kept: Amounts, new_id: str | None = None
) -> dict[Place, Change]:
    """End a hold in the caller's transaction; what is kept stays unknown, under `new_id`. Changes of its windows."""
    if any(kept):
        done = connection.execute(sql.UPDATE_HOLD, (*kept, new_id or row.hold_id, row.hold_id)).rowcount
        if done == 0:  # another hold has this id
            done = connection.execute(sql.UPDATE_HOLD, (*kept, row.hold_id, row.hold_id)).rowcount
    else:
        done = connection.execute(sql.DROP_HOLD, (row.hold_id,)).rowcount
    if done == 0:  # its id is damaged: it stays, with its reservation
        return {}
    if row.state == "held":
        change = Change(reserved=Amounts().minus(row.amounts), unknown=kept)
    else:
        change = Change(unknown=kept.minus(row.amounts))
    return dict.fromkeys(to_places(row.windows), change)


def _add_all(sums: dict[Place, list[int]], changes: Mapping[Place, Change]) -> None:
    for place, change in changes.items():
        _add(sums, place, (*change.spent, *change.reserved, *change.unknown))


def _add(sums: dict[Place, list[int]], place: Place, amounts: Sequence[int]) -> None:
    numbers = sums.setdefault(place, [0] * 10)
    for at, amount in enumerate(amounts):
        numbers[at] += amount


def to_change(sums: Sequence[int]) -> Change:
    """A change from numbers in the order of `AMOUNTS`."""
    return Change(Amounts(*sums[0:3]), Amounts(*sums[3:6]), Amounts(*sums[6:9]), sums[9])
