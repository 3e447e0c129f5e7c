"""Are questions answered in milliseconds in a file of five million records? Beside plain SQL and DuckDB, where it is.

DuckDB reads the same file by its extension `sqlite_scanner`: `pip install duckdb duckdb-extensions
duckdb-extension-sqlite-scanner`. A file that was made before is used again: `LLM_TELEMETRY_BENCH_FILE=path`.
"""

import asyncio
import os
import sqlite3
from collections.abc import Callable, Generator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from importlib import import_module
from pathlib import Path
from time import perf_counter, process_time, time_ns
from typing import Any, Final
from zoneinfo import ZoneInfo

from benchmarks._data import AGENTS, RARE, SELDOM, TAGS, TOOLS, records
from benchmarks._harness import Bar, Options, Report, Row, check, command, interleave, median, scratch
from llm_service.telemetry import TelemetryLogger
from llm_service.telemetry.queries.costs import CostKey, CostReport, read_costs
from llm_service.telemetry.queries.filters import InvocationFilter
from llm_service.telemetry.queries.time_range import TimeRange
from llm_service.telemetry.stores.sqlite.batch_writer import SqliteBatchWriter
from llm_service.telemetry.stores.sqlite.opening import open_for_writing
from llm_service.telemetry.stores.sqlite.reader import read

__all__ = ["run"]

_BATCH: Final = 20_000
_DAYS: Final = 90
_FILE: Final = "LLM_TELEMETRY_BENCH_FILE"
_ZONE: Final = "America/Los_Angeles"
_NOBODY: Final = "nobody"
"""A name that no record has."""
_SUMS: Final = "count(*), coalesce(sum(CAST(cost_usd * 1e9 + 0.5 AS INTEGER)), 0)"
_FILTERS: Final = ("agent", "tool", "model", "provider", "tag", "error_type")
_FROM_RECORDS: Final = ("user", "session", "provider", "tag", "metadata.team", "run", "user,provider", "tag,user,model")
_FROM_ROLLUPS: Final = ("agent", "agent,tool,model", "hour", "day", "week", "month", "weekday")
_LONG: Final = 10.0
"""Milliseconds from which on CPU time is told, too: other work may go on beside."""
_WITHIN_A_SECOND: Final = Bar("ours", "<=", 1_000.0)


@dataclass(frozen=True, slots=True)
class _Question:
    """Something to ask; `plain` gives what ours gives, and `duck` groups the same calls."""

    what: str
    ours: Callable[[], Any]
    plain: Callable[[], Any] | None = None
    duck: Callable[[], Any] | None = None
    bar: Bar | None = None


def run(options: Options) -> Report:
    """Times of questions, each checked against plain SQL first."""
    many = options.count(5_000_000, 50_000)
    report = Report("queries", f"milliseconds of a question in a file of {many:,} records over {_DAYS} days")
    with (
        _file(many, report) as path,
        closing(_Peers(path, report)) as peers,
        TelemetryLogger(path, retention_days=None, models=False, policies=False) as logger,
    ):
        asked = [*_statistics(logger), *_pages(logger, peers), *_groupings(logger, peers, path)]
        asyncio.run(_measure(report, asked, options.count(3, 1)))
    return report


@contextmanager
def _file(many: int, report: Report) -> Generator[Path]:
    given = os.environ.get(_FILE)
    with scratch() as folder:
        path = Path(given) if given else folder / "many.db"
        if not path.exists():
            started = perf_counter()
            _build(path, many)
            report.notes.append(f"built {many:,} records in {perf_counter() - started:.0f} s")
        with closing(sqlite3.connect(path)) as connection:
            (count,) = connection.execute("SELECT count(*) FROM invocations").fetchone()
        check(count == many, f"{path} has {many} records")
        report.notes.append(f"{path.stat().st_size / many:.0f} bytes a record")
        yield path


