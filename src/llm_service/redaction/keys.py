"""Which names announce a secret: `password`, `apiKey`, `X-Api-Key`, `refresh_token`; not `max_tokens` or `cost_usd`."""

import re
from typing import Final

__all__ = ["holds_secret"]

_SEPARATORS: Final = re.compile(r"[\s_.\-/]+")
_SECRET: Final = re.compile(
    r"(?:pass(?:word|wd|phrase)s?|pwd|secrets?|credentials?|authorization|(?:set)?cookies?"
    r"|(?:api|access|account|private|secret|signing|encryption|master|subscription|auth|service|sharedaccess)keys?"
    r"|(?:access|refresh|auth|api|id|session|bearer|security)tokens|token)\Z"
)
# What a language model or a page of results calls a token is none that opens a door.
_HARMLESS: Final = re.compile(
    r"(?:cost|(?:eos|bos|pad|unk|sep|cls|mask|stop|start|end|first|last|next|previous|per|page|continuation|special"
    r"|pretoken|sync)token\Z)"
)


def holds_secret(name: str, value: object = "") -> bool:
    """Whether a value of this name is a secret as a whole.

    Numbers of tokens are counts and stay, and so does what no secret can be: None, a bool, an empty text.
    """
    if value is None or isinstance(value, bool) or (isinstance(value, str) and not value):
        return False
    plain = _SEPARATORS.sub("", name).lower()
    if _SECRET.search(plain) is None or _HARMLESS.search(plain) is not None:
        return False
    return not (isinstance(value, int | float) and "token" in plain)
