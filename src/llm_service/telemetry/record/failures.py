"""How a call ended where nobody said its status: by an error, a reason, or an HTTP status that tells of a failure."""

import re
from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Final

from llm_service.pricing.usage.leaves import snake
from llm_service.telemetry.record.fields import CHECKS, Status
from llm_service.telemetry.record.texts import forget_repairs, repairs_here

__all__ = ["CANCELLED", "FAILURES", "ORDINARY", "TELL_FAILURE", "failure_by", "status_told"]

CANCELLED: Final = "cancelled"
"""The finish reason of a stream that its consumer left early, which is no failure."""
TELL_FAILURE: Final = frozenset({"error_message", "error_type", "finish_reason", "http_status"})
"""Fields that may tell of a failure."""
_BAD_REQUEST: Final = 400
_TIMED_OUT: Final = re.compile(r"time(?:d?[ _-])?out|timedout|deadline", re.IGNORECASE)
FAILURES: Final = {
    **dict.fromkeys(("error", "errors", "errored", "fail", "failed", "failure", "fatal", "exception"), "error"),
    **dict.fromkeys(("abort", "aborted", "cancel", "canceled", "cancelled", "crashed", "disconnected"), "error"),
    **dict.fromkeys(("exhausted", "expired", "insufficient", "interrupted", "overloaded"), "error"),
    **dict.fromkeys(("quota", "rate_limit", "rate_limited", "ratelimit", "throttled", "throttling"), "error"),
    **dict.fromkeys(("too_many_requests", "unavailable", "unloaded", "unreachable"), "error"),
    **dict.fromkeys(("deadline", "time_limit", "time_out", "timed_out", "timedout", "timeout"), "timeout"),
}
"""Words that tell a failure wherever they stand in a reason or status, and the status of the call. Each provider has
reasons of its own: Mistral's and OpenRouter's `error`, Cohere's `ERROR_LIMIT`, `USER_CANCEL` and `TIMEOUT`, DeepSeek's
`insufficient_system_resource` (https://api-docs.deepseek.com/api/create-chat-completion), Z.ai's `network_error`
(https://docs.z.ai/api-reference/llm/chat-completion), SGLang's `abort`, LM Studio's `modelUnloaded`, xAI's
`REASON_TIME_LIMIT` (https://github.com/xai-org/xai-proto/blob/main/proto/xai/api/v1/sample.proto). What a model did not
do well (`malformed_function_call`, `refusal`) is no failure of the call."""
_WORDS: Final = re.compile(rf"(?:^|_)({'|'.join(sorted(FAILURES, key=len, reverse=True))})(?=_|$)")
ORDINARY: Final = frozenset(
    {"completed", "content_filter", "end_turn", "function_call", "length", "max_tokens", "stop", "stop_sequence"}
    | {"tool_calls", "tool_use"}
)
"""Reasons of most calls, in which nothing failed."""
_NONE: Final[Mapping[str, str]] = MappingProxyType({})
_SEPARATORS: Final = re.compile(r"[^a-z0-9]+")


def status_told(said: Mapping[str, Any]) -> Status:
    """The status of a call of which none is said; what no record would keep tells nothing.

    Args:
        said: of `TELL_FAILURE`, what is known; other fields are not looked at.
    """
    reason, http_status = said.get("finish_reason"), said.get("http_status")
    if (
        said.get("error_type") is said.get("error_message") is None
        and (reason is None or (type(reason) is str and reason in ORDINARY))
        and (http_status is None or (type(http_status) is int and http_status < _BAD_REQUEST))
    ):
        return "success"  # as most end
    reason, kind = _plain("finish_reason", said), _plain("error_type", said)
    found = failure_by(reason).get("status") if reason is not None and reason != CANCELLED else None
    if found == "timeout" or (kind is not None and _TIMED_OUT.search(kind)):
        return "timeout"
    http_status = _plain("http_status", said)
    failed = found or kind or _plain("error_message", said) or (http_status or 0) >= _BAD_REQUEST
    return "error" if failed else "success"


def _plain(field: str, said: Mapping[str, Any]) -> Any:
    """The value of a field as a record would keep it; None for what it would not."""
    value = said.get(field)
    if value is None:
        return None
    repairs = repairs_here()
    try:
        return CHECKS[field](field, value)
    except Exception:  # noqa: BLE001 - it is told by the record, which does not take it either
        return None
    finally:
        forget_repairs(repairs)  # counted with the record


@lru_cache(maxsize=256)
def failure_by(reason: str) -> Mapping[str, str]:
    """Status and error type of a call that ended for a reason, or several; empty where they tell of no failure."""
    for word in reason.split(","):
        told = [FAILURES[one] for one in _WORDS.findall(_SEPARATORS.sub("_", snake(word)))]
        if told and word.lower() not in ORDINARY:
            return {"status": "timeout" if "timeout" in told else "error", "error_type": snake(word)}
    return _NONE
