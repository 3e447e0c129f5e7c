"""Quantiles of a stream with correct coverage while the stream drifts: adaptive conformal inference.

A quantile is one of the last `WINDOW` values, which are sorted. Its rank is corrected after each value: if too many
values exceed the estimate, the rank rises (Gibbs & Candès, "Adaptive Conformal Inference Under Distribution Shift",
NeurIPS 2021, equation 2, the score being the value itself). It was chosen over a plain rolling quantile, quantile
tracking and exponential weights by coverage, then width, then cost: see benchmarks/TRIED.md, and
`python -m benchmarks --only estimates` for the table.
"""

from array import array
from bisect import bisect_left, insort
from math import ceil
from typing import Final, Generic, NamedTuple, TypeVar

__all__ = ["LEVELS", "WINDOW", "AdaptiveQuantiles", "Quantiles"]

_T = TypeVar("_T")

WINDOW: Final = 200
"""Values in the window. A longer one is narrower at p99 and slower after a jump; see benchmarks/TRIED.md."""
_STEADY: Final = 30
"""Values before the correction begins: before that, misses come from few values, not from drift."""


class Quantiles(NamedTuple, Generic[_T]):
    """A value for each of the three estimated levels."""

    p50: _T
    p90: _T
    p99: _T


LEVELS: Final = Quantiles(0.5, 0.9, 0.99)
"""The share of values that should not exceed the estimate."""
_STEPS: Final = Quantiles(0.01, 0.01, 0.001)
"""How far one value moves the miss rate: a tenth of it, at most 0.01. Larger steps adapt faster and fluctuate more; one
step for all three would make p99 1.5 times as wide."""
_UP: Final = Quantiles(*(step * (1 - level) for step, level in zip(_STEPS, LEVELS, strict=True)))
"""Added to the miss rate by a value within the estimate: step * (miss rate - 0)."""
_DOWN: Final = Quantiles(*(step * level for step, level in zip(_STEPS, LEVELS, strict=True)))
"""Subtracted by a value above it: step * (1 - miss rate)."""


class AdaptiveQuantiles:
    """Estimates p50, p90 and p99 of the next value. Not thread-safe. Memory: 16 bytes for each value of the window.

    Args:
        window: number of values, at least 2.
    """

    __slots__ = ("_next", "_window", "misses", "ordered", "predicted", "recent", "seen")

    def __init__(self, window: int = WINDOW) -> None:
        if window < 2:
            raise ValueError(f"window: {window} is not usable; give a whole number from 2 on")
        self._window = window
        self.recent = array("q")
        self.ordered = array("q")
        self._next = 0
        self.misses = [1 - level for level in LEVELS]
        self.predicted: Quantiles[int] | None = None
        self.seen = 0
        """Number of values so far, including those that have left the window."""

    def predict(self) -> Quantiles[int] | None:
        """Upper bounds of the next value, ascending by level; None before the first value."""
        ordered = self.ordered
        if self.predicted is None and ordered:
            size = len(ordered)
            # The conformal rank counts one more value than there are: the next one.
            # The comparison is inlined: calls of min and max would double the time.
            middle, high, top = [
                ordered[(size if (rank := ceil((size + 1) * (1 - miss))) > size else rank or 1) - 1]
                for miss in self.misses
            ]
            high = max(middle, high)
            self.predicted = Quantiles(middle, high, max(high, top))
        return self.predicted

    def add(self, value: int) -> Quantiles[int] | None:
        """Add the next value, a 64-bit integer, and return its prediction."""
        predicted = self.predict()
        if predicted is not None and self.seen >= _STEADY:
            misses = self.misses
            for place, bound in enumerate(predicted):
                if value > bound:
                    misses[place] = max(0.0, misses[place] - _DOWN[place])
                else:
                    misses[place] = min(1.0, misses[place] + _UP[place])
        self.seen += 1
        ordered, recent = self.ordered, self.recent
        if len(recent) < self._window:
            recent.append(value)
        else:
            del ordered[bisect_left(ordered, recent[self._next])]
            recent[self._next] = value
            self._next = (self._next + 1) % self._window
        insort(ordered, value)
        self.predicted = None
        return predicted
