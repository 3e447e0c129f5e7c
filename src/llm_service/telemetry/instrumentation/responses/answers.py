"""What a whole answer says of its call: model, ids, how it ended, what was used. Its shape is read, not its class.

Shapes: OpenAI and all that speak its protocols (https://platform.openai.com/docs/api-reference), Anthropic
(https://platform.claude.com/docs/en/api/messages), Gemini (https://ai.google.dev/api/generate-content), Bedrock
(https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html) and Ollama
(https://docs.ollama.com/api/chat). Operations are OpenTelemetry's
(https://opentelemetry.io/docs/specs/semconv/registry/attributes/gen-ai/#gen-ai-operation-name).
"""

from collections.abc import Mapping
from typing import Any, Final

from llm_service.pricing.usage.around import Around, unwrapped
from llm_service.pricing.usage.leaves import is_list, is_mapping
from llm_service.pricing.usage.plain import plain_fields
from llm_service.pricing.usage.report import Fields, fields_by, report_in
from llm_service.pricing.usage.shapes import OPENAI
from llm_service.telemetry.instrumentation.failed_answers import (
    CHOICES,
    REASONS,
    failure_of,
    few,
    first_text,
    get,
    text_of,
)
from llm_service.telemetry.instrumentation.field_aliases import with_doubt
from llm_service.telemetry.instrumentation.responses.plain_answers import (
    BEDROCK,
    HOSTED,
    VERTEX,
    Kept,
    answer_of,
    plain_answer,
    plain_fields_of,
)
from llm_service.telemetry.record.checks import MAX_NAME_CHARS

__all__ = [
    "AZURE",
    "BEDROCK",
    "VERTEX",
    "facts_of",
    "failure_of",
    "get",
    "has_usage",
    "model_of",
    "read_answer",
    "read_kept",
    "reason_of",
    "reported_by",
    "text_of",
]

AZURE: Final = "azure.ai.openai"
_OBJECTS: Final = {
    "chat.completion": "chat",
    "chat.completion.chunk": "chat",
    "response": "chat",
    "decision": "decision",
    "text_completion": "text_completion",
}
"""What `object` says of an answer of OpenAI's protocols."""
_MODELS: Final = ("model", "model_version", "modelVersion", "model_name")
_IDS: Final = ("id", "response_id", "responseId")


def read_answer(answer: Any) -> dict[str, Any]:
    """The fields of a record that an answer tells; empty where it is none of a known shape. Never raises."""
    found = plain_answer(answer)
    if found is not None:
        return {field: value for field, value in found.items() if value is not None}
    try:
        used = usage_of(answer)
        facts = facts_of(answer)
    except Exception:  # noqa: BLE001 - a foreign object may raise anything
        return {}
    if "usage_source" not in used and facts.keys() <= {"model_name", "response_id", "request_id", "service_tier"}:
        return {}  # these names alone may stand in anything
    if facts.get("operation") == "embeddings" and "prompt_tokens" in used:
        used.setdefault("completion_tokens", 0)  # there is no output, whether or not that is told
    return facts | used


def read_kept(kept: Kept) -> dict[str, Any]:
    """As `read_answer`, of what was kept of one."""
    found = plain_fields_of(kept)
    return read_answer(answer_of(kept)) if found is None else found


def usage_of(answer: Any) -> dict[str, Any]:
    """What an answer says that was used; empty where it says nothing."""
    around = unwrapped(answer)
    plain = _plain_usage(around)
    if plain is not None:
        plain["usage_source"] = "reported"
        return {field: value for field, value in plain.items() if value is not None}
    reported = _reported(around)
    if reported is None:
        return {}
    told = {field: value for field, value in with_doubt(reported).items() if value is not None}
    return {"usage_source": "reported"} | told if has_usage(told) else told


def _plain_usage(around: Around) -> dict[str, Any] | None:
    """The fields of usage without doubts, beside which nothing has a price; None of any other."""
    usage, words = around.usage, around.words
    if around.others or around.made is not None or around.billed or around.charged:
        return None
    if usage is None or not around.inside or words.keys() - {"tier"}:
        return None
    found = plain_fields(usage)
    if found is not None and words and found["service_tier"] is None:
        tier = words["tier"]
        if not tier.isalnum():
            return None
        found["service_tier"] = tier
    return found


def reported_by(answer: Any) -> Fields | None:
    """The report of an answer or an event, as it stands; None where there is none."""
    return _reported(unwrapped(answer))


