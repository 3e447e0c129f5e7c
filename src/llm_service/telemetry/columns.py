"""The names of a record's fields, in the order of its columns, and how each optional one is checked."""

from collections.abc import Callable
from typing import Any, Final

from llm_service.telemetry import fields
from llm_service.telemetry.fields import MAX_LATENCY_MS

__all__ = ["CARD_FIELDS", "CONTENT_FIELDS", "EXTENSION_CHECKS", "EXTENSION_FIELDS", "FIELDS"]

CARD_FIELDS: Final = (
    "invocation_id",
    "timestamp",
    "agent_name",
    "tool_name",
    "model_name",
    "prompt_tokens",
    "completion_tokens",
    "total_tokens",
    "cost_usd",
    "latency_ms",
    "status",
    "error_message",
    "privacy_level",
)
"""The columns that every record fills, in the order of `InvocationRecord.card`."""

EXTENSION_FIELDS: Final = (
    "provider",
    "operation",
    "request_model",
    "response_id",
    "request_id",
    "session_id",
    "user_id",
    "trace_id",
    "span_id",
    "parent_invocation_id",
    "cache_read_tokens",
    "cache_write_tokens",
    "reasoning_tokens",
    "usage_source",
    "cost_source",
    "ttft_ms",
    "stream",
    "finish_reason",
    "attempts",
    "http_status",
    "error_type",
    "source",
    "tags",
    "metadata",
    "cache_write_1h_tokens",
    "service_tier",
)
"""The optional columns, in the order of `InvocationRecord.extensions`; NULL where unknown."""

CONTENT_FIELDS: Final = ("prompt", "response")
"""Text that never stands in `invocations`."""

FIELDS: Final = (*CARD_FIELDS, *EXTENSION_FIELDS, *CONTENT_FIELDS)


def _ttft(field: str, value: object) -> float | int | None:
    return fields.amount(field, value, MAX_LATENCY_MS, "milliseconds")


def _usage_source(field: str, value: object) -> str | None:
    return fields.choice(field, value, fields.USAGE_SOURCES)


def _cost_source(field: str, value: object) -> str | None:
    return fields.choice(field, value, fields.COST_SOURCES)


def _attempts(field: str, value: object) -> int | None:
    return fields.whole(field, value, 1, fields.MAX_COUNT)


def _http_status(field: str, value: object) -> int | None:
    return fields.whole(field, value, 100, 599)


_SPECIAL_CHECKS: Final[dict[str, Callable[[str, object], Any]]] = {
    "cache_read_tokens": fields.tokens,
    "cache_write_tokens": fields.tokens,
    "reasoning_tokens": fields.tokens,
    "cache_write_1h_tokens": fields.tokens,
    "usage_source": _usage_source,
    "cost_source": _cost_source,
    "ttft_ms": _ttft,
    "stream": fields.flag,
    "attempts": _attempts,
    "http_status": _http_status,
    "tags": fields.tags,
    "metadata": fields.metadata,
    "prompt": fields.content,
    "response": fields.content,
}
EXTENSION_CHECKS: Final = tuple(
    (field, _SPECIAL_CHECKS.get(field, fields.label)) for field in (*EXTENSION_FIELDS, *CONTENT_FIELDS)
)
"""Name and check of each optional field, in their order."""
