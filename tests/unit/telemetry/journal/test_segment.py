"""A segment's bytes: what a reader finds after any damage, and what it says is lost."""

import struct
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_service.telemetry.journal import segment
from llm_service.telemetry.journal.segment import DATA_AT, DEAD, FRAME, Header

LAYOUT = 77
LAYOUTS = {LAYOUT}
HEADER = Header("0d523cae-1d87-4dad-941f-c0f5f629fa3c", "metadata", LAYOUT, 0xA1B2C3D4, 1_700_000_000_000_000)
PAYLOADS = [bytes([65 + number]) * (20 + number) for number in range(12)]


def build(batches: dict[int, int] | None = None, *, accepted: int | None = None, lowest: int = 1) -> bytearray:
    """A segment with the frames 1 to 12; `batches` names the batch of some."""
    data = bytearray(segment.pack_header(HEADER))
    for number, payload in enumerate(PAYLOADS, 1):
        at = len(data)
        data += segment.frame_head(HEADER.salt, number, payload) + payload
        data += bytes(-len(data) % 8)
        if batches and number in batches:
            struct.pack_into("=Q", data, at, segment.stamp_of(batches[number], HEADER.salt))
    last = len(PAYLOADS) if accepted is None else accepted
    for word, value in ((segment.ACCEPTED_WORD, last), (segment.LOWEST_WORD, lowest)):
        struct.pack_into("=QQ", data, word * 8, value, value ^ segment.ALL_BITS)
    return data + bytes(512)


def read(data: bytes | bytearray, *, committed: int = 0, replayed: int = 0) -> segment.Contents:
    """What is owed."""
    header = segment.read_header(bytes(data), LAYOUTS)
    return segment.contents(bytes(data), header, committed=committed, replayed=replayed)


def numbers(found: segment.Contents) -> list[int]:
    """Which frames wait."""
    return [frame.number for frame in found.waiting]


ALL = list(range(1, 13))


def test_all_frames_of_a_sound_segment_are_found_in_order() -> None:
    """Numbers and payloads, nothing lost."""
    found = read(build())
    assert [frame.payload for frame in found.waiting] == PAYLOADS
    assert (numbers(found), found.lost, found.last) == (ALL, 0, 12)


