"""Reads rows of the budget tables; a damaged row affects only itself.

A flipped byte, a manual edit or a newer release may have written anything. So nothing here raises: an invalid text is
empty, an invalid number is 0, an invalid window is left out. What such a row cannot free stays reserved until doctor
recounts it: until then a limit is too strict, never too lax.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, cast

from llm_service.budgets.limits import NANOS, Amounts
from llm_service.budgets.scopes import FIELDS, Call, Counter, CounterKey, subject_of
from llm_service.telemetry.record.checks import MAX_COST_USD, MAX_TOKENS
from llm_service.telemetry.record.operations import is_span
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
"""The largest amounts of a hold."""


@dataclass(frozen=True, slots=True)
class UnknownCounter:
    """A counter whose windows cannot be computed here; `scope` is None where not even that can be read."""

    id: int
    why: str
    scope: dict[str, tuple[str, ...]] | None = None
    per: tuple[str, ...] = ()

    def place(self, call: Call) -> Place | None:
        """The place of a call, in an unknown window; None if the counter does not count it."""
        if self.scope is None:
            return None
        subject = subject_of(cast("Any", self.scope), cast("Any", self.per), call)
        return None if subject is None else Place(self.id, subject, UNPLACED)


class Counters(NamedTuple):
    """The counters of a file: those that this process can evaluate, and the others."""

    known: list[Counter]
    unknown: list[UnknownCounter]


def read_counters(rows: Iterable[Sequence[Any]], now_us: int) -> Counters:
    """The counters of rows of `COUNTERS`; known are those whose window at this moment can be computed."""
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
    """`counted_since`; a moment in the far future if it cannot be read, so that no window counts as complete."""
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
    """The sums of records by window of a counter, in the order of `AMOUNTS`.

    Args:
        rows: of `budget_statements.BACKFILL`. A row with an invalid moment is in no window; an invalid name is None; an
            invalid cost is unknown.
    """
    sums: dict[Place, list[int]] = {}
    for *names, timestamp, cost, tokens, is_call in rows:
        place = place_at(counter, Call(*(name if isinstance(name, str) else None for name in names)), timestamp)
        nanos = to_nanos(cost) if isinstance(cost, int | float) and 0 <= cost <= MAX_COST_USD else None
        used = tokens if isinstance(tokens, int) and 0 <= tokens <= MAX_TOKENS else 0
        if place is not None and (is_call or nanos or used):
            row = sums.setdefault(place, [0] * len(AMOUNTS))
            row[0] += nanos or 0
            row[1] += used
            row[2] += is_call
            row[9] += bool(is_call) and nanos is None
    return sums


def place_at(counter: Counter, call: Call, moment: Any) -> Place | None:
    """The window in which a counter counts a call at a moment (UTC text); None if it does not, or if it is invalid."""
    subject = counter.subject(call)
    try:
        start = counter.span(text_microseconds(moment)).start
    except (ValueError, TypeError, OverflowError):
        return None
    return None if subject is None else Place(counter.id, subject, microseconds_text(start))


def _decoded(scope: Any, per: Any) -> tuple[dict[str, tuple[str, ...]], tuple[str, ...]]:
    """Scope and `per` of a counter, checked. Raises ValueError, TypeError, AttributeError: not JSON of known fields."""
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
        """The row, with invalid values replaced."""
        texts = [value if isinstance(value, str) else "" for value in row]
        amounts = zip(row[4:7], _MOST, strict=True)
        nanos, tokens, calls = (
            value if isinstance(value, int) and 0 <= value <= most else 0 for value, most in amounts
        )
        reason = row[9] if isinstance(row[9], str) else None
        return cls(texts[0], texts[1], texts[2], texts[3], nanos, tokens, calls, texts[7], texts[8], reason)

    @property
    def amounts(self) -> Amounts:
        """The reserved amounts."""
        return Amounts(self.nanos, self.tokens, self.calls)

    def kept_after(self, record: InvocationRecord) -> Amounts:
        """The amounts that stay as unknown spend after the record of the call is stored.

        Each amount that the record does not know stays whole. With `partial` usage, the record's amounts are lower
        bounds, so the rest of the reservation stays. What costs nothing because nothing ran has no tokens either.
        """
        if _ran_nothing(record):
            return Amounts()
        cost, tokens = record.cost_usd, record.total_tokens
        is_partial = record.usage_source == "partial"
        nanos_left = self.nanos - (0 if cost is None else to_nanos(cost)) if is_partial or cost is None else 0
        tokens_left = self.tokens - (tokens or 0) if is_partial or tokens is None else 0
        return Amounts(max(0, nanos_left), max(0, tokens_left), 0)


def _ran_nothing(record: InvocationRecord) -> bool:
    """Whether it is a refused request, or a block whose calls have rows of their own."""
    counts = (record.prompt_tokens, record.completion_tokens, record.total_tokens)
    if record.cost_usd != 0 or counts != (None, None, None):
        return False
    return is_span(record.operation) or (record.status != "success" and record.cost_source == "computed")


def hold_is_readable(row: Sequence[Any]) -> bool:
    """Whether every value of a row of `budget_holds` is valid."""
    hold = HoldRow.of(row)
    return (
        tuple(row) == tuple(hold)
        and hold.state in _STATES
        and all(_is_moment(text) for text in (hold.reserved_at, hold.expires_at))
        and _is_whole(hold)
    )


def _is_whole(hold: HoldRow) -> bool:
    """Whether no window and no name of the hold was left out."""
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
    """The places of a hold; invalid ones are left out."""
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
    """The names that a hold stores, by field; invalid ones are left out."""
    try:
        names = json.loads(text)
        return {name: value for name, value in names.items() if name in NAMED and isinstance(value, str)}
    except (ValueError, TypeError, AttributeError, RecursionError):
        return {}


def names_call(text: Any) -> Call:
    """The call whose names a hold stores."""
    return Call(**names_of(text))
