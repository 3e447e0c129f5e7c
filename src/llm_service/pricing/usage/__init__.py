"""Turns usage reports of providers into fields of a record, whose prompt tokens include the cached ones.

Each function takes the usage, as a mapping or an object of the provider's client, and returns the fields for
`InvocationRecord` or `call.record_usage(...)`; or use it as reader: `usage=lambda answer: openai_usage(answer.usage)`.
A whole answer, or an event of a stream with the usage, works as well. Unreported values are None, and a reported zero
stays 0. None of the functions raises, for any argument.

A report is recognised by its names, so each function reads the reports of all families; its own family is the default
for a report without typical names. Besides the fields of every report (`rules.FIELDS`) the result may have:

- `cost_usd` and `cost_source="reported"`: the amount that the seller charged.
- `unpriced_usage`: other billed usage, or a contradiction: then no cost is computed.
"""

from typing import Any

from llm_service.pricing.usage.report import REPORTED, read
from llm_service.pricing.usage.shapes import ANTHROPIC, COHERE, GEMINI, OLLAMA, OPENAI

__all__ = [
    "REPORTED",
    "anthropic_usage",
    "bedrock_usage",
    "cohere_usage",
    "gemini_usage",
    "ollama_usage",
    "openai_usage",
    "usage_fields",
]


def openai_usage(usage: object) -> dict[str, Any]:
    """Usage of Chat Completions, of Responses, and of compatible APIs.

    The prompt includes cached tokens, and the completion reasoning tokens. If the total shows that a provider left
    reasoning out of the completion (as xAI does), or a gateway cached tokens out of the prompt, they are added. The
    service tier is outside the usage: pass `service_tier=answer.service_tier`, or a whole answer.
    """
    return read(usage, OPENAI)


def anthropic_usage(usage: object) -> dict[str, Any]:
    """Usage of Anthropic's Messages, whose input excludes cache reads and writes.

    `cache_write_tokens` are all written tokens, `cache_write_1h_tokens` those of them for an hour, which cost more.
    `service_tier` is `standard`, `priority` or `batch`, or `fast` if that speed was used. `iterations` are summed.
    """
    return read(usage, ANTHROPIC)


def gemini_usage(usage: object) -> dict[str, Any]:
    """Usage of Gemini and Vertex AI (`usage_metadata`): adds thoughts to the output, tool prompts to the prompt."""
    return read(usage, GEMINI)


def bedrock_usage(usage: object) -> dict[str, Any]:
    """Usage of Bedrock: Converse, the headers of InvokeModel, and the metrics at the end of its stream."""
    return read(usage, ANTHROPIC)


def cohere_usage(usage: object) -> dict[str, Any]:
    """Usage of Cohere: its `billed_units`."""
    return read(usage, COHERE)


def ollama_usage(usage: object) -> dict[str, Any]:
    """Usage of Ollama's own API."""
    return read(usage, OLLAMA)


def usage_fields(usage: object) -> dict[str, Any]:
    """Usage of any family, recognised by its names; see the module for arguments and result."""
    return read(usage, OPENAI)
