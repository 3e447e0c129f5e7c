"""How names of models arrive, and which exact names they may stand for: never the nearest one.

A record names a model as its provider, a gateway or a cloud does: `claude-sonnet-4-5-20250929`,
`anthropic/claude-sonnet-4-5`, `us.anthropic.claude-sonnet-4-5-20250929-v1:0`, `models/gemini-2.5-pro`, an ARN, a Vertex
resource. What is taken off here is only what is known not to name a model: the path of a provider, a region, a date,
a version of Bedrock. All else stays: a name that is in no list afterwards is unknown.
"""

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Final, NamedTuple

__all__ = ["Candidate", "candidates", "is_claude", "provider_of", "spellings"]

_MOST: Final = 4096


class Candidate(NamedTuple):
    """A name as one provider would know it, in lower case; provider None: nobody says whose it is."""

    name: str
    provider: str | None


# Providers by the names that they go by: OpenTelemetry's `gen_ai.provider.name` and its older `gen_ai.system`
# (https://opentelemetry.io/docs/specs/semconv/registry/attributes/gen-ai/), LiteLLM's and Vercel's prefixes. The ids
# on the left are those of genai-prices.
_GOES_BY: Final = {
    "anthropic": ("anthropic_text", "anthropic.messages"),
    "aws": ("bedrock", "aws.bedrock", "aws_bedrock", "amazon", "amazon_bedrock", "bedrock_converse"),
    "azure": (
        "azure_ai",
        "azure.ai.openai",
        "azure.ai.inference",
        "az.ai.openai",
        "az.ai.inference",
        "azure_openai",
        "azure_text",
        "microsoft",
    ),
    "cerebras": (),
    "cloudflare": ("workers_ai",),
    "cohere": ("cohere_chat",),
    "databricks": (),
    "deepseek": (),
    "fireworks": ("fireworks_ai",),
    "github-copilot": ("github_copilot", "copilot"),
    "google": (
        "gemini",
        "google_ai",
        "google_genai",
        "google_gla",
        "google_vertex",
        "google.generative_ai",
        "google.vertex",
        "gcp.gemini",
        "gcp.gen_ai",
        "gcp.vertex_ai",
        "vertex_ai",
        "vertex_ai_beta",
        "vertexai",
        "vertex",
    ),
    "groq": (),
    "mistral": ("mistral_ai", "mistralai"),
    "moonshotai": ("moonshot", "moonshot_ai"),
    "novita": ("novita_ai",),
    "openai": ("openai.chat", "openai.responses", "text_completion_openai"),
    "openrouter": (),
    "perplexity": ("perplexity_ai",),
    "together": ("together_ai", "togetherai"),
    "voyageai": ("voyage", "voyage_ai"),
    "x-ai": ("x_ai", "xai"),
    "zai": ("z_ai",),
}
_PROVIDERS: Final = {
    name: provider for provider, others in _GOES_BY.items() for name in (provider.replace("-", "_"), *others)
}
_PASS_ON: Final = frozenset({"litellm", "litellm_proxy"})
"""These say nothing of whose model it is."""
_GATEWAYS: Final = frozenset({"openrouter"})
"""They sell models under names with a maker's prefix, at prices of their own."""

_REGIONS: Final = r"(?:us|eu|apac|au|jp|ca|in|sa|me|af|uk|il|mx|us-gov|global)\."
_VENDORS: Final = (
    r"(?:ai21|amazon|anthropic|cohere|deepseek|google|meta|minimax|mistral|moonshot|moonshotai|nvidia|openai|qwen|writer"
    r"|zai)\."
)
_VENDOR: Final = re.compile(rf"^(?:{_REGIONS})?{_VENDORS}(?=[a-z])")

