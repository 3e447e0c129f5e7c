"""Salvage: a new, sound file out of what can still be read of a damaged one, with counts of what was lost.

Whole rows go where they were. A call of which only indexes know, or whose row makes no sense any more, is no record:
what is known of it goes to `dead_letters`, to be completed and tried again, or dropped. A daily total is taken from the
old totals or from the recovered records, whichever counts more calls: so neither lost records nor lost totals make a
day cheaper than it was.
"""

import json
import sqlite3
import time
from collections import defaultdict
from collections.abc import Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from llm_service.errors import ForeignDatabaseError, StoreError
from llm_service.redaction import shown
from llm_service.telemetry.maintenance import daily_totals
from llm_service.telemetry.maintenance.atomic_file import delivered, require_room
from llm_service.telemetry.maintenance.check_session import side_file, status_of
from llm_service.telemetry.maintenance.daily_totals import Difference
from llm_service.telemetry.maintenance.dead_letters import SALVAGED
from llm_service.telemetry.maintenance.private_copy import private_copy
from llm_service.telemetry.maintenance.recovery import Recovery, Row, partial_rows
from llm_service.telemetry.maintenance.repair import add_totals
from llm_service.telemetry.maintenance.table_shapes import Table, tables
from llm_service.telemetry.record.timestamps import microseconds_text
from llm_service.telemetry.stores.latency_buckets import unpack
from llm_service.telemetry.stores.rollups import DailyKey, DailyTotals
from llm_service.telemetry.stores.sqlite.backfill import add_quarter, quarters_of
from llm_service.telemetry.stores.sqlite.file_identity import identify_file
from llm_service.telemetry.stores.sqlite.opening import open_for_writing
from llm_service.telemetry.stores.sqlite.record_blocks import blocks_in_need, write_blocks

__all__ = ["SalvageReport", "TableCount", "salvage"]

