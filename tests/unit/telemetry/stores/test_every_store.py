"""What the writer promises, on every store: the one in SQLite, and one in memory that proves the seam of `stores.base`.

Each test runs for each store on each client. What is SQLite's own (files, locks, the WAL) stands in `stores/sqlite`.
"""

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, ClassVar
from unittest import mock

import pytest
from tests.inside import core_of, engine_of
from tests.memory_store import Memory, MemoryStore
from tests.model.ledger import policies

from llm_service.errors import (
    BudgetExceeded,
    CommitTimeoutError,
    DatabaseUnusableError,
    DuplicateInvocationError,
    RecordDroppedError,
    RecordQuarantinedError,
    StoreError,
)
from llm_service.telemetry import AsyncTelemetryLogger, DropReason, Event, EventKind, InvocationRecord, TelemetryLogger
from llm_service.telemetry.journal.journal import CrashJournal, Slot
from llm_service.telemetry.stores.sqlite import opening
from llm_service.telemetry.stores.sqlite.database_files import OwnConnection
from llm_service.telemetry.stores.sqlite.session import SqliteBudgetSession, SqliteSession
from llm_service.telemetry.stores.sqlite.store import SqliteStore

QUIET: dict[str, Any] = {"retention_days": None, "commit_timeout": 20.0, "close_timeout": 20.0}


