"""Scopes: which calls a budget counts, and for which subject.

A scope has patterns for some fields of a call; `per` names fields whose every value has its own budget. Both, with
window and time zone, make a counter. Limits are in `limits`.
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

__all__ = ["FIELDS", "Call", "Counter", "CounterKey", "Field", "counter_key", "covers", "subject_of"]

Field = Literal["agent", "tool", "model", "user", "session", "run"]
FIELDS: Final[tuple[Field, ...]] = ("agent", "tool", "model", "user", "session", "run")


class Call(NamedTuple):
    """The names of a call that budgets use; `run` is its trace where no run was told."""

    agent: str | None = None
    tool: str | None = None
    model: str | None = None
    request_model: str | None = None
    user: str | None = None
    session: str | None = None
    run: str | None = None

    def values(self, name: Field) -> tuple[str, ...]:
        """The values that a pattern for this field may match; unknown counts as an empty text, which only `*` matches.

        A model has two names: the requested one and the answering one.
        """
        if name == "model" and self.request_model is not None:
            return (self.request_model, self.model or "")
        return (getattr(self, name) or "",)


class CounterKey(NamedTuple):
    """The identity of a counter, as stored in the file."""

    scope: str
    per: str
    window: str
    timezone: str


def counter_key(scope: Mapping[Field, Sequence[str]], per: Sequence[Field], window: str, timezone: str) -> CounterKey:
    """The key of a counter; the order of fields and patterns does not matter.

    For a window without a time zone (such as `total`), the zone does not matter either.
    """
    if window_named(window).is_zoneless:
        timezone = "UTC"
    sorted_scope = {name: sorted(set(map(_as_stored, scope[name]))) for name in FIELDS if name in scope}
    return CounterKey(_json(sorted_scope), _json([name for name in FIELDS if name in per]), window, timezone)


def _as_stored(pattern: str) -> str:
    """A pattern with a secret is redacted like the stored names of calls, which it then matches."""
    stored = stored_name(pattern)
    return pattern if stored == pattern else escape(stored)


def _json(value: object) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=True)


_DATE: Final = re.compile(r"-(?:\d{4}-\d{2}-\d{2}|\d{8})\Z")
"""How the names of a model's versions end: a call that asks for it without a date may be answered by any."""


@lru_cache(maxsize=1024)
def covers(field: Field, pattern: str, value: str) -> bool:
    """Whether a pattern covers a value. A name may look like a pattern: `claude-opus-5-5[1m]` matches itself."""
    if pattern == value or _pattern(pattern).fullmatch(value):
        return True
    return field == "model" and value != "" and _DATE.sub("", pattern) == value


@lru_cache(maxsize=1024)
def _pattern(text: str) -> re.Pattern[str]:
    return re.compile(translate(text))


def subject_of(scope: Mapping[Field, Sequence[str]], per: Sequence[Field], call: Call) -> str | None:
    """The subject of a call: a JSON array of the values of `per`; None if the scope does not cover it."""
    for name, patterns in scope.items():
        values = call.values(name)
        if not any(covers(name, pattern, value) for pattern in patterns for value in values):
            return None
    return _json([call.values(name)[0] for name in per])


@dataclass(slots=True)
class Counter:
    """A counter of a file. It caches its last span: use one for each thread.

    Attributes:
        id: its row.
        key: its identity.
        window, scope, per: the same, decoded.
        counted_since: microseconds since 1970; it has counted every call from then on.
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
        """The subject of a call: a JSON array of the values of `per`; None if it is not counted."""
        return subject_of(self.scope, self.per, call)

    def span(self, moment_us: int) -> Span:
        """The key of the window at a moment."""
        if not self._span.start <= moment_us < self._span.end:
            self._span = self.window.span(moment_us, self.key.timezone)
        return self._span
