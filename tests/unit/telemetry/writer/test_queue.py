"""The queue: its bounds, its order, and a ledger that adds up after every step, from any thread."""

import asyncio
import gc
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from llm_service.telemetry.journal.journal import Slot
from llm_service.telemetry.record.record import InvocationRecord
from llm_service.telemetry.stores.base import WriteResult
from llm_service.telemetry.writer import queue_accounting
from llm_service.telemetry.writer.journaled_queue import JournaledQueue
from llm_service.telemetry.writer.ledger import DropReason, FlushResult, Ledger, Outcome
from llm_service.telemetry.writer.queue import RecordQueue
from llm_service.telemetry.writer.queue_accounting import NEVER
from llm_service.telemetry.writer.queue_entries import RECORD, Barrier, Batch
from llm_service.telemetry.writer.waiters import LoopWaiter, ThreadWaiter

PLAIN = InvocationRecord(invocation_id="plain")
BIG = InvocationRecord(invocation_id="big", prompt="x" * 5000)
HUGE = InvocationRecord(invocation_id="huge", prompt="x" * 50_000)
PRIVATE = InvocationRecord(invocation_id="private", privacy_level="none")
NOTHING = WriteResult()


class Clock:
    """Seconds that pass only when told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        """The time in seconds."""
        return self.now


class Paper:
    """A crash journal with room for everything, which holds who drives it to the rules."""

    used = size = 0
    error = None

    def __init__(self) -> None:
        self.live: set[int] = set()

    def encode(self, record: InvocationRecord, /) -> bytes:
        return record.invocation_id.encode()

    def append(self, _payload: bytes, slot: Any, /) -> bool:
        self.live.add(id(slot))
        return True

    def assign(self, slots: Iterable[Any], _batch: int) -> None:
        assert {id(slot) for slot in slots} <= self.live

    def drop(self, slots: Iterable[Any]) -> None:
        self.live -= {id(slot) for slot in slots}

    free = drop

    def ensure(self) -> bool:
        return True

    def begin(self, writer_id: str) -> None: ...

    def close(self) -> None: ...

    def leak(self) -> None:
        self.live = set()

    def has_room(self, _size: int) -> bool:
        return True

    def could_hold(self, _record: InvocationRecord) -> bool:
        return True


def journaled(**options: Any) -> RecordQueue:
    """A queue that keeps a crash journal: whatever the plain one does, it does."""
    return JournaledQueue(
        journal=Paper(), make_slot=Slot, is_clean=lambda _record: True, prepare=lambda record: (record, None), **options
    )


KINDS: dict[str, Callable[..., RecordQueue]] = {"plain": RecordQueue, "journaled": journaled}
kind_of_queue: ContextVar[str] = ContextVar("kind_of_queue", default="plain")


@pytest.fixture(params=KINDS, autouse=True)
def _kind(request: pytest.FixtureRequest) -> Iterator[None]:
    """Every test here is for both kinds."""
    token = kind_of_queue.set(request.param)
    yield
    kind_of_queue.reset(token)


def make(max_records: int = 10, max_bytes: int = 10**9, **options: Any) -> RecordQueue:
    """A small queue."""
    return KINDS[kind_of_queue.get()](max_records=max_records, max_bytes=max_bytes, **options)


def ids(queue: RecordQueue) -> list[str]:
    """What waits, oldest first."""
    return [entry[RECORD].invocation_id for entry in queue.entries]


def commit(queue: RecordQueue, rows: int = 1000, result: WriteResult = NOTHING) -> Batch | None:
    """Take and settle one batch."""
    batch = queue.take(rows)
    if batch is not None:
        queue.settle(batch, result)
    return batch


async def turns(count: int = 5) -> None:
    """Let the loop go round."""
    for _ in range(count):
        await asyncio.sleep(0)


# The ledger against a model


class QueueMachine(RuleBasedStateMachine):
    """Any sequence of calls: the queue agrees with lists and dicts, and its equation holds after every one."""

    @initialize(
        overflow=st.sampled_from(["block", "drop_newest", "drop_oldest"]),
        max_records=st.integers(1, 6),
        max_bytes=st.integers(1, 4).map(lambda bigs: bigs * BIG.size),
    )
    def start(self, overflow: Any, max_records: int, max_bytes: int) -> None:
        """An empty queue and an empty model."""
        self.reported: dict[DropReason, int] = {}
        self.queue = make(max_records, max_bytes, overflow=overflow, on_drop=self._note)
        self.overflow = overflow
        self.journaled = isinstance(self.queue, JournaledQueue)
        self.waiting: list[tuple[InvocationRecord, ThreadWaiter | None]] = []
        self.flying: list[tuple[InvocationRecord, ThreadWaiter | None]] = []
        self.batch: Batch | None = None
        self.submitted = 0
        self.refusal: DropReason | None = None
        self.counts: dict[Any, int] = {}
        self.barriers: list[tuple[Barrier, ThreadWaiter, int]] = []
        self.made = 0

    def _note(self, reason: DropReason, records: int) -> None:
        self.reported[reason] = self.reported.get(reason, 0) + records

    def _count(self, outcome: Any, waiter: ThreadWaiter | None) -> None:
        self.counts[outcome] = self.counts.get(outcome, 0) + 1
        if waiter is not None:
            assert waiter.outcome == outcome

    def _held(self) -> list[InvocationRecord]:
        return [record for record, _ in (*self.waiting, *self.flying)]

    def _fits(self, record: InvocationRecord, held: list[InvocationRecord]) -> bool:
        return len(held) < self.queue.maxsize and sum(r.size for r in held) + record.size <= self.queue.max_bytes

    @rule(shape=st.sampled_from([PLAIN, PLAIN, BIG, PRIVATE, HUGE]), awaited=st.sampled_from([False, False, True]))
    def offer(self, shape: InvocationRecord, awaited: bool) -> None:
        """Accepted, or dropped for the reason the model gives; the oldest give way only where that helps."""
        self.made += 1
        record = shape.replace(invocation_id=f"r{self.made}")
        waiter = ThreadWaiter(durable=self.made % 2 == 0) if awaited else None
        self.submitted += 1
        reason, victims = self._verdict(record)
        assert self.queue.offer(record, waiter) is (reason is None)
        for victim in victims:
            self.waiting.remove(victim)
        if reason is None:
            self.waiting.append((record, waiter))
        else:
            self.counts[reason] = self.counts.get(reason, 0) + 1

    def _verdict(self, record: InvocationRecord) -> tuple[DropReason | None, list[Any]]:
        if self.refusal is not None:
            return self.refusal, []
        if self.journaled and record.privacy_level == "none":
            return DropReason.PRIVACY, []  # it must not reach the journal
        held = self._held()
        if self._fits(record, held):
            return None, []
        reason = DropReason.QUEUE_FULL if len(held) >= self.queue.maxsize else DropReason.BYTES_FULL
        if self.overflow != "drop_oldest" or record.size > self.queue.max_bytes:
            return reason, []
        victims: list[Any] = []
        for entry in self.waiting:
            if entry[1] is None:
                victims.append(entry)
                held.remove(entry[0])
                if self._fits(record, held):
                    self.counts[reason] = self.counts.get(reason, 0) + len(victims)
                    return None, victims
        return reason, []

    @rule(rows=st.integers(1, 4))
    def take(self, rows: int) -> None:
        """The oldest, in order; the one in flight again; private records are counted and never reach a store."""
        again = self.batch
        batch = self.queue.take(rows)
        if again is not None:
            assert batch is again
            return
        while self.waiting and not self.flying:
            taken, self.waiting = self.waiting[:rows], self.waiting[rows:]
            for record, waiter in taken:
                if record.privacy_level == "none":
                    self._count(DropReason.PRIVACY, waiter)
                else:
                    self.flying.append((record, waiter))
        entries = () if batch is None else batch.entries
        assert [entry[RECORD] for entry in entries] == [record for record, _ in self.flying]
        if batch is not None:
            assert batch.bytes == sum(record.size for record, _ in self.flying)
            assert batch.awaited == any(waiter for _, waiter in self.flying)
            assert batch.durable == any(waiter.durable for _, waiter in self.flying if waiter)
        self.batch = batch

    @precondition(lambda self: self.batch is not None)
    @rule(draw=st.data())
    def settle(self, draw: st.DataObject) -> None:
        """Each position has the outcome that the store told."""
        outcomes = draw.draw(
            st.lists(st.sampled_from(list(Outcome)), min_size=len(self.flying), max_size=len(self.flying))
        )
        assert self.batch is not None
        result = WriteResult(
            frozenset(at for at, outcome in enumerate(outcomes) if outcome is Outcome.DUPLICATE),
            frozenset(at for at, outcome in enumerate(outcomes) if outcome is Outcome.QUARANTINED),
        )
        self.queue.settle(self.batch, result)
        for (_, waiter), outcome in zip(self.flying, outcomes, strict=True):
            self._count(outcome, waiter)
        self.flying, self.batch = [], None

    @rule(in_flight=st.booleans())
    def abandon(self, in_flight: bool) -> None:
        """What waits is lost and counted; what flies only when asked."""
        lost = list(self.waiting) + (self.flying if in_flight else [])
        assert self.queue.abandon(DropReason.SHUTDOWN, in_flight=in_flight) == len(lost)
        for _, waiter in lost:
            self._count(DropReason.JOURNALED if self.journaled else DropReason.SHUTDOWN, waiter)
        self.waiting = []
        if in_flight:
            self.flying, self.batch = [], None

    @precondition(lambda self: self.submitted > 8)
    @rule()
    def refuse(self) -> None:
        """Nothing comes in any more; what is held stays."""
        self.refusal = DropReason.CLOSED
        self.queue.refuse(DropReason.CLOSED)

    @rule()
    def barrier(self) -> None:
        """It follows what is pending now."""
        waiter = ThreadWaiter()
        self.barriers.append((self.queue.barrier(waiter), waiter, len(self._held())))

    @precondition(lambda self: self.barriers)
    @rule()
    def withdraw(self) -> None:
        """Withdrawing tells what is known so far, once and again."""
        barrier, _, followed = self.barriers.pop(0)
        result = self.queue.withdraw(barrier)
        assert self.queue.withdraw(barrier) == result
        assert _total(result) == followed

    @invariant()
    def the_ledger_is_the_models(self) -> None:
        """Submitted, pending and every outcome, and the equation."""
        if not hasattr(self, "queue"):
            return
        ledger = self.queue.ledger()
        assert ledger.balanced
        assert ledger == Ledger(
            submitted=self.submitted,
            written=self.counts.get(Outcome.WRITTEN, 0),
            duplicates=self.counts.get(Outcome.DUPLICATE, 0),
            quarantined=self.counts.get(Outcome.QUARANTINED, 0),
            pending=len(self._held()),
            dropped={reason: self.counts[reason] for reason in DropReason if reason in self.counts},
        )
        told = dict(ledger.dropped)
        if not self.journaled:  # found when it is taken, and not told
            told.pop(DropReason.PRIVACY, None)
        assert self.reported == told

    @invariant()
    def what_is_held_is_the_models(self) -> None:
        """Records, their order, bytes, bounds, urgency."""
        if not hasattr(self, "queue"):
            return
        held = self._held()
        backlog = self.queue.backlog()
        assert self.queue.qsize() == backlog.records == len(held) <= self.queue.maxsize
        assert backlog.bytes == sum(record.size for record in held) <= self.queue.max_bytes
        assert [entry[RECORD] for entry in self.queue.entries] == [record for record, _ in self.waiting]
        assert self.queue._urgent == sum(waiter is not None for _, waiter in self.waiting)
        assert self.queue.empty() == (not held)
        awaited = any(waiter is not None for _, waiter in (*self.waiting, *self.flying))
        assert backlog.urgent == (awaited or any(barrier.pending for barrier, _, _ in self.barriers))

    @invariant()
    def barriers_add_up(self) -> None:
        """Pending and settled sum to what was followed; the waiter is told exactly when nothing is left."""
        for barrier, waiter, followed in getattr(self, "barriers", []):
            assert _total(barrier.result()) == followed
            assert (waiter.outcome is not None) == barrier.result().complete
            if waiter.outcome is not None:
                assert waiter.outcome == barrier.result()


def _total(result: FlushResult) -> int:
    settled = result.written + result.duplicates + result.quarantined + sum(result.dropped.values())
    return settled + result.pending


def test_any_sequence_of_calls_keeps_the_ledger_exact() -> None:
    """As the model says, after each step."""
    run_state_machine_as_test(QueueMachine, settings=settings(max_examples=60, stateful_step_count=30, deadline=None))


# Bounds and overflow


@pytest.mark.parametrize("overflow", ["block", "drop_newest"])
def test_at_the_count_bound_the_newest_is_dropped_and_counted(overflow: Any) -> None:
    """Nothing that was accepted gives way."""
    dropped: list[tuple[DropReason, int]] = []
    queue = make(2, overflow=overflow, on_drop=lambda *args: dropped.append(args))
    assert [queue.offer(PLAIN.replace(invocation_id=str(n))) for n in range(3)] == [True, True, False]
    assert ids(queue) == ["0", "1"]
    assert dropped == [(DropReason.QUEUE_FULL, 1)]
    assert queue.full()


def test_at_the_byte_bound_the_reason_says_so() -> None:
    """The same count of small records would have fitted."""
    queue = make(max_bytes=BIG.size + PLAIN.size - 1)
    assert queue.offer(BIG)
    assert not queue.offer(PLAIN)
    assert queue.ledger().dropped == {DropReason.BYTES_FULL: 1}


def test_drop_oldest_tells_the_reason_that_the_ledger_counts() -> None:
    """Three small ones give way to one big one: bytes, not places, were missing."""
    dropped: list[tuple[DropReason, int]] = []
    queue = make(max_bytes=BIG.size + PLAIN.size, overflow="drop_oldest", on_drop=lambda *args: dropped.append(args))
    for number in range(4):
        assert queue.offer(PLAIN.replace(invocation_id=str(number)))
    assert queue.offer(BIG)
    assert ids(queue) == ["3", "big"]
    assert dropped == [(DropReason.BYTES_FULL, 3)]
    assert queue.ledger().dropped == {DropReason.BYTES_FULL: 3}


def test_drop_oldest_never_drops_what_is_in_flight_or_awaited() -> None:
    """A commit was promised, or is under way: then the newest has to go."""
    queue = make(3, overflow="drop_oldest")
    queue.offer(PLAIN.replace(invocation_id="flying"))
    batch = queue.take(1)
    queue.offer(PLAIN.replace(invocation_id="awaited"), waiter := ThreadWaiter())
    queue.offer(PLAIN.replace(invocation_id="old"))
    assert queue.offer(PLAIN.replace(invocation_id="new"), ThreadWaiter())
    assert ids(queue) == ["awaited", "new"]
    assert not queue.offer(PLAIN.replace(invocation_id="newest"))
    assert ids(queue) == ["awaited", "new"]
    assert waiter.outcome is None
    assert batch is not None
    assert queue.ledger().dropped == {DropReason.QUEUE_FULL: 2}


def test_drop_oldest_loses_nothing_in_vain() -> None:
    """Where even all that may give way would not make room, nothing gives way."""
    queue = make(max_bytes=BIG.size * 2, overflow="drop_oldest")
    queue.offer(BIG.replace(invocation_id="awaited"), ThreadWaiter())
    queue.offer(PLAIN.replace(invocation_id="kept"))
    assert not queue.offer(BIG.replace(prompt="x" * 6000))
    assert ids(queue) == ["awaited", "kept"]
    assert queue.ledger().dropped == {DropReason.BYTES_FULL: 1}


@pytest.mark.parametrize("overflow", ["block", "drop_newest", "drop_oldest"])
async def test_a_record_beyond_the_byte_bound_is_dropped_at_once(overflow: Any) -> None:
    """It would never fit, so nobody waits for it and nothing gives way to it."""
    queue = make(max_bytes=BIG.size, overflow=overflow)
    queue.put_nowait(PLAIN)
    assert await queue.admit(HUGE) is DropReason.BYTES_FULL
    assert ids(queue) == ["plain"]


def test_a_batch_in_flight_counts_in_the_bounds() -> None:
    """Room comes with the commit, not with the take."""
    queue = make(1)
    queue.offer(PLAIN)
    batch = queue.take(1)
    assert not queue.offer(PLAIN)
    assert batch is not None
    queue.settle(batch, NOTHING)
    assert queue.offer(PLAIN)


@pytest.mark.parametrize("wrong", [None, "record", {"agent_name": "a"}, InvocationRecord])
def test_only_records_are_taken(wrong: Any) -> None:
    """A programming error is told at once, and counts nothing."""
    queue = make()
    with pytest.raises(TypeError, match="give an InvocationRecord, not"):
        queue.offer(wrong)
    assert queue.ledger() == Ledger()


def test_a_subclass_of_a_record_is_a_record() -> None:
    """Whatever it adds."""

    class Mine(InvocationRecord):
        __slots__ = ()

    assert make().offer(Mine(agent_name="a"))


def test_a_private_record_never_reaches_the_store() -> None:
    """A batch of nothing but private records is passed over, and the next one is taken."""
    queue = make()
    for record in (PRIVATE, PRIVATE, PLAIN, PRIVATE):
        queue.offer(record)
    batch = queue.take(2)
    assert batch is not None
    assert [entry[RECORD] for entry in batch.entries] == [PLAIN]
    assert queue.ledger().dropped == {DropReason.PRIVACY: 3}
    queue.settle(batch, NOTHING)
    assert queue.take(2) is None


def test_a_batch_that_failed_is_taken_again_as_it_was() -> None:
    """Same number, same records, however much has come since."""
    queue = make()
    queue.offer(PLAIN)
    batch = queue.take(5)
    queue.offer(BIG)
    assert queue.take(5) is batch
    assert queue.abandon_in_flight(DropReason.STORE_FAILED) == 1
    assert queue.abandon_in_flight(DropReason.STORE_FAILED) == 0
    following = queue.take(5)
    assert batch is not None
    assert following is not None
    assert (batch.number, following.number) == (1, 2)


def test_age_is_that_of_the_oldest_record() -> None:
    """In flight or waiting; nothing has no age, and a clock that steps back makes none negative."""
    clock = Clock()
    queue = make(clock=clock)
    assert queue.backlog().oldest_age == 0.0
    queue.offer(PLAIN)
    clock.now += 2
    queue.offer(PLAIN)
    assert queue.backlog().oldest_age == 2.0
    queue.take(1)
    clock.now += 1
    assert queue.backlog().oldest_age == 3.0
    clock.now = 0
    assert queue.backlog().oldest_age == 0.0


def test_reset_forgets_everything_but_the_refusal() -> None:
    """What a forked child starts with."""
    queue = make(1)
    queue.offer(PLAIN, ThreadWaiter())
    queue.offer(PLAIN)
    queue.reset()
    assert queue.ledger() == Ledger()
    assert queue.offer(PLAIN)
    queue.refuse(DropReason.DISABLED)
    queue.reset()
    assert not queue.offer(PLAIN)
    assert queue.ledger().dropped == {DropReason.DISABLED: 1}


# Waking


def test_the_driver_is_woken_once_at_the_count_it_asked_for() -> None:
    """Then not again until it has looked."""
    woken: list[int] = []
    queue = make(100, on_wake=lambda: woken.append(1))
    queue.offer(PLAIN)
    assert len(woken) == 1
    commit(queue)
    assert queue.arm(3)
    for _ in range(5):
        queue.offer(PLAIN)
    assert len(woken) == 2
    assert not queue.arm(3)
    assert queue._wake_at == NEVER
    queue.rearm()
    queue.offer(PLAIN)
    assert len(woken) == 3


def test_the_driver_is_woken_at_once_for_someone_who_waits() -> None:
    """An awaited record or a barrier does not wait for the count; a caller who commits himself wakes nobody."""
    woken: list[str] = []
    queue = make(100, on_wake=lambda: woken.append("woken"))
    assert queue.arm(50)
    queue.accept(PLAIN, ThreadWaiter(), wake=False)
    queue.barrier(ThreadWaiter(), wake=False)
    assert not woken
    queue.accept(PLAIN, ThreadWaiter())
    assert len(woken) == 1
    assert not queue.arm(50)
    commit(queue)
    assert queue.arm(50)
    queue.offer(PLAIN)
    queue.barrier(ThreadWaiter())
    assert len(woken) == 2
    queue.barrier(ThreadWaiter())
    assert len(woken) == 2


@pytest.mark.parametrize("ask", [lambda queue: queue.offer(PLAIN), lambda queue: queue.barrier(ThreadWaiter())])
def test_an_interrupt_out_of_a_wake_up_leaves_it_to_the_next_record(ask: Callable[[RecordQueue], object]) -> None:
    """Ctrl-C, caught by a notebook: else the writer would sleep for ever."""
    woken: list[int] = []

    def interrupted_once() -> None:
        woken.append(1)
        if len(woken) == 2:
            raise KeyboardInterrupt

    queue = make(100, on_wake=interrupted_once)
    queue.offer(PLAIN)
    queue.rearm()
    with pytest.raises(KeyboardInterrupt):
        ask(queue)
    queue.offer(PLAIN)
    assert len(woken) == 3


def test_a_barrier_over_nothing_is_done_at_once() -> None:
    """And wakes nobody."""
    queue = make(on_wake=lambda: pytest.fail("woken"))
    queue.barrier(waiter := ThreadWaiter())
    assert waiter.outcome == FlushResult()
    assert waiter.outcome.complete


def test_a_last_barrier_follows_what_is_pending_and_lets_nothing_in() -> None:
    """A signal handler or another thread finds no moment between the refusal and the count."""
    queue = make(max_records=10)
    for _ in range(3):
        assert queue.offer(InvocationRecord())
    barrier = queue.last_barrier(DropReason.CLOSED, waiter := ThreadWaiter())
    assert not queue.offer(InvocationRecord())
    assert barrier.pending == 3
    batch = queue.take(10)
    assert batch is not None
    queue.settle(batch, WriteResult())
    assert waiter.outcome == FlushResult(written=3)
    assert queue.ledger().dropped == {DropReason.CLOSED: 1}


def test_a_barrier_does_not_wait_for_later_records() -> None:
    """Or a busy logger could never be flushed."""
    queue = make()
    queue.offer(PLAIN)
    queue.barrier(waiter := ThreadWaiter())
    queue.offer(BIG)
    commit(queue, rows=1)
    assert waiter.outcome == FlushResult(written=1)
    assert queue.qsize() == 1


# Threads, signal handlers, finalizers


@pytest.mark.parametrize("overflow", ["block", "drop_newest", "drop_oldest"])
def test_puts_from_eight_threads_count_exactly(overflow: Any) -> None:
    """While a ninth one commits."""
    queue = make(50, overflow=overflow)
    start = threading.Barrier(9)
    done = threading.Event()

    def put() -> None:
        start.wait()
        for _ in range(2000):
            queue.offer(PLAIN)

    def settle() -> None:
        start.wait()
        while not done.is_set() or not queue.empty():
            commit(queue, 7)
            assert queue.ledger().balanced

    threads = [threading.Thread(target=put) for _ in range(8)]
    committer = threading.Thread(target=settle)
    for thread in (*threads, committer):
        thread.start()
    for thread in threads:
        thread.join()
    done.set()
    committer.join()
    ledger = queue.ledger()
    assert ledger.submitted == 16_000
    assert ledger.balanced
    assert ledger.pending == 0
    assert queue.backlog().bytes == 0


@contextmanager
def signals_in_plenty(handler: Callable[[int, Any], None]) -> Iterator[None]:
    """This thread's handler is called thousands of times a second; after the end, never again.

    No timer: its last signal may come after it is stopped, and the alarm is what ends a test that hangs.
    """
    me, done, interval = threading.get_ident(), threading.Event(), sys.getswitchinterval()

    def send() -> None:
        while not done.wait(0.00005):
            signal.pthread_kill(me, signal.SIGUSR1)

    sender = threading.Thread(target=send)
    before = signal.signal(signal.SIGUSR1, handler)
    sys.setswitchinterval(0.00001)
    sender.start()
    try:
        yield
    finally:
        done.set()
        sender.join()
        sys.setswitchinterval(interval)
        signal.signal(signal.SIGUSR1, before)


@pytest.mark.parametrize("overflow", ["drop_newest", "drop_oldest"])
def test_a_signal_handler_that_logs_keeps_the_count(overflow: Any) -> None:
    """It interrupts this very thread within offers and settles, thousands of times, at a full queue."""
    queue = make(3, overflow=overflow)
    interruptions = offers = depth = 0

    def handler(_number: int, _frame: Any) -> None:
        nonlocal interruptions, depth
        if depth == 4:  # where an offer is slower than the timer, under coverage say, they would nest without end
            return
        depth += 1
        interruptions += 1
        queue.offer(PLAIN)
        depth -= 1

    with signals_in_plenty(handler):
        while interruptions < 2000:
            queue.offer(PLAIN)
            offers += 1
            if offers % 4 == 0:
                commit(queue, 2)
    ledger = queue.ledger()
    assert ledger.balanced
    assert ledger.submitted == interruptions + offers
    assert ledger.pending == queue.qsize() == len(queue.entries)
    assert queue.backlog().bytes == len(queue.entries) * PLAIN.size


def test_a_signal_raised_inside_a_callback_may_log() -> None:
    """`raise_signal` within `on_wake` and `on_drop`, which run after the lock is let go."""
    ledger_in_handler: list[bool] = []
    queue = make(2, on_wake=lambda: signal.raise_signal(signal.SIGUSR1))

    def handler(_number: int, _frame: Any) -> None:
        queue.offer(BIG)
        ledger_in_handler.append(queue.ledger().balanced)

    before = signal.signal(signal.SIGUSR1, handler)
    try:
        queue.offer(PLAIN)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert ids(queue) == ["plain", "big"]
    assert ledger_in_handler == [True]


@pytest.mark.parametrize(
    "empty",
    [
        lambda queue: len(queue.take(5).entries),
        lambda queue: queue.abandon(DropReason.SHUTDOWN, in_flight=False),
    ],
    ids=["take", "abandon"],
)
def test_what_a_signal_handler_logs_while_the_queue_is_looked_at_is_looked_at_too(
    empty: Callable[[RecordQueue], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It came between the look and the change: nothing is changed by what was seen before."""
    queue, nested, bytes_of = make(), [BIG], queue_accounting.bytes_of

    def interrupted(entries: Any) -> int:
        while nested:
            assert queue.offer(nested.pop())
        return bytes_of(entries)

    assert queue.offer(PLAIN)
    monkeypatch.setattr(queue_accounting, "bytes_of", interrupted)
    assert empty(queue) == 2
    assert queue.ledger().balanced


