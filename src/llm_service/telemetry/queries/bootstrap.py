"""Whether two groups of calls differ: bootstrap confidence intervals of the difference of a statistic, by scipy.

Intervals are percentile intervals, expanded for small groups: the level is that of a t quantile, and the spread that of
n - 1 (T. Hesterberg, "What Teachers Should Know About the Bootstrap", The American Statistician 69:4, 2015, section
4.3). Several intervals hold together with the confidence that is asked for (Bonferroni). The same values give the same
intervals.
"""

import math
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any, Final, NamedTuple

from llm_service.errors import MissingPackageError

__all__ = [
    "LEAST_CALLS",
    "SEED",
    "Interval",
    "Level",
    "Pairs",
    "Statistic",
    "interval_of_difference",
    "level_of",
    "require_scipy",
]

SEED: Final = 20_150_821
LEAST_CALLS: Final = 10
"""Of fewer values no interval is made."""
_IN_TAIL: Final = 10
"""Resamples beyond each bound that are aimed at, within the next two."""
_LEAST_RESAMPLES: Final = 2_000
_MOST_RESAMPLES: Final = 10_000
_MOST_DRAWN: Final = 8_000_000
"""Values drawn for one side of one interval: what bounds the time."""
_BATCH: Final = 1_000_000
"""Values drawn at once: what bounds the memory."""


class Pairs(NamedTuple):
    """Two values of each call, such as tokens and milliseconds."""

    first: Sequence[float]
    second: Sequence[float]


Statistic = Callable[..., Any]
"""Called with one array, or two of `Pairs`, and the axis to reduce."""


class Level(NamedTuple):
    """How intervals are made; a larger side than `sample` is drawn from that many of its values, at random."""

    confidence: float
    resamples: int
    sample: int


class Interval(NamedTuple):
    """Where the difference lies; `used` values of either side were drawn from."""

    low: float
    high: float
    used: tuple[int, int]


def require_scipy() -> Any:
    """`scipy.stats`. Raises MissingPackageError: it is not installed."""
    try:
        stats: Any = import_module("scipy.stats")  # an extra, and slow to import
    except ImportError as error:
        raise MissingPackageError("a comparison of runs", "scipy", "compare") from error
    return stats


def level_of(confidence: float, intervals: int) -> Level:
    """How to make so many intervals that all hold together with this confidence."""
    each = 1 - (1 - confidence) / max(1, intervals)
    wanted = math.ceil(2 * _IN_TAIL / (1 - each))
    resamples = min(max(wanted, _LEAST_RESAMPLES), _MOST_RESAMPLES)
    return Level(each, resamples, _MOST_DRAWN // resamples)


def interval_of_difference(
    statistic: Statistic, a: Sequence[float] | Pairs, b: Sequence[float] | Pairs, level: Level
) -> Interval:
    """The interval of `statistic(b) - statistic(a)`.

    Args:
        statistic: of the values along an axis.
        a, b: at least `LEAST_CALLS` values each.

    Raises:
        MissingPackageError: scipy is not installed.
    """
    import numpy as np  # noqa: PLC0415 - as scipy, which needs it

    stats = require_scipy()
    random = np.random.default_rng(SEED)
    sides = [_sampled(side, level.sample, random) for side in (a, b)]
    numbers = [len(side[0]) for side in sides]

    def difference(drawn_a: Any, drawn_b: Any, axis: int) -> Any:
        one, other = (
            statistic(*(values[drawn] for values in side), axis=axis)
            for side, drawn in zip(sides, (drawn_a, drawn_b), strict=True)
        )
        return other - one

    found = stats.bootstrap(
        [np.arange(number) for number in numbers],
        difference,
        vectorized=True,
        n_resamples=level.resamples,
        batch=max(1, _BATCH // max(numbers)),
        confidence_level=_expanded(level.confidence, min(numbers), stats),
        method="percentile",
        random_state=random,
    ).confidence_interval
    return Interval(float(found.low), float(found.high), (numbers[0], numbers[1]))


def _sampled(side: Sequence[float] | Pairs, most: int, random: Any) -> list[Any]:
    """The values as arrays; of too many, some at random."""
    import numpy as np  # noqa: PLC0415 - as above

    arrays = [np.asarray(values) for values in (side if isinstance(side, Pairs) else (side,))]
    if len(arrays[0]) <= most:
        return arrays
    chosen = random.choice(len(arrays[0]), most, replace=False)
    return [values[chosen] for values in arrays]


def _expanded(confidence: float, number: int, stats: Any) -> float:
    """The level at which a percentile interval of so few values covers as it should."""
    t = stats.t.ppf((1 + confidence) / 2, number - 1)
    return float(1 - 2 * stats.norm.cdf(-math.sqrt(number / (number - 1)) * t))
