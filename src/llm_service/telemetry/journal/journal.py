"""The crash journal's writer: a ring in one memory-mapped segment; a record is accepted only after it is written there.

Everything here runs under the queue's lock, which a signal handler or `__del__` may re-enter. So there is no call
between reading and storing the ring's positions: a nested `append` gets its own position, and an append that never
ends leaves a gap that the reader skips.
"""

import logging
import mmap
import os
import secrets
import zlib
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from time import monotonic, sleep, time_ns
from typing import Final

from llm_service.config.settings import PrivacyLevel
from llm_service.telemetry.journal import locking, segment
from llm_service.telemetry.journal.encoding import LAYOUT, encode
from llm_service.telemetry.journal.segment_names import made_name, segment_name
from llm_service.telemetry.record.record import InvocationRecord
from llm_service.telemetry.stores.private_files import make_private_folder

__all__ = ["CrashJournal", "Slot"]

_LOG: Final = logging.getLogger("llm_service.telemetry")
_HEAD: Final = segment.FRAME.size
_DATA: Final = segment.DATA_AT
_ACCEPTED: Final = segment.ACCEPTED_WORD
_ALL_BITS: Final = segment.ALL_BITS
_pack: Final = segment.FRAME.pack
_crc32: Final = zlib.crc32
_NAMES: Final = 4096
"""Upper bound of id and names, which a record's `size` leaves out: four texts of 200 characters, 4 bytes each."""
_PAUSE: Final = 1.0
_TRIES: Final = 4
_A_MOMENT: Final = 0.002
"""Seconds between two tries to create the segment."""
_ZEROS: Final = bytes(1 << 20)


class Slot:
    """A record's position in the ring. Class attributes are the defaults, so that no `__init__` is called."""

    start = -1
    number = 0
    live = False


