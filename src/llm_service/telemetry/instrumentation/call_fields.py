"""What a call's end tells of itself, and the fields that were given made ready: functions of values."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from itertools import islice
from typing import Any, Final, cast

from llm_service.errors import RecordError
from llm_service.redaction import clean
from llm_service.telemetry.record.checks import MAX_ERROR_CHARS, MAX_NAME_CHARS, MAX_TAGS
from llm_service.telemetry.record.failures import CANCELLED
from llm_service.telemetry.record.fields import KINDS

__all__ = [
    "TOKEN_COUNTS",
    "describe_error",
    "ended_by",
    "is_cancelled",
    "milliseconds",
    "refuse_misplaced",
    "settled",
    "without_content",
]

_FIELDS: Final = frozenset(KINDS)
TOKEN_COUNTS: Final = frozenset({"prompt_tokens", "completion_tokens", "total_tokens"})
_QUOTED_NOWHERE: Final = frozenset({"content", "error", "json"})


def refuse_misplaced(fields: Mapping[str, Any]) -> None:
    """A budget that stands where none is reserved would be taken for an unknown field, and limit nothing.

    Raises:
        TypeError: where it is written.
    """
    for field in fields:
        if field not in _FIELDS and "budget" in field.lower():
            raise TypeError(
                f"{clean(field)}= reserves nothing here; give budget= where the call begins: "
                "invocation(...), instrumented(...) or wrap_stream(...)"
            )


def settled(fields: Mapping[str, Any]) -> Mapping[str, Any]:
    """The fields, with tags that can be read only once read: they may be looked at again, and for another record."""
    given: Any = fields.get("tags")
    if given is None or not hasattr(cast("Any", type(given)), "__next__"):
        return fields
    tags: list[Any] = [*islice(given, MAX_TAGS)]
    return {**fields, "tags": tags}


def without_content(error: RecordError) -> str:
    """What is wrong with a field, without the value of one that may hold anything: no log line quotes an answer."""
    if KINDS.get(error.field) in _QUOTED_NOWHERE:
        return f"{error.field}: a value of type {type(error.value).__name__} is not usable; {error.remedy}"
    return str(error)


def milliseconds(nanoseconds: int) -> float:
    """Microseconds below 100 ms, whole milliseconds above: what jitter leaves of it, in 2 bytes instead of 8."""
    milliseconds = nanoseconds / 1e6
    return round(milliseconds, 3) if milliseconds < 100 else float(round(milliseconds))


def describe_error(error: BaseException) -> dict[str, Any]:
    """What an exception that ended a block says of the call: status, `error_type`, `error_message`, `finish_reason`."""
    if isinstance(error, GeneratorExit):
        # The consumer had enough: no fault of the call. OpenTelemetry, too, sets an error type on failures only.
        return {"finish_reason": CANCELLED}
    if is_cancelled(error):
        return {"status": "error", "error_type": "cancelled"}
    status = "timeout" if any("Timeout" in kind.__name__ for kind in type(error).__mro__) else "error"
    try:
        message = str(error)
    except Exception as failure:  # noqa: BLE001 - a foreign __str__ may raise anything
        message = f"<str of {type(error).__name__} raises {type(failure).__name__}>"
    storable = message[:MAX_ERROR_CHARS].encode(errors="backslashreplace").decode().replace("\0", "\\0")
    return {
        "status": status,
        "error_type": type(error).__qualname__[:MAX_NAME_CHARS],
        "error_message": storable or None,
    } | _of_response(error)


def is_cancelled(error: BaseException | None) -> bool:
    """Whether it is how asyncio or trio cancels a task: of an open stream, that is its consumer going away."""
    kind = type(error)
    return isinstance(error, asyncio.CancelledError) or (
        kind.__name__ == "Cancelled" and kind.__module__.partition(".")[0] == "trio"
    )


def ended_by(error: BaseException, said: Mapping[str, Any]) -> dict[str, Any]:
    """What an exception that ended a block says of the call, beside what the block says."""
    found = describe_error(error)
    if not TOKEN_COUNTS.isdisjoint(said) and (said.get("stream") is True or isinstance(error, GeneratorExit)):
        found["usage_source"] = "partial"  # they are lower bounds
    return found


def _of_response(error: BaseException) -> dict[str, Any]:
    """HTTP status and request id, where an SDK's exception has them (OpenAI's, Anthropic's, Google's, httpx's)."""
    told: dict[str, Any] = {}
    with suppress(Exception):  # a foreign attribute may raise anything
        response = getattr(error, "response", None)
        for source in (error, response):
            for name in ("status_code", "code"):
                status = getattr(source, name, None)
                if type(status) is int and 100 <= status <= 599:
                    told.setdefault("http_status", status)
            request = getattr(source, "request_id", None)
            if type(request) is str and 0 < len(request) <= MAX_NAME_CHARS:
                told.setdefault("request_id", request)
    return told