class InMemory:
    """The store in memory, as a test looks at it."""

    def __init__(self, _folder: Path) -> None:
        self.memory = Memory()
        self.make_store: Any = partial(MemoryStore, self.memory)

    def ids(self) -> list[str]:
        """What is stored, in its order."""
        return list(self.memory.rows.records)

    def dead(self) -> list[str]:
        """Dead letters."""
        return list(self.memory.rows.dead)

    def holds(self) -> dict[str, bool]:
        """By hold: whether its outcome is unknown."""
        return {name: hold.is_unknown for name, hold in self.memory.rows.holds.items()}

    def is_let_go_of(self) -> bool:
        """Whether no session is open."""
        return self.memory.sessions == 0

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Another writer is at it."""
        self.memory.locked = True
        yield
        self.memory.locked = False

    def refuse(self, record_id: str) -> None:
        """Do not take this record."""
        self.memory.refused.add(record_id)

    @contextmanager
    def phantom(self) -> Iterator[None]:
        """The next commit fails after it is stored."""
        self.memory.phantoms = 1
        yield
        assert self.memory.phantoms == 0

    @contextmanager
    def failing(self, *errors: Exception) -> Iterator[None]:
        """The next transactions raise these."""
        self.memory.failures += errors
        yield
        assert self.memory.failures == []

    @contextmanager
    def slow(self, commits: threading.Event, go_on: threading.Event) -> Iterator[None]:
        """A commit says that it has begun, and waits."""
        real = Memory.commit

        def commit(memory: Memory, change: Any) -> None:
            commits.set()
            go_on.wait(30)
            real(memory, change)

        with mock.patch.object(Memory, "commit", commit):
            yield


class InSqlite:
    """The store in a file, as a test looks at it."""

    make_store: ClassVar[Any] = SqliteStore

    def __init__(self, folder: Path) -> None:
        self.path = folder / "telemetry.db"

    def ask(self, sql: str) -> list[Any]:
        """The first column of an answer."""
        with closing(sqlite3.connect(self.path)) as connection:
            return [row[0] for row in connection.execute(sql)]

    def ids(self) -> list[str]:
        """What is stored, in its order; the daily totals say the same."""
        ids = self.ask("SELECT invocation_id FROM invocations ORDER BY id")
        assert self.ask("SELECT coalesce(sum(invocations), 0) FROM daily_costs") == [len(ids)]
        return ids

    def dead(self) -> list[str]:
        """Dead letters."""
        return self.ask("SELECT invocation_id FROM dead_letters")

    def holds(self) -> dict[str, bool]:
        """By hold: whether its outcome is unknown."""
        with closing(sqlite3.connect(self.path)) as connection:
            return {
                row[0]: row[1] == "unknown" for row in connection.execute("SELECT hold_id, state FROM budget_holds")
            }

    def is_let_go_of(self) -> bool:
        """The last connection that closes removes the WAL."""
        return not self.path.with_name(f"{self.path.name}-wal").exists()

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Another connection holds the write lock."""
        with closing(sqlite3.connect(self.path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            yield
            other.execute("ROLLBACK")

    def refuse(self, record_id: str) -> None:
        """A trigger of the file's owner refuses this record."""
        with closing(sqlite3.connect(self.path)) as connection:
            connection.execute(
                f"CREATE TRIGGER t BEFORE INSERT ON invocations WHEN new.invocation_id = '{record_id}'"
                " BEGIN SELECT RAISE(ABORT, 'no'); END"
            )

    @contextmanager
    def phantom(self) -> Iterator[None]:
        """The next commit of a connection that is opened now fails after it is on disk."""
        left = [1]

        class Phantom(OwnConnection):
            def execute(self, sql: str, *parameters: Any) -> sqlite3.Cursor:
                cursor = super().execute(sql, *parameters)
                if sql == "COMMIT" and self.files is not None and left:
                    left.clear()
                    raise OSError(5, "the answer to a commit was lost")
                return cursor

        with mock.patch.object(opening, "OwnConnection", Phantom):
            yield
        assert not left

    @contextmanager
    def failing(self, *errors: Exception) -> Iterator[None]:
        """The next transactions raise these."""
        left = list(errors)

        def first(real: Any) -> Any:
            def call(*args: Any, **options: Any) -> Any:
                if left:
                    raise left.pop(0)
                return real(*args, **options)

            return call

        with ExitStack() as stack:
            for owner, name in ((SqliteSession, "commit"), (SqliteBudgetSession, "serve")):
                stack.enter_context(mock.patch.object(owner, name, first(getattr(owner, name))))
            yield
        assert left == []

    @contextmanager
    def slow(self, commits: threading.Event, go_on: threading.Event) -> Iterator[None]:
        """A commit says that it has begun, and waits."""
        real = SqliteSession.commit

        def commit(session: SqliteSession, batch: Any, **how: Any) -> Any:
            commits.set()
            go_on.wait(30)
            return real(session, batch, **how)

        with mock.patch.object(SqliteSession, "commit", commit):
            yield


Place = InMemory | InSqlite


class Sync:
    """The sync client behind the async client's methods."""

    def __init__(self, logger: TelemetryLogger) -> None:
        self.real = logger
        self.offer = logger.log_invocation_nowait
        self.stats = logger.stats
        self._engine = engine_of(logger)

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.real, {"aclose": "close"}.get(name, name))

        async def call(*args: Any, **options: Any) -> Any:
            return await asyncio.to_thread(method, *args, **options)

        return call

    async def reserve(self, **given: Any) -> Any:
        return await asyncio.to_thread(self.real.budgets.reserve, **given)


class Async:
    """The async client."""

    def __init__(self, logger: AsyncTelemetryLogger) -> None:
        self.real = logger
        self.offer = logger.log_invocation_nowait
        self._engine = engine_of(logger)

    def __getattr__(self, name: str) -> Any:
        if name == "log_invocation":  # as the sync client: committed when it returns
            return partial(self.real.log_invocation, durable=True)
        return getattr(self.real, name)

    async def reserve(self, **given: Any) -> Any:
        return await self.real.budgets.reserve(**given)


@pytest.fixture(params=[InMemory, InSqlite], ids=["memory", "sqlite"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """Where records are stored."""
    made: Place = request.param(tmp_path)
    return made


@pytest.fixture(params=[TelemetryLogger, AsyncTelemetryLogger], ids=["sync", "async"])
def make(request: pytest.FixtureRequest, place: Place, tmp_path: Path) -> Callable[..., Any]:
    """Make a client of this store."""
    face = type("Face", (request.param,), {"_make_store": staticmethod(place.make_store)})

    def of(**options: Any) -> Any:
        logger = face(tmp_path / "telemetry.db", models=False, **(QUIET | options))
        return Sync(logger) if request.param is TelemetryLogger else Async(logger)

    return of


def record(name: str, **fields: Any) -> InvocationRecord:
    """A record with this id."""
    values: dict[str, Any] = {"agent_name": "a", "cost_usd": 0.25, "total_tokens": 3}
    return InvocationRecord(invocation_id=name, **(values | fields))


async def opened(make: Callable[..., Any], **options: Any) -> Any:
    """A client that has stored one record."""
    telemetry = make(**options)
    await telemetry.log_invocation(record("first"))
    return telemetry


def dropped(telemetry: Any) -> dict[DropReason, int]:
    """What was lost, and why; the ledger adds up."""
    ledger = telemetry.stats().ledger
    assert ledger.balanced
    return {reason: count for reason, count in ledger.dropped.items() if count}


async def test_the_ledger_is_exact_under_threads_and_duplicates(make: Callable[..., Any], place: Place) -> None:
    """Every record handed over is written, or counted as stored already."""
    telemetry = make()

    def log(half: int) -> None:
        for number in range(200):
            telemetry.offer(record(f"{half}-{number}" if number % 2 else f"both-{number}"))

    threads = [threading.Thread(target=log, args=(half,)) for half in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        await asyncio.to_thread(thread.join)
    assert (await telemetry.flush()).complete
    ledger = telemetry.stats().ledger
    assert (ledger.submitted, ledger.written, ledger.duplicates, ledger.pending) == (400, 300, 100, 0)
    assert ledger.balanced
    await telemetry.aclose()
    assert len(place.ids()) == 300


async def test_records_are_stored_in_batches_and_in_order(make: Callable[..., Any], place: Place) -> None:
    """Many to a transaction."""
    telemetry = make(flush_interval=60.0)
    names = [f"r{number}" for number in range(700)]
    for name in names:
        assert telemetry.offer(record(name))
    assert (await telemetry.flush()).complete
    assert telemetry.stats().ledger.written == 700
    assert telemetry.stats().transactions < 20
    await telemetry.aclose()
    assert place.ids() == names


async def test_a_duplicate_is_an_error_of_whoever_waits_and_changes_nothing(
    make: Callable[..., Any], place: Place
) -> None:
    """Within one batch, and of what was stored before."""
    telemetry = await opened(make)
    with pytest.raises(DuplicateInvocationError):
        await telemetry.log_invocation(record("first", cost_usd=9.0))
    telemetry.offer(record("twice"))
    telemetry.offer(record("twice"))
    flushed = await telemetry.flush()
    assert (flushed.written, flushed.duplicates) == (1, 1)
    await telemetry.aclose()
    assert place.ids() == ["first", "twice"]


async def test_a_store_that_is_locked_is_tried_again_and_loses_nothing(make: Callable[..., Any], place: Place) -> None:
    """Records wait meanwhile, and whoever flushes with a timeout learns the truth."""
    heard: list[Event] = []
    telemetry = await opened(make, on_event=heard.append)
    with place.locked():
        for number in range(50):
            assert telemetry.offer(record(f"r{number}"))
        flushed = await telemetry.flush(1.0)
        assert not flushed.complete
        assert (flushed.written, telemetry.stats().ledger.pending) == (0, 50)
        assert telemetry.stats().failing
        assert telemetry.stats().retries > 0
    assert (await telemetry.flush()).complete
    await telemetry.aclose()
    assert not telemetry.stats().failing
    assert len(place.ids()) == 51
    kinds = [event.kind for event in heard]  # how often it is told depends on how many tries there were
    assert set(kinds) == {EventKind.STORE_FAILING, EventKind.STORE_RECOVERED}
    assert kinds[-1] is EventKind.STORE_RECOVERED


async def test_whoever_waits_for_a_locked_store_waits_for_so_long_and_the_record_stays_queued(
    make: Callable[..., Any], place: Place
) -> None:
    """It is stored when the lock is gone."""
    telemetry = await opened(make, commit_timeout=0.3)
    with place.locked(), pytest.raises(CommitTimeoutError):
        await telemetry.log_invocation(record("late"))
    assert (await telemetry.flush(20.0)).complete
    await telemetry.aclose()
    assert place.ids() == ["first", "late"]


async def test_a_commit_that_failed_and_is_stored_is_not_done_again(make: Callable[..., Any], place: Place) -> None:
    """The receipt tells: no record of ours counts as a duplicate."""
    with place.phantom():
        telemetry = make()
        for number in range(5):
            telemetry.offer(record(f"r{number}"))
        assert (await telemetry.flush()).complete
    ledger = telemetry.stats().ledger
    assert (ledger.written, ledger.duplicates) == (5, 0)
    assert telemetry.stats().retries == 1
    await telemetry.aclose()
    assert place.ids() == [f"r{number}" for number in range(5)]


async def test_a_record_that_is_refused_costs_no_neighbour(make: Callable[..., Any], place: Place) -> None:
    """It is a dead letter."""
    telemetry = await opened(make)
    place.refuse("poison")
    for name in ("before", "poison", "after"):
        telemetry.offer(record(name))
    flushed = await telemetry.flush()
    assert (flushed.written, flushed.quarantined) == (2, 1)
    place.refuse("worse") if isinstance(place, InMemory) else None
    with pytest.raises(RecordQuarantinedError):
        await telemetry.log_invocation(record("worse" if isinstance(place, InMemory) else "poison"))
    await telemetry.aclose()
    assert place.ids() == ["first", "before", "after"]
    assert place.dead()[0] == "poison"
    assert len(place.dead()) == 2


async def test_a_bug_costs_one_batch_and_not_the_writer(make: Callable[..., Any], place: Place) -> None:
    """It is dropped after five tries, counted, and told with its cause."""
    heard: list[Event] = []
    telemetry = await opened(make, on_event=heard.append)
    with place.failing(*[KeyError("a bug")] * 5):
        telemetry.offer(record("lost"))
        assert (await telemetry.flush()).complete
    await telemetry.log_invocation(record("kept"))
    assert dropped(telemetry) == {DropReason.STORE_FAILED: 1}
    await telemetry.aclose()
    assert place.ids() == ["first", "kept"]
    assert EventKind.WRITER_FAILED in {event.kind for event in heard}


async def test_a_store_that_cannot_be_used_at_all_ends_the_trying(make: Callable[..., Any], place: Place) -> None:
    """What waits and what comes is counted as lost, and the reason is given."""
    telemetry = await opened(make)
    unusable = DatabaseUnusableError("somebody else's", Path("/nowhere"))
    with place.failing(unusable):
        telemetry.offer(record("lost"))
        assert (await telemetry.flush()).complete
    assert not telemetry.offer(record("refused"))
    with pytest.raises(RecordDroppedError) as caught:
        await telemetry.log_invocation(record("refused too"))
    assert caught.value.__cause__ is unusable
    assert dropped(telemetry) == {DropReason.STORE_FAILED: 3}
    await telemetry.aclose()
    assert place.ids() == ["first"]


async def test_a_close_stores_what_was_accepted_and_lets_go_of_the_store(
    make: Callable[..., Any], place: Place
) -> None:
    """What comes after it is refused and counted; a second close changes nothing."""
    telemetry = make(flush_interval=60.0)
    for number in range(30):
        assert telemetry.offer(record(f"r{number}"))
    assert (await telemetry.aclose()).complete
    assert place.is_let_go_of()
    assert not telemetry.offer(record("late"))
    assert (await telemetry.aclose()).complete
    assert dropped(telemetry) == {DropReason.CLOSED: 1}
    assert len(place.ids()) == 30


async def test_a_close_of_a_locked_store_ends_in_time_and_counts_what_is_lost(
    make: Callable[..., Any], place: Place
) -> None:
    """Nothing is silently gone."""
    telemetry = await opened(make)
    with place.locked():
        for number in range(7):
            telemetry.offer(record(f"r{number}"))
        closed = await telemetry.aclose(0.3)
        assert closed.dropped == {DropReason.SHUTDOWN: 7}
    assert dropped(telemetry) == {DropReason.SHUTDOWN: 7}
    assert place.ids() == ["first"]


@pytest.mark.parametrize("overflow", ["drop_newest", "drop_oldest", "block"])
async def test_what_a_full_queue_costs_is_counted(make: Callable[..., Any], place: Place, overflow: str) -> None:
    """While the store is locked: by the policy, and no more than that. A batch in flight is never dropped."""
    telemetry = await opened(make, queue_max_records=10, overflow=overflow, flush_interval=60.0, batch_size=100)
    with place.locked():
        accepted = [number for number in range(15) if telemetry.offer(record(f"r{number}"))]
        assert dropped(telemetry) == {DropReason.QUEUE_FULL: 5}
        assert telemetry.stats().ledger.pending == 10
    assert overflow == "drop_oldest" or accepted == list(range(10))
    assert (await telemetry.flush()).complete
    await telemetry.aclose()
    stored = place.ids()
    assert len(stored) == 11
    assert {name for name in stored if name != "first"} <= {f"r{number}" for number in accepted}


async def test_a_full_queue_takes_whoever_waits_once_the_store_answers(make: Callable[..., Any], place: Place) -> None:
    """With `block`: a call makes room, or waits for it."""
    telemetry = await opened(make, queue_max_records=3, overflow="block", block_timeout=20.0)
    await asyncio.gather(*(telemetry.log_invocation(record(f"r{number}")) for number in range(20)))
    await telemetry.aclose()
    assert set(place.ids()) == {"first", *(f"r{number}" for number in range(20))}
    assert dropped(telemetry) == {}


async def test_a_call_that_is_cancelled_in_a_commit_loses_nothing(make: Callable[..., Any], place: Place) -> None:
    """The wait is abandoned, the record is not, and the writer goes on."""
    telemetry = await opened(make)
    begun, go_on = threading.Event(), threading.Event()
    with place.slow(begun, go_on):
        call = asyncio.create_task(telemetry.log_invocation(record("cancelled")))
        assert await asyncio.to_thread(begun.wait, 30)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        go_on.set()
        await telemetry.log_invocation(record("next"))
    await telemetry.aclose()
    assert place.ids() == ["first", "cancelled", "next"]


def test_two_event_loops_one_after_the_other(make: Callable[..., Any], place: Place) -> None:
    """Each has a writer; what the first left is stored by its end."""
    telemetry = make(flush_interval=60.0)

    async def one(name: str) -> None:
        telemetry.offer(record(f"{name} nowait"))
        await telemetry.log_invocation(record(name))
        telemetry.offer(record(f"{name} left"))

    asyncio.run(one("a"))
    asyncio.run(one("b"))
    assert asyncio.run(telemetry.aclose()).complete
    assert place.ids() == ["a nowait", "a", "a left", "b nowait", "b", "b left"]
    assert dropped(telemetry) == {}


async def test_what_a_dead_process_left_in_its_journal_is_stored_once(
    make: Callable[..., Any], place: Place, tmp_path: Path
) -> None:
    """Its records come first, under its own privacy level; what its receipt covers is not stored again."""
    journal = CrashJournal(tmp_path / "telemetry.db", 1 << 20, "metadata")
    journal.begin("0d523cae-1d87-4dad-941f-c0f5f629fa3c")
    for number in range(300):
        assert journal.append(journal.encode(record(f"left-{number}")), Slot())
    journal.close()
    for _ in range(2):
        telemetry = make()
        telemetry.offer(record("mine"))
        await telemetry.flush()
        replayed = telemetry.stats().replayed
        await telemetry.aclose()
    assert replayed == 0
    assert place.ids() == [*(f"left-{number}" for number in range(300)), "mine"]


async def test_a_purge_deletes_what_is_old_and_nothing_else(make: Callable[..., Any], place: Place) -> None:
    """By whole UTC days."""
    telemetry = make()
    telemetry.offer(record("old", timestamp=datetime.now(UTC) - timedelta(days=9)))
    telemetry.offer(record("new"))
    assert (await telemetry.flush()).written == 2
    purged = await telemetry.purge(3)
    assert (purged.records, purged.complete) == (1, True)
    assert telemetry.stats().purged == 1
    await telemetry.aclose()
    stored = place.ids() if isinstance(place, InMemory) else place.ask("SELECT invocation_id FROM invocations")
    assert stored == ["new"]


# Budgets


async def test_a_reservation_is_refused_where_it_does_not_fit_and_ends_with_its_record(
    make: Callable[..., Any], place: Place
) -> None:
    """What was reserved is free again once what was spent is known."""
    telemetry = make(policies=policies(default={"total_budget_usd": 1}))
    hold = await telemetry.reserve(usd=0.6, agent_name="a")
    with pytest.raises(BudgetExceeded) as caught:
        await telemetry.reserve(usd=0.5, agent_name="a")
    assert (float(caught.value.reserved), float(caught.value.spent)) == (0.6, 0.0)
    assert place.holds() == {hold.hold_id: False}
    core_of(hold).settle_soon(record("call", cost_usd=0.25))
    assert (await telemetry.flush()).complete
    assert place.holds() == {}
    assert engine_of(telemetry).store.hold_ids == {}
    core_of(await telemetry.reserve(usd=0.75, agent_name="a")).end_later(None)
    await telemetry.aclose()
    assert list(place.holds().values()) == [True]
    assert place.ids() == ["call"]


async def test_budgets_try_a_failing_store_again_and_do_each_thing_once(make: Callable[..., Any], place: Place) -> None:
    """A reservation whose commit is stored although it failed is found; a bug is told at once."""
    telemetry = make(policies=policies(default={"total_budget_usd": 1}))
    await telemetry.log_invocation(record("first", cost_usd=0))
    with place.failing(*[OSError(5, "no answer")] * 3):
        await telemetry.reserve(usd=0.1)
    with place.failing(KeyError("a bug")), pytest.raises(StoreError, match="a bug"):
        await telemetry.reserve(usd=0.1)
    await telemetry.aclose()
    assert len(place.holds()) == 1


async def test_budgets_of_a_locked_store_answer_in_time(make: Callable[..., Any], place: Place) -> None:
    """A record that should settle is queued, and ends its hold when it is stored."""
    telemetry = make(policies=policies(default={"total_budget_usd": 1}), commit_timeout=0.3)
    hold = await telemetry.reserve(usd=0.6)
    await telemetry.flush(20.0)
    with place.locked():
        with pytest.raises(CommitTimeoutError):
            await telemetry.reserve(usd=0.1)
        settling: Any = (
            hold.settle if asyncio.iscoroutinefunction(hold.settle) else partial(asyncio.to_thread, hold.settle)
        )
        with pytest.raises(CommitTimeoutError):
            await settling(record("call"))
    assert (await telemetry.flush(20.0)).complete
    await telemetry.aclose()
    assert place.ids() == ["call"]
    assert place.holds() == {}
