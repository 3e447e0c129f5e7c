"""The normaliser: turns a report into fields of a record, whose prompt includes cached tokens.

The total decides ambiguous cases: whether the completion includes reasoning, and whether the prompt includes cached
tokens. If the total fits neither way, the counts stay unchanged and no cost is computed from them.
"""

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final, NamedTuple

from llm_service.config.service_tiers import tier_of
from llm_service.pricing.usage.said import Said, unpriced_text
from llm_service.pricing.usage.shapes import GEMINI, Shape

__all__ = ["FIELDS", "fields_of", "nothing"]

FIELDS: Final = (
    "prompt_tokens",
    "completion_tokens",
    "total_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "reasoning_tokens",
    "cache_write_1h_tokens",
    "service_tier",
)
"""The fields that every reader returns; `cost_usd`, `cost_source` and `unpriced_usage` are added if known."""

_TRAFFIC: Final[Mapping[str, str | None]] = {
    # https://docs.cloud.google.com/vertex-ai/generative-ai/docs/reference/rest/v1/GenerateContentResponse#traffictype
    "traffic_type_unspecified": None,
    "on_demand": None,
    "on_demand_flex": "flex",
    "on_demand_priority": "priority",
}

_OUTPUT: Final = re.compile(r"^(details\..*)?(completion|candidates|response|output|prediction)_")
"""Paths of what is within the completion."""
_PROMPT: Final = re.compile(
    r"^((tool_use_)?prompt|input|cached?)_(?!.*\.tool_use_tokens$)|^details\..*(input|prompt|cached?)_"
)
"""Paths of what is within the prompt. That of tools may be beside it; see `shapes`."""
_EITHER: Final = "details.text_tokens"
"""Pydantic AI's, of a prompt, of a completion, or of both."""


class _Counts(NamedTuple):
    """Tokens; None if unknown."""

    prompt: int | None
    completion: int | None
    total: int | None


def nothing() -> dict[str, Any]:
    """The fields of an empty report."""
    return dict.fromkeys(FIELDS)


def fields_of(said: Said, shape: Shape) -> dict[str, Any]:
    """The fields of a record."""
    written = _written(said)
    counts = _settled(said, shape, _counts(said, shape, written), written)
    _check_parts(said, counts, written)
    fields: dict[str, Any] = dict(
        zip(
            FIELDS,
            (
                *counts,
                said.counts.get("read"),
                written,
                said.counts.get("reasoning", said.counts.get("thoughts")),
                said.counts.get("written_1h"),
                _tier(said),
            ),
            strict=True,
        )
    )
    cost = _cost(said)
    if cost is not None:
        fields |= {"cost_usd": float(cost), "cost_source": "reported"}
    unpriced = unpriced_text(said.unpriced)
    if unpriced is not None:
        fields["unpriced_usage"] = unpriced
    return fields


def _written(said: Said) -> int | None:
    """All tokens written to a cache: as reported, or the sum of those for five minutes and for an hour."""
    told = said.counts.get("written")
    if "written_5m" not in said.counts and "written_1h" not in said.counts:
        return told
    parts = said.count("written_5m") + said.count("written_1h")
    if not told:  # LangChain sets it to 0 beside its parts
        return parts if parts or told is None else told
    if parts != told and not ("written_5m" not in said.counts and parts < told):
        said.doubt("cache writes", f"{told}, by how long they are kept {parts}")
    return max(told, parts)


def _counts(said: Said, shape: Shape, written: int | None) -> _Counts:
    """Prompt and completion, with other tokens that are billed as such."""
    prompt, fresh = said.counts.get("prompt"), said.counts.get("fresh")
    cached = said.count("read") + (written or 0)
    if fresh is not None:
        whole = fresh + cached
        if prompt is not None and prompt != whole:
            said.doubt("prompt tokens", f"{prompt}, by their parts {whole}")
        prompt = whole if prompt is None else prompt
    if prompt is not None:
        prompt += said.count("tool_prompt")
    completion = said.counts.get("completion")
    if "thoughts" in said.counts:
        completion = (completion or 0) + said.counts["thoughts"]
    if prompt is None and cached and shape.roles.get("input_tokens") == "fresh":
        said.doubt("prompt tokens", f"not told, beside them {cached} cached")  # the caller may know the prompt
    return _Counts(prompt, completion, said.counts.get("total"))


