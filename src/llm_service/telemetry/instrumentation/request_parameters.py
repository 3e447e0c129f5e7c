"""Parameters of a provider's request that a block is given as the client is: `invocation(budget=True, **request)`.

A record has no fields for most of them. What the model reads of them counts with the prompt, and so does what it reads
besides, which nobody here can measure; several answers cost as much as several calls. Names are those of OpenAI
(https://platform.openai.com/docs/api-reference), Anthropic (https://platform.claude.com/docs/en/api/messages), Gemini
(https://ai.google.dev/api/generate-content), Bedrock and Ollama; within what holds parameters they may be in snake or
camel case.
"""

import json
from collections.abc import Mapping
from typing import Any, Final, cast

from llm_service.pricing.usage.leaves import snake
from llm_service.pricing.usage.plain import everything

__all__ = ["LIMITS", "PARAMETERS", "take_limit", "without_parameters"]

LIMITS: Final = ("max_tokens", "max_completion_tokens", "max_output_tokens")
"""Names for the limit of the answer, which is no field: the first that says it counts."""
_HOLDERS: Final = ("config", "generation_config", "inferenceConfig", "options")
"""Of Gemini, Vertex AI, Bedrock and Ollama: what holds other parameters, as a mapping or as an object of the client."""
_LIMITS_WITHIN: Final = (*LIMITS, "num_predict")
_PROMPTS: Final = ("prompt", "messages", "input", "contents")
_READ: Final = (
    "system", "instructions", "system_instruction", "tools", "functions", "toolConfig", "response_format",
    "text_format", "output_format", "output_config", "text", "format", "response_schema", "response_json_schema",
    "suffix",
)  # fmt: skip
"""What the model reads beside the messages: system prompts, tools, schemas of its answer, and what follows it."""
_UNMEASURED: Final = (
    "previous_response_id", "conversation", "thread", "container", "mcp_servers", "web_search_options", "prediction",
    "audio", "image", "images", "cached_content", "extra_body", "guardrailConfig", "promptVariables",
)  # fmt: skip
"""With these the model reads, or writes, what is not in the request."""
_TIMES: Final = ("n", "best_of", "candidate_count")
"""How many answers are asked for."""
_ORDINARY: Final = frozenset(
    {
        "access_programs", "additionalModelRequestFields", "background", "background_options", "betas",
        "billing_policy", "cache_control", "compaction", "config", "context_management", "diagnostics",
        "dimensions", "echo", "encoding_format", "extra_headers", "extra_query", "fallback_credit_token",
        "fallbacks", "frequency_penalty", "function_call", "generation_config", "include", "inferenceConfig",
        "keep_alive", "logit_bias", "logprobs", "max_tool_calls", "modalities", "moderation", "options",
        "parallel_tool_calls", "parse_as", "presence_penalty", "prompt_cache_key", "prompt_cache_options",
        "prompt_cache_retention", "reasoning", "reasoning_effort", "safety_identifier", "seed",
        "stop", "stop_sequences", "store", "stream_options", "temperature", "think", "thinking",
        "timeout", "tool_choice", "top_k", "top_logprobs", "top_p", "truncation", "user_profile_id",
        "verbosity", "workspace_id",
    }
)  # fmt: skip
"""What changes neither the prompt nor the price beyond what the limit of the answer holds."""
PARAMETERS: Final = frozenset({*_PROMPTS[2:], *_READ, *_UNMEASURED, *_TIMES, *_ORDINARY})


def take_limit(fields: dict[str, Any]) -> int | None:
    """Take the limit of the answer out of what a block is given, by any of its names."""
    found = [fields.pop(name, None) for name in LIMITS]
    limit = next((limit for limit in found if limit is not None), None)
    if limit is not None or fields.keys().isdisjoint(_HOLDERS):
        return limit
    within = (_within(fields, holder) or {} for holder in _HOLDERS)
    limits = [told[name] for told in within for name in _LIMITS_WITHIN if _is_number(told.get(name))]
    return min(limits, default=None)


def without_parameters(fields: dict[str, Any]) -> tuple[dict[str, Any], int]:
    """What a block is given without the parameters that are no fields, and the number of answers that are asked for.

    The prompt becomes all that the model reads. What cannot be measured is a part of it that is no text.
    """
    answers = _prompts_in(fields.get("prompt"))
    if PARAMETERS.isdisjoint(fields):
        return fields, answers
    fields = dict(fields)
    for holder in _HOLDERS:
        told = _within(fields, holder)
        if told is None:
            fields.setdefault("extra_body", fields[holder])
            continue
        for name in (*_READ, *_TIMES, *_UNMEASURED):
            if told.get(snake(name)) is not None:
                fields.setdefault(name, told[snake(name)])
    given = {name: fields.pop(name) for name in PARAMETERS & fields.keys()}
    _with_all_that_is_read(fields, given)
    return fields, answers * max([1, *(given[name] for name in _TIMES if _is_number(given.get(name)))])


def _within(fields: Mapping[str, Any], holder: str) -> Mapping[str, Any] | None:
    """The parameters in a holder, by their names in snake case; None where it holds what nobody here can read."""
    held = fields.get(holder)
    if held is None:
        return {}
    told = cast("Mapping[Any, Any] | None", held if isinstance(held, Mapping) else everything(held))
    return None if told is None else {snake(name): value for name, value in told.items() if isinstance(name, str)}


def _is_number(value: object) -> bool:
    return type(value) is int and value > 0


def _prompts_in(prompt: object) -> int:
    """How many prompts there are, each with an answer of its own: legacy completions take a list of texts."""
    if type(prompt) is not list and type(prompt) is not tuple:
        return 1
    texts = cast("list[Any]", prompt)
    return len(texts) if texts and all(type(one) is str for one in texts) else 1


def _with_all_that_is_read(fields: dict[str, Any], given: Mapping[str, Any]) -> None:
    """Put what the model reads in the place of the prompt, where there is one."""
    name = next((name for name in _PROMPTS if fields.get(name, given.get(name)) is not None), None)
    if name is None:
        return
    more: list[Any] = [{"role": "system", "content": _text(given[one])} for one in _READ if given.get(one)]
    if any(given.get(one) for one in _UNMEASURED):
        more.append({"role": "system", "content": [{"type": "unmeasured"}]})
    prompt: Any = fields.pop(name, given.get(name))
    if not more and name == "prompt":
        fields["prompt"] = prompt
        return
    for other in _PROMPTS[:2]:
        fields.pop(other, None)
    if more:
        prompt = [*more, *(cast("list[Any]", prompt) if isinstance(prompt, list | tuple) else [prompt])]
    fields["prompt"] = prompt


def _text(value: Any) -> Any:
    """A system prompt, a tool or a schema as the text that a model reads is no longer than; else as it is."""
    if isinstance(value, str):
        return value
    schema = getattr(value, "model_json_schema", None)
    try:
        return json.dumps(schema() if callable(schema) else value, ensure_ascii=False)
    except Exception:  # noqa: BLE001 - an object of a client, which may raise anything
        return [value]
