"""How single values look in the tables and lines of reports; what is not known is never a zero."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

__all__ = ["UNKNOWN", "count", "named", "percent", "sum_usd", "usd"]

UNKNOWN: Final = "unknown"


def count(number: int) -> str:
    """A whole number."""
    return f"{number:,}"


def usd(amount: float | Decimal | None, digits: int = 4) -> str:
    """An amount in USD; what is not nothing never looks like nothing: `<0.0001`."""
    if amount is None:
        return "-"
    least = 10.0**-digits
    if amount and abs(float(amount)) < least / 2:
        return f"<{least:.{digits}f}" if amount > 0 else f">-{least:.{digits}f}"
    return f"{amount:,.{digits}f}"


def sum_usd(sums: Mapping[str, Any]) -> str:
    """The sum of what calls cost: `unknown` where there are calls, and none of them has a known cost."""
    known = sums["invocations"] > sums["unpriced"] or not sums["invocations"]
    return usd(sums["cost_nanos"] / 1e9) if known else UNKNOWN


def percent(share: float | None) -> str:
    """A share of 1 as per cent."""
    return "-" if share is None else f"{share:.1%}"


def named(text: str | None) -> str:
    """A name, or a dash where there is none."""
    return "-" if text is None else text
