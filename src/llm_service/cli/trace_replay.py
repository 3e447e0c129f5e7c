"""Replaying a trace: concurrent agent tasks hand its calls to an `AsyncTelemetryLogger`, and are measured meanwhile.

Nothing here prints: progress goes to a callback, the result is one frozen value.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import perf_counter, perf_counter_ns
from typing import TYPE_CHECKING, Any, Final, Literal

from llm_service.cli import model
from llm_service.cli.trace import TraceRow
from llm_service.config.settings import Settings
from llm_service.telemetry import AsyncTelemetryLogger, Ledger

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

__all__ = ["Percentiles", "Plan", "Report", "percentiles", "replay"]

Call = Literal["log_invocation", "log_invocation_nowait"]
Progress = Callable[[int], None]

_PROBE_S: Final = 0.001
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to replay, and how.

    Attributes:
        rows: the trace, at least one call.
        agents: concurrent tasks; task i makes the calls i, i + agents, i + 2 * agents and so on.
        speed: how many times faster than the trace; None is as fast as possible.
        shift_to_now: move all times so that the latest is the start of the replay.
        call: the method that the agents log with.
        idle_s: seconds to watch the empty event loop before, to compare its lag with; 0 does not.
        seed: of what is modelled.
    """

    rows: Sequence[TraceRow] = field(repr=False)
    agents: int = 8
    speed: float | None = None
    shift_to_now: bool = False
    call: Call = "log_invocation"
    idle_s: float = 0.0
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Percentiles:
    """Nearest-rank percentiles of measured samples; all 0 where there is none."""

    samples: int = 0
    p50: float = 0.0
    p99: float = 0.0
    max: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a replay did.

    Attributes:
        rows: calls in the trace.
        first, last: the earliest and the latest time recorded, aware UTC.
        seconds: from the first call until all were settled.
        call_us: microseconds that one call of it took.
        lag_ms: milliseconds by which `asyncio.sleep(0.001)` overran meanwhile.
        idle_lag_ms: the same on the idle loop before.
    """

    db_path: Path
    rows: int
    agents: int
    first: datetime
    last: datetime
    seconds: float
    ledger: Ledger
    call: Call
    call_us: Percentiles
    lag_ms: Percentiles
    idle_lag_ms: Percentiles

    @property
    def records_per_second(self) -> float:
        """Committed records by the time until the last was settled."""
        return self.ledger.written / self.seconds if self.seconds else 0.0

    @property
    def complete(self) -> bool:
        """Whether every call of the trace is on disk."""
        return self.ledger.written == self.rows


async def replay(plan: Plan, settings: Settings, on_progress: Progress | None = None) -> Report:
    """Replay a trace into the file of `settings`, and wait until all of it is settled.

    Args:
        plan: what to replay.
        settings: of the logger.
        on_progress: called with the number of calls made so far, about a hundred times.

    Raises:
        StoreError: the file cannot be used.
        ValueError: the trace is too long to be moved to now.
    """
    options: dict[str, Any] = {name: getattr(settings, name) for name in Settings.names()}
    telemetry = AsyncTelemetryLogger(options.pop("db_path"), models=False, policies=False, **options)
    shift = _shift(plan)
    idle_lag: list[int] = []
    lag: list[int] = []
    async with telemetry:
        if plan.idle_s:
            async with _probing(idle_lag):
                await asyncio.sleep(plan.idle_s)
        async with _probing(lag):
            started = perf_counter()
            took_ns = await _make_calls(plan, telemetry, shift // timedelta(microseconds=1), on_progress)
            await telemetry.flush()
            seconds = perf_counter() - started
    times = [row.timestamp for row in plan.rows]
    return Report(
        db_path=telemetry.db_path,
        rows=len(plan.rows),
        agents=plan.agents,
        first=min(times) + shift,
        last=max(times) + shift,
        seconds=seconds,
        ledger=telemetry.stats().ledger,
        call=plan.call,
        call_us=percentiles(took_ns, 1e3),
        lag_ms=percentiles(lag, 1e6),
        idle_lag_ms=percentiles(idle_lag, 1e6),
    )


def percentiles(samples_ns: Sequence[int], unit_ns: float) -> Percentiles:
    """Percentiles of nanoseconds in units of so many nanoseconds: of n sorted samples the one at rank ceil(p * n)."""
    if not samples_ns:
        return Percentiles()
    ranked = sorted(samples_ns)
    count = len(ranked)
    p50, p99 = (ranked[-(-count * percent // 100) - 1] / unit_ns for percent in (50, 99))
    return Percentiles(count, p50, p99, ranked[-1] / unit_ns)


def _shift(plan: Plan) -> timedelta:
    if not plan.shift_to_now:
        return timedelta(0)
    times = [row.timestamp for row in plan.rows]
    shift = datetime.now(UTC) - max(times)
    if min(times) - _EPOCH < -shift:
        raise ValueError("the trace spans more time than 1970 to now; replay it without --shift-to-now")
    return shift


async def _make_calls(
    plan: Plan, telemetry: AsyncTelemetryLogger, shift_us: int, on_progress: Progress | None
) -> list[int]:
    """Run the agents' tasks to their end; gives the nanoseconds that each call took."""
    loop = asyncio.get_running_loop()
    started, origin = loop.time(), min(row.timestamp for row in plan.rows)
    step = max(1, len(plan.rows) // 100)
    took_ns: list[int] = []

    async def agent(number: int) -> None:
        for row in plan.rows[number :: plan.agents]:
            if plan.speed is None:
                await asyncio.sleep(0)  # between two calls an agent would wait for its model
            else:
                due = started + (row.timestamp - origin).total_seconds() / plan.speed
                await asyncio.sleep(max(0.0, due - loop.time()))
            record = model.to_record(row, agents=plan.agents, seed=plan.seed, shift_us=shift_us)
            before = perf_counter_ns()
            if plan.call == "log_invocation":
                await telemetry.log_invocation(record)
            else:
                telemetry.log_invocation_nowait(record)
            took_ns.append(perf_counter_ns() - before)
            done = len(took_ns)
            if on_progress is not None and (done % step == 0 or done == len(plan.rows)):
                on_progress(done)

    async with asyncio.TaskGroup() as group:
        for number in range(min(plan.agents, len(plan.rows))):
            group.create_task(agent(number), name=f"agent-{number}")
    return took_ns


@asynccontextmanager
async def _probing(overruns_ns: list[int]) -> "AsyncGenerator[None]":
    """Watch the event loop while the block runs."""
    over = asyncio.Event()

    async def probe() -> None:
        while not over.is_set():
            before = perf_counter_ns()
            await asyncio.sleep(_PROBE_S)
            overruns_ns.append(perf_counter_ns() - before - int(_PROBE_S * 1e9))

    task = asyncio.create_task(probe(), name="lag-probe")
    try:
        yield
    finally:
        over.set()
        await task
