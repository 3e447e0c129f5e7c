"""How many bytes does a record take on disk, all indexes and daily totals in?"""

import sqlite3
from datetime import timedelta
from pathlib import Path
from time import time_ns
from typing import Any

from benchmarks._data import records
from benchmarks._harness import Bar, Options, Report, Row, check, command, scratch
from llm_service.telemetry.stores.sqlite.batch_writer import SqliteBatchWriter
from llm_service.telemetry.stores.sqlite.opening import open_for_writing

__all__ = ["run"]

_BATCH = 1024


def run(options: Options) -> Report:
    """Bytes a record, all indexes and roll-ups in, with the card's 13 columns and with all 37."""
    report = Report("disk", "bytes a record after wal_checkpoint(TRUNCATE), seven days of 50 agents")
    count = options.count(100_000, 5_000)
    cases: tuple[tuple[str, dict[str, Any], Bar | None], ...] = (
        ("the card's 13 columns", {}, Bar("ours", "<", 330.0)),
        ("the same, ids are random UUIDv4", {"random_ids": True}, None),
        ("the same, every agent with every tool and model", {"mixed": True}, None),
        ("all 39 columns, ids and traces of full length", {"every_column": True}, None),
    )
    for what, how, bar in cases:
        with scratch() as folder:
            size, parts = _fill(folder / "disk.db", count, how)
        # A small file is mostly half-empty pages of many tables: only the full count says something.
        report.rows.append(Row(what, size / count, "bytes", bar=None if options.quick else bar))
        shares = ", ".join(f"{name} {part / count:.0f}" for name, part in parts.items() if part / count >= 0.5)
        report.notes.append(f"{what}: {shares}" if shares else f"{what}: no dbstat here")
    return report


def _fill(path: Path, count: int, how: dict[str, Any]) -> tuple[int, dict[str, int]]:
    connection = open_for_writing(path, time_ns() // 1000)
    writer = SqliteBatchWriter("benchmarks", "metadata")
    ready = list(records(count, span=timedelta(days=7), **how))
    for number, at in enumerate(range(0, count, _BATCH), start=1):
        writer.write(connection, ready[at : at + _BATCH], batch_no=number, durable=False, slice_rows=76)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    (rows,) = connection.execute("SELECT count(*) FROM invocations").fetchone()
    (totals,) = connection.execute("SELECT sum(invocations) FROM daily_costs").fetchone()
    check(rows == totals == count, "rows and daily totals count every record")
    (intact,) = connection.execute("PRAGMA integrity_check").fetchone()
    check(intact == "ok", "the file is intact")
    parts = _parts(connection)
    connection.close()
    return path.stat().st_size, parts


def _parts(connection: sqlite3.Connection) -> dict[str, int]:
    """Bytes of each table and index; empty where SQLite was built without dbstat."""
    try:
        found = connection.execute("SELECT name, sum(pgsize) FROM dbstat GROUP BY name ORDER BY 2 DESC").fetchall()
    except sqlite3.OperationalError:
        return {}
    return {str(name): int(size) for name, size in found}


if __name__ == "__main__":
    command(run)
