"""What is wrong inside the file: pages, tables, ids, totals, old records. Each check only reads."""

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from llm_service.redaction import shown
from llm_service.telemetry.maintenance.check_session import OutOfTimeError, time_limit
from llm_service.telemetry.maintenance.daily_totals import (
    COLUMNS,
    add_bucket_function,
    day_before,
    differences,
    kept_since,
)
from llm_service.telemetry.maintenance.findings import Finding, found, healthy
from llm_service.telemetry.queries.cells import text
from llm_service.telemetry.queries.quarter_coverage import backfilled_share
from llm_service.telemetry.record.timestamps import AHEAD_US, microseconds_text, to_microseconds
from llm_service.telemetry.stores.sqlite import migrations
from llm_service.telemetry.stores.sqlite.backfill import OLDER
from llm_service.telemetry.stores.sqlite.big_sums import MOST
from llm_service.telemetry.stores.sqlite.odd_values import rows_of
from llm_service.telemetry.stores.sqlite.record_blocks import blocks_in_need
from llm_service.telemetry.stores.sqlite.transactions import snapshot

__all__ = [
    "check_aggregates",
    "check_dated_ahead",
    "check_dead_letters",
    "check_ids",
    "check_integrity",
    "check_retention",
    "check_schema",
    "missing_indexes",
]

_MOST_SHOWN: Final = 5
_SLACK_DAYS: Final = 2
"""Retention deletes whole days, and waits a day before it believes a clock that leapt."""


def check_integrity(connection: sqlite3.Connection, *, full: bool, deadline: float) -> Finding:
    """`quick_check`, or `integrity_check`, which also compares each index with its table and takes twice as long."""
    pragma = "integrity_check" if full else "quick_check"
    try:
        with time_limit(connection, deadline):
            rows = connection.execute(f"PRAGMA {pragma}({_MOST_SHOWN:d})").fetchall()
    except OutOfTimeError:
        return found("not_checked", "quick_check did not end in its time: the file is large")
    problems = [str(row[0]).removeprefix("*** in database main ***\n") for row in rows]
    if problems == ["ok"]:
        return healthy("integrity", f"{pragma}: ok")
    first = " ".join(problems[0].split())
    count = f"{_MOST_SHOWN} problems or more" if len(problems) >= _MOST_SHOWN else f"{len(problems)} problem(s)"
    return found("damaged", f"{pragma}: {count}: {shown(first, 160)}")


