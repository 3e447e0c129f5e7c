"""A verified copy of a file that is being written: whole pages of one snapshot, checked before it gets its name.

Pages are copied in steps within one reading transaction. Without it the copy begins again whenever a writer commits
(under load it never ended); VACUUM INTO took three times as long, and its snapshot with it [measured: see the manual].
While the snapshot is held the WAL cannot be reused and grows with what is written; past a bound the backup gives up.
"""

import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from llm_service.errors import StoreError
from llm_service.telemetry.maintenance.atomic_file import delivered, require_room
from llm_service.telemetry.maintenance.check_session import look, open_read_only, side_file, status_of
from llm_service.telemetry.maintenance.doctor import identify
from llm_service.telemetry.stores.sqlite.connections import connect
from llm_service.telemetry.stores.sqlite.transactions import snapshot

__all__ = ["MAX_WAL_GROWTH", "BackupReport", "OnProgress", "backup", "count_rows"]

MAX_WAL_GROWTH: Final = 1024 * 1024 * 1024
"""Bytes that the WAL may grow by while a backup holds its snapshot."""
_PAGES: Final = 1024
"""A step of 4 MiB: some milliseconds."""

OnProgress = Callable[[int, int], None]
"""Told the pages done and the pages in all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupReport:
    """What was copied.

    Attributes:
        rows: rows of each table, equal in the snapshot and in the copy.
        seconds: the whole work, verification included.
        snapshot_seconds: how long the snapshot was held.
        wal_growth_bytes: how much longer the WAL was at its end.
    """

    path: Path
    bytes: int
    rows: dict[str, int]
    seconds: float
    snapshot_seconds: float
    wal_growth_bytes: int


def backup(
    source: Path,
    destination: Path,
    *,
    force: bool = False,
    max_wal_growth: int = MAX_WAL_GROWTH,
    on_progress: OnProgress | None = None,
) -> BackupReport:
    """Copy a telemetry database while it is written. Writers go on; the source is only read.

    Args:
        destination: a new file, made with mode 0600; it appears when it is whole, verified (`integrity_check` and the
            rows of each table) and synced.
        force: True replaces an existing file that is not in use.
        max_wal_growth: bytes; the backup gives up when the WAL grows by more while it holds its snapshot.

    Raises:
        StoreError: the source is no sound telemetry database, the destination cannot be made, or the WAL grew too far.
    """
    started = time.monotonic()
    kind = identify(source) if status_of(source) is not None else None
    if kind is None or (kind.exit_code and kind.name != "older_schema"):
        seen = f"there is no {source}" if kind is None else f"{source} cannot be backed up: {kind.seen}; {kind.remedy}"
        raise StoreError(seen, source)
    size = source.lstat().st_size + _wal_bytes(source)
    require_room(destination.parent, size)
    with delivered(destination, force=force, database=source, over_database=True) as making:
        try:
            copied = look(source, lambda connection: _copy(connection, source, making, max_wal_growth, on_progress))
            _verify(making, copied.rows, source)
        except sqlite3.Error as error:
            raise StoreError(f"{source} was not backed up: {error}; run: llm-telemetry doctor", source) from error
    return BackupReport(
        path=destination,
        bytes=destination.stat().st_size,
        rows=copied.rows,
        seconds=time.monotonic() - started,
        snapshot_seconds=copied.seconds,
        wal_growth_bytes=copied.wal_growth,
    )


@dataclass(frozen=True, slots=True)
class _Copied:
    rows: dict[str, int]
    seconds: float
    wal_growth: int


def _copy(
    connection: sqlite3.Connection, source: Path, making: Path, max_wal_growth: int, on_progress: OnProgress | None
) -> _Copied:
    before = _wal_bytes(source)
    started = time.monotonic()

    def step(_status: int, remaining: int, total: int) -> None:
        if on_progress is not None:
            on_progress(total - remaining, total)
        if _wal_bytes(source) - before > max_wal_growth:
            raise StoreError(
                f"the backup gave up: the WAL of {source} grew by more than {max_wal_growth:,} bytes meanwhile; "
                "try again when less is written",
                source,
            )

    with snapshot(connection), closing(connect(making)) as target:
        rows = count_rows(connection)
        target.execute("PRAGMA synchronous = OFF")  # it is synced once, before it gets its name
        connection.backup(target, pages=_PAGES, progress=step)
    return _Copied(rows, time.monotonic() - started, max(0, _wal_bytes(source) - before))


def _verify(copy: Path, rows: dict[str, int], source: Path) -> None:
    with closing(open_read_only(copy, "ro&immutable=1")) as connection:
        (first,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
        if first != "ok":
            problem = " ".join(str(first).split())
            raise StoreError(f"the copy of {source} is damaged as its source is: {problem}; use --salvage", source)
        if count_rows(connection) != rows:
            raise StoreError(f"the copy of {source} has other rows than its snapshot; try again", source)


def count_rows(connection: sqlite3.Connection) -> dict[str, int]:
    """Rows of each table, by name."""
    tables = connection.execute(
        # A virtual table is counted by the tables that hold it; without its module it cannot be.
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' AND rootpage ORDER BY name"
    ).fetchall()
    quoted = [(name, str(name).replace('"', '""')) for (name,) in tables]
    return {name: int(connection.execute(f'SELECT count(*) FROM "{safe}"').fetchone()[0]) for name, safe in quoted}  # noqa: S608


def _wal_bytes(source: Path) -> int:
    status = status_of(side_file(source, "-wal"))
    return 0 if status is None else status.st_size
