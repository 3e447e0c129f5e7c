"""What Pydantic AI tells twice of Gemini's modalities: as details by Gemini's names, and by names of its own.

Its own names stand for counts of other providers as well, where they have other prices; Gemini's have the price of
text (https://ai.pydantic.dev/api/usage/, https://ai.google.dev/gemini-api/docs/pricing). Audio has its own: it stays.
"""

import re
from typing import Final

from llm_service.pricing.usage.leaves import Leaf
from llm_service.pricing.usage.numbers import as_number

__all__ = ["told_once"]

_LIKE_TEXT: Final = "text|image|video|document"
_GEMINIS: Final = re.compile(
    rf"details\.((({_LIKE_TEXT})_(prompt|cache|tool_use_prompt|candidates)|tool_use_prompt)_tokens)"
)
_ITS_OWN: Final = re.compile(r"(input_(image|video)|cache_(image|video)_read|input_((text|image|video)_)?tool)_tokens")
_TOOLS: Final = re.compile(rf"details\.(({_LIKE_TEXT})_)?tool_use_prompt_tokens")
_WITHIN: Final = "input_tool_tokens"
"""Tells that prompts of tools are a part of the prompt; in older releases they are beside it."""


def told_once(leaves: list[Leaf]) -> list[Leaf]:
    """The values of a report without those that are told again."""
    told = {leaf.path for leaf in leaves if as_number(leaf.value)}
    if not any(_GEMINIS.fullmatch(path) for path in told):
        return leaves
    within = _WITHIN in told
    return [leaf for leaf in leaves if not (_ITS_OWN.fullmatch(leaf.path) or (within and _TOOLS.fullmatch(leaf.path)))]
