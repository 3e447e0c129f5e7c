"""Names as they arrive stand for exact names, or for nothing; never for the nearest one."""

import re

import pytest
from genai_prices.data import providers

from llm_service.pricing.book import PriceBook
from llm_service.pricing.bundled import _names
from llm_service.pricing.model_names import Candidate, candidates, explicit_seller, provider_of, spellings


@pytest.fixture(scope="module")
def book() -> PriceBook:
    """The bundled prices."""
    return PriceBook()


KNOWN = [
    ("claude-sonnet-4-5-20250929", None, "anthropic", "claude-sonnet-4-5"),
    ("Claude-Sonnet-4-5-20250929", None, "anthropic", "claude-sonnet-4-5"),
    ("claude-3.5-sonnet", None, "anthropic", "claude-3-5-sonnet"),
    ("claude-sonnet-4-20250514", None, "anthropic", "claude-sonnet-4-0"),
    ("claude-3-7-sonnet-latest", None, "anthropic", "claude-3-7-sonnet-latest"),
    ("anthropic/claude-opus-4-1", None, "anthropic", "claude-opus-4-1"),
    ("litellm/anthropic/claude-opus-4-1", None, "anthropic", "claude-opus-4-1"),
    ("anthropic/claude-opus-4-1", "litellm", "anthropic", "claude-opus-4-1"),
    ("us.anthropic.claude-haiku-4-5-20251001-v1:0", None, "aws", "regional.anthropic.claude-haiku-4-5-20251001-v1:0"),
    ("eu.anthropic.claude-3-5-sonnet-20240620-v1:0", None, "aws", "regional.anthropic.claude-3-5-sonnet-20240620-v1:0"),
    ("anthropic.claude-3-haiku-20240307-v1:0", "aws.bedrock", "aws", "regional.anthropic.claude-3-haiku-20240307-v1:0"),
    ("claude-sonnet-4-5-20250929", "aws.bedrock", "aws", "regional.anthropic.claude-sonnet-4-5-20250929-v1:0"),
    ("bedrock/us-east-1/amazon.nova-lite-v1:0", None, "aws", "amazon.nova-lite-v1:0"),
    ("bedrock/converse/us.amazon.nova-lite-v1:0", None, "aws", "amazon.nova-lite-v1:0"),
    (
        "arn:aws:bedrock:us-east-1:123456789012:inference-profile/global.anthropic.claude-haiku-4-5-20251001-v1:0",
        None,
        "aws",
        "global.anthropic.claude-haiku-4-5-20251001-v1:0",
    ),
    ("models/gemini-2.5-pro", None, "google", "gemini-2.5-pro"),
    ("gemini-2.5-pro-preview-06-05", "gcp.gemini", "google", "gemini-2.5-pro"),
    ("gemini-2.5-flash-lite-preview-09-2025", None, "google", "gemini-2.5-flash-lite"),
    ("projects/p/locations/us-east5/publishers/google/models/gemini-2.5-flash", None, "google", "gemini-2.5-flash"),
    ("publishers/anthropic/models/claude-sonnet-4-5@20250929", None, "google", "claude-sonnet-4-5"),
    ("vertex_ai/claude-opus-4-1@20250805", None, "google", "claude-4-opus"),
    ("openai/gpt-4o", None, "openai", "gpt-4o"),
    ("openai:gpt-4o", None, "openai", "gpt-4o"),
    ("anthropic:claude-sonnet-4-5-20250929", None, "anthropic", "claude-sonnet-4-5"),
    ("google-gla:gemini-2.5-pro", None, "google", "gemini-2.5-pro"),
    ("ft:gpt-4o-2024-08-06:my-org::abc123", None, "openai", "ft:gpt-4o"),
    ("ft:gpt-4o-mini-2024-07-18:my-org:suffix:abc123", "openai", "openai", "ft:gpt-4o-mini"),
    ("gpt-4o", "openai", "openai", "gpt-4o"),
    ("gpt-5.2-20251211", None, "openai", "gpt-5.2"),
    ("gpt-5-nano-2025-08-07", None, "openai", "gpt-5-nano"),
    ("azure/gpt-35-turbo", None, "azure", "gpt-3.5-turbo"),
    ("gpt-4o", "az.ai.openai", "azure", "gpt-4o"),
    ("openrouter/anthropic/claude-sonnet-4.5", None, "openrouter", "anthropic/claude-sonnet-4.5"),
    ("anthropic/claude-sonnet-4.5", "OpenRouter", "openrouter", "anthropic/claude-sonnet-4.5"),
    ("openrouter/openai/gpt-oss-20b:free", "openrouter", "openrouter", "openai/gpt-oss-20b:free"),
    ("groq/openai/gpt-oss-20b", None, "groq", "openai/gpt-oss-20b"),
    ("xai/grok-4", None, "x-ai", "grok-4-0709"),
    ("grok-4", "x_ai", "x-ai", "grok-4-0709"),
    ("magistral-medium-2509", None, "mistral", "magistral-medium"),
    ("mistral-small-latest", "mistral_ai", "mistral", "mistral-small-latest"),
    ("command-r7b-12-2024", "cohere", "cohere", "command-r7b"),
    # as coding agents, SDKs and gateways write them today
    ("claude-opus-5-5[1m]", None, "anthropic", "claude-opus-5-5"),
    ("claude-sonnet-4-5-20250929[1m]", "anthropic", "anthropic", "claude-sonnet-4-5"),
    ("us.anthropic.claude-opus-5-5[1m]", "bedrock", "aws", "regional.anthropic.claude-opus-5-5"),
    ("claude-opus-5-20260801", None, "anthropic", "claude-opus-5"),
    ("claude-opus-4.8", None, "anthropic", "claude-opus-4-8"),
    ("claude-3-5-sonnet-latest", None, "anthropic", "claude-3-5-sonnet"),
    ("claude-sonnet-4@20250514", None, "google", "claude-4-sonnet"),
    ("claude-3-5-sonnet-v2@20241022", "vertex_ai", "google", "claude-3-5-sonnet"),
    ("claude-opus-4-5@20251101", "vertex_ai-anthropic_models", "google", "claude-opus-4-5"),
    ("google-vertex:gemini-2.5-pro", None, "google", "gemini-2.5-pro"),
    ("models/gemini-flash-latest", None, "google", "gemini-3.8-flash"),
    ("gemini-2.0-flash-001", None, "google", "gemini-2.0-flash"),
    ("gemini-4-argon", "gcp.gen_ai", "google", "gemini-4-argon"),
    ("gpt-5.1-2025-11-13", None, "openai", "gpt-5.1"),
    ("gpt-5.1-codex-max", None, "openai", "gpt-5.1"),
    ("gpt-6-sol-2026-09-22", None, "openai", "gpt-6-sol"),
    ("gpt-5.2-chat-latest", "openai.chat", "openai", "gpt-5.2"),
    ("gpt-5-2025-08-07", "azure.ai.openai", "azure", "gpt-5"),
    ("azure:gpt-4.1-mini", None, "azure", "gpt-4.1-mini"),
    ("azure/global-standard/gpt-4o-mini", "azure", "azure", "gpt-4o-mini"),
    ("o3-mini", "azure_openai.responses", "azure", "o3-mini"),
    ("claude-opus-4-5-20251101", "azure_ai", "azure", "claude-opus-4-5"),
    ("openai.gpt-oss-120b-1:0", None, "aws", "openai.gpt-oss-120b-1:0"),
    ("us.deepseek.r1-v1:0", "bedrock_converse", "aws", "deepseek.r1-v1:0"),
    ("converse/us.amazon.nova-lite-v1:0", "bedrock", "aws", "amazon.nova-lite-v1:0"),
    ("us-east-1/amazon.nova-lite-v1:0", "aws.bedrock", "aws", "amazon.nova-lite-v1:0"),
    ("moonshot/kimi-k2.6", None, "moonshotai", "kimi-k2.6"),
    ("glm-4.6", "zai", "zai", "GLM-4.6"),
    ("minimax/MiniMax-M2", None, "minimax", "MiniMax-M2"),
    ("@cf/zai-org/glm-4.7-flash", None, "cloudflare", "@cf/zai-org/glm-4.7-flash"),
    ("databricks-kimi-k3", None, "databricks", "databricks-kimi-k3"),
    ("accounts/fireworks/models/deepseek-v4-pro", None, "fireworks", "deepseek-v4-pro"),
    ("fireworks_ai/deepseek-v4-pro", None, "fireworks", "deepseek-v4-pro"),
    ("huggingface/together/deepseek-ai/DeepSeek-V3", None, "huggingface_together", "deepseek-ai/DeepSeek-V3"),
    ("deepseek-ai/DeepSeek-V3:together", "huggingface", "huggingface_together", "deepseek-ai/DeepSeek-V3"),
    ("claude-sonnet-4.6", "copilot", "github-copilot", "claude-sonnet-4.6"),
    ("x-ai/grok-code-fast-1", "openrouter", "openrouter", "x-ai/grok-code-fast-1"),
    ("voyage-3-large", None, "voyageai", "voyage-3-large"),
    ("mistral-large-2512", None, "mistral", "mistral-large-2512"),
    ("mistral-medium-latest", None, "mistral", "mistral-medium-latest"),
]


