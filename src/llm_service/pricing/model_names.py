"""Model names as they arrive, and the exact names they may stand for: never the nearest one.

A record names a model as its provider, a gateway or a cloud does: `claude-sonnet-4-5-20250929`,
`anthropic/claude-sonnet-4-5`, `us.anthropic.claude-sonnet-4-5-20250929-v1:0`, `models/gemini-2.5-pro`, an ARN, a Vertex
resource. Only parts that are known not to name a model are removed: the path of a provider, a region, a date, a
Bedrock version. Everything else stays: a name that is in no list after that is unknown.
"""

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Final, NamedTuple

from llm_service.pricing.sellers import GEMINI, GOOGLE, VERTEX, api_of, is_prefix, provider_of

__all__ = [
    "PROFILES",
    "SELLERS",
    "Candidate",
    "candidates",
    "explicit_seller",
    "is_claude",
    "provider_of",
    "seller_of_form",
    "spellings",
]

_MOST: Final = 4096


class Candidate(NamedTuple):
    """A name at one provider, in lower case; the provider is None if unknown.

    `region` comes from outside the name: a region of AWS, a location of Vertex AI, a zone of Azure. That of a Bedrock
    profile (`eu.`) is part of the name. `api` distinguishes Google's two sellers.
    """

    name: str
    provider: str | None
    region: str | None = None
    api: str | None = None


_GATEWAYS: Final = frozenset({"openrouter"})
"""Gateways that sell models under names with the maker's prefix, at their own prices."""

PROFILES: Final = "us|eu|apac|au|jp|ca|in|sa|me|af|uk|il|mx|us-gov|global"
"""A pattern of the region prefixes of Bedrock's inference profiles."""
_REGIONS: Final = rf"(?:{PROFILES})\."
_VENDORS: Final = (
    r"(?:ai21|amazon|anthropic|cohere|deepseek|google|meta|minimax|mistral|moonshot|moonshotai|nvidia|openai|qwen|writer"
    r"|zai)\."
)
_VENDOR: Final = re.compile(rf"^(?:{_REGIONS})?{_VENDORS}(?=[a-z])")

# Names that imply their maker as the provider: of models whose weights nobody else has, and, where they were published,
# those that only the maker's API has for them. Anybody may serve weights, under their bare name, at any price:
# https://ollama.com/library/command-r, https://ollama.com/library/mistral-large, https://huggingface.co/mistralai,
# https://huggingface.co/CohereLabs, https://huggingface.co/xai-org/grok-2, https://huggingface.co/voyageai/voyage-4-nano.
_OF_THE_API: Final = r"-(latest|2\d(0[1-9]|1[0-2]))$"
"""Mistral's API has `mistral-large-2411` for the weights `Mistral-Large-Instruct-2411`, Cohere's `command-r-08-2024`
for `c4ai-command-r-08-2024`. Later weights have the API's names (`Magistral-Small-2509`): none of them is here."""
_MAKERS: Final = (
    ("anthropic", re.compile(r"claude-")),
    (
        "openai",
        re.compile(r"(gpt-(?!oss)|chatgpt-|o[134](-|$)|text-embedding-(3|ada)|codex-mini|computer-use|ft:gpt-)"),
    ),
    ("google", re.compile(r"gemini-")),
    ("x-ai", re.compile(r"grok-(?![12]$|2\.5)")),
    ("deepseek", re.compile(r"deepseek-(chat|reasoner|flash)$")),
    (
        "mistral",
        re.compile(
            r"(mistral-(medium(-3([.-]1)?)?|tiny|saba)|magistral-medium)$|codestral-embed(-|$)|open-mi[sx]tral-"
        ),
    ),
    (
        "mistral",
        re.compile(rf"(mistral-(large|medium|small|tiny|saba)|codestral|magistral-medium|pixtral-large){_OF_THE_API}"),
    ),
    ("cohere", re.compile(r"command-(light|nightly|(r|r-plus|r7b|a)-(0[1-9]|1[0-2])-20\d\d)$")),
    ("perplexity", re.compile(r"sonar(-|$)")),
    ("voyageai", re.compile(r"voyage-(?!.*nano)")),
)
# Names in a form that only one seller uses.
SELLERS: Final = (
    ("aws", re.compile(rf"(?:{_REGIONS})?{_VENDORS}[a-z]")),
    ("cloudflare", re.compile(r"@cf/")),
    ("databricks", re.compile(r"databricks-|system\.ai\.")),
    ("fireworks", re.compile(r"accounts/fireworks/")),
    (GOOGLE, re.compile(r"claude-[^/]+@")),  # Vertex AI
    ("openrouter", re.compile(r"[^:]+:(beta|exacto|extended|floor|free|nitro|online|thinking)$")),
)
_OF_A_SIZE: Final = re.compile(r"[-:]\d+x?\d*b(-|:|$)")
"""`-7b-`, `:24b`: open weights that anybody may serve."""
_NOT_SOLD: Final = {"openai": re.compile(r"gpt-oss")}
"""Open weights that their maker does not sell: the call went to another server with the same protocol."""

