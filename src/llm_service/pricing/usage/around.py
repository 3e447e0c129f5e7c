"""Finds the usage in an answer or a stream's event, and billed items elsewhere in it.

Searches and other tools that a provider runs have fees of their own, and some tell of them in the answer alone: OpenAI
in the items of `output` (https://platform.openai.com/docs/pricing#built-in-tools), Gemini in `groundingMetadata`
(https://ai.google.dev/gemini-api/docs/pricing), Anthropic in blocks of `content`
(https://platform.claude.com/docs/en/agents-and-tools/tool-use/code-execution-tool#usage-and-pricing), Mistral in
`outputs` (https://docs.mistral.ai/agents/connectors/connectors), Groq in `executed_tools`
(https://console.groq.com/docs/compound). What is known to cost nothing beside tokens is listed; any other tool that the
provider ran makes the cost unknown.
"""

from collections import Counter
from itertools import islice
from typing import Any, Final, cast

from llm_service.pricing.usage.leaves import child, is_list
from llm_service.pricing.usage.leaves import is_container as holds
from llm_service.pricing.usage.shapes import Role

__all__ = ["INSIDE", "unwrapped"]

INSIDE: Final = ("usage", "usage_metadata", "usageMetadata", "token_usage", "amazon-bedrock-invocationMetrics")
"""Keys of the usage in an answer."""
_AROUND: Final = ("message", "response", "metadata", "meta", "x_groq")
"""Keys of an answer, or of a part with the usage, in a stream's event."""
_DEEPEST: Final = 3
_MOST: Final = 256
"""Items of an answer that are read at most."""
_FREE_CALLS: Final = frozenset(
    {
        "function_call", "custom_tool_call", "computer_call", "local_shell_call", "apply_patch_call", "mcp_call",
        "tool_search_call",
    }
)  # fmt: skip
"""Items of OpenAI's `output` that cost nothing beside tokens: the caller, or a server of his, runs them."""
_FREE_TOOLS: Final = ("web_search", "web_fetch", "advisor", "tool_search")
"""What Anthropic's own tools begin with that are counted in the usage, or cost nothing beside tokens."""
_FREE_CHUNKS: Final = frozenset({"web", "retrieved_context", "retrievedContext"})
"""Sources of Gemini's answers whose fee is told by the queries beside them, if there is one."""
_KINDS_OF_CHUNKS: Final = ("web", "maps", "image", "retrieved_context")
_QUERIES: Final = (
    "webSearchQueries",
    "web_search_queries",
    "imageSearchQueries",
    "retrievalQueries",
    "retrieval_queries",
)


def unwrapped(source: Any) -> tuple[Any, dict[Role, str], dict[str, str]]:
    """The usage in an answer or event, the words beside it, and items billed in addition to tokens."""
    return _unwrapped(source, _DEEPEST)


def _unwrapped(source: Any, depth: int) -> tuple[Any, dict[Role, str], dict[str, str]]:
    for name in INSIDE:
        inside = child(source, name)
        if holds(inside):
            return inside, _words(source), _billed(source)
    if depth:
        for name in _AROUND:
            inside = child(source, name)
            if holds(inside):
                found, words, billed = _unwrapped(inside, depth - 1)
                if found is not inside or child(inside, "billed_units") is not None:
                    return found, words, billed
    return source, {}, {}


def _words(answer: Any) -> dict[Role, str]:
    """The service tier and the speed (of Bedrock)."""
    tier = child(answer, "service_tier") or child(answer, "serviceTier")
    tier = child(tier, "type") or tier
    speed = child(child(answer, "performanceConfig") or child(answer, "performance_config"), "latency")
    told: tuple[tuple[Role, Any], ...] = (("tier", tier), ("speed", speed))
    return {role: word for role, word in told if isinstance(word, str)}


def _billed(answer: Any) -> dict[str, str]:
    """Tools that the provider ran, by kind, and how often."""
    found = Counter(f"output.{kind}" for item in _items(child(answer, "output")) if (kind := _fee_of(item)))
    found.update(f"content.{tool}" for item in _items(child(answer, "content")) if (tool := _tool_of(item)))
    found.update(f"outputs.{tool}" for item in _items(child(answer, "outputs")) if (tool := _connector_of(item)))
    for choice in _items(child(answer, "choices")):
        tools = len(_items(child(child(choice, "message"), "executed_tools")))
        found.update({"message.executed_tools": tools} if tools else {})
    for candidate in _items(child(answer, "candidates")):
        grounded = child(candidate, "groundingMetadata") or child(candidate, "grounding_metadata")
        for name in _QUERIES:
            queries = len(_items(child(grounded, name)))
            found.update({f"groundingMetadata.{name}": queries} if queries else {})
        chunks = _items(child(grounded, "groundingChunks") or child(grounded, "grounding_chunks"))
        found.update(f"groundingMetadata.{kind}" for chunk in chunks for kind in _names(chunk) - _FREE_CHUNKS)
    return {name: str(count) for name, count in found.items()}


def _fee_of(item: Any) -> str | None:
    """The kind of an item of OpenAI's that has a fee; a shell has one where it runs in a container of theirs."""
    kind = child(item, "type")
    if not isinstance(kind, str) or not kind.endswith("_call") or kind in _FREE_CALLS:
        return None
    return None if kind == "shell_call" and child(child(item, "environment"), "type") == "local" else kind


def _tool_of(item: Any) -> str | None:
    """The tool that Anthropic ran, where it may have a fee that the usage does not tell."""
    name = child(item, "name")
    if child(item, "type") != "server_tool_use" or not isinstance(name, str) or name.startswith(_FREE_TOOLS):
        return None
    return name


def _connector_of(item: Any) -> str | None:
    """The connector that Mistral ran."""
    name = child(item, "name")
    return name if child(item, "type") == "tool.execution" and isinstance(name, str) else None


def _names(chunk: Any) -> set[str]:
    """What a source of an answer is: its names that hold something."""
    names = list(_KINDS_OF_CHUNKS)
    if type(chunk) is dict:
        held = cast("dict[Any, Any]", chunk)  # type: ignore[redundant-cast]  # for pyright
        names = [str(name) for name in islice(held, _MOST)]
    return {name for name in names if child(chunk, name) is not None}


def _items(value: Any) -> list[Any]:
    try:
        return list(islice(value, _MOST)) if is_list(value) else []
    except Exception:  # noqa: BLE001 - a foreign list may raise anything
        return []
