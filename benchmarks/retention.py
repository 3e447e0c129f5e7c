"""Does anybody notice while half of a large file is deleted under load?"""

import asyncio
import gc
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from time import perf_counter, time_ns
from typing import Any, Final, NamedTuple

from benchmarks._data import AGENTS, records
from benchmarks._harness import Bar, Options, Report, Row, check, parser, percentile, scratch, show
from llm_service.telemetry import AsyncTelemetryLogger, InvocationRecord, PurgeResult, TelemetryLogger
from llm_service.telemetry.stores.sqlite.batch_writer import SqliteBatchWriter
from llm_service.telemetry.stores.sqlite.opening import open_for_writing
from llm_service.telemetry.writer.schedule import Do

__all__ = ["run"]

_DAYS: Final = 60
_KEPT_DAYS: Final = 30
_TICK: Final = 0.002
_PER_TICK: Final = 10
_RATE: Final = round(_PER_TICK / _TICK)
_DURABLE_EVERY: Final = 0.02
_BATCH: Final = 20_000


class _Load(NamedTuple):
    """What was seen while records were logged at the pace."""

    seconds: float
    lags: list[float]
    durable: list[float]
    logged: int
    result: PurgeResult | None


def run(options: Options, count: int | None = None) -> Report:
    """Loop lag and durable waits at 5,000 records/s while half of a file is purged, and without that."""
    count = count or options.count(2_000_000, 20_000)
    report = Report(
        "retention", f"{_RATE:,} records/s are logged, one durable every 20 ms, while half of the file goes"
    )
    with scratch() as folder:
        path = folder / "retention.db"
        started = perf_counter()
        old = _build(path, count)
        report.notes.append(f"built {count:,} records, {old:,} of them too old, in {perf_counter() - started:.0f} s")
        asyncio.run(_measure(report, path, count, old, options))
        days = options.count(365, 40)
        for agents, bar in ((10, Bar("ours", "<", 20.0)), (len(AGENTS), None)):
            most = _size_over(folder / f"{agents}.db", days, agents)
            what = f"largest size in {days} days of 1,000 records, {_KEPT_DAYS} kept, {agents} agents"
            report.rows.append(Row(what, most / 1e6, "MB", bar=bar))
    return report


