"""Numbers in any type that leaves no doubt: Python's, numpy's, enumerations of them, and text."""

import operator
import re
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from math import isfinite
from numbers import Real
from typing import Any, Final, cast

__all__ = [
    "MOST",
    "NotACount",
    "as_amount",
    "as_count",
    "as_number",
    "is_other_bool",
    "is_within",
    "plain_number",
]

Number = int | float | Decimal | Fraction

MOST: Final = 10**12
"""Tokens of a call; a record takes no more."""
_MOST_USD: Final = 1_000_000
_USD: Final = re.compile(r"^(\$|USD\s+)|\s+USD$")
_NUMERAL: Final = re.compile(r"[-+]?(?:\d{1,30}(?:\.\d{0,40})?|\.\d{1,40})(?:[eE][-+]?\d{1,3})?", re.ASCII)
_LONGEST_NUMERAL: Final = 128
_ARRAY_NUMBERS: Final = frozenset("iuf")
"""The kinds of numpy's types that are numbers, unlike its bools, datetimes and timedeltas."""


class NotACount(ValueError):  # noqa: N818 - it is a finding, not an error: it never leaves a reader
    """The value is not a valid count or amount."""


def plain_number(value: Any) -> Number | None:
    """The value as a plain number; None for anything else, including bool.

    Takes int, float, Decimal and Fraction (and subclasses, which may override methods), decimal numerals, enumerations
    of these, scalars of numpy and similar libraries, and objects with `__index__` or registered as a `Real`.

    Raises:
        Exception: from a foreign object.
    """
    if isinstance(value, Enum):
        value = value.value
    number: Number | None
    if isinstance(value, str):
        number = _of_text(str.__str__(value))
    elif isinstance(value, int):
        number = None if isinstance(value, bool) else int(operator.index(value))
    elif isinstance(value, float):
        number = float.__float__(value)
    elif isinstance(value, Decimal):
        number = Decimal(value)
    elif isinstance(value, Fraction):
        number = Fraction(value.numerator, value.denominator)
    else:
        number = _of_other(value)
    return number


def _of_text(text: str) -> Decimal | None:
    if len(text) > _LONGEST_NUMERAL:
        return None
    numeral = text.strip()
    return Decimal(numeral) if _NUMERAL.fullmatch(numeral) else None


def _of_other(value: Any) -> Number | None:
    kind = cast("Any", type(value))
    if getattr(getattr(value, "dtype", None), "kind", "i") not in _ARRAY_NUMBERS:
        return None
    if hasattr(kind, "item") and getattr(value, "shape", None) == ():
        item = value.item()
        return plain_number(item) if isinstance(item, int | float | Decimal) else None
    if hasattr(kind, "__index__"):
        return operator.index(value)
    return float(value) if isinstance(value, Real) else None


def is_other_bool(value: object) -> bool:
    """Whether it is numpy's bool, which is not a subclass of Python's."""
    kind = cast("Any", type(value))
    return kind.__module__ == "numpy" and kind.__name__ in {"bool", "bool_"}


def is_within(number: Number, low: int, high: float) -> bool:
    """Whether a number is between two inclusive bounds; False for NaN."""
    try:
        return low <= number <= high
    except ArithmeticError:  # a signalling NaN
        return False


def as_number(value: Any) -> int | float | None:
    """`plain_number` as an int if it is whole, else as a float; NaN if a float cannot represent it."""
    number = plain_number(value)
    if number is None or isinstance(number, int):
        return number
    try:
        return int(number) if isfinite(number) and int(number) == number else float(number)
    except (ValueError, OverflowError):  # a signalling NaN; a fraction beyond any float
        return float("nan")


def as_count(value: Any) -> int:
    """An integer from 0 to `MOST`.

    Raises:
        NotACount: for any other value.
    """
    number = as_number(value)
    if isinstance(number, int) and 0 <= number <= MOST:
        return number
    raise NotACount


def as_amount(value: Any) -> Decimal:
    """An amount from 0 to 1,000,000 USD: a number, or a text with or without `$` or `USD`.

    Raises:
        NotACount: for any other value.
    """
    number = as_number(_USD.sub("", value.strip()) if isinstance(value, str) else value)
    if number is not None and isfinite(number) and 0 <= number <= _MOST_USD:
        return Decimal(str(number))
    raise NotACount
