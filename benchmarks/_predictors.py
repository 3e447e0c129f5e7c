"""What `llm_service.estimates` is compared with: other online quantiles, and the streams on which they are compared."""

import math
import random
from array import array
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Callable
from typing import Final, NamedTuple, Protocol

from llm_service.estimates.quantiles import LEVELS, AdaptiveQuantiles, Quantiles

__all__ = ["METHODS", "SERIES", "Predictor", "Series"]


class Predictor(Protocol):
    """Predicts the next value of a stream."""

    def predict(self) -> Quantiles[int] | None:
        """By level; None before the first value."""
        ...

    def add(self, value: int, /) -> object:
        """Take the next value in."""
        ...


class Rolling:
    """The quantiles of the last so many values."""

    def __init__(self, window: int) -> None:
        self._recent: deque[int] = deque()
        self._ordered = array("q")
        self._window = window

    def predict(self) -> Quantiles[int] | None:
        """At the conformal rank."""
        count = len(self._ordered)
        ranks = (min(math.ceil((count + 1) * level), count) for level in LEVELS)
        return Quantiles(*(self._ordered[rank - 1] for rank in ranks)) if count else None

    def add(self, value: int) -> None:
        """The oldest goes."""
        if len(self._recent) == self._window:
            del self._ordered[bisect_left(self._ordered, self._recent.popleft())]
        self._recent.append(value)
        insort(self._ordered, value)


class Tracking:
    """Quantile tracking on logarithms: a step up after a miss, a small one down else.

    Angelopoulos, Candes, Tibshirani, "Conformal PID Control for Time Series Prediction", NeurIPS 2023, equation 4. With
    the integral term added, no coverage in the table moved by more than 0.002.
    """

    def __init__(self, step: float) -> None:
        self._at: list[float] = []
        self._step = step

    def predict(self) -> Quantiles[int] | None:
        """In order, whatever the three tracks do."""
        return Quantiles(*(round(math.exp(at)) for at in sorted(self._at))) if self._at else None

    def add(self, value: int) -> None:
        """Move each track."""
        seen = math.log(max(value, 1))
        if not self._at:
            self._at = [seen, seen + 1, seen + 2]
        for place, level in enumerate(LEVELS):
            self._at[place] += self._step * ((seen > self._at[place]) - (1 - level))


class Fading:
    """Exponentially weighted quantiles: counts in buckets of a sixteenth of a doubling, each value fading."""

    def __init__(self, half_life: float) -> None:
        self._weights: dict[int, float] = {}
        self._total = 0.0
        self._unit = 1.0
        self._growth = 2 ** (1 / half_life)

    def predict(self) -> Quantiles[int] | None:
        """The upper bound of the bucket in which each level falls."""
        bounds: list[int] = []
        seen = 0.0
        for bucket in sorted(self._weights):
            seen += self._weights[bucket]
            while len(bounds) < len(LEVELS) and seen >= LEVELS[len(bounds)] * self._total * (1 - 1e-9):
                bounds.append(math.floor(2 ** (bucket / 16)))
        return Quantiles(*bounds) if bounds else None

    def add(self, value: int) -> None:
        """Later values weigh more; the unit is brought back before it overflows."""
        bucket = math.ceil(16 * math.log2(max(value, 1)))
        self._unit *= self._growth
        self._weights[bucket] = self._weights.get(bucket, 0.0) + self._unit
        self._total += self._unit
        if self._unit > 1e12:
            self._weights = {key: weight / self._unit for key, weight in self._weights.items()}
            self._total /= self._unit
            self._unit = 1.0


METHODS: Final[dict[str, Callable[[], Predictor]]] = {
    "adaptive conformal, 200 (ours)": AdaptiveQuantiles,
    "adaptive conformal, 300": lambda: AdaptiveQuantiles(300),
    "rolling quantile, 300": lambda: Rolling(300),
    "rolling quantile, 1000": lambda: Rolling(1000),
    "quantile tracking, step 0.1": lambda: Tracking(0.1),
    "quantile tracking, step 0.2": lambda: Tracking(0.2),
    "exponential weights, half-life 100": lambda: Fading(100),
}

_P90: Final = 1.2815515655446004  # of the standard normal distribution
_LENGTH: Final = 3_000
_LOG_RISE: Final = math.log(7 / 3)


class Series(NamedTuple):
    """A lognormal stream whose median may move; scored from `first` up to `end`."""

    median: Callable[[int], float]
    first: int
    end: int
    sigma: float = 0.8

    def draw(self, seed: int) -> tuple[list[int], list[float]]:
        """The values, and the true p90 at each of them."""
        source = random.Random(seed)
        medians = [self.median(number) for number in range(_LENGTH)]
        values = [max(1, round(source.lognormvariate(math.log(median), self.sigma))) for median in medians]
        return values, [median * math.exp(self.sigma * _P90) for median in medians]


def _jump(number: int) -> float:
    return 300 if number < 1500 else 700


def _fall(number: int) -> float:
    return 700 if number < 1500 else 300


def _ramp(number: int) -> float:
    return 300 * math.exp(_LOG_RISE * min(1.0, max(0.0, (number - 500) / 2000)))


def _season(number: int) -> float:
    return 300 * math.exp(_LOG_RISE * (0.5 + 0.5 * math.sin(2 * math.pi * number / 600)))


def _steady(_: int) -> float:
    return 500


SERIES: Final = {
    "median jumps 300 to 700, next 300": Series(_jump, 1500, 1800),
    "median jumps 300 to 700, next 1500": Series(_jump, 1500, 3000),
    "median falls 700 to 300, next 300": Series(_fall, 1500, 1800),
    "median rises 300 to 700 over 2000": Series(_ramp, 500, 3000),
    "median swings 300 to 700 every 600": Series(_season, 600, 3000),
    "median stays at 500, narrow (sigma 0.1)": Series(_steady, 500, 3000, 0.1),
}
