"""Ctrl-C, or any exception out of a signal handler, at any call within the queue: the count stays exact.

Where CPython lets a handler run (after a call, at a function's start, at a loop's turn) a tracer raises, once, at each of
these places in turn.
"""

import dis
import gc
import sqlite3
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from contextvars import copy_context
from datetime import UTC, datetime, timedelta
from functools import cache, partial
from pathlib import Path
from time import monotonic, sleep
from types import CodeType, FrameType, FunctionType
from typing import Any

import pytest
from tests.inside import engine_of, held_elsewhere

from llm_service.telemetry import TelemetryLogger
from llm_service.telemetry.journal.journal import Slot
from llm_service.telemetry.record.record import InvocationRecord
from llm_service.telemetry.stores.base import WriteResult
from llm_service.telemetry.stores.sqlite.batch_writer import SqliteBatchWriter
from llm_service.telemetry.stores.sqlite.opening import BUSY_TIMEOUT_MS, open_for_writing
from llm_service.telemetry.writer.commit_lock import CommitLock
from llm_service.telemetry.writer.journaled_queue import JournaledQueue
from llm_service.telemetry.writer.ledger import DropReason, Ledger
from llm_service.telemetry.writer.queue import RecordQueue
from llm_service.telemetry.writer.queue_entries import RECORD
from llm_service.telemetry.writer.threads import ShortLocks
from llm_service.telemetry.writer.waiters import ThreadWaiter

pytestmark = pytest.mark.slow

NO_LOCKS = ShortLocks(lambda: ())
PLACES: dict[CodeType, frozenset[int]] = {}


def places(code: CodeType) -> frozenset[int]:
    """Offsets of the instructions before which a handler may run."""
    if code not in PLACES:
        found: set[int] = set()
        after_call = False
        for instruction in dis.get_instructions(code):
            name = instruction.opname
            if after_call or name in {"RESUME", "JUMP_BACKWARD"}:
                found.add(instruction.offset)
            after_call = name.startswith("CALL")
        PLACES[code] = frozenset(found)
    return PLACES[code]


class Interrupted(BaseException):
    """What the handler raises."""


def raise_interrupted() -> None:
    """What Ctrl-C does."""
    raise Interrupted


def interrupted_at(
    turn: int,
    action: Callable[[], Any],
    within: tuple[str, ...] = ("writer",),
    kept: list[BaseException] | None = None,
    handler: Callable[[], object] = raise_interrupted,
) -> bool:
    """Run the action, and call the handler at the given place within these packages; False where it has fewer places.

    What was raised is kept in `kept`, where that is given, and its frames with it.
    """
    seen = 0

    def raises_at(code: CodeType, offset: int) -> bool:
        """Count a place that was reached; True at the one where the exception is due."""
        nonlocal seen
        if offset not in places(code):
            return False
        seen += 1
        return seen > turn

    watch = _monitored if sys.version_info >= (3, 12) else _traced
    try:
        with watch(within, raises_at, handler):
            action()
    except Interrupted as interrupt:
        if kept is not None:
            kept.append(interrupt)
        return True
    return seen > turn


_RaisesAt = Callable[[CodeType, int], bool]


@cache
def _is_within(file: str, within: tuple[str, ...]) -> bool:
    # Not this file, whose folder has such a name too: raised in `_traced` itself, after it has put the former trace
    # function back, the exception would end that one, and with it the measuring of coverage in this process.
    path = Path(file)
    return path.parent.name in within and "llm_service" in path.parts


@contextmanager
def _traced(within: tuple[str, ...], raises_at: _RaisesAt, handler: Callable[[], object]) -> Iterator[None]:
    """Call the handler once where `raises_at` says so, by a trace function."""

    def trace(frame: FrameType, event: str, _argument: Any) -> Any:
        if not _is_within(frame.f_code.co_filename, within):
            return None
        frame.f_trace_opcodes = True
        frame.f_trace_lines = False
        if event == "opcode" and raises_at(frame.f_code, frame.f_lasti):
            sys.settrace(None)
            handler()
            return None
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield
    finally:
        sys.settrace(before)


