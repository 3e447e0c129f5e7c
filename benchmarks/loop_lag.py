"""How late does the event loop run while 20,000 records a second are logged through it?"""

import asyncio
import gc
import sqlite3
import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from time import perf_counter, sleep
from typing import Any, Final

from benchmarks._data import records
from benchmarks._harness import Bar, Options, Report, Row, check, command, interleave, median, percentile, scratch
from llm_service.telemetry import AsyncTelemetryLogger, InvocationRecord
from llm_service.telemetry.stores.sqlite.opening import open_for_writing
from llm_service.telemetry.stores.sqlite.statements import RowBinder

__all__ = ["run"]

_TICK: Final = 0.001
_PER_TICK: Final = 20


def run(options: Options) -> Report:
    """Loop lag at 20,000 records a second: a 1 ms sleeper's overrun with the writer, and with a no-op in its place."""
    report = Report("loop_lag", "overrun of asyncio.sleep(0.001) while 20,000 records/s are logged, 20 every 1 ms")
    ticks, rounds = options.count(2_500, 150), options.count(3, 1)
    lags: dict[str, list[list[float]]] = {"writer": [], "no-op": [], "bare": []}
    queued: list[int] = []

    async def with_writer() -> float:
        with scratch() as folder, _ready(ticks * _PER_TICK) as ready:
            async with AsyncTelemetryLogger(folder / "lag.db", models=False, policies=False) as telemetry:
                lags["writer"].append(await _probe(ready, telemetry.log_invocation_nowait))
                queued.append(telemetry.stats().queue_records)
                flushed = await telemetry.flush()
                ledger = telemetry.stats().ledger
        check(flushed.complete and ledger.balanced, "the flush is complete and the ledger adds up")
        check(ledger.written == ticks * _PER_TICK, "every record is written")
        return percentile(lags["writer"][-1], 0.99)

    async def without() -> float:
        with _ready(ticks * _PER_TICK) as ready:
            lags["no-op"].append(await _probe(ready, bool))
        return percentile(lags["no-op"][-1], 0.99)

    async def with_bare_thread() -> float:
        with scratch() as folder, _ready(ticks * _PER_TICK) as ready:
            path = folder / "bare.db"
            thread = threading.Thread(target=_bare_inserts, args=(path, _bound(ready)))
            thread.start()
            lags["bare"].append(await _probe(ready, bool))
            thread.join()
            with closing(sqlite3.connect(path)) as connection:
                (rows,) = connection.execute("SELECT count(*) FROM invocations").fetchone()
        check(rows == len(ready), "the bare thread has inserted every record")
        return percentile(lags["bare"][-1], 0.99)

    variants = {"writer": with_writer, "no-op": without, "bare": with_bare_thread}
    p99 = asyncio.run(interleave(rounds, variants))["writer"]
    for share, bar in ((0.5, None), (0.99, Bar("ours", "<", 1.0)), (1.0, None)):
        name = "max" if share == 1.0 else f"p{share * 100:g}"
        ours, base = (median([percentile(one, share) for one in lags[who][1:]]) for who in ("writer", "no-op"))
        bare = median([percentile(one, share) for one in lags["bare"][1:]])
        report.rows.append(Row(name, ours, "ms", base, "no-op in its place", bar=bar))
        report.rows.append(Row(f"{name}, beside a bare thread", ours, "ms", bare, "bare sqlite3 thread, ready rows"))
        if bar is not None:
            report.rows.append(Row(f"{name} added", max(0.0, ours - base), "ms", bar=bar))
    report.notes.append(
        f"p99 in each round: {', '.join(f'{one:.2f}' for one in p99)} ms; records still queued at its end: "
        f"{', '.join(f'{one:,}' for one in queued[1:])}"
    )
    return report


Bound = list[list[tuple[str, list[Any]]]]


def _bound(ready: Sequence[InvocationRecord]) -> Bound:
    """The same rows as statements with their parameters, made before: transactions of 256 rows, 25 a statement."""
    binder = RowBinder("metadata")
    batches = [ready[at : at + 256] for at in range(0, len(ready), 256)]
    return [[binder.insert(batch[at : at + 25]) for at in range(0, len(batch), 25)] for batch in batches]


def _bare_inserts(path: Path, batches: Bound) -> None:
    """What any writer in a thread must do at this pace: insert ready rows and commit, nothing else in Python."""
    with closing(open_for_writing(path, 0)) as connection:
        started = perf_counter()
        for number, batch in enumerate(batches):
            sleep(max(0.0, started + number * 256 / (_PER_TICK / _TICK) - perf_counter()))
            connection.execute("BEGIN IMMEDIATE")
            for sql, parameters in batch:
                connection.execute(sql, parameters)
            connection.execute("COMMIT")


@contextmanager
def _ready(count: int) -> Generator[list[InvocationRecord]]:
    """Records that were made before, out of the garbage collector's way."""
    ready = list(records(count))
    gc.collect()
    gc.freeze()
    try:
        yield ready
    finally:
        gc.unfreeze()


async def _probe(ready: Sequence[InvocationRecord], log: Callable[[InvocationRecord], object]) -> list[float]:
    """Log all records at the pace, and return the sleeper's overruns in milliseconds."""
    found: list[float] = []
    done = asyncio.Event()

    async def sleeper() -> None:
        while not done.is_set():
            started = perf_counter()
            await asyncio.sleep(_TICK)
            found.append((perf_counter() - started - _TICK) * 1000)

    sleeping = asyncio.create_task(sleeper())
    started = perf_counter()
    for tick, at in enumerate(range(0, len(ready), _PER_TICK)):
        await asyncio.sleep(max(0.0, started + tick * _TICK - perf_counter()))
        for record in ready[at : at + _PER_TICK]:
            log(record)
    done.set()
    await sleeping
    return found


if __name__ == "__main__":
    command(run)