def test_one_that_is_gone_is_dropped_only_once() -> None:
    """A nested call that made room has had it already."""
    queue = make()
    queue.offer(PLAIN)
    (entry,) = queue.entries
    assert queue._drop_waiting(entry, DropReason.QUEUE_FULL)
    assert not queue._drop_waiting(entry, DropReason.QUEUE_FULL)
    ledger = queue.ledger()
    assert (ledger.pending, ledger.dropped[DropReason.QUEUE_FULL]) == (0, 1)


def test_an_interrupt_while_one_is_told_keeps_nobody_else_waiting() -> None:
    """It goes on to the caller; who was told already may be told again."""

    class Interrupted(ThreadWaiter):
        times = 0

        def resolve(self, outcome: Any) -> None:
            self.times += 1
            if self.times == 1:
                raise KeyboardInterrupt
            super().resolve(outcome)

    queue, first, second = make(), Interrupted(), ThreadWaiter()
    assert queue.offer(PLAIN, first)
    assert queue.offer(BIG, second)
    batch = queue.take(5)
    assert batch is not None
    with pytest.raises(KeyboardInterrupt):
        queue.settle(batch, NOTHING)
    assert [first.outcome, second.outcome] == [Outcome.WRITTEN] * 2
    assert queue.ledger().written == 2


