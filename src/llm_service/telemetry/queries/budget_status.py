"""The state of budgets: the sums of each limit's window, a forecast for its end, and the open holds."""

import json
from collections.abc import Container, Sequence
from datetime import datetime
from typing import Final, Literal, NamedTuple, TypedDict, cast

from llm_service.budgets.limits import NANOS, Amounts, Limit, Metric, Policy, Totals, has_room
from llm_service.budgets.policies import Policies
from llm_service.budgets.scopes import Call, Counter, CounterKey
from llm_service.telemetry.record.timestamps import microseconds_text, text_microseconds, to_microseconds
from llm_service.telemetry.stores.base import Fetch
from llm_service.telemetry.stores.call_sums import IS_CALL
from llm_service.telemetry.stores.sqlite import budget_statements as sql
from llm_service.telemetry.stores.sqlite.budget_rows import (
    HoldRow,
    names_call,
    names_of,
    place_at,
    read_counters,
    to_places,
)

__all__ = [
    "BudgetHold",
    "BudgetStatus",
    "CounterStatus",
    "counting",
    "read_check",
    "read_holds",
    "read_others",
    "read_status",
]

_LEAST_SHARE: Final = 0.02
"""The share of a window that must have passed before a forecast is given."""
_SUBJECTS: Final = (
    f"SELECT subject, max({sql.NOT_WHOLE} OR {sql.UNREADABLE_KEY}), "  # noqa: S608 - names of our own
    f"{', '.join(f'sum({name})' for name in sql.AMOUNTS)} FROM budget_windows WHERE counter_id = ?"
    f" AND (window_start >= ? AND window_start <= ? OR window_start = '{sql.UNPLACED}')"
    " GROUP BY subject ORDER BY subject"
)
_RECORDS: Final = f"""
SELECT agent_name, tool_name, model_name, request_model, user_id, session_id, {sql.RUN_OF},
    coalesce(sum({sql.NANOS_OF}), 0), sum({sql.TOKENS_OF}), sum({IS_CALL}),
    sum({IS_CALL} AND {sql.NANOS_OF} IS NULL)
FROM invocations WHERE timestamp >= ? AND timestamp <= ? GROUP BY 1, 2, 3, 4, 5, 6, 7
"""  # noqa: S608 - built from constants
_HOLDS: Final = f"SELECT {sql.HOLD_COLUMNS} FROM budget_holds ORDER BY reserved_at, hold_id"  # noqa: S608 - own names
_LISTED: Final = f"""
SELECT {sql.HOLD_COLUMNS}, EXISTS (SELECT 1 FROM invocations WHERE invocation_id = hold_id)
FROM budget_holds ORDER BY reserved_at, hold_id
"""  # noqa: S608 - own names


class BudgetStatus(TypedDict):
    """One limit of one policy, for one subject, now.

    `metric` is `usd`, `tokens` or `calls`; amounts are USD as float, or whole numbers. `subject` has a value for each
    field of `per`. `reserved` belongs to calls in progress, `unknown` to calls of unknown outcome; both count against
    the limit. `unpriced_calls` are calls without a known cost, which count no money. `forecast` is the sum of records
    and unknown spend at the end of the window at the present rate; None if the window has no end, rolls, or has hardly
    begun. Times are UTC text. `fits` is False if the call (of `check`) or any call (of `status`) does not fit. If
    `damaged` is true, stored sums cannot be read: the amounts are the readable rest, nothing fits, and
    `doctor --repair` recounts them.
    """

    budget: str
    metric: Metric
    window: str
    window_start: str | None
    resets_at: str | None
    scope: dict[str, list[str]]
    per: list[str]
    subject: list[str]
    hard: bool
    limit: float | int
    spent: float | int
    reserved: float | int
    unknown: float | int
    left: float | int
    used_percent: float
    calls: int
    unpriced_calls: int
    forecast: float | int | None
    fits: bool
    damaged: bool


class CounterStatus(TypedDict):
    """What the file counts for limits that are not known here, for one subject, now: as `BudgetStatus`, in USD.

    What only a limit can say is None. `tokens` and `calls` are those of the records.
    """

    budget: None
    metric: Literal["usd"]
    window: str
    window_start: str | None
    resets_at: str | None
    scope: dict[str, list[str]]
    per: list[str]
    subject: list[str]
    hard: None
    limit: None
    spent: float
    reserved: float
    unknown: float
    left: None
    used_percent: None
    calls: int
    tokens: int
    unpriced_calls: int
    forecast: float | None
    fits: None
    damaged: bool


