"""Numbers as providers and their clients write them: whole ones, floats, Decimals, numpy's, and text."""

import re
from decimal import Decimal
from math import isfinite
from numbers import Integral, Real
from typing import Any, Final

__all__ = ["MOST", "NotACount", "as_amount", "as_count", "as_number"]

MOST: Final = 10**12
"""Tokens of a call; a record takes no more."""
_MOST_USD: Final = 1_000_000
_TEXT: Final = re.compile(r"[+-]?[0-9]{1,30}(\.[0-9]{1,30})?([eE][+-]?[0-9]{1,3})?")

_USD: Final = re.compile(r"^(\$|USD\s+)|\s+USD$")


class NotACount(ValueError):  # noqa: N818 - it is a finding, not an error: it never leaves a reader
    """A value that stands where a count should."""


def as_number(value: Any) -> int | float | None:
    """The number that a value is; whole ones as int. None for what is no number, and for True and False."""
    if isinstance(value, bool):
        return None
    if isinstance(value, str):
        text = value.strip()
        return as_number(Decimal(text)) if _TEXT.fullmatch(text) else None
    if isinstance(value, Integral):
        return int(value)
    if not isinstance(value, Real | Decimal):
        return None
    given: Any = value
    try:
        number = float(given)
        whole = isfinite(number) and int(given) == given
        return int(given) if whole else number
    except (ValueError, OverflowError):  # a signalling NaN; a fraction beyond any float
        return float("nan")


def as_count(value: Any) -> int:
    """A whole number from 0 to `MOST`.

    Raises:
        NotACount: it is none.
    """
    number = as_number(value)
    if isinstance(number, int) and 0 <= number <= MOST:
        return number
    raise NotACount


def as_amount(value: Any) -> Decimal:
    """An amount of money from 0 to 1,000,000 USD: a number, in a text with or without `$` or `USD`.

    Raises:
        NotACount: it is none.
    """
    number = as_number(_USD.sub("", value.strip()) if isinstance(value, str) else value)
    if number is not None and isfinite(number) and 0 <= number <= _MOST_USD:
        return Decimal(str(number))
    raise NotACount