class CrashJournal:
    """See the module. Not thread-safe by itself. The segment is created with the first record, or by `ensure`.

    Args:
        db_path: the database; the segment is in the same folder.
        max_bytes: the segment's size, allocated in full.

    Attributes:
        error: why the segment could not be created; None if it exists or was not needed yet.
    """

    def __init__(
        self,
        db_path: Path,
        max_bytes: int,
        ceiling: PrivacyLevel,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self.db_path = db_path
        self._bytes = max_bytes // segment.WORD * segment.WORD
        self._ceiling: PrivacyLevel = ceiling
        self._clock = clock
        self.begin("")

    def begin(self, writer_id: str) -> None:
        """Start as this writer, without a segment: at construction, and in a forked child."""
        self._writer_id = writer_id
        self.path = self.db_path.parent / segment_name(self.db_path, writer_id)
        self._file: locking.HeldFile | None = None
        self.mapping: mmap.mmap | None = None
        self._words: memoryview[int] = memoryview(b"").cast("Q")
        self.salt = 1
        self.head = self._tail = _DATA
        self._number = 0
        self.slots: deque[Slot] = deque()
        self._closed = False
        self._making = False  # a signal handler that logs meanwhile must not create a second one
        self._try_at = 0.0
        self.error: OSError | None = None

    # Creating and closing

    def ensure(self) -> bool:
        """Create the segment if there is none; False, with `error`, where that failed; tried again after a second."""
        if self.mapping is not None:
            return True
        if self._closed or self._making or self._clock() < self._try_at:
            return False
        self._making = True
        try:
            self._make_in_time()
        except OSError as error:
            self._try_at = self._clock() + _PAUSE
            if self.error is None:
                _LOG.warning("telemetry: the crash journal cannot be made, records are dropped: %s", error)
            self.error = error
            return False
        finally:
            self._making = False
        self.error = None
        return True

    def _make_in_time(self) -> None:
        """A replay may remove the new file before it is locked, as if its process were dead: then once more."""
        for _ in range(_TRIES):
            try:
                return self._make()
            except (FileExistsError, FileNotFoundError, locking.RefusedFileError):
                sleep(_A_MOMENT)
        return self._make()

    def _make(self) -> None:
        make_private_folder(self.path.parent)
        new = self.path.with_name(made_name(self.path.name))
        salt = secrets.randbelow((1 << 32) - 1) + 1
        header = segment.Header(self._writer_id, self._ceiling, LAYOUT, salt, time_ns() // 1000)
        held = locking.create(new)
        mapping: mmap.mmap | None = None
        try:
            _allocate(held.fd, self._bytes)
            mapping = mmap.mmap(held.fd, self._bytes)
            mapping[:_DATA] = segment.pack_header(header)
            new.rename(self.path)
        except BaseException:
            with suppress(OSError):
                new.unlink()
            if mapping is not None:
                mapping.close()
            held.let_go()
            raise
        self.salt = salt
        self._words = memoryview(mapping).cast("Q")
        self._file = held
        self.mapping = mapping

    def close(self) -> None:
        """Release the segment. An empty one is removed; one with records stays for the next open of the database."""
        self._closed = True
        if self.mapping is None:
            return
        if not self.slots:
            with suppress(OSError):
                self.path.unlink()
        self._let_go()

    def leak(self) -> None:
        """In a forked child: drop the parent's segment. Its lock was not inherited, and the parent keeps it."""
        with suppress(BufferError, OSError):  # a thread of the parent may have been using it
            self._let_go()

    def _let_go(self) -> None:
        mapping, held = self.mapping, self._file
        self.mapping = self._file = None
        self._words.release()
        if mapping is not None:
            mapping.close()
        if held is not None:
            held.let_go()

    # Adding and removing records

    encode = staticmethod(encode)

    def append(self, payload: bytes, slot: Slot, /) -> bool:
        """Write an encoded record into the ring and store its position in `slot`; False if there is no room."""
        if self.mapping is None:
            self.ensure()
        mapping = self.mapping
        if mapping is None:
            return False
        size = _HEAD + len(payload)
        need = size + 7 & ~7
        slots = self.slots
        end = self._bytes
        # No call from here to `append`: see the module.
        start = self.head
        tail = self._tail
        if start >= tail:
            if start + need > end:
                start = _DATA
                if start + need >= tail:
                    return False
        elif start + need >= tail:
            return False
        self.head = start + need
        self._number = number = self._number + 1
        slot.start = start
        slot.number = number
        slot.live = True
        slots.append(slot)
        salt = self.salt
        # `segment.frame_head`, inlined.
        head = _pack(0, salt, len(payload), number, _crc32(payload, salt + number + (number >> 32) & 0xFFFFFFFF))
        mapping[start : start + size] = head + payload
        words = self._words
        words[_ACCEPTED] = number
        words[_ACCEPTED + 1] = number ^ _ALL_BITS
        return True

    def assign(self, slots: Iterable[Slot], batch: int) -> None:
        """Before these records are committed: store the batch whose receipt will prove the commit."""
        self._stamp(slots, segment.stamp_of(batch, self.salt))

    def drop(self, slots: Iterable[Slot]) -> None:
        """Mark records as dropped and counted, so that no replay restores them, and free their positions."""
        slots = tuple(slots)
        self._stamp(slots, segment.stamp_of(segment.DEAD, self.salt))
        self.free(slots)

    def free(self, slots: Iterable[Slot]) -> None:
        """Free the positions of committed records."""
        for slot in slots:
            slot.live = False
        ring = self.slots
        while ring and not ring[0].live:
            ring.popleft()
        if not ring:
            # The ring is empty. No nested `append` can come between: there is no call here.
            self.head = self._tail = _DATA
        else:
            self._tail = ring[0].start
        if self.mapping is not None:
            lowest = ring[0].number if ring else self._number + 1
            self._words[segment.LOWEST_WORD] = lowest
            self._words[segment.LOWEST_WORD + 1] = lowest ^ segment.ALL_BITS

    def _stamp(self, slots: Iterable[Slot], stamp: int) -> None:
        if self.mapping is not None:
            words = self._words
            for slot in slots:
                if slot.live:  # else the position belongs to another record now
                    words[slot.start >> 3] = stamp

    # Inspecting

    @property
    def size(self) -> int:
        """Bytes allocated on disk; 0 without a segment."""
        return 0 if self.mapping is None else self._bytes

    @property
    def used(self) -> int:
        """Bytes of the ring that records occupy."""
        if self.head >= self._tail:
            return self.head - self._tail
        return self._bytes - self._tail + self.head - _DATA

    def has_room(self, size: int) -> bool:
        """Whether a record of this `size` is sure to fit, or the ring is empty."""
        if not self.slots:
            return True
        gap = self._tail - self.head
        room = gap if gap > 0 else max(self._bytes - self.head, self._tail - _DATA)
        return room > size + _NAMES

    def could_hold(self, record: InvocationRecord) -> bool:
        """Whether the record fits into an empty ring."""
        return _DATA + _HEAD + len(encode(record)) + 7 < self._bytes


def _allocate(fd: int, size: int) -> None:
    """Reserve disk space: a store into a sparse mapping kills the process when the disk is full (SIGBUS)."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(fd, 0, size)
        return
    written = 0
    while written < size:
        written += os.write(fd, _ZEROS[: size - written])
    os.fsync(fd)  # some file systems reserve space only when they write
