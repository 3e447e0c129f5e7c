"""What providers report as usage, turned into fields of a record, whose prompt tokens hold the cached ones.

Each function takes a mapping or an object (an SDK's own) and returns the fields to give to `InvocationRecord`, to
`call.record_usage(...)`, or as a reader: `usage=lambda answer: openai_usage(answer.usage)`. What was not reported is
None, and a reported zero stays 0. Values are passed on unchecked: the record checks them.
"""

from collections.abc import Mapping
from typing import Any, Final, cast

__all__ = ["anthropic_usage", "gemini_usage", "openai_usage"]

_FIELDS: Final = (
    "prompt_tokens",
    "completion_tokens",
    "total_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "reasoning_tokens",
    "cache_write_1h_tokens",
    "service_tier",
)


def openai_usage(usage: object) -> dict[str, Any]:
    """Of Chat Completions, of Responses, and of what speaks their protocol.

    The prompt counts what was cached, and the completion what was reasoned. Where the total says that a provider left
    reasoning out of the completion (xAI does), it is added. `prompt_cache_hit_tokens` is DeepSeek's name. The service
    tier stands beside the usage: `service_tier=answer.service_tier`.
    (https://platform.openai.com/docs/api-reference/chat/object, https://docs.x.ai/docs/guides/reasoning)
    """
    prompt = _first(usage, "prompt_tokens", "input_tokens")
    completion = _first(usage, "completion_tokens", "output_tokens")
    total = _get(usage, "total_tokens")
    of_prompt = _first(usage, "prompt_tokens_details", "input_tokens_details")
    of_completion = _first(usage, "completion_tokens_details", "output_tokens_details")
    cached = _get(of_prompt, "cached_tokens")
    reasoning = _get(of_completion, "reasoning_tokens")
    if reasoning and total is not None and total == _sum(prompt, completion, reasoning):
        completion = _sum(completion, reasoning)
    return _fields(
        prompt,
        completion,
        total,
        _get(usage, "prompt_cache_hit_tokens") if cached is None else cached,
        _first(of_prompt, "cache_write_tokens", "cache_creation_tokens"),
        reasoning,
    )


def anthropic_usage(usage: object) -> dict[str, Any]:
    """Of Anthropic's Messages: its input counts neither what was read from the cache nor what was written to it.

    `cache_write_tokens` is all that was written, `cache_write_1h_tokens` what of it is kept for an hour and costs more.
    `service_tier` is `standard`, `priority` or `batch`, and `fast` where that speed was used.
    (https://platform.claude.com/docs/en/build-with-claude/prompt-caching#1-hour-cache-duration)
    """
    fresh, completion = _get(usage, "input_tokens"), _get(usage, "output_tokens")
    cached, written = _get(usage, "cache_read_input_tokens"), _get(usage, "cache_creation_input_tokens")
    by_life = _get(usage, "cache_creation")
    hour, minutes = _get(by_life, "ephemeral_1h_input_tokens"), _get(by_life, "ephemeral_5m_input_tokens")
    if written is None and not (hour is None and minutes is None):
        written = _sum(hour, minutes)
    prompt = None if fresh is None else _sum(fresh, cached, written)
    reasoning = _get(_get(usage, "output_tokens_details"), "thinking_tokens")
    tier = "fast" if _get(usage, "speed") == "fast" else _get(usage, "service_tier")
    return _fields(prompt, completion, None, cached, written, reasoning, hour, tier)


def gemini_usage(usage: object) -> dict[str, Any]:
    """Of Gemini and Vertex AI (`usage_metadata`): thoughts are added to the output, prompts of tools to the prompt.

    Both spellings, `prompt_token_count` and `promptTokenCount`. (https://ai.google.dev/api/generate-content)
    """
    prompt, answer = _both(usage, "prompt_token_count"), _both(usage, "candidates_token_count")
    thoughts = _both(usage, "thoughts_token_count")
    if prompt is not None:
        prompt = _sum(prompt, _both(usage, "tool_use_prompt_token_count"))
    return _fields(
        prompt,
        None if answer is None and thoughts is None else _sum(answer, thoughts),
        _both(usage, "total_token_count"),
        _both(usage, "cached_content_token_count"),
        None,
        thoughts,
    )


def _fields(*values: Any) -> dict[str, Any]:
    told: dict[str, Any] = dict(zip(_FIELDS, values, strict=False))
    return {field: told.get(field) for field in _FIELDS}


def _get(source: object, name: str) -> Any:
    if isinstance(source, Mapping):
        return cast("Mapping[str, Any]", source).get(name)
    return getattr(source, name, None)


def _first(source: object, *names: str) -> Any:
    return next((value for name in names if (value := _get(source, name)) is not None), None)


def _both(source: object, name: str) -> Any:
    first, *rest = name.split("_")
    return _first(source, name, first + "".join(part.capitalize() for part in rest))


def _sum(*values: Any) -> Any:
    """The sum of what was told; of what is no number the record's check shall say so, by its field."""
    told = [value for value in values if value is not None]
    odd = [value for value in told if not isinstance(value, int | float)]
    return odd[0] if odd else sum(told)