_AWS_ROUTES: Final = frozenset({"converse", "converse_like", "invoke"})
_AWS_REGION: Final = re.compile(r"^[a-z]{2,4}(?:-[a-z]+)+-\d+$")
_ARN: Final = re.compile(r"^arn:(aws[a-z-]*):bedrock:([a-z0-9-]*):\d*:(?:inference-profile|foundation-model)/([^/]+)$")
"""Other ARNs do not end with a model name."""
_AZURE_ZONES: Final = frozenset({"apac", "eu", "global", "global-standard", "regional", "us", "us-gov"})
"""LiteLLM's prefixes of deployments: `azure/eu/gpt-4o`."""
_VERTEX: Final = re.compile(r"(?:^|/)publishers/([a-z0-9-]+)/models/([^/]+)$")
_GOOGLE_LOCATION: Final = re.compile(r"^(?:global|us|eu|[a-z]+-[a-z]+\d+)$")
_LOCATION: Final = re.compile(r"(?:^|/)locations/([a-z0-9-]+)/")
_CONTEXT: Final = re.compile(r"\[1m\]$")
"""`claude-opus-5-5[1m]`: Claude Code's name with long context, which is priced by the length of the prompt."""
_TUNED: Final = re.compile(r"^(ft:[^:]+):.")
"""`ft:gpt-4o-2024-08-06:my-org::id`: the price of a tuned OpenAI model depends on its base model."""
_TUNED_VERSION: Final = re.compile(r"(?<=^ft:gpt-3\.5-turbo)-\d{4}$")
"""All tuned versions of GPT-3.5 have the same price: https://openai.com/api/pricing/."""
_ROUTES: Final = {
    "openai": frozenset({"responses"}),
    "azure": frozenset({"responses", "o_series", "gpt5_series"}),
}
"""LiteLLM's prefixes that select an API or parameters: https://docs.litellm.ai/docs/response_api."""
_PREFIX: Final = re.compile(r"^([a-z0-9._-]+)[/:](.+)$")
_MODELS: Final = re.compile(r"^(?:tuned)?models/([^/]+)$")