def test_a_finalizer_that_logs_keeps_the_count() -> None:
    """`__del__` runs wherever the garbage collector starts, within the queue's own allocations too."""
    queue = make(20, overflow="drop_oldest")
    finalized = 0

    class Dying:
        def __init__(self) -> None:
            self.me = self

        def __del__(self) -> None:
            nonlocal finalized
            finalized += 1
            queue.offer(PLAIN)

    thresholds = gc.get_threshold()
    gc.set_threshold(3, 1, 1)
    try:
        for _ in range(2000):
            Dying()
            queue.offer(PLAIN)
        for _ in range(200):
            Dying()
            commit(queue, 5)
    finally:
        gc.set_threshold(*thresholds)
        gc.collect()
    ledger = queue.ledger()
    assert finalized == 2200
    assert ledger.balanced
    assert ledger.submitted == 4200
    assert ledger.pending == queue.qsize() == len(queue.entries)


# asyncio.Queue's interface


async def test_it_can_be_used_like_an_asyncio_queue() -> None:
    """put, put_nowait, qsize, empty, full, maxsize, join."""
    queue = make(2)
    assert queue.empty()
    assert queue.maxsize == 2
    await queue.put(PLAIN)
    queue.put_nowait(BIG)
    assert queue.qsize() == 2
    assert queue.full()
    assert not queue.empty()
    with pytest.raises(asyncio.QueueFull):
        queue.put_nowait(PLAIN)
    joining = asyncio.create_task(queue.join())
    await turns()
    assert not joining.done()
    commit(queue)
    await joining
    await queue.join()


