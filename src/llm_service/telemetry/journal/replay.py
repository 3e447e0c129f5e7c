"""Replay: the next process that opens the database commits, once, what dead processes had accepted.

Three things make it exactly once. The replay holds the segment's lock, so only one process replays it. Frames of
batches that the dead writer's receipt covers are skipped: their commit is on disk. And each transaction of a replay
writes its own receipt, `<writer id>:replay`, with the last committed frame: after a crash, the next replay continues
there.
"""

import logging
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from llm_service.config.settings import PrivacyLevel
from llm_service.telemetry.journal import locking, segment, segment_names
from llm_service.telemetry.journal.encoding import LAYOUTS, UnreadableRecordError, decode
from llm_service.telemetry.privacy import effective_level
from llm_service.telemetry.record.record import InvocationRecord
from llm_service.telemetry.stores.base import Session

__all__ = ["Replayed", "replay_all"]

_LOG: Final = logging.getLogger("llm_service.telemetry")
_ROWS: Final = 256
"""Records in a transaction: about 5 ms, so that other writers wait no longer for the lock."""
_LARGEST: Final = 1 << 31


@dataclass(slots=True)
class Replayed:
    """Counts of all replays so far.

    Attributes:
        written: records committed.
        known: records that were stored already.
        quarantined: records that SQLite refused.
        lost: accepted records that could not be read.
        left: segments that this release cannot read or must not touch; they are not moved.
    """

    written: int = 0
    known: int = 0
    quarantined: int = 0
    lost: int = 0
    left: int = 0


def replay_all(db_path: Path, session: Session, ceiling: PrivacyLevel, done: Replayed) -> None:
    """Commit the records of dead processes, and remove their segments. Those of living processes are not touched.

    Args:
        ceiling: the replaying logger's privacy level; the lower one of both writers applies.
        done: is updated, also if a segment's replay stops half-way; `left` is counted anew.

    Raises:
        Exception: the database refused a transaction. The segment stays, and another replay continues there.
    """
    done.left = 0
    for path in segment_names.find(db_path):
        try:
            held = locking.hold(path)
        except OSError as error:
            done.left += 1
            _LOG.warning("telemetry: a crash journal is left alone: %s", error)
            continue
        if held is None:
            continue
        try:
            if segment_names.is_complete(path):
                may_go = _replay(path, held.fd, session, ceiling, done)
            else:
                may_go = _is_unfinished(path, held.fd)
            if may_go:
                path.unlink()
            else:
                done.left += 1
        finally:
            held.let_go()


def _is_unfinished(path: Path, fd: int) -> bool:
    """Whether a file without a final name is a segment; no record was accepted into it."""
    if segment.is_unfinished(_read(fd)):
        return True
    _LOG.warning("telemetry: %s is left where it is: it is no crash journal", path)
    return False


def _replay(path: Path, fd: int, session: Session, ceiling: PrivacyLevel, done: Replayed) -> bool:
    """Replay one segment. Returns whether it may be removed."""
    data = _read(fd)
    try:
        header = segment.read_header(data, LAYOUTS)
    except segment.UnknownSegmentError as error:
        _LOG.warning("telemetry: %s is left where it is: %s", path, error)
        return False
    replay_id = f"{header.writer_id}:replay"
    owed = segment.contents(
        data, header, committed=session.receipt(header.writer_id), replayed=session.receipt(replay_id)
    )
    level = effective_level(ceiling, header.ceiling)
    before, lost = done.written, owed.lost
    for start in range(0, len(owed.waiting), _ROWS):
        frames = owed.waiting[start : start + _ROWS]
        records = [record for frame in frames if (record := _record(frame, header.layout)) is not None]
        lost += len(frames) - len(records)
        if not records:
            continue
        result = session.restore(records, writer_id=replay_id, batch_no=frames[-1].number, ceiling=level)
        done.known += len(result.duplicates)
        done.quarantined += len(result.quarantined)
        done.written += len(records) - len(result.duplicates) - len(result.quarantined)
    done.lost += lost
    if owed.waiting or lost:
        _LOG.warning(
            "telemetry: a process ended without a close: %d records of its journal are now in the database, %d lost",
            done.written - before,
            lost,
        )
    return True


def _record(frame: segment.Frame, layout: int) -> InvocationRecord | None:
    with suppress(UnreadableRecordError):
        return decode(frame.payload, layout)
    return None


def _read(fd: int) -> bytes:
    """A copy of the file: a memory map would kill the process if somebody truncated the file meanwhile."""
    size = min(os.fstat(fd).st_size, _LARGEST)
    parts: list[bytes] = []
    at = 0
    while at < size and (part := os.pread(fd, size - at, at)):
        parts.append(part)
        at += len(part)
    return b"".join(parts)
