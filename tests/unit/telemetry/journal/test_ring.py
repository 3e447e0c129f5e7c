"""The ring of a living process: what is written is what a reader finds, at every moment and after every lap."""

import errno
import os
import stat
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llm_service.telemetry.journal import journal as journal_module
from llm_service.telemetry.journal import locking, segment, segment_names
from llm_service.telemetry.journal.encoding import LAYOUTS, decode, encode
from llm_service.telemetry.journal.journal import CrashJournal, Slot
from llm_service.telemetry.record.record import InvocationRecord

SMALL = 4096 + 4096


class Clock:
    """Seconds that a test moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    """The journal's clock."""
    return Clock()


@pytest.fixture
def ring(tmp_path: Path, clock: Clock) -> Iterator[CrashJournal]:
    """A small journal; closed at the end."""
    made = CrashJournal(tmp_path / "folder" / "t.db", SMALL, "metadata", clock)
    made.begin("0d523cae-1d87-4dad-941f-c0f5f629fa3c")
    yield made
    made.close()


def path_of(ring: CrashJournal) -> Path:
    """Where its segment is."""
    return ring.path


def on_disk(ring: CrashJournal, *, committed: int = 0) -> segment.Contents:
    """What a reader would find if the process died now; the mapping is read, since a descriptor would drop the lock."""
    assert ring.mapping is not None
    data = ring.mapping[:]
    return segment.contents(data, segment.read_header(data, LAYOUTS), committed=committed, replayed=0)


def ids(found: segment.Contents) -> list[str]:
    """Which records it holds."""
    return [decode(frame.payload).invocation_id for frame in found.waiting]


def put(ring: CrashJournal, name: str, **fields: Any) -> Slot | None:
    """Append a record."""
    slot = Slot()
    return slot if ring.append(encode(InvocationRecord(invocation_id=name, **fields)), slot) else None


def slot_of(ring: CrashJournal, name: str, **fields: Any) -> Slot:
    """Append a record that has to find a place."""
    slot = put(ring, name, **fields)
    assert slot is not None
    return slot


def test_nothing_is_made_before_it_is_needed(ring: CrashJournal) -> None:
    """A logger that logs nothing leaves no trace."""
    assert (ring.size, ring.used) == (0, 0)
    assert not path_of(ring).parent.exists()


def test_the_segment_is_private_allocated_and_complete(ring: CrashJournal) -> None:
    """Mode 0600 in a folder of mode 0700, blocks set aside, its final name."""
    assert ring.ensure()
    found = path_of(ring).stat()
    assert stat.S_IMODE(found.st_mode) == 0o600
    assert stat.S_IMODE(path_of(ring).parent.stat().st_mode) == 0o700
    assert found.st_size == SMALL == ring.size
    assert found.st_blocks * 512 >= SMALL
    assert [path_of(ring)] == segment_names.find(ring.db_path)
    assert segment.read_header(path_of(ring).read_bytes(), LAYOUTS).writer_id == "0d523cae-1d87-4dad-941f-c0f5f629fa3c"


def test_a_record_is_on_disk_when_append_returns(ring: CrashJournal) -> None:
    """A reader would find it."""
    slot_of(ring, "a")
    slot_of(ring, "b", session_id="ü" * 50)
    assert ids(on_disk(ring)) == ["a", "b"]


def test_batches_are_told_apart_by_their_receipt(ring: CrashJournal) -> None:
    """Assigned is not committed: the receipt decides."""
    first, second = slot_of(ring, "a"), slot_of(ring, "b")
    ring.assign([first], 1)
    ring.assign([second], 2)
    assert ids(on_disk(ring)) == ["a", "b"]
    assert ids(on_disk(ring, committed=1)) == ["b"]


def test_a_dropped_record_stays_dropped(ring: CrashJournal) -> None:
    """It is counted, so it must not come back."""
    slots = [slot_of(ring, name) for name in "abc"]
    ring.drop([slots[1]])
    assert ids(on_disk(ring)) == ["a", "c"]
    ring.drop([slots[1]])
    assert ids(on_disk(ring)) == ["a", "c"]


def test_dropping_what_never_found_a_place_does_nothing(ring: CrashJournal) -> None:
    """The slot of a refused record."""
    slot_of(ring, "a")
    ring.drop([Slot()])
    assert ids(on_disk(ring)) == ["a"]


