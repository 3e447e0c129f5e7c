"""Three times the sustainable rate, for minutes, under each overflow policy: bounded, and counted exactly.

The records have contents (level `full`, 2 KB asked and 2 KB answered): the writer redacts and compresses them, which
takes it several times as long as it takes the loop to make and hand over a record. With bare records it does not, so
that one process could offer hardly more than it writes.

`python -m benchmarks.overload [--minutes 10] [--json]`: minutes for each policy. It writes some gigabytes to the
temporary folder (`TMPDIR`), and removes them.
"""

import asyncio
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any, Final

from benchmarks._data import AGENTS, MODELS, TOOLS
from benchmarks._harness import Bar, Report, Row, check, parser, scratch, show
from benchmarks._long import LagProbe, Lags, progress, sample, stored
from llm_service.config.settings import Overflow
from llm_service.telemetry import AsyncTelemetryLogger, InvocationRecord

__all__ = ["measure", "run"]

_POLICIES: Final[tuple[Overflow, ...]] = ("block", "drop_newest", "drop_oldest")
_TICK: Final = 0.002
_MIB: Final = 1024 * 1024
_QUEUE_BYTES: Final = 16 * _MIB
_SLACK: Final = 48 * _MIB
"""What the process may need beside the queue: batches under way, SQLite's cache, the allocator."""
_CALLERS: Final = 64
_AT_ONCE: Final = 64
"""Records that are offered before the loop has a turn."""
_PROMPT: Final = "Look through the change below, and say what could break; be brief. " * 30
_RESPONSE: Final = "The loop ends one step early where the list is empty; all else looks right. " * 27
_FIELDS: Final[tuple[dict[str, Any], ...]] = tuple(
    {
        "agent_name": agent,
        "tool_name": TOOLS[number % len(TOOLS)],
        "model_name": MODELS[number % len(MODELS)],
        "prompt_tokens": 1200,
        "completion_tokens": 300,
        "cost_usd": 0.0081,
        "latency_ms": 1500,
        "prompt": _PROMPT,
        "response": _RESPONSE,
    }
    for number, agent in enumerate(AGENTS)
)


@dataclass(slots=True)
class Outcome:
    """What one policy did."""

    offered: float
    written: int
    rows: int
    accepted: int
    refused: int
    lags: Lags
    queue_bytes: int = 0
    rss: list[int] = field(default_factory=list[int])


def run(seconds: float) -> Report:
    """Overload: three times the rate that is committed, offered to each overflow policy in turn."""
    report = Report("overload", f"three times the sustainable rate for {seconds:g} s under each overflow policy")
    rate = asyncio.run(_sustainable(min(10.0, max(1.0, seconds / 4))))
    progress(f"sustainable: {rate:,.0f} records/s")
    report.rows.append(Row("sustainable rate", rate, "records/s"))
    for policy in _POLICIES:
        found = asyncio.run(measure(policy, 3 * rate, seconds))
        grown = (max(found.rss) - found.rss[0]) / _MIB
        report.rows += [
            Row(f"{policy}: offered", found.offered, "records/s", rate, "sustainable"),
            Row(f"{policy}: on disk", found.rows / seconds, "records/s", rate, "sustainable"),
            Row(f"{policy}: counted as dropped", found.refused, "records"),
            Row(f"{policy}: ledger less file", abs(found.written - found.rows), "records", bar=Bar("ours", "<=", 0.0)),
            Row(f"{policy}: most bytes queued", found.queue_bytes / _MIB, "MiB", _QUEUE_BYTES / _MIB, "bound",
                bar=Bar("ratio", "<=", 1.0)),
            Row(f"{policy}: memory grown", grown, "MiB", (2 * _QUEUE_BYTES + _SLACK) / _MIB, "2 x bound + slack",
                bar=Bar("ratio", "<=", 1.0)),
            Row(f"{policy}: loop lag p50", found.lags.percentile(0.5), "ms"),
            Row(f"{policy}: loop lag p99", found.lags.percentile(0.99), "ms"),
        ]  # fmt: skip
        progress(f"{policy}: {found.rows:,} on disk, {found.refused:,} dropped, all counted")
    report.notes.append(
        "records are made on the loop while they are offered, so its lag holds that work too; under `block` callers "
        f"wait, {_CALLERS} of them at a time"
    )
    return report