@pytest.mark.parametrize("number", [1, (1 << 32) - 1, 1 << 32, (3 << 33) + 5])
def test_a_frame_is_bytes_that_later_releases_can_read(number: int) -> None:
    """All bits of its number are in the sum; it begins with a stamp that says that it waits."""
    frame = segment.frame_head(HEADER.salt, number, b"payload") + b"payload"
    stamp, salt, length, read_number, crc = FRAME.unpack_from(frame)
    assert (stamp, salt, length, read_number) == (0, HEADER.salt, 7, number)
    assert crc == zlib.crc32(b"payload", (HEADER.salt + number + number // 2**32) % 2**32)
    data = bytearray(segment.pack_header(HEADER)) + frame + bytes(64)
    struct.pack_into("=QQ", data, segment.ACCEPTED_WORD * 8, number, number ^ segment.ALL_BITS)
    struct.pack_into("=QQ", data, segment.LOWEST_WORD * 8, number, number ^ segment.ALL_BITS)
    assert (numbers(read(data)), read(data).lost) == ([number], 0)


@pytest.mark.parametrize("bit", range(64))
def test_a_stamp_with_a_flipped_bit_names_no_batch(bit: int) -> None:
    """Batch 6 with one bit less is batch 2 or 4: a record that waits must not pass for one that is on disk."""
    data = build({1: 6})
    (stamp,) = struct.unpack_from("=Q", data, DATA_AT)
    struct.pack_into("=Q", data, DATA_AT, stamp ^ 1 << bit)
    assert numbers(read(data, committed=5)) == ALL


def test_without_the_lowest_mark_what_was_settled_long_ago_is_no_loss() -> None:
    """Its places are another's by then; the count begins with the first that waits."""
    data = build(lowest=6, accepted=13)
    start = DATA_AT + sum(-(-(FRAME.size + len(payload)) // 8) * 8 for payload in PAYLOADS[:5])
    newer = segment.frame_head(HEADER.salt, 13, b"newer") + b"newer"
    data[DATA_AT:start] = newer + bytes(start - DATA_AT - len(newer))
    struct.pack_into("=Q", data, segment.LOWEST_WORD * 8, 99)
    found = read(data)
    assert (numbers(found), found.lost) == (list(range(6, 14)), 0)


@pytest.mark.parametrize("begins", [0, 1500, 4048])
def test_damage_of_the_marks_and_the_oldest_records_is_counted(begins: int) -> None:
    """Nothing was overwritten yet, so each number had its place in what is damaged."""
    start = DATA_AT + sum(-(-(FRAME.size + len(payload)) // 8) * 8 for payload in PAYLOADS[:5])
    for ends in range(4096, start + 1, 8):
        data = build()
        data[max(begins, 100) : ends] = bytes(ends - max(begins, 100))
        found = read(data)
        assert len(found.waiting) + found.lost == 12, ends


def test_without_the_lowest_mark_and_with_nothing_that_waits_nothing_is_lost() -> None:
    """Whatever stood there before."""
    data = build(dict.fromkeys(ALL, 1))
    data[DATA_AT + FRAME.size] ^= 1
    struct.pack_into("=Q", data, segment.LOWEST_WORD * 8, 99)
    found = read(data, committed=1)
    assert (numbers(found), found.lost, found.last) == ([], 0, 12)


def test_the_header_survives_the_round_trip() -> None:
    """Writer, level, salt and time."""
    assert segment.read_header(bytes(build()), LAYOUTS) == HEADER


def test_a_batch_whose_receipt_is_on_disk_is_done_with() -> None:
    """Only what a later batch took, and what none took, is owed."""
    batches = {1: 1, 2: 1, 3: 2, 4: 2, 5: 3}
    assert numbers(read(build(batches), committed=2)) == [5, *range(6, 13)]
    assert numbers(read(build(batches), committed=3)) == list(range(6, 13))
    assert numbers(read(build(batches))) == ALL


def test_a_dropped_record_is_never_brought_back() -> None:
    """It was counted as lost."""
    found = read(build({3: DEAD, 12: DEAD}))
    assert (numbers(found), found.lost) == ([1, 2, *range(4, 12)], 0)


def test_what_lies_below_the_lowest_mark_was_settled() -> None:
    """Old laps of the ring are not owed, whatever their stamps say."""
    assert numbers(read(build(lowest=9))) == [9, 10, 11, 12]


def test_an_earlier_replay_is_gone_on_with() -> None:
    """Behind the last frame that it committed."""
    assert numbers(read(build(), replayed=7)) == [8, 9, 10, 11, 12]


@pytest.mark.parametrize("cut", range(1, 60, 3))
def test_a_torn_tail_costs_nothing_that_was_accepted(cut: int) -> None:
    """The last frame was never finished: its call never returned."""
    whole = build(accepted=11)
    torn = bytes(whole[: len(whole) - 512 - cut]) + bytes(512 + cut)
    found = read(torn)
    assert numbers(found)[:11] == ALL[:11]
    assert found.lost == 0


def test_a_hole_is_stepped_over() -> None:
    """An append that a signal handler's own append overtook, and that never ended, hides nothing behind it."""
    data = build()
    at = bytes(data).index(PAYLOADS[4])
    data[at - FRAME.size : at + len(PAYLOADS[4])] = bytes(FRAME.size + len(PAYLOADS[4]))
    found = read(data)
    assert (numbers(found), found.lost) == ([*range(1, 5), *range(6, 13)], 1)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 255))
def test_one_flipped_byte_costs_one_record_at_most_and_is_counted(at: int, flip: int) -> None:
    """Header, marks, stamps, lengths, sums, payloads: wherever it is."""
    data = build({1: 1, 2: 1, 3: 2})
    data[at % len(data)] ^= flip
    found = read(data, committed=1)
    owed = set(range(3, 13))
    there = set(numbers(found))
    assert owed - there <= {min(owed - there, default=0)}
    assert found.lost == len(owed - there)
    # What a damaged stamp brings back is known to the database by its id.
    assert there - owed <= {1, 2}
    assert all(frame.payload == PAYLOADS[frame.number - 1] for frame in found.waiting)


def test_a_flipped_byte_at_every_offset_of_the_frames() -> None:
    """The same, exhaustively."""
    sound = build({1: 1, 2: 1, 3: 2})
    for at in range(DATA_AT, len(sound)):
        data = bytearray(sound)
        data[at] ^= 0x10
        found = read(data, committed=1)
        assert len(set(range(3, 13)) - set(numbers(found))) == found.lost <= 1, at


def test_a_flipped_byte_in_the_first_page_costs_nothing() -> None:
    """Two copies of the header, and marks that know when they are wrong."""
    sound = build()
    for at in [*range(64), *range(2048, 2112), *range(4048, 4096)]:
        data = bytearray(sound)
        data[at] ^= 0x10
        found = read(data)
        assert (numbers(found), found.lost) == (ALL, 0), at


def test_the_last_record_is_missed_when_it_is_damaged() -> None:
    """It was accepted, and the mark says so."""
    data = build()
    data[len(data) - 512 - 20] ^= 1
    assert read(data).lost == 1


def test_damage_among_committed_records_is_no_loss() -> None:
    """The frame behind it is done with, so it was too."""
    data = build(dict.fromkeys(range(1, 9), 1))
    data[bytes(data).index(PAYLOADS[3])] ^= 1
    found = read(data, committed=1)
    assert (numbers(found), found.lost) == ([9, 10, 11, 12], 0)


def test_a_frame_within_a_record_is_no_frame() -> None:
    """Text that looks like a frame is text; even behind damage it needs the segment's own salt."""
    forged = segment.frame_head(1234, 99, b"forged") + b"forged"
    data = bytearray(segment.pack_header(HEADER))
    data += segment.frame_head(HEADER.salt, 1, forged) + forged
    data += bytes(512)
    assert numbers(read(data)) == [1]
    data[DATA_AT + 12] ^= 1
    assert numbers(read(data)) == []


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 10**6), st.binary(min_size=1, max_size=40)), max_size=12))
def test_any_damage_ends_in_a_result(damage: list[tuple[int, bytes]]) -> None:
    """Records that are found are the ones that were written."""
    data = build()
    for place, change in damage:
        at = place % (len(data) - len(change))
        data[at : at + len(change)] = change
    try:
        found = read(data)
    except segment.UnknownSegmentError:
        return
    assert all(frame.payload == PAYLOADS[frame.number - 1] for frame in found.waiting if frame.number <= 12)