def test_a_stamp_never_lands_in_a_place_that_is_another_s_by_now(ring: CrashJournal) -> None:
    """A record whose call was interrupted after it had been accepted is dropped here and committed there."""
    slot = slot_of(ring, "a")
    ring.drop([slot])
    slot_of(ring, "b", session_id="x" * 100)
    ring.assign([slot], 7)
    ring.free([slot])
    assert ids(on_disk(ring, committed=7)) == ["b"]


def test_a_full_ring_refuses_and_space_is_used_again(ring: CrashJournal) -> None:
    """It never grows."""
    slots: list[Slot] = []
    while (slot := put(ring, f"r{len(slots)}")) is not None:
        slots.append(slot)
    assert len(slots) > 10
    assert not ring.has_room(700)
    ring.free(slots[:5])
    assert put(ring, "again") is not None
    assert path_of(ring).stat().st_size == SMALL
    assert ids(on_disk(ring)) == [f"r{at}" for at in range(5, len(slots))] + ["again"]


def test_a_record_beyond_the_ring_is_refused_for_good(ring: CrashJournal) -> None:
    """Neither now nor later."""
    record = InvocationRecord(error_message="x" * 5000)
    assert not ring.could_hold(record)
    assert ring.could_hold(InvocationRecord())
    assert not ring.append(encode(record), Slot())
    assert ring.has_room(10**9)  # an empty ring can be no emptier


@pytest.mark.parametrize("freed", [1, 2, 3])
def test_a_ring_that_goes_round_never_overwrites_what_waits(ring: CrashJournal, freed: int) -> None:
    """Frames of one size meet the old end to the byte: they must not reach it, since then it would look empty."""
    waiting: list[tuple[str, Slot]] = []
    for turn in range(200):
        name = f"record-{turn:06}"
        while (slot := put(ring, name, timestamp=datetime(2026, 3, 1, tzinfo=UTC))) is None:
            assert len(waiting) > freed
            ring.free([slot for _, slot in waiting[:freed]])
            del waiting[:freed]
        waiting.append((name, slot))
        assert ids(on_disk(ring)) == [name for name, _ in waiting]
        assert ring.used >= len(waiting) * segment.FRAME.size
    assert turn > 3 * len(waiting)


def test_a_number_beyond_32_bits_is_read_back(ring: CrashJournal) -> None:
    """A process that logs for months gets there."""
    slot_of(ring, "first")
    ring._number = (3 << 33) + 5
    ring.free(list(ring.slots))
    slot_of(ring, "late")
    assert ids(on_disk(ring)) == ["late"]
    assert on_disk(ring).waiting[0].number == (3 << 33) + 6
    assert on_disk(ring).waiting[0].batch == 0


def test_what_is_let_go_of_is_unmapped_and_a_forked_child_leaves_the_file(ring: CrashJournal) -> None:
    """A child has no part in it: nothing is removed, nothing is written."""
    slot_of(ring, "parent's")
    mapping = ring.mapping
    assert mapping is not None
    before = path_of(ring).read_bytes()
    ring.leak()
    assert mapping.closed
    assert (ring.size, path_of(ring).read_bytes()) == (0, before)


