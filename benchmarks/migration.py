"""Does a migration of a big file to the newest version keep anybody waiting, and is each record counted once?

A file of version 5 is made, by the statements of version 5 and by a writer. A process of that version goes on writing
while a logger opens the file; the logger writes, too, and is killed half-way; another one completes the migration. A
fourth process asks for the write lock all the time, and notes for how long it was held.
"""

import argparse
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count, islice
from math import inf
from pathlib import Path
from time import perf_counter, sleep, time_ns
from typing import Final

from tests.older_files import as_version_5, write_as_version_5

from benchmarks._data import records
from benchmarks._harness import Bar, Options, Report, Row, check, parser, scratch, show
from llm_service.telemetry import InvocationRecord, TelemetryLogger
from llm_service.telemetry.maintenance.content_checks import check_aggregates
from llm_service.telemetry.queries.quarter_coverage import backfilled_share
from llm_service.telemetry.record.timestamps import microseconds_text
from llm_service.telemetry.stores.sqlite.batch_writer import SqliteBatchWriter
from llm_service.telemetry.stores.sqlite.opening import open_for_writing
from llm_service.telemetry.stores.sqlite.reader import open_for_reading, read

__all__ = ["run"]

_ROOT: Final = Path(__file__).resolve().parents[1]
_BATCH: Final = 20_000
_DAYS: Final = 90
_PAUSE: Final = 0.02
_AT_ONCE: Final = 20
"""Records that each writer logs in each turn, before it waits for the commit of one: 1,000 a second."""
_OLDER_GOES_ON: Final = 3.0
"""Seconds for which the process of version 5 goes on after the migration began."""
_KILL_AT: Final = 0.5
_BEGUN: Final = "begun\n"
_LONGEST: Final = Bar("ours", "<=", 250.0)
_WHOLE: Final = Bar("ours", "<=", 180.0)
_NANOS: Final = "sum(CAST(cost_usd * 1e9 + 0.5 AS INTEGER))"
_RECORDS: Final = (
    f"SELECT count(*), sum(total_tokens), {_NANOS}, count(latency_ms), sum(status = 'error') FROM invocations"
)
_SUMS: Final = "sum(invocations), sum(total_tokens), sum(cost_nanos), sum(latency_count), sum(errors)"
_BY_DAY: Final = {
    "invocations": f"SELECT substr(timestamp, 1, 10), {_RECORDS.removeprefix('SELECT ')} GROUP BY 1",
    "quarter_hours": f"SELECT substr(quarter, 1, 10), {_SUMS} FROM quarter_hours GROUP BY 1",
    "daily_costs": f"SELECT date, {_SUMS} FROM daily_costs GROUP BY 1",
}


@dataclass(slots=True)
class _Told:
    """What a child told: a line of numbers now and then.

    Attributes:
        done: records that were committed, or times that the lock was asked for.
        longest: milliseconds of the longest commit, or for which the lock was held.
        opened: milliseconds of the constructor.
    """

    done: int = 0
    longest: float = 0.0
    opened: float = 0.0


