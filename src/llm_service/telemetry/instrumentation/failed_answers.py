"""What of an answer says that it failed, and how anything in an answer is looked at: by its shape, not its class."""

from collections.abc import Mapping
from itertools import islice
from typing import Any, Final, cast

from llm_service.pricing.usage.around import EXCEPTIONS
from llm_service.pricing.usage.leaves import is_list
from llm_service.pricing.usage.plain import is_model
from llm_service.telemetry.record.checks import MAX_NAME_CHARS
from llm_service.telemetry.record.failures import failure_by

__all__ = [
    "CHOICES",
    "REASONS",
    "failure_of",
    "few",
    "first_text",
    "get",
    "tells_failure",
    "text_of",
]

_TOLD_BY: Final = {
    "base_resp": ("status_code", "status_msg"),  # https://platform.minimax.io/docs/api-reference/text-openai-api
    "Error": ("Code", "Message"),  # botocore's
}
"""What holds the code and the words of an error, beside `error`."""
_CODES: Final = {
    "error_code": "error_msg",  # https://cloud.baidu.com/doc/WENXINWORKSHOP/s/tlmyncueh
    "code": "message",  # https://help.aliyun.com/zh/model-studio/error-code
}
"""The code of an error and its words, in an answer that holds nothing else."""
_FINE: Final = frozenset({"0", "200", "ok", "success"})
"""Codes of no error."""
_SAY_IT_FAILED: Final = {"success": False, "ok": False, "is_error": True, "isError": True}
"""Flags of an answer, as gateways and agents have them (https://developers.cloudflare.com/api/#responses,
https://code.claude.com/docs/en/agent-sdk/python#resultmessage,
https://modelcontextprotocol.io/specification/2025-06-18/server/tools#error-handling), where it failed."""
_SERVED: Final = ("choices", "output", "content", "candidates", "data", "usage", "message_id", "role")
"""Names in an answer that did not fail."""
_MOST: Final = 128
"""Choices that are looked at; no provider gives more."""
CHOICES: Final = ("choices", "candidates")
"""Where an answer has its choices."""
REASONS: Final = ("finish_reason", "finishReason", "stop_reason", "stopReason", "done_reason")


def failure_of(answer: Any) -> dict[str, Any]:
    """Status and error of an answer that says of itself that it failed; empty of any other."""
    status = text_of(answer, "status")
    choices = [choice for name in CHOICES for choice in few(get(answer, name))]
    errors = (_error_in(answer), *(get(choice, "error") for choice in choices))
    error = next((one for one in errors if one is not None and _is_error(one)), None)
    reasons = (first_text(source, REASONS) for source in (answer, *choices))
    found = [failed for word in (status, *reasons) if word is not None and (failed := failure_by(word))]
    flagged = any(get(answer, name) is said for name, said in _SAY_IT_FAILED.items())
    if error is None and not found and not flagged:
        return {}
    code = get(error, "code")
    kind = text_of(error, "code") or text_of(error, "type") or (str(code) if type(code) is int else None)
    statuses = {failed["status"] for failed in found}
    return {
        "status": "timeout" if "timeout" in statuses else "error",
        "error_type": kind or (found[0]["error_type"] if found else "error"),
        "error_message": error if isinstance(error, str) else text_of(error, "message"),
    }


def tells_failure(chunk: Any) -> bool:
    """Whether a part of a stream may hold an error."""
    return get(chunk, "object") == "error" or any(get(chunk, name) is not None for name in ("error", *_TOLD_BY))


def _error_in(answer: Any) -> Any:
    """The error that an answer tells, in the form of OpenAI's; None of one that tells none."""
    error = get(answer, "error")
    if error is None and get(answer, "object") == "error":  # vLLM's, SGLang's
        return answer
    return _error_elsewhere(answer) if error is None else error


def _error_elsewhere(answer: Any) -> Any:
    for name, (code, words) in _TOLD_BY.items():
        told = get(answer, name)
        if told is not None and get(told, code):
            return {"code": get(told, code), "message": get(told, words)}
    for name in EXCEPTIONS:
        told = get(answer, name)
        if told is not None:
            return {"type": name, "message": get(told, "message")}
    if is_list(answer):  # Gemini's, in the form of OpenAI's
        return get(next(iter(few(answer)), None), "error")
    for code, words in _CODES.items():
        told = get(answer, code)
        if (
            told
            and (type(told) is int if code == "error_code" else type(told) is str)
            and str(told).lower() not in _FINE
            and text_of(answer, words)
            and all(get(answer, name) is None for name in _SERVED)
        ):
            return {"code": told, "message": get(answer, words)}
    return None


def _is_error(error: Any) -> bool:
    """Whether it is one: a text, as Ollama's (https://docs.ollama.com/api/errors), or an object with words."""
    if isinstance(error, str):
        return bool(error.strip())
    return any(text_of(error, name) for name in ("message", "type", "code")) or type(get(error, "code")) is int


def get(source: Any, name: str) -> Any:
    """What a mapping or an object has under a name; None where it has nothing, or raises."""
    kind = cast("Any", type(source))
    if kind is dict:
        return source.get(name)
    try:
        if name[0] != "_" and is_model(kind):  # asking one for what it does not have takes microseconds
            found = source.__dict__.get(name)
            more = source.__pydantic_extra__
            return more.get(name) if found is None and more else found
        if isinstance(source, Mapping):
            return cast("Mapping[str, Any]", source).get(name)
        return getattr(source, name, None)
    except Exception:  # noqa: BLE001 - a foreign object may raise anything
        return None


def text_of(source: Any, name: str) -> str | None:
    """The text under a name, of an enum its value; None for anything else."""
    value = get(source, name)
    if value is not None and not isinstance(value, str):
        value = get(value, "value")
    return value[:MAX_NAME_CHARS] if isinstance(value, str) and value else None


def first_text(source: Any, names: tuple[str, ...]) -> str | None:
    """The first text that a mapping or an object has under these names."""
    return None if source is None else next((text for name in names if (text := text_of(source, name))), None)


def few(value: Any) -> list[Any]:
    """The first items of a list; none of anything else."""
    kind = cast("Any", type(value))
    if kind is list:
        found: list[Any] = value[:_MOST]
        return found
    return list(islice(value, _MOST)) if is_list(value) else []
