"""What the long runs share: a sampler of this process, a probe of the loop's lag, a slope, the truth about a file."""

import asyncio
import math
import os
import sqlite3
import sys
import threading
from array import array
from collections import defaultdict
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic, perf_counter
from typing import Final

__all__ = ["LagProbe", "Lags", "Sample", "Stored", "progress", "sample", "slope", "stored"]

_TICK: Final = 0.001
_STEPS_PER_MS: Final = 100
_LAST_STEP: Final = 100_000
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class Sample:
    """This process at one moment: resident bytes, open descriptors, threads, tasks of the running loop."""

    at: float
    rss: int
    descriptors: int
    threads: int
    tasks: int


def sample() -> Sample:
    """Look at `/proc`; on the loop whose tasks are counted."""
    rss = int(Path("/proc/self/statm").read_text("ascii").split()[1]) * _PAGE
    descriptors = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - one call, so that it counts itself each time
    return Sample(monotonic(), rss, descriptors, threading.active_count(), len(asyncio.all_tasks()))


def slope(points: Sequence[tuple[float, float]]) -> float:
    """The least-squares slope of y over x; 0.0 where it has none."""
    count = len(points)
    mean_x = sum(x for x, _ in points) / max(1, count)
    mean_y = sum(y for _, y in points) / max(1, count)
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / spread if spread else 0.0


class Lags:
    """How often each lag was seen, in steps of 10 us up to a second: as large after an hour as after a minute.

    A list of them would be what grows most in a process that is watched for growth.
    """

    def __init__(self) -> None:
        self._seen = array("Q", bytes(8 * (_LAST_STEP + 1)))

    def add(self, milliseconds: float) -> None:
        """Count one."""
        self._seen[min(_LAST_STEP, max(0, int(milliseconds * _STEPS_PER_MS)))] += 1

    def percentile(self, share: float) -> float:
        """The nearest rank in milliseconds, by the upper end of its step; 0.0 where nothing was seen."""
        rank = max(1, math.ceil(share * sum(self._seen)))
        reached = 0
        for step, count in enumerate(self._seen):
            reached += count
            if reached >= rank:
                return (step + 1) / _STEPS_PER_MS
        return 0.0


@dataclass(slots=True)
class LagProbe:
    """A task that sleeps 1 ms and notes by how many milliseconds it overran, under the name of what goes on."""

    phase: str = "steady"
    lags: defaultdict[str, Lags] = field(default_factory=lambda: defaultdict(Lags))

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            phase, started = self.phase, perf_counter()
            await asyncio.sleep(_TICK)
            self.lags[phase].add((perf_counter() - started - _TICK) * 1000)


@dataclass(frozen=True, slots=True)
class Stored:
    """What a file holds: whether SQLite finds it sound, its rows, and the rows its daily totals count."""

    sound: bool
    rows: int
    counted: int
    dead: int


def stored(path: Path) -> Stored:
    """Read a file that nobody writes any more."""
    with closing(sqlite3.connect(path)) as connection:

        def number(sql: str) -> int:
            return int(connection.execute(sql).fetchone()[0])

        return Stored(
            connection.execute("PRAGMA integrity_check").fetchone() == ("ok",),
            number("SELECT count(*) FROM invocations"),
            number("SELECT coalesce(sum(invocations), 0) FROM daily_costs"),
            number("SELECT count(*) FROM dead_letters"),
        )


def progress(text: str) -> None:
    """One line for those who wait."""
    print(text, file=sys.stderr, flush=True)