@pytest.mark.parametrize(("name", "provider", "seller", "model"), KNOWN, ids=str)
def test_a_name_as_it_arrives_resolves(
    book: PriceBook, name: str, provider: str | None, seller: str, model: str
) -> None:
    """Whatever the path, the region, the date or the version around it."""
    rates = book.rates(name, provider)
    assert rates is not None
    assert (rates.provider, rates.model) == (seller, model)


UNKNOWN = [
    ("gpt-4o-ultra-9000", None),
    ("gpt-4o-2099-01-01", None),
    ("gpt-5-nano-fast", None),
    ("gpt-99", "openai"),
    ("claude-sonnet-4-5-preview-xyz", None),
    ("claude-sonnet-4-5-preview", None),
    ("claude-sonnet-4-5-9000", None),
    ("claude-sonnet-4-5-20251399", None),
    ("claude-sonnet-9-latest", None),
    ("my-claude-3-5-haiku", None),
    ("google/my-claude-3-5-haiku-tuned", None),
    ("us.anthropic.claude-sonnet-77-v1:0", None),
    ("us.anthropic.claude-sonnet-4-5-20250929-custom-v1:0", None),
    ("bedrock/us-east-1", None),
    ("my-amazon.titan-text-express-v1", "aws"),
    ("mars.anthropic.claude-sonnet-4-5-20250929-v1:0", None),
    ("arn:aws:sagemaker:us-east-1:123456789012:endpoint/claude-sonnet-4-5", None),
    ("arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc123", None),
    ("gemini-9.9-pro", None),
    ("models/gemini-2.5-pro-ultra", None),
    ("tunedModels/my-model", None),
    ("gpt-oss-20b", None),
    ("gpt-oss-120b", "openai"),
    ("openai/gpt-oss-20b", None),
    ("llama-3.3-70b-versatile", None),
    ("meta-llama/Llama-3.3-70B-Instruct", None),
    ("mistral-small-24b-instruct-2501", None),
    ("deepseek-r1:8b", None),
    ("gpt-4o", "my-gateway"),
    ("gpt-4o", "ollama"),
    ("anthropic/claude-sonnet-4-5", "openai"),
    ("anthropic:claude-sonnet-4-5", "openai"),
    ("mistral:7b", None),
    ("mistral:latest", None),
    ("openai:", None),
    ("ft:gpt-4-turbo:my-org::abc123", None),
    ("ft:gpt-4o-ultra:my-org::abc123", None),
    ("ft:gpt-4o:", None),
    ("litellm/", None),
    ("", None),
    # the nearest in a list is another model
    ("accounts/fireworks/models/deepseek-v5-pro", "fireworks"),
    ("command-a-plus-05-2026", "cohere"),
    ("command-a-reasoning-08-2025", "cohere"),
    ("claude-opus-4.7-xhigh", None),
    ("claude-opus-4.7-1m-internal", None),
    ("gemini-3.8-flash-cyber", None),
    ("gemini-3.8-flash-lite", None),
    ("gpt-4o-ultra", None),
    ("gpt-6.1-luna", None),
    ("moonshotai/kimi-k3:free", "openrouter"),
    ("anthropic/claude-opus-5.5:nitro", "openrouter"),
    ("my-gpt-4o-deployment", "azure"),
    ("mistral-large-5", "mistral"),
    ("mistral-large-2604", "mistral"),
    ("magistral-medium-latest", "mistral"),
    ("gpt-4o-2025-09-09", "azure"),
    ("gpt-4o[1m]", None),
    ("claude-opus-5-5[2m]", None),
    # a label that says who serves, where the list of the maker would have a price
    ("us.anthropic.claude-opus-5-5", "anthropic"),
    ("grok-4", "azure"),
    ("kimi-k2.5", "azure_ai"),
    ("claude-sonnet-5@default", None),
    ("claude-mythos-5-2", "vertex_ai"),
    ("huggingface/deepseek-ai/DeepSeek-V3", None),
    ("deepseek-ai/DeepSeek-V3", "huggingface"),
    ("github/gpt-4o", None),
    ("vercel_ai_gateway/anthropic/claude-opus-5", None),
    # priced by what a record does not count: audio, images, requests, pages
    ("gpt-realtime", None),
    ("gpt-4o-audio-preview", None),
    ("gpt-image-1", None),
    ("gemini-2.5-flash-image", None),
    ("whisper-1", "openai"),
    ("tts-1", "openai"),
    ("sonar-pro", "perplexity"),
    ("mistral-ocr-latest", "mistral"),
    # a model without a price is not free
    ("gpt-4o", "github_copilot"),
    ("qwen-3-coder-480b", "cerebras"),
]