@contextmanager
def _monitored(within: tuple[str, ...], raises_at: _RaisesAt, handler: Callable[[], object]) -> Iterator[None]:
    """The same by `sys.monitoring` (PEP 669): from 3.12 on a trace function misses instructions."""
    monitoring: Any = sys.monitoring  # type: ignore[attr-defined, unused-ignore]
    tool, event, here, active = 4, monitoring.events.INSTRUCTION, threading.get_ident(), True

    def instruction(code: CodeType, offset: int) -> None:
        nonlocal active
        if active and threading.get_ident() == here and raises_at(code, offset):
            active = False
            handler()

    watched = [code for code in _codes_of_functions() if _is_within(code.co_filename, within)]
    monitoring.use_tool_id(tool, "interrupts")
    try:
        monitoring.register_callback(tool, event, instruction)
        for code in watched:
            monitoring.set_local_events(tool, code, event)
        yield
    finally:
        active = False
        for code in watched:
            monitoring.set_local_events(tool, code, 0)
        monitoring.register_callback(tool, event, None)
        monitoring.free_tool_id(tool)


@cache
def _codes_of_functions() -> frozenset[CodeType]:
    """The code of every function of the package that is imported, and of those within them."""
    found: set[CodeType] = set()
    gc.unfreeze()  # or they are not listed
    more = [one.__code__ for one in gc.get_objects() if isinstance(one, FunctionType)]
    while more:
        code = more.pop()
        if code not in found and "llm_service" in code.co_filename:
            found.add(code)
            more += [part for part in code.co_consts if isinstance(part, CodeType)]
    return frozenset(found)


cpython_only = pytest.mark.skipif(
    sys.implementation.name != "cpython", reason="it knows where CPython lets a handler run"
)


class Ring:
    """A journal of so many places, freed in any order."""

    def __init__(self) -> None:
        self.live: list[Any] = []
        self.error: OSError | None = None

    def encode(self, record: InvocationRecord, /) -> bytes:
        return str(record.agent_name).encode()

    def append(self, _payload: bytes, slot: Any, /) -> bool:
        if len(self.live) >= 6:
            return False
        self.live.append(slot)
        return True

    def assign(self, slots: Any, _batch: int) -> None:
        assert all(slot in self.live for slot in slots)

    def drop(self, slots: Any) -> None:
        for slot in slots:
            if slot in self.live:
                self.live.remove(slot)

    free = drop

    def has_room(self, _size: int) -> bool:
        return len(self.live) < 6

    def could_hold(self, _record: InvocationRecord) -> bool:
        return True

    def leak(self) -> None:
        self.live = []


def plain(**options: Any) -> RecordQueue:
    """A queue of four."""
    return RecordQueue(max_records=4, max_bytes=1 << 20, **options)


def journaled(**options: Any) -> RecordQueue:
    """With a journal behind it."""
    return JournaledQueue(
        journal=Ring(),  # type: ignore[arg-type]
        make_slot=Slot, is_clean=lambda _record: True, prepare=lambda record: (record, None),
        max_records=4, max_bytes=1 << 20, **options,
    )  # fmt: skip


class Life:
    """A queue, what was accepted, and what came out of it."""

    def __init__(self, queue: RecordQueue) -> None:
        self.queue = queue
        self.accepted: set[str] = set()
        self.written: list[str] = []
        self.waiter = ThreadWaiter()
        self.flushed = ThreadWaiter()
        self.more: list[ThreadWaiter] = []

    def offer(self, name: str, waiter: ThreadWaiter | None = None, **fields: Any) -> None:
        """Hand one over; accepted where the call returns True."""
        if self.queue.offer(InvocationRecord(agent_name=name, **fields), waiter):
            self.accepted.add(name)

    def follow(self) -> None:
        """Somebody else flushes, too."""
        self.more.append(ThreadWaiter())
        self.queue.barrier(self.more[-1])

    def last(self) -> None:
        """The logger closes."""
        self.more.append(ThreadWaiter())
        self.queue.last_barrier(DropReason.CLOSED, self.more[-1])

    def commit(self, *, rows: int = 2, result: WriteResult = WriteResult()) -> None:  # noqa: B008 - frozen
        """One commit that succeeds: the store knows a batch by its number, and writes it once."""
        batch = self.queue.take(rows)
        if batch is not None:
            names = [str(entry[RECORD].agent_name) for entry in batch.entries]
            self.written += [name for name in names if name not in self.written]
            self.queue.settle(batch, result)


