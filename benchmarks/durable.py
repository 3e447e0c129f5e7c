"""How long does `await log_invocation(record, durable=True)` take, with 1, 10 and 100 callers at once?"""

import asyncio
from pathlib import Path
from time import perf_counter, time_ns
from typing import Final

from benchmarks._data import records
from benchmarks._harness import Bar, Options, Report, Row, check, command, interleave, median, percentile, scratch
from llm_service.telemetry import AsyncTelemetryLogger, InvocationRecord
from llm_service.telemetry.stores.sqlite.opening import open_for_writing

__all__ = ["run"]

_BAR: Final = Bar("ours", "<", 10.0)


def run(options: Options) -> Report:
    """Durable await, p50 and p99, beside a bare thread hop and a bare SQLite commit with synchronous=FULL."""
    report = Report("durable", "milliseconds until a record is committed with synchronous=FULL")
    with scratch() as folder:
        asyncio.run(_measure(report, folder, options))
    return report


async def _measure(report: Report, folder: Path, options: Options) -> None:
    rounds, calls = options.count(5, 1), options.count(200, 20)
    found: dict[str, list[float]] = {}
    raw = open_for_writing(folder / "raw.db", time_ns() // 1000)
    raw.execute("PRAGMA synchronous = FULL")

    async with AsyncTelemetryLogger(folder / "durable.db", models=False, policies=False) as telemetry:

        async def callers(name: str, count: int) -> float:
            ready = list(records(max(calls, 10 * count)))

            async def caller(mine: list[InvocationRecord]) -> list[float]:
                times: list[float] = []
                for record in mine:
                    started = perf_counter()
                    check(await telemetry.log_invocation(record, durable=True), "it is committed")
                    times.append((perf_counter() - started) * 1000)
                return times

            results = await asyncio.gather(*(caller(ready[at::count]) for at in range(count)))
            times = [one for result in results for one in result]
            found.setdefault(name, []).extend(times)
            return percentile(times, 0.99)

        async def hop() -> float:
            times: list[float] = []
            for _ in range(calls):
                started = perf_counter()
                await asyncio.to_thread(int)
                times.append((perf_counter() - started) * 1000)
            found.setdefault("hop", []).extend(times)
            return percentile(times, 0.99)

        async def commit() -> float:
            times: list[float] = []
            for record in records(calls):
                started = perf_counter()
                raw.execute("BEGIN IMMEDIATE")
                raw.execute(
                    "INSERT INTO invocations (invocation_id, timestamp, status) VALUES (?, '2026-01-01', 'success')",
                    (record.invocation_id,),
                )
                raw.execute("COMMIT")
                times.append((perf_counter() - started) * 1000)
            found.setdefault("commit", []).extend(times)
            return percentile(times, 0.99)

        p99 = await interleave(
            rounds,
            {
                "1": lambda: callers("1", 1),
                "10": lambda: callers("10", 10),
                "100": lambda: callers("100", 100),
                "hop": hop,
                "commit": commit,
            },
        )
        ledger = telemetry.stats().ledger
    raw.close()
    check(ledger.balanced and ledger.written == ledger.submitted, "every durable record is written")
    middle = {name: percentile(times, 0.5) for name, times in found.items()}
    for name in ("1", "10", "100"):
        who = f"{name} caller{'s' if name != '1' else ''}"
        report.rows.append(Row(f"{who}, p50", middle[name], "ms", middle["commit"], "bare FULL commit"))
        report.rows.append(
            Row(f"{who}, p99", median(p99[name]), "ms", median(p99["commit"]), "bare FULL commit", bar=_BAR)
        )
    report.notes.append(f"bare thread hop: p50 {middle['hop']:.3f} ms, p99 {median(p99['hop']):.3f} ms")
    report.notes.append("p99 is the median of the rounds' p99")


if __name__ == "__main__":
    command(run)
