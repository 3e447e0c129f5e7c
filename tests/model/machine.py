"""A model of what becomes of records, in some fifty lines, and the machine that drives the real engine beside it."""

import asyncio
import sqlite3
import tempfile
from collections import Counter, deque
from contextvars import ContextVar
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from tests.inside import engine_of
from tests.model.stage import Stage, stored_ids

from llm_service.telemetry import AsyncTelemetryLogger, CommitTimeoutError, InvocationRecord, StoreError
from llm_service.telemetry.record.record import CARD_FIELDS, CONTENT_FIELDS, EXTENSION_FIELDS, _restore
from llm_service.telemetry.writer.ledger import DropReason, FlushResult

LIMIT = 5
POISON = 2**70
FOLLOWED: ContextVar[list[int]] = ContextVar("followed")
"""What a close follows: its work runs in a task of its own."""
SETTLED = ("written", "duplicates", "quarantined")


class Waits:
    """A record that came in."""

    def __init__(self, ticket: int, record: InvocationRecord, *, awaited: bool) -> None:
        self.ticket, self.record, self.awaited = ticket, record, awaited
        self.id = record.card[0]
        self.is_poison = record.card[CARD_FIELDS.index("prompt_tokens")] == POISON


class Model:
    """Who waits, who is on disk, and the count of everyone else. Records are settled in their order, from the head."""

    def __init__(self, overflow: str) -> None:
        self.overflow = overflow
        self.waiting: deque[Waits] = deque()
        self.disk: list[str] = []
        self.counts: Counter[str] = Counter()
        self.fates: dict[int, str] = {}
        self.tickets: dict[int, int] = {}  # of each record that came in, by the object
        self.last_ticket = 0
        self.in_flight = 0
        self.closed = False

    def offer(self, record: InvocationRecord, *, awaited: bool) -> str | None:
        """Take a record in; the reason why not, else None."""
        if self.closed:
            return "closed"
        if len(self.waiting) >= LIMIT and self.overflow == "drop_oldest":
            victim = next(
                (one for at, one in enumerate(self.waiting) if at >= self.in_flight and not one.awaited), None
            )
            if victim is not None:
                self.waiting.remove(victim)
                self._settle(victim, "queue_full")
        if len(self.waiting) >= LIMIT:
            return "queue_full"
        self.last_ticket += 1
        self.tickets[id(record)] = self.last_ticket
        self.waiting.append(Waits(self.last_ticket, record, awaited=awaited))
        return None

    def tickets_waiting(self) -> list[int]:
        """Who waits now."""
        return [one.ticket for one in self.waiting]

    def commit(self, records: int) -> None:
        """The oldest records have been committed: say what each has become."""
        for _ in range(records):
            one = self.waiting.popleft()
            fate = "quarantined" if one.is_poison else "duplicates" if one.id in self.disk else "written"
            if fate == "written":
                self.disk.append(one.id)
            self._settle(one, fate)
        self.in_flight = 0

    def lose(self, records: int, reason: str) -> None:
        """So many of those that wait are given up: all of them, or all but those in flight."""
        keep = len(self.waiting) - records
        for one in list(self.waiting)[keep:]:
            self.waiting.remove(one)
            self._settle(one, reason)

    def _settle(self, one: "Waits", fate: str) -> None:
        self.fates[one.ticket] = fate
        self.counts[fate] += 1

    def would_write(self, records: int) -> list[str]:
        """What the oldest records would add to the disk."""
        added: list[str] = []
        for one in list(self.waiting)[:records]:
            if not one.is_poison and one.id not in self.disk and one.id not in added:
                added.append(one.id)
        return added