def check_schema(connection: sqlite3.Connection) -> list[Finding]:
    """Tables, columns, indexes and triggers against `schema.sql`, and the two version numbers against each other."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version < migrations.VERSION:
        return [found("older_schema", f"version {version}; this release has {migrations.VERSION}")]
    wanted, tables = _wanted(), _tables(connection)
    findings = [found("schema", problem) for problem in _differences(wanted, tables)]
    if not findings and (missing := missing_indexes(connection)):
        findings.append(found("missing_index", ", ".join(missing)))
    triggers = connection.execute("SELECT name, tbl_name FROM sqlite_master WHERE type = 'trigger'").fetchall()
    ours = migrations.trigger_names()
    foreign = [f"{name} on {table}" for name, table in triggers if table in wanted and name not in ours]
    if foreign:
        findings.append(found("triggers", shown(", ".join(foreign))))
    if not findings:
        (recorded,) = connection.execute("SELECT max(version) FROM schema_version").fetchone()
        if recorded != version:
            findings.append(found("schema", f"user_version is {version}, schema_version says {recorded}"))
    return findings or [healthy("schema", f"version {version}")]


def missing_indexes(connection: sqlite3.Connection) -> dict[str, str]:
    """Indexes of `schema.sql` that the file lacks, or has by another definition: the statement by name."""
    existing = {
        name: _normal(sql)
        for name, sql in connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'index'")
    }
    wanted: dict[str, str] = {}
    for statement in migrations.schema_statements():
        match = re.search(r"^CREATE (?:UNIQUE )?INDEX (\w+)", statement, re.MULTILINE)
        if match is not None:
            wanted[match[1]] = statement[match.start() :].strip().rstrip(";")
    return {name: sql for name, sql in wanted.items() if existing.get(name) != _normal(sql)}


def _normal(sql: str | None) -> str:
    return re.sub(r"\s+", " ", sql or "").lower()


Columns = dict[str, tuple[Any, ...]]


def _wanted() -> dict[str, Columns]:
    with closing(migrations.empty_database()) as connection:
        return _tables(connection)


def _tables(connection: sqlite3.Connection) -> dict[str, Columns]:
    # `rootpage`: a virtual table cannot be described without its module.
    names = connection.execute(
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' AND rootpage"
    )
    found_tables: dict[str, Columns] = {}
    for (name,) in names.fetchall():
        # Name, type, NOT NULL, default, place in the primary key; the place of the column differs after a migration.
        columns = connection.execute(
            'SELECT name, type, "notnull", dflt_value, pk FROM pragma_table_info(?)', (name,)
        ).fetchall()
        found_tables[name] = {row[0]: tuple(row[1:]) for row in columns}
    return found_tables


def _differences(wanted: dict[str, Columns], tables: dict[str, Columns]) -> Iterator[str]:
    for table, columns in wanted.items():
        if table not in tables:
            yield f"there is no table {table}"
            continue
        missing = [name for name in columns if name not in tables[table]]
        if missing:
            yield f"{table} lacks {', '.join(missing)}"
        changed = [name for name, kind in columns.items() if name not in missing and tables[table][name] != kind]
        if changed:
            yield f"{table} has another type of {', '.join(changed)}"


def check_ids(connection: sqlite3.Connection, *, full: bool, deadline: float) -> Finding:
    """Whether an `invocation_id` stands twice. With the unique index in place only `full` goes through the rows."""
    unique = "idx_invocations_invocation_id"
    if unique not in missing_indexes(connection) and not full:
        return healthy("ids", "unique, as their index is there")
    sql = (
        "SELECT invocation_id, count(*) FROM invocations NOT INDEXED"
        " GROUP BY invocation_id HAVING count(*) > 1 LIMIT 1000"
    )
    try:
        with time_limit(connection, deadline):
            twice = connection.execute(sql).fetchall()
    except OutOfTimeError:
        return found("not_checked", "whether ids are unique was not seen in the time", "ids")
    if twice:
        return found("duplicate_ids", f"{len(twice)} ids stand more than once, for example {shown(twice[0][0])}")
    return healthy("ids", "unique")


def check_aggregates(connection: sqlite3.Connection, deadline: float) -> list[Finding]:
    """Daily totals against records, to the nano-dollar, for the days whose records are kept; newest day first.

    Each day is compared in a snapshot of its own, so that no long one keeps the WAL from being reused.
    """
    migrations.read_as_newest(connection)
    add_bucket_function(connection)
    since = kept_since(connection)
    wrong: list[str] = []
    rows = days = 0
    day = day_before(connection, None, since)
    try:
        while day is not None:
            with time_limit(connection, deadline):
                with snapshot(connection):
                    differing = list(differences(connection, day))
                days += 1
                rows += len(differing)
                if differing:
                    wrong.append(day)
                day = day_before(connection, day, since)
        with time_limit(connection, deadline):
            blocks = [block for block, is_wrong in blocks_in_need(connection) if is_wrong]
    except OutOfTimeError:
        late = found("not_checked", f"totals were compared back to {day} only; they take longer", "aggregates")
        return [late, *_wrong_totals(wrong, rows)]
    if blocks:
        seen = f"{len(blocks):,} rows of record_blocks lack names or times of their records: {min(blocks)}, ..."
        return [found("aggregates", seen), *_wrong_totals(wrong, rows)]
    share = backfilled_share(lambda query: rows_of(connection, *query))
    kept = "" if since is None else f" since {since}"
    if share is None:
        return [*_wrong_totals(wrong, rows), *_unknown_progress(connection)]
    if share < 1:
        kept += f"; quarter_hours counts {share:.0%} of the older ones, and a logger goes on"
        if _count(connection, f"rollup_progress WHERE holder = '{OLDER}'"):
            kept += "; a process of an older release still writes: restart it"
    inexact = _count(connection, f"daily_costs WHERE {' OR '.join(f'{name} > {MOST}' for name in COLUMNS)}")
    note = f"; {inexact} totals are beyond 64 bits, and exact to a millionth" if inexact else ""
    return _wrong_totals(wrong, rows) or [healthy("aggregates", f"{days} days{kept} equal their records{note}")]


def _unknown_progress(connection: sqlite3.Connection) -> list[Finding]:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version < migrations.VERSION:
        return [healthy("aggregates", "daily totals equal their records")]
    return [found("aggregates", "rollup_progress has no row: nothing says whether quarter_hours is complete")]


def _wrong_totals(days: list[str], rows: int) -> list[Finding]:
    if not days:
        return []
    named = ", ".join(days[:_MOST_SHOWN]) + (", ..." if len(days) > _MOST_SHOWN else "")
    return [found("aggregates", f"{rows} totals of {len(days)} day(s) differ from their records: {named}")]


def check_retention(connection: sqlite3.Connection, retention_days: int | None, now: datetime) -> Finding:
    """Whether records are older than they should get."""
    (oldest,) = connection.execute("SELECT min(timestamp) FROM invocations").fetchone()
    if oldest is None:
        return healthy("retention", "no records")
    oldest = text(oldest)
    if retention_days is None:
        return healthy("retention", f"the oldest record is of {oldest[:10]}; all are kept")
    last_day = (now.astimezone(UTC) - timedelta(days=retention_days + _SLACK_DAYS)).date().isoformat()
    seen = f"the oldest record is of {oldest[:10]}, retention_days is {retention_days}"
    return found("retention_lag", seen) if oldest[:10] < last_day else healthy("retention", seen)


def check_dated_ahead(connection: sqlite3.Connection, now: datetime) -> Finding:
    """Whether records are dated ahead of the clock: reports and budgets count them on their own day, when it comes."""
    until = microseconds_text(to_microseconds(now) + AHEAD_US)
    ahead = "SELECT count(*), max(timestamp) FROM invocations WHERE typeof(timestamp) = 'text' AND timestamp > ?"
    count, latest = connection.execute(ahead, (until,)).fetchone()
    if not count:
        return healthy("dated_ahead", "no record is dated ahead of the clock")
    return found("dated_ahead", f"{count:,} records are dated ahead of the clock, the last {shown(latest[:19])} UTC")


def check_dead_letters(connection: sqlite3.Connection) -> Finding:
    """Whether records wait that SQLite refused."""
    count = _count(connection, "dead_letters")
    return found("dead_letters", f"{count} records were refused") if count else healthy("dead_letters", "none")


def _count(connection: sqlite3.Connection, what: str) -> int:
    return int(connection.execute(f"SELECT count(*) FROM {what}").fetchone()[0])  # noqa: S608 - constants of this module