# Names that only their maker gives out, where no provider is told: of open weights, which anybody may serve at any
# price, none is here.
_MAKERS: Final = (
    ("anthropic", re.compile(r"claude-")),
    (
        "openai",
        re.compile(r"(gpt-(?!oss)|chatgpt-|o[134](-|$)|text-embedding-(3|ada)|codex-mini|computer-use|ft:gpt-)"),
    ),
    ("google", re.compile(r"gemini-")),
    ("x-ai", re.compile(r"grok-(?!1$|2\.5)")),
    ("deepseek", re.compile(r"deepseek-(chat|reasoner|flash|v4-(flash|pro))$")),
    (
        "mistral",
        re.compile(r"(mistral-(large|medium|small|tiny|saba)|codestral|magistral|pixtral-large|open-mi[sx]tral)"),
    ),
    ("cohere", re.compile(r"command-")),
    ("perplexity", re.compile(r"sonar(-|$)")),
    ("voyageai", re.compile(r"voyage-")),
    ("aws", re.compile(rf"(?:{_REGIONS})?{_VENDORS}[a-z]")),
)
_OF_A_SIZE: Final = re.compile(r"[-:]\d+x?\d*b(-|:|$)")
"""`-7b-`, `:24b`: weights that anybody may serve."""
_NOT_SOLD: Final = {"openai": re.compile(r"gpt-oss")}
"""Open weights whose maker has no price for them: what answered was somebody else's server of the same protocol."""

_AWS_PLACE: Final = re.compile(r"^(?:converse|invoke|[a-z]{2}(?:-gov)?-[a-z]+-\d)$")
_VERTEX: Final = re.compile(r"(?:^|/)publishers/([a-z0-9-]+)/models/([^/]+)$")
_TUNED: Final = re.compile(r"^(ft:[^:]+):.")
"""`ft:gpt-4o-2024-08-06:my-org::id`: what OpenAI takes for a tuned model depends on the model that was tuned."""
_PREFIX: Final = re.compile(r"^([a-z0-9._-]+)[/:](.+)$")
_MODELS: Final = re.compile(r"^(?:tuned)?models/([^/]+)$")

_DATE: Final = r"20[2-4]\d-?(?:0[1-9]|1[0-2])-?(?:0[1-9]|[12]\d|3[01])"
_MONTH: Final = r"2[3-9](?:0[1-9]|1[0-2])"
_PREVIEW_DATE: Final = r"(?:(?:0[1-9]|1[0-2])-(?:(?:0[1-9]|[12]\d|3[01])|20[2-4]\d))"
_SUFFIXES: Final = (
    re.compile(rf"[-@]{_DATE}$"),  # claude-sonnet-4-5-20250929, gpt-4o-2024-08-06, claude-sonnet-4-5@20250929
    re.compile(rf"-{_MONTH}$"),  # magistral-medium-2509
    re.compile(r"-latest$"),
    re.compile(r"@(?:latest|default)$"),  # Vertex
    re.compile(r"-00\d$"),  # Gemini's stable versions
    re.compile(rf"(?<=-preview)-{_PREVIEW_DATE}$"),  # gemini-2.5-flash-lite-preview-09-2025
    re.compile(rf"(?<=pro)-preview-{_PREVIEW_DATE}$"),  # gemini-2.5-pro-preview-06-05
)
_AWS_SUFFIXES: Final = (
    re.compile(r"-v\d(?::\d+)?(?::\d+k)?$"),  # -v1:0, -v2:0:200k
    re.compile(r":\d+$"),  # openai.gpt-oss-120b-1:0
)
_COMPACT_DATE: Final = re.compile(r"-(20[2-4]\d)(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])$")


def provider_of(label: str | None) -> str | None:
    """The provider that a label names, as genai-prices calls it; an unknown label stays as it is, in lower case.

    None for None, and for what only passes calls on (`litellm`).
    """
    if label is None:
        return None
    name = label.strip().lower()
    plain = name.replace("-", "_")
    return None if plain in _PASS_ON else _PROVIDERS.get(plain, name)


def is_claude(name: str) -> bool:
    """Whether this is a model of Anthropic's, whoever serves it."""
    return "claude" in name.lower()


_LONGEST: Final = 256
"""Characters of a name that is taken apart; a record's has 200 at most. Each part taken off costs the length again."""