def _build(path: Path, count: int) -> int:
    """Sixty days of records with right daily totals; returns how many are too old."""
    start = datetime.now(UTC) - timedelta(days=_DAYS)
    with closing(open_for_writing(path, time_ns() // 1000)) as connection:
        writer = SqliteBatchWriter("benchmarks", "metadata")
        batch: list[InvocationRecord] = []
        for number, record in enumerate(records(count, start=start, span=timedelta(days=_DAYS)), start=1):
            batch.append(record)
            if len(batch) == _BATCH or number == count:
                writer.write(connection, batch, batch_no=number, durable=False, slice_rows=76)
                batch.clear()
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    return int(_ask(path, "SELECT count(*) FROM invocations WHERE timestamp < ?", _cutoff()))


def _size_over(path: Path, days: int, agents: int) -> int:
    """The most bytes that the file ever has, where 1,000 records a day come and retention does its work each day."""
    start = datetime.now(UTC) - timedelta(days=days)
    sizes: list[int] = []
    with TelemetryLogger(path, retention_days=_KEPT_DAYS, models=False, policies=False) as logger:
        engine = logger._engine
        engine.drivers.ensure = lambda **_: False  # type: ignore[method-assign] # this thread does it all
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute("UPDATE retention SET clock_believed_until = ?", (f"{start:%Y-%m-%d %H:%M:%S.%fZ}",))
        for day in range(days):
            now = start + timedelta(days=day)
            engine.retention.clock_ns = partial(int, now.timestamp() * 1e9)
            morning, span = now - timedelta(hours=8), timedelta(hours=8)
            for record in records(1000, seed=day, start=morning, span=span, agents=agents):
                logger.log_invocation_nowait(record)
            logger.flush()
            while engine.retention.busy:
                engine.inline.retain()
            engine.inline.act(Do.TIDY)
            sizes.append(_size(path))
        purged = logger.stats().purged
    first = (start + timedelta(days=days - 1 - _KEPT_DAYS)).date().isoformat()
    check(_ask(path, "SELECT min(timestamp) FROM invocations") >= first, "the oldest record is young enough")
    check(_ask(path, "SELECT count(*) FROM invocations") == 1000 * days - purged > 0, "what is not deleted is there")
    check(_ask(path, "SELECT sum(invocations) FROM daily_costs") == 1000 * days, "daily totals count every day")
    return max(sizes)


def _size(path: Path) -> int:
    return path.stat().st_size


def _cutoff() -> str:
    return (datetime.now(UTC) - timedelta(days=_KEPT_DAYS)).date().isoformat()


async def _measure(report: Report, path: Path, count: int, old: int, options: Options) -> None:
    before = _size(path)
    totals = _ask(path, "SELECT sum(invocations) FROM daily_costs")
    seconds = options.count(15, 1)
    base = await _load(path, purge=False, at_least=seconds)
    purging = await _load(path, purge=True, at_least=0)
    result = purging.result
    check(result is not None and result.complete and result.records == old, "every record that is too old is deleted")
    logged = base.logged + purging.logged
    check(_ask(path, "SELECT count(*) FROM invocations") == count - old + logged, "and no other is")
    check(_ask(path, "SELECT min(timestamp) FROM invocations") >= _cutoff(), "the oldest that is left is young enough")
    check(_ask(path, "SELECT sum(invocations) FROM daily_costs") == totals + logged, "daily totals count all of them")
    check(_ask(path, "SELECT records_kept_since FROM retention") == _cutoff(), "the file says what is gone")
    check(_ask(path, "PRAGMA integrity_check") == "ok", "the file is intact")
    after = _size(path)
    for share, bar in ((0.5, None), (0.99, Bar("ours", "<", 2.0)), (1.0, None)):
        report.rows.append(_row("loop lag", share, purging.lags, base.lags, bar))
    for share, bar in ((0.5, None), (0.99, Bar("ours", "<", 20.0)), (1.0, None)):
        report.rows.append(_row("durable await", share, purging.durable, base.durable, bar))
    report.rows.append(Row("the purge took", purging.seconds, "s"))
    report.rows.append(Row("size of the file after it", after / 1e6, "MB", before / 1e6, "before"))
    report.notes.append(
        f"{old / purging.seconds:,.0f} records/s deleted; {purging.logged:,} records logged meanwhile, "
        f"{len(purging.durable):,} of them durable; the load without a purge ran for {base.seconds:.0f} s"
    )


def _row(what: str, share: float, ours: Sequence[float], base: Sequence[float], bar: Bar | None) -> Row:
    name = "max" if share == 1.0 else f"p{share * 100:g}"
    peer = percentile(base, share)
    return Row(f"{what}, {name}", percentile(ours, share), "ms", peer, "without a purge", bar=bar)


async def _load(path: Path, *, purge: bool, at_least: float) -> _Load:
    """Log at the pace until the purge is over, or for some seconds where there is none."""
    lags: list[float] = []
    waits: list[float] = []
    logged = 0
    over = asyncio.Event()
    ready = list(records(20_000))  # made before; only ids and moments are new in each that is logged
    gc.collect()
    gc.freeze()

    async def sleeper() -> None:
        while not over.is_set():
            started = perf_counter()
            await asyncio.sleep(0.001)
            lags.append((perf_counter() - started - 0.001) * 1000)

    async def pace(telemetry: AsyncTelemetryLogger) -> None:
        nonlocal logged
        started = perf_counter()
        while not over.is_set():
            due = int((perf_counter() - started) / _TICK + 1) * _PER_TICK
            for _ in range(min(due - logged, 5 * _PER_TICK)):
                telemetry.log_invocation_nowait(_fresh(ready[logged % len(ready)]))
                logged += 1
            await asyncio.sleep(_TICK)

    async def durable(telemetry: AsyncTelemetryLogger) -> None:
        while not over.is_set():
            record = _fresh(ready[len(waits)])
            started = perf_counter()
            check(await telemetry.log_invocation(record, durable=True), "it is committed")
            waits.append((perf_counter() - started) * 1000)
            await asyncio.sleep(_DURABLE_EVERY)

    try:
        async with AsyncTelemetryLogger(path, retention_days=None, models=False, policies=False) as telemetry:
            tasks = [asyncio.create_task(one) for one in (sleeper(), pace(telemetry), durable(telemetry))]
            started = perf_counter()
            result = await telemetry.purge(_KEPT_DAYS) if purge else None
            await asyncio.sleep(at_least)
            seconds = perf_counter() - started
            over.set()
            await asyncio.gather(*tasks)
            await telemetry.flush()
            ledger = telemetry.stats().ledger
    finally:
        gc.unfreeze()
    check(ledger.balanced and ledger.written == ledger.submitted, "every record is written")
    return _Load(seconds, lags, waits, ledger.written, result)


def _fresh(record: InvocationRecord) -> InvocationRecord:
    _, _, agent, tool, model, prompt, completion, total, cost, latency, status, error, _ = record.card
    return InvocationRecord(
        agent_name=agent, tool_name=tool, model_name=model, prompt_tokens=prompt, completion_tokens=completion,
        total_tokens=total, cost_usd=cost, latency_ms=latency, status=status, error_message=error,
    )  # fmt: skip


def _ask(path: Path, sql: str, *parameters: Any) -> Any:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(sql, parameters).fetchone()[0]


if __name__ == "__main__":
    parsing = parser(str(run.__doc__))
    parsing.add_argument("--records", type=int, help="how many the file holds; default 2,000,000")
    given = parsing.parse_args()
    show([run(Options(quick=given.quick), given.records)], json_wanted=given.json)