async def measure(policy: Overflow, rate: float, seconds: float) -> Outcome:
    """Offer so many records a second under one policy; every count is checked against ledger and file."""
    with scratch() as folder:
        path, probe = folder / "overload.db", LagProbe()
        telemetry = AsyncTelemetryLogger(
            path,
            privacy_level="full",
            overflow=policy,
            queue_max_bytes=_QUEUE_BYTES,
            block_timeout=0.2,
            close_timeout=600,
            retention_days=None,
            models=False,
            policies=False,
        )
        await telemetry.start()
        found = Outcome(0.0, 0, 0, 0, 0, probe.lags["steady"], rss=[sample().rss])
        probing, watching = asyncio.create_task(probe.run()), asyncio.create_task(_watch(telemetry, found))
        started = perf_counter()
        wait = policy == "block"
        callers = _CALLERS if wait else 1
        end = started + seconds
        await asyncio.gather(*(_offer(telemetry, rate / callers, end, found, wait=wait) for _ in range(callers)))
        found.offered = (found.accepted + found.refused) / (perf_counter() - started)
        for task in (probing, watching):
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        check((await telemetry.aclose()).complete, "the close is complete")
        ledger, truth = telemetry.stats().ledger, stored(path)
        dropped = sum(ledger.dropped.values())
        check(ledger.balanced and ledger.pending == 0, "the ledger adds up")
        check(ledger.submitted == found.accepted + found.refused, "every record handed over is counted")
        check(truth.sound, "the file is sound")
        check(truth.rows == truth.counted == ledger.written, "file, daily totals and ledger agree")
        check(ledger.written + dropped == ledger.submitted, "what is not on disk is counted as dropped")
        check(policy == "drop_oldest" or dropped == found.refused, "every refusal was told to its caller")
        found.written, found.rows, found.refused = ledger.written, truth.rows, dropped
        return found


async def _offer(
    telemetry: AsyncTelemetryLogger, rate: float, end: float, found: Outcome, *, wait: bool = False
) -> None:
    """Hand records over at a rate, catching up where the loop or a wait was late by at most a tenth of a second."""
    due, last = 0.0, perf_counter()
    while (now := perf_counter()) < end:
        due = min(due + (now - last) * rate, rate * 0.1)
        last = now
        for turn in range(int(due)):
            record = _record(found.accepted)
            accepted = await telemetry.log_invocation(record) if wait else telemetry.log_invocation_nowait(record)
            if accepted:
                found.accepted += 1
            else:
                found.refused += 1
            if turn % _AT_ONCE == _AT_ONCE - 1:
                await asyncio.sleep(0)
        due %= 1
        await asyncio.sleep(_TICK)


async def _watch(telemetry: AsyncTelemetryLogger, found: Outcome) -> None:
    while True:
        stats = telemetry.stats()
        check(stats.ledger.balanced, "the ledger adds up at every moment")
        found.queue_bytes = max(found.queue_bytes, stats.queue_bytes)
        found.rss.append(sample().rss)
        await asyncio.sleep(0.25)


async def _sustainable(seconds: float) -> float:
    """Records a second that are made on the loop and committed, while callers wait for room."""
    with scratch() as folder:
        telemetry = AsyncTelemetryLogger(
            folder / "rate.db",
            privacy_level="full",
            queue_max_records=20_000,
            block_timeout=60,
            close_timeout=600,
            models=False,
            policies=False,
        )
        await telemetry.start()
        started = perf_counter()
        while perf_counter() < started + seconds:
            await telemetry.log_invocation(_record(0))
        await telemetry.flush()
        rate = telemetry.stats().ledger.written / (perf_counter() - started)
        await telemetry.aclose()
        return rate


def _record(number: int) -> InvocationRecord:
    return InvocationRecord(**_FIELDS[number % len(_FIELDS)])


def main(arguments: Sequence[str] | None = None) -> int:
    """Run and print; 1 where a bar is missed."""
    parsing = parser("Three times the sustainable rate under each overflow policy.")
    parsing.add_argument("--minutes", type=float, default=10.0, help="for each policy (default 10)")
    given = parsing.parse_args(arguments)
    report = run(1.0 if given.quick else given.minutes * 60)
    show([report], json_wanted=given.json)
    return int(any(row.verdict == "missed" for row in report.rows))


if __name__ == "__main__":
    sys.exit(main())
