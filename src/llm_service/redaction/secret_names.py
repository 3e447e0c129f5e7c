"""Which names announce a secret: `password`, `apiKey`, `X-Api-Key`, `refresh_token`; not `max_tokens` or `cost_usd`."""

import re
from functools import lru_cache
from itertools import pairwise
from typing import Final, cast

__all__ = ["SPOKEN", "holds_secret", "looks_drawn"]

_LONGEST_NAME: Final = 256
"""Of a longer name the end decides."""
_SEPARATORS: Final = r"[\s_.\-/]{1,256}+"
_ANNOUNCING: Final = (
    r"(?:pass(?:word|wd|phrase|code)s?|pwd|secrets?|credentials?|authorization|(?:set)?cookies?|cookiejar"
    r"|(?:api|app|access|account|private|secret|signing|encryption|master|subscription|auth|service|sharedaccess|client"
    r"|application|functions|license|openai|azure|anthropic|gemini|google|mistral|cohere|groq|deepseek|xai|huggingface|hf"
    r"|together|fireworks|openrouter|perplexity|replicate|nvidia|cerebras|elevenlabs|bedrock|stripe|datadog)keys?"
    r"|(?:access|refresh|auth|api|id|session|bearer|security)tokens|token)\Z"
)
# What a language model or a page of results calls a token is none that opens a door.
_HARMLESS: Final = (
    r"cost|(?:eos|bos|pad|unk|sep|cls|mask|stop|start|end|first|last|next|previous|per|page|continuation|special"
    r"|pretoken|sync|top|bytes|output|input|prompt|completion|generated|sampled|chosen|cursor)token\Z"
)
# A text that speaks of a field is none that belongs into it: `{"password": "must be at least 8 characters"}`.
SPOKEN: Final = (
    r"(?i:must|is|was|are|should|cannot|could|may|has|needs?|field|value|invalid|incorrect|wrong|missing|required|expired|too"
    r"|at\sleast|not|please|string|input|unknown|(?:this|the|your|no)\s(?:field|value|password|key|token|secret|api))\s"
)
_COUNTED: Final = r"(?:s|token|cookie|authorization)\Z"
_DIRECTORY: Final = r"(?:~|[A-Za-z]:)?[/\\]"
_MODES: Final = frozenset({"include", "same-origin", "omit"})
"""What `credentials` may be in a request of the Fetch standard."""


@lru_cache(maxsize=8)
def _compiled(expression: str) -> re.Pattern[str]:
    return re.compile(expression)  # on first use: an import shall not pay for it


def holds_secret(name: str, value: object = "x") -> bool:
    """Whether a value of this name is a secret as a whole.

    Counts stay (a number under a name in the plural, or that names tokens), and so does what no secret can be: None, a
    bool, 0 and 1, an empty text or collection, a text that speaks of the field, the working directory.
    A mere `token` is a language model's unless its value looks drawn at random.
    """
    if (
        value is None
        or isinstance(value, bool)
        or value in (0, 1)
        or (isinstance(value, str | list | tuple | dict) and not value)
    ):
        return False
    plain = _compiled(_SEPARATORS).sub("", name[-_LONGEST_NAME:]).lower()
    if _compiled(_ANNOUNCING).search(plain) is None or _compiled(_HARMLESS).search(plain) is not None:
        return False
    if isinstance(value, list):
        parts = cast("list[object]", value)
        if all(isinstance(part, int | float) for part in parts):
            value = parts[0]
    if isinstance(value, int | float):
        return _compiled(_COUNTED).search(plain) is None
    if isinstance(value, str) and (_compiled(SPOKEN).match(value) is not None or _is_no_text_of(plain, value)):
        return False
    return plain != "token" or (isinstance(value, str) and looks_drawn(value))


def _is_no_text_of(plain: str, value: str) -> bool:
    """Whether the name means something else: `PWD` a directory, `credentials` a mode."""
    if plain in ("pwd", "oldpwd"):
        return _compiled(_DIRECTORY).match(value) is not None
    return plain == "credentials" and value in _MODES


def looks_drawn(text: str) -> bool:
    """Whether a text looks drawn at random rather than written: long, without a space, with digits among letters.

    No token of a language model does, nor the words, numbers and identifiers that a grammar calls tokens.
    """
    seen = text[:_LONGEST_NAME]
    if len(seen) < 8 or not seen.isascii() or len(seen.split(maxsplit=1)) != 1 or seen != seen.strip():
        return False
    digits = sum(map(str.isdigit, seen))
    letters = sum(map(str.isalpha, seen))
    changes = sum(one.isdigit() != other.isdigit() for one, other in pairwise(seen))
    return letters >= 2 and digits >= 2 and (changes >= 3 or len(seen) >= 20)
