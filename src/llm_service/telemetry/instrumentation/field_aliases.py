"""Names that others use for fields of a record. What has one meaning is taken; of the rest the nearest field is named.

Sources: OpenTelemetry's attributes (https://opentelemetry.io/docs/specs/semconv/registry/attributes/gen-ai/, and
`error.type`, `http.response.status_code`, `session.id`, `user.id` beside it), OpenAI's and Anthropic's usage
(https://platform.openai.com/docs/api-reference/responses/object,
https://platform.claude.com/docs/en/api/messages), LangChain's `usage_metadata`
(https://python.langchain.com/api_reference/core/messages/langchain_core.messages.ai.UsageMetadata.html) and LiteLLM's
`response_cost` (https://docs.litellm.ai/docs/observability/custom_callback), and OpenInference's attributes
(https://github.com/Arize-ai/openinference/blob/main/spec/semantic_conventions.md).
"""

import difflib
from collections.abc import Mapping
from datetime import timedelta
from types import MappingProxyType
from typing import Any, Final, cast

from llm_service.errors import RecordError
from llm_service.pricing.usage import REPORTED, usage_fields
from llm_service.pricing.usage.leaves import snake
from llm_service.pricing.usage.numbers import as_number, is_other_bool
from llm_service.pricing.usage.shapes import KNOWN
from llm_service.redaction import clean
from llm_service.telemetry.instrumentation.later_reports import with_reasons
from llm_service.telemetry.record.checks import MAX_NAME_CHARS, flag, tokens
from llm_service.telemetry.record.record import FIELDS
from llm_service.telemetry.record.statuses import flag_outcomes

__all__ = ["ALIASES", "field_named", "known_fields", "no_such_field", "own_fields", "unpriced_beside", "with_doubt"]

ALIASES: Final[Mapping[str, str]] = {
    "agent": "agent_name",
    "tool": "tool_name",
    "model": "model_name",
    "messages": "prompt",
    "user": "user_id",
    "session": "session_id",
    "response_model": "model_name",
    "conversation_id": "session_id",
    "input_tokens": "prompt_tokens",
    "output_tokens": "completion_tokens",
    "cached_tokens": "cache_read_tokens",
    "cached_input_tokens": "cache_read_tokens",
    "cache_read_input_tokens": "cache_read_tokens",
    "cache_creation_input_tokens": "cache_write_tokens",
    "cache_creation_tokens": "cache_write_tokens",
    "thinking_tokens": "reasoning_tokens",
    "cost": "cost_usd",
    "total_cost_usd": "cost_usd",
    "response_cost": "cost_usd",
    "duration_ms": "latency_ms",
    "elapsed_ms": "latency_ms",
    "time_to_first_token_ms": "ttft_ms",
    "error": "error_message",
    "error_msg": "error_message",
    "exception": "error_message",
    "error_code": "error_type",
    "status_code": "http_status",
    "http_code": "http_status",
    "http_status_code": "http_status",
    "streaming": "stream",
    "gen_ai.provider.name": "provider",
    "gen_ai.system": "provider",
    "gen_ai.operation.name": "operation",
    "gen_ai.request.model": "request_model",
    "gen_ai.response.model": "model_name",
    "gen_ai.response.id": "response_id",
    "gen_ai.response.finish_reasons": "finish_reason",
    "gen_ai.conversation.id": "session_id",
    "gen_ai.agent.name": "agent_name",
    "gen_ai.tool.name": "tool_name",
    "gen_ai.usage.input_tokens": "prompt_tokens",
    "gen_ai.usage.output_tokens": "completion_tokens",
    "gen_ai.usage.prompt_tokens": "prompt_tokens",
    "gen_ai.usage.completion_tokens": "completion_tokens",
    "gen_ai.usage.cache_read.input_tokens": "cache_read_tokens",
    "gen_ai.usage.cache_creation.input_tokens": "cache_write_tokens",
    "gen_ai.usage.reasoning.output_tokens": "reasoning_tokens",
    "llm.provider": "provider",
    "llm.model_name": "model_name",
    "llm.token_count.prompt": "prompt_tokens",
    "llm.token_count.completion": "completion_tokens",
    "llm.token_count.total": "total_tokens",
    "error.type": "error_type",
    "error.message": "error_message",
    "exception.type": "error_type",
    "exception.message": "error_message",
    "http.response.status_code": "http_status",
    "http.status_code": "http_status",
    "session.id": "session_id",
    "user.id": "user_id",
    "enduser.id": "user_id",
}
"""Each name and the field that it can only mean."""