def drained(life: Life, where: str) -> Ledger:
    """Commit what is left; nothing is lost without a count, and nothing left over."""
    queue = life.queue
    while queue.qsize():
        life.commit(rows=9)
    ledger = queue.ledger()
    assert ledger.balanced, where
    assert (queue.backlog().records, queue.backlog().bytes) == (0, 0), where
    assert len(life.accepted - set(life.written)) <= sum(ledger.dropped.values()), where
    if isinstance(queue, JournaledQueue) and DropReason.JOURNALED not in ledger.dropped:
        assert queue.journal.live == [], where  # type: ignore[attr-defined]
    return ledger


def three(life: Life) -> None:
    """What stands there before an action: two records, one of them waited for, and someone who flushes."""
    life.offer("a")
    life.offer("b", life.waiter)
    life.offer("c")
    life.queue.barrier(life.flushed)


def in_flight(life: Life) -> None:
    """Two of three are taken."""
    three(life)
    life.queue.take(2)


def full(life: Life) -> None:
    """No room."""
    three(life)
    life.offer("d")


def private(life: Life) -> None:
    """One of them is to be stored nowhere; a plain queue finds that out when it takes it."""
    life.offer("p", privacy_level="none")
    three(life)


ACTIONS: dict[str, tuple[Callable[[Life], None], Callable[[Life], object]]] = {
    "offer": (three, lambda life: life.offer("new")),
    "offer, waited for": (three, lambda life: life.offer("new", ThreadWaiter())),
    "offer at the bound": (full, lambda life: life.offer("new")),
    "take": (three, lambda life: life.queue.take(2)),
    "take a private one": (private, lambda life: life.queue.take(2)),
    "take again": (in_flight, lambda life: life.queue.take(2)),
    "settle": (in_flight, lambda life: life.commit()),
    "settle with outcomes": (in_flight, lambda life: life.commit(result=WriteResult(frozenset({0}), frozenset({1})))),
    "take and settle": (full, lambda life: life.commit(rows=9)),
    "abandon what waits": (in_flight, lambda life: life.queue.abandon(DropReason.SHUTDOWN, in_flight=False)),
    "abandon all": (in_flight, lambda life: life.queue.abandon(DropReason.STORE_FAILED, in_flight=True)),
    "look": (three, lambda life: life.queue.look()),
}
BESIDE_A_COMMIT: dict[str, tuple[Callable[[Life], None], Callable[[Life], object]]] = {
    **{
        name: ACTIONS[name]
        for name in ("offer", "offer, waited for", "offer at the bound", "abandon what waits", "look")
    },
    "flush": (three, lambda life: life.follow()),
    "flush nothing": (lambda _life: None, lambda life: life.follow()),
    "withdraw": (three, lambda life: life.queue.withdraw(life.queue.barrier(ThreadWaiter()))),
    "close": (three, lambda life: life.last()),
    "arm": (three, lambda life: life.queue.arm(2)),
    "arm for more": (lambda life: life.offer("a"), lambda life: life.queue.arm(3)),
    "full or not": (full, lambda life: life.queue.full()),
}
"""What a thread does that does not commit: another thread may commit meanwhile, or a handler on this very thread."""


@cpython_only
@pytest.mark.parametrize("overflow", ["drop_newest", "drop_oldest"])
@pytest.mark.parametrize("make", [plain, journaled])
@pytest.mark.parametrize("action", ACTIONS)
def test_an_interrupt_at_any_call_loses_and_doubles_nothing(
    action: str, make: Callable[..., RecordQueue], overflow: str
) -> None:
    """At each place: the ledger adds up, whoever waited is told, and every accepted record is written or counted."""
    before, act = ACTIONS[action]
    turn, goes_on = 0, True
    while goes_on:
        life = Life(make(overflow=overflow))
        queue = life.queue
        before(life)
        goes_on = interrupted_at(turn, lambda life=life: act(life))  # type: ignore[misc]
        turn += 1
        where = f"place {turn} of {action}"
        ledger = queue.ledger()
        assert ledger.balanced, where
        assert ledger.pending == queue.qsize(), where
        ledger = drained(life, where)
        assert not queue.entries or queue.take(1) is None, where
        assert life.waiter.outcome is not None, where
        assert life.flushed.outcome is not None, where
        assert life.flushed.outcome.complete, where
        assert not queue.backlog().urgent, where
        assert ledger.written + ledger.duplicates + ledger.quarantined == len(life.written), where
    assert turn >= 3


