"""The record of one LLM call: checked where it is made, immutable, cheap, and ready to be bound as a row.

The values live in two tuples, the columns that every call fills and the extensions that few do, so that a plain record
costs one tuple, and a batch of plain records binds thirteen columns instead of thirty-nine.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from json import loads
from time import time_ns
from typing import Any, Final, Literal, NoReturn, Self, cast

from llm_service.config.settings import PrivacyLevel
from llm_service.errors import RecordError, shown
from llm_service.telemetry.record import checks
from llm_service.telemetry.record.checks import (
    KNOWN_NAMES,
    LEVELS,
    MAX_COST_USD,
    MAX_LATENCY_MS,
    MAX_NAME_CHARS,
    MAX_TOKENS,
)
from llm_service.telemetry.record.field_access import At, keywords_after_first
from llm_service.telemetry.record.fields import CARD_FIELDS, CONTENT_FIELDS, EXTENSION_CHECKS, EXTENSION_FIELDS, FIELDS
from llm_service.telemetry.record.ids import Uuid7Source
from llm_service.telemetry.record.timestamps import from_microseconds

__all__ = [
    "CARD_FIELDS",
    "CONTENT_FIELDS",
    "EXTENSION_FIELDS",
    "FIELDS",
    "InvocationRecord",
    "Status",
    "new_id",
    "rebuilt",
]

Status = Literal["success", "error", "timeout"]
UsageSource = Literal["reported", "partial", "estimated", "missing"]
CostSource = Literal["reported", "computed", "unknown"]
Amount = float | int | Decimal

_SUCCESS: Final = "success"
_BASE_SIZE: Final = 700
"""Bytes of a plain record and its place in the queue: objects, tuples, id and numbers [measured with tracemalloc]."""
_TEXT_SIZE: Final = 56

new_id = Uuid7Source()


class InvocationRecord:
    """One LLM call.

    Every argument may be left out; None means unknown and is stored as NULL, never as 0. Prompt tokens include cached
    ones, completion tokens include reasoning ones. `total_tokens` is kept as reported, since some providers count more
    than the sum; where it is None and both parts are known it is their sum. `cost_usd` None means "not known yet".

    Values are taken in any type that leaves no doubt: 12.0, Decimal(12), "12" and numpy's numbers as counts, a UUID or
    a whole number as an id, enumerations as their text. NUL and lone surrogates in a text become U+FFFD.

    Args:
        invocation_id: any non-empty text up to 200 characters, unique in the file; default a new UUIDv7.
        agent_name, tool_name, model_name: who called what; up to 200 characters, None where unknown, never empty.
        prompt_tokens, completion_tokens, total_tokens: 0 to 10**12.
        cost_usd: USD, 0 to 1,000,000.
        latency_ms: milliseconds from request to last byte, 0 to 10**10; or a timedelta.
        status: `success`, `error` or `timeout`; also words that others use for these (`failed`, `cancelled`, `ok`,
            `timed_out`; see `statuses`) in any case, and HTTP statuses; `error_type` then says what the word does.
        error_message: cut to 65,536 characters here, and to 500 before it is stored at level `metadata`.
        privacy_level: may only lower the logger's level for this record; None takes the logger's.
        timestamp: datetime of the call's start or end, as the caller prefers; default now. Stored as UTC. A naive one
            is local time, as Python's own `timestamp()` takes it.
        provider, operation, request_model, response_id, request_id, session_id, user_id, trace_id, span_id,
            parent_invocation_id, finish_reason, error_type, source: text up to 200 characters.
        cache_read_tokens, cache_write_tokens, reasoning_tokens: parts of the counts above.
        cache_write_1h_tokens: the part of `cache_write_tokens` that is kept for an hour.
        service_tier: what the provider says it served the call as: `batch`, `flex`, `priority`; prices depend on it.
        unpriced_usage: what was billed and has no price here, as `server_tool_use.web_search_requests: 2`; up to 200
            characters. Where it is set and `cost_usd` is not, no cost is computed, unless all it says is of how many
            requests the counts are the sum.
        usage_source: `reported`, `partial`, `estimated` or `missing`.
        cost_source: `reported`, `computed` or `unknown`.
        ttft_ms: milliseconds to the first token; or a timedelta.
        stream: whether the answer was streamed.
        attempts: 1 to 1,000,000, retries included.
        http_status: 100 to 599.
        tags: texts up to 200 characters, stored as a JSON array: a list, tuple or set of them, or one.
        metadata: a dict, stored as a JSON object of at most 65,536 characters and 64 levels. What is no JSON becomes
            its text, and what is too long or too deep is cut with a mark, value by value.
        prompt, response: text up to 16 Mi characters; never stored at level `metadata`.

    Raises:
        RecordError: a `ValueError` naming field, value and remedy, for NaN, negative or huge numbers, fractions of
            tokens, empty or over-long names, unknown words, or a total below the sum of its parts.
        TypeError: for a name that is no field, or a second argument by position.

    Immutable, hashable, comparable and picklable. `size` is the bytes it is taken to need in memory.
    """

    __slots__ = ("card", "extensions", "size")

    card: tuple[Any, ...]
    extensions: tuple[Any, ...] | None
    size: int

    invocation_id = At[str]("card", 0)
    timestamp = At[datetime]("card", 1, from_microseconds)
    agent_name = At[str | None]("card", 2)
    tool_name = At[str | None]("card", 3)
    model_name = At[str | None]("card", 4)
    prompt_tokens = At[int | None]("card", 5)
    completion_tokens = At[int | None]("card", 6)
    total_tokens = At[int | None]("card", 7)
    cost_usd = At[float | None]("card", 8)
    latency_ms = At[float | None]("card", 9)
    status = At[Status]("card", 10)
    error_message = At[str | None]("card", 11)
    privacy_level = At[PrivacyLevel | None]("card", 12)
    provider = At[str | None]("extensions", 0)
    operation = At[str | None]("extensions", 1)
    request_model = At[str | None]("extensions", 2)
    response_id = At[str | None]("extensions", 3)
    request_id = At[str | None]("extensions", 4)
    session_id = At[str | None]("extensions", 5)
    user_id = At[str | None]("extensions", 6)
    trace_id = At[str | None]("extensions", 7)
    span_id = At[str | None]("extensions", 8)
    parent_invocation_id = At[str | None]("extensions", 9)
    cache_read_tokens = At[int | None]("extensions", 10)
    cache_write_tokens = At[int | None]("extensions", 11)
    reasoning_tokens = At[int | None]("extensions", 12)
    usage_source = At[UsageSource | None]("extensions", 13)
    cost_source = At[CostSource | None]("extensions", 14)
    ttft_ms = At[float | None]("extensions", 15)
    stream = At[bool | None]("extensions", 16, bool)
    finish_reason = At[str | None]("extensions", 17)
    attempts = At[int | None]("extensions", 18)
    http_status = At[int | None]("extensions", 19)
    error_type = At[str | None]("extensions", 20)
    source = At[str | None]("extensions", 21)
    tags = At[list[str] | None]("extensions", 22, loads)
    metadata = At[dict[str, Any] | None]("extensions", 23, loads)
    cache_write_1h_tokens = At[int | None]("extensions", 24)
    service_tier = At[str | None]("extensions", 25)
    unpriced_usage = At[str | None]("extensions", 26)
    prompt = At[str | None]("extensions", 27)
    response = At[str | None]("extensions", 28)

    def __init__(  # noqa: C901, PLR0912, PLR0915 - each test stands in place: a call for each would double the cost
        self,
        invocation_id: str | None = None,
        _keywords_follow: None = None,
        agent_name: str | None = None,
        tool_name: str | None = None,
        model_name: str | None = None,
        prompt_tokens: int | None = None,
        completion_tokens: int | None = None,
        total_tokens: int | None = None,
        cost_usd: Amount | None = None,
        latency_ms: Amount | None = None,
        status: Status = "success",
        error_message: str | None = None,
        privacy_level: PrivacyLevel | None = None,
        timestamp: datetime | None = None,
        provider: str | None = None,
        operation: str | None = None,
        request_model: str | None = None,
        response_id: str | None = None,
        request_id: str | None = None,
        session_id: str | None = None,
        user_id: str | None = None,
        trace_id: str | None = None,
        span_id: str | None = None,
        parent_invocation_id: str | None = None,
        cache_read_tokens: int | None = None,
        cache_write_tokens: int | None = None,
        reasoning_tokens: int | None = None,
        usage_source: UsageSource | None = None,
        cost_source: CostSource | None = None,
        ttft_ms: Amount | None = None,
        stream: bool | None = None,  # noqa: FBT001 - one of many optional fields
        finish_reason: str | None = None,
        attempts: int | None = None,
        http_status: int | None = None,
        error_type: str | None = None,
        source: str | None = None,
        tags: Sequence[str] | None = None,
        metadata: Mapping[str, Any] | None = None,
        cache_write_1h_tokens: int | None = None,
        service_tier: str | None = None,
        unpriced_usage: str | None = None,
        prompt: str | None = None,
        response: str | None = None,
    ) -> None:
        # Each line tests the common case in place and calls the slow check only when that fails.
        if _keywords_follow is not None:
            raise TypeError("InvocationRecord takes one argument by position, invocation_id; give the others by name")
        if invocation_id is None:
            invocation_id = new_id()
        elif not (
            type(invocation_id) is str
            and 0 < len(invocation_id) <= MAX_NAME_CHARS
            and invocation_id.isascii()
            and "\0" not in invocation_id
        ):
            invocation_id = checks.required_id("invocation_id", invocation_id)
        try:
            # The very object that was found clean: one of another class may equal it, and be another text.
            known = (
                KNOWN_NAMES[agent_name] is agent_name
                and KNOWN_NAMES[tool_name] is tool_name
                and KNOWN_NAMES[model_name] is model_name
            )
        except Exception:  # noqa: BLE001 - a new name, or what is none and raises by itself
            known = False
        if not known:
            agent_name = checks.name("agent_name", agent_name)
            tool_name = checks.name("tool_name", tool_name)
            model_name = checks.name("model_name", model_name)
        if (type(prompt_tokens) is not int or not 0 <= prompt_tokens <= MAX_TOKENS) and prompt_tokens is not None:
            prompt_tokens = checks.tokens("prompt_tokens", prompt_tokens)
        if (
            type(completion_tokens) is not int or not 0 <= completion_tokens <= MAX_TOKENS
        ) and completion_tokens is not None:
            completion_tokens = checks.tokens("completion_tokens", completion_tokens)
        if (type(total_tokens) is not int or not 0 <= total_tokens <= MAX_TOKENS) and total_tokens is not None:
            total_tokens = checks.tokens("total_tokens", total_tokens)
        if total_tokens is None:
            if prompt_tokens is not None and completion_tokens is not None:
                total_tokens = prompt_tokens + completion_tokens
                if total_tokens > MAX_TOKENS:
                    total_tokens = checks.tokens("total_tokens", total_tokens)
        elif total_tokens < (prompt_tokens or 0) + (completion_tokens or 0):
            raise RecordError("total_tokens", total_tokens, "it is below prompt_tokens + completion_tokens")
        if (type(cost_usd) is not float or not 0.0 <= cost_usd <= MAX_COST_USD) and cost_usd is not None:
            cost_usd = checks.amount("cost_usd", cost_usd, MAX_COST_USD, "USD")
        if (
            (type(latency_ms) is not int and type(latency_ms) is not float) or not 0 <= latency_ms <= MAX_LATENCY_MS
        ) and latency_ms is not None:
            latency_ms = checks.amount("latency_ms", latency_ms, MAX_LATENCY_MS, "milliseconds")
        if status is not _SUCCESS:  # the literal is one object in all modules, and a look-alike goes the long way
            status, kind = checks.outcome("status", status)
            if error_type is None:
                error_type = kind
        size = _BASE_SIZE
        if error_message is not None:
            error_message = cast("str", checks.message("error_message", error_message))
            size += _text_bytes(error_message)
        if privacy_level is not None:
            privacy_level = cast("PrivacyLevel | None", checks.choice("privacy_level", privacy_level, LEVELS))
        microseconds = time_ns() // 1000 if timestamp is None else checks.moment("timestamp", timestamp)
        _set_card(
            self,
            (
                invocation_id,
                microseconds,
                agent_name,
                tool_name,
                model_name,
                prompt_tokens,
                completion_tokens,
                total_tokens,
                cost_usd,
                latency_ms,
                status,
                error_message,
                privacy_level,
            ),
        )
        # By identity: a value may equal None, or raise when it is compared.
        # fmt: off
        if (
            None is provider is operation is request_model is response_id  # type: ignore[comparison-overlap]
            is request_id is session_id is user_id is trace_id is span_id is parent_invocation_id
            is cache_read_tokens is cache_write_tokens is reasoning_tokens is usage_source is cost_source
            is ttft_ms is stream is finish_reason is attempts is http_status is error_type is source is tags
            is metadata is cache_write_1h_tokens is service_tier is unpriced_usage is prompt is response
        ):
            _set_extensions(self, None)
        else:
            extensions = (
                provider, operation, request_model, response_id, request_id, session_id, user_id, trace_id, span_id,
                parent_invocation_id, cache_read_tokens, cache_write_tokens, reasoning_tokens, usage_source,
                cost_source, ttft_ms, stream, finish_reason, attempts, http_status, error_type, source, tags,
                metadata, cache_write_1h_tokens, service_tier, unpriced_usage, prompt, response,
            )  # fmt: skip
            checked = tuple(
                None if value is None else check(field, value)
                for (field, check), value in zip(EXTENSION_CHECKS, extensions, strict=True)
            )
            _set_extensions(self, checked)
            size += 8 * len(checked) + sum(_text_bytes(value) for value in checked if isinstance(value, str))
        # fmt: on
        _set_size(self, size)

    def replace(self, **changes: Any) -> "InvocationRecord":
        """A copy with some fields changed, checked anew. A total that was the sum of its parts follows them."""
        kept = self.to_dict()
        if "prompt_tokens" in changes or "completion_tokens" in changes:
            prompt, completion = self.prompt_tokens, self.completion_tokens
            if prompt is not None and completion is not None and self.total_tokens == prompt + completion:
                del kept["total_tokens"]
        return InvocationRecord(**{**kept, **changes})

    def to_dict(self) -> dict[str, Any]:
        """All fields by name, as the constructor takes them."""
        return {field: getattr(self, field) for field in FIELDS}

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, InvocationRecord):
            return NotImplemented
        return self.card == other.card and self.extensions == other.extensions

    def __hash__(self) -> int:
        return hash((self.card, self.extensions))

    def __repr__(self) -> str:
        # Messages, content and metadata stay out of logs; names and ids are shown without secrets.
        fields_shown = (
            "invocation_id",
            "agent_name",
            "tool_name",
            "model_name",
            "status",
            "total_tokens",
            "cost_usd",
            "latency_ms",
        )
        parts = (f"{field}={shown(getattr(self, field), MAX_NAME_CHARS + 2)}" for field in fields_shown)
        return f"InvocationRecord({', '.join(parts)})"

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (self.card, self.extensions, self.size)

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"InvocationRecord is immutable; make another with record.replace({name}=...)")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"InvocationRecord is immutable; {name} cannot be deleted")


def _text_bytes(value: str) -> int:
    return _TEXT_SIZE + (len(value) if value.isascii() else 4 * len(value))


def _restore(card: tuple[Any, ...], extensions: tuple[Any, ...] | None, size: int) -> InvocationRecord:
    record = InvocationRecord.__new__(InvocationRecord)
    _set_card(record, card)
    _set_extensions(record, extensions)
    _set_size(record, size)
    return record


def rebuilt(record: InvocationRecord, card: tuple[Any, ...], extensions: tuple[Any, ...] | None) -> InvocationRecord:
    """A record of other values that are known to be storable, of the same `size`: nothing is checked again."""
    return _restore(card, extensions, record.size)


# The slots' own setters: `InvocationRecord.__setattr__` refuses, and `object.__setattr__` costs twice as much.
_set_card: Final[Callable[[InvocationRecord, Any], None]] = InvocationRecord.__dict__["card"].__set__
_set_extensions: Final[Callable[[InvocationRecord, Any], None]] = InvocationRecord.__dict__["extensions"].__set__
_set_size: Final[Callable[[InvocationRecord, Any], None]] = InvocationRecord.__dict__["size"].__set__


cast("Any", InvocationRecord.__init__).__signature__ = keywords_after_first(InvocationRecord.__init__)
