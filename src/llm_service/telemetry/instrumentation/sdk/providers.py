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
    "claude.googleapis.com": VERTEX,
    "models.github.ai": "github",
    "models.inference.ai.azure.com": "github",
    "api.githubcopilot.com": "github_copilot",
    "api.arcee.ai": "arcee",
    "api.avian.io": "avian",
    "inference.baseten.co": "baseten",
    "api.cursor.com": "cursor",
    "api.doubleword.ai": "doubleword",
    "api.elevenlabs.io": "elevenlabs",
    "api.meta.ai": "meta",
    "api.minimax.com": "minimax",
    "api.minimax.io": "minimax",
    "api.minimaxi.com": "minimax",
    "api.moonshot.cn": "moonshotai",
    "api.novita.ai": "novita",
    "oai.endpoints.kepler.ai.cloud.ovh.net": "ovhcloud",
    "api.quicksilverpro.io": "quicksilverpro",
    "api.typesafe.ai": "typesafe",
    "api.voyageai.com": "voyageai",
    "api.z.ai": "zai",
    "open.bigmodel.cn": "zhipuai",
    "api.cloudflare.com": "cloudflare",
    "router.huggingface.co": "huggingface",
    # No price list is known of those that follow: their calls have no price, instead of that of the model's maker.
    "ai-gateway.vercel.sh": "vercel",
    "api.deepinfra.com": "deepinfra",
    "api.hyperbolic.xyz": "hyperbolic",
    "api.poe.com": "poe",
    "api.sambanova.ai": "sambanova",
    "api.siliconflow.cn": "siliconflow",
    "api.siliconflow.com": "siliconflow",
    "api.studio.nebius.com": "nebius",
    "dashscope.aliyuncs.com": "alibaba_cloud",
    "dashscope-intl.aliyuncs.com": "alibaba_cloud",
    "gateway.ai.cloudflare.com": "cloudflare_gateway",
    "integrate.api.nvidia.com": "nvidia",
    "router.requesty.ai": "requesty",
}
_ENDS: Final = {
    ".openai.azure.com": AZURE,
    ".openai.azure.us": AZURE,
    ".openai.azure.cn": AZURE,
    ".cognitiveservices.azure.com": AZURE,
    ".services.ai.azure.com": "azure.ai.inference",
    ".azure-api.net": AZURE,
    ".githubcopilot.com": "github_copilot",
    ".cloud.databricks.com": "databricks",
    ".gcp.databricks.com": "databricks",
    ".azuredatabricks.net": "databricks",
    ".snowflakecomputing.com": "snowflake",
    ".modal.run": "modal",
    ".modal.direct": "modal",
    ".endpoints.huggingface.cloud": "huggingface_endpoint",
    ".rep.googleapis.com": VERTEX,
    "-aiplatform.googleapis.com": VERTEX,
    ".api.openai.com": "openai",
}
_REGIONS: Final = re.compile(
    r"(?:aws-external-anthropic\.([a-z0-9-]+)\.api\.aws|bedrock-(?:runtime|mantle)(?:-fips)?\.([a-z0-9-]+)\.(?:amazonaws|api\.aws)"
    r"|([a-z0-9-]+)-aiplatform\.googleapis\.com|aiplatform\.([a-z0-9-]+)\.rep\.googleapis\.com"
    r"|([a-z]{2})\.api\.openai\.com)"
)
"""Hosts that name the region; OpenAI's data residency: https://developers.openai.com/api/docs/guides/your-data."""
_CLOUDS: Final = {".azure.us": "us-gov", ".azure.cn": "china"}
"""Ends of hosts of clouds apart, and the region that they are."""
_OLLAMA: Final = 11434
"""The port that Ollama listens on, where models may have any name."""
_LOCATION: Final = re.compile(r"/locations/([a-z0-9-]+)(?:/|$)")
"""Where the path of a URL of Google's names the region."""
_IN: Final = ("aws_region", "region")
"""Where Anthropic's clients for clouds say their region."""
_CLASSES: Final = {
    "Foundry": "azure.ai.inference", "Azure": AZURE, "Bedrock": BEDROCK, "Vertex": VERTEX,
    "GoogleCloud": VERTEX, "AnthropicAWS": "aws.anthropic",
}  # fmt: skip
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
    found = dict(_place(kind, str(url.host), getattr(url, "port", None)))
    region = next((region for name in _IN if type(region := getattr(client, name, None)) is str), None)
    if not region and (told := _LOCATION.search(str(getattr(url, "path", "")))) is not None:
        region = told[1]
    if region:
        found["region"] = region
    if len(_known) >= _MOST:
        _known.clear()
    _known[id(url)] = (url, kind, found)
    return found


def place_of_url(url: str) -> Mapping[str, str]:
    """The same of the calls that go to a URL."""
    parts = urlsplit(url)
    return _place("", parts.hostname or "", parts.port)


def provider_of_host(host: str) -> str | None:
    """The seller at a host."""
    return _place("", host, None).get("provider")


@lru_cache(maxsize=256)
def _place(kind: str, host: str, port: int | None) -> Mapping[str, str]:
    host = host.lower()
    provider = "ollama" if port == _OLLAMA else _HOSTS.get(host)
    if provider is None and host.startswith(("bedrock-runtime.", "bedrock-mantle.")):
        provider = BEDROCK
    for mark, seller in () if provider is not None else (*_ENDS.items(), *_CLASSES.items()):
        if host.endswith(mark) if mark in _ENDS else mark in kind:
            provider = seller
            break
    found = {} if provider is None else {"provider": provider}
    told = _REGIONS.match(host)
    apart = next((name for end, name in _CLOUDS.items() if host.endswith(end)), None)
    region = apart if told is None else next(filter(None, told.groups()))
    return found if region is None else {**found, "region": region}
