"""How many records a second reach the disk, end to end, beside what SQLite itself can take?"""

import asyncio
import gc
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from time import perf_counter, process_time, time_ns
from typing import Any, Final, NamedTuple

import aiosqlite

from benchmarks._data import records
from benchmarks._harness import Bar, Options, Report, Row, check, command, interleave, median, scratch
from llm_service.telemetry import AsyncTelemetryLogger, InvocationRecord
from llm_service.telemetry.record.record import CARD_FIELDS
from llm_service.telemetry.record.timestamps import TextClock
from llm_service.telemetry.stores.sqlite.opening import open_for_writing

__all__ = ["run"]

_ROWS: Final = 76
_BAR: Final = Bar("ratio", ">=", 0.6)
_ONE: Final = f"({', '.join('?' * len(CARD_FIELDS))})"
_COLUMNS: Final = ", ".join(CARD_FIELDS)


class _Timing(NamedTuple):
    rate: float
    cpu_us: float
    transactions: int


def run(options: Options) -> Report:
    """Sustained rate, queue to committed, beside multi-row INSERTs of ready tuples and a naive commit per record."""
    report = Report(
        "sustained", "records a second from the queue to the committed file, roll-ups and duplicate check in"
    )
    count, rounds = options.count(100_000, 3_000), options.count(3, 1)
    spread = (("50 agents with a tool and two models each", False), ("every agent with every tool and model", True))
    for what, mixed in spread:
        ready = list(records(count, mixed=mixed))
        gc.collect()
        gc.freeze()  # the records were here before: the collector shall not walk them in the timed part
        try:
            asyncio.run(_compare(report, what, ready, rounds, naive_records=options.count(500, 50)))
        finally:
            gc.unfreeze()
    return report


async def _compare(
    report: Report, what: str, ready: Sequence[InvocationRecord], rounds: int, naive_records: int
) -> None:
    ours: list[_Timing] = []
    ceilings: list[_Timing] = []

    async def through_the_logger() -> float:
        with scratch() as folder:
            ours.append(await _end_to_end(folder / "ours.db", ready))
        return ours[-1].rate

    async def straight_to_sqlite() -> float:
        with scratch() as folder:
            ceilings.append(_ceiling(folder / "ceiling.db", ready, len(ready) // ours[-1].transactions))
        return ceilings[-1].rate

    async def one_commit_a_record() -> float:
        with scratch() as folder:
            return await _naive(folder / "naive.db", ready[:naive_records])

    contenders = {"ours": through_the_logger, "ceiling": straight_to_sqlite, "naive": one_commit_a_record}
    rates = await interleave(rounds, contenders)
    ours_rate = median(rates["ours"])
    report.rows.append(Row(what, ours_rate, "records/s", median(rates["ceiling"]), "ready tuples, 76 rows", bar=_BAR))
    report.rows.append(
        Row("the same, one commit a record", ours_rate, "records/s", median(rates["naive"]), "naive aiosqlite")
    )
    report.notes.append(
        f"{what}: CPU {median([one.cpu_us for one in ours[1:]]):.1f} us a record beside "
        f"{median([one.cpu_us for one in ceilings[1:]]):.1f}; {len(ready) // ours[-1].transactions} records "
        f"a transaction in both; ratio in each round "
        f"{', '.join(f'{a / b:.2f}' for a, b in zip(rates['ours'], rates['ceiling'], strict=True))}"
    )


async def _end_to_end(path: Path, ready: Sequence[InvocationRecord]) -> _Timing:
    async with AsyncTelemetryLogger(
        path, commit_timeout=300.0, block_timeout=300.0, models=False, policies=False
    ) as telemetry:
        started, cpu = perf_counter(), process_time()
        for record in ready:
            await telemetry.log_invocation(record)
        flushed = await telemetry.flush()
        seconds, cpu = perf_counter() - started, process_time() - cpu
        stats = telemetry.stats()
    check(flushed.complete and stats.ledger.balanced, "the flush is complete and the ledger adds up")
    check(stats.ledger.written == len(ready), "every record is written")
    check(_counts(path) == (len(ready), len(ready)), "rows and daily totals count every record")
    return _Timing(len(ready) / seconds, cpu / len(ready) * 1e6, stats.transactions)


def _ceiling(path: Path, ready: Sequence[InvocationRecord], transaction_rows: int) -> _Timing:
    clock = TextClock()
    rows = [(card[0], clock(card[1]), *card[2:12], "metadata") for card in (record.card for record in ready)]
    sized = [list(_statements(part)) for part in _parts(rows, transaction_rows)]
    connection = open_for_writing(path, time_ns() // 1000)
    try:
        started, cpu = perf_counter(), process_time()
        for transaction in sized:
            connection.execute("BEGIN IMMEDIATE")
            for sql, parameters in transaction:
                connection.execute(sql, parameters)
            connection.execute("COMMIT")
        seconds, cpu = perf_counter() - started, process_time() - cpu
    finally:
        connection.close()
    check(_counts(path)[0] == len(ready), "the ceiling writes every row")
    return _Timing(len(ready) / seconds, cpu / len(ready) * 1e6, len(sized))


def _statements(rows: Sequence[tuple[Any, ...]]) -> Iterator[tuple[str, tuple[Any, ...]]]:
    for part in _parts(rows, _ROWS):
        sql = f"INSERT INTO invocations ({_COLUMNS}) VALUES {', '.join([_ONE] * len(part))}"
        yield sql, tuple(value for row in part for value in row)


def _parts(rows: Sequence[tuple[Any, ...]], size: int) -> Iterator[Sequence[tuple[Any, ...]]]:
    return (rows[at : at + size] for at in range(0, len(rows), size))


async def _naive(path: Path, ready: Sequence[InvocationRecord]) -> float:
    open_for_writing(path, time_ns() // 1000).close()
    clock = TextClock()
    rows = [(card[0], clock(card[1]), *card[2:12], "metadata") for card in (record.card for record in ready)]
    async with aiosqlite.connect(path) as connection:
        started = perf_counter()
        for row in rows:
            await connection.execute(f"INSERT INTO invocations ({_COLUMNS}) VALUES {_ONE}", row)
            await connection.commit()
        seconds = perf_counter() - started
    check(_counts(path)[0] == len(ready), "the naive logger writes every row")
    return len(ready) / seconds


def _counts(path: Path) -> tuple[int, int]:
    connection = sqlite3.connect(path)
    try:
        (rows,) = connection.execute("SELECT count(*) FROM invocations").fetchone()
        (totals,) = connection.execute("SELECT coalesce(sum(invocations), 0) FROM daily_costs").fetchone()
    finally:
        connection.close()
    return int(rows), int(totals)


if __name__ == "__main__":
    command(run)