class BudgetHold(TypedDict):
    """One hold; release or reconcile `expired` ones and those of `state` `unknown`.

    `recorded`: the call's record is stored, under the hold's id, and its cost is unknown or partial. `calls` is 1, or 0
    where there is no call to be counted: that of a span, or one that its record has counted.
    """

    hold_id: str
    state: str
    expired: bool
    recorded: bool
    reserved_at: str
    expires_at: str
    usd: float
    tokens: int
    calls: int
    names: dict[str, str]
    justification: str | None


class _Seen(NamedTuple):
    """The sums of one subject's window, and whether all could be read."""

    totals: Totals = Totals()
    damaged: bool = False


def read_status(fetch: Fetch, policies: Policies, now: datetime) -> list[BudgetStatus]:
    """Every limit, with a row for each subject; without a counter in the file it is counted from the records."""
    now_us = to_microseconds(now)
    counters = _counters(fetch, now_us)
    held = _expired(fetch, now_us)
    rows: list[BudgetStatus] = []
    for limit in policies.limits():
        counter = counters.get(limit.counter) or Counter(0, limit.counter)
        found = _seen(fetch, counter, now_us)
        if not counter.per:
            found.setdefault("[]", _Seen())
        first, last = _bounds(counter, now_us)
        for subject, seen in found.items():
            over = [hold for start, hold in held.get((counter.id, subject), ()) if first <= start <= last]
            rows.append(_row(limit, counter, subject, _Seen(_with(seen.totals, over), seen.damaged), now_us))
    return rows


def read_others(fetch: Fetch, named: Container[CounterKey], now: datetime) -> list[CounterStatus]:
    """Every counter of the file but those that are named, with a row for each subject."""
    now_us = to_microseconds(now)
    rows: list[CounterStatus] = []
    for key, counter in _counters(fetch, now_us).items():
        if key in named:
            continue
        unlimited = Limit("", "usd", 0, key, hard=False)
        for subject, seen in (_seen(fetch, counter, now_us) or {"[]": _Seen()}).items():
            row = _row(unlimited, counter, subject, seen, now_us)
            unknown = dict.fromkeys(("budget", "hard", "limit", "left", "used_percent", "fits"))
            rows.append(cast("CounterStatus", {**row, **unknown, "tokens": seen.totals.spent.tokens}))
    return rows


def read_check(
    fetch: Fetch, policies: Sequence[Policy], call: Call, asked: Amounts, now: datetime
) -> list[BudgetStatus]:
    """The limits that apply to a call; `fits` tells whether the call fits."""
    now_us = to_microseconds(now)
    counters = _counters(fetch, now_us)
    rows: list[BudgetStatus] = []
    for limit in (limit for policy in policies for limit in policy.limits):
        counter = counters.get(limit.counter) or Counter(0, limit.counter)
        subject = counter.subject(call)
        if subject is not None:
            found = _seen(fetch, counter, now_us)
            seen = found.get(subject, _Seen(damaged=any(not _is_subject(key) for key in found)))
            rows.append(_row(limit, counter, subject, seen, now_us, asked.of(limit.metric)))
    return rows


def read_holds(fetch: Fetch, now: datetime) -> list[BudgetHold]:
    """All holds, oldest first."""
    text = microseconds_text(to_microseconds(now))
    return [
        BudgetHold(
            hold_id=hold.hold_id,
            state=hold.state,
            expired=hold.state == "held" and hold.expires_at <= text,
            recorded=bool(recorded) and hold.calls == 0,
            reserved_at=hold.reserved_at,
            expires_at=hold.expires_at,
            usd=hold.nanos / 1e9,
            tokens=hold.tokens,
            calls=hold.calls,
            names=names_of(hold.names),
            justification=hold.justification,
        )
        for hold, recorded in ((HoldRow.of(row), recorded) for *row, recorded in fetch((_LISTED, [])))
    ]


def _counters(fetch: Fetch, now_us: int) -> dict[CounterKey, Counter]:
    return {counter.key: counter for counter in read_counters(fetch((sql.COUNTERS, [])), now_us).known}


def _bounds(counter: Counter, now_us: int) -> tuple[str, str]:
    """The first and the last key that count now, as stored texts."""
    window, zone = counter.window, counter.key.timezone
    return microseconds_text(window.counts_from(now_us, zone)), microseconds_text(window.counts_until(now_us, zone))


