"""What budgets count against the records and holds of the file: what each window should be, is, and lacks.

A writer only ever *adds* to a window, in the transaction that adds a record or changes a hold. So what a window lacks,
seen in one snapshot, stays right however much is written meanwhile, and a repair may add it later.
"""

import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

from llm_service.budgets.scopes import Call, Counter
from llm_service.telemetry.maintenance.check_session import OutOfTimeError, time_limit
from llm_service.telemetry.maintenance.daily_totals import kept_since
from llm_service.telemetry.maintenance.findings import Finding, found, healthy
from llm_service.telemetry.queries.cells import whole
from llm_service.telemetry.record.record import new_id
from llm_service.telemetry.record.timestamps import (
    MAX_MICROSECONDS,
    microseconds_text,
    text_microseconds,
    to_microseconds,
)
from llm_service.telemetry.stores.call_sums import IS_CALL
from llm_service.telemetry.stores.sqlite import budget_statements as sql
from llm_service.telemetry.stores.sqlite.big_sums import are_same
from llm_service.telemetry.stores.sqlite.budget_counting import to_change
from llm_service.telemetry.stores.sqlite.budget_rows import (
    Counters,
    HoldRow,
    hold_is_readable,
    names_call,
    names_of,
    place_at,
    read_counters,
    to_places,
)
from llm_service.telemetry.stores.sqlite.budget_statements import (
    AMOUNTS,
    INEXACT,
    NOT_WHOLE,
    UNPLACED,
    UNREADABLE_KEY,
    Change,
    Place,
)
from llm_service.telemetry.stores.sqlite.transactions import snapshot

__all__ = ["Lack", "add_lacks", "check_budgets", "check_counters", "has_budgets", "lacks", "make_whole"]

_UNREADABLE: Final = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)
"""What reading a cell ends in that no writer wrote, or the name of a window or time zone that is not known here."""
_DAYS: Final = 60
"""Older windows are soon forgotten, and a late record may have begun one anew."""
_LATE: Final = timedelta(hours=1)
_SPENT: Final = (0, 1, 2, 9)
"""Of `AMOUNTS`: what records add up to. The others are sums of holds."""
_CALLS: Final = frozenset({2, 9})
"""Of these: calls, and calls without a price. Earlier versions counted spans among both."""
_SPANS: Final = len(AMOUNTS)
"""Where sums of records have, behind `AMOUNTS`, how many spans there are."""
_RECORDS: Final = f"""
SELECT agent_name, tool_name, model_name, request_model, user_id, session_id, {sql.RUN_OF}, timestamp,
    {sql.NANOS_OF}, {sql.TOKENS_OF}, {IS_CALL}
FROM invocations WHERE timestamp >= ?
"""  # noqa: S608 - names of our own
_WINDOWS: Final = f"SELECT counter_id, subject, window_start, {', '.join(AMOUNTS)} FROM budget_windows"  # noqa: S608
_MAKE_WHOLE: Final = (
    f"UPDATE budget_windows SET {', '.join(f'{name} = coalesce(CAST({name} AS INTEGER), 0)' for name in AMOUNTS)} "  # noqa: S608
    f"WHERE {NOT_WHOLE}"
)
_DAMAGED: Final = f"FROM budget_windows WHERE {NOT_WHOLE} OR {UNREADABLE_KEY}"
_INEXACT: Final = f"SELECT count(*) FROM budget_windows WHERE {INEXACT}"  # noqa: S608 - as above
_DROP_UNREADABLE: Final = f"DELETE FROM budget_windows WHERE {UNREADABLE_KEY}"  # noqa: S608 - as above
_DROP_COUNTER: Final = "DELETE FROM budget_counters WHERE id = ?"
_HOLDS: Final = f"SELECT CAST(hold_id AS BLOB), {sql.HOLD_COLUMNS} FROM budget_holds"  # noqa: S608 - as above
_MEND_HOLD: Final = """
UPDATE OR REPLACE budget_holds SET hold_id = ?, state = ?, reserved_at = ?, expires_at = ?, nanos = ?, tokens = ?,
    calls = ?, windows = ?, names = ?, justification = ? WHERE CAST(hold_id AS BLOB) = ?
"""