@cpython_only
@pytest.mark.parametrize("overflow", ["drop_newest", "drop_oldest"])
@pytest.mark.parametrize("make", [plain, journaled])
@pytest.mark.parametrize("action", BESIDE_A_COMMIT)
def test_a_handler_at_any_call_may_have_all_committed(
    action: str, make: Callable[..., RecordQueue], overflow: str
) -> None:
    """By itself, or by another thread that it waits for: nothing is lost, and nobody who follows waits for ever."""
    before, act = BESIDE_A_COMMIT[action]
    turn, goes_on = 0, True
    while goes_on:
        life = Life(make(overflow=overflow))
        queue = life.queue
        before(life)

        def handler(life: Life = life) -> None:
            life.offer("by the handler")
            life.follow()
            while life.queue.qsize():
                life.commit(rows=2)

        goes_on = interrupted_at(turn, lambda life=life: act(life), handler=handler)  # type: ignore[misc]
        turn += 1
        where = f"place {turn} of {action}"
        assert queue.ledger().balanced, where
        ledger = drained(life, where)
        assert (queue._urgent, queue._barriers, len(queue._room)) == (0, [], 0), where
        assert [waiter.outcome.complete for waiter in life.more] == [True] * len(life.more), where
        assert ledger.written == len(life.written), where
    assert turn > 1


@pytest.mark.volume
@cpython_only
@pytest.mark.timeout(300)
@pytest.mark.parametrize("journal", [False, True], ids=["", "journal"])
def test_an_interrupt_at_any_call_of_a_commit_leaves_a_logger_that_goes_on(journal: bool, tmp_path: Path) -> None:
    """In queue, committer, lock or store: what was accepted is committed by the next call, once, and without a loss."""
    path = tmp_path / "telemetry.db"
    accepted: list[str] = []
    with TelemetryLogger(path, journal=journal, flush_interval=3600.0, batch_size=10_000) as logger:
        logger.log_invocation(InvocationRecord())
        turn, goes_on = 0, True
        while goes_on:
            waiting = InvocationRecord(error_message="e" if turn % 2 else None)
            assert logger.log_invocation_nowait(waiting)
            accepted.append(waiting.invocation_id)
            goes_on = interrupted_at(
                turn, lambda: logger.log_invocation(InvocationRecord()), ("writer", "stores", "sqlite", "journal")
            )
            turn += 1
            assert logger.stats().ledger.balanced, turn
            assert logger.flush(30.0).complete, turn
        ledger = logger.stats().ledger
    assert turn > 100
    assert ledger.written == ledger.submitted
    with closing(sqlite3.connect(path)) as connection:
        ids = {row[0] for row in connection.execute("SELECT invocation_id FROM invocations")}
        (counted,) = connection.execute("SELECT sum(invocations) FROM daily_costs").fetchone()
    assert set(accepted) <= ids
    assert len(ids) == counted == ledger.written


def hold_and_settle(logger: TelemetryLogger) -> None:
    """A reservation and the record that settles it."""
    with logger.budgets.reserve(usd=0.01, agent_name="a") as hold:
        hold.settle(InvocationRecord(agent_name="a", cost_usd=0.01))


def call_under_a_budget(logger: TelemetryLogger) -> None:
    """The same by a block."""
    with logger.invocation("a", budget=0.01) as call:
        call.record_usage(cost_usd=0.01)


def comes_true(condition: Callable[[], bool]) -> bool:
    """Whether it holds within half a minute: another thread may be in the middle of its work."""
    deadline = monotonic() + 30
    while not condition():
        if monotonic() > deadline:
            return False
        sleep(0.001)
    return True


