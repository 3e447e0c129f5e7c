"""The usual spelling of a path: some providers tell a count again, or only, under a name that says the same.

Mistral has `num_cached_tokens` and `prompt_token_details.cached_tokens` beside `prompt_tokens_details.cached_tokens`
(https://docs.mistral.ai/api/), Writer `prompt_token_details` alone
(https://github.com/writer/writer-python/blob/main/src/writerai/types/chat_completion_usage.py). Read as the usual one,
equal counts are one, and different ones a contradiction. A name that says less (`precached_tokens`) stays unknown.
"""

import re
from functools import lru_cache
from typing import Final

from llm_service.pricing.usage.leaves import Leaf
from llm_service.pricing.usage.numbers import as_number
from llm_service.pricing.usage.shapes import SHAPES

__all__ = ["in_usual_spelling", "usual"]

_KNOWN: Final = frozenset(path for shape in SHAPES for path in shape.roles)
_COUNTED_BEFORE: Final = re.compile(r"^(?:num|n|nr|number_of)_(?=.*tokens?$)")
_COUNTED_AFTER: Final = re.compile(r"(?<=_)tokens?_count$")
_DETAILS: Final = re.compile(r"(?<=_)tokens?_details?$")
_ONE: Final = re.compile(r"(?<=_)token$")


def in_usual_spelling(leaves: list[Leaf]) -> list[Leaf]:
    """The values of a report, by the paths of the table where theirs say the same; not where they say another value."""
    paths = [usual(leaf.path) for leaf in leaves]
    if all(path == leaf.path for path, leaf in zip(paths, leaves, strict=True)):
        return leaves
    told = {leaf.path: leaf.value for leaf in leaves}
    return [
        leaf._replace(path=path)
        if path != leaf.path and as_number(told.setdefault(path, leaf.value)) == as_number(leaf.value)
        else leaf
        for path, leaf in zip(paths, leaves, strict=True)
    ]


@lru_cache(maxsize=1024)
def usual(path: str) -> str:
    """The path of the table that says the same; the path itself if none does."""
    if path in _KNOWN:
        return path
    spelled = ".".join(map(_plain, path.split(".")))
    return spelled if spelled in _KNOWN else path


def _plain(name: str) -> str:
    """A name without what says that it is a count, in the plural."""
    name = _DETAILS.sub("tokens_details", name)
    return _ONE.sub("tokens", _COUNTED_AFTER.sub("tokens", _COUNTED_BEFORE.sub("", name)))