class _Child:
    """A process that does something until its input ends."""

    def __init__(self, doing: str, path: Path, name: str = "") -> None:
        command = [sys.executable, "-m", "benchmarks.migration", "--child", doing, "--path", str(path), "--name", name]
        self._process = subprocess.Popen(command, cwd=_ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._told = _Told()
        begun = threading.Event()
        self._listener = threading.Thread(target=self._listen, args=(begun,))
        self._listener.start()
        check(begun.wait(60), f"{doing} begins")

    def stop(self) -> _Told:
        """Let it come to its end."""
        return self._ended(0)

    def kill(self) -> _Told:
        """End it by SIGKILL; what it told until then."""
        self._process.kill()
        return self._ended(-signal.SIGKILL)

    def _ended(self, code: int) -> _Told:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._listener.join()
        check(self._process.wait(60) == code, f"a child ended with {self._process.returncode}")
        return self._told

    def _listen(self, begun: threading.Event) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                begun.set()
                if line.endswith("\n") and line != _BEGUN:  # not what a killed one did not tell to its end
                    done, longest, opened = line.split()
                    self._told = _Told(int(done), float(longest), float(opened))


def run(options: Options, many: int | None = None) -> Report:
    """The migration of a file of version 5 beside writers, killed half-way."""
    many = options.count(5_000_000, 40_000) if many is None else many
    report = Report(
        "migration", f"a file of version 5 with {many:,} records of {_DAYS} days is migrated beside writers"
    )
    with scratch() as folder:
        path = folder / "older.db"
        _make_older(path, many)
        report.notes.append(f"the file has {path.stat().st_size / 1e6:,.0f} MB")
        _migrate(report, path, many, "2020-01-01 00:00:00.000000Z" if options.quick else "")
    return report


def _make_older(path: Path, many: int) -> None:
    span = timedelta(days=_DAYS)
    made = records(many, start=datetime.now(UTC) - span, span=span, mixed=True)
    with closing(open_for_writing(path, time_ns() // 1000)) as connection:
        writer = SqliteBatchWriter("benchmarks", "metadata")
        for number in count(1):
            batch = list(islice(made, _BATCH))
            if not batch:
                break
            writer.write(connection, batch, batch_no=number, durable=False, slice_rows=76)
        as_version_5(connection)
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    os.sync()  # what a disk still has to write of it would be waited for by the first commits


def _migrate(report: Report, path: Path, many: int, dated: str = "") -> None:
    """See `run`; `dated`: what the receipts of version 5 say, so that nobody waits half a minute after them."""
    probe, older = _Child("probe", path), _Child("older", path, dated)
    started = perf_counter()
    first = _Child("logger", path, "first")
    sleep(_OLDER_GOES_ON)
    of_older = older.stop()
    killed_at = _wait_for(path, _KILL_AT)
    of_first = first.kill()
    second = _Child("logger", path, "second")
    _wait_for(path, 1.0)
    whole = perf_counter() - started
    of_second, of_probe = second.stop(), probe.stop()
    report.rows += [
        Row("the first logger's opening", of_first.opened, "ms", bar=_LONGEST),
        Row("longest time that the write lock was held", of_probe.longest, "ms", bar=_LONGEST),
        Row("longest commit of the process of version 5", of_older.longest, "ms", bar=_LONGEST),
        Row("longest commit of the loggers", max(of_first.longest, of_second.longest), "ms", bar=_LONGEST),
        Row("the whole migration", whole, "s", bar=_WHOLE),
    ]
    report.notes.append(
        f"the first logger was killed at {killed_at:.0%}, {of_first.done:,} records after its opening; the second wrote"
        f" {of_second.done:,}, the process of version 5 {of_older.done:,}; the lock was asked for {of_probe.done:,}"
        " times; the whole includes the leases of the process of version 5 and of the killed one, 30 s each"
    )
    _check(path, many, {"older": of_older.done, "first": of_first.done, "second": of_second.done})


def _wait_for(path: Path, share: float) -> float:
    while True:
        found = read(path, backfilled_share)
        if found is not None and found >= share:
            return found
        sleep(0.05)


def _check(path: Path, many: int, written: dict[str, int]) -> None:
    with closing(sqlite3.connect(path)) as connection:
        by_table = {table: sorted(connection.execute(sql).fetchall()) for table, sql in _BY_DAY.items()}
        for name, least in written.items():
            sql = "SELECT count(*) FROM invocations WHERE agent_name = ?"
            (stored,) = connection.execute(sql, (name,)).fetchone()
            # The one that was killed may have committed a turn that it had not told yet.
            most = least + _AT_ONCE + 1 if name == "first" else least
            check(least <= stored <= most, f"{name} committed {least} records, and {stored} are there")
            many += stored
        (there,) = connection.execute("SELECT count(*) FROM invocations").fetchone()
        check(there == many, f"of {many} records {there} are there")
        left = connection.execute("SELECT count(*) FROM daily_latency").fetchone()
        check(left == (0,), "all latencies are packed")
    for table in ("quarter_hours", "daily_costs"):
        check(by_table[table] == by_table["invocations"], f"{table} equals plain SQL")
    with closing(open_for_reading(path)) as connection:
        wrong = [found.seen for found in check_aggregates(connection, inf) if found.exit_code]
    check(not wrong, f"latencies, and all else, equal their records: {wrong}")


# What the children do


def _begin() -> threading.Event:
    """Tell the parent; what is returned is set when the input ends."""
    ended = threading.Event()
    threading.Thread(target=_wait_for_the_end, args=(ended,), daemon=True).start()
    print(_BEGUN, end="", flush=True)
    return ended


def _wait_for_the_end(ended: threading.Event) -> None:
    sys.stdin.read()
    ended.set()


def _turns() -> Iterator[None]:
    """Begin, and go on at a steady pace until the input ends."""
    ended, due = _begin(), perf_counter()
    while not ended.is_set():
        yield
        due = max(due + _PAUSE, perf_counter() - _PAUSE)
        sleep(max(0.0, due - perf_counter()))


def _record(name: str, number: int) -> InvocationRecord:
    return InvocationRecord(
        invocation_id=f"{name}-{number}",
        agent_name=name,
        total_tokens=number % 1000,
        cost_usd=0.001,
        latency_ms=number % 97 + 1.0,
    )


def _tell(told: _Told) -> None:
    print(told.done, round(told.longest, 2), round(told.opened, 2), flush=True)


def _probe(path: Path, _name: str) -> None:
    told = _Told()
    with closing(sqlite3.connect(path, isolation_level=None, timeout=0)) as connection:
        ended, held_since, seen = _begin(), 0.0, 0
        while not ended.is_set():
            asked, told.done = perf_counter(), told.done + 1
            try:
                connection.execute("BEGIN IMMEDIATE")
                connection.execute("ROLLBACK")
                seen = -1
                sleep(0.002)
            except sqlite3.OperationalError:
                # Where nothing was committed since it was asked for before, the same transaction has it.
                (version,) = connection.execute("PRAGMA data_version").fetchone()
                if version != seen:
                    held_since, seen = asked, version
                told.longest = max(told.longest, (perf_counter() - held_since) * 1000)
                sleep(0.0005)
    _tell(told)


def _older(path: Path, dated: str) -> None:
    told = _Told()
    with closing(sqlite3.connect(path, isolation_level=None, timeout=60)) as connection:
        connection.execute("PRAGMA synchronous = NORMAL")
        for _ in _turns():
            batch = [_record("older", told.done + at) for at in range(_AT_ONCE)]
            started = perf_counter()
            write_as_version_5(connection, batch, dated or microseconds_text(time_ns() // 1000))
            told.longest = max(told.longest, (perf_counter() - started) * 1000)
            told.done += _AT_ONCE
    _tell(told)


def _logger(path: Path, name: str) -> None:
    told = _Told()
    started = perf_counter()
    with TelemetryLogger(path, retention_days=None, models=False, policies=False) as logger:
        told.opened = (perf_counter() - started) * 1000
        for _ in _turns():
            for at in range(_AT_ONCE - 1):
                check(logger.log_invocation_nowait(_record(name, told.done + at)), "there is room in the queue")
            started = perf_counter()
            logger.log_invocation(_record(name, told.done + _AT_ONCE - 1))
            told.longest = max(told.longest, (perf_counter() - started) * 1000)
            told.done += _AT_ONCE
            _tell(told)
    _tell(told)


_CHILDREN: Final = {"probe": _probe, "older": _older, "logger": _logger}


def main() -> None:
    """The command line: `--records N` makes a file of another size."""
    parsing = parser((run.__doc__ or "").partition("\n")[0])
    parsing.add_argument("--records", type=int, help="how many records the file has; default 5,000,000")
    for hidden in ("--child", "--path", "--name"):
        parsing.add_argument(hidden, help=argparse.SUPPRESS)
    given = parsing.parse_args()
    if given.child:
        _CHILDREN[given.child](Path(given.path), given.name)
    else:
        show([run(Options(quick=given.quick), given.records)], json_wanted=given.json)


if __name__ == "__main__":
    main()
