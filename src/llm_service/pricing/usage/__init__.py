"""What providers report as usage, turned into fields of a record, whose prompt tokens hold the cached ones.

Each function takes what the provider answered, as a mapping or an object of its client, and returns the fields to give
to `InvocationRecord`, to `call.record_usage(...)`, or as a reader: `usage=lambda answer: openai_usage(answer.usage)`.
A whole answer, or an event of a stream that holds the usage, will do as well. What was not reported is None, and a
reported zero stays 0. None of them raises, whatever it is given.

A report is read by the names that stand in it, so each function reads those of all; its own family is what it takes a
report for that has no name of any. Beside the fields of every record (`rules.FIELDS`) there are, where they were told:

- `cost_usd` and `cost_source="reported"`: what the seller charged.
- `unpriced_usage`: what was billed and is not counted by a record, or contradicts itself: no cost is computed then.
"""

from typing import Any, Final

from llm_service.pricing.usage.iterations import add_iterations, split_iterations
from llm_service.pricing.usage.leaves import UNREAD, Leaf, child, is_container, leaves, snake
from llm_service.pricing.usage.rules import fields_of, nothing
from llm_service.pricing.usage.said import role_of, said_in
from llm_service.pricing.usage.shapes import ANTHROPIC, COHERE, COUNTS, GEMINI, KNOWN, OLLAMA, OPENAI, SHAPES, Shape
from llm_service.pricing.usage.tiered import with_tier

__all__ = [
    "REPORTED",
    "anthropic_usage",
    "bedrock_usage",
    "cohere_usage",
    "gemini_usage",
    "ollama_usage",
    "openai_usage",
    "usage_fields",
]

_INSIDE: Final = ("usage", "usage_metadata", "usageMetadata", "token_usage", "amazon-bedrock-invocationMetrics")
"""Where an answer holds its usage."""
REPORTED: Final = frozenset(path.partition(".")[0] for shape in SHAPES for path in shape.roles) | set(
    map(snake, _INSIDE)
)
"""Names at the top of what providers report, in snake case."""
_AROUND: Final = ("message", "response", "metadata", "meta", "x_groq")
"""What holds an answer, or a part of it with the usage, within an event of a stream."""


def openai_usage(usage: object) -> dict[str, Any]:
    """Of Chat Completions, of Responses, and of what speaks their protocols or follows them.

    The prompt counts what was cached, and the completion what was reasoned. Where the total says that a provider left
    reasoning out of the completion (xAI does), or that a gateway left out of the prompt what was cached, it is added.
    The service tier stands beside the usage: `service_tier=answer.service_tier`, unless a whole answer is given.
    """
    return _read(usage, OPENAI)


def anthropic_usage(usage: object) -> dict[str, Any]:
    """Of Anthropic's Messages: its input counts neither what was read from the cache nor what was written to it.

    `cache_write_tokens` is all that was written, `cache_write_1h_tokens` what of it is kept for an hour and costs more.
    `service_tier` is `standard`, `priority` or `batch`, and `fast` where that speed was used. `iterations` are added
    up.
    """
    return _read(usage, ANTHROPIC)


def gemini_usage(usage: object) -> dict[str, Any]:
    """Of Gemini and Vertex AI (`usage_metadata`): thoughts are added to the output, prompts of tools to the prompt."""
    return _read(usage, GEMINI)


def bedrock_usage(usage: object) -> dict[str, Any]:
    """Of Bedrock: Converse, the headers of InvokeModel, and the metrics at the end of its stream."""
    return _read(usage, ANTHROPIC)


def cohere_usage(usage: object) -> dict[str, Any]:
    """Of Cohere: what it bills (`billed_units`)."""
    return _read(usage, COHERE)


def ollama_usage(usage: object) -> dict[str, Any]:
    """Of Ollama's own interface."""
    return _read(usage, OLLAMA)


def usage_fields(usage: object) -> dict[str, Any]:
    """Of whatever family its names are; see the module for what it takes and gives."""
    return _read(usage, OPENAI)


def _read(usage: object, home: Shape) -> dict[str, Any]:
    if not is_container(usage):
        return nothing()
    source, tier, speed = _unwrapped(usage, 3)
    found = with_tier(leaves(source, KNOWN, COUNTS))
    if all(leaf.name == UNREAD for leaf in found):
        return nothing()
    shape = _recognised(found, home)
    if shape is ANTHROPIC:
        found, iterations = split_iterations(found)
        said = said_in(found, shape)
        add_iterations(said, iterations, shape)
    else:
        said = said_in(found, shape)
    if tier is not None:
        said.words.setdefault("tier", tier)
    if speed is not None:
        said.words.setdefault("speed", speed)
    return fields_of(said, shape)


def _unwrapped(source: Any, depth: int) -> tuple[Any, str | None, str | None]:
    """The usage within an answer or event, and the service tier and the speed (Bedrock's) that stand beside it."""
    for name in _INSIDE:
        inside = child(source, name)
        if is_container(inside):
            tier = child(source, "service_tier") or child(source, "serviceTier")
            tier = child(tier, "type") or tier
            speed = child(child(source, "performanceConfig") or child(source, "performance_config"), "latency")
            return inside, tier if isinstance(tier, str) else None, speed if isinstance(speed, str) else None
    if depth:
        for name in _AROUND:
            inside = child(source, name)
            if is_container(inside):
                found, tier, speed = _unwrapped(inside, depth - 1)
                if found is not inside or child(inside, "billed_units") is not None:
                    return found, tier, speed
    return source, None, None


def _recognised(found: list[Leaf], home: Shape) -> Shape:
    """The family of a report: by names that only it has, else the one it is taken for, where that knows any of it."""
    tops = {leaf.path.partition(".")[0] for leaf in found}
    for shape in SHAPES:
        if not tops.isdisjoint(shape.signs):
            return shape
    knowing = (shape for shape in (home, *SHAPES) if any(role_of(leaf.path, shape.roles) for leaf in found))
    return next(knowing, home)