def _reported(around: Around) -> Fields | None:
    """The report that was found. Where the answer itself would be the report, only one with a count or a cost is."""
    report = report_in(around, OPENAI)
    if report is None:
        return None
    used = fields_by(report)
    return used if around.inside or has_usage(used) else None


def has_usage(fields: Mapping[str, Any]) -> bool:
    """Whether fields have a count or a cost."""
    return any(value is not None and (name == "cost_usd" or name.endswith("_tokens")) for name, value in fields.items())


def facts_of(answer: Any) -> dict[str, Any]:
    """What an answer says beside its usage; what it does not say is left out."""
    told = get(answer, "response_metadata")  # LangChain's messages
    told = told if is_mapping(told) else None
    found = {
        "model_name": model_of(answer) or model_of(told),
        "response_id": first_text(answer, _IDS),
        "request_id": text_of(answer, "_request_id") or text_of(get(answer, "ResponseMetadata"), "RequestId"),
        "finish_reason": reason_of(answer) or first_text(told, REASONS),
        "operation": operation_of(answer),
        "provider": _provider_of(answer),
        "service_tier": text_of(answer, "service_tier"),
        **(failure_of(answer) or failure_of(told)),
    }
    return {field: value for field, value in found.items() if value is not None}


def model_of(answer: Any) -> str | None:
    """The model that answered, as the answer names it."""
    return first_text(answer, _MODELS)


def reason_of(answer: Any) -> str | None:
    """Why it ended, in the provider's own words; of several choices each word once."""
    told = first_text(answer, REASONS)
    if told is not None:
        return told
    reasons = [first_text(choice, REASONS) for name in CHOICES for choice in few(get(answer, name))]
    words = dict.fromkeys(reason for reason in reasons if reason is not None)
    if words:
        return ",".join(words)[:MAX_NAME_CHARS]
    if text_of(answer, "object") == "response":
        return text_of(get(answer, "incomplete_details"), "reason") or text_of(answer, "status")
    blocked = get(answer, "prompt_feedback") or get(answer, "promptFeedback")
    return text_of(blocked, "block_reason") or text_of(blocked, "blockReason")


def operation_of(answer: Any) -> str | None:
    """What was asked for, by the shape of the answer."""
    told = text_of(answer, "object")
    if told in _OBJECTS:
        return _OBJECTS[told]
    found: str | None
    kind = text_of(answer, "type")
    first = next(iter(few(get(answer, "data"))), None)
    if text_of(first, "object") == "embedding" or is_list(get(answer, "embeddings")):
        found = "embeddings"
    elif is_list(get(answer, "candidates")):
        found = "generate_content"
    elif kind == "completion" or (_is_ollama(answer) and text_of(answer, "response") is not None):
        found = "text_completion"
    else:
        found = "chat" if _is_chat(answer, kind) or _is_ollama(answer) else None
    return found


def _is_chat(answer: Any, kind: str | None) -> bool:
    first = next(iter(few(get(answer, "choices"))), None)
    if get(first, "message") is not None or get(first, "delta") is not None:
        return True
    if kind == "message":
        return text_of(answer, "role") == "assistant"
    return kind == "ai" or _is_converse(answer)


def _is_converse(answer: Any) -> bool:
    return text_of(answer, "stopReason") is not None and get(get(answer, "output"), "message") is not None


def _is_ollama(answer: Any) -> bool:
    return isinstance(get(answer, "done"), bool) and text_of(answer, "created_at") is not None


def _provider_of(answer: Any) -> str | None:
    """Who sold the call, where the shape is only theirs: what speaks another's protocol may be anyone."""
    found: str | None
    response_id = text_of(answer, "id") or ""
    if response_id[:9] in HOSTED:
        found = HOSTED[response_id[:9]]
    elif text_of(answer, "object") == "decision":
        found = "openai-decisions"  # a price list of its own
    elif response_id.startswith("gen-") and text_of(answer, "provider") is not None:
        found = "openrouter"
    elif is_list(get(answer, "prompt_filter_results")):
        found = AZURE
    elif isinstance(get(answer, "x_groq"), Mapping):
        found = "groq"
    elif _is_converse(answer):
        found = BEDROCK
    elif _is_ollama(answer):
        found = "ollama"
    else:
        found = text_of(get(answer, "_hidden_params"), "custom_llm_provider")  # LiteLLM's
    return found