async def test_a_cancelled_join_leaves_no_trace() -> None:
    """The writer no longer hurries for it."""
    queue = make()
    queue.put_nowait(PLAIN)
    joining = asyncio.create_task(queue.join())
    await turns()
    assert queue.backlog().urgent
    joining.cancel()
    await asyncio.wait([joining])
    assert not queue.backlog().urgent


async def test_put_waits_for_room_and_then_comes_in() -> None:
    """Room is a commit."""
    queue = make(1)
    queue.put_nowait(PLAIN)
    putting = asyncio.create_task(queue.put(BIG))
    await turns()
    assert not putting.done()
    assert queue.ledger().submitted == 1
    commit(queue)
    await putting
    assert ids(queue) == ["big"]


async def test_a_put_that_waits_ends_when_the_queue_is_refused() -> None:
    """Closed while waiting: counted under that reason."""
    queue = make(1)
    queue.put_nowait(PLAIN)
    putting = asyncio.create_task(queue.admit(BIG))
    await turns()
    queue.refuse(DropReason.CLOSED)
    assert await putting is DropReason.CLOSED
    assert await queue.admit(BIG) is DropReason.CLOSED
    assert queue.ledger().dropped == {DropReason.CLOSED: 2}


async def test_after_the_block_timeout_the_record_is_dropped() -> None:
    """Counted as `block_timeout`, and no longer in line."""
    queue = make(1)
    queue.put_nowait(PLAIN)
    assert await queue.admit(BIG, timeout=0.01) is DropReason.BLOCK_TIMEOUT
    assert await queue.admit(BIG, timeout=0.0) is DropReason.BLOCK_TIMEOUT
    assert queue.ledger().dropped == {DropReason.BLOCK_TIMEOUT: 2}
    assert not queue._room


