"""Ids: UUIDv7 by RFC 9562, rising and unique."""

import os
import threading
import uuid
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_service.telemetry.record.ids import Uuid7Source
from llm_service.telemetry.record.record import InvocationRecord

NOW_NS = 1_795_479_377_991_276_123


def test_the_layout_is_that_of_rfc_9562() -> None:
    """48 bits of milliseconds, version 7, 12 bits of a sub-millisecond clock, variant 10."""
    text = Uuid7Source(lambda: NOW_NS)()
    made = uuid.UUID(text)
    assert str(made) == text
    assert made.version == 7
    assert made.variant == uuid.RFC_4122
    assert made.int >> 80 == NOW_NS // 1_000_000
    assert made.int >> 64 & 0xFFF == (NOW_NS % 1_000_000) * 4096 // 1_000_000


@given(st.integers(0, 2**47 * 1_000_000))
@settings(max_examples=100, deadline=None)
def test_any_clock_gives_a_valid_id(now_ns: int) -> None:
    """From 1970 to the year 6429 and beyond."""
    made = uuid.UUID(Uuid7Source(lambda: now_ns)())
    assert (made.version, made.variant) == (7, uuid.RFC_4122)
    assert 0 <= made.int >> 64 & 0xFFF < 4096


@given(st.lists(st.integers(-10_000_000_000, 1000), min_size=1, max_size=50))
@settings(max_examples=100, deadline=None)
def test_ids_rise_whatever_the_clock_does(steps: list[int]) -> None:
    """It may stand, step back by seconds, or move by a single nanosecond."""
    now = NOW_NS
    source = Uuid7Source(lambda: now)
    ids = [source()]
    for step in steps:
        now += step
        ids.append(source())
    assert all(before < after for before, after in pairwise(ids))


def test_ids_rise_by_the_real_clock() -> None:
    """A tight loop of 20,000 ids is sorted and has no repetition."""
    source = Uuid7Source()
    ids = [source() for _ in range(20_000)]
    assert ids == sorted(set(ids))


def test_ids_of_many_threads_are_unique() -> None:
    """Threads may share a tick of the clock, never an id; here the clock does not move at all."""
    source = Uuid7Source(lambda: NOW_NS)
    found: list[list[str]] = [[] for _ in range(8)]
    start = threading.Barrier(8)

    def make(mine: list[str]) -> None:
        start.wait()
        mine.extend(source() for _ in range(2000))

    threads = [threading.Thread(target=make, args=(mine,)) for mine in found]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({one for mine in found for one in mine}) == 16_000


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore:This process")  # has threads of others: the child only writes to a pipe
def test_ids_after_a_fork_are_unique() -> None:
    """Parent and child have the same clock, which does not move, and what the parent had read before."""
    source = Uuid7Source(lambda: NOW_NS)
    before = source()
    reads, writes = os.pipe()
    child = os.fork()
    if child == 0:  # pragma: no cover - measured in the parent alone
        os.write(writes, "\n".join(source() for _ in range(300)).encode())
        os._exit(0)
    os.close(writes)
    with os.fdopen(reads) as pipe:
        theirs = pipe.read().split("\n")
    os.waitpid(child, 0)
    ours = [source() for _ in range(300)]
    assert len({one[19:] for one in [before, *ours, *theirs]}) == 601  # without the clock


def test_a_record_without_an_id_gets_one() -> None:
    """And no other record has it."""
    ids = {InvocationRecord().invocation_id for _ in range(1000)}
    assert len(ids) == 1000
    assert {uuid.UUID(one).version for one in ids} == {7}