@pytest.mark.parametrize(("name", "provider"), UNKNOWN, ids=lambda value: str(value) or "empty")
def test_a_name_that_nobody_gave_out_is_unknown(book: PriceBook, name: str, provider: str | None) -> None:
    """Unknown, where the data's own matching would have found a relative."""
    assert book.rates(name, provider) is None
    why = book.explain(name, provider)
    assert why.rates is why.rule is None
    assert why.passed_over
    assert all(one.why for one in why.passed_over)


WEIGHTS = [
    # https://ollama.com/library
    "codestral", "command-a", "command-r", "command-r-plus", "command-r7b", "command-r7b-arabic", "deepseek-r1",
    "devstral", "gpt-oss", "gpt-oss-safeguard", "magistral", "mistral", "mistral-large", "mistral-large-3",
    "mistral-medium-3.5", "mistral-nemo", "mistral-small", "mistral-small3.2", "mixtral",
    # https://huggingface.co/mistralai, https://huggingface.co/CohereLabs, https://huggingface.co/xai-org,
    # https://huggingface.co/voyageai
    "Codestral-22B-v0.1", "Magistral-Small-2509", "Mistral-Large-Instruct-2411", "Mistral-Medium-3.5-128B",
    "Mistral-Small-3.2-24B-Instruct-2506", "Pixtral-Large-Instruct-2411", "c4ai-command-r-08-2024",
    "command-a-reasoning-08-2025", "grok-1", "grok-2", "voyage-4-nano",
]  # fmt: skip
"""Names that weights were published under."""


