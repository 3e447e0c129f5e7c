"""Sums beyond 64 bits: SQLite makes a real of an integer that grows so far, which goes on growing, to 15 digits.

In nano-dollars that is $9.2 billion in one cell: doctor says where a sum is no longer exact.
"""

from typing import Final

__all__ = ["MOST", "MOST_SUMMED", "added", "are_same", "brought_back", "is_sum", "is_sum_value", "storable"]

MOST: Final = (1 << 63) - 1
"""The largest integer of SQLite."""
MOST_SUMMED: Final = 1e24
"""The largest real that stands for an integer; in nano-dollars, far beyond any bill."""
_BACK: Final = 9e18
"""Below this a sum is an integer again."""
_CLOSE: Final = 1_000_000


def is_sum(column: str) -> str:
    """SQL for whether a cell holds a sum: an integer, or the real that one has become."""
    return f"(typeof({column}) = 'integer' OR typeof({column}) = 'real' AND {column} BETWEEN {_BACK} AND {MOST_SUMMED})"


def is_sum_value(value: object) -> bool:
    """The same, of what a cell holds."""
    return isinstance(value, int) or (isinstance(value, float) and _BACK <= value <= MOST_SUMMED)


def added(column: str) -> str:
    """SQL of an upsert for a sum that is beyond 64 bits, and what is added to it, which may be negative."""
    total = f"{column} + excluded.{column}"
    return f"CASE WHEN {column} >= {_BACK} AND {total} < {_BACK} THEN CAST({total} AS INTEGER) ELSE {total} END"


def brought_back(column: str) -> str:
    """SQL of an update for a sum that has fallen: an integer again where 64 bits hold it."""
    return (
        f"CASE WHEN typeof({column}) = 'real' AND {column} < {_BACK} THEN CAST({column} AS INTEGER) ELSE {column} END"
    )


def storable(number: int) -> int | float:
    """A sum as SQLite can hold it."""
    return number if -MOST <= number <= MOST else float(number)


def are_same(one: int, other: int) -> bool:
    """Whether two sums are the same: exactly, or beyond 64 bits to a millionth."""
    return one == other or (max(one, other) > MOST and abs(one - other) * _CLOSE <= max(one, other))
