"""Half an hour of faults at random: does anything grow, get lost, get counted twice, or hold the loop up?

`python -m benchmarks.soak [--minutes 30] [--seed 1] [--json]`. An agent logs at a steady pace; meanwhile, in an order
that the seed decides: a foreign process holds the write lock, holds a reading transaction, or writes to the same file;
the disk stalls or is full; calls are cancelled; the process forks; somebody flushes. It needs `/proc`, so Linux.
"""

import asyncio
import os
import random
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from sqlite3 import Connection, connect
from time import monotonic, sleep
from typing import Any, Final, cast

from benchmarks._harness import Bar, Report, Row, check, parser, scratch, show
from benchmarks._long import LagProbe, Sample, progress, sample, slope, stored
from llm_service.telemetry import AsyncTelemetryLogger, InvocationRecord, TelemetryLogger
from llm_service.telemetry.stores.base import WriteResult
from llm_service.telemetry.stores.sqlite.batch_writer import SqliteBatchWriter

__all__ = ["run"]

_RATE: Final = 500
"""Records a second: an agent fleet, not a load test."""
_WAL_SHORT: Final = 8 * 1024 * 1024
_MIB: Final = 1024 * 1024
_FORKED: Final = 20
_FOE: Final = """
import sqlite3, sys, time
from llm_service.telemetry import InvocationRecord, TelemetryLogger
for line in sys.stdin:
    what, amount = line.split()
    if what == "write":
        with TelemetryLogger(sys.argv[1], retention_days=None, models=False, policies=False) as logger:
            for _ in range(int(amount)): logger.log_invocation(InvocationRecord(agent_name="foe"))
    else:
        foe = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=30)
        foe.execute("BEGIN IMMEDIATE" if what == "lock" else "BEGIN")
        foe.execute("SELECT count(*) FROM invocations").fetchone()
        time.sleep(float(amount))
        foe.execute("ROLLBACK")
        foe.close()
    print("done", flush=True)
"""


class _Disk:
    """Stands between the store and its writer: stalls, or leaves SQLite no page to grow by."""

    def __init__(self, writer: SqliteBatchWriter) -> None:
        self._write = writer.write
        self.stall = 0.0
        self.full = False

    def write(
        self,
        connection: Connection,
        batch: Sequence[InvocationRecord],
        *,
        batch_no: int,
        durable: bool,
        slice_rows: int,
    ) -> WriteResult:
        """Commit like the writer, later or not at all."""
        sleep(self.stall)
        pages = 1 if self.full else 2**30  # SQLite takes the present size for less
        connection.execute(f"PRAGMA max_page_count = {pages:d}")
        return self._write(connection, batch, batch_no=batch_no, durable=durable, slice_rows=slice_rows)


