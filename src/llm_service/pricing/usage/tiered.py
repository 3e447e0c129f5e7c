"""LangChain's details of a service tier with its own prices: `flex`, `flex_cache_read`, `flex_reasoning`.

They replace the plain details (https://github.com/langchain-ai/langchain, `_create_usage_metadata` of
langchain-openai). In a sum of several calls they may cover only a part: then they are unchanged, and no cost is
computed.
"""

import re
from typing import Final

from llm_service.pricing.usage.leaves import Leaf
from llm_service.pricing.usage.numbers import as_number

__all__ = ["with_tier"]

_TIERED: Final = re.compile(r"(input|output)_token_details\.(flex|priority)(?:_(cache_read|reasoning))?")


def with_tier(leaves: list[Leaf]) -> list[Leaf]:
    """The values with the tier added, if all tokens are of one tier."""
    told = {leaf.path: leaf.value for leaf in leaves}
    tiers: set[str] = set()
    sums: dict[str, float] = {"input": 0, "output": 0}
    plain: list[Leaf] = []
    for leaf in leaves:
        match = _TIERED.fullmatch(leaf.path)
        if match is None:
            plain.append(leaf)
            continue
        side, tier, part = match.groups()
        tiers.add(tier)
        sums[side] += as_number(leaf.value) or 0
        plain.append(leaf._replace(path=f"{side}_token_details.{part or 'text_tokens'}"))
    whole = all(count == as_number(told.get(f"{side}_tokens")) for side, count in sums.items())
    if len(tiers) != 1 or not whole or told.get("service_tier", *tiers) not in tiers:
        return leaves
    return [*plain, Leaf("service_tier", "service_tier", *tiers)]