_DATE: Final = r"20[2-4]\d-?(?:0[1-9]|1[0-2])-?(?:0[1-9]|[12]\d|3[01])"
_MONTH: Final = r"2[3-9](?:0[1-9]|1[0-2])"
_PREVIEW_DATE: Final = r"(?:(?:0[1-9]|1[0-2])-(?:(?:0[1-9]|[12]\d|3[01])|20[2-4]\d))"
_SUFFIXES: Final = (
    re.compile(rf"[-@]{_DATE}$"),  # claude-sonnet-4-5-20250929, gpt-4o-2024-08-06, claude-sonnet-4-5@20250929
    re.compile(rf"-{_MONTH}$"),  # magistral-medium-2509
    re.compile(rf"-v2@{_DATE}$"),  # Vertex: claude-3-5-sonnet-v2@20241022
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


def is_claude(name: str) -> bool:
    """Whether this is a model of Anthropic, at any seller."""
    return "claude" in name.lower()


_LONGEST: Final = 256
"""Longest name that is parsed; those of records have at most 200 characters. Time grows with length and parts."""


@lru_cache(maxsize=_MOST)
def candidates(model_name: str, provider: str | None = None) -> tuple[Candidate, ...]:
    """The names that this one may stand for, most exact first; each is to be looked up exactly.

    Args:
        model_name: as in the record.
        provider: as in the record; it overrides the name's prefix, unless it only forwards calls (`litellm`).
    """
    name = model_name.strip().lower()
    if is_claude(name):
        name = _CONTEXT.sub("", name)
    given = provider_of(provider)
    if len(name) > _LONGEST:
        return (Candidate(name, given),)
    if given in _GATEWAYS:
        return tuple(dict.fromkeys(Candidate(each, given) for each in (_without(name, f"{given}/"), name)))
    found = dict.fromkeys(_of_name(name, given, api_of(provider)))
    return tuple(one for one in found if not _is_not_sold(one))


def _of_name(name: str, given: str | None, api: str | None) -> Iterator[Candidate]:
    if name.startswith("arn:"):  # arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.anthropic.claude-…
        resource = _ARN.match(name)
        if resource is not None:
            partition, region, named = resource.groups()
            yield Candidate(named, given or "aws", region or (None if partition == "aws" else partition[4:]))
        return
    vertex = _VERTEX.search(name)
    if vertex is not None:
        location = _LOCATION.search(name)
        yield Candidate(vertex[2], given or GOOGLE, None if location is None else location[1], VERTEX)
        return
    listed = _MODELS.match(name)
    if listed is not None:
        yield Candidate(listed[1], given or GOOGLE, None, api or GEMINI)
        return
    yield from _at_seller(name, given if given is not None else _maker(name), api)
    yield from _of_prefix(name, given, api)


def _of_prefix(name: str, given: str | None, api: str | None) -> Iterator[Candidate]:
    """`anthropic/claude-…`, `bedrock/us-east-1/anthropic.claude-…`, `openrouter/openai/gpt-…`, `vertex_ai/claude-…`.

    Also with a colon, as in pydantic-ai and LangChain: `anthropic:claude-…`.
    """
    found = _PREFIX.match(name)
    if found is None:
        return
    prefix, rest = found.groups()
    meant = provider_of(prefix)
    if meant is None:  # litellm/…
        yield from _of_name(rest, given, api)
    elif not is_prefix(prefix) or (given is not None and given != meant):
        return
    elif meant in _GATEWAYS:
        yield Candidate(rest, meant)
    else:
        yield from _at_seller(rest, meant, api or api_of(prefix))


def _at_seller(name: str, seller: str | None, api: str | None) -> Iterator[Candidate]:
    """A name in a seller's form, which may have a region prefix."""
    parts = name.split("/")
    region = None
    if seller == "aws":
        while len(parts) > 1 and (parts[0] in _AWS_ROUTES or _AWS_REGION.match(parts[0])):
            first = parts.pop(0)
            region = region if first in _AWS_ROUTES else first
        rest = "/".join(parts)
        if rest.startswith("arn:"):
            yield from _of_name(rest, seller, None)
        else:
            yield Candidate(rest, seller, region)
    elif seller in _ROUTES and len(parts) > 1 and parts[0] in _ROUTES[seller]:
        yield from _at_seller("/".join(parts[1:]), seller, api)
    elif seller == "azure" and len(parts) > 1 and parts[0] in _AZURE_ZONES:
        yield Candidate("/".join(parts[1:]), seller, parts[0])
    elif seller == "huggingface":
        yield _at_hugging_face(name)
    elif seller == GOOGLE and len(parts) == 2 and _GOOGLE_LOCATION.match(parts[0]):
        yield Candidate(parts[1], seller, parts[0], VERTEX)
    elif seller == GOOGLE:
        yield Candidate(name, seller, None, api or (VERTEX if "@" in name else None))
    else:
        yield Candidate(name, seller)
        tuned = _TUNED.match(name)
        if tuned is not None:
            yield Candidate(tuned[1], seller)
            yield Candidate(_TUNED_VERSION.sub("", tuned[1]), seller)
        if seller == "fireworks" and len(parts) == 1:  # LiteLLM: fireworks_ai/deepseek-v3
            yield Candidate(f"accounts/fireworks/models/{name}", seller)


def _at_hugging_face(name: str) -> Candidate:
    """The seller is a prefix (LiteLLM: `together/org/model`) or a suffix (`org/model:together`)."""
    before, _, rest = name.partition("/")
    if "/" in rest:
        return Candidate(rest, f"huggingface_{before}")
    model, _, behind = name.rpartition(":")
    return Candidate(model, f"huggingface_{behind}") if model else Candidate(name, "huggingface")


def seller_of_form(name: str) -> str | None:
    """Whose the form of a name in lower case is, whoever made the model; None where anybody may use it."""
    return next((seller for seller, pattern in SELLERS if pattern.match(name)), None)


def explicit_seller(name: str) -> str | None:
    """The label of the seller that a name says by its form or its prefix (`openrouter/…`, `bedrock/…`); else None."""
    name = name.strip().lower()
    if _VERTEX.search(name) is not None:
        return "vertex_ai"
    found = _PREFIX.match(name)
    if found is not None and is_prefix(found[1]):
        return found[1]
    form = seller_of_form(name)
    return "vertex_ai" if form == GOOGLE else form


def _maker(name: str) -> str | None:
    seller = seller_of_form(name)
    if seller is not None:
        return seller
    if _OF_A_SIZE.search(name):
        return None
    return next((provider for provider, pattern in _MAKERS if pattern.match(name)), None)


def _is_not_sold(one: Candidate) -> bool:
    pattern = _NOT_SOLD.get(one.provider or "")
    return pattern is not None and pattern.match(one.name) is not None


def _without(name: str, prefix: str) -> str:
    return name[len(prefix) :] if name.startswith(prefix) and len(name) > len(prefix) else name


@lru_cache(maxsize=_MOST)
def spellings(name: str, provider: str | None = None) -> tuple[str, ...]:
    """This name, and the same without dates, versions and (Bedrock) region and vendor; longest first.

    All of them name the same model, so any of them may be in a list; the dated name must be looked up first.
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
    """The name and all its shorter forms without suffixes, each once."""
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