@dataclass(slots=True)
class _Soak:
    """One run."""

    path: Path
    telemetry: AsyncTelemetryLogger
    disk: _Disk
    foe: asyncio.subprocess.Process
    draw: random.Random
    probe: LagProbe = field(default_factory=LagProbe)
    faults: Counter[str] = field(default_factory=Counter[str])
    samples: list[Sample] = field(default_factory=list[Sample])
    shrunk_after: list[float] = field(default_factory=list[float])
    durable: set[str] = field(default_factory=set[str])
    foreign: int = 0
    longest_wal: int = 0
    handed_over: int = 0

    async def ask_foe(self, what: str, amount: float) -> None:
        assert self.foe.stdin is not None
        assert self.foe.stdout is not None
        self.foe.stdin.write(f"{what} {amount}\n".encode())
        check((await self.foe.stdout.readline()) == b"done\n", f"the foreign process can {what}")

    async def lock(self) -> None:
        """A foreign process holds the write lock."""
        await self.ask_foe("lock", self.draw.uniform(0.2, 2.0))

    async def read(self) -> None:
        """A foreign process reads while the WAL grows; how long after its end is the WAL short again?"""
        reading = asyncio.create_task(self.ask_foe("read", 2.0))
        for _ in range(900):
            self.log(metadata={"text": "x" * 30_000})
            self.longest_wal = max(self.longest_wal, self.wal_bytes())
            await asyncio.sleep(0.002)
        await reading
        ended = monotonic()
        while self.wal_bytes() > _WAL_SHORT and monotonic() < ended + 30:  # noqa: ASYNC110 - a file tells nobody
            await asyncio.sleep(0.02)
        self.shrunk_after.append(monotonic() - ended)

    async def write(self) -> None:
        """A second process writes to the same file."""
        await self.ask_foe("write", 100)
        self.foreign += 100

    async def stall(self) -> None:
        """Each commit takes a third of a second longer."""
        self.probe.phase, self.disk.stall = "stalled", 0.3
        await asyncio.sleep(self.draw.uniform(1.0, 3.0))
        self.probe.phase, self.disk.stall = "steady", 0.0

    async def fill(self) -> None:
        """The disk is full."""
        self.disk.full = True
        await asyncio.sleep(self.draw.uniform(0.5, 2.0))
        self.disk.full = False

    async def cancel(self) -> None:
        """Calls that wait for a commit are cancelled; what was acknowledged before must be on disk."""

        async def log_durably() -> None:
            record = InvocationRecord(agent_name="durable")
            self.handed_over += 1
            await self.telemetry.log_invocation(record, durable=True)
            self.durable.add(record.invocation_id)

        tasks = [asyncio.create_task(log_durably()) for _ in range(50)]
        await asyncio.sleep(self.draw.uniform(0.0, 0.02))
        for task in self.draw.sample(tasks, 40):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def fork(self) -> None:
        """A forked child logs through a logger of its own and vanishes."""
        self.probe.phase = "fork"
        child = os.fork()
        if child == 0:
            with suppress(BaseException):
                logger = TelemetryLogger(self.path, retention_days=None, models=False, policies=False)
                done = sum(logger.log_invocation(InvocationRecord(agent_name="child")) for _ in range(_FORKED))
                os._exit(0 if done == _FORKED else 1)
            os._exit(1)
        _, status = await asyncio.to_thread(os.waitpid, child, 0)
        check(os.waitstatus_to_exitcode(status) == 0, "a forked child writes its records")
        self.foreign += _FORKED
        self.probe.phase = "steady"

    async def flush(self) -> None:
        """Somebody flushes, with more patience or less."""
        await self.telemetry.flush(self.draw.choice((0.001, 0.1, 5.0)))

    def log(self, **fields: Any) -> None:
        self.handed_over += 1
        self.telemetry.log_invocation_nowait(InvocationRecord(agent_name="steady", **fields))

    def wal_bytes(self) -> int:
        with suppress(FileNotFoundError):
            return self.path.with_name(f"{self.path.name}-wal").lstat().st_size
        return 0

    async def work(self) -> None:
        """The agent."""
        started, logged = monotonic(), 0
        while True:
            due = int((monotonic() - started) * _RATE)
            for _ in range(min(due - logged, 50)):
                self.log(prompt_tokens=1200, completion_tokens=300, cost_usd=0.0081, latency_ms=1500)
            logged = due
            await asyncio.sleep(0.01)

    async def watch(self) -> None:
        """A sample each second."""
        while True:
            check(self.telemetry.stats().ledger.balanced, "the ledger adds up at every moment")
            self.samples.append(sample())
            await asyncio.sleep(1.0)

    async def torment(self, seconds: float) -> None:
        """One fault after the other: each kind once in a shuffled round, then the next round."""
        kinds: dict[str, Callable[[], Awaitable[None]]] = {
            "foreign write lock": self.lock, "foreign reader": self.read, "second writer": self.write,
            "stalled disk": self.stall, "full disk": self.fill, "cancelled calls": self.cancel, "fork": self.fork,
            "flush": self.flush,
        }  # fmt: skip
        end, began = monotonic() + seconds, monotonic()
        while monotonic() < end:
            for kind in self.draw.sample(list(kinds), len(kinds)):
                if monotonic() >= end:
                    break
                await kinds[kind]()
                self.faults[kind] += 1
                await asyncio.sleep(self.draw.uniform(0.0, 0.3))
            now = sample()
            progress(
                f"{monotonic() - began:5.0f} s of {seconds:g}: {self.handed_over:,} records, "
                f"{self.faults.total()} faults, {now.rss / _MIB:.0f} MiB, "
                f"{now.descriptors} descriptors, {now.threads} threads, {now.tasks} tasks"
            )


def run(seconds: float, seed: int) -> Report:
    """Soak: faults at random, and what must not grow, get lost or come late."""
    return asyncio.run(_run(seconds, seed))


