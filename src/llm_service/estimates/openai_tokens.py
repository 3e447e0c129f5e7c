"""Exact token counts of OpenAI's models, offline, by toktok (the extra `tokens`).

Only OpenAI publishes its encodings: other models are not counted. benchmarks/TRIED.md compares toktok with other
offline tokenizers. Only this module uses it, behind `Tokenizer`.
"""

from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec
from typing import Final

__all__ = ["OpenAITokenizer", "encoding_of"]

# Encodings by model, as published by OpenAI (tiktoken 0.14.0, tiktoken/model.py). Encodings older than cl100k_base
# belong to retired models.
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
"""Prefixes of OpenAI's models at gateways; after another prefix, a name may be any model."""


@lru_cache(maxsize=1024)
def encoding_of(model: str) -> str | None:
    """The encoding of an OpenAI model; None for any other model."""
    name = model.lower()
    for prefix in _PREFIXES:
        name = name.removeprefix(prefix)
    found = _EXACT.get(name)
    if found is not None:
        return found
    return next((encoding for beginning, encoding in _BEGINNINGS if name.startswith(beginning)), None)


class OpenAITokenizer:
    """Counts with toktok, if it is installed. Thread-safe.

    The first count of an encoding takes 0.1 to 0.3 s, later ones 12 us for 480 characters [measured].
    """

    def __init__(self) -> None:
        self._installed = find_spec("toktok") is not None
        self._loaded: set[str] = set()

    def is_slow(self, model: str | None) -> bool:
        """Whether the next count for this model must load its vocabulary first."""
        if not self._installed or model is None:
            return False
        encoding = encoding_of(model)
        return encoding is not None and encoding not in self._loaded

    def count(self, text: str, model: str) -> int | None:
        """The tokens of a text, with chat markup counted as text; None without toktok or for other models."""
        encoding = encoding_of(model) if self._installed else None
        if encoding is None:
            return None
        # An optional extra of 4 MB: imported at the first count.
        batch_count = import_module("toktok").batch_count
        try:
            (tokens,) = batch_count([text], encoding, threads=1)
        except UnicodeEncodeError:  # lone surrogates, such as half of an emoji: as they are sent, and stored
            repaired = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
            (tokens,) = batch_count([repaired], encoding, threads=1)
        self._loaded.add(encoding)
        return int(tokens)