class Lack(NamedTuple):
    """What one window lacks.

    Attributes:
        window: its name, such as `day`.
        change: what must be added to make it right; numbers may be negative.
        what: the first amount that is wrong, as it is and as it should be.
        spans_only: nothing is wrong but that spans are counted as calls, as earlier versions did.
    """

    place: Place
    window: str
    change: Change
    what: str
    spans_only: bool = False


def has_budgets(connection: sqlite3.Connection) -> bool:
    """Whether the file has the tables at all; one of the first version has not."""
    return connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'budget_windows'").fetchone() is not None


def check_budgets(connection: sqlite3.Connection, now: datetime, deadline: float) -> Finding:
    """Windows against records and holds, to the nano-dollar, in one snapshot; only where all records are there."""
    if not has_budgets(connection):
        return healthy("budgets", "none: the file is of an older version")
    try:
        with time_limit(connection, deadline), snapshot(connection):
            found_lacks = list(lacks(connection, to_microseconds(now)))
            damaged = _damage(connection)
            windows, counters, holds, late = _counts(connection, now)
            (inexact,) = connection.execute(_INEXACT).fetchone()
    except OutOfTimeError:
        return found("not_checked", "windows of budgets were not compared with all records in the time", "budgets")
    wrong = [f"{damaged} rows of budgets are damaged"] if damaged else []
    lacking = [one for one in found_lacks if not one.spans_only]
    if lacking:
        one = lacking[0]
        start = one.place.window_start[:19] or "an unknown moment"
        place = f"the {one.window} from {start} of counter {one.place.counter_id}"
        wrong.append(f"{len(lacking)} of {windows} windows differ from their records and holds; {place}: {one.what}")
    if wrong:
        return found("budgets", "; ".join(wrong))
    note = f"; the lease of {late} was over long ago, see: llm-telemetry budgets holds" if late else ""
    with_spans = len(found_lacks) - len(lacking)
    if with_spans:
        note += f"; {with_spans} count spans as calls, as earlier versions did, until --repair or their end"
    note += f"; {inexact} are beyond 64 bits, and exact to a millionth" if inexact else ""
    return healthy("budgets", f"{windows} windows of {counters} counters equal their records and {holds} holds{note}")


def check_counters(connection: sqlite3.Connection, now: datetime) -> Finding:
    """Whether this process can evaluate all counters: a newer release has others, a time zone may be missing here."""
    if not has_budgets(connection):
        return healthy("budget_counters", "none: the file is of an older version")
    known, unknown = _counters(connection, to_microseconds(now))
    if not unknown:
        return healthy("budget_counters", f"{len(known)} counters can be evaluated here")
    first = unknown[0]
    many = f"{len(unknown)} of {len(known) + len(unknown)} counters cannot be evaluated here"
    return found("budget_counters", f"{many}; counter {first.id}: {first.why}")


def _counters(connection: sqlite3.Connection, now_us: int) -> Counters:
    return read_counters(connection.execute(sql.COUNTERS), now_us)


def _damage(connection: sqlite3.Connection) -> int:
    """Rows of windows and holds that cannot be read."""
    (windows,) = connection.execute(f"SELECT count(*) {_DAMAGED}").fetchone()
    return int(windows) + sum(not hold_is_readable(row[1:]) for row in connection.execute(_HOLDS))


def _counts(connection: sqlite3.Connection, now: datetime) -> tuple[int, int, int, int]:
    (windows,) = connection.execute("SELECT count(*) FROM budget_windows").fetchone()
    (counters,) = connection.execute("SELECT count(*) FROM budget_counters").fetchone()
    (holds,) = connection.execute("SELECT count(*) FROM budget_holds").fetchone()
    before = microseconds_text(to_microseconds(now - _LATE))
    late = "SELECT count(*) FROM budget_holds WHERE state = 'held' AND expires_at <= ?"
    return windows, counters, holds, int(connection.execute(late, (before,)).fetchone()[0])