async def test_room_that_came_between_asking_and_waiting_is_taken() -> None:
    """The wait looks again under the lock, so no wake-up is missed."""
    queue = make(1)
    queue.put_nowait(PLAIN)
    accept = queue.accept

    def commit_right_after(*args: Any, **options: Any) -> Any:
        reason = accept(*args, **options)
        queue.accept = accept  # type: ignore[method-assign]
        commit(queue)
        return reason

    queue.accept = commit_right_after  # type: ignore[method-assign]
    assert await queue.admit(BIG) is None
    assert ids(queue) == ["big"]


async def test_cancelling_a_wait_for_room_submits_nothing() -> None:
    """The caller keeps the record; the ledger knows nothing of it."""
    queue = make(1)
    queue.put_nowait(PLAIN)
    putting = asyncio.create_task(queue.put(BIG))
    await turns()
    putting.cancel()
    await asyncio.wait([putting])
    assert queue.ledger().submitted == 1
    assert not queue._room


async def test_one_who_is_cancelled_when_told_passes_the_room_on() -> None:
    """The wake-up and the cancellation cross: the next in line gets the place."""
    queue = make(1)
    queue.put_nowait(PLAIN)
    first = asyncio.create_task(queue.put(PLAIN.replace(invocation_id="first")))
    await turns()
    second = asyncio.create_task(queue.put(PLAIN.replace(invocation_id="second")))
    await turns()
    commit(queue)
    first.cancel()
    await asyncio.wait_for(second, 5)
    assert first.cancelled()
    assert ids(queue) == ["second"]


