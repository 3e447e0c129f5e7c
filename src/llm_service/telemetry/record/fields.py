"""THE table of a record's fields, in the order of its columns: type, kind, check and range of each.

The constructor, the redactor, columns, journal, exports and tests derive from it.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from json import loads
from typing import Any, Final, Generic, Literal, Self, TypedDict, TypeGuard, TypeVar, cast, overload

from llm_service.config.settings import PrivacyLevel
from llm_service.telemetry.record import checks
from llm_service.telemetry.record.timestamps import from_microseconds

__all__ = [
    "ADDED",
    "CARD_FIELDS",
    "CHECKS",
    "CONTENT_FIELDS",
    "EXTENSIONS",
    "EXTENSION_FIELDS",
    "FIELDS",
    "KINDS",
    "PRICED_BY",
    "RANGES",
    "Amount",
    "CardFields",
    "ExtensionFields",
    "Extensions",
    "Kind",
    "Status",
    "fields_of_kind",
]

Kind = Literal["key", "name", "id", "error", "json", "word", "number", "moment", "content"]
"""What a field holds, which decides how it is redacted.

- `key`: an id that links records; a redacted one keeps a digest.
- `name`: free text with few distinct values.
- `id`: free text with many distinct values.
- `error`: free text that is cut.
- `json`: JSON text.
- `word`: one of a fixed set of words, checked, so it holds no secret.
- `number`, `moment`: no text.
- `content`: prompt and response.
"""

Status = Literal["success", "error", "timeout"]
UsageSource = Literal["reported", "partial", "estimated", "missing"]
CostSource = Literal["reported", "computed", "unknown"]
Amount = float | int | Decimal

_Check = Callable[[str, object], Any]
_Range = tuple[float, float]
_T = TypeVar("_T")


class _Field(Generic[_T]):
    """One line of the table; also the descriptor that reads the field from a record.

    Args:
        kind: what the field holds.
        check: takes the field's name and a value; returns the value to store, or raises `RecordError`.
        within: least and greatest number that the column may hold.
        since: the version of the tables that added the column.
        read: turns the stored value into the one that the record's attribute gives.
    """

    __slots__ = ("_index", "_read", "_slot", "check", "kind", "name", "since", "within")

    def __init__(
        self,
        kind: Kind,
        check: _Check = checks.label,
        within: _Range | None = None,
        *,
        since: int = 1,
        read: Callable[[Any], Any] | None = None,
    ) -> None:
        self.kind: Kind = kind
        self.check = check
        self.within = within
        self.since = since
        self._read = read

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def place(self, slot: Literal["card", "extensions"], index: int) -> None:
        """Set which tuple of a record holds the value, and where."""
        self._slot = slot
        self._index = index

    def __repr__(self) -> str:
        return f"<field {self.name}: {self.kind}>"

    @overload
    def __get__(self, record: None, owner: type, /) -> Self: ...
    @overload
    def __get__(self, record: object, owner: type, /) -> _T: ...
    def __get__(self, record: object, owner: type, /) -> Self | _T:
        if record is None:
            return self
        values = getattr(record, self._slot)
        value = None if values is None else values[self._index]
        return cast("_T", value if value is None or self._read is None else self._read(value))


def _choice(allowed: frozenset[str]) -> _Check:
    return lambda field, value: (
        value if type(value) is str and value in allowed else checks.choice(field, value, allowed)
    )


def _whole(low: int, high: int) -> tuple[_Check, _Range]:
    return (
        lambda field, value: (
            value if type(value) is int and low <= value <= high else checks.whole(field, value, low, high)
        ),
        (low, high),
    )


def _amount(high: float, unit: str) -> tuple[_Check, _Range]:
    return lambda field, value: checks.amount(field, value, high, unit), (0, high)


_TOKENS: Final = checks.tokens, (0, checks.MAX_TOKENS)
_MILLISECONDS: Final = _amount(checks.MAX_LATENCY_MS, "milliseconds")


class CardFields:
    """The columns that every record fills, in the order of `InvocationRecord.card`."""

    __slots__ = ()

    invocation_id = _Field[str]("key", checks.required_id)
    timestamp = _Field[datetime]("moment", checks.moment, read=from_microseconds)
    agent_name = _Field[str | None]("name", checks.name)
    tool_name = _Field[str | None]("name", checks.name)
    model_name = _Field[str | None]("name", checks.name)
    prompt_tokens = _Field[int | None]("number", *_TOKENS)
    completion_tokens = _Field[int | None]("number", *_TOKENS)
    total_tokens = _Field[int | None]("number", *_TOKENS)
    cost_usd = _Field[float | None]("number", *_amount(checks.MAX_COST_USD, "USD"))
    latency_ms = _Field[float | None]("number", *_MILLISECONDS)
    status = _Field[Status]("word", checks.status)
    error_message = _Field[str | None]("error", checks.message)
    privacy_level = _Field[PrivacyLevel | None]("word", _choice(checks.LEVELS))


class ExtensionFields:
    """The optional columns, NULL where unknown, then the contents, in the order of `InvocationRecord.extensions`."""

    __slots__ = ()

    provider = _Field[str | None]("name")
    operation = _Field[str | None]("name")
    request_model = _Field[str | None]("name")
    response_id = _Field[str | None]("id")
    request_id = _Field[str | None]("id")
    session_id = _Field[str | None]("id")
    user_id = _Field[str | None]("id")
    trace_id = _Field[str | None]("id")
    span_id = _Field[str | None]("id")
    parent_invocation_id = _Field[str | None]("key")
    cache_read_tokens = _Field[int | None]("number", *_TOKENS)
    cache_write_tokens = _Field[int | None]("number", *_TOKENS)
    reasoning_tokens = _Field[int | None]("number", *_TOKENS)
    usage_source = _Field[UsageSource | None]("word", _choice(checks.USAGE_SOURCES))
    cost_source = _Field[CostSource | None]("word", _choice(checks.COST_SOURCES))
    ttft_ms = _Field[float | None]("number", *_MILLISECONDS)
    stream = _Field[bool | None]("number", checks.flag, (0, 1), read=bool)
    finish_reason = _Field[str | None]("name")
    attempts = _Field[int | None]("number", *_whole(1, checks.MAX_COUNT))
    http_status = _Field[int | None]("number", checks.http_status, (100, 599))
    error_type = _Field[str | None]("name")
    source = _Field[str | None]("name")
    tags = _Field[list[str] | None]("json", checks.tags, read=loads)
    metadata = _Field[dict[str, Any] | None]("json", checks.metadata, read=loads)
    cache_write_1h_tokens = _Field[int | None]("number", *_TOKENS, since=2)
    service_tier = _Field[str | None]("name", since=2)
    unpriced_usage = _Field[str | None]("id", since=3)
    run = _Field[str | None]("id", since=4)
    region = _Field[str | None]("name", since=4)

    prompt = _Field[str | None]("content", checks.content)
    response = _Field[str | None]("content", checks.content)


class Extensions(TypedDict, total=False):
    """The constructor's optional arguments, as type checkers see them; None means unknown.

    Fields:
        provider, operation, request_model, response_id, request_id, session_id, user_id, run, trace_id, span_id,
            parent_invocation_id, finish_reason, error_type, source: text up to 200 characters.
        cache_read_tokens, cache_write_tokens: parts of `prompt_tokens`.
        reasoning_tokens: part of `completion_tokens`.
        cache_write_1h_tokens: the part of `cache_write_tokens` that is kept for an hour.
        usage_source: `reported`, `partial`, `estimated` or `missing`.
        cost_source: `reported`, `computed` or `unknown`.
        ttft_ms: milliseconds to the first token; or a timedelta.
        stream: whether the answer was streamed.
        attempts: 1 to 1,000,000, retries included.
        http_status: 100 to 599; of a text its number: `500 Internal Server Error`.
        tags: texts up to 200 characters, stored as a JSON array: a list, tuple or set of them, or one.
        metadata: a dict, stored as a JSON object of at most 65,536 characters and 64 levels. A value that is not JSON
            becomes its text; one that is too long or too deep is cut, with a mark.
        service_tier: the tier that the provider reports: `batch`, `flex`, `priority`; prices depend on it.
        region: where the cloud ran the call, in its own words: `eu-west-3`, `europe-west1`, `eu`; prices depend on it.
        unpriced_usage: what was billed and has no price here, as `server_tool_use.web_search_requests: 2`; up to 200
            characters. Where it is set and `cost_usd` is not, no cost is computed, unless all it says is of how many
            requests the counts are the sum.
        prompt, response: text up to 16 Mi characters; never stored at level `metadata`.
    """

    provider: str | None
    operation: str | None
    request_model: str | None
    response_id: str | None
    request_id: str | None
    session_id: str | None
    user_id: str | None
    trace_id: str | None
    span_id: str | None
    parent_invocation_id: str | None
    cache_read_tokens: int | None
    cache_write_tokens: int | None
    reasoning_tokens: int | None
    usage_source: UsageSource | None
    cost_source: CostSource | None
    ttft_ms: Amount | None
    stream: bool | None
    finish_reason: str | None
    attempts: int | None
    http_status: int | None
    error_type: str | None
    source: str | None
    tags: Sequence[str] | None
    metadata: Mapping[str, Any] | None
    cache_write_1h_tokens: int | None
    service_tier: str | None
    unpriced_usage: str | None
    run: str | None
    region: str | None
    prompt: str | None
    response: str | None


def _is_field(value: object) -> TypeGuard[_Field[Any]]:
    return isinstance(value, _Field)


def _placed(table: type, slot: Literal["card", "extensions"]) -> tuple[_Field[Any], ...]:
    fields: tuple[_Field[Any], ...] = tuple(filter(_is_field, vars(table).values()))
    for index, field in enumerate(fields):
        field.place(slot, index)
    return fields


_CARD: Final = _placed(CardFields, "card")
_EXTENSIONS: Final = _placed(ExtensionFields, "extensions")

CARD_FIELDS: Final = tuple(field.name for field in _CARD)
"""The columns that every record fills."""

EXTENSION_FIELDS: Final = tuple(field.name for field in _EXTENSIONS if field.kind != "content")
"""The optional columns; NULL where unknown."""

CONTENT_FIELDS: Final = tuple(field.name for field in _EXTENSIONS if field.kind == "content")
"""Text that is never stored in `invocations`."""

ADDED: Final[Mapping[int, Sequence[str]]] = {
    version: tuple(field.name for field in _EXTENSIONS if field.since == version)
    for version in sorted({field.since for field in _EXTENSIONS} - {1})
}
"""The columns that each version of the tables added at the end of `invocations`."""

FIELDS: Final = (*CARD_FIELDS, *EXTENSION_FIELDS, *CONTENT_FIELDS)

KINDS: Final[dict[str, Kind]] = {field.name: field.kind for field in (*_CARD, *_EXTENSIONS)}
"""What each field holds."""

CHECKS: Final = {field.name: field.check for field in (*_CARD, *_EXTENSIONS)}
"""How a value of each field is checked: called with the field's name and the value."""

RANGES: Final = {field.name: field.within for field in (*_CARD, *_EXTENSIONS) if field.within is not None}
"""Least and greatest number of each field that holds one; no writer stores a number outside."""

EXTENSIONS: Final = {field.name: (index, field.check) for index, field in enumerate(_EXTENSIONS)}
"""Place in `InvocationRecord.extensions`, and check, of each optional field."""


def fields_of_kind(*kinds: Kind) -> tuple[str, ...]:
    """The names of the fields of these kinds, in the order of the columns."""
    return tuple(field for field, kind in KINDS.items() if kind in kinds)


PRICED_BY: Final = frozenset(
    {
        "timestamp", "provider", "model_name", "request_model", "region", "service_tier", "cost_usd", "unpriced_usage",
        *(field for field in FIELDS if field.endswith("_tokens")),
    }
)  # fmt: skip
"""The fields that a computed cost depends on: if the value of one was not usable, no cost is computed."""