def lacks(connection: sqlite3.Connection, now_us: int) -> Iterator[Lack]:
    """What windows lack, in their order, within the caller's snapshot; counters not known here are left alone."""
    counters, unknown = _counters(connection, now_us)
    others = {counter.id for counter in unknown}
    since = _judged_since(counters, kept_since(connection), now_us)
    should = _from_records(connection, counters, since)
    for place, sums in _from_holds(connection).items():
        if place.counter_id not in since:  # of a counter that is gone: nobody counts it
            continue
        row = should.setdefault(place, [0] * (_SPANS + 1))
        for at, amount in sums.items():
            row[at] += amount
    are = {Place(row[0], str(row[1]), str(row[2])): [whole(value) for value in row[3:]]
           for row in connection.execute(_WINDOWS) if isinstance(row[0], int) and row[0] not in others}  # fmt: skip
    names = {counter.id: counter.key.window for counter in counters}
    moved = _never_placed(counters, since, are, now_us)
    nothing = [0] * (_SPANS + 1)
    for place in sorted(should.keys() | are.keys() | moved.keys()):
        wanted, there = list(should.get(place, nothing)), are.get(place, nothing)
        if place.counter_id not in since or place.window_start < since[place.counter_id]:
            more = moved.get(place, nothing)
            for at in _SPENT:  # not all of its records are there to be counted
                wanted[at] = there[at] + more[at]
        wrong = [at for at in range(len(AMOUNTS)) if not are_same(wanted[at], there[at])]
        if wrong:
            at = wrong[0]
            what = f"{AMOUNTS[at]} is {there[at]:,}, should be {wanted[at]:,}"
            lacking = [wanted[at] - there[at] for at in range(len(AMOUNTS))]
            spans_only = _CALLS.issuperset(wrong) and all(0 < -lacking[at] <= wanted[_SPANS] for at in wrong)
            yield Lack(place, names.get(place.counter_id, "window"), to_change(lacking), what, spans_only)


def _never_placed(
    counters: Sequence[Counter], since: Mapping[int, str], are: Mapping[Place, Sequence[int]], now_us: int
) -> dict[Place, list[int]]:
    """What writers could not place, and records cannot either: it counts in the present window, rather too much."""
    present = {counter.id: microseconds_text(counter.span(now_us).start) for counter in counters}
    moved: dict[Place, list[int]] = {}
    for place, amounts in are.items():
        start = present.get(place.counter_id)
        if place.window_start == UNPLACED and start is not None and start < since[place.counter_id]:
            moved[place._replace(window_start=start)] = [*amounts[6:9], *[0] * 7]
    return moved


def _judged_since(counters: Sequence[Counter], kept: str | None, now_us: int) -> dict[int, str]:
    """By counter: the first start of a window whose records are all there."""
    found_since: dict[int, str] = {}
    for counter in counters:
        oldest = 0
        if counter.window.is_rolling:  # slices behind it are forgotten
            oldest = counter.window.counts_from(now_us, counter.key.timezone)
        elif counter.window.name != "total":
            oldest = now_us - _DAYS * 86_400_000_000
        starts = microseconds_text(max(oldest, counter.counted_since))
        found_since[counter.id] = max(starts, kept or "")
    return found_since


def _from_records(
    connection: sqlite3.Connection, counters: Sequence[Counter], since: Mapping[int, str]
) -> dict[Place, list[int]]:
    matching: dict[tuple[Any, ...], list[tuple[_Walk, str]]] = {}
    walks = [_Walk(counter) for counter in counters]
    first = min(since.values(), default=None)
    rows = () if first is None else connection.execute(_RECORDS, (first,))
    for row in rows:
        names, (timestamp, nanos, tokens, is_call) = row[:7], row[7:]
        try:
            datetime.fromisoformat(timestamp)
        except (ValueError, TypeError):  # damaged: it is in no window
            continue
        matches = matching.get(names)
        if matches is None:
            call = Call(*(name if isinstance(name, str) else None for name in names))
            subjects = ((walk, walk.counter.subject(call)) for walk in walks)
            matches = matching[names] = [(walk, subject) for walk, subject in subjects if subject is not None]
        for walk, subject in matches:
            if not walk.since <= timestamp < walk.before and not walk.go_to(timestamp):
                continue
            sums = walk.sums.get(subject)
            if sums is None:
                sums = walk.sums[subject] = [0] * (_SPANS + 1)
            sums[0] += nanos or 0
            sums[1] += tokens
            sums[2] += is_call
            sums[9] += bool(is_call) and nanos is None
            sums[_SPANS] += not is_call
    return {place: sums for walk in walks for place, sums in walk.all()}


