"""Which names announce a secret: `password`, `apiKey`, `X-Api-Key`, `refresh_token`; not `max_tokens` or `cost_usd`."""

import re
from functools import lru_cache
from itertools import pairwise
from typing import Final, cast
from unicodedata import category, normalize

from llm_service.redaction.name_table import (
    BARE_TOKENS,
    DRAWN,
    HEADERS,
    SECRETS,
    TOKENS,
    WORDS_OF_PASS,
    expression_of,
    suffixed,
)
from llm_service.redaction.value_forms import (
    DIRECTORY,
    DRAWN_VALUE,
    ESCAPED,
    FILE,
    NOT_A_TIME,
    SPOKEN,
    SUFFIXED_KEY,
    SUFFIXED_WORD,
)

__all__ = ["holds_secret", "looks_drawn"]

_LONGEST_NAME: Final = 256
"""Of a longer name the end decides."""
_SEPARATORS: Final = r"[\s_.\-/]{1,256}+"
_LABELLED: Final = " \t\r\n:=?*"
"""What stands behind a name where it is the label of a form: `Password:`, `API key *`."""
_SUBSCRIPTS: Final = r"(?:\[[^\[\]]{0,64}+\]){1,4}+\Z"
_QUOTED_PARTS: Final = r"[\s'\"(){}\[\],]{1,256}+"
_ANNOUNCING: Final = rf"{expression_of((*SECRETS, *TOKENS, *HEADERS))}\Z"
_DOUBTFUL: Final = rf"{expression_of((*BARE_TOKENS, *DRAWN))}\Z"
_SUFFIXED: Final = rf"{suffixed((*SECRETS, *TOKENS, *DRAWN))}\Z"
_SUFFIXED_WORD: Final = rf"{suffixed(WORDS_OF_PASS)}\Z"
_COUNTED: Final = r"(?i:(?<!s)s|token|cookie|authorization)_?[0-9]{0,3}+\Z"
_COST: Final = r"(?:(?<![A-Za-z])(?i:costs?)|(?<=[a-z])Costs?)(?![a-z])"
_COST_OF: Final = rf"{_COST}_?(?i:per|by|of|for|in|each|and)(?![a-z])"
"""Names that name a cost: `cost_per_token`, `apiKeyCost`, `cost_by_api_key`; not `costco_api_key`."""
_MODES: Final = frozenset({"include", "same-origin", "omit"})
"""What `credentials` may be in a request of the Fetch standard."""


@lru_cache(maxsize=8)
def _compiled(expression: str) -> re.Pattern[str]:
    return re.compile(expression)  # on first use: an import shall not pay for it


def holds_secret(name: str, value: object = "x") -> bool:
    """Whether a value of this name is a secret as a whole.

    Counts stay (a number under a name in the plural, or that names tokens), and so does what no secret can be: None, a
    bool, 0 and 1, an empty text or collection, a text that speaks of the field, the working directory.
    A mere `token`, `auth` or `MY_KEY` is something else unless its value looks drawn at random.
    """
    if _is_nothing(value):
        return False
    name = _spelled_plainly(name[-_LONGEST_NAME:]).rstrip(_LABELLED)
    if name.endswith("]"):  # `passwords[0]`
        name = _compiled(_SUBSCRIPTS).sub("", name)
    plain = _compiled(_SEPARATORS).sub("_", name)
    if "cost" in plain.lower() and _names_a_cost(plain, value):
        return False
    if _compiled(_ANNOUNCING).search(plain) is None:
        if isinstance(value, str) and _is_suffixed(plain, value):
            return True
        return _compiled(_DOUBTFUL).search(plain) is not None and _is_drawn(plain, value)
    if isinstance(value, list):
        parts = cast("list[object]", value)
        if all(isinstance(part, int | float) for part in parts):
            value = parts[0]
    if isinstance(value, int | float):
        return _compiled(_COUNTED).search(plain) is None
    return not (isinstance(value, str) and (_compiled(SPOKEN).match(value) is not None or _is_no_text_of(plain, value)))


def _spelled_plainly(name: str) -> str:
    """Without letters that look like others or are not seen; a tuple, `('db', 'password')`, as its parts."""
    if not name.isascii():
        name = "".join(one for one in normalize("NFKC", name) if category(one) != "Cf")
    if name.endswith(")"):
        name = _compiled(_QUOTED_PARTS).sub(".", name).strip(".")
    return name


def _is_suffixed(plain: str, value: str) -> bool:
    """Whether more stands behind the word of a secret, `API_KEY_EASTUS`, and the value looks like one."""
    if _compiled(_SUFFIXED).search(plain) is not None:
        return _compiled(SUFFIXED_KEY).match(value) is not None or (
            _compiled(SUFFIXED_WORD).match(value) is not None and _compiled(_SUFFIXED_WORD).search(plain) is not None
        )
    return False


def _names_a_cost(plain: str, value: object) -> bool:
    """Whether the name speaks of a cost of something; behind the mere word only numbers are one."""
    if _compiled(_COST).search(plain) is None:
        return False
    values = cast("list[object]", value) if isinstance(value, list) else [value]
    return _compiled(_COST_OF).search(plain) is not None or all(isinstance(one, int | float) for one in values)


def _is_nothing(value: object) -> bool:
    return (
        value is None
        or isinstance(value, bool)
        or value in (0, 1)
        or (isinstance(value, str | list | tuple | dict) and not value)
    )


def _is_drawn(plain: str, value: object) -> bool:
    """Whether the value of a name that may mean anything is a secret; `auth` of two texts is a user and a password."""
    if isinstance(value, str):
        return _looks_like_one(value)
    if not isinstance(value, list | tuple):
        return False
    parts = cast("list[object]", value)
    if plain.lower().endswith("auth") and len(parts) == 2 and all(isinstance(part, str) and part for part in parts):
        return True
    return all(isinstance(part, str) and _looks_like_one(part) for part in parts)


def _is_no_text_of(plain: str, value: str) -> bool:
    """Whether the name means something else: `PWD` a directory, `credentials` a mode or a file."""
    small = plain.lower()
    if _compiled(FILE).match(value) is not None:
        return True
    if small in ("pwd", "oldpwd"):
        return _compiled(DIRECTORY).match(value) is not None
    return small == "credentials" and value in _MODES


def _looks_like_one(text: str) -> bool:
    """As a text's patterns see it, or by how digits and letters change."""
    return looks_drawn(text) or _compiled(DRAWN_VALUE).match(text) is not None


def looks_drawn(text: str) -> bool:
    """Whether a text looks drawn at random rather than written: long, without a space, with digits among letters.

    No token of a language model does, nor the words, numbers, dates and identifiers that a grammar calls tokens.
    """
    seen = text[:_LONGEST_NAME]
    if len(seen) < 8 or not seen.isascii() or len(seen.split(maxsplit=1)) != 1 or seen != seen.strip():
        return False
    if _compiled(NOT_A_TIME).match(seen) is None or _compiled(ESCAPED).match(seen) is not None:
        return False
    digits = sum(map(str.isdigit, seen))
    letters = sum(map(str.isalpha, seen))
    changes = sum(one.isdigit() != other.isdigit() for one, other in pairwise(seen))
    return letters >= 2 and digits >= 2 and (changes >= 3 or len(seen) >= 20)
