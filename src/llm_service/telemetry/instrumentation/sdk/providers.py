"""Who sells a call, by the client that makes it and the host that it goes to; None where that is not certain.

Names are OpenTelemetry's (https://opentelemetry.io/docs/specs/semconv/registry/attributes/gen-ai/#gen-ai-provider-name).
"""

from functools import lru_cache
from typing import Any, Final

from llm_service.telemetry.instrumentation.responses.answers import AZURE, BEDROCK, VERTEX

__all__ = ["provider_of_client"]

_HOSTS: Final = {
    "api.openai.com": "openai",
    "api.anthropic.com": "anthropic",
    "openrouter.ai": "openrouter",
    "api.groq.com": "groq",
    "api.deepseek.com": "deepseek",
    "api.mistral.ai": "mistral_ai",
    "api.together.xyz": "together",
    "api.together.ai": "together",
    "api.fireworks.ai": "fireworks",
    "api.x.ai": "x_ai",
    "api.perplexity.ai": "perplexity",
    "api.cerebras.ai": "cerebras",
    "api.cohere.ai": "cohere",
    "api.cohere.com": "cohere",
    "api.moonshot.ai": "moonshotai",
    "generativelanguage.googleapis.com": "gcp.gemini",
    "aiplatform.googleapis.com": VERTEX,
}
_ENDS: Final = {
    ".openai.azure.com": AZURE,
    ".services.ai.azure.com": "azure.ai.inference",
    "-aiplatform.googleapis.com": VERTEX,
}
_CLASSES: Final = {"Azure": AZURE, "Bedrock": BEDROCK, "Vertex": VERTEX}
"""What the names of clients hold that are made for another's cloud: AzureOpenAI, AsyncAnthropicBedrock."""


def provider_of_client(client: Any) -> str | None:
    """The seller that a client calls.

    Raises:
        Exception: what the client raises when it is asked for its `base_url`.
    """
    return _provider(type(client).__name__, str(client.base_url.host))


@lru_cache(maxsize=256)
def _provider(kind: str, host: str) -> str | None:
    host = host.lower()
    if host in _HOSTS:
        return _HOSTS[host]
    if host.startswith("bedrock-runtime.") and host.endswith((".amazonaws.com", ".amazonaws.com.cn")):
        return BEDROCK
    found = next((provider for end, provider in _ENDS.items() if host.endswith(end)), None)
    return found or next((provider for part, provider in _CLASSES.items() if part in kind), None)