def weights_in_the_data() -> set[str]:
    """Models whose entry calls them open, and what hosts of weights have, by their bare names."""
    hosts = {"baseten", "cerebras", "doubleword", "fireworks", "groq", "novita", "ovhcloud", "together"}
    found = {
        name.rpartition("/")[2]
        for provider in providers
        if provider.id in hosts or provider.id.startswith("huggingface_")
        for model in provider.models
        for name in _names(model)
    }
    opened = re.compile(r"open[- ](weight|source)|weights|apache", re.IGNORECASE)
    return found | {
        model.id.lower()
        for provider in providers
        for model in provider.models
        if opened.search(model.description or "") and not re.search(r"-\d{4}$|-latest$|:free$", model.id)
    }


def test_a_name_of_weights_alone_has_no_price(book: PriceBook) -> None:
    """Whoever made them: anybody may have served them. With the maker as seller they have its price."""
    names = {name.lower() for name in WEIGHTS} | weights_in_the_data()
    names = {name for name in names if explicit_seller(name) is None}  # unlike `cerebras:gemma-4-31b`
    assert len(names) > 300
    assert [name for name in sorted(names) if book.rates(name) is not None] == []
    for name, maker in [("command-r", "cohere"), ("mistral-large", "mistral"), ("grok-2", "x_ai")]:
        for said in [(name, maker), (f"{maker}/{name}", None)]:
            rates = book.rates(*said, at_us=1_755_000_000_000_000)
            assert rates is not None, said


