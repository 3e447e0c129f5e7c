"""Which calls a budget counts, and whose share of it each call is.

A scope names patterns for some fields of a call; `per` names fields whose every value has a budget of its own. Both,
with window and time zone, make a counter: what is counted. What may be spent is a limit, and stands elsewhere.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import translate
from functools import lru_cache
from glob import escape
from typing import Final, Literal, NamedTuple

from llm_service.budgets.windows import Span, Window, window_named
from llm_service.redaction import stored_name

__all__ = ["FIELDS", "Call", "Counter", "CounterKey", "Field", "counter_key", "subject_of"]

Field = Literal["agent", "tool", "model", "user", "session", "run"]
FIELDS: Final[tuple[Field, ...]] = ("agent", "tool", "model", "user", "session", "run")


class Call(NamedTuple):
    """The names of a call that budgets look at; `run` is the trace that it belongs to."""

    agent: str | None = None
    tool: str | None = None
    model: str | None = None
    request_model: str | None = None
    user: str | None = None
    session: str | None = None
    run: str | None = None

    def values(self, name: Field) -> tuple[str, ...]:
        """What a pattern for this field may match: unknown counts as an empty text, which only `*` matches.

        A model has two names, the one that was asked for and the one that answered.
        """
        if name == "model" and self.request_model is not None:
            return (self.request_model, self.model or "")
        return (getattr(self, name) or "",)


class CounterKey(NamedTuple):
    """What makes two counters the same, as it stands in the file."""

    scope: str
    per: str
    window: str
    timezone: str


def counter_key(scope: Mapping[Field, Sequence[str]], per: Sequence[Field], window: str, timezone: str) -> CounterKey:
    """The key of a counter; the order in which fields and patterns are given makes no difference.

    Nor does a time zone where none counts: a `total` that is read in another zone goes on.
    """
    if window_named(window).is_zoneless:
        timezone = "UTC"
    sorted_scope = {name: sorted(set(map(_as_stored, scope[name]))) for name in FIELDS if name in scope}
    return CounterKey(_json(sorted_scope), _json([name for name in FIELDS if name in per]), window, timezone)


def _as_stored(pattern: str) -> str:
    """A pattern that holds a secret matches the name that calls are stored under, and is itself stored so."""
    stored = stored_name(pattern)
    return pattern if stored == pattern else escape(stored)


def _json(value: object) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=True)


@lru_cache(maxsize=1024)
def _pattern(text: str) -> re.Pattern[str]:
    return re.compile(translate(text))


def subject_of(scope: Mapping[Field, Sequence[str]], per: Sequence[Field], call: Call) -> str | None:
    """Whose share a call is, as a JSON array of the values of `per`; None where the scope does not cover it."""
    for name, patterns in scope.items():
        values = call.values(name)
        if not any(_pattern(pattern).fullmatch(value) for pattern in patterns for value in values):
            return None
    return _json([call.values(name)[0] for name in per])


@dataclass(slots=True)
class Counter:
    """A counter of a file, ready to be asked. Remembers the span it was last asked for, so one for each thread.

    Attributes:
        id: its row.
        key: what it counts.
        window, scope, per: the same, decoded.
        counted_since: microseconds since 1970 from which on it has counted every call.
    """

    id: int
    key: CounterKey
    counted_since: int = 0
    window: Window = field(init=False)
    scope: dict[Field, tuple[str, ...]] = field(init=False)
    per: tuple[Field, ...] = field(init=False)
    _span: Span = field(init=False, default=Span(0, 0))

    def __post_init__(self) -> None:
        self.window = window_named(self.key.window)
        self.scope = {name: tuple(patterns) for name, patterns in json.loads(self.key.scope).items()}
        self.per = tuple(json.loads(self.key.per))

    def subject(self, call: Call) -> str | None:
        """Whose share a call is, as a JSON array of the values of `per`; None where it is not counted."""
        return subject_of(self.scope, self.per, call)

    def span(self, moment_us: int) -> Span:
        """The key of the window that a moment falls into."""
        if not self._span.start <= moment_us < self._span.end:
            self._span = self.window.span(moment_us, self.key.timezone)
        return self._span
