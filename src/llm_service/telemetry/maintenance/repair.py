"""Repair: modes tightened, missing indexes made, daily totals and budgets rebuilt from records, while writers go on.

A total is repaired by adding what it lacks (see `aggregates`, `budget_books`), in a transaction of a few rows. Two
repairs at once would add it twice: each transaction raises a receipt, and one that finds it raised by another looks
again.
"""

import math
import os
import sqlite3
import stat
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from llm_service.errors import StoreError
from llm_service.telemetry.maintenance import budget_checks, daily_totals, word_index
from llm_service.telemetry.maintenance.budget_checks import Lack
from llm_service.telemetry.maintenance.check_session import SIDE_FILES, look, open_to_change, side_file, status_of
from llm_service.telemetry.maintenance.content_checks import missing_indexes
from llm_service.telemetry.maintenance.daily_totals import Difference
from llm_service.telemetry.maintenance.doctor import identify
from llm_service.telemetry.record.timestamps import microseconds_text
from llm_service.telemetry.stores.base import Fault
from llm_service.telemetry.stores.latency_buckets import pack, unpack
from llm_service.telemetry.stores.retention import LEASE
from llm_service.telemetry.stores.sqlite import error_kinds, older_latencies, statements
from llm_service.telemetry.stores.sqlite.backfill import Backfill, add_quarter
from llm_service.telemetry.stores.sqlite.big_sums import is_sum
from llm_service.telemetry.stores.sqlite.migrations import read_as_newest
from llm_service.telemetry.stores.sqlite.record_blocks import blocks_in_need, write_blocks
from llm_service.telemetry.stores.sqlite.rollup_progress import read_progress
from llm_service.telemetry.stores.sqlite.search_index import FIND_INDEX
from llm_service.telemetry.stores.sqlite.transactions import snapshot, transaction

__all__ = ["Action", "repair", "repair_day"]

RECEIPT: Final = "upkeep:repair"
_ROWS: Final = 50
"""Daily totals of one transaction: about a millisecond of the write lock."""
_MOST_PACKED: Final = 1_000
_MOST_TRIES: Final = 20
_PATIENCE: Final = 5.0
_PAUSE: Final = 0.1
_KNOW_PROGRESS: Final = """
INSERT OR IGNORE INTO rollup_progress (id, uncounted_to, began_at, complete_since) VALUES (1, 0, 0,
    (SELECT coalesce(max(records_kept_since), '') FROM retention))
"""
"""Where that row is lost, `quarter_hours` is compared with the records as if it were whole."""
_COUNTS: Final = daily_totals.COLUMNS
_NOT_WHOLE: Final = " OR ".join(f"NOT {is_sum(name)}" for name in _COUNTS)


@dataclass(frozen=True, slots=True)
class Action:
    """One thing that was repaired; not `done` in a dry run, and where it failed: `what` says why."""

    name: str
    what: str
    done: bool


def repair(path: Path, *, dry_run: bool = False, now_us: int | None = None) -> list[Action]:
    """Repair what can be repaired in place.

    Making an index holds the write lock until it is made (about a second for a million records); all else takes it for
    milliseconds at a time. Totals of days whose records are gone are left as they are.

    Args:
        dry_run: True only says what would be done.
        now_us: microseconds since 1970, for receipts; default the clock's.

    Raises:
        StoreError: the file is no telemetry database, or cannot be written; what was done until then stays done.
    """
    kind = identify(path) if status_of(path) is not None else None
    if kind is None or (kind.exit_code and kind.name != "older_schema"):
        seen = "there is no such file" if kind is None else f"{kind.seen}; {kind.remedy}"
        raise StoreError(f"{path} cannot be repaired in place: {seen}", path)
    now = time.time_ns() // 1000 if now_us is None else now_us
    actions = list(_tighten(path, dry_run=dry_run))
    try:
        if dry_run:
            return [*actions, *look(path, partial(_planned, now=now))]
        with closing(open_to_change(path)) as connection:
            actions += _make_indexes(connection)
            actions += _backfill(connection)
            actions += _rebuild(connection, microseconds_text(now))
            actions += _write_blocks(connection)
            actions += _recount(connection, now)
            actions += _reindex(connection)
    except (sqlite3.Error, OverflowError) as error:  # a sum that no 64 bits hold
        raise StoreError(f"{path} could not be repaired: {error}; run: llm-telemetry doctor", path) from error
    return actions


def _tighten(path: Path, *, dry_run: bool) -> Iterator[Action]:
    """0600 for the files, and no writing by others in a folder of ours."""
    user = os.geteuid()
    wanted = [(file, 0o177) for file in (path, *(side_file(path, suffix) for suffix in SIDE_FILES))]
    for file, refused in [*wanted, (path.parent, 0o022)]:
        status = status_of(file)
        if status is None or stat.S_ISLNK(status.st_mode) or user not in {0, status.st_uid}:
            continue  # chmod follows a link, and the files of others are not ours to change
        shared_on_purpose = stat.S_ISDIR(status.st_mode) and status.st_mode & stat.S_ISVTX
        if status.st_mode & refused and not shared_on_purpose:
            mode = stat.S_IMODE(status.st_mode) & ~refused
            if not dry_run:
                file.chmod(mode)
            yield Action("permissions", f"{file.name}: {stat.S_IMODE(status.st_mode):04o} to {mode:04o}", not dry_run)


