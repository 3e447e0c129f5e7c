"""THE table of usage reports: the meaning of each provider's fields, with sources.

A shape maps the paths of a report to roles. A non-zero number without a role counts as billed usage without a known
price: so a provider's new field makes a cost unknown, never wrong.
"""

from collections.abc import Mapping
from typing import Final, Literal, NamedTuple

__all__ = [
    "ANTHROPIC",
    "COHERE",
    "COUNTS",
    "GEMINI",
    "KNOWN",
    "OLLAMA",
    "OPENAI",
    "SHAPES",
    "Role",
    "Shape",
]

Role = Literal[
    "prompt", "fresh", "tool_prompt", "completion", "thoughts", "total", "read", "written", "written_5m", "written_1h",
    "reasoning", "within", "requests", "cost", "ticks", "upstream", "byok", "currency", "tier", "traffic", "speed",
]  # fmt: skip
"""The meaning of a field of a report.

- `prompt`: the whole prompt, including cached tokens; `fresh`: without cache reads and writes; `tool_prompt`: billed as
  prompt in addition to `prompt`.
- `completion`: the whole output; `thoughts`: billed as output in addition to it; `total`: all tokens.
- `read`, `written`: parts of the prompt, from and to a cache; `written_5m`, `written_1h`: the parts of `written`.
- `reasoning`: part of the completion.
- `within`: part of another field at the same price, or not billed.
- `requests`: number of calls that the counts sum.
- `cost`, `upstream`: USD charged by the seller and (OpenRouter with the user's own key, `byok`) by the provider behind
  it; `ticks`: the same in units of 10 ** -10 USD; `currency`: of these.
- `tier`, `traffic`, `speed`: prices depend on them.
"""
_COUNTED: Final = frozenset(
    {
        "prompt", "fresh", "tool_prompt", "completion", "thoughts", "total", "read", "written", "written_5m",
        "written_1h", "reasoning",
    }
)  # fmt: skip


class Shape(NamedTuple):
    """The reports of one family.

    Attributes:
        published: URL of the description.
        signs: top-level names that only this family has.
        roles: by path.
        either: paths of cached tokens that some senders include in the prompt and others do not.
        unsaid: those of `either` that the total does not decide.
    """

    published: tuple[str, ...]
    signs: frozenset[str]
    roles: Mapping[str, Role]
    either: frozenset[str] = frozenset()
    unsaid: frozenset[str] = frozenset()


def _roles(table: Mapping[Role, tuple[str, ...]]) -> dict[str, Role]:
    return {path: role for role, paths in table.items() for path in paths}


_LIKE_TEXT: Final = ("text", "image", "video", "document")
"""Modalities of a Gemini prompt at the price of text; audio has its own price (https://ai.google.dev/gemini-api/docs/pricing)."""
_PROMPT_DETAILS: Final = ("prompt_tokens_details", "input_tokens_details", "input_token_details")
_OUTPUT_DETAILS: Final = ("completion_tokens_details", "output_tokens_details", "output_token_details")


_COMPACTED: Final = (
    "input_tokens",
    "output_tokens",
    "cache_creation_input_tokens",
    "cache_read_input_tokens",
    "ephemeral_1h_input_tokens",
)


def _each(containers: tuple[str, ...], *names: str) -> tuple[str, ...]:
    return tuple(f"{container}.{name}" for container in containers for name in names)