def test_what_the_provider_says_outranks_what_the_name_says() -> None:
    """A record that says who served it is believed."""
    assert candidates("anthropic/claude-sonnet-4-5", "aws") == (Candidate("anthropic/claude-sonnet-4-5", "aws"),)
    assert candidates("anthropic/claude-sonnet-4-5") == (
        Candidate("anthropic/claude-sonnet-4-5", None),
        Candidate("claude-sonnet-4-5", "anthropic"),
    )


def test_providers_go_by_many_names() -> None:
    """OpenTelemetry, LiteLLM and others each call them something else."""
    assert provider_of(None) is provider_of("LiteLLM") is None
    assert [provider_of(name) for name in ("aws.bedrock", "Bedrock", "amazon-bedrock")] == ["aws"] * 3
    assert [provider_of(name) for name in ("gcp.vertex_ai", "gemini", "vertex-ai")] == ["google"] * 3
    assert [provider_of(name) for name in ("Amazon Bedrock", "Azure OpenAI", "GitHub Copilot")] == [
        "aws",
        "azure",
        "github-copilot",
    ]
    assert provider_of(" My-Gateway ") == "my-gateway"


def test_a_spelling_loses_dates_and_versions_and_nothing_else() -> None:
    """Only what is known not to name a model is taken off."""
    assert spellings("claude-opus-4-1-20250805") == (
        "claude-opus-4-1-2025-08-05",
        "claude-opus-4-1-20250805",
        "claude-opus-4-1",
    )
    assert spellings("gpt-4o-ultra-9000") == ("gpt-4o-ultra-9000",)
    assert spellings("openai.gpt-oss-20b-1:0") == ("openai.gpt-oss-20b-1:0",), "versions of Bedrock are of Bedrock only"
    assert spellings("us.meta.llama3-8b-instruct-v1:0", "aws")[-1] == "llama3-8b-instruct"
    assert spellings("-latest") == ("-latest",)


@pytest.mark.parametrize("end", ["-v1:0", "-latest", "@20250929", "-preview-05-20", ":0", "litellm/"])
def test_a_name_made_to_be_slow_is_not(book: PriceBook, end: str) -> None:
    """Two hundred characters of endings: as many spellings as characters at most."""
    name = ("litellm/" * 24 + "gpt") if end == "litellm/" else "a" + end * (199 // len(end))
    assert all(len(spellings(name, provider)) <= 2 * len(name) for provider in ("aws", None))
    assert book.rates(name, "aws") is None


def test_a_name_too_long_to_be_a_model_s_stands_for_itself_alone() -> None:
    """No pattern is tried on it."""
    name = "anthropic/" + "claude-" * 50
    assert candidates(name, "aws") == (Candidate(name, "aws"),)
    assert spellings(name, "aws") == (name,)
