"""How budgets stand: what each limit's window holds, what it will hold at its end, and which holds are open."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, Final, TypedDict

from llm_service.budgets.limits import NANOS, Amounts, Limit, Metric, Policy, Totals
from llm_service.budgets.policies import Policies
from llm_service.budgets.scopes import Call, Counter, CounterKey
from llm_service.telemetry import budget_statements as sql
from llm_service.telemetry.budget_statements import NAMED, HoldRow
from llm_service.telemetry.reports.cells import decoded, whole
from llm_service.telemetry.reports.cells import text as text_of
from llm_service.telemetry.reports.queries import Fetch
from llm_service.telemetry.timestamps import microseconds_text, to_microseconds

__all__ = ["BudgetHold", "BudgetStatus", "read_check", "read_holds", "read_status"]

_LEAST_SHARE: Final = 0.02
"""Of a window that must have passed before a forecast is more than a guess."""
_SUBJECTS: Final = (
    f"SELECT subject, {', '.join(f'sum({name})' for name in sql.AMOUNTS)} FROM budget_windows"  # noqa: S608 - own names
    " WHERE counter_id = ? AND window_start >= ? AND window_start <= ? GROUP BY subject ORDER BY subject"
)
_HOLDS: Final = f"SELECT {sql.HOLD_COLUMNS} FROM budget_holds ORDER BY reserved_at, hold_id"  # noqa: S608 - own names


class BudgetStatus(TypedDict):
    """One limit of one policy, for one subject, now.

    `metric` is `usd`, `tokens` or `calls`; amounts are USD as float, or whole numbers. `subject` has a value for each
    field of `per`. `reserved` is held by calls under way, `unknown` by calls whose outcome nobody knows; both count
    against the limit. `unpriced_calls` are records without a known cost, which count no money. `forecast` is what the
    records and unknown spend come to at the end of the window if it goes on as until now; None where the window has no
    end, rolls, or has hardly begun. Times are UTC text.
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


class BudgetHold(TypedDict):
    """One hold; `expired` ones and those of `state` `unknown` wait to be released or reconciled.

    `recorded` says that the call's record is stored, under the hold's id, and only its cost is unknown.
    """

    hold_id: str
    state: str
    expired: bool
    recorded: bool
    reserved_at: str
    expires_at: str
    usd: float
    tokens: int
    names: dict[str, str]
    justification: str | None


def read_status(fetch: Fetch, policies: Policies, now: datetime) -> list[BudgetStatus]:
    """Every limit of these policies, with a row for each subject that has one.

    Args:
        fetch: runs a query; all see the same snapshot.
        policies: whose limits.
        now: aware.
    """
    now_us = to_microseconds(now)
    counters = _counters(fetch)
    held = _expired(fetch, now_us)
    rows: list[BudgetStatus] = []
    for limit in policies.limits():
        counter = counters.get(limit.counter) or Counter(0, limit.counter)
        found = dict(_subjects(fetch, counter, now_us))
        if not counter.per:
            found.setdefault("[]", Totals())
        first, last = _bounds(counter, now_us)
        for subject, totals in found.items():
            over = [hold for start, hold in held.get((counter.id, subject), ()) if first <= start <= last]
            rows.append(_row(limit, counter, subject, _with(totals, over), now_us))
    return rows


def read_check(
    fetch: Fetch, policies: Sequence[Policy], call: Call, asked: Amounts, now: datetime
) -> list[BudgetStatus]:
    """The limits that one call has to fit into; `fits` says whether it does.

    Args:
        fetch: runs a query; all see the same snapshot.
        policies: those that apply to the call.
        call: its names.
        asked: what it would add.
        now: aware.
    """
    now_us = to_microseconds(now)
    counters = _counters(fetch)
    rows: list[BudgetStatus] = []
    for limit in (limit for policy in policies for limit in policy.limits):
        counter = counters.get(limit.counter) or Counter(0, limit.counter)
        subject = counter.subject(call)
        if subject is not None:
            totals = dict(_subjects(fetch, counter, now_us)).get(subject, Totals())
            rows.append(_row(limit, counter, subject, totals, now_us, asked.of(limit.metric)))
    return rows


def read_holds(fetch: Fetch, now: datetime) -> list[BudgetHold]:
    """All holds, oldest first."""
    text = microseconds_text(to_microseconds(now))
    holds: list[BudgetHold] = []
    for hold in map(HoldRow._make, fetch((_HOLDS, []))):
        names: dict[str, Any] = decoded(hold.names, dict) or {}
        holds.append(
            BudgetHold(
                hold_id=hold.hold_id,
                state=text_of(hold.state),
                expired=hold.state == "held" and text_of(hold.expires_at) <= text,
                recorded=hold.calls == 0,
                reserved_at=text_of(hold.reserved_at),
                expires_at=text_of(hold.expires_at),
                usd=whole(hold.nanos) / 1e9,
                tokens=whole(hold.tokens),
                names={name: text_of(value) for name, value in names.items() if name in NAMED},
                justification=hold.justification,
            )
        )
    return holds


def _counters(fetch: Fetch) -> dict[CounterKey, Counter]:
    rows = fetch((sql.COUNTERS, []))
    return {key: Counter(row[0], key) for row in rows for key in (CounterKey(*row[1:5]),)}


def _bounds(counter: Counter, now_us: int) -> tuple[str, str]:
    """The first and the last key that count now, as they stand in the file."""
    first = microseconds_text(counter.window.counts_from(now_us, counter.key.timezone))
    return first, sql.LATEST if counter.window.is_rolling else microseconds_text(counter.span(now_us).start)


def _subjects(fetch: Fetch, counter: Counter, now_us: int) -> Iterator[tuple[str, Totals]]:
    for subject, *sums in fetch((_SUBJECTS, [counter.id, *_bounds(counter, now_us)])):
        yield text_of(subject), sql.to_totals([whole(amount) for amount in sums])


def _expired(fetch: Fetch, now_us: int) -> dict[tuple[int, str], list[tuple[str, HoldRow]]]:
    """Holds whose lease is over and that nobody has moved yet, by counter and subject, each with its window."""
    found: dict[tuple[int, str], list[tuple[str, HoldRow]]] = {}
    for row in fetch((sql.EXPIRED_HOLDS, [microseconds_text(now_us)])):
        hold = HoldRow(*row[:4], *map(whole, row[4:7]), *row[7:])
        for place in _places(hold.windows):
            found.setdefault((place.counter_id, place.subject), []).append((place.window_start, hold))
    return found


def _places(windows: object) -> list[sql.Place]:
    """The windows of a hold; none where a hand has made them unreadable."""
    try:
        return sql.to_places(text_of(windows))
    except (TypeError, ValueError, RecursionError):
        return []


def _with(totals: Totals, expired: Sequence[HoldRow]) -> Totals:
    for hold in expired:
        totals = totals._replace(
            reserved=totals.reserved.minus(hold.amounts), unknown=totals.unknown.plus(hold.amounts)
        )
    return totals


def _row(limit: Limit, counter: Counter, subject: str, totals: Totals, now_us: int, asked: int = 0) -> BudgetStatus:
    metric, window = limit.metric, counter.window
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
        subject=[text_of(name) for name in decoded(subject, list) or [subject]] if subject != "[]" else [],
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
        fits=committed + asked <= limit.amount,
    )
