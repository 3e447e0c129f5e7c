"""What a whole answer says of its call: model, ids, how it ended, what was used. Its shape is read, not its class.

Shapes: OpenAI and all that speak its protocols (https://platform.openai.com/docs/api-reference), Anthropic
(https://platform.claude.com/docs/en/api/messages), Gemini (https://ai.google.dev/api/generate-content), Bedrock
(https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html) and Ollama
(https://docs.ollama.com/api/chat). Operations are OpenTelemetry's
(https://opentelemetry.io/docs/specs/semconv/registry/attributes/gen-ai/#gen-ai-operation-name).
"""

from collections.abc import Mapping
from typing import Any, Final, cast

from llm_service.pricing.usage.around import Around, unwrapped
from llm_service.pricing.usage.leaves import is_list, is_mapping
from llm_service.pricing.usage.plain import is_model, plain_fields
from llm_service.pricing.usage.report import Fields, fields_by, report_in
from llm_service.pricing.usage.shapes import OPENAI
from llm_service.telemetry.instrumentation.failed_answers import (
    ORDINARY,
    REASONS,
    failure_of,
    few,
    first_text,
    get,
    text_of,
)
from llm_service.telemetry.instrumentation.field_aliases import with_doubt
from llm_service.telemetry.record.checks import MAX_NAME_CHARS

__all__ = [
    "AZURE",
    "BEDROCK",
    "ORDINARY",
    "VERTEX",
    "facts_of",
    "failure_of",
    "get",
    "has_usage",
    "read_answer",
    "reason_of",
    "reported_by",
    "text_of",
]

AZURE: Final = "azure.ai.openai"
BEDROCK: Final = "aws.bedrock"
VERTEX: Final = "gcp.vertex_ai"
_OBJECTS: Final = {
    "chat.completion": "chat",
    "chat.completion.chunk": "chat",
    "response": "chat",
    "text_completion": "text_completion",
}
"""What `object` says of an answer of OpenAI's protocols."""
_HOSTED: Final = {"msg_bdrk_": BEDROCK, "msg_vrtx_": VERTEX}
"""How Anthropic's ids begin where another sells its models."""
_MODELS: Final = ("model", "model_version", "modelVersion", "model_name")
_IDS: Final = ("id", "response_id", "responseId")


def read_answer(answer: Any) -> dict[str, Any]:
    """The fields of a record that an answer tells; empty where it is none of a known shape. Never raises."""
    try:
        used = usage_of(answer)
        facts = _plain_facts(answer) if used else None
        if facts is None:
            facts = facts_of(answer)
    except Exception:  # noqa: BLE001 - a foreign object may raise anything
        return {}
    if "usage_source" not in used and facts.keys() <= {"model_name", "response_id", "request_id", "service_tier"}:
        return {}  # these names alone may stand in anything
    if facts.get("operation") == "embeddings" and "prompt_tokens" in used:
        used.setdefault("completion_tokens", 0)  # there is no output, whether or not that is told
    return facts | used


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
    if usage is None or around.billed or around.charged or not around.inside or words.keys() - {"tier"}:
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


def _plain_facts(answer: Any) -> dict[str, Any] | None:
    """As `facts_of`, of a client's object that holds no more than it declares, and ended as most do; None of others."""
    if not is_model(cast("Any", type(answer))) or answer.__pydantic_extra__ or answer.__pydantic_private__:
        return None
    told: dict[str, Any] = answer.__dict__
    kind = told.get("object")
    reason: Any = None
    if kind == "chat.completion":
        choices = few(told.get("choices"))
        reason = get(choices[0], "finish_reason") if len(choices) == 1 and get(choices[0], "error") is None else None
    elif kind == "response":
        reason = "completed" if told.get("status") == "completed" and told.get("error") is None else None
    elif told.get("type") == "message" and told.get("role") == "assistant":
        reason = told.get("stop_reason")
    model: Any = told.get("model")
    response_id: Any = told.get("id")
    request_id: Any = told.get("_request_id")
    if reason not in ORDINARY:
        return None
    for text in (model, response_id):
        if type(text) is not str or not 0 < len(text) <= MAX_NAME_CHARS:
            return None
    if response_id[:9] in _HOSTED:
        return None
    facts = {"model_name": model, "response_id": response_id, "finish_reason": reason, "operation": "chat"}
    if type(request_id) is str and 0 < len(request_id) <= MAX_NAME_CHARS:
        facts["request_id"] = request_id
    return facts


def facts_of(answer: Any) -> dict[str, Any]:
    """What an answer says beside its usage; what it does not say is left out."""
    told = get(answer, "response_metadata")  # LangChain's messages
    told = told if is_mapping(told) else None
    found = {
        "model_name": first_text(answer, _MODELS) or first_text(told, _MODELS),
        "response_id": first_text(answer, _IDS),
        "request_id": text_of(answer, "_request_id") or text_of(get(answer, "ResponseMetadata"), "RequestId"),
        "finish_reason": reason_of(answer) or first_text(told, REASONS),
        "operation": operation_of(answer),
        "provider": _provider_of(answer),
        "service_tier": text_of(answer, "service_tier"),
        **(failure_of(answer) or failure_of(told)),
    }
    return {field: value for field, value in found.items() if value is not None}


def reason_of(answer: Any) -> str | None:
    """Why it ended, in the provider's own words; of several choices each word once."""
    told = first_text(answer, REASONS)
    if told is not None:
        return told
    reasons = [first_text(choice, REASONS) for name in ("choices", "candidates") for choice in few(get(answer, name))]
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
    if response_id[:9] in _HOSTED:
        found = _HOSTED[response_id[:9]]
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