async def test_one_commit_lets_in_as_many_as_fit() -> None:
    """A big record that leaves makes room for several small ones at once."""
    queue = make(max_bytes=BIG.size)
    queue.put_nowait(BIG)
    putting = [asyncio.create_task(queue.put(PLAIN)) for _ in range(5)]
    await turns()
    assert queue.qsize() == 1
    commit(queue)
    await asyncio.wait_for(asyncio.gather(*putting), 5)
    assert queue.qsize() == 5


async def test_those_who_wait_come_in_in_their_order() -> None:
    """First come, first in."""
    queue = make(1)
    queue.put_nowait(PLAIN)
    putting = []
    for number in range(4):
        putting.append(asyncio.create_task(queue.put(PLAIN.replace(invocation_id=str(number)))))
        await turns(1)
    order = []
    for _ in range(5):
        batch = commit(queue)
        assert batch is not None
        order += [entry[RECORD].invocation_id for entry in batch.entries]
        await turns()
    await asyncio.gather(*putting)
    assert order == ["plain", "0", "1", "2", "3"]


async def test_waiting_for_bytes_is_no_busy_loop() -> None:
    """Room that is too small for either of two waiters wakes neither: they would only wake each other for ever."""
    queue = make(max_bytes=BIG.size + PLAIN.size)
    queue.put_nowait(PLAIN)
    queue.put_nowait(BIG)
    putting = [asyncio.create_task(queue.put(BIG)) for _ in range(2)]
    await turns()
    asked = 0
    accept = queue.accept

    def counting(*args: Any, **options: Any) -> Any:
        nonlocal asked
        asked += 1
        return accept(*args, **options)

    queue.accept = counting  # type: ignore[method-assign]
    commit(queue, rows=1)
    await turns(100)
    assert asked == 0
    commit(queue)
    await asyncio.wait(putting, return_when=asyncio.FIRST_COMPLETED)
    commit(queue)
    await asyncio.wait_for(asyncio.gather(*putting), 5)
    assert asked == 2