def _settled(said: Said, shape: Shape, counts: _Counts, written: int | None) -> _Counts:
    """The counts, completed by what the total shows to be missing."""
    prompt, completion, total = counts
    cached = said.count("read") + (written or 0)
    beside = _may_be_beside(said, shape)
    if total is None:
        if beside:
            said.doubt(*beside)
        return counts
    rest = total - (prompt or 0) - (completion or 0)
    # Gemini omits zeros, and others the output of embeddings, which there is none of.
    if rest == 0 and completion is None and (prompt is not None or shape is GEMINI):
        completion = 0
        counts = counts._replace(completion=0)
    if rest < 0:
        return _below(said, counts, cached)
    reasoning = said.count("reasoning")
    if rest and prompt is not None and completion is not None:
        # Tokens that may be missing in prompt and completion: (prompt, completion).
        ways = {(0, reasoning)}
        if "fresh" not in said.counts:
            ways |= {(cached, 0), (cached, reasoning)}
        fitting = [way for way in ways if sum(way) == rest]
        if len(fitting) == 1:
            return _Counts(prompt + fitting[0][0], completion + fitting[0][1], total)
    elif beside and any(path in shape.unsaid for path in said.found.get("read", ())):
        said.doubt(*beside)
    return counts


def _below(said: Said, counts: _Counts, cached: int) -> _Counts:
    """The counts for a total below its parts: some senders leave cached tokens out; else it is a contradiction."""
    fresh, total = said.count("fresh"), counts.total
    left_out = "fresh" in said.counts and "prompt" not in said.counts and total == fresh + (counts.completion or 0)
    # Cached tokens that fit into the prompt may be included in it.
    if not left_out or cached <= fresh:
        said.doubt("total tokens", f"{total}, its parts {(counts.prompt or 0) + (counts.completion or 0)}")
    return counts._replace(total=None)


def _check_parts(said: Said, counts: _Counts, written: int | None) -> None:
    """A part beyond its whole is a contradiction: `text_tokens` beyond the prompt."""
    # Where the cached tokens are beside the prompt, the text of both may be told.
    prompt = None if counts.prompt is None else counts.prompt + said.count("read") + (written or 0)
    for path, count in said.parts.items():
        if _OUTPUT.search(path) is not None:
            whole = counts.completion
        elif _PROMPT.search(path) is not None:
            whole = prompt
        else:
            known = path == _EITHER and None not in (prompt, counts.completion)
            whole = (prompt or 0) + (counts.completion or 0) if known else None
        if whole is not None and count > whole:
            said.doubt(path, f"{count}, beyond its whole {whole}")


def _may_be_beside(said: Said, shape: Shape) -> tuple[str, str] | None:
    """A field of cached tokens that the prompt may include or not; None if the report makes it clear."""
    if "fresh" in said.counts:
        return None
    for role in ("read", "written"):
        found = said.found.get(role, {})
        settled = any(count for path, count in found.items() if path not in shape.either)
        doubtful = [(path, count) for path, count in found.items() if count and path in shape.either]
        if doubtful and not settled:
            path, count = doubtful[0]
            return path, f"{count} (within the prompt or beside it)"
    return None


def _tier(said: Said) -> str | None:
    """The service tier, or a speed or kind of traffic with its own prices."""
    tier = said.words.get("tier")
    others: list[str | None] = []
    if (speed := said.words.get("speed")) is not None:
        others.append(None if tier_of(speed) is None else speed)
    if (traffic := said.words.get("traffic")) is not None:
        others.append(_TRAFFIC.get(traffic.lower(), traffic.lower()))
    told = [one for one in others if one is not None]
    if told and tier_of(tier) not in {None, *told}:
        said.doubt("service tier", f"{tier} and {' and '.join(told)}")
    return told[0] if told else tier


def _cost(said: Said) -> Decimal | None:
    """The cost that the seller reports; it takes precedence over computed prices."""
    ticks, cost = said.money.get("ticks"), said.money.get("cost")
    if ticks is not None and cost is not None and not _near(ticks, cost):
        said.doubt("cost", f"{cost}, in ticks {ticks}")
        return None
    cost = cost if ticks is None else ticks
    upstream = said.money.get("upstream")
    # With the user's own key `cost` is only OpenRouter's fee, a small part of the provider's price
    # (https://openrouter.ai/docs/use-cases/byok); older answers without `is_byok` have `upstream` then.
    if cost is None or said.byok is False or (said.byok is None and not upstream):
        return cost
    if upstream is None:
        said.doubt("is_byok", "the provider's own charge is not told")
    elif said.byok or 2 * cost <= upstream:
        return cost + upstream
    elif _near(cost, upstream):
        return cost
    else:
        said.doubt("cost", f"{cost}, upstream {upstream}, whether by one's own key is not told")
    return None


def _near(one: Decimal, other: Decimal) -> bool:
    """Whether two amounts are equal except for rounding."""
    return abs(one - other) * 100 <= max(one, other)