OPENAI: Final = Shape(
    (
        "https://platform.openai.com/docs/api-reference/chat/object",
        "https://platform.openai.com/docs/api-reference/responses/object",
        "https://docs.x.ai/developers/cost-tracking",
        "https://github.com/xai-org/xai-proto/blob/main/proto/xai/api/v1/usage.proto",
        "https://help.aliyun.com/zh/model-studio/context-cache",
        "https://api-docs.deepseek.com/api/create-chat-completion",
        "https://platform.kimi.ai/docs/api/chat",
        "https://openrouter.ai/docs/use-cases/usage-accounting",
        "https://docs.perplexity.ai/api-reference/chat-completions-post",
        "https://docs.litellm.ai/docs/completion/usage",
        "https://reference.langchain.com/python/langchain_core/messages/#langchain_core.messages.ai.UsageMetadata",
        "https://ai-sdk.dev/docs/reference/ai-sdk-core/generate-text",
        "https://github.com/vercel/ai/blob/main/packages/provider/src/language-model/v3/language-model-v3-usage.ts",
        "https://openai.github.io/openai-agents-python/usage/",
    ),
    frozenset(
        {
            "prompt_tokens",
            "completion_tokens",
            *_PROMPT_DETAILS,
            "completion_tokens_details",
            "output_token_details",
        }
    ),
    _roles(
        {
            "prompt": ("prompt_tokens", "input_tokens", "input_tokens.total"),  # the last one: AI SDK 6
            "completion": ("completion_tokens", "output_tokens", "output_tokens.total"),
            "total": ("total_tokens",),
            "fresh": (
                "prompt_cache_miss_tokens",
                "details.prompt_cache_miss_tokens",
                "input_token_details.no_cache_tokens",
                "input_tokens.no_cache",
            ),
            "read": (
                *_each(_PROMPT_DETAILS, "cached_tokens"),
                "input_token_details.cache_read",  # LangChain
                "input_token_details.cache_read_tokens",  # AI SDK
                "input_tokens.cache_read",
                "cached_input_tokens",
                "prompt_cache_hit_tokens",  # DeepSeek
                "details.prompt_cache_hit_tokens",
                "cached_tokens",  # Kimi
                "cached_prompt_tokens",
                "cached_prompt_text_tokens",  # xAI's gRPC: all that are cached, within `prompt_text_tokens`
                "cache_read_tokens",
                "cache_read_input_tokens",  # gateways that forward Anthropic's
            ),
            "written": (
                *_each(_PROMPT_DETAILS, "cache_write_tokens", "cache_creation_tokens"),
                *_each(_PROMPT_DETAILS, "cache_creation_input_tokens"),  # Alibaba
                "input_token_details.cache_creation",
                "input_tokens.cache_write",
                "cache_write_tokens",
                "cache_creation_input_tokens",
            ),
            "written_5m": (
                "prompt_tokens_details.cache_creation_token_details.ephemeral_5m_input_tokens",  # LiteLLM
                "input_token_details.ephemeral_5m_input_tokens",
                *_each(_PROMPT_DETAILS, "cache_creation.ephemeral_5m_input_tokens"),  # Alibaba
                "cache_creation.ephemeral_5m_input_tokens",
                "cache_write_5m_tokens",
            ),
            "written_1h": (
                "prompt_tokens_details.cache_creation_token_details.ephemeral_1h_input_tokens",
                "input_token_details.ephemeral_1h_input_tokens",
                "cache_creation.ephemeral_1h_input_tokens",
                "cache_write_1h_tokens",
            ),
            "reasoning": (
                *_each(_OUTPUT_DETAILS, "reasoning_tokens"),
                "output_tokens_details.thinking_tokens",
                "output_token_details.reasoning",
                "output_tokens.reasoning",
                "details.reasoning_tokens",  # Pydantic AI
                "details.thoughts_tokens",
                "details.thinking_tokens",
                "output_reasoning_tokens",
                "reasoning_tokens",
            ),
            "within": (
                *_each((*_PROMPT_DETAILS, *_OUTPUT_DETAILS), "text_tokens"),
                *_each(_PROMPT_DETAILS, "cached_tokens_details.text_tokens"),
                # LiteLLM, of Gemini: in the prompt where they are billed, else nowhere
                "prompt_tokens_details.tool_use_tokens",
                # Both are part of the completion, at its price:
                # https://platform.openai.com/docs/guides/predicted-outputs
                *_each(_OUTPUT_DETAILS, "accepted_prediction_tokens", "rejected_prediction_tokens"),
                # Pydantic AI: tools that the caller ran, and the details of its counts
                # (https://ai.pydantic.dev/api/usage/)
                "tool_calls",
                "prompt_text_tokens",  # xAI's gRPC
                "input_text_tokens",
                "output_text_tokens",
                "cache_text_read_tokens",
                *_each(
                    ("details",),
                    "input_tokens",
                    "output_tokens",
                    "cache_creation_input_tokens",
                    "cache_read_input_tokens",
                    "ephemeral_1h_input_tokens",
                    "cached_tokens",
                    "cached_content_tokens",
                    "text_tokens",
                    *(f"{modality}_{place}_tokens" for modality in _LIKE_TEXT for place in ("prompt", "cache")),
                    "text_candidates_tokens",
                    "text_response_tokens",
                    "accepted_prediction_tokens",
                    "rejected_prediction_tokens",
                    # Summed up with the rest; those of an advisor are not, which has a price of its own.
                    "message_iterations",
                    "compaction_iterations",
                    *(f"compaction_{name}" for name in _COMPACTED),
                ),
                "output_tokens.text",
                "cost_details.*",  # parts of the cost
                "cost.*",
            ),
            "requests": ("requests", "successful_requests"),
            "cost": ("cost", "cost.total_cost", "estimated_cost"),
            "ticks": ("cost_in_usd_ticks", "details.cost_in_usd_ticks"),
            "upstream": ("cost_details.upstream_inference_cost",),
            "byok": ("is_byok",),
            "currency": ("currency", "cost_currency", "cost.currency"),
            "tier": ("service_tier", "service_tier.type"),
            "traffic": ("extra_properties.google.traffic_type",),  # Vertex AI
            "speed": ("speed", "performance_config.latency"),
        }
    ),
    frozenset({"cache_read_input_tokens", "cache_creation_input_tokens", "cached_input_tokens"}),
    frozenset({"cached_input_tokens"}),  # AI SDK 5 forwards the provider's number, and sums the rest
)
"""OpenAI and compatible APIs: the prompt includes cached tokens."""

