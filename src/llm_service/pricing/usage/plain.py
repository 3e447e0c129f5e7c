"""The short way for reports in which there is nothing to doubt: most are, and theirs are read in microseconds.

What it knows are the usual fields of OpenAI and Anthropic, whose parts fit their whole. A report in which anything else
stands is left to the long way; where both can read one, they say the same.
"""

from collections.abc import Mapping
from typing import Any, Final, cast

from llm_service.pricing.usage.leaves import is_model, is_unset

__all__ = ["everything", "is_model", "members", "plain_fields"]

_CHAT: Final = ("prompt_tokens", "completion_tokens", "prompt_tokens_details", "completion_tokens_details")
_RESPONSES: Final = ("input_tokens", "output_tokens", "input_tokens_details", "output_tokens_details")
_READ: Final = "cache_read_input_tokens"
_WRITTEN: Final = "cache_creation_input_tokens"
_PROMPT_PARTS: Final[Mapping[str, str | None]] = {
    "cached_tokens": "cache_read_tokens", "cache_write_tokens": "cache_write_tokens", "text_tokens": None,
}  # fmt: skip
_COMPLETION_PARTS: Final[Mapping[str, str | None]] = {
    "reasoning_tokens": "reasoning_tokens", "text_tokens": None, "accepted_prediction_tokens": None,
    "rejected_prediction_tokens": None,
}  # fmt: skip
"""Parts of a whole, and the field that each is; None where it is billed as the rest of it."""
_KEPT: Final = ("ephemeral_5m_input_tokens", "ephemeral_1h_input_tokens")
_TIERS: Final = frozenset({"standard", "priority", "batch"})
_ANYWHERE: Final = frozenset({None, "global", "not_available"})
_MOST: Final = 10**9
_NONE: Final[dict[str, Any]] = {
    "prompt_tokens": None, "completion_tokens": None, "total_tokens": None, "cache_read_tokens": None,
    "cache_write_tokens": None, "reasoning_tokens": None, "cache_write_1h_tokens": None, "service_tier": None,
}  # fmt: skip


class _DoubtError(Exception):
    """There is more in it than this way knows."""


def plain_fields(usage: object) -> dict[str, Any] | None:
    """The fields of a plain report; None for any other."""
    told = members(usage)
    if told is None:
        return None
    try:
        if "prompt_tokens" in told:
            return _openai(told, *_CHAT)
        if "input_tokens" in told:
            return _openai(told, *_RESPONSES) if "total_tokens" in told else _anthropic(told)
    except (_DoubtError, TypeError):
        pass
    return None


def _openai(
    told: dict[str, Any], prompt: str, completion: str, prompt_parts: str, completion_parts: str
) -> dict[str, Any]:
    whole, output, total = _count(told[prompt]), _count(told.get(completion)), _count(told["total_tokens"])
    if whole + output != total:
        raise _DoubtError
    fields = {**_NONE, "prompt_tokens": whole, "completion_tokens": output, "total_tokens": total}
    for name, value in told.items():
        if name == prompt_parts:
            _take(fields, value, _PROMPT_PARTS, whole)
        elif name == completion_parts:
            _take(fields, value, _COMPLETION_PARTS, output)
        elif value is not None and name not in {prompt, completion, "total_tokens"} and not is_unset(value):
            raise _DoubtError
    if (fields["cache_read_tokens"] or 0) + (fields["cache_write_tokens"] or 0) > whole:
        raise _DoubtError
    return fields


def _take(fields: dict[str, Any], details: Any, known: Mapping[str, str | None], whole: int) -> None:
    if details is None:
        return
    parts = members(details)
    if parts is None:
        raise _DoubtError
    for name, value in parts.items():
        if value is None:
            continue
        count = _count(value)
        if count and name not in known:
            raise _DoubtError
        if count > whole:
            raise _DoubtError
        field = known.get(name)
        if field is not None:
            fields[field] = count


def _anthropic(told: dict[str, Any]) -> dict[str, Any]:
    fields = dict(_NONE)
    read = written = 0
    for name, value in told.items():
        if value is None:
            continue
        if name == _READ:
            fields["cache_read_tokens"] = read = _count(value)
        elif name == _WRITTEN:
            fields["cache_write_tokens"] = written = _count(value)
        elif name == "service_tier":
            if value not in _TIERS:
                raise _DoubtError
            fields["service_tier"] = value
        elif name == "output_tokens_details":
            _take(fields, value, {"thinking_tokens": "reasoning_tokens"}, _count(told["output_tokens"]))
        elif name not in {"input_tokens", "output_tokens", "cache_creation"} and not (
            name == "inference_geo" and value in _ANYWHERE
        ):
            raise _DoubtError
    kept = told.get("cache_creation")
    if kept is not None:
        parts = members(kept)
        if parts is None or len(parts) != len(_KEPT) or told.get(_WRITTEN) is None:
            raise _DoubtError
        five, hour = (_count(parts.get(name)) for name in _KEPT)
        if five + hour != written:
            raise _DoubtError
        fields["cache_write_1h_tokens"] = hour
    fields["prompt_tokens"] = _count(told["input_tokens"]) + read + written
    fields["completion_tokens"] = _count(told.get("output_tokens"))
    return fields


def _count(value: Any) -> int:
    if type(value) is not int or not 0 <= value <= _MOST:
        raise _DoubtError
    return value


def members(source: Any) -> dict[str, Any] | None:
    """Names and values of a dict, or of a pydantic model that holds no more than it declares; None of anything else."""
    kind = cast("Any", type(source))
    if kind is dict:
        held: dict[str, Any] = source
        return held
    return source.__dict__ if is_model(kind) and not source.__pydantic_extra__ else None


def everything(source: Any) -> dict[str, Any] | None:
    """As `members`, with what a pydantic model holds beside what it declares."""
    kind = cast("Any", type(source))
    if kind is dict:
        return cast("dict[str, Any]", source)
    if not is_model(kind):
        return None
    more = source.__pydantic_extra__
    held: dict[str, Any] = source.__dict__
    return held | more if more else held
