"""Rows of the budget tables as they are read: what cannot be read costs that row, never the records beside it.

A flipped byte, a hand, or a newer release may have written anything. So nothing here raises: what is no text is the
empty one, what is no whole number is 0, a window that is none is left out. What a row then no longer frees stays
reserved until doctor recounts it, so a limit is too strict for that time and never too lax.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, cast

from llm_service.budgets.limits import NANOS, Amounts
from llm_service.budgets.scopes import FIELDS, Call, Counter, CounterKey, subject_of
from llm_service.telemetry.record.checks import MAX_COST_USD, MAX_TOKENS
from llm_service.telemetry.record.record import InvocationRecord
from llm_service.telemetry.record.timestamps import microseconds_text, text_microseconds
from llm_service.telemetry.stores.rollups import nanos as to_nanos
from llm_service.telemetry.stores.sqlite.budget_statements import AMOUNTS, NAMED, UNPLACED, Place

__all__ = [
    "Counters",
    "HoldRow",
    "UnknownCounter",
    "hold_is_readable",
    "names_call",
    "names_of",
    "place_at",
    "read_counters",
    "spent_by",
    "to_places",
]

_STATES: Final = frozenset({"held", "unknown"})
_NEVER: Final = 253_402_300_799_000_000
_MOST: Final = (int(MAX_COST_USD) * NANOS, MAX_TOKENS, 1)
"""What a hold can hold."""


@dataclass(frozen=True, slots=True)
class UnknownCounter:
    """A counter whose windows this process cannot tell: another release's, without its time zone here, or damaged.

    Attributes:
        id: its row.
        why: what cannot be evaluated, in one line.
        scope, per: which calls it counts, decoded; None where that cannot be read either.
    """

    id: int
    why: str
    scope: dict[str, tuple[str, ...]] | None = None
    per: tuple[str, ...] = ()

    def place(self, call: Call) -> Place | None:
        """Where a call is counted whose window is unknown; None where it is not counted."""
        if self.scope is None:
            return None
        subject = subject_of(cast("Any", self.scope), cast("Any", self.per), call)
        return None if subject is None else Place(self.id, subject, UNPLACED)


class Counters(NamedTuple):
    """What a file counts: the counters that this process can evaluate, and the others."""

    known: list[Counter]
    unknown: list[UnknownCounter]


def read_counters(rows: Iterable[Sequence[Any]], now_us: int) -> Counters:
    """The counters of rows of `budget_statements.COUNTERS`.

    Args:
        rows: id, scope, per, window, time zone and `counted_since` of each.
        now_us: microseconds since 1970: a counter is known where the window of this moment can be told.
    """
    found = Counters([], [])
    for row in rows:
        try:
            found.known.append(_counter(row, now_us))
        except Exception as error:  # noqa: BLE001 - a time zone database may raise anything
            found.unknown.append(_unknown(row, error))
    return found


def _counter(row: Sequence[Any], now_us: int) -> Counter:
    number, *key, since = row
    if not all(isinstance(part, str) for part in key):
        raise TypeError("its definition is no text")
    counter = Counter(number, CounterKey(*key), _moment(since))
    _decoded(key[0], key[1])
    counter.span(now_us)
    return counter


def _moment(text: Any) -> int:
    """`counted_since`; where it cannot be read, now is never before it: nothing is judged."""
    try:
        return max(0, text_microseconds(text))
    except (ValueError, TypeError):
        return _NEVER


def _unknown(row: Sequence[Any], error: Exception) -> UnknownCounter:
    number, scope, per, window, zone = row[:5]
    why = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
    what = f"window {window!r} in {zone!r}: {why}"
    try:
        patterns, fields = _decoded(scope, per)
    except (ValueError, TypeError, AttributeError, RecursionError):
        return UnknownCounter(number, f"its definition is damaged ({why})")
    return UnknownCounter(number, what, patterns, fields)


def spent_by(counter: Counter, rows: Iterable[Sequence[Any]]) -> dict[Place, list[int]]:
    """What records come to, by window of a counter, in the order of `AMOUNTS`.

    Args:
        counter: the counter.
        rows: of `budget_statements.BACKFILL`. One whose moment cannot be read is in no window; a name that is no text
            is none; a cost that is no amount is unknown.
    """
    sums: dict[Place, list[int]] = {}
    for *names, timestamp, cost, tokens in rows:
        place = place_at(counter, Call(*(name if isinstance(name, str) else None for name in names)), timestamp)
        if place is not None:
            row = sums.setdefault(place, [0] * len(AMOUNTS))
            nanos = to_nanos(cost) if isinstance(cost, int | float) and 0 <= cost <= MAX_COST_USD else None
            row[0] += nanos or 0
            row[1] += tokens if isinstance(tokens, int) and 0 <= tokens <= MAX_TOKENS else 0
            row[2] += 1
            row[9] += nanos is None
    return sums


def place_at(counter: Counter, call: Call, moment: Any) -> Place | None:
    """Where a call of a moment (UTC text) is counted by a counter; None where it is not, or no moment stands there."""
    subject = counter.subject(call)
    try:
        start = counter.span(text_microseconds(moment)).start
    except (ValueError, TypeError, OverflowError):
        return None
    return None if subject is None else Place(counter.id, subject, microseconds_text(start))


def _decoded(scope: Any, per: Any) -> tuple[dict[str, tuple[str, ...]], tuple[str, ...]]:
    """Scope and `per` of a counter, checked.

    Raises:
        ValueError, TypeError, AttributeError: they are no JSON of known fields.
    """
    patterns = {str(name): tuple(texts) for name, texts in json.loads(scope).items()}
    fields = tuple(json.loads(per))
    texts = [text for some in patterns.values() for text in some]
    if not {*patterns, *fields} <= {*FIELDS} or not all(isinstance(text, str) for text in texts):
        raise ValueError("its scope has fields that are not known here")
    return patterns, fields


class HoldRow(NamedTuple):
    """A row of `budget_holds`, in its order."""

    hold_id: str
    state: str
    reserved_at: str
    expires_at: str
    nanos: int
    tokens: int
    calls: int
    windows: str
    names: str
    justification: str | None

    @classmethod
    def of(cls, row: Sequence[Any]) -> "HoldRow":
        """The row as it can be used."""
        texts = [value if isinstance(value, str) else "" for value in row]
        amounts = zip(row[4:7], _MOST, strict=True)
        nanos, tokens, calls = (
            value if isinstance(value, int) and 0 <= value <= most else 0 for value, most in amounts
        )
        reason = row[9] if isinstance(row[9], str) else None
        return cls(texts[0], texts[1], texts[2], texts[3], nanos, tokens, calls, texts[7], texts[8], reason)

    @property
    def amounts(self) -> Amounts:
        """What it holds."""
        return Amounts(self.nanos, self.tokens, self.calls)

    def kept_after(self, record: InvocationRecord) -> Amounts:
        """What stays as unknown spend once the record of its call is stored.

        All of what the record does not say: it was made, and nobody knows what it cost, or how many tokens it took.
        Where usage is `partial`, what it says is the least, so the rest of what was reserved may be spent as well.
        """
        cost, tokens = record.cost_usd, record.total_tokens
        is_partial = record.usage_source == "partial"
        nanos_left = self.nanos - (0 if cost is None else to_nanos(cost)) if is_partial or cost is None else 0
        tokens_left = self.tokens - (tokens or 0) if is_partial or tokens is None else 0
        return Amounts(max(0, nanos_left), max(0, tokens_left), 0)


def hold_is_readable(row: Sequence[Any]) -> bool:
    """Whether all of a row of `budget_holds` can be used."""
    hold = HoldRow.of(row)
    return (
        tuple(row) == tuple(hold)
        and hold.state in _STATES
        and all(_is_moment(text) for text in (hold.reserved_at, hold.expires_at))
        and _is_whole(hold)
    )


def _is_whole(hold: HoldRow) -> bool:
    """Whether no window and no name of it was left out."""
    try:
        windows, names = json.loads(hold.windows), json.loads(hold.names)
    except (ValueError, RecursionError):
        return False
    return (
        isinstance(windows, list)
        and isinstance(names, dict)
        and [list(place) for place in to_places(hold.windows)] == windows
        and names_of(hold.names) == names
    )


def to_places(text: Any) -> list[Place]:
    """The places of a hold; those that are none are left out."""
    try:
        listed: Any = json.loads(text)
        return [Place(*one) for one in listed if _is_place(one)]
    except (ValueError, TypeError, RecursionError):
        return []


def _is_place(one: Any) -> bool:
    try:
        number, subject, start = one
    except (TypeError, ValueError):
        return False
    if not isinstance(number, int) or not isinstance(subject, str) or not isinstance(start, str):
        return False
    return 0 < number < 2**63 and (start == UNPLACED or _is_moment(start))


def _is_moment(text: str) -> bool:
    try:
        return microseconds_text(text_microseconds(text)) == text
    except (ValueError, TypeError):
        return False


def names_of(text: Any) -> dict[str, str]:
    """The names that a hold keeps, by field; what cannot be read is left out."""
    try:
        names = json.loads(text)
        return {name: value for name, value in names.items() if name in NAMED and isinstance(value, str)}
    except (ValueError, TypeError, AttributeError, RecursionError):
        return {}


def names_call(text: Any) -> Call:
    """The call whose names a hold keeps."""
    return Call(**names_of(text))