_SPANS_LEFT_OUT: Final = 5
"""The first version whose totals do not count spans."""
_TOTALS: Final = frozenset({"daily_costs", "daily_latency", "quarter_hours", "rollup_progress", "record_blocks"})
_COMPLETE: Final = """
UPDATE rollup_progress SET uncounted_to = 0, complete_since = ?, holder = NULL, held_until = NULL WHERE id = 1
"""
_ONE_ROW: Final = "retention"
_ROWS: Final = 5_000
"""Rows of a transaction: the WAL of the new file stays short."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TableCount:
    """What became of a table's rows.

    Attributes:
        partial: rows of which an index knew something; those of `invocations` are dead letters now.
        damaged: rows that were read and cannot be what was written; those of `invocations` are dead letters now.
        duplicates: rows whose unique id another recovered row has.
    """

    recovered: int = 0
    partial: int = 0
    damaged: int = 0
    duplicates: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class SalvageReport:
    """What was salvaged.

    Attributes:
        lost: calls that are known to have been stored, by an index or a daily total, and are not whole in the new file;
            None where neither they, nor an index of all, nor all daily totals could be read to the end, so that nothing
            says how many there were.
        totals_kept: daily totals taken from the old file because they count more calls than were recovered: of days
            past their retention, and of lost records.
        totals_rebuilt: daily totals made from the recovered records.
    """

    path: Path
    tables: dict[str, TableCount]
    lost: int | None
    totals_kept: int
    totals_rebuilt: int
    seconds: float


def salvage(source: Path, destination: Path, *, force: bool = False) -> SalvageReport:
    """Recover what can be read of a damaged database into a new one. The source is never touched.

    Args:
        source: a damaged telemetry database, its -wal beside it.
        destination: a new file of mode 0600, which appears when it is whole.
        force: True replaces an existing file that is not in use.

    Raises:
        StoreError: the source cannot be read at all, holds not one row of ours, or the destination cannot be made.
    """
    started = time.monotonic()
    sizes = [status.st_size for file in (source, side_file(source, "-wal")) if (status := status_of(file)) is not None]
    if not sizes:
        raise StoreError(f"there is no {source}; give the damaged file with --db", source)
    with suppress(sqlite3.Error):  # what cannot be read is what salvage is for
        found = identify_file(source)
        if found.is_foreign and not found.tables:
            raise ForeignDatabaseError(
                f"{source} is an SQLite database, but not of telemetry; nothing was made", source
            )
    require_room(destination.parent, 2 * sum(sizes))
    now = microseconds_text(time.time_ns() // 1000)
    with delivered(destination, force=force, database=source, over_database=True) as making:
        with (
            private_copy(source, destination.parent) as copy,
            closing(open_for_writing(making, time.time_ns() // 1000)) as target,
        ):
            target.execute("PRAGMA synchronous = OFF")  # it is synced once, before it gets its name
            work = _Salvage(target, Recovery(copy), now)
            work.copy_rows()
            if not any(count.recovered + count.damaged for count in work.counts().values()):
                raise StoreError(f"{source} holds not one row of telemetry; nothing was made", source)
            lost_calls = work.keep_letters(copy.connection)
            kept, rebuilt, lost = work.make_totals()
        return SalvageReport(
            path=destination,
            tables=work.counts(),
            lost=max(lost_calls, lost) if work.knows_all() else None,
            totals_kept=kept,
            totals_rebuilt=rebuilt,
            seconds=time.monotonic() - started,
        )


class _Salvage:
    """Fills a new file."""

    def __init__(self, target: sqlite3.Connection, recovery: Recovery, now: str) -> None:
        self._target = target
        self._recovery = recovery
        self._now = now
        self._recovered = dict.fromkeys(tables(), 0)
        self._duplicates = dict.fromkeys(tables(), 0)
        self._refused = dict.fromkeys(tables(), 0)
        self._partial = 0
        self._version = 0
        self._ids_are_all = False
        self._old: dict[str, list[Row]] = {name: [] for name in _TOTALS}

    def counts(self) -> dict[str, TableCount]:
        """By table."""
        return {
            name: TableCount(
                recovered=self._recovered[name],
                partial=self._partial if name == "invocations" else 0,
                damaged=len(self._recovery.damaged.get(name, ())) + self._refused[name],
                duplicates=self._duplicates[name],
            )
            for name in tables()
        }

    def copy_rows(self) -> None:
        """Every sound row, but for the totals, which are made at the end."""
        self._target.execute("BEGIN IMMEDIATE")
        for place, (table, row) in enumerate(self._recovery.rows(), 1):
            if table.name == "schema_version":
                self._version = max(self._version, int(row[0]))
                self._recovered[table.name] += 1  # the new file has its own
            elif table.name in _TOTALS:
                self._old[table.name].append(row)
                self._recovered[table.name] += 1
            else:
                self._copy(table, row)
            if place % _ROWS == 0:
                self._target.execute("COMMIT")
                self._target.execute("BEGIN IMMEDIATE")
        # Content without its call: the call was lost, and so is what it was about.
        orphans = self._target.execute(
            "DELETE FROM invocation_contents WHERE id NOT IN (SELECT id FROM invocations)"
        ).rowcount
        self._recovered["invocation_contents"] -= orphans
        self._target.execute("COMMIT")

    def _copy(self, table: Table, row: Row) -> None:
        if table.name == _ONE_ROW and not self._recovered[_ONE_ROW]:
            row = (1, *row[1:])  # whatever number it has there
        try:
            is_new = self._target.execute(_insert(table), row).rowcount > 0
        except sqlite3.IntegrityError:  # no value of it is odd, and yet the table cannot hold it
            self._refused[table.name] += 1
            return
        self._recovered[table.name] += is_new
        self._duplicates[table.name] += not is_new

    def keep_letters(self, connection: sqlite3.Connection | None) -> int:
        """What is known of calls that are not whole becomes dead letters; how many there are."""
        whole = self._recovery.rowids["invocations"]
        damaged = self._recovery.damaged["invocations"]
        known, self._ids_are_all = partial_rows(connection, whole)
        partial = dict(known)
        columns = tables()["invocations"].columns
        self._target.execute("BEGIN IMMEDIATE")
        for row_id, (column, row) in sorted(damaged.items()):
            # What an index says was stored in another place, and is likelier to be right.
            named = dict(zip(columns, row, strict=True)) | partial.pop(row_id, {})
            self._letter(row_id, named, f"{SALVAGED} the row was damaged, its {column} makes no sense")
        for row_id, named in sorted(partial.items()):
            unknown = ", ".join(column for column in columns[1:12] if column not in named)
            self._letter(row_id, named, f"{SALVAGED} the row was lost; indexes know no {unknown}")
        self._target.execute("COMMIT")
        self._partial = len(partial)
        return len(partial) + len(damaged)

    def knows_all(self) -> bool:
        """Whether something that was read to its end says how many calls there were; asked at the end."""
        recovery = self._recovery
        totals_are_all = "daily_costs" in recovery.whole and not recovery.damaged["daily_costs"]
        return "invocations" in recovery.whole or self._ids_are_all or totals_are_all

    def _letter(self, row_id: int, named: Mapping[str, Any], error: str) -> None:
        fields = {name: _printable(value) for name, value in named.items() if name != "id" and value is not None}
        fields.setdefault("invocation_id", f"salvaged-{row_id}")
        self._target.execute(
            "INSERT INTO dead_letters (quarantined_at, invocation_id, error, record) VALUES (?, ?, ?, ?)",
            (self._now, str(fields["invocation_id"]), error, json.dumps(fields)),
        )

    def make_totals(self) -> tuple[int, int, int]:
        """Daily totals: old ones kept, those rebuilt, and the calls that the former count beyond the records."""
        daily_totals.add_bucket_function(self._target)
        old = _totals_by_key(self._old["daily_costs"], self._old["daily_latency"])
        since = daily_totals.kept_since(self._target)
        self._make_quarters(since)
        kept = rebuilt = beyond = 0
        for day in self._days(old):
            counted, was = daily_totals.add_up(self._target, day), old.get(day, {})
            if 0 < self._version < _SPANS_LEFT_OUT:
                spans = daily_totals.add_up(self._target, day, spans=True)
                was = {key: daily_totals.minus(row, spans.get(key, DailyTotals())) for key, row in was.items()}
            rows: list[Difference] = []
            for key in sorted(counted.keys() | was.keys(), key=lambda key: [part or "" for part in key]):
                now, before = counted.get(key, DailyTotals()), was.get(key, DailyTotals())
                missing = before.invocations - now.invocations
                rows.append(Difference(key, before if missing > 0 else now))
                kept, rebuilt = (kept + 1, rebuilt) if missing > 0 else (kept, rebuilt + 1)
                if missing > 0 and (since is None or day >= since):
                    beyond += missing
            self._target.execute("BEGIN IMMEDIATE")
            add_totals(self._target, rows)
            self._target.execute("COMMIT")
        return kept, rebuilt, beyond

    def _make_quarters(self, since: str | None) -> None:
        """Rows of `quarter_hours`: of the old ones and those of the recovered records those that count more calls."""
        counted: defaultdict[str, DailyTotals] = defaultdict(DailyTotals)
        (newest,) = self._target.execute("SELECT coalesce(max(id), 0) FROM invocations").fetchone()
        for start in range(0, newest, _ROWS):
            for quarter, totals in quarters_of(self._target, "id > ? AND id <= ?", (start, start + _ROWS)).items():
                counted[quarter].add(totals)
        for row in self._old["quarter_hours"]:
            quarter, before = str(row[0]), daily_totals.to_totals(row[1:-1])
            if before.invocations > counted[quarter].invocations:
                before.buckets = unpack(row[-1])
                counted[quarter] = before
        place = tables()["rollup_progress"].columns.index("complete_since")
        complete_since = next((row[place] for row in self._old["rollup_progress"]), None)
        self._target.execute("BEGIN IMMEDIATE")
        for quarter, totals in counted.items():
            add_quarter(self._target, quarter, totals)
        self._target.execute(_COMPLETE, ((since or "") if complete_since is None else complete_since,))
        write_blocks(self._target, [block for block, _ in blocks_in_need(self._target)])
        self._target.execute("COMMIT")

    def _days(self, old: Mapping[str, Any]) -> list[str]:
        days = set(old)
        day = daily_totals.day_before(self._target, None, None)
        while day is not None:
            days.add(day)
            day = daily_totals.day_before(self._target, day, None)
        return sorted(days)


def _insert(table: Table) -> str:
    marks = ", ".join("?" * len(table.columns))
    # IGNORE skips the second of two equal ids; the values were checked, so it hides nothing else. A new file may have
    # rows of its own in other tables: the old ones count.
    verb = "IGNORE" if table.name == "invocations" else "REPLACE"
    return f"INSERT OR {verb} INTO {table.name} ({', '.join(table.columns)}) VALUES ({marks})"  # noqa: S608


def _totals_by_key(totals: list[Row], buckets: list[Row]) -> dict[str, dict[DailyKey, DailyTotals]]:
    columns = tables()["daily_costs"].columns
    by_id: dict[int, DailyTotals] = {}
    found: dict[str, dict[DailyKey, DailyTotals]] = {}
    for row in totals:
        named = dict(zip(columns, row, strict=True))
        key = DailyKey(named["date"], *(named[name] or None for name in ("agent_name", "tool_name", "model_name")))
        total = daily_totals.to_totals(named[name] for name in daily_totals.COLUMNS)
        total.buckets = unpack(named["latency_buckets"] or b"")
        by_id[named["id"]] = found.setdefault(key.date, {}).setdefault(key, total)
    for cost_id, bucket, count in buckets:
        if cost_id in by_id:
            by_id[cost_id].add(DailyTotals(buckets={bucket: count}))
    return found


def _printable(value: Any) -> Any:
    return shown(value, 200) if isinstance(value, bytes) else value
