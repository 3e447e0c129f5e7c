"""Who sells a call, by the client that makes it and the host that it goes to; None where that is not certain.

Names are OpenTelemetry's (https://opentelemetry.io/docs/specs/semconv/registry/attributes/gen-ai/#gen-ai-provider-name).
"""

from functools import lru_cache
from typing import Any, Final
from urllib.parse import urlsplit

from llm_service.telemetry.instrumentation.responses.answers import AZURE, BEDROCK, VERTEX

__all__ = ["provider_of_client", "provider_of_url"]

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
_MOST: Final = 64
_known: Final[dict[int, tuple[Any, str, str | None]]] = {}
"""By the URL of a client, which is one object as long as the client has it."""


def provider_of_client(client: Any) -> str | None:
    """The seller that a client calls.

    Raises:
        Exception: what the client raises when it is asked for its `base_url`.
    """
    url, kind = client.base_url, type(client).__name__
    known = _known.get(id(url))
    if known is not None and known[0] is url and known[1] == kind:
        return known[2]
    found = _provider(kind, str(url.host))
    if len(_known) >= _MOST:
        _known.clear()
    _known[id(url)] = (url, kind, found)
    return found


@lru_cache(maxsize=256)
def provider_of_url(url: str) -> str | None:
    """The seller that a URL belongs to."""
    return _provider("", urlsplit(url).hostname or "")


@lru_cache(maxsize=256)
def _provider(kind: str, host: str) -> str | None:
    host = host.lower()
    if host in _HOSTS:
        return _HOSTS[host]
    if host.startswith("bedrock-runtime.") and host.endswith((".amazonaws.com", ".amazonaws.com.cn")):
        return BEDROCK
    found = next((provider for end, provider in _ENDS.items() if host.endswith(end)), None)
    return found or next((provider for part, provider in _CLASSES.items() if part in kind), None)