async def test_a_big_record_that_gives_up_lets_smaller_ones_behind_it_in() -> None:
    """It stood at the head of the line, and they fit."""
    queue = make(max_bytes=BIG.size + PLAIN.size)
    queue.put_nowait(BIG)
    big = asyncio.create_task(queue.put(BIG))
    await turns()
    queue.put_nowait(PLAIN)
    small = asyncio.create_task(queue.put(PLAIN))
    await turns()
    batch = queue.take(1)
    assert batch is not None
    big.cancel()
    queue.settle(batch, NOTHING)
    await asyncio.wait_for(small, 5)
    assert queue.qsize() == 2


# Waiters


def test_a_waiter_whose_loop_is_closed_is_let_go() -> None:
    """The record is settled all the same."""
    queue = make()

    async def log() -> LoopWaiter:
        waiter = LoopWaiter(durable=True)
        queue.offer(PLAIN, waiter)
        return waiter

    waiter = asyncio.run(log())
    batch = commit(queue)
    assert batch is not None
    assert batch.durable
    assert not waiter.future.done()
    assert queue.ledger().written == 1


async def test_a_waiter_that_was_cancelled_is_not_told() -> None:
    """Delivering to a future that is done would raise in the loop."""
    queue = make()
    waiter = LoopWaiter()
    queue.offer(PLAIN, waiter)
    waiter.future.cancel()
    commit(queue)
    await turns()
    assert waiter.future.cancelled()