ANTHROPIC: Final = Shape(
    (
        "https://platform.claude.com/docs/en/build-with-claude/prompt-caching#1-hour-cache-duration",
        "https://platform.claude.com/docs/en/build-with-claude/compaction",
        "https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_TokenUsage.html",
        "https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_InvokeModel.html",
    ),
    frozenset(
        {
            "cache_creation_input_tokens", "cache_read_input_tokens", "cache_write_input_tokens", "cache_creation",
            "cache_details", "cache_read_input_token_count", "cache_write_input_token_count", "server_tool_use",
            "inference_geo", "iterations", "input_token_count", "generated_token_count",
            "x_amzn_bedrock_input_token_count", "x_amzn_bedrock_output_token_count",
        }
    ),
    _roles(
        {
            "fresh": ("input_tokens", "input_token_count", "x_amzn_bedrock_input_token_count"),
            "completion": (
                "output_tokens", "output_token_count", "generated_token_count", "x_amzn_bedrock_output_token_count",
            ),
            "total": ("total_tokens",),
            "read": (
                "cache_read_input_tokens", "cache_read_input_token_count",
                "x_amzn_bedrock_cache_read_input_token_count",
            ),
            "written": (
                "cache_creation_input_tokens", "cache_write_input_tokens", "cache_write_input_token_count",
                "x_amzn_bedrock_cache_write_input_token_count",
            ),
            "written_5m": ("cache_creation.ephemeral_5m_input_tokens", "cache_details.5m.input_tokens"),
            "written_1h": ("cache_creation.ephemeral_1h_input_tokens", "cache_details.1h.input_tokens"),
            "reasoning": ("output_tokens_details.thinking_tokens", "output_tokens_details.reasoning_tokens"),
            # "No additional charges beyond standard token costs":
            # https://platform.claude.com/docs/en/agents-and-tools/tool-use/web-fetch-tool#usage-and-pricing
            "within": ("server_tool_use.web_fetch_requests",),
            "tier": ("service_tier", "service_tier.type"),
            # https://docs.aws.amazon.com/bedrock/latest/userguide/latency-optimized-inference.html
            "speed": ("speed", "performance_config.latency"),
        }
    ),
)  # fmt: skip
"""Anthropic's Messages and Bedrock: the input excludes cache reads and writes."""

