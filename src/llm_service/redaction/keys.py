"""Which names announce a secret: `password`, `apiKey`, `X-Api-Key`, `refresh_token`; not `max_tokens` or `cost_usd`."""

import re
from functools import lru_cache
from typing import Final

__all__ = ["holds_secret"]

_SEPARATORS: Final = r"[\s_.\-/]+"
_ANNOUNCING: Final = (
    r"(?:pass(?:word|wd|phrase)s?|pwd|secrets?|credentials?|authorization|(?:set)?cookies?"
    r"|(?:api|access|account|private|secret|signing|encryption|master|subscription|auth|service|sharedaccess)keys?"
    r"|(?:access|refresh|auth|api|id|session|bearer|security)tokens|token)\Z"
)
# What a language model or a page of results calls a token is none that opens a door.
_HARMLESS: Final = (
    r"cost|(?:eos|bos|pad|unk|sep|cls|mask|stop|start|end|first|last|next|previous|per|page|continuation|special"
    r"|pretoken|sync)token\Z"
)


@lru_cache(maxsize=4)
def _compiled(expression: str) -> re.Pattern[str]:
    return re.compile(expression)  # on first use: an import shall not pay for it


def holds_secret(name: str, value: object = "x") -> bool:
    """Whether a value of this name is a secret as a whole.

    Numbers of tokens are counts and stay, and so does what no secret can be: None, a bool, an empty text.
    """
    if value is None or isinstance(value, bool) or (isinstance(value, str) and not value):
        return False
    plain = _compiled(_SEPARATORS).sub("", name).lower()
    if _compiled(_ANNOUNCING).search(plain) is None or _compiled(_HARMLESS).search(plain) is not None:
        return False
    return not (isinstance(value, int | float) and "token" in plain)