def _build(path: Path, many: int) -> None:
    span = timedelta(days=_DAYS)
    writer = SqliteBatchWriter("benchmarks", "metadata")
    with closing(open_for_writing(path, time_ns() // 1000)) as connection:
        batch: list[Any] = []
        for number, record in enumerate(records(many, start=datetime.now(UTC) - span, span=span, grouped=True), 1):
            batch.append(record)
            if len(batch) == _BATCH or number == many:
                writer.write(connection, batch, batch_no=number, durable=False, slice_rows=76)
                batch.clear()
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()


class _Peers:
    """Plain SQL on the file, and DuckDB where it is installed."""

    def __init__(self, path: Path, report: Report) -> None:
        self._plain = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
        self._duck: Any = None
        try:
            self._duck = import_module("duckdb").connect()
            import_module("duckdb_extensions").import_extension("sqlite_scanner")
            self._duck.execute("LOAD sqlite_scanner")
            quoted = str(path).replace("'", "''")  # it takes no parameters there
            self._duck.execute(f"ATTACH '{quoted}' AS file (TYPE sqlite, READ_ONLY)")
            self._duck.execute("USE file")
        except Exception as error:  # noqa: BLE001 - of a package that this does not know
            self._duck = None
            report.notes.append(f"without DuckDB: {type(error).__name__}: {str(error).splitlines()[0]}")

    def sql(self, sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
        return self._plain.execute(sql, parameters).fetchall()

    def duck(self, sql: str, *parameters: Any) -> Callable[[], Any] | None:
        duck = self._duck
        return None if duck is None else lambda: duck.execute(sql, [*parameters]).fetchall()

    def close(self) -> None:
        self._plain.close()
        if self._duck is not None:
            self._duck.close()


def _statistics(logger: TelemetryLogger) -> Generator[_Question]:
    for days, most in ((7, 10.0), (90, 30.0)):
        yield _Question(f"statistics, {days} days", partial(logger.get_statistics, days=days), bar=_at_most(most))
    yield _Question("statistics, 7 days, one agent", partial(logger.get_statistics, AGENTS[7], days=7))


def _pages(logger: TelemetryLogger, peers: _Peers) -> Generator[_Question]:
    """First pages by filters: of a common name, of one that is in a record of each day, in one of all, in none."""
    common = {"agent": AGENTS[7], "tool": TOOLS[2], "model": "gpt-4o", "provider": "azure", "tag": TAGS[0][0]}
    conditions = {"tag": "EXISTS (SELECT 1 FROM json_each(tags) WHERE value = ?)"}
    columns = {"agent": "agent_name", "tool": "tool_name", "model": "model_name"}
    for key in _FILTERS:
        for kind, name in (("common", common.get(key)), ("seldom", SELDOM), ("rare", RARE), ("absent", _NOBODY)):
            if name is None or (key == "error_type" and name != _NOBODY):
                continue
            condition = conditions.get(key, f"{columns.get(key, key)} = ?")
            sql = f"SELECT id FROM invocations WHERE {condition} ORDER BY timestamp DESC, id DESC LIMIT 100"
            ours, plain = partial(_first_page, logger, f"{key}={name}"), partial(_first_ids, peers, sql, name)
            yield _Question(f"newest 100, {kind} {key}", ours, plain, bar=_at_most(20.0))


def _first_page(logger: TelemetryLogger, filters: str) -> list[int]:
    return [row["id"] for row in logger.get_invocations(filters=filters, fresh=False)]


def _first_ids(peers: _Peers, sql: str, name: str) -> list[int]:
    return [row[0] for row in peers.sql(sql, name)]


def _groupings(logger: TelemetryLogger, peers: _Peers, path: Path) -> Generator[_Question]:
    since = datetime.now(UTC) - timedelta(days=30)
    text = f"{since:%Y-%m-%d %H:%M:%S.%f}Z"
    columns = {"agent": "agent_name", "tool": "tool_name", "model": "model_name", "user": "user_id"}
    columns |= {"session": "session_id", "tag": "tags", "metadata.team": "json_extract(metadata, '$.team')"}
    for by in _FROM_ROLLUPS:
        ours = partial(_groups, logger, by, "calls,cost,latency", since)
        yield _Question(f"30 days by {by}", ours, bar=_at_most(100.0))
    for by in _FROM_RECORDS:
        keys = ", ".join(columns.get(key, key) for key in by.split(","))
        sql = f"SELECT {keys}, {_SUMS} FROM invocations WHERE timestamp >= ? GROUP BY {keys}"
        each = sql.replace("tags", "value").replace("FROM invocations", "FROM invocations, json_each(tags)")
        plain = partial(_sorted_rows, peers, each if "tag" in by else sql, text)
        ours = partial(_groups, logger, by, "calls,cost_nanos", since)
        yield _Question(f"30 days by {by}", ours, plain, peers.duck(sql, text), _WITHIN_A_SECOND)
    for by in ("user", "provider"):
        percentiles = "quantile_cont(latency_ms, [0.5, 0.95, 0.99])"
        sql = f"SELECT {columns.get(by, by)}, {_SUMS}, {percentiles} FROM invocations WHERE timestamp >= ? GROUP BY ALL"
        ours = partial(_groups, logger, by, "calls,cost_nanos,latency", since)
        yield _Question(f"30 days by {by}, latency too", ours, None, peers.duck(sql, text), _WITHIN_A_SECOND)
    days, days_of_agents = partial(_local_days, path, ("day",)), partial(_local_days, path, ("day", "agent"))
    yield _Question(f"costs by days of {_ZONE}, all 90", days, bar=_at_most(100.0))
    yield _Question(f"costs by days of {_ZONE} and agents, all 90", days_of_agents)


def _groups(logger: TelemetryLogger, by: str, measures: str, since: datetime) -> list[str]:
    return sorted(str(tuple(row.values())) for row in logger.query(measures, by, since=since, fresh=False))


def _sorted_rows(peers: _Peers, sql: str, text: str) -> list[str]:
    return sorted(map(str, peers.sql(sql, text)))


def _local_days(path: Path, by: Sequence[CostKey]) -> CostReport:
    asked = TimeRange(None, None, ZoneInfo(_ZONE))
    return read(path, lambda fetch: read_costs(fetch, by, InvocationFilter(), asked))


def _at_most(milliseconds: float) -> Bar:
    return Bar("ours", "<=", milliseconds)


async def _measure(report: Report, asked: Sequence[_Question], rounds: int) -> None:
    for question in asked:
        plain = _check(question)
        spent: list[float] = []
        timed = {"ours": _timed(question.ours, spent)}
        if question.duck is not None:
            timed["DuckDB"] = _timed(question.duck, [])
        times = await interleave(rounds, timed)
        ours = median(times["ours"])
        report.rows.append(Row(question.what, ours, "ms", plain, "plain SQL, once", bar=question.bar))
        if question.duck is not None:
            beside = f"{question.what}, beside DuckDB"
            report.rows.append(Row(beside, ours, "ms", median(times["DuckDB"]), "DuckDB", bar=Bar("ratio", "<=", 2.0)))
        if ours > _LONG:
            report.notes.append(f"{question.what}: {median(spent):.2f} s of CPU in {ours / 1000:.2f} s")


def _timed(ask: Callable[[], Any], spent: list[float]) -> Any:
    async def once() -> float:
        started, used = perf_counter(), process_time()
        ask()
        spent.append(process_time() - used)
        return (perf_counter() - started) * 1000

    return once


def _check(question: _Question) -> float | None:
    """Check that our answer is that of plain SQL; the milliseconds that this takes, None without it."""
    found = question.ours()
    if question.plain is None:
        check(found, f"{question.what}: something is found")
        return None
    started = perf_counter()
    expected = question.plain()
    took = (perf_counter() - started) * 1000
    check(found == expected, f"{question.what}: our answer is that of plain SQL")
    return took


if __name__ == "__main__":
    command(run)
