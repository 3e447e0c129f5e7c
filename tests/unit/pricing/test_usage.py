"""What providers report, as fields of a record: cached tokens in the prompt, reasoning in the completion."""

from types import SimpleNamespace
from typing import Any

import pytest

from llm_service.pricing.usage import anthropic_usage, gemini_usage, openai_usage
from llm_service.telemetry.record.record import InvocationRecord


def told(fields: dict[str, Any]) -> tuple[Any, ...]:
    """Prompt, completion, total, cache read, cache write, reasoning."""
    assert InvocationRecord(**fields).prompt_tokens == fields["prompt_tokens"]
    return tuple(fields.values())


def as_object(value: Any) -> Any:
    """An SDK's own objects."""
    return SimpleNamespace(**{key: as_object(one) for key, one in value.items()}) if isinstance(value, dict) else value


CASES = [
    (
        openai_usage,
        {
            "prompt_tokens": 2006,
            "completion_tokens": 300,
            "total_tokens": 2306,
            "prompt_tokens_details": {"cached_tokens": 1920, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 256},
        },
        (2006, 300, 2306, 1920, None, 256),
    ),
    (
        openai_usage,  # Responses
        {
            "input_tokens": 36,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": 87,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": 123,
        },
        (36, 87, 123, 0, None, 0),
    ),
    (openai_usage, {"prompt_tokens": 8, "total_tokens": 8}, (8, 0, 8, None, None, None)),  # embeddings
    (openai_usage, {"prompt_tokens": 8, "total_tokens": 9}, (8, None, 9, None, None, None)),
    (openai_usage, {"total_tokens": 9}, (None, None, 9, None, None, None)),
    (
        openai_usage,  # LiteLLM, of Gemini with tools
        {
            "prompt_tokens": 113,
            "completion_tokens": 5,
            "total_tokens": 118,
            "prompt_tokens_details": {"text_tokens": 113, "tool_use_tokens": 13},
        },
        (113, 5, 118, None, None, None),
    ),
    (
        openai_usage,  # xAI leaves reasoning out of the completion, and counts it in the total
        {
            "prompt_tokens": 32,
            "completion_tokens": 9,
            "total_tokens": 135,
            "completion_tokens_details": {"reasoning_tokens": 94},
            "prompt_tokens_details": {"cached_tokens": 6},
        },
        (32, 103, 135, 6, None, 94),
    ),
    (
        openai_usage,  # DeepSeek
        {
            "prompt_tokens": 100,
            "completion_tokens": 10,
            "total_tokens": 110,
            "prompt_cache_hit_tokens": 64,
            "prompt_cache_miss_tokens": 36,
        },
        (100, 10, 110, 64, None, None),
    ),
    (
        openai_usage,
        {"prompt_tokens": 100, "completion_tokens": 0, "prompt_tokens_details": {"cache_write_tokens": 90}},
        (100, 0, None, None, 90, None),
    ),
    (
        anthropic_usage,
        {
            "input_tokens": 21,
            "cache_creation_input_tokens": 188_086,
            "cache_read_input_tokens": 5,
            "output_tokens": 393,
            "output_tokens_details": {"thinking_tokens": 100},
        },
        (188_112, 393, None, 5, 188_086, 100),
    ),
    (
        anthropic_usage,
        {"input_tokens": 0, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0, "output_tokens": 0},
        (0, 0, None, 0, 0, None),
    ),
    (
        anthropic_usage,  # written for both times
        {
            "input_tokens": 2048,
            "cache_read_input_tokens": 1800,
            "cache_creation_input_tokens": 248,
            "cache_creation": {"ephemeral_5m_input_tokens": 148, "ephemeral_1h_input_tokens": 100},
            "output_tokens": 503,
            "service_tier": "batch",
        },
        (4096, 503, None, 1800, 248, None, 100, "batch"),
    ),
    (
        anthropic_usage,  # the sum is not told
        {
            "input_tokens": 1,
            "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 7},
            "output_tokens": 2,
            "service_tier": "standard",
            "speed": "fast",
        },
        (8, 2, None, None, 7, None, 7, "fast"),
    ),
    (
        anthropic_usage,
        {
            "input_tokens": 1,
            "cache_creation": None,
            "output_tokens": 2,
            "service_tier": "standard",
            "speed": "standard",
        },
        (1, 2, None, None, None, None, None, "standard"),
    ),
    (anthropic_usage, {"input_tokens": 10, "output_tokens": 2}, (10, 2, None, None, None, None)),
    (anthropic_usage, {"output_tokens": 2}, (None, 2, None, None, None, None)),  # `message_delta` of a stream
    (
        gemini_usage,
        {
            "prompt_token_count": 1000,
            "candidates_token_count": 20,
            "thoughts_token_count": 480,
            "tool_use_prompt_token_count": 30,
            "cached_content_token_count": 900,
            "total_token_count": 1530,
        },
        (1030, 500, 1530, 900, None, 480),
    ),
    (
        gemini_usage,
        {"promptTokenCount": 5, "candidatesTokenCount": 0, "totalTokenCount": 5},
        (5, 0, 5, None, None, None),
    ),
    (gemini_usage, {"promptTokenCount": 5, "thoughtsTokenCount": 7}, (5, 7, None, None, None, 7)),
    (gemini_usage, {"toolUsePromptTokenCount": 5}, (None, None, None, None, None, None)),
]


@pytest.mark.parametrize(("read", "usage", "fields"), CASES, ids=lambda value: getattr(value, "__name__", ""))
def test_usage_becomes_fields_of_a_record(read: Any, usage: dict[str, Any], fields: tuple[Any, ...]) -> None:
    """As a mapping and as an object."""
    expected = (*fields, *(None,) * (8 - len(fields)))
    assert told(read(usage)) == expected
    assert told(read(as_object(usage))) == expected


@pytest.mark.parametrize("read", [openai_usage, anthropic_usage, gemini_usage])
def test_what_was_not_reported_is_unknown(read: Any) -> None:
    """Never 0: a stream without usage, an answer without it."""
    assert set(read(None).values()) == set(read({}).values()) == {None}