WITH_MONEY: dict[str, Callable[[TelemetryLogger], Any]] = {
    "settle": hold_and_settle,
    "block": call_under_a_budget,
    "release": lambda logger: logger.budgets.reserve(usd=0.01).release(),
    "check": lambda logger: logger.budgets.check(usd=0.01),
    "status": lambda logger: logger.budgets.status(),
    "read": lambda logger: logger.get_invocations(limit=1),
    "flush": lambda logger: (logger.log_invocation_nowait(InvocationRecord()), logger.flush()),
}


@cpython_only
@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", WITH_MONEY)
def test_an_interrupt_at_any_call_about_money_leaves_no_lock_held_and_budgets_that_go_on(
    name: str, tmp_path: Path
) -> None:
    """No connection stays open by it that a fork would wait for, and what comes next is served at once."""
    policies = tmp_path / "policies.yaml"
    policies.write_text("policies:\n  default:\n    daily_budget_usd: 1000000\n")
    options: dict[str, Any] = {"retention_days": None, "commit_timeout": 5, "flush_interval": 3600.0}
    with TelemetryLogger(tmp_path / "telemetry.db", policies=policies, **options) as logger:
        action, engine = WITH_MONEY[name], engine_of(logger)
        action(logger)
        turn, goes_on = 0, True
        while goes_on:
            goes_on = interrupted_at(turn, partial(copy_context().run, action, logger), ("writer", "client"))
            turn += 1
            taken: list[int] = []
            other = threading.Thread(target=lambda taken=taken: taken.append(engine.commit_lock.run(lambda: 1, 30.0)))
            other.start()
            other.join()
            assert taken == [1], turn
            assert logger.stats().ledger.balanced, turn
            if turn % 8 == 0:
                hold_and_settle(logger)
        hold_and_settle(logger)
        assert logger.flush().complete
    assert turn > 10


@cpython_only
@pytest.mark.parametrize("durable", [False, True])
def test_an_interrupt_at_any_call_of_a_write_leaves_no_transaction_open(durable: bool, tmp_path: Path) -> None:
    """The connection is as good as before: no lock is held, the same batch is written once, and durable is durable."""
    with closing(open_for_writing(tmp_path / "telemetry.db", 0)) as connection:
        writer = SqliteBatchWriter("w", "metadata")
        turn, goes_on, written = 0, True, 0
        while goes_on:
            batch = [InvocationRecord(), InvocationRecord(prompt_tokens=1)]
            write = partial(
                writer.write, connection, batch, batch_no=turn, durable=durable ^ (turn % 2 == 0), slice_rows=1
            )
            kept: list[BaseException] = []  # as a debugger or a logger of errors keeps it, with all its frames
            goes_on = interrupted_at(turn, write, ("stores", "sqlite"), kept)
            turn += 1
            assert not connection.in_transaction, turn
            assert write() == WriteResult(), turn
            durable_write = partial(writer.write, connection, [InvocationRecord()], durable=True, slice_rows=1)
            assert durable_write(batch_no=-turn) == WriteResult(), turn
            assert connection.execute("PRAGMA synchronous").fetchone() == (2,), turn
            written += 3
        assert turn > 50
        assert connection.execute("SELECT count(*) FROM invocations").fetchone() == (written,)
        assert connection.execute("SELECT sum(invocations) FROM daily_costs").fetchone() == (written,)


@pytest.mark.volume
@cpython_only
@pytest.mark.timeout(300)
def test_an_interrupt_at_any_call_of_a_purge_holds_nobody_up(tmp_path: Path) -> None:
    """Ctrl-C while the calling thread deletes: another process can write at once, and this one as patiently as ever."""
    path = tmp_path / "telemetry.db"
    old = datetime.now(UTC) - timedelta(days=9)
    with (
        TelemetryLogger(path, flush_interval=3600.0) as logger,
        closing(sqlite3.connect(path, isolation_level=None, timeout=0.0)) as other,
    ):
        turn, goes_on = 0, True
        while goes_on:
            logger.log_invocation(InvocationRecord(timestamp=old))
            kept: list[BaseException] = []
            goes_on = interrupted_at(turn, partial(logger.purge, 3), ("writer", "stores", "sqlite"), kept)
            turn += 1
            with engine_of(logger).commit_lock:  # the thread that was waited for may be at work
                other.execute("BEGIN IMMEDIATE")
                other.execute("ROLLBACK")
                connection = engine_of(logger).inline.session.connection._connection
                if connection is not None:
                    assert connection.execute("PRAGMA busy_timeout").fetchone() == (BUSY_TIMEOUT_MS,), turn
        assert turn > 50
        logger.purge(3)
        assert other.execute("SELECT count(*) FROM invocations").fetchone() == (0,)