def test_the_room_is_asked_for_in_one_call(ring: CrashJournal, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the system can do that: all of it, from the start."""
    asked: list[tuple[int, int]] = []
    real = os.posix_fallocate

    def allocate(fd: int, start: int, size: int) -> None:
        asked.append((start, size))
        real(fd, start, size)

    monkeypatch.setattr(os, "posix_fallocate", allocate)
    monkeypatch.setattr(os, "write", lambda *_arguments: pytest.fail("zeros are written"))
    assert ring.ensure()
    assert asked == [(0, SMALL)]


def test_zeros_that_are_written_in_pieces_fill_the_file(ring: CrashJournal, monkeypatch: pytest.MonkeyPatch) -> None:
    """A write may take less than it is given."""
    real, taken = os.write, []

    def write(fd: int, data: bytes) -> int:
        taken.append(real(fd, data[:1000]))
        return taken[-1]

    monkeypatch.delattr(os, "posix_fallocate")
    monkeypatch.setattr(os, "write", write)
    assert ring.ensure()
    assert sum(taken) == path_of(ring).stat().st_size == SMALL


def test_what_could_be_held_is_what_an_empty_ring_takes(tmp_path: Path, clock: Clock) -> None:
    """To the byte, and no record is promised a place that it does not find."""
    room = segment.DATA_AT + 600
    verdicts = []
    for length in range(300, 480):
        ring = CrashJournal(tmp_path / f"{length}.db", room, "metadata", clock)
        ring.begin("w")
        record = InvocationRecord(error_message="x" * length)
        verdicts.append((ring.could_hold(record), ring.append(encode(record), Slot())))
        ring.drop(list(ring.slots))
        ring.close()
    assert all(found for could, found in verdicts if could)
    assert (
        sum(found and not could for could, found in verdicts) <= 8
    )  # a multiple of 8 is needed, 7 at most is left over
    assert {could for could, _ in verdicts} == {True, False}


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 190), st.integers(0, 40)), max_size=80))
def test_a_reader_finds_exactly_what_waits_whatever_happened(
    tmp_path: Path, steps: list[tuple[int, int, int]], clock: Clock
) -> None:
    """Appends of all sizes, commits and drops in any order, over many laps."""
    ring = CrashJournal(tmp_path / "t.db", SMALL, "metadata", clock)
    ring.begin("0d523cae-1d87-4dad-941f-c0f5f629fa3c")
    waiting: dict[str, Slot] = {}
    try:
        ring.ensure()
        for number, (kind, size, which) in enumerate(steps):
            if kind < 2:
                slot = put(ring, f"n{number}", session_id="s" * (size + 1), error_message="e" * (size * 3))
                if slot is not None:
                    waiting[f"n{number}"] = slot
            elif waiting:
                name = list(waiting)[which % len(waiting)]
                slot = waiting.pop(name)
                if kind == 2:
                    ring.drop([slot])
                else:
                    ring.assign([slot], 1)
                    ring.free([slot])
            found = on_disk(ring, committed=1)
            assert ids(found) == list(waiting)
            assert found.lost == 0
            assert 0 <= ring.used <= SMALL - 4096
    finally:
        ring.close()
        for left in tmp_path.glob("*-journal-*"):
            left.unlink()


def test_an_append_within_an_append_gets_a_place_of_its_own(
    ring: CrashJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A signal handler or `__del__` may log while a record is being written; the outer one may then never end."""
    ring.ensure()
    real = journal_module._crc32
    nested: list[Slot | None] = []

    def interrupted(*_arguments: object) -> int:
        monkeypatch.setattr(journal_module, "_crc32", real)
        nested.append(put(ring, "inner"))
        raise KeyboardInterrupt

    slot_of(ring, "before")
    monkeypatch.setattr(journal_module, "_crc32", interrupted)
    outer = Slot()
    with pytest.raises(KeyboardInterrupt):
        ring.append(encode(InvocationRecord(invocation_id="outer")), outer)
    assert ids(on_disk(ring)) == ["before", "inner"]
    ring.drop([outer])
    slot_of(ring, "after")
    assert ids(on_disk(ring)) == ["before", "inner", "after"]


def test_making_within_making_is_refused(ring: CrashJournal, monkeypatch: pytest.MonkeyPatch) -> None:
    """A signal handler that logs while the segment is made must not make another."""
    inner: list[bool] = []
    real = journal_module._allocate

    def allocate(fd: int, size: int) -> None:
        inner.append(ring.ensure())
        real(fd, size)

    monkeypatch.setattr(journal_module, "_allocate", allocate)
    assert ring.ensure()
    assert inner == [False]
    assert len(segment_names.find(ring.db_path)) == 1


def test_close_removes_an_empty_segment_and_keeps_one_that_holds_records(ring: CrashJournal, clock: Clock) -> None:
    """What is left is for the next open."""
    slot = slot_of(ring, "a")
    ring.free([slot])
    ring.close()
    assert segment_names.find(ring.db_path) == []
    other = CrashJournal(ring.db_path, SMALL, "metadata", clock)
    other.begin("0d523cae-1d87-4dad-941f-c0f5f629beef")
    kept = slot_of(other, "b")
    other.close()
    assert len(segment_names.find(ring.db_path)) == 1
    other.free([kept])  # a commit that hung, and ended after the close
    other.assign([kept], 1)
    assert put(other, "late") is None
    other.close()


def test_a_full_disk_at_allocation_is_tried_again(
    ring: CrashJournal, clock: Clock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing half-made stays, records are refused meanwhile, and one warning is enough."""
    real = journal_module._allocate

    def full(_fd: int, _size: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(journal_module, "_allocate", full)
    assert put(ring, "a") is None
    assert put(ring, "b") is None
    clock.now += 1.0
    assert put(ring, "c") is None
    assert ring.error is not None
    assert ring.error.errno == errno.ENOSPC
    assert segment_names.find(ring.db_path) == []
    assert sum("cannot be made" in message for message in caplog.messages) == 1
    monkeypatch.setattr(journal_module, "_allocate", real)
    assert put(ring, "too soon") is None
    clock.now += 1.0
    slot_of(ring, "d")
    assert ring.error is None
    assert ids(on_disk(ring)) == ["d"]


def test_a_segment_that_a_cleaner_took_before_it_was_complete_is_made_again(
    ring: CrashJournal, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process found it unlocked, between its creation and its lock, and removed it."""
    real = journal_module._allocate

    def taken(fd: int, size: int) -> None:
        real(fd, size)
        path_of(ring).with_name(segment_names.made_name(path_of(ring).name)).unlink()

    monkeypatch.setattr(journal_module, "_allocate", taken)
    assert not ring.ensure()
    assert isinstance(ring.error, FileNotFoundError)
    monkeypatch.setattr(journal_module, "_allocate", real)
    clock.now += 1.0
    slot_of(ring, "a")
    assert ids(on_disk(ring)) == ["a"]


def test_room_is_what_lies_in_one_piece(tmp_path: Path, clock: Clock) -> None:
    """Before the end, before the oldest record, or between head and tail once the ring has turned."""
    ring = CrashJournal(tmp_path / "t.db", 4096 + 32_768, "metadata", clock)
    ring.begin("0d523cae-1d87-4dad-941f-c0f5f629fa3c")
    big = {"error_message": "x" * 9000}
    first, second, third = (slot_of(ring, name, **big) for name in "abc")
    assert not ring.has_room(9000)
    ring.free([first])
    assert ring.has_room(4000)
    fourth = slot_of(ring, "d", error_message="x" * 8000)  # it turns
    assert not ring.has_room(700)
    ring.free([second])
    assert ring.has_room(4000)
    ring.free([third, fourth])
    assert ring.has_room(32_000)
    ring.close()


def test_without_posix_fallocate_zeros_are_written(ring: CrashJournal, monkeypatch: pytest.MonkeyPatch) -> None:
    """The room is the file's before it is mapped."""
    monkeypatch.delattr(os, "posix_fallocate")
    assert ring.ensure()
    assert path_of(ring).stat().st_blocks * 512 >= SMALL


def test_a_file_that_stands_there_already_is_not_taken(ring: CrashJournal, clock: Clock) -> None:
    """Planted by somebody: O_EXCL, and another try later."""
    path_of(ring).parent.mkdir()
    planted = path_of(ring).with_name(segment_names.made_name(path_of(ring).name))
    planted.symlink_to("/etc/passwd")
    assert not ring.ensure()
    assert isinstance(ring.error, FileExistsError)
    planted.unlink()
    clock.now += 1.0
    assert ring.ensure()


def test_no_locks_no_journal(ring: CrashJournal, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a platform without POSIX record locks nothing is left behind, and the reason is said."""
    monkeypatch.setattr(locking, "fcntl", None)
    assert not ring.ensure()
    assert isinstance(ring.error, locking.RefusedFileError)
    assert "set journal to false" in str(ring.error)
    assert segment_names.find(ring.db_path) == []


@pytest.mark.parametrize("taken", ["before the lock", "before the rename"])
def test_a_segment_that_a_replay_removes_as_it_is_made_is_made_again(
    taken: str, ring: CrashJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process opens the database in that moment, and takes it for a dead one's: no record waits for that."""
    create, times = locking.create, 0

    def removed(path: Path) -> locking.HeldFile:
        nonlocal times
        times += 1
        if times == 3:
            return create(path)
        if taken == "before the lock":
            raise locking.RefusedFileError(f"{path} was taken by another process")
        held = create(path)
        path.unlink()
        return held

    monkeypatch.setattr(locking, "create", removed)
    assert ring.ensure()
    assert times == 3
    assert ring.error is None
