"""Latency buckets as a BLOB: no count is lost, whatever was counted, and damage is no count."""

import re
from collections import Counter
from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_service.telemetry.stores import latency_buckets
from llm_service.telemetry.stores.latency_buckets import Buckets, added_up, pack, pack_listed, unpack
from llm_service.telemetry.stores.sqlite.migrations import empty_database

COUNTS = st.dictionaries(st.integers(-160, 532), st.integers(1, 300) | st.integers(1, 1 << 62), max_size=30)
SMALL = st.dictionaries(st.integers(-160, 532), st.integers(1, 255), max_size=30)


@given(counts=COUNTS)
def test_what_is_packed_is_unpacked(counts: dict[int, int]) -> None:
    """Whatever the largest count; no counts are no bytes."""
    assert unpack(pack(counts)) == counts
    assert bool(pack(counts)) == bool(counts)


@given(parts=st.lists(COUNTS | SMALL, max_size=6))
def test_counts_that_are_added_one_after_the_other_are_their_sum(parts: list[dict[int, int]]) -> None:
    """Also with a stop between, where they were stored."""
    buckets, stored, total = Buckets(), b"", Counter[int]()
    for part in parts:
        total.update(part)
        if max(total.values(), default=0) >= 1 << 63:
            return
        buckets.add(part)
        again = Buckets(stored)
        again.add(part)
        stored = again.packed()
    assert unpack(buckets.packed()) == unpack(stored) == total


@given(
    parts=st.lists(SMALL | st.dictionaries(st.integers(0, 3), st.just(255), min_size=4), max_size=8),
    times=st.integers(1, 90),
)
def test_many_blobs_are_added_up_without_a_carry(parts: list[dict[int, int]], times: int) -> None:
    """However many have the same head: no lane runs over into the next."""
    total = Counter[int]()
    for part in parts * times:
        total.update(part)
    assert added_up([pack(part).hex() for part in parts * times]) == total


@given(digits=st.binary(max_size=40).map(bytes.hex) | st.text(max_size=9) | st.none() | st.integers())
def test_damage_counts_as_nothing_or_as_counts_and_raises_nothing(digits: object) -> None:
    """Whatever a cell holds; a writer adds to what is left of it."""
    found = added_up([digits, "01000007"])
    assert all(abs(bucket) <= 1_000 and count > 0 for bucket, count in found.items())
    assert found[0] >= 7
    is_hex = isinstance(digits, str) and re.fullmatch("([0-9a-f]{2})*", digits)
    packed = bytes.fromhex(str(digits)) if is_hex else digits
    buckets = Buckets(packed)
    buckets.add({3: 1})
    assert unpack(buckets.packed())[3] >= 1


def test_a_bucket_of_no_latency_and_a_count_beyond_all_calls_harm_no_other() -> None:
    """They come of damage alone."""
    buckets = Buckets()
    buckets.add({5: (1 << 64) - 2, 6: 1, 15_945: 1})
    buckets.add({5: 9})
    found = unpack(buckets.packed())
    assert (set(found), found[6]) == ({5, 6}, 1)


@pytest.mark.parametrize("listed", [None, 7, "", "x", "1 2 3", "1", "9999 1", "1 -1", ",", f"1 {1 << 63}"])
def test_what_older_files_list_and_is_no_count_is_left_out(listed: object) -> None:
    """The rest of the list is packed."""
    assert pack_listed(listed) == pack_listed(f":{listed}") == b""
    assert unpack(pack_listed(f":{listed},-3 2,7 40,7 2")) == {-3: 2, 7: 42}


def test_what_older_writers_count_is_put_to_what_is_packed() -> None:
    """The BLOB comes first, in hexadecimal digits; one that is damaged counts as empty."""
    assert unpack(pack_listed(f"{pack({7: 1, 9: 3}).hex()}:-3 2,7 40")) == {-3: 2, 7: 41, 9: 3}
    assert unpack(pack_listed("ff:7 40")) == {7: 40}


@given(rows=st.lists(COUNTS, max_size=4))
def test_the_view_reads_the_same(rows: list[dict[int, int]]) -> None:
    """In plain SQL, without a function of ours."""
    with closing(empty_database()) as connection:
        for row_id, counts in enumerate(rows):
            connection.execute(
                "INSERT INTO daily_costs (id, date, agent_name, latency_buckets) VALUES (?, '2026-01-01', ?, ?)",
                (row_id, row_id, pack(counts)),
            )
        found = connection.execute("SELECT daily_cost_id, bucket, invocations FROM latency_counts").fetchall()
    assert sorted(found) == sorted((at, *pair) for at, counts in enumerate(rows) for pair in counts.items())


@given(counts=COUNTS)
def test_a_machine_of_the_other_byte_order_writes_the_same_bytes_reversed(counts: dict[int, int]) -> None:
    """And reads what it wrote, one by one and added to what is there."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(latency_buckets, "_IS_BIG", not latency_buckets._IS_BIG)
        packed = pack(counts)
        assert unpack(packed) == counts
        again = Buckets(packed)
        again.add({})
        assert again.packed() == packed
    size = packed[0] if packed else 1
    here = pack(counts)
    assert packed[:3] == here[:3]
    items = [here[at : at + size][::-1] for at in range(3, len(here), size)]
    assert packed[3:] == b"".join(items)


def test_blobs_that_lack_a_part_are_no_counts_among_many() -> None:
    """Where they are added at once, too."""
    whole = pack({5: 300, 9: 1})
    many = [whole.hex()] * 50
    assert added_up([*many, whole[:-1].hex()]) == {5: 15_000, 9: 50}
