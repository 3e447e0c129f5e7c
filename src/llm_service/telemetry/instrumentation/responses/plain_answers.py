"""The short way for answers of which there is nothing to doubt: most are, and theirs are read in microseconds.

What it knows are objects of OpenAI's and Anthropic's clients that hold no more than their classes declare, ended as
most do, ran no tool that may have a fee, and tell plain usage. Any other is left to the search that knows every shape;
where both can read one, they say the same.
"""

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Final, NamedTuple, cast

from llm_service.pricing.usage.around import declared
from llm_service.pricing.usage.leaves import child, is_model
from llm_service.pricing.usage.plain import plain_fields
from llm_service.pricing.usage.provider_tools import is_plain_item
from llm_service.telemetry.record.checks import MAX_NAME_CHARS
from llm_service.telemetry.record.failures import ORDINARY

__all__ = ["BEDROCK", "HOSTED", "VERTEX", "Kept", "answer_of", "kept_of", "plain_answer", "plain_fields_of"]

BEDROCK: Final = "aws.bedrock"
VERTEX: Final = "gcp.vertex_ai"
HOSTED: Final = {"msg_bdrk_": BEDROCK, "msg_vrtx_": VERTEX}
"""How Anthropic's ids begin where another sells its models."""
_MOST: Final = 128
"""Items of an answer that are looked at here; few have more."""
Kept = tuple[Any, Any, Any, Any, str, dict[str, Any], str]
"""Model, ids of answer and request, tier, reason, usage, and the kind of the answer."""


class _Way(NamedTuple):
    """How answers of a class are read.

    Attributes:
        kind: what they say that they are.
        reason_of: why one ended; None where it is no plain one.
        parts: names of parts of the usage that are objects.
    """

    kind: str
    reason_of: Callable[[Mapping[str, Any]], Any]
    parts: tuple[str, ...]


def kept_of(answer: Any) -> Kept | None:
    """What has to be kept of a plain answer to read it later, when its owner may have changed it; None of any other.

    Never raises.
    """
    way = _way_of(cast("Any", type(answer)))
    if way is None:
        return None
    try:
        if answer.__pydantic_extra__ or answer.__pydantic_private__:
            return None
        told: dict[str, Any] = answer.__dict__
        reason = way.reason_of(told)
        usage = _copied(told["usage"], way.parts)
        if usage is None or type(reason) is not str or reason not in ORDINARY:
            return None
        return told["model"], told["id"], told.get("_request_id"), told.get("service_tier"), reason, usage, way.kind
    except Exception:  # noqa: BLE001 - it is not as its class declares
        return None


def _copied(usage: Any, parts: tuple[str, ...]) -> dict[str, Any] | None:
    """The values of usage, and of its parts; None where it holds more than it declares."""
    if not is_model(cast("Any", type(usage))) or usage.__pydantic_extra__:
        return None
    told = dict(usage.__dict__)
    for name in parts:
        part = told.get(name)
        if part is not None:
            if part.__pydantic_extra__:
                return None
            told[name] = dict(part.__dict__)
    return told


def plain_answer(answer: Any) -> dict[str, Any] | None:
    """The fields of a plain answer; None of any other. Never raises."""
    kept = kept_of(answer)
    found = None if kept is None else plain_fields_of(kept)
    return None if found is None else {field: value for field, value in found.items() if value is not None}


def plain_fields_of(kept: Kept) -> dict[str, Any] | None:
    """The fields of what was kept, None where it tells none; None where there is a doubt.

    Numbers and words are as a record keeps them, texts are of at most 200 characters.
    """
    model, response_id, request_id, tier, reason, usage, _ = kept
    if not _is_text(model) or not _is_text(response_id) or response_id[:9] in HOSTED:
        return None
    found = plain_fields(usage)
    if found is None:
        return None
    if tier is not None:
        if not _is_text(tier) or not tier.isalnum():
            return None
        if found["service_tier"] is None:
            found["service_tier"] = tier
    if _is_text(request_id):
        found["request_id"] = request_id
    found["model_name"], found["response_id"], found["finish_reason"] = model, response_id, reason
    found["operation"], found["usage_source"] = "chat", "reported"
    return found


def answer_of(kept: Kept) -> dict[str, Any]:
    """The answer again, as far as it was kept."""
    model, response_id, request_id, tier, reason, usage, kind = kept
    answer = {"model": model, "id": response_id, "_request_id": request_id, "service_tier": tier, "usage": usage}
    return answer | (
        {"type": kind, "role": "assistant", "stop_reason": reason}
        if kind == "message"
        else {"object": kind, "status": reason}
        if kind == "response"
        else {"object": kind, "choices": [{"finish_reason": reason}]}
    )


def _is_text(value: Any) -> bool:
    return type(value) is str and 0 < len(value) <= MAX_NAME_CHARS


@lru_cache(maxsize=256)
def _way_of(kind: Any) -> _Way | None:
    """What reads how an answer of a class ended; None for a class that may tell more than is known here."""
    if not is_model(kind):
        return None
    names = frozenset(declared(kind) or ())
    return next((way for known, way in _WAYS.items() if names == known or names == known - {"metadata"}), None)


def _chat(told: Mapping[str, Any]) -> Any:
    choices = told["choices"]
    if told["object"] != "chat.completion" or cast("Any", type(choices)) is not list or len(choices) != 1:
        return None
    choice: Any = choices[0]
    message = choice.__dict__["message"]
    more = message.__pydantic_extra__
    if choice.__pydantic_extra__ or (more and "executed_tools" in more):
        return None
    return choice.__dict__["finish_reason"]


def _response(told: Mapping[str, Any]) -> Any:
    if told["object"] != "response" or told["status"] != "completed" or told["error"] is not None:
        return None
    return "completed" if _are_plain(told["output"]) else None


def _message(told: Mapping[str, Any]) -> Any:
    if told["type"] != "message" or told["role"] != "assistant" or not _are_plain(told["content"]):
        return None
    return told["stop_reason"]


def _are_plain(items: Any) -> bool:
    """Whether none of these items is of a tool that the provider ran."""
    if items is None:
        return True
    if cast("Any", type(items)) is not list or len(items) > _MOST:
        return False
    return all(is_plain_item(child(item, "type")) for item in items)


_WAYS: Final[Mapping[frozenset[str], _Way]] = {
    frozenset({"choices", "object", "metadata", "service_tier", "usage"}): _Way(
        "chat.completion", _chat, ("prompt_tokens_details", "completion_tokens_details")
    ),
    frozenset({"error", "metadata", "object", "output", "service_tier", "status", "usage"}): _Way(
        "response", _response, ("input_tokens_details", "output_tokens_details")
    ),
    frozenset({"content", "type", "usage"}): _Way(
        "message", _message, ("cache_creation", "output_tokens_details", "server_tool_use")
    ),
}
"""By the names of a class that have a meaning for usage; see `around`."""