def _try_to_take(lock: CommitLock, taken: list[bool]) -> None:
    taken.append(lock.acquire(0.0))


@cpython_only
@pytest.mark.parametrize("timeout", [-1.0, 0.0, 5.0])
def test_an_interrupted_acquire_leaves_the_lock_to_others(timeout: float) -> None:
    """Wherever it came: another thread can take it, or the interrupted call had not begun."""
    turn, goes_on = 0, True
    while goes_on:
        lock = CommitLock(NO_LOCKS)
        goes_on = interrupted_at(turn, partial(lock.acquire, timeout))
        turn += 1
        if not goes_on:
            lock.release()
        taken: list[bool] = []
        other = threading.Thread(target=_try_to_take, args=(lock, taken))
        other.start()
        other.join()
        assert taken == [True], f"place {turn}"
    assert turn > 2


def test_a_commit_within_a_commit_is_refused_and_not_waited_for() -> None:
    """A signal handler that flushes while its own thread commits would wait for itself."""
    lock = CommitLock(NO_LOCKS)
    assert lock.owner is None
    with lock:
        assert not lock.acquire(60.0)
        with pytest.raises(RuntimeError, match="within a commit already"), lock:
            pass
        with pytest.raises(RuntimeError, match="within a commit already"):
            lock.run(lambda: None)
        assert lock.owner == threading.get_ident()
    assert lock.owner is None
    assert lock.acquire(0.0)
    lock.release()


@cpython_only
def test_an_interrupt_in_work_under_the_lock_leaves_it_to_others() -> None:
    """Wherever it came, also where the work begins and where it is done."""
    turn, goes_on = 0, True
    while goes_on:
        lock, owners = CommitLock(NO_LOCKS), list[int | None]()
        goes_on = interrupted_at(turn, lambda: lock.run(lambda: owners.append(lock.owner)))  # noqa: B023
        turn += 1
        assert set(owners) <= {threading.get_ident()}, turn
        assert lock.owner is None, turn
        taken: list[bool] = []
        other = threading.Thread(target=_try_to_take, args=(lock, taken))
        other.start()
        other.join()
        assert taken == [True], f"place {turn}"
    assert turn > 4
    lock = CommitLock(NO_LOCKS)
    assert lock.run(lambda: "done") == "done"
    with pytest.raises(ZeroDivisionError):
        lock.run(lambda: 1 // 0)
    assert lock.owner is None


def test_a_lock_that_could_not_be_waited_for_is_nobodys() -> None:
    """The error is that of the wait, whatever giving back says to what was never taken."""
    lock = CommitLock(NO_LOCKS)
    with held_elsewhere(lock) as (other, _):
        with pytest.raises(OverflowError):
            lock.acquire(1e300)
        assert lock.owner == other.ident
    assert lock.acquire(0.0)
    lock.release()


def test_a_lock_that_another_thread_holds_is_waited_for_as_long_as_was_said() -> None:
    """Not at all, a moment, or until it is given back."""
    lock = CommitLock(NO_LOCKS)
    with held_elsewhere(lock) as (_, enough):
        assert not lock.acquire(0.0)
        assert not lock.acquire(0.01)
        enough.set()
        assert lock.acquire(30.0)
        lock.release()


@pytest.mark.parametrize("wait", [CommitLock.acquire, partial(CommitLock.run, work=lambda: True)])
def test_without_a_bound_a_lock_is_waited_for_until_it_is_given_back(wait: Callable[[CommitLock], bool]) -> None:
    """However long that takes."""
    lock, held, waits = CommitLock(NO_LOCKS), threading.Event(), threading.Event()

    def hold() -> None:
        with lock:
            held.set()
            waits.wait(30)
            sleep(0.02)  # by then the other one is in its wait; where it is not, this tests less

    other = threading.Thread(target=hold)
    other.start()
    held.wait(30)
    waits.set()
    assert wait(lock)
    other.join()