def _planned(connection: sqlite3.Connection, now: int) -> list[Action]:
    actions = [Action("missing_index", f"make {name}", done=False) for name in missing_indexes(connection)]
    read_as_newest(connection)
    daily_totals.add_bucket_function(connection)
    waiting = read_progress(connection)
    if waiting.complete_since is None and waiting.uncounted_to:
        what = f"quarter_hours: count the records up to {waiting.uncounted_to:,}"
        actions.append(Action("aggregates", what, done=False))
    for day in _days(connection):
        with snapshot(connection):
            rows = len(list(daily_totals.differences(connection, day)))
        if rows:
            actions.append(Action("aggregates", f"{day}: rebuild {rows} totals", done=False))
    blocks = len(list(blocks_in_need(connection)))
    if blocks:
        actions.append(Action("aggregates", f"record_blocks: write {blocks:,} rows", done=False))
    with snapshot(connection):
        windows = len(_lacks(connection, now))
    if windows:
        actions.append(Action("budgets", f"recount {windows} windows", done=False))
    indexed = word_index.check_index(connection, math.inf)
    if indexed.name in {"search_index", "search_incomplete"}:
        actions.append(Action(indexed.name, f"make it whole: {indexed.seen}", done=False))
    return actions


def _make_indexes(connection: sqlite3.Connection) -> Iterator[Action]:
    for name, sql in missing_indexes(connection).items():
        try:
            with transaction(connection):
                connection.execute(f"DROP INDEX IF EXISTS {name}")
                connection.execute(sql)
        except sqlite3.IntegrityError as error:  # ids that stand twice
            yield Action("missing_index", f"{name} cannot be made: {error}", done=False)
        else:
            yield Action("missing_index", f"made {name}", done=True)


def _backfill(connection: sqlite3.Connection) -> Iterator[Action]:
    """What a migration left to do is done to its end, in steps between which writers go on."""
    if connection.execute(_KNOW_PROGRESS).rowcount:
        yield Action("aggregates", "made the row of rollup_progress", done=True)
    was = read_progress(connection)
    if was.complete_since is not None:
        return
    steps, deadline = Backfill(), time.monotonic() + LEASE / 1e6 + _PATIENCE
    while (waits := _step(steps, connection)) is not None:
        if waits:
            if time.monotonic() > deadline:
                yield Action("aggregates", "quarter_hours: another process is counting older records", done=False)
                return
            time.sleep(_PAUSE)
        else:
            deadline = time.monotonic() + LEASE / 1e6 + _PATIENCE
    yield Action("aggregates", f"quarter_hours: counted the records up to {was.uncounted_to:,}", done=True)


def _step(steps: Backfill, connection: sqlite3.Connection) -> float | None:
    try:
        return steps.step(connection, RECEIPT)
    except sqlite3.OperationalError as error:
        if error_kinds.classify(error) is not Fault.LOCKED:
            raise
        time.sleep(_PAUSE / 10)
        return 0.0


def _rebuild(connection: sqlite3.Connection, now: str) -> Iterator[Action]:
    daily_totals.add_bucket_function(connection)
    yield from _make_whole(connection, "daily_costs")
    yield from _make_whole(connection, "quarter_hours")
    for day in _days(connection):
        rows = repair_day(connection, day, now)
        if rows:
            yield Action("aggregates", f"{day}: rebuilt {rows} totals", done=True)


def _make_whole(connection: sqlite3.Connection, table: str) -> Iterator[Action]:
    """Cells that hold no sum (written by hand) are made integers: nothing can be added to the others."""
    if connection.execute(f"SELECT 1 FROM {table} WHERE {_NOT_WHOLE} LIMIT 1").fetchone():  # noqa: S608
        casts = ", ".join(f"{name} = CAST({name} AS INTEGER)" for name in _COUNTS)
        count = connection.execute(f"UPDATE {table} SET {casts} WHERE {_NOT_WHOLE}").rowcount  # noqa: S608
        yield Action("aggregates", f"made the sums of {count} rows of {table} whole numbers", done=True)


def _write_blocks(connection: sqlite3.Connection) -> Iterator[Action]:
    """Tell of blocks of records what is in them, where nothing or too little is told."""
    written = 0
    for block, _ in blocks_in_need(connection):
        with transaction(connection):
            write_blocks(connection, [block])
        written += 1
    if written:
        yield Action("aggregates", f"record_blocks: wrote {written:,} rows", done=True)


def _days(connection: sqlite3.Connection) -> Iterator[str]:
    """Days with records or totals, newest first, as far back as all records are kept."""
    day = daily_totals.day_before(connection, None, daily_totals.kept_since(connection))
    while day is not None:
        yield day
        day = daily_totals.day_before(connection, day, daily_totals.kept_since(connection))