_SPANS: Final = {"latency": "latency_ms", "duration": "latency_ms", "elapsed": "latency_ms", "ttft": "ttft_ms"}
"""Names without a unit: taken where the value brings its own, as a timedelta does."""
_NEAREST: Final = {
    "usd": "cost_usd",
    "id": "invocation_id, response_id or request_id",
    **{name: f"{field}, in milliseconds" for name, field in _SPANS.items()},
}
_CONTENT: Final = {
    "input": "prompt",
    "output": "response",
    "answer": "response",
    "completion": "response, or completion_tokens",
}
"""What clients call what was said."""
_FIELDS: Final = frozenset(FIELDS)
_ERRORS: Final = frozenset(name for name, field in ALIASES.items() if field == "error_message")
_BOOLS: Final = {"true": True, "yes": True, "false": False, "no": False}
_NOTHING_SAID: Final[Mapping[str, Any]] = MappingProxyType({})
_LONGEST: Final = 64
_IN_TOTAL: Final = ("prompt_tokens", "completion_tokens", "total_tokens")
_COUNTS: Final = frozenset({*_IN_TOTAL, "reasoning_tokens"})
"""Fields whose meaning depends on the rest of a report: its total says whether the completion includes reasoning."""
_USED: Final = frozenset(field for field in FIELDS if field.endswith("_tokens") or field == "cost_usd")
_TOLD: Final = REPORTED | KNOWN
"""Names of usage that need no warning."""
_PROMPTS: Final = frozenset({"input_tokens", "prompt_tokens"})
_PARTS: Final = frozenset(
    name for name, field in ALIASES.items() if name in REPORTED and field.startswith(("cache_", "cost_"))
)
"""What depends on the rest of the report: some count the cached tokens within the prompt, others beside it."""


def known_fields(given: Mapping[str, Any]) -> tuple[Mapping[str, Any], list[str]]:
    """What is said, by the names of fields, and the names that are none.

    A field's own name wins over others' names for it, unless its value is None. Flags that say how it went (`success`,
    `is_error`) make its status, and a failure wins. Usage as a provider
    reports it (`record_usage(**answer.usage.model_dump())`) is read as a whole: what its counts include differs.
    """
    if _FIELDS.issuperset(given):
        return given, []
    found: dict[str, Any] = {}
    unknown: list[str] = []
    usage = _usage_names(given)
    if usage:
        said = usage_fields({name: _count(value) for name, value in given.items() if name in usage})
        found = {field: value for field, value in said.items() if value is not None}
        if found.keys() <= {"unpriced_usage"}:  # none of its names is known: it says only what cannot be priced
            usage = frozenset[str]()
    went = _went(given)
    for name, value in given.items():
        field = None if name in usage else _field_of(name, value)
        if field == "status":
            continue
        if field is not None:
            if found.get(field) is None:
                found[field] = _single(value) if name.endswith("finish_reasons") else value
        elif name not in _FIELDS and snake(name) not in (_TOLD if name in usage else ()):
            unknown.append(name)
    if went.get("status", "success") == "success" and any(
        map(given.get, _ERRORS)
    ):  # its message is no proof, its name is
        went = {"status": "error"}
    found |= went
    own = {name: value for name, value in given.items() if name in _FIELDS and name not in usage}
    doubts = [f"{name}: {given[name]} (within the prompt or beside it)" for name in _alone(given, usage)]
    if doubts:
        own["unpriced_usage"] = with_reasons(given.get("unpriced_usage"), doubts)
    if found.get("service_tier") is not None and "service_tier" in own and usage:  # a speed may have decided it
        del own["service_tier"]
    return found | {name: value for name, value in own.items() if value is not None or name not in found}, unknown


def own_fields(given: Mapping[str, Any]) -> tuple[Mapping[str, Any], list[str]]:
    """As `known_fields`, by fields' own names alone: no value is looked at."""
    return (
        {name: value for name, value in given.items() if name in _FIELDS},
        [name for name in given if name not in _FIELDS],
    )


def with_doubt(fields: Mapping[str, Any]) -> Mapping[str, Any]:
    """The fields; where their total is below its parts, which cannot be priced, with that in `unpriced_usage`."""
    if "total_tokens" not in fields or fields.get("unpriced_usage") is not None:
        return fields
    try:
        prompt, completion, total = (tokens(name, fields.get(name)) for name in _IN_TOTAL)
    except RecordError:
        return fields
    parts = (prompt or 0) + (completion or 0)
    if total is None or total >= parts:
        return fields
    return {**fields, "unpriced_usage": f"total tokens: {total}, its parts {parts}"}


def unpriced_beside(given: Mapping[str, Any], said: object) -> str | None:
    """What `unpriced_usage` becomes by numbers of unknown names, told beside usage; None where there are none."""
    read = usage_fields({name: _count(value) for name, value in given.items()})
    if any(read.get(field) is not None for field in _IN_TOTAL):
        return None  # it is usage itself, and was read as that
    named = said if isinstance(said, str) else ""
    more = [
        f"{clean(name[:_LONGEST])}: {value}"
        for name, value in given.items()
        if name not in _FIELDS and _field_of(name, value) is None and not isinstance(value, bool) and as_number(value)
    ]
    new = [one for one in more if one not in named]
    return "; ".join(filter(None, [named, *new]))[:MAX_NAME_CHARS] if new else None