class EngineBesideModel(RuleBasedStateMachine):
    """Rules move the caller, the loop, the writer thread, the clock and the disk; after each, both sides must agree.

    Attributes:
        seen: what happened in all lives together, for the soak's figures.
    """

    seen: ClassVar[Counter[str]] = Counter()

    @initialize(
        overflow=st.sampled_from(["block", "drop_newest", "drop_oldest"]), batch_size=st.sampled_from([1, 3, 256])
    )
    def begin(self, overflow: str, batch_size: int) -> None:
        """A new folder, a new logger."""
        self.stage = Stage()
        self.folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        self.db = Path(self.folder.name) / "telemetry.db"
        self.options: dict[str, Any] = {
            "overflow": overflow, "batch_size": batch_size, "queue_max_records": LIMIT, "flush_interval": 0.2,
            "block_timeout": 1.0, "commit_timeout": 3.0, "close_timeout": 2.0,
        }  # fmt: skip
        self.holder: sqlite3.Connection | None = None
        self.day = datetime(2026, 11, 24, 12, tzinfo=UTC)
        self.numbers = 0
        self.made: list[InvocationRecord] = []
        self.phantom: list[str] = []
        self.odd_phantom = False
        self.stage.disk.on_phantom = self.see_phantom
        self.tasks: list[asyncio.Task[Any]] = []
        self.open_logger()

    def open_logger(self) -> None:
        """A new engine on the same file, which tells the model of each record that comes to its door."""
        disk = self.model.disk if hasattr(self, "model") else []
        self.seen["loggers"] += 1
        self.model = model = Model(self.options["overflow"])
        model.disk = disk
        self.logger = AsyncTelemetryLogger(
            self.db, retention_days=None, **self.options
        )  # retention has tests of its own
        self.engine = engine = engine_of(self.logger)
        engine.queue._clock = self.stage.clock
        accept, refuse_one, begin_close = engine.queue.accept, engine.queue.refuse_one, engine.shutdown.begin_close

        def accept_beside(record: InvocationRecord, waiter: Any, *, wake: bool = True) -> DropReason | None:
            self.agree()
            refused = model.offer(record, awaited=waiter is not None)
            reason = accept(record, waiter, wake=wake)
            assert (None if reason is None else reason.value) == refused
            return reason

        def refuse_beside(reason: DropReason) -> None:
            refuse_one(reason)
            model.counts[reason.value] += 1

        def begin_close_beside(waiter: Any = None) -> Any:
            self.agree()
            FOLLOWED.get().extend(model.tickets_waiting())
            model.closed = True
            return begin_close(waiter)

        engine.queue.accept = accept_beside  # type: ignore[method-assign]
        engine.queue.refuse_one = refuse_beside  # type: ignore[method-assign]
        engine.shutdown.begin_close = begin_close_beside  # type: ignore[method-assign]

    # What callers do

    def make(self, kind: str) -> InvocationRecord:
        """A record: a new one, one whose id was used, or one that SQLite refuses."""
        self.numbers += kind != "again"
        number = max(1, self.numbers - 3) if kind == "again" else self.numbers
        record = InvocationRecord(
            invocation_id=f"r{number}", agent_name="agent", timestamp=self.day, latency_ms=5, provider="p"
        )
        if kind != "poison":
            self.made.append(record)  # alive, so that the object stands for the record
            return record
        assert record.extensions is not None
        card = tuple(POISON if f == "prompt_tokens" else v for f, v in zip(CARD_FIELDS, record.card, strict=True))
        names = (*EXTENSION_FIELDS, *CONTENT_FIELDS)
        self.made.append(_restore(card, tuple(v for _, v in zip(names, record.extensions, strict=True)), record.size))
        return self.made[-1]

    @rule(kind=st.sampled_from(["new", "new", "new", "again", "poison"]), times=st.integers(1, 4), inside=st.booleans())
    def log_nowait(self, kind: str, times: int, inside: bool) -> None:
        """`log_invocation_nowait`, on the loop or outside any: True says that it waits."""
        self.use_an_open_logger()

        def call() -> None:
            for _ in range(times):
                record = self.make(kind)
                accepted = self.logger.log_invocation_nowait(record)
                assert accepted == (id(record) in self.model.tickets)

        async def on_the_loop() -> None:
            call()

        if inside:
            self.spawn(on_the_loop())
        else:
            call()

    @rule(durable=st.booleans(), kind=st.sampled_from(["new", "new", "again", "poison"]))
    def log(self, durable: bool, kind: str) -> None:
        """`await log_invocation`: what it returns or raises is what the model says of its record."""
        self.use_an_open_logger()
        record, model, logger = self.make(kind), self.model, self.logger

        async def call() -> None:
            try:
                result = await logger.log_invocation(record, durable=durable)
            except CommitTimeoutError:
                assert durable  # its fate is open
                return
            except StoreError:
                result = False
            if logger is self.logger:
                self.agree()
            ticket = model.tickets.get(id(record))
            if durable:
                assert result == (ticket is not None and model.fates[ticket] == "written")
            else:
                assert result == (ticket is not None)

        self.spawn(call())

    @rule(timeout=st.sampled_from([0.0, 0.1, 5.0]))
    def flush(self, timeout: float) -> None:
        """`await flush`: its result is the truth about what was pending when it was called."""
        model, logger = self.model, self.logger

        async def call() -> None:
            self.agree()
            followed = model.tickets_waiting()
            self.compare(model, followed, await logger.flush(timeout))

        self.spawn(call())

    @rule(timeout=st.sampled_from([0.0, 0.3, 5.0, 5.0]))
    def close(self, timeout: float) -> None:
        """`await aclose`: the same truth, and nothing is let in from then on."""
        model, logger = self.model, self.logger

        async def call() -> None:
            followed: list[int] = []
            FOLLOWED.set(followed)
            self.compare(model, followed, await logger.aclose(timeout))
            stats = logger.stats()
            assert (stats.closed, stats.ledger.pending) == (True, 0)

        self.spawn(call())

    def compare(self, model: Model, followed: list[int], result: FlushResult) -> None:
        """A barrier's result is what the model says of the same records."""
        if model is self.model:
            self.agree()
        fates = Counter(model.fates.get(ticket, "pending") for ticket in followed)
        assert (result.written, result.duplicates, result.quarantined, result.pending) == (
            fates.pop("written", 0), fates.pop("duplicates", 0), fates.pop("quarantined", 0), fates.pop("pending", 0)
        )  # fmt: skip
        assert {reason.value: count for reason, count in result.dropped.items()} == dict(fates)

    def spawn(self, call: Any) -> None:
        """Start a caller's task; it takes its first step at the loop's next turn."""
        self.tasks.append(self.stage.loop.create_task(call))

    @precondition(lambda self: self.tasks)
    @rule(which=st.integers(0, 20))
    def cancel(self, which: int) -> None:
        """Cancel a caller, wherever it waits."""
        self.tasks[which % len(self.tasks)].cancel()

    def use_an_open_logger(self) -> None:
        """Two of three times a closed logger is followed by the next one on the same file."""
        if self.logger.stats().closed and self.numbers % 3:
            self.finish_tasks()
            self.open_logger()
        self.numbers += 1

    @rule()
    def another_loop(self) -> None:
        """`asyncio.run` ends and another begins; the logger stays."""
        self.stage.end_loop()
        self.finish_tasks()

    # What the machine does

    @rule(turns=st.integers(1, 4))
    def loop_turns(self, turns: int) -> None:
        """The loop goes on."""
        for _ in range(turns):
            self.stage.turn()
            self.agree()

    @rule()
    def thread_works(self) -> None:
        """The writer thread does one job: opens, commits, tidies or closes."""
        self.stage.run_job()

    @rule(turns=st.integers(4, 16), step=st.sampled_from([0.0, 0.01, 0.1]), healed=st.sampled_from([True, True, False]))
    def everything_goes_on(self, turns: int, step: float, healed: bool) -> None:
        """Loop, thread and time in turns; mostly the faults are over first."""
        if healed:
            self.heal()
        for _ in range(turns):
            self.stage.turn()
            self.agree()
            self.stage.run_job()
            self.agree()
            self.stage.clock.now += step

    @rule(turns=st.integers(1, 6))
    def everything_goes_on_with_its_faults(self, turns: int) -> None:
        """So that retries are met."""
        self.everything_goes_on(turns, 0.02, healed=False)

    def heal(self) -> None:
        """No lock, room on the disk, no fault to come."""
        self.unlock()
        disk = self.stage.disk
        disk.failing, disk.phantoms, disk.full = 0, 0, False

    @rule(seconds=st.sampled_from([0.02, 0.3, 1.5, 11.0]))
    def time_passes(self, seconds: float) -> None:
        """All monotonic clocks."""
        self.stage.clock.now += seconds

    @rule(days=st.sampled_from([-400, -1, 1, 30]))
    def clock_jumps(self, days: int) -> None:
        """The wall clock: records get another day."""
        self.day += timedelta(days=days)

    @rule()
    def lock(self) -> None:
        """Another connection takes the write lock, or gives it back."""
        if self.holder is not None:
            self.unlock()
        elif self.db.exists() and stored_tables(self.db):
            holder = sqlite3.connect(self.db, isolation_level=None, timeout=0)
            try:
                holder.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError:
                holder.close()
            else:
                self.holder = holder

    def unlock(self) -> None:
        """Give the lock back."""
        if self.holder is not None:
            self.holder.execute("ROLLBACK")
            self.holder.close()
            self.holder = None

    @rule(times=st.integers(1, 10), where=st.sampled_from(["BEGIN", "INSERT INTO invocations", "\nINSERT INTO daily",
                                                            "COMMIT", "PRAGMA"]))  # fmt: skip
    def fail(self, times: int, where: str) -> None:
        """The next transactions fail, at a statement of their own."""
        self.stage.disk.failing, self.stage.disk.where = times, where

    @rule(times=st.integers(1, 3), kind=st.sampled_from(["new", "again", "poison"]), turns=st.integers(0, 16))
    def phantom_commits(self, times: int, kind: str, turns: int) -> None:
        """The next commits fail after they are on disk, with something to commit."""
        self.heal()
        self.log_nowait("new", 2, inside=True)
        self.log(durable=True, kind=kind)
        self.stage.disk.phantoms = times
        for _ in range(turns):
            self.stage.turn()
            self.stage.run_job()
            self.agree()

    @rule()
    def disk_full(self) -> None:
        """No page can be added any more; or again."""
        self.stage.disk.full = not self.stage.disk.full

    @precondition(lambda self: self.holder is None)
    @rule()
    def delete_file(self) -> None:
        """Somebody removes all three files: what was in them is gone, and a new file must take over."""
        for suffix in ("", "-wal", "-shm"):
            self.db.with_name(self.db.name + suffix).unlink(missing_ok=True)
        self.model.disk.clear()
        self.phantom = []

    # Agreement

    def agree(self) -> None:
        """Bring the model up to what has happened since, and compare every count."""
        ledger, model = self.logger.stats().ledger, self.model
        assert ledger.balanced
        counts = {name: getattr(ledger, name) for name in SETTLED}
        settled = sum(counts.values()) - sum(model.counts[name] for name in SETTLED)
        if settled:
            model.commit(settled)
            self.seen["commits"] += 1
            self.phantom = []
        for reason, count in ledger.dropped.items():
            if reason.value in {"shutdown", "store_failed"}:
                model.lose(count - model.counts[reason.value], reason.value)
        batch = self.engine.queue._in_flight  # all that the model is told: the size of a batch whose commit failed
        model.in_flight = 0 if batch is None else len(batch.entries)
        if not model.in_flight:
            # Given up, and on disk all the same: it is said to be lost, which is the safe side.
            model.disk += self.phantom
            self.phantom = []
        assert counts == {name: model.counts[name] for name in SETTLED}
        assert ledger.pending == len(model.waiting)

    def see_phantom(self) -> None:
        """A commit is on disk and about to fail: exactly the batch in flight, whole (or only the tables)."""
        self.agree()
        found = stored_ids(self.db)
        self.phantom = found[len(self.model.disk) :]
        self.odd_phantom = bool(self.phantom) and self.phantom != self.model.would_write(self.model.in_flight)
        self.seen["phantom commits"] += bool(self.phantom)

    @invariant()
    def engine_and_file_agree_with_the_model(self) -> None:
        """After every step: the ledger, each reason, the bound, and the file row by row."""
        if not hasattr(self, "model"):
            return
        self.finish_tasks(wait=False)
        self.agree()
        assert not self.odd_phantom  # not raised where it is seen: the engine would outlive it
        dropped = {reason.value: count for reason, count in self.logger.stats().ledger.dropped.items()}
        assert dropped == {name: count for name, count in self.model.counts.items() if name not in SETTLED and count}
        assert self.engine.queue.qsize() <= LIMIT
        assert stored_ids(self.db) == self.model.disk + self.phantom
        self.seen["steps"] += 1

    def finish_tasks(self, *, wait: bool = True) -> None:
        """A caller's assertion fails the step in which it ends."""
        for task in [task for task in self.tasks if task.done()]:
            self.tasks.remove(task)
            try:
                task.result()
                self.seen["calls completed"] += 1
            except asyncio.CancelledError:
                self.seen["calls cancelled"] += 1
        if wait:
            self.stage.run_out(lambda: all(task.done() for task in self.tasks))
            self.finish_tasks(wait=False)

    def teardown(self) -> None:
        """With the faults gone, everything comes to its end: written, or counted."""
        if not hasattr(self, "model"):
            return
        try:
            self.heal()
            self.agree()
            self.close(5.0)
            self.finish_tasks()
            self.engine_and_file_agree_with_the_model()
            stats = self.logger.stats()
            self.seen["retries of the last loggers"] += stats.retries
            self.seen.update(self.model.counts)
            assert stats.closed
            assert stats.ledger.balanced
            assert stats.ledger.pending == 0
            self.seen["lives"] += 1
            assert not [thread for thread in self.stage.threads if thread.is_alive()]
        finally:
            self.stage.close()
            self.folder.cleanup()


def stored_tables(path: Path) -> bool:
    """Whether the file has its tables."""
    reader = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, isolation_level=None)
    try:
        return bool(reader.execute("SELECT count(*) FROM sqlite_master").fetchone()[0])
    except sqlite3.OperationalError:
        return False
    finally:
        reader.close()