def repair_day(connection: sqlite3.Connection, day: str, now: str) -> int:
    """Make the totals of one day right; how many rows were wrong. Safe beside writers and other repairs."""
    rows = _add_differences(connection, day, now)
    if rows:
        _add_differences(connection, day, now)  # a sum that was beyond 64 bits has only 15 digits when it comes back
    return rows


def _add_differences(connection: sqlite3.Connection, day: str, now: str) -> int:
    for _ in range(_MOST_TRIES):
        with snapshot(connection):
            seen, is_packed = _receipt(connection), not older_latencies.wait_to_be_packed(connection)
            rows = list(daily_totals.differences(connection, day)) if is_packed else []
        if not is_packed:  # a writer of an older release goes on
            with transaction(connection):
                older_latencies.pack_some(connection, _MOST_PACKED)
            continue
        if not _is_kept(connection, day):
            return 0  # retention was faster
        for step, start in enumerate(range(0, len(rows), _ROWS)):
            if not _add(connection, day, rows[start : start + _ROWS], seen + step, now):
                break
        else:
            return len(rows)
    raise sqlite3.OperationalError(f"the totals of {day} are being repaired by another process: try again later")


def _recount(connection: sqlite3.Connection, now: int) -> Iterator[Action]:
    """Make what budgets count right. Safe beside writers and other repairs."""
    whole = 0
    if budget_checks.has_budgets(connection):
        with transaction(connection):
            whole = budget_checks.make_whole(connection, now)
    rows = _recount_windows(connection, now)
    if rows:
        _recount_windows(connection, now)  # as in `repair_day`
    if whole or rows:
        yield Action("budgets", f"recounted {max(whole, rows)} windows", done=True)


def _recount_windows(connection: sqlite3.Connection, now: int) -> int:
    for _ in range(_MOST_TRIES):
        with snapshot(connection):
            seen, rows = _receipt(connection), _lacks(connection, now)
        for step, start in enumerate(range(0, len(rows), _ROWS)):
            with transaction(connection):
                still_true = _receipt(connection) == seen + step
                if still_true:
                    budget_checks.add_lacks(connection, rows[start : start + _ROWS])
                    receipt = (RECEIPT, seen + step + 1, microseconds_text(now))
                    connection.execute(statements.KEEP_RECEIPT, receipt)
            if not still_true:
                break
        else:
            return len(rows)
    raise sqlite3.OperationalError("what budgets count is being repaired by another process: try again later")


def _reindex(connection: sqlite3.Connection) -> Iterator[Action]:
    """Make the index for search anew where it is wrong, and complete it where there is one."""
    wrong = word_index.is_wrong(connection)
    if wrong is not None:
        count = word_index.rebuild(connection)
        yield Action("search_index", f"made anew from {count:,} contents: {wrong}", done=True)
    elif connection.execute(FIND_INDEX).fetchone() is not None and (count := word_index.fill(connection)):
        yield Action("search_incomplete", f"added {count:,} contents", done=True)


def _lacks(connection: sqlite3.Connection, now: int) -> list[Lack]:
    return list(budget_checks.lacks(connection, now)) if budget_checks.has_budgets(connection) else []


def _add(connection: sqlite3.Connection, day: str, rows: Sequence[Difference], seen: int, now: str) -> bool:
    """Add what these rows lack, in one transaction; False where another repair, or retention, was here meanwhile."""
    with transaction(connection):
        still_true = _receipt(connection) == seen and _is_kept(connection, day)
        if still_true:
            add_totals(connection, rows)
            connection.execute(statements.KEEP_RECEIPT, (RECEIPT, seen + 1, now))
    return still_true


def add_totals(connection: sqlite3.Connection, rows: Sequence[Difference]) -> None:
    """Add to rows of roll-ups, within the caller's transaction; what falls to nothing goes."""
    for row in rows:
        if isinstance(row.key, str):
            add_quarter(connection, row.key, row.lacking)
            continue
        names = [part or "" for part in row.key]
        found = connection.execute(statements.FIND_DAILY_BUCKETS, names).fetchone()
        counts = Counter(row.lacking.buckets)
        counts.update(unpack(found[0]) if found is not None and isinstance(found[0], bytes) else {})
        added = statements.daily_cost_row(row.key, row.lacking, pack(counts))
        for sql, parameters in statements.upsert_daily_costs([added]):
            connection.execute(sql, parameters)
        for sql in (statements.BRING_BACK_DAILY_COST, statements.DROP_EMPTY_DAILY_COST):
            connection.execute(sql, names)


def _is_kept(connection: sqlite3.Connection, day: str) -> bool:
    since = daily_totals.kept_since(connection)
    return since is None or since <= day


def _receipt(connection: sqlite3.Connection) -> int:
    row = connection.execute(statements.READ_RECEIPT, (RECEIPT,)).fetchone()
    return 0 if row is None else int(row[0])