def _seen(fetch: Fetch, counter: Counter, now_us: int) -> dict[str, _Seen]:
    """The sums of each subject's present window."""
    if counter.id == 0:
        return {subject: _Seen(totals) for subject, totals in _counted_anew(fetch, counter, now_us).items()}
    rows = fetch((_SUBJECTS, [counter.id, *_bounds(counter, now_us)]))
    return {str(subject): _Seen(sql.to_totals(sums), bool(damaged)) for subject, damaged, *sums in rows}


def _counted_anew(fetch: Fetch, counter: Counter, now_us: int) -> dict[str, Totals]:
    """The sums of stored records, for a counter that is not in the file."""
    first, last = _bounds(counter, now_us)
    before = microseconds_text(counter.span(text_microseconds(last)).end - 1)
    found: dict[str, Totals] = {}
    for *names, nanos, tokens, calls, unpriced in fetch((_RECORDS, [first, before])):
        subject = counter.subject(Call(*names))
        if subject is not None and (nanos or tokens or calls):
            more = Totals(Amounts(nanos, tokens, calls), unpriced_calls=unpriced)
            found[subject] = found.get(subject, Totals()).plus(more)
    for hold in map(HoldRow.of, fetch((_HOLDS, []))):
        place = place_at(counter, names_call(hold.names), hold.reserved_at)
        if place is not None and first <= place.window_start <= last:
            more = Totals(reserved=hold.amounts) if hold.state == "held" else Totals(unknown=hold.amounts)
            found[place.subject] = found.get(place.subject, Totals()).plus(more)
    return found


def _is_subject(text: str) -> bool:
    try:
        return isinstance(json.loads(text), list)
    except (ValueError, RecursionError):
        return False


def _expired(fetch: Fetch, now_us: int) -> dict[tuple[int, str], list[tuple[str, HoldRow]]]:
    """Holds whose lease has ended and that still count as reserved, by counter and subject, each with its window."""
    found: dict[tuple[int, str], list[tuple[str, HoldRow]]] = {}
    for hold in map(HoldRow.of, fetch((sql.EXPIRED_HOLDS, [microseconds_text(now_us)]))):
        for place in to_places(hold.windows):
            found.setdefault((place.counter_id, place.subject), []).append((place.window_start, hold))
    return found


def _with(totals: Totals, expired: Sequence[HoldRow]) -> Totals:
    for hold in expired:
        totals = totals._replace(
            reserved=totals.reserved.minus(hold.amounts), unknown=totals.unknown.plus(hold.amounts)
        )
    return totals


def _row(limit: Limit, counter: Counter, subject: str, seen: _Seen, now_us: int, asked: int = 0) -> BudgetStatus:
    metric, window, totals = limit.metric, counter.window, seen.totals
    rolls, endless = window.is_rolling, window.name == "total"
    span = counter.span(now_us)
    committed = totals.committed(metric)
    known = totals.spent.of(metric) + totals.unknown.of(metric)
    passed = (now_us - span.start) / (span.end - span.start)
    forecast = None if rolls or endless or passed < _LEAST_SHARE else round(known / passed)

    def shown(amount: int) -> float | int:
        return amount / NANOS if metric == "usd" else amount

    return BudgetStatus(
        budget=limit.policy,
        metric=metric,
        window=window.name,
        window_start=None if rolls or endless else microseconds_text(span.start),
        resets_at=None if rolls or endless else microseconds_text(span.end),
        scope={name: list(patterns) for name, patterns in counter.scope.items()},
        per=list(counter.per),
        subject=list(json.loads(subject)) if _is_subject(subject) else [subject],
        hard=limit.hard,
        limit=shown(limit.amount),
        spent=shown(totals.spent.of(metric)),
        reserved=shown(totals.reserved.of(metric)),
        unknown=shown(totals.unknown.of(metric)),
        left=shown(limit.amount - committed),
        used_percent=round(100 * committed / limit.amount, 2) if limit.amount else 100.0,
        calls=totals.spent.calls,
        unpriced_calls=totals.unpriced_calls,
        forecast=None if forecast is None else shown(forecast),
        fits=not seen.damaged and has_room(committed, asked, limit.amount),
        damaged=seen.damaged,
    )


def counting(fetch: Fetch) -> Fetch:
    """What asks for budgets: of a file of an older version it finds none."""
    there = fetch(("SELECT 1 FROM sqlite_master WHERE name = 'budget_holds'", []))
    return fetch if there else lambda query: [] if "budget_" in query[0] else fetch(query)