@lru_cache(maxsize=_MOST)
def candidates(model_name: str, provider: str | None = None) -> tuple[Candidate, ...]:
    """The names that this one may stand for, most exact first; each is to be looked up as it is.

    Args:
        model_name: as the record has it.
        provider: as the record has it; it outranks what the name says, but for what only passes calls on.
    """
    name = model_name.strip().lower()
    given = provider_of(provider)
    if len(name) > _LONGEST:
        return (Candidate(name, given),)
    if given in _GATEWAYS:
        return tuple(dict.fromkeys(Candidate(each, given) for each in (_without(name, f"{given}/"), name)))
    found = dict.fromkeys(_of_name(name, given))
    return tuple(one for one in found if not _is_not_sold(one))


def _of_name(name: str, given: str | None) -> Iterator[Candidate]:
    if name.startswith("arn:"):  # arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.anthropic.claude-…
        if ":bedrock:" in name and "/" in name:
            yield Candidate(name.rpartition("/")[2], given or "aws")
        return
    vertex = _VERTEX.search(name)
    if vertex is not None:
        yield Candidate(vertex[2], given or "google")
        return
    listed = _MODELS.match(name)
    if listed is not None:
        yield Candidate(listed[1], given or "google")
        return
    yield Candidate(name, given if given is not None else _maker(name))
    tuned = _TUNED.match(name)
    if tuned is not None:
        yield Candidate(tuned[1], given if given is not None else _maker(tuned[1]))
    yield from _of_prefix(name, given)


def _of_prefix(name: str, given: str | None) -> Iterator[Candidate]:
    """`anthropic/claude-…`, `bedrock/us-east-1/anthropic.claude-…`, `openrouter/openai/gpt-…`, `vertex_ai/claude-…`.

    And with a colon, as pydantic-ai and LangChain write it: `anthropic:claude-…`.
    """
    found = _PREFIX.match(name)
    if found is None:
        return
    prefix, rest = found.groups()
    meant = provider_of(prefix)
    if meant is None:  # litellm/…
        yield from _of_name(rest, given)
        return
    if meant not in _GOES_BY or (given is not None and given != meant):
        return
    if meant in _GATEWAYS:
        yield Candidate(rest, meant)
        return
    parts = rest.split("/")
    while meant == "aws" and len(parts) > 1 and _AWS_PLACE.match(parts[0]):
        parts = parts[1:]
    yield Candidate("/".join(parts), meant)


def _maker(name: str) -> str | None:
    if _OF_A_SIZE.search(name) and "." not in name:
        return None
    return next((provider for provider, pattern in _MAKERS if pattern.match(name)), None)


def _is_not_sold(one: Candidate) -> bool:
    pattern = _NOT_SOLD.get(one.provider or "")
    return pattern is not None and pattern.match(one.name) is not None


def _without(name: str, prefix: str) -> str:
    return name[len(prefix) :] if name.startswith(prefix) and len(name) > len(prefix) else name


@lru_cache(maxsize=_MOST)
def spellings(name: str, provider: str | None = None) -> tuple[str, ...]:
    """This name, and what is left of it without dates, versions and (Bedrock) region and vendor; the longest first.

    All of them name the same model, so that a list which has any of them knows it; but a list which has a date of its
    own must be asked for that first.
    """
    if len(name) > _LONGEST:
        return (name,)
    suffixes = (*_SUFFIXES, *_AWS_SUFFIXES) if provider == "aws" else _SUFFIXES
    found = _undated(name, suffixes)
    dashed = _COMPACT_DATE.sub(r"-\1-\2-\3", name)
    found.update(dict.fromkeys([dashed]))
    if provider == "aws":
        for one in tuple(found):
            found.update(dict.fromkeys([re.sub(f"^{_REGIONS}", "", one), _VENDOR.sub("", one)]))
    return tuple(sorted(found, key=len, reverse=True))


def _undated(name: str, suffixes: tuple[re.Pattern[str], ...]) -> dict[str, None]:
    """The name and all that is left of it without its endings; each is looked at once, however it came about."""
    found: dict[str, None] = {name: None}
    waiting = [name]
    while waiting:
        one = waiting.pop()
        for pattern in suffixes:
            shorter = pattern.sub("", one)
            if shorter and shorter not in found:
                found[shorter] = None
                waiting.append(shorter)
    return found
