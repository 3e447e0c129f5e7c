"""Numbers as they arrive, in any type that leaves no doubt, as Python's own."""

import operator
import re
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from numbers import Real
from typing import Any, Final, cast

from llm_service.telemetry.record.texts import plain_text

__all__ = ["Number", "as_number", "is_other_bool", "is_within"]

Number = int | float | Decimal | Fraction

_NUMERAL: Final = re.compile(r"[-+]?(?:\d{1,30}(?:\.\d{0,40})?|\.\d{1,40})(?:[eE][-+]?\d{1,3})?", re.ASCII)
_LONGEST_NUMERAL: Final = 128
_ARRAY_NUMBERS: Final = frozenset("iuf")
"""The kinds of numpy's types that are numbers; its bools, moments and spans of time are none."""


def as_number(value: Any) -> Number | None:
    """The value as a plain number; None where it is none, as a bool is.

    An int, float, Decimal or Fraction (or a subclass, which may lie about its value), a decimal numeral, an enumeration
    of such, a scalar of numpy or of what has its interface, and what has `__index__` or is registered as a `Real`.

    Raises:
        Exception: whatever a foreign object raises.
    """
    if isinstance(value, Enum):
        value = value.value
    number: Number | None
    if isinstance(value, str):
        number = _of_text(plain_text(value))
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
        return as_number(item) if isinstance(item, int | float | Decimal) else None
    if hasattr(kind, "__index__"):
        return operator.index(value)
    return float(value) if isinstance(value, Real) else None


def is_other_bool(value: object) -> bool:
    """Whether it is numpy's bool, which is no subclass of Python's."""
    kind = cast("Any", type(value))
    return kind.__module__ == "numpy" and kind.__name__ in {"bool", "bool_"}


def is_within(number: Number, low: int, high: float) -> bool:
    """Whether a number lies between two bounds, both included; NaN does not."""
    try:
        return low <= number <= high
    except ArithmeticError:  # a signalling NaN
        return False