def test_lengths_that_lie_do_not_make_the_scan_last_for_ever() -> None:
    """A segment full of markers, each with a long frame that is none, is given up in time."""
    data = bytearray(segment.pack_header(HEADER))
    room = 1 << 16
    for _ in range(room // FRAME.size):
        data += FRAME.pack(0, HEADER.salt, 1 << 15, 5, 0)
    data += bytes(1 << 15)
    assert numbers(read(data)) == []


@pytest.mark.parametrize("data", [b"", b"x" * 100, bytes(DATA_AT), b"SQLite format 3\0" * 300])
def test_what_is_no_segment_is_refused(data: bytes) -> None:
    """Too short, zeros, or something else."""
    with pytest.raises(segment.UnknownSegmentError, match="header"):
        segment.read_header(data, LAYOUTS)


def test_another_version_is_refused_with_both_named() -> None:
    """A newer release may have written it."""
    data = build()
    for at in (8, 2048 + 8):
        struct.pack_into("=I", data, at, 2)
    with pytest.raises(segment.UnknownSegmentError, match="version is 2, this release knows 1"):
        segment.read_header(bytes(data), LAYOUTS)


def test_another_layout_is_refused() -> None:
    """Its records have other fields."""
    with pytest.raises(segment.UnknownSegmentError, match="another release"):
        segment.read_header(bytes(build()), {LAYOUT + 1})
