"""Keeping the WAL short: copied back after commits, truncated when idle, never while someone waits for a commit."""

import sqlite3
from pathlib import Path
from typing import Final

from llm_service.telemetry.stores.sqlite import error_kinds
from llm_service.telemetry.stores.sqlite.opening import BUSY_TIMEOUT_MS

__all__ = ["WAL_ALARM_BYTES", "WAL_BYTES", "tidy_wal", "trim_wal"]

WAL_BYTES: Final = 8 * 1024 * 1024
"""From this size on, the WAL is copied back into the database after a commit; half of it costs a fifth of the rate."""

WAL_ALARM_BYTES: Final = 8 * WAL_BYTES
"""From this size on, a reader that keeps the WAL from being started anew is worth a warning."""


def trim_wal(connection: sqlite3.Connection, path: Path) -> int:
    """After a commit: copy a long WAL back, so that the next commit begins it anew. Blocks nobody.

    Returns:
        How many bytes the WAL has.
    """
    try:
        size = path.with_name(f"{path.name}-wal").lstat().st_size
    except FileNotFoundError:
        return 0
    if size >= WAL_BYTES:
        connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
    return size


def tidy_wal(connection: sqlite3.Connection) -> bool:
    """In an idle moment: copy the WAL back and truncate it to nothing. False when a reader or writer is in the way.

    Raises:
        sqlite3.Error: the file cannot be written. SQLite keeps that to itself where a commit or a close checkpoints.
    """
    try:
        # It would hold the write lock while it waits for readers: do not wait.
        connection.execute("PRAGMA busy_timeout = 0")
        busy, _, _ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    except sqlite3.OperationalError as error:
        if error_kinds.is_locked(error):
            return False
        raise
    finally:
        connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS:d}")
    return not busy