class _Walk:
    """The windows of one counter, of which the one that the last record fell into is at hand, with its bounds."""

    def __init__(self, counter: Counter) -> None:
        self.counter = counter
        self.since = self.before = ""
        self.sums: dict[str, list[int]] = {}
        self._windows: dict[str, dict[str, list[int]]] = {}

    def go_to(self, timestamp: str) -> bool:
        """Have the window of this moment at hand; False where the text is that of no moment."""
        try:
            span = self.counter.span(text_microseconds(timestamp))
        except _UNREADABLE:  # no writer could say in which window it is
            return False
        self.since = microseconds_text(span.start)
        last = min(span.end - 1, MAX_MICROSECONDS)
        self.before = microseconds_text(last) + "~"  # that microsecond itself is before it
        self.sums = self._windows.setdefault(self.since, {})
        return True

    def all(self) -> Iterator[tuple[Place, list[int]]]:
        """Every window's amounts."""
        for start, by_subject in self._windows.items():
            for subject, sums in by_subject.items():
                yield Place(self.counter.id, subject, start), sums


def _from_holds(connection: sqlite3.Connection) -> dict[Place, dict[int, int]]:
    sums: dict[Place, dict[int, int]] = {}
    for hold in (HoldRow.of(row[1:]) for row in connection.execute(_HOLDS)):
        first = 3 if hold.state == "held" else 6
        for place in to_places(hold.windows):
            row = sums.setdefault(place, {})
            for at, amount in enumerate(hold.amounts, first):
                row[at] = row.get(at, 0) + whole(amount)
    return sums


def make_whole(connection: sqlite3.Connection, now_us: int) -> int:
    """Rows that cannot be read are made readable, or go; how many. What they counted is recounted by `lacks`.

    A counter goes where its definition is damaged: the next logger whose policies need it counts it anew.
    """
    counters, unknown = _counters(connection, now_us)
    dropped = [(counter.id,) for counter in unknown if counter.scope is None]
    connection.executemany(_DROP_COUNTER, dropped)
    rows = connection.execute(_DROP_UNREADABLE).rowcount + connection.execute(_MAKE_WHOLE).rowcount
    holds = [row for row in connection.execute(_HOLDS).fetchall() if not hold_is_readable(row[1:])]
    connection.executemany(_MEND_HOLD, [(*_mended(HoldRow.of(row[1:]), counters, now_us), row[0]) for row in holds])
    return len(dropped) + rows + len(holds)


def _mended(hold: HoldRow, counters: Sequence[Counter], now_us: int) -> HoldRow:
    """A hold as it can be read; one whose windows are gone is counted where its names and its moment say."""
    now = microseconds_text(now_us)
    call = names_call(hold.names)
    is_dated = hold_is_readable(hold._replace(state="held", expires_at=now, nanos=0, windows="[]", names="{}"))
    reserved_at = hold.reserved_at if is_dated else now
    places = to_places(hold.windows) or [
        place for place in (place_at(counter, call, reserved_at) for counter in counters) if place is not None
    ]
    try:
        expires_at = microseconds_text(max(0, text_microseconds(hold.expires_at)))
    except (ValueError, TypeError):
        expires_at = now
    return hold._replace(
        hold_id=hold.hold_id or new_id(),
        state="held" if hold.state == "held" else "unknown",
        reserved_at=reserved_at,
        expires_at=expires_at,
        nanos=max(0, hold.nanos),
        tokens=max(0, hold.tokens),
        calls=max(0, hold.calls),
        windows=sql.places_json(places),
        names=json.dumps(names_of(hold.names)),
    )


def add_lacks(connection: sqlite3.Connection, lacking: Sequence[Lack]) -> None:
    """Add what windows lack, within the caller's transaction."""
    for statement, parameters in sql.add_to_windows([(one.place, one.change) for one in lacking]):
        connection.execute(statement, parameters)
