"""Who sells a call and in which region, by a framework's label of the seller and by the URL that the call goes to.

A label that is not known here is passed on: the prices know more sellers, and of others they have no price, instead of
that of the model's maker.
"""

from collections.abc import Mapping
from typing import Any, Final, cast

from llm_service.pricing.sellers import provider_of
from llm_service.telemetry.instrumentation.sdk.providers import place_of_url

__all__ = ["NAMES", "is_protocol", "names_seller", "place_of"]

NAMES: Final = {
    # LangChain's `ls_provider`
    "openai": "openai", "anthropic": "anthropic", "azure": "azure.ai.openai", "amazon_bedrock": "aws.bedrock",
    "bedrock": "aws.bedrock", "google_genai": "gcp.gemini", "google_vertexai": "gcp.vertex_ai", "groq": "groq",
    "mistral": "mistral_ai", "mistralai": "mistral_ai", "ollama": "ollama", "cohere": "cohere", "deepseek": "deepseek",
    "xai": "x_ai", "together": "together", "fireworks": "fireworks", "openrouter": "openrouter",
    # LiteLLM's `custom_llm_provider`
    "azure_ai": "azure.ai.inference", "bedrock_converse": "aws.bedrock", "sagemaker": "aws.sagemaker",
    "vertex_ai": "gcp.vertex_ai", "gemini": "gcp.gemini", "cohere_chat": "cohere", "together_ai": "together",
    "fireworks_ai": "fireworks", "ollama_chat": "ollama", "text-completion-openai": "openai",
    # Names of Pydantic AI's providers, and of those of its first version
    "google": "gcp.gemini", "google-gla": "gcp.gemini", "google-cloud": "gcp.vertex_ai",
    "google-vertex": "gcp.vertex_ai", "grok": "x_ai",
}  # fmt: skip
"""Labels of sellers, in OpenTelemetry's words."""
_PROTOCOLS: Final = frozenset({"openai", "anthropic", "cohere", "mistral"})
"""Sellers whose protocols others speak."""


def is_protocol(label: str | None) -> bool:
    """Whether a label may stand for a protocol alone: then the host that is called says who sells."""
    return provider_of(label) in _PROTOCOLS


def names_seller(label: str | None) -> bool:
    """Whether a label identifies the seller, whatever the host: neither a protocol nor a proxy."""
    return provider_of(label) is not None and not is_protocol(label)


def place_of(label: str | None, url: str | None = None) -> Mapping[str, Any]:
    """The fields `provider` and `region` of a call, as far as they are known. A host that is known is believed first.

    Args:
        label: the seller in the framework's words.
        url: where the call goes; None where the framework does not tell.
    """
    if label is not None:
        label = NAMES.get(label.lower(), label)
    if url is None:
        return {} if label is None else {"provider": label}
    try:
        place = place_of_url(url)
    except ValueError:  # it is no URL
        place = cast("Mapping[str, str]", {})
    if "provider" in place or label is None or not names_seller(label):
        return place
    return {**place, "provider": label}
