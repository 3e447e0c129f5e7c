"""Keeps the WAL short: checkpoints after commits, truncation when idle, never while someone waits for a commit."""

import sqlite3
from pathlib import Path
from typing import Final

from llm_service.telemetry.stores.sqlite import error_kinds
from llm_service.telemetry.stores.sqlite.opening import BUSY_TIMEOUT_MS

__all__ = ["WAL_ALARM_BYTES", "WAL_BYTES", "tidy_wal", "trim_wal"]

WAL_BYTES: Final = 8 * 1024 * 1024
"""The WAL is checkpointed after a commit from this size on; half of it would cost a fifth of the rate."""

WAL_ALARM_BYTES: Final = 8 * WAL_BYTES
"""From this size on, a reader that blocks the restart of the WAL causes a warning."""


def trim_wal(connection: sqlite3.Connection, path: Path) -> int:
    """After a commit: checkpoint a long WAL, so that the next commit restarts it. Blocks nobody.

    Returns:
        The size of the WAL in bytes.
    """
    try:
        size = path.with_name(f"{path.name}-wal").lstat().st_size
    except FileNotFoundError:
        return 0
    if size >= WAL_BYTES:
        connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
    return size


def tidy_wal(connection: sqlite3.Connection) -> bool:
    """When idle: checkpoint the WAL and truncate it. False if a reader or writer is in the way.

    Raises:
        sqlite3.Error: the file cannot be written. SQLite hides this error in checkpoints of a commit or a close.
    """
    try:
        # Do not wait for readers: it would hold the write lock meanwhile.
        connection.execute("PRAGMA busy_timeout = 0")
        busy, _, _ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    except sqlite3.OperationalError as error:
        if error_kinds.is_locked(error):
            return False
        raise
    finally:
        connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS:d}")
    return not busy
