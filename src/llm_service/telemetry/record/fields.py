"""THE table of a record's fields, in the order of its columns: what kind of value each holds, and how it is checked.

The redactor's lists, the constructor's checks and the tests derive from it.
"""

from collections.abc import Callable
from typing import Any, Final, Literal, NamedTuple

from llm_service.telemetry.record import checks
from llm_service.telemetry.record.checks import MAX_LATENCY_MS

__all__ = [
    "CARD_FIELDS",
    "CHECKS",
    "CONTENT_FIELDS",
    "EXTENSION_CHECKS",
    "EXTENSION_FIELDS",
    "FIELDS",
    "KINDS",
    "PRICED_BY",
    "RANGES",
    "Kind",
    "fields_of_kind",
]

Kind = Literal["key", "name", "id", "error", "json", "word", "number", "moment", "content"]
"""What a field holds, which decides how it is redacted.

- `key`: an id that ties records together; a redacted one keeps a digest.
- `name`: free text of which few different ones occur.
- `id`: free text of which many different ones occur.
- `error`: free text that is cut.
- `json`: JSON text.
- `word`: one of a fixed set of words, checked, so that it can hold no secret.
- `number`, `moment`: no text.
- `content`: prompt and response.
"""


class _Field(NamedTuple):
    name: str
    kind: Kind
    check: Callable[[str, object], Any] = checks.label
    """What the constructor checks a value by; where a cheap test in place has shown it to be clean, not even that."""


def _milliseconds(field: str, value: object) -> float | int | None:
    return checks.amount(field, value, MAX_LATENCY_MS, "milliseconds")


def _usage_source(field: str, value: object) -> str | None:
    if type(value) is str and value in checks.USAGE_SOURCES:
        return value
    return checks.choice(field, value, checks.USAGE_SOURCES)


def _cost_source(field: str, value: object) -> str | None:
    return checks.choice(field, value, checks.COST_SOURCES)


def _cost(field: str, value: object) -> float | int | None:
    return checks.amount(field, value, checks.MAX_COST_USD, "USD")


def _level(field: str, value: object) -> str | None:
    return checks.choice(field, value, checks.LEVELS)


def _attempts(field: str, value: object) -> int | None:
    if type(value) is int and 1 <= value <= checks.MAX_COUNT:
        return value
    return checks.whole(field, value, 1, checks.MAX_COUNT)


def _http_status(field: str, value: object) -> int | None:
    if type(value) is int and 100 <= value <= 599:
        return value
    return checks.whole(field, value, 100, 599)


_CARD: Final = (
    _Field("invocation_id", "key", checks.required_id),
    _Field("timestamp", "moment", checks.moment),
    _Field("agent_name", "name", checks.name),
    _Field("tool_name", "name", checks.name),
    _Field("model_name", "name", checks.name),
    _Field("prompt_tokens", "number", checks.tokens),
    _Field("completion_tokens", "number", checks.tokens),
    _Field("total_tokens", "number", checks.tokens),
    _Field("cost_usd", "number", _cost),
    _Field("latency_ms", "number", _milliseconds),
    _Field("status", "word", checks.status),
    _Field("error_message", "error", checks.message),
    _Field("privacy_level", "word", _level),
)

_EXTENSIONS: Final = (
    _Field("provider", "name"),
    _Field("operation", "name"),
    _Field("request_model", "name"),
    _Field("response_id", "id"),
    _Field("request_id", "id"),
    _Field("session_id", "id"),
    _Field("user_id", "id"),
    _Field("trace_id", "id"),
    _Field("span_id", "id"),
    _Field("parent_invocation_id", "key"),
    _Field("cache_read_tokens", "number", checks.tokens),
    _Field("cache_write_tokens", "number", checks.tokens),
    _Field("reasoning_tokens", "number", checks.tokens),
    _Field("usage_source", "word", _usage_source),
    _Field("cost_source", "word", _cost_source),
    _Field("ttft_ms", "number", _milliseconds),
    _Field("stream", "number", checks.flag),
    _Field("finish_reason", "name"),
    _Field("attempts", "number", _attempts),
    _Field("http_status", "number", _http_status),
    _Field("error_type", "name"),
    _Field("source", "name"),
    _Field("tags", "json", checks.tags),
    _Field("metadata", "json", checks.metadata),
    _Field("cache_write_1h_tokens", "number", checks.tokens),
    _Field("service_tier", "name"),
    _Field("unpriced_usage", "id"),
)

_CONTENTS: Final = (
    _Field("prompt", "content", checks.content),
    _Field("response", "content", checks.content),
)

CARD_FIELDS: Final = tuple(field.name for field in _CARD)
"""The columns that every record fills, in the order of `InvocationRecord.card`."""

EXTENSION_FIELDS: Final = tuple(field.name for field in _EXTENSIONS)
"""The optional columns, in the order of `InvocationRecord.extensions`; NULL where unknown."""

RANGES: Final[dict[str, tuple[float, float]]] = {
    **{field.name: (0, checks.MAX_TOKENS) for field in (*_CARD, *_EXTENSIONS) if field.name.endswith("_tokens")},
    "cost_usd": (0, checks.MAX_COST_USD),
    "latency_ms": (0, MAX_LATENCY_MS),
    "ttft_ms": (0, MAX_LATENCY_MS),
    "stream": (0, 1),
    "attempts": (1, checks.MAX_COUNT),
    "http_status": (100, 599),
}
"""The least and the greatest number of each field that holds one: what a cell holds beyond them, no writer wrote."""

CONTENT_FIELDS: Final = tuple(field.name for field in _CONTENTS)
"""Text that never stands in `invocations`."""

FIELDS: Final = (*CARD_FIELDS, *EXTENSION_FIELDS, *CONTENT_FIELDS)

KINDS: Final[dict[str, Kind]] = {field.name: field.kind for field in (*_CARD, *_EXTENSIONS, *_CONTENTS)}
"""What each field holds."""

CHECKS: Final = {field.name: field.check for field in (*_CARD, *_EXTENSIONS, *_CONTENTS)}
"""How a value of each field is checked: called with the field's name and the value; see `fields`."""

EXTENSION_CHECKS: Final = tuple((field.name, field.check) for field in (*_EXTENSIONS, *_CONTENTS))
"""Name and check of each optional field, in their order."""


def fields_of_kind(*kinds: Kind) -> tuple[str, ...]:
    """The names of the fields of these kinds, in the order of the columns."""
    return tuple(field for field, kind in KINDS.items() if kind in kinds)


PRICED_BY: Final = frozenset(
    {
        "timestamp", "provider", "model_name", "request_model", "service_tier", "cost_usd", "unpriced_usage",
        *(field for field in FIELDS if field.endswith("_tokens")),
    }
)  # fmt: skip
"""What a computed cost depends on: where one of these was not usable, no cost is computed."""
