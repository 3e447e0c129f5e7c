"""What does the crash journal add to a call? One append by itself, and `log_invocation_nowait` with it and without."""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any, Final

from benchmarks._data import records
from benchmarks._harness import Bar, Options, Report, Row, check, command, interleave, percentile, scratch
from llm_service.telemetry import InvocationRecord, TelemetryLogger
from llm_service.telemetry.journal.encoding import decode, encode
from llm_service.telemetry.journal.journal import CrashJournal, Slot
from llm_service.telemetry.journal.segment_names import find

__all__ = ["run"]

_BAR: Final = Bar("ours", "<", 3.0)
"""Microseconds, the look for secrets before it included."""
_ROOM: Final = 64 * 1024 * 1024


def run(options: Options) -> Report:
    """The time of single calls, p50 and p99, each kind in turn with the others."""
    report = Report("journal", "what the crash journal adds to a call")
    with scratch() as folder:
        asyncio.run(_measure(report, folder, options))
    return report


def _times(call: Callable[[InvocationRecord], object], ready: Sequence[InvocationRecord]) -> list[float]:
    times: list[float] = []
    for record in ready:
        started = perf_counter()
        call(record)
        times.append((perf_counter() - started) * 1e6)
    return times


async def _measure(report: Report, folder: Path, options: Options) -> None:
    rounds, calls = options.count(15, 1), options.count(1000, 100)
    found: dict[str, list[float]] = {}
    journal = CrashJournal(folder / "raw.db", _ROOM, "metadata")
    journal.begin("raw")
    check(journal.ensure(), "the segment is there")
    # Commits are asked for between the rounds, so that none runs beside a call that is timed.
    settings: dict[str, Any] = {"flush_interval": 3600.0, "batch_size": 100_000}
    plain = TelemetryLogger(folder / "plain.db", models=False, policies=False, **settings)
    journaled = TelemetryLogger(folder / "journaled.db", journal=True, models=False, policies=False, **settings)

    def measured(name: str, call: Callable[[InvocationRecord], object], after: Callable[[], object]) -> Any:
        async def once() -> float:
            times = _times(call, list(records(calls)))
            after()
            found.setdefault(name, []).extend(times)
            return percentile(times, 0.5)

        return once

    slots: list[Slot] = []

    def append(record: InvocationRecord) -> None:
        slot = Slot()
        slots.append(slot)
        check(journal.append(encode(record), slot), "there is room")

    def free() -> None:
        journal.free(slots)
        slots.clear()

    for record in records(50, every_column=True):
        check(decode(encode(record)) == record, "what is read is what was written")
    await interleave(
        rounds,
        {
            "encode": measured("encode", encode, lambda: None),
            "append": measured("append", append, free),
            "plain": measured("plain", plain.log_invocation_nowait, plain.flush),
            "journaled": measured("journaled", journaled.log_invocation_nowait, journaled.flush),
        },
    )
    for logger in (plain, journaled):
        ledger = logger.stats().ledger
        check(ledger.written == ledger.submitted == (rounds + 1) * calls, "every record is written")
        logger.close()
    journal.close()
    check(not find(folder / "raw.db") and not find(folder / "journaled.db"), "no journal is left")
    p50 = {name: percentile(times, 0.5) for name, times in found.items()}
    p99 = {name: percentile(times, 0.99) for name, times in found.items()}
    for share, at in (("p50", p50), ("p99", p99)):
        report.rows.append(Row(f"append, {share}", at["append"], "us", at["encode"], "its encoding"))
        report.rows.append(Row(f"nowait with the journal, {share}", at["journaled"], "us", at["plain"], "without"))
    added = p50["journaled"] - p50["plain"]
    report.rows.append(Row("nowait, added p50", added, "us", bar=_BAR))
    report.notes.append(f"{rounds} rounds of {calls} calls each, in turn; the first round does not count")


if __name__ == "__main__":
    command(run)