GEMINI: Final = Shape(
    (
        "https://ai.google.dev/api/generate-content#UsageMetadata",
        "https://docs.cloud.google.com/vertex-ai/generative-ai/docs/reference/rest/v1/GenerateContentResponse",
        "https://ai.google.dev/api/interactions-api",
    ),
    frozenset(
        {
            "prompt_token_count", "candidates_token_count", "total_token_count", "thoughts_token_count",
            "cached_content_token_count", "tool_use_prompt_token_count", "response_token_count", "total_input_tokens",
        }
    ),
    _roles(
        {
            "prompt": ("prompt_token_count", "total_input_tokens"),
            "tool_prompt": ("tool_use_prompt_token_count", "total_tool_use_tokens"),
            "completion": (
                "candidates_token_count", "response_token_count", "generation_token_count", "total_output_tokens",
            ),
            "thoughts": ("thoughts_token_count", "total_thought_tokens"),
            "total": ("total_token_count", "total_tokens"),
            "read": ("cached_content_token_count", "total_cached_tokens"),
            "within": (
                *(
                    f"{container}.{modality}.token_count"
                    for container in ("prompt_tokens_details", "cache_tokens_details", "tool_use_prompt_tokens_details")
                    for modality in _LIKE_TEXT
                ),
                *(f"input_tokens_by_modality.{modality}.tokens" for modality in _LIKE_TEXT),
                *(f"cached_tokens_by_modality.{modality}.tokens" for modality in _LIKE_TEXT),
                "prompt_token_details.text.token_count",  # of embeddings, where images have their own price
                "candidates_tokens_details.text.token_count",
                "response_tokens_details.text.token_count",
                "output_tokens_by_modality.text.tokens",
            ),
            "tier": ("service_tier",),
            "traffic": ("traffic_type",),
        }
    ),
)  # fmt: skip
"""Gemini and Vertex AI: the output excludes thoughts, and the prompt excludes tool prompts."""

COHERE: Final = Shape(
    ("https://docs.cohere.com/reference/chat#response.body.usage",),
    frozenset({"billed_units"}),
    _roles(
        {
            "prompt": ("billed_units.input_tokens",),
            "completion": ("billed_units.output_tokens",),
            "within": ("tokens.input_tokens", "tokens.output_tokens"),  # including tokens that are not billed
        }
    ),
)
"""Cohere: billed units."""

OLLAMA: Final = Shape(
    ("https://docs.ollama.com/api/usage",),
    frozenset({"prompt_eval_count", "eval_count"}),
    _roles({"prompt": ("prompt_eval_count",), "completion": ("eval_count",), "within": ("message.*",)}),
)
"""Ollama's own API."""

SHAPES: Final = (GEMINI, COHERE, OLLAMA, OPENAI, ANTHROPIC)
"""In order of precedence, for a report with signs of two families."""

COUNTS: Final = frozenset(path for shape in SHAPES for path, role in shape.roles.items() if role in _COUNTED)
"""The paths of all counts."""

KNOWN: Final = frozenset(name for shape in SHAPES for path in shape.roles for name in path.split(".")) | {
    "server_tool_use", "cache_creation", "cache_details", "inference_geo", "iterations", "num_sources_used",
    "prompt_audio_seconds", "citation_tokens", "num_search_queries", "search_context_size", "audio_tokens",
    "image_tokens", "candidates_tokens_details", "response_tokens_details", "web_search_requests",
}  # fmt: skip
"""Names to try on objects that do not list their fields."""