async def _run(seconds: float, seed: int) -> Report:
    with scratch() as folder:
        path = folder / "soak.db"
        telemetry = AsyncTelemetryLogger(path, retention_days=None, close_timeout=60, models=False, policies=False)
        writer: Any = cast("Any", telemetry._engine.store).writer
        disk = _Disk(writer)
        writer.write = disk.write
        await telemetry.start()
        foe = await asyncio.create_subprocess_exec(
            sys.executable, "-c", _FOE, str(path), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
        )
        soak = _Soak(path, telemetry, disk, foe, random.Random(seed))
        await soak.fork()  # what a process makes once (a thread pool, say) is there before the first sample
        await soak.telemetry.flush()
        tasks = [asyncio.create_task(work) for work in (soak.probe.run(), soak.work(), soak.watch())]
        await soak.torment(seconds)
        for task in tasks:
            if task.done():
                task.result()
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        quiet = await _settled(soak)
        check((await telemetry.aclose()).complete, "the close is complete")
        foe.terminate()
        await foe.communicate()
        return _report(soak, quiet, seconds, seed)


async def _settled(soak: _Soak) -> Sample:
    """The process once nothing goes on."""
    await soak.telemetry.flush()
    await asyncio.sleep(0.1)
    return sample()


def _report(soak: _Soak, quiet: Sample, seconds: float, seed: int) -> Report:
    ledger, truth = soak.telemetry.stats().ledger, stored(soak.path)
    with closing(connect(soak.path)) as connection:
        ids = {
            row[0] for row in connection.execute("SELECT invocation_id FROM invocations WHERE agent_name = 'durable'")
        }
    check(ledger.balanced and ledger.pending == 0, "the ledger adds up")
    check(ledger.submitted == soak.handed_over, "every record handed over is counted")
    kept = soak.samples[len(soak.samples) // 4 :]
    growth = slope([(one.at, float(one.rss)) for one in kept]) * 60 / _MIB
    # In a short run the allocator's warm-up is most of what is seen.
    allowed = 0.5 if seconds >= 600 else 60.0
    report = Report("soak", f"{seconds:g} s of faults at random, seed {seed}, {_RATE} records/s beside them")
    exact = Bar("ours", "<=", 0.0)
    lags = soak.probe.lags
    report.rows += [
        Row("records handed over", soak.handed_over, "records"),
        Row("dropped, by the ledger", sum(ledger.dropped.values()), "records"),
        Row("file less ledger and others", abs(truth.rows - ledger.written - soak.foreign), "records", bar=exact),
        Row("daily totals less file", abs(truth.counted - truth.rows), "records", bar=exact),
        Row("acknowledged durable, not on disk", len(soak.durable - ids), "records", bar=exact),
        Row("integrity_check failed", float(not truth.sound), "files", bar=exact),
        Row("memory growth", growth, "MiB/min", bar=Bar("ours", "<=", allowed)),
        Row("descriptors gained", max(0, quiet.descriptors - kept[0].descriptors), "", bar=Bar("ours", "<=", 2.0)),
        Row("threads gained", max(0, quiet.threads - kept[0].threads), "", bar=Bar("ours", "<=", 2.0)),
        Row("tasks gained", max(0, quiet.tasks - kept[0].tasks), "", bar=exact),
        Row("loop lag p99, steady", lags["steady"].percentile(0.99), "ms"),
        Row("loop lag p99, disk stalled", lags["stalled"].percentile(0.99), "ms", bar=Bar("ours", "<", 5.0)),
        Row("longest WAL under a reader", soak.longest_wal / _MIB, "MiB"),
        Row("WAL short after a reader's end", max(soak.shrunk_after, default=0.0), "s", bar=Bar("ours", "<=", 5.0)),
    ]
    report.notes += [
        f"faults: {', '.join(f'{count} {kind}' for kind, count in sorted(soak.faults.items()))}",
        (
            f"{len(soak.durable):,} acknowledged durable; retries {soak.telemetry.stats().retries:,}; first sample "
            f"{soak.samples[0].rss / _MIB:.0f} MiB, last {soak.samples[-1].rss / _MIB:.0f} MiB, peak "
            f"{max(one.rss for one in soak.samples) / _MIB:.0f} MiB"
        ),
    ]
    return report


def main(arguments: Sequence[str] | None = None) -> int:
    """Run and print; 1 where a bar is missed."""
    parsing = parser("Faults at random, and what must not grow, get lost or come late.")
    parsing.add_argument("--minutes", type=float, default=30.0, help="how long (default 30)")
    parsing.add_argument("--seed", type=int, default=1, help="decides the order of the faults (default 1)")
    given = parsing.parse_args(arguments)
    report = run(10.0 if given.quick else given.minutes * 60, given.seed)
    show([report], json_wanted=given.json)
    return int(any(row.verdict == "missed" for row in report.rows))


if __name__ == "__main__":
    sys.exit(main())
