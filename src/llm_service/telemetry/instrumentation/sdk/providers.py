"""Who sells a call and in which region, by the client that makes it and the host that it goes to; None if uncertain.

Names are OpenTelemetry's (https://opentelemetry.io/docs/specs/semconv/registry/attributes/gen-ai/#gen-ai-provider-name).
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final
from urllib.parse import urlsplit

from llm_service.telemetry.instrumentation.responses.answers import AZURE, BEDROCK, VERTEX

__all__ = ["place_of_client", "place_of_url", "provider_of_host"]

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
    "models.github.ai": "github",
    "api.githubcopilot.com": "github_copilot",
}
_ENDS: Final = {
    ".openai.azure.com": AZURE,
    ".services.ai.azure.com": "azure.ai.inference",
    "-aiplatform.googleapis.com": VERTEX,
    ".api.openai.com": "openai",
}
_REGIONS: Final = re.compile(
    r"(?:bedrock-(?:runtime|mantle)(?:-fips)?\.([a-z0-9-]+)\.(?:amazonaws|api\.aws)"
    r"|([a-z0-9-]+)-aiplatform\.googleapis\.com|([a-z]{2})\.api\.openai\.com)"
)
"""Hosts that name the region; OpenAI's data residency: https://developers.openai.com/api/docs/guides/your-data."""
_IN: Final = ("aws_region", "region")
"""Where Anthropic's clients for clouds say their region."""
_CLASSES: Final = {"Foundry": "azure.ai.inference", "Azure": AZURE, "Bedrock": BEDROCK, "Vertex": VERTEX}
"""What the names of clients hold that are made for another's cloud: AzureOpenAI, AsyncAnthropicBedrock."""
_MOST: Final = 64
_known: Final[dict[int, tuple[Any, str, dict[str, str]]]] = {}
"""By the URL of a client, which is one object as long as the client has it."""


def place_of_client(client: Any) -> Mapping[str, str]:
    """The fields `provider` and `region` of the calls of a client, as far as they are known.

    Raises:
        Exception: what the client raises when it is asked for its `base_url`.
    """
    url, kind = client.base_url, type(client).__name__
    known = _known.get(id(url))
    if known is not None and known[0] is url and known[1] == kind:
        return known[2]
    found = dict(_place(kind, str(url.host)))
    region = next((region for name in _IN if type(region := getattr(client, name, None)) is str), None)
    if region:
        found["region"] = region
    if len(_known) >= _MOST:
        _known.clear()
    _known[id(url)] = (url, kind, found)
    return found


def place_of_url(url: str) -> Mapping[str, str]:
    """The same of the calls that go to a URL."""
    return _place("", urlsplit(url).hostname or "")


def provider_of_host(host: str) -> str | None:
    """The seller at a host."""
    return _place("", host).get("provider")


@lru_cache(maxsize=256)
def _place(kind: str, host: str) -> Mapping[str, str]:
    host = host.lower()
    provider = _HOSTS.get(host)
    if provider is None and host.startswith(("bedrock-runtime.", "bedrock-mantle.")):
        provider = BEDROCK
    for mark, seller in () if provider is not None else (*_ENDS.items(), *_CLASSES.items()):
        if host.endswith(mark) if mark in _ENDS else mark in kind:
            provider = seller
            break
    found = {} if provider is None else {"provider": provider}
    region = _REGIONS.match(host)
    return found if region is None else {**found, "region": next(filter(None, region.groups()))}
