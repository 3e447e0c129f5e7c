"""What dead processes had accepted and not committed, committed once by whoever opens the database next.

Three things make it once. Who replays holds the segment's lock, so nobody else does. A frame whose batch the dead
writer's receipt names is left out: its commit is on disk. And each transaction of a replay leaves a receipt of its own,
under `<writer id>:replay`, that names the last frame it committed: whoever goes on after a crash starts behind it.
"""

import logging
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from llm_service.config.settings import PrivacyLevel
from llm_service.telemetry.journal import locking, segment, segment_names
from llm_service.telemetry.journal.encoding import LAYOUTS, UnreadableRecordError, decode
from llm_service.telemetry.privacy import effective_level
from llm_service.telemetry.record.record import InvocationRecord
from llm_service.telemetry.stores.base import BatchWriter, Session
from llm_service.telemetry.stores.sqlite import statements

__all__ = ["MakeWriter", "Replayed", "replay_all"]

_LOG: Final = logging.getLogger("llm_service.telemetry")
_ROWS: Final = 256
"""Records of a transaction: about 5 ms, so that nobody waits longer for the write lock."""
_SLICE: Final = 25
_LARGEST: Final = 1 << 31

MakeWriter = Callable[[str, PrivacyLevel], BatchWriter]


@dataclass(slots=True)
class Replayed:
    """What replays did so far.

    Attributes:
        written: records committed.
        known: records whose id was stored already.
        quarantined: records that SQLite refused.
        lost: accepted records that could not be read.
        left: segments that this release cannot read, or must not touch; they stay where they are.
    """

    written: int = 0
    known: int = 0
    quarantined: int = 0
    lost: int = 0
    left: int = 0


def replay_all(
    db_path: Path, connection: Session, ceiling: PrivacyLevel, make_writer: MakeWriter, done: Replayed
) -> None:
    """Commit what dead processes left, and remove their segments. Living ones are not touched.

    Args:
        db_path: the database.
        connection: a writing one, with no transaction open.
        ceiling: the privacy level of who replays; the lower one of both writers' counts.
        make_writer: makes a writer from an id for its receipts and a level.
        done: is added to, also where a segment's replay stops half-way; `left` is counted anew.

    Raises:
        Exception: the database refused a transaction. The segment stays, and another replay goes on from there.
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
                may_go = _replay(path, held.fd, connection, ceiling, make_writer, done)
            else:
                may_go = _is_unfinished(path, held.fd)
            if may_go:
                path.unlink()
            else:
                done.left += 1
        finally:
            held.let_go()


def _is_unfinished(path: Path, fd: int) -> bool:
    """Whether a segment that has not got its final name is one; no record was ever accepted into it."""
    if segment.is_unfinished(_read(fd)):
        return True
    _LOG.warning("telemetry: %s is left where it is: it is no crash journal", path)
    return False


def _replay(
    path: Path,
    fd: int,
    connection: Session,
    ceiling: PrivacyLevel,
    make_writer: MakeWriter,
    done: Replayed,
) -> bool:
    """Replay one segment; whether it may be removed."""
    data = _read(fd)
    try:
        header = segment.read_header(data, LAYOUTS)
    except segment.UnknownSegmentError as error:
        _LOG.warning("telemetry: %s is left where it is: %s", path, error)
        return False
    replay_id = f"{header.writer_id}:replay"
    owed = segment.contents(
        data, header, committed=_receipt(connection, header.writer_id), replayed=_receipt(connection, replay_id)
    )
    writer = make_writer(replay_id, effective_level(ceiling, header.ceiling))
    before, lost = done.written, owed.lost
    for start in range(0, len(owed.waiting), _ROWS):
        frames = owed.waiting[start : start + _ROWS]
        records = [record for frame in frames if (record := _record(frame, header.layout)) is not None]
        lost += len(frames) - len(records)
        if not records:
            continue
        result = writer.write(connection, records, batch_no=frames[-1].number, durable=False, slice_rows=_SLICE)
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
    """The whole file, copied: one that somebody cuts short meanwhile is read short, where a mapping would kill."""
    size = min(os.fstat(fd).st_size, _LARGEST)
    parts: list[bytes] = []
    at = 0
    while at < size and (part := os.pread(fd, size - at, at)):
        parts.append(part)
        at += len(part)
    return b"".join(parts)


def _receipt(connection: Session, writer_id: str) -> int:
    row = connection.execute(statements.READ_RECEIPT, (writer_id,)).fetchone()
    return int(row[0]) if row is not None else 0
