"""The seller of a call, from labels of records, SDKs and gateways; never confused with the maker of the model.

The ids on the left are those of genai-prices, one for each catalogue. Google has one catalogue for two sellers, the
Gemini API and Vertex AI, whose prices partly differ: `api` distinguishes them.
"""

from typing import Final

__all__ = ["GEMINI", "GOOGLE", "PROVIDERS", "VERTEX", "api_of", "is_prefix", "provider_of"]

GOOGLE: Final = "google"
GEMINI: Final = "gemini"
VERTEX: Final = "vertex"

_GEMINI_LABELS: Final = (
    "gcp.gemini",
    "gemini",
    "google.generative_ai",
    "google_ai",
    "google_ai_studio",
    "google_genai",
    "google_generative_ai",
    "google_gla",
)
_VERTEX_LABELS: Final = (
    "gcp.vertex_ai",
    "google.vertex",
    "google_anthropic_vertex",
    "google_vertex",
    "google_vertex_ai",
    "google_vertex_anthropic",
    "google_vertexai",
    "vertex",
    "vertex_ai",
    "vertex_ai_beta",
    "vertexai",
)
# By OpenTelemetry's `gen_ai.provider.name` and its older `gen_ai.system`
# (https://opentelemetry.io/docs/specs/semconv/registry/attributes/gen-ai/), LiteLLM's and Vercel's prefixes, in lower
# case with underscores.
_GOES_BY: Final = {
    "anthropic": ("anthropic_text", "anthropic.messages"),
    "arcee": ("arcee_ai",),
    "avian": (),
    "aws": (
        "amazon",
        "amazon_bedrock",
        "aws.bedrock",
        "aws_bedrock",
        "bedrock",
        "bedrock_converse",
        "bedrock_mantle",
    ),
    "azure": (
        "azure_ai",
        "azure.ai.openai",
        "azure.ai.inference",
        "az.ai.openai",
        "az.ai.inference",
        "azure_openai",
        "azure_openai.chat",
        "azure_openai.responses",
        "azure_text",
        "microsoft",
    ),
    "baseten": (),
    "cerebras": (),
    "cloudflare": ("workers_ai",),
    "cohere": ("cohere_chat",),
    "cursor": (),
    "databricks": (),
    "deepseek": (),
    "doubleword": (),
    "elevenlabs": (),
    "fireworks": ("fireworks_ai",),
    "github-copilot": ("github_copilot", "copilot"),
    GOOGLE: ("gcp.gen_ai", *_GEMINI_LABELS, *_VERTEX_LABELS),
    "groq": (),
    "huggingface": ("hugging_face",),
    "meta": (),
    "minimax": (),
    "mistral": ("mistral_ai", "mistralai"),
    "modal": (),
    "moonshotai": ("moonshot", "moonshot_ai"),
    "novita": ("novita_ai",),
    "openai": ("openai.chat", "openai.responses", "text_completion_openai"),
    "openai-decisions": (),
    "openrouter": (),
    "ovhcloud": (),
    "perplexity": ("perplexity_ai",),
    "quicksilverpro": (),
    "together": ("together_ai", "togetherai"),
    "typesafe": (),
    "voyageai": ("voyage", "voyage_ai"),
    "x-ai": ("x_ai", "xai"),
    "zai": ("z_ai",),
    "zhipuai": ("zhipu", "bigmodel"),
}
PROVIDERS: Final = {
    name: provider for provider, others in _GOES_BY.items() for name in (provider.replace("-", "_"), *others)
}
_APIS: Final = {**dict.fromkeys(_GEMINI_LABELS, GEMINI), **dict.fromkeys(_VERTEX_LABELS, VERTEX)}
_PASS_ON: Final = frozenset({"litellm", "litellm_proxy"})
"""Proxies: they do not identify the seller."""
_OWNERS: Final = frozenset({"arcee_ai", "meta", "microsoft", "mistralai", "moonshotai", "perplexity_ai", "z_ai"})
"""As a prefix these own a repository of weights (Hugging Face, OpenRouter, NIM); they do not identify the seller."""


def provider_of(label: str | None) -> str | None:
    """The id in genai-prices of a label's seller; an unknown label is returned in lower case.

    None for None, and for proxies (`litellm`).
    """
    if label is None:
        return None
    name, plain = _plain(label)
    return None if plain in _PASS_ON else PROVIDERS.get(plain, name)


def api_of(label: str | None) -> str | None:
    """Google's seller of a label: `gemini` or `vertex`; None for any other label."""
    return None if label is None else _APIS.get(_plain(label)[1])


def is_prefix(label: str) -> bool:
    """Whether a prefix of a model's name (`azure/gpt-4o`) identifies the seller."""
    plain = _plain(label)[1]
    return plain in PROVIDERS and plain not in _OWNERS


def _plain(label: str) -> tuple[str, str]:
    name = label.strip().lower()
    plain = name.replace("-", "_").replace(" ", "_")
    return name, "vertex_ai" if plain.startswith("vertex_ai_") else plain  # LiteLLM: vertex_ai-anthropic_models