async def test_a_waiter_is_told_from_the_committing_thread() -> None:
    """On its own loop."""
    queue = make()
    waiter = LoopWaiter()
    queue.offer(PLAIN, waiter)
    await asyncio.to_thread(commit, queue)
    assert await asyncio.wait_for(waiter.future, 5) is Outcome.WRITTEN


def test_arming_at_what_is_held_already_says_go_on() -> None:
    """Exactly the number asked for is enough; one fewer is not."""
    queue = make(max_bytes=10**6)
    queue.offer(InvocationRecord())
    queue.offer(InvocationRecord())
    assert queue.arm(3)
    assert not queue.arm(2)


def test_after_a_rearm_the_very_next_record_wakes() -> None:
    """Nobody could be woken: the next one tries again, not the one after it."""
    woken: list[int] = []
    queue = make(max_bytes=10**6, on_wake=lambda: woken.append(queue.qsize()))
    queue.arm(5)
    queue.rearm()
    queue.offer(InvocationRecord())
    assert woken == [1]


def test_half_of_the_bytes_wakes_the_driver_as_a_full_batch_does() -> None:
    """Else records are dropped for want of bytes beside a disk that has nothing to do."""
    woken: list[int] = []
    queue = RecordQueue(max_records=1_000, max_bytes=10_000, on_wake=lambda: woken.append(1))
    assert queue.arm(100)
    size = InvocationRecord(error_message="x" * 500).size
    taken = 0
    while not woken:
        assert queue.offer(InvocationRecord(error_message="x" * 500))
        taken += 1
    assert (taken - 1) * size < 5_000 <= taken * size
    assert not queue.arm(100)
