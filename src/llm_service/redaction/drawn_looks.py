r"""What tells a drawn value from a name that people write: parts of words, versions and numbers, joined by signs.

A vendor draws from letters, digits, `-` and `_`: a value may have no digit, a sign after every third letter, or begin
with one. So a value is not asked for what a draw may lack; it is drawn where it cannot be read as a name, or where
small letters, capitals and digits change too often for one.
"""

from typing import Final

__all__ = ["MIXED_CASE", "drawn"]

_SMALL: Final = "[a-z0-9]{1,31}+"
_CAPITALS: Final = "[A-Z0-9]{1,20}+"
_VERSION: Final = "[0-9]{1,6}+(?:x[0-9]{1,4}+)?+[A-Za-z]{0,2}+"
# `Claude35Sonnet`, `iOS`, `HTTPServer`, `Llama3Instruct8B`: behind the first capital two small letters follow each.
_HUMPS: Final = (
    "[A-Z]{0,5}+[0-9]{0,4}+[a-z]{1,24}+[0-9]{0,4}+"
    "(?:(?>TeX|[A-Z]{1,4}+[a-z]{2,24}+)[0-9]{0,4}+){0,8}+[A-Z]{0,3}+[0-9]{0,4}+"
)
_CHANGE: Final = "(?>[a-z](?=[A-Z0-9])|[0-9](?=[A-Za-z]))"
_MOST_CHANGES: Final = 4
"""Of a name with a capital; `V3`, `RC1` do not count. A pod's name in small letters (`7d9f8b6c5d-x2x4z`) has more."""

# Two places at which no hump of a name is: a small letter between capitals, or two capitals behind a small one.
_ODD: Final = "(?>[A-Z](?=[a-z][A-Z])|[a-z](?=[A-Z]{2}))"
MIXED_CASE: Final = rf"(?=[A-Za-z_-]{{16}})(?=(?:(?:(?!{_ODD})[A-Za-z_-]){{0,16}}+{_ODD}){{2}}+)"
"""A look ahead for 16 letters and more that are no name; it costs less than `drawn`, and takes a few less."""


def drawn(signs: str) -> str:
    """A look ahead for a value of letters, digits and these signs that is no name; one of 25 parts is none.

    Of 20 characters drawn from `A-Za-z0-9_-` it takes all but 0.8 %, of 32 all but 0.01 %.
    """
    between = f"[{signs}]{{0,64}}+" if signs else ""
    part = f"{_SMALL}|{_CAPITALS}|{_VERSION}|{_HUMPS}"
    name = rf"(?:{between}(?>(?:{part})(?![A-Za-z0-9]))){{0,24}}+{between}(?![A-Za-z0-9{signs}])"
    changing = rf"(?:(?:(?!{_CHANGE})[A-Za-z0-9{signs}]){{0,24}}+{_CHANGE}){{{_MOST_CHANGES + 1}}}+"
    return rf"(?:(?!{name})|(?=[a-z0-9{signs}]{{0,64}}+[A-Z])(?={changing}))"