def _count(value: Any) -> Any:
    """A count as a plain number, for the sums of a reader; anything else as it is: text may be no count."""
    if issubclass(type(value), str):
        return value
    try:
        return tokens("count", value)
    except RecordError:
        return value


def _usage_names(given: Mapping[str, Any]) -> frozenset[str]:
    """The names of a provider's usage, with all that is no field and stands beside counts; none where each is a field.

    A name that nobody here knows may be what a provider bills: the reader names it, and no cost is computed.
    """
    others = [name for name in given if name not in _FIELDS and not _is_elsewhere(name, given[name])]
    prompt = not given.keys().isdisjoint(_PROMPTS)
    alone = [name for name in others if name in ALIASES and not (name in _PARTS and prompt)]
    if len(alone) == len(others) or not any(map(_is_usage, given)):
        return frozenset()
    tier = {"service_tier"} if issubclass(type(given.get("service_tier")), str) else set[str]()
    return frozenset(others) | (_COUNTS & given.keys()) | tier


def _alone(given: Mapping[str, Any], usage: frozenset[str]) -> list[str]:
    """Cached tokens by a provider's name for them, without the prompt: it may have been told, or be told, elsewhere."""
    if not given.keys().isdisjoint(_PROMPTS):
        return []
    cached = sorted(name for name in _PARTS.intersection(given) - usage if ALIASES[name] != "cost_usd")
    return [name for name in cached if as_number(_count(given[name]))]


def _is_usage(name: str) -> bool:
    """Whether a name says that usage is told."""
    return ALIASES.get(name, name) in _USED or (name not in _FIELDS and snake(name) in REPORTED)


def _is_elsewhere(name: str, value: object) -> bool:
    """Whether a name is another's for a field that has nothing to do with usage."""
    return snake(name) not in REPORTED and (_field_of(name, value) is not None or name in _NEAREST)


def _field_of(name: str, value: object) -> str | None:
    """The field that another name means; `status` of a flag."""
    if name in _FIELDS:
        return None
    if _is_flag(name, value):
        return "status"
    if name in _SPANS:
        return _SPANS[name] if issubclass(type(value), timedelta) else None
    return field_named(name)


def field_named(name: str) -> str | None:
    """The field that a name means, in camel case as well; `status` of a flag; None for a name that is none."""
    plain = snake(name) if name.isidentifier() and name[0].islower() else name
    field = ALIASES.get(name) or ALIASES.get(plain) or (plain if plain in _FIELDS else None)
    return field or ("status" if flag_outcomes(name) is not None else None)


def _is_flag(name: str, value: object) -> bool:
    """Whether it says how the call ended; `error` and `timeout` do that only by a bool."""
    if flag_outcomes(name) is None:
        return False
    return type(value) is bool or is_other_bool(value) or not (name in ALIASES or name == "timeout")


def _went(given: Mapping[str, Any]) -> Mapping[str, Any]:
    """What flags say of how a call went: its status, and `error_type` where they tell more; a failure wins.

    A flag that is neither true nor false is a word for the status, and none that is known is a success.
    """
    went = _NOTHING_SAID
    for name, value in given.items():
        when = flag_outcomes(name) if value is not None and _is_flag(name, value) else None
        if when is None:
            continue
        try:
            is_true = flag(name, _BOOLS.get(value.strip().lower(), value) if isinstance(value, str) else value)
        except Exception:  # noqa: BLE001 - it is no bool, or a foreign object that raises anything
            return {"status": value}
        outcome = when[0 if is_true else 1]
        if outcome is not None and went.get("status") in {None, "success"}:
            went = {field: told for field, told in outcome._asdict().items() if told is not None}
    return went


def _single(value: Any) -> Any:
    """Of several reasons, which the attribute allows, all that there are."""
    several = cast("list[object]", value) if type(value) in {list, tuple} else []
    return ",".join(map(str, several)) if several and all(type(one) is str for one in several) else value


def no_such_field(name: str) -> str:
    """What is wrong with a name that is no field, and which one is nearest."""
    folded = name[:_LONGEST].lower().replace("-", "_").replace(".", "_")
    close = difflib.get_close_matches(folded, [*FIELDS, *ALIASES], n=1)
    meant = _NEAREST.get(folded) or _CONTENT.get(folded) or (ALIASES.get(close[0], close[0]) if close else None)
    return "it is not a field of InvocationRecord" + (f"; did you mean {meant}?" if meant else "")
