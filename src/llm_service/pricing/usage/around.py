"""Finds the usage in an answer or a stream's event, and billed items elsewhere in it.

Searches and other tools that a provider runs have their own fees, which some report only in the answer: OpenAI in the
items of `output` (https://platform.openai.com/docs/pricing#built-in-tools), Gemini in `groundingMetadata`
(https://ai.google.dev/gemini-api/docs/google-search#pricing).
"""

from collections import Counter
from itertools import islice
from typing import Any, Final

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
_FEES: Final = frozenset({"web_search_call", "file_search_call", "code_interpreter_call", "image_generation_call"})
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
    kinds = [child(item, "type") for item in _items(child(answer, "output"))]
    found = Counter(f"output.{kind}" for kind in kinds if isinstance(kind, str) and kind in _FEES)
    for candidate in _items(child(answer, "candidates")):
        grounded = child(candidate, "groundingMetadata") or child(candidate, "grounding_metadata")
        for name in _QUERIES:
            queries = len(_items(child(grounded, name)))
            found.update({f"groundingMetadata.{name}": queries} if queries else {})
    return {name: str(count) for name, count in found.items()}


def _items(value: Any) -> list[Any]:
    try:
        return list(islice(value, _MOST)) if is_list(value) else []
    except Exception:  # noqa: BLE001 - a foreign list may raise anything
        return []
