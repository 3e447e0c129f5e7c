"""Do the queries stay quick as the file grows ten times longer?"""

import asyncio
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from time import perf_counter, time_ns
from typing import Any, Final

from benchmarks._data import AGENTS, records
from benchmarks._harness import Bar, Options, Report, Row, check, command, interleave, median, percentile, scratch
from llm_service.telemetry import TelemetryLogger
from llm_service.telemetry.stores.sqlite.batch_writer import SqliteBatchWriter
from llm_service.telemetry.stores.sqlite.opening import open_for_writing

__all__ = ["run"]

_BATCH: Final = 20_000
_BAR: Final = Bar("ratio", "<=", 2.0)
_DAYS: Final = 365


def run(options: Options) -> Report:
    """Query times at ten times the days, the same number of records a day."""
    report = Report("queries", "milliseconds of a query in a file of ten times the days, beside the shorter file")
    many = options.count(1_000_000, 50_000)
    end = datetime.now(UTC)
    with scratch() as folder:
        sizes = {"long": (many, timedelta(days=_DAYS)), "short": (many // 10, timedelta(days=_DAYS / 10))}
        loggers: dict[str, TelemetryLogger] = {}
        for name, (count, span) in sizes.items():
            started = perf_counter()
            _build(folder / f"{name}.db", count, end - span, span)
            report.notes.append(f"built {count:,} records in {perf_counter() - started:.1f} s")
            loggers[name] = TelemetryLogger(folder / f"{name}.db", retention_days=None, models=False, policies=False)
        try:
            _check_results(loggers, many, end)
            asyncio.run(_measure(report, loggers, options.count(25, 2)))
        finally:
            for logger in loggers.values():
                logger.close()
    return report


def _build(path: Path, count: int, start: datetime, span: timedelta) -> None:
    connection = open_for_writing(path, time_ns() // 1000)
    writer = SqliteBatchWriter("benchmarks", "metadata")
    batch: list[Any] = []
    number = 0
    for record in records(count, start=start, span=span):
        batch.append(record)
        if len(batch) == _BATCH:
            number += 1
            writer.write(connection, batch, batch_no=number, durable=False, slice_rows=76)
            batch.clear()
    if batch:
        writer.write(connection, batch, batch_no=number + 1, durable=False, slice_rows=76)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    connection.close()


def _questions(logger: TelemetryLogger) -> dict[str, Callable[[], Any]]:
    week_ago = date.today() - timedelta(days=7)  # noqa: DTZ011 - as the quick reference asks
    return {
        "get_daily_costs, 7 days": lambda: logger.get_daily_costs(start_date=week_ago),
        "get_statistics, 7 days": lambda: logger.get_statistics(days=7),
        "get_statistics, 90 days": lambda: logger.get_statistics(days=90),
        "get_statistics, 7 days, one agent": lambda: logger.get_statistics(AGENTS[7], days=7),
        "get_invocations, newest 100": lambda: logger.get_invocations(limit=100),
        "get_invocations, newest 100 of an agent": lambda: logger.get_invocations(agent_name=AGENTS[7], limit=100),
        "get_invocations, newest 100 errors": lambda: logger.get_invocations(status="error", limit=100),
    }


async def _measure(report: Report, loggers: dict[str, TelemetryLogger], rounds: int) -> None:
    asked = {name: _questions(logger) for name, logger in loggers.items()}
    for what in asked["long"]:

        def contender(ask: Callable[[], Any]) -> Any:
            async def once() -> float:
                started = perf_counter()
                ask()
                return (perf_counter() - started) * 1000

            return once

        times = await interleave(rounds, {name: contender(asked[name][what]) for name in asked})
        report.rows.append(
            Row(what, median(times["long"]), "ms", median(times["short"]), "a tenth of the days", bar=_BAR)
        )
        report.notes.append(
            f"{what}: p99 {percentile(times['long'], 0.99):.2f} ms beside {percentile(times['short'], 0.99):.2f}"
        )


def _check_results(loggers: dict[str, TelemetryLogger], many: int, end: datetime) -> None:
    for name, count in (("long", many), ("short", many // 10)):
        logger = loggers[name]
        costs = logger.get_daily_costs()
        check(sum(day["invocations"] for day in costs) == count, "the daily totals count every record")
        since = end - timedelta(days=7)
        rows = logger.get_invocations(since=since, limit=1_000_000)
        found = logger.get_statistics(days=7)["total_invocations"]
        per_minute = many / _DAYS / 1440
        check(abs(found - len(rows)) <= 5 * per_minute + 5, "statistics of a week count its rows")
        check(rows == sorted(rows, key=lambda row: row["timestamp"], reverse=True), "the newest row comes first")
        errors = logger.get_invocations(status="error", limit=100)
        check(len(errors) == 100 and all(row["status"] == "error" for row in errors), "errors are found")


if __name__ == "__main__":
    command(run)
