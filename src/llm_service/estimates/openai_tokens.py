"""Exact token counts of OpenAI's models, offline, by toktok (the extra `tokens`).

Only OpenAI publishes the encodings of its models: of any other model nothing is counted here. toktok was chosen among
what counts without a network: benchmarks/TRIED.md has the comparison. It is in one place, behind `Tokenizer`.
"""

from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec
from typing import Final

__all__ = ["OpenAITokenizer", "encoding_of"]

# Which model has which encoding, as OpenAI publishes it (tiktoken 0.14.0, tiktoken/model.py). The vocabularies older
# than cl100k_base belong to models that are switched off.
_EXACT: Final = {
    "o1": "o200k_base",
    "o3": "o200k_base",
    "o4-mini": "o200k_base",
    "gpt-4.1": "o200k_base",
    "gpt-4o": "o200k_base",
    "gpt-4": "cl100k_base",
    "gpt-3.5": "cl100k_base",
    "gpt-3.5-turbo": "cl100k_base",
    "gpt-35-turbo": "cl100k_base",  # as Azure spells it
    "davinci-002": "cl100k_base",
    "babbage-002": "cl100k_base",
    "text-embedding-ada-002": "cl100k_base",
    "text-embedding-3-small": "cl100k_base",
    "text-embedding-3-large": "cl100k_base",
}
_BEGINNINGS: Final = (
    ("o1-", "o200k_base"),
    ("o3-", "o200k_base"),
    ("o4-mini-", "o200k_base"),
    ("gpt-5", "o200k_base"),
    ("gpt-4.5-", "o200k_base"),
    ("gpt-4.1-", "o200k_base"),
    ("chatgpt-4o-", "o200k_base"),
    ("gpt-4o-", "o200k_base"),
    ("gpt-4-", "cl100k_base"),
    ("gpt-3.5-turbo-", "cl100k_base"),
    ("gpt-35-turbo-", "cl100k_base"),
    ("gpt-oss-", "o200k_harmony"),
    ("ft:gpt-4o", "o200k_base"),
    ("ft:gpt-4", "cl100k_base"),
    ("ft:gpt-3.5-turbo", "cl100k_base"),
)
_PREFIXES: Final = ("openai/", "azure/", "openrouter/openai/", "openai:", "azure:")
"""How gateways name OpenAI's models; behind another prefix, a name may be anybody's model."""


@lru_cache(maxsize=1024)
def encoding_of(model: str) -> str | None:
    """The encoding of a model of OpenAI; None for any other."""
    name = model.lower()
    for prefix in _PREFIXES:
        name = name.removeprefix(prefix)
    found = _EXACT.get(name)
    if found is not None:
        return found
    return next((encoding for beginning, encoding in _BEGINNINGS if name.startswith(beginning)), None)


class OpenAITokenizer:
    """Counts with toktok where it is installed. Safe from several threads.

    The first count of an encoding takes 0.1 to 0.3 s, later ones 12 us for 480 characters [measured].
    """

    def __init__(self) -> None:
        self._installed = find_spec("toktok") is not None
        self._loaded: set[str] = set()

    def is_slow(self, model: str | None) -> bool:
        """Whether the next count for this model has to load its vocabulary first."""
        if not self._installed or model is None:
            return False
        encoding = encoding_of(model)
        return encoding is not None and encoding not in self._loaded

    def count(self, text: str, model: str) -> int | None:
        """The tokens of a text, markup of the chat format counted as text; None without toktok or for other models."""
        encoding = encoding_of(model) if self._installed else None
        if encoding is None:
            return None
        # An optional extra, and 4 MB of it: imported where the first text is counted.
        (tokens,) = import_module("toktok").batch_count([text], encoding, threads=1)
        self._loaded.add(encoding)
        return int(tokens)
