"""What providers report as usage, turned into fields of a record, whose prompt tokens hold the cached ones.

Each function takes what the provider answered, as a mapping or an object of its client, and returns the fields to give
to `InvocationRecord`, to `call.record_usage(...)`, or as a reader: `usage=lambda answer: openai_usage(answer.usage)`.
A whole answer, or an event of a stream that holds the usage, will do as well. What was not reported is None, and a
reported zero stays 0. None of them raises, whatever it is given.

A report is read by the names that stand in it, so each function reads those of all; its own family is what it takes a
report for that has no name of any. Beside the fields of every record (`rules.FIELDS`) there are, where they were told:

- `cost_usd` and `cost_source="reported"`: what the seller charged.
- `unpriced_usage`: what was billed and is not counted by a record, or contradicts itself: no cost is computed then.
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
    """Of Chat Completions, of Responses, and of what speaks their protocols or follows them.

    The prompt counts what was cached, and the completion what was reasoned. Where the total says that a provider left
    reasoning out of the completion (xAI does), or that a gateway left out of the prompt what was cached, it is added.
    The service tier stands beside the usage: `service_tier=answer.service_tier`, unless a whole answer is given.
    """
    return read(usage, OPENAI)


def anthropic_usage(usage: object) -> dict[str, Any]:
    """Of Anthropic's Messages: its input counts neither what was read from the cache nor what was written to it.

    `cache_write_tokens` is all that was written, `cache_write_1h_tokens` what of it is kept for an hour and costs more.
    `service_tier` is `standard`, `priority` or `batch`, and `fast` where that speed was used. `iterations` are added
    up.
    """
    return read(usage, ANTHROPIC)


def gemini_usage(usage: object) -> dict[str, Any]:
    """Of Gemini and Vertex AI (`usage_metadata`): thoughts are added to the output, prompts of tools to the prompt."""
    return read(usage, GEMINI)


def bedrock_usage(usage: object) -> dict[str, Any]:
    """Of Bedrock: Converse, the headers of InvokeModel, and the metrics at the end of its stream."""
    return read(usage, ANTHROPIC)


def cohere_usage(usage: object) -> dict[str, Any]:
    """Of Cohere: what it bills (`billed_units`)."""
    return read(usage, COHERE)


def ollama_usage(usage: object) -> dict[str, Any]:
    """Of Ollama's own interface."""
    return read(usage, OLLAMA)


def usage_fields(usage: object) -> dict[str, Any]:
    """Of whatever family its names are; see the module for what it takes and gives."""
    return read(usage, OPENAI)
