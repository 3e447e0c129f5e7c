"""A store in memory: what `stores.base` asks of a store, in dicts, without SQLite. It can be told to fail.

`Memory` stands for the file or the server: it outlives its stores, as those of several loggers, one after the other.
Windows of its budgets never end, and it answers no question in SQL.
"""

import asyncio
import threading
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager, suppress
from copy import copy
from dataclasses import dataclass, field
from errno import EIO
from pathlib import Path
from typing import Any, NoReturn

from llm_service.budgets.limits import Amounts, Totals, standing
from llm_service.budgets.scopes import Counter as BudgetCounter
from llm_service.budgets.scopes import CounterKey
from llm_service.config.settings import PrivacyLevel, Settings
from llm_service.errors import DatabaseUnusableError, DuplicateInvocationError, StoreError, TelemetryError
from llm_service.telemetry.privacy import Redactor
from llm_service.telemetry.record.record import InvocationRecord
from llm_service.telemetry.record.timestamps import microseconds_text
from llm_service.telemetry.stores.base import Fault, Fetch, StoreParts, WriteResult
from llm_service.telemetry.stores.budget_requests import (
    BudgetRequest,
    EndHold,
    PriceCall,
    ReservationPlan,
    call_of,
    exceeded,
)
from llm_service.telemetry.stores.retention import Belief, Cutoffs, PurgeResult
from llm_service.telemetry.stores.rollups import nanos

Place = tuple[CounterKey, str]


def parts(db_path: Path, **given: Any) -> StoreParts:
    """What a logger with this path gives its store."""
    settings = Settings(db_path=db_path, privacy_level="full")
    made: dict[str, Any] = {
        "settings": settings, "writer_id": "writer", "redactor": Redactor("full"), "prices": None, "policies": None,
        "on_threshold": lambda _event: None, "tell": lambda _event, _count, _message: None,
    }  # fmt: skip
    return StoreParts(**(made | given))


class LockedError(OSError):
    """Another writer is at it."""


@dataclass(slots=True)
class Hold:
    """What is reserved for a call, in which windows, and whether its outcome is unknown."""

    amounts: Amounts
    places: list[Place]
    is_unknown: bool = False


@dataclass(slots=True)
class Rows:
    """What is committed; replaced as a whole by each commit."""

    records: dict[str, InvocationRecord] = field(default_factory=dict)
    dead: list[str] = field(default_factory=list)
    receipts: dict[str, int] = field(default_factory=dict)
    holds: dict[str, Hold] = field(default_factory=dict)
    windows: dict[Place, Totals] = field(default_factory=dict)

    def copied(self) -> "Rows":
        """What a transaction changes."""
        holds = {name: copy(hold) for name, hold in self.holds.items()}
        return Rows(dict(self.records), list(self.dead), dict(self.receipts), holds, dict(self.windows))


class Memory:
    """What is stored, and what goes wrong.

    Attributes:
        rows: what is committed.
        locked: whether another writer is at it.
        failures: raised by the next transactions, before anything is written.
        phantoms: so many commits fail after they are stored.
        refused: ids of records that it does not take.
        sessions: how many are open.
    """

    def __init__(self) -> None:
        self.rows = Rows()
        self.lock = threading.Lock()
        self.locked = False
        self.failures: list[Exception] = []
        self.phantoms = 0
        self.refused: set[str] = set()
        self.sessions = 0

    def commit(self, change: Callable[[Rows], None]) -> None:
        """All of the change or nothing."""
        with self.lock:
            self.check()
            rows = self.rows.copied()
            change(rows)
            self.rows = rows
            if self.phantoms:
                self.phantoms -= 1
                raise OSError(EIO, "the answer to a commit was lost")

    def check(self) -> None:
        """Fail where it is to fail."""
        if self.failures:
            raise self.failures.pop(0)
        if self.locked:
            raise LockedError("another writer is at it")


class Upkeep:
    """There is nothing to do but what others want done in an idle moment."""

    bytes = 0
    is_behind = False
    due_in: float | None = None

    def want(self) -> None:
        """See `base.Upkeep`."""
        self.due_in = 0.0


class Worker:
    """A thread for one long job."""

    def __init__(self, launch: Callable[[threading.Thread], object]) -> None:
        self._launch = launch
        self._thread = threading.Thread(daemon=True)

    def drive(self, turn: Callable[[], bool], ended: Callable[[], None]) -> "asyncio.Future[None]":
        """See `base.Worker`."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()

        def job() -> None:
            while turn():
                pass
            ended()
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(lambda: future.done() or future.set_result(None))

        self._thread = threading.Thread(target=job, name="llm-telemetry-writer", daemon=True)
        self._launch(self._thread)
        return future

    def join(self, timeout: float) -> bool:
        """See `base.Worker`."""
        if self._thread.ident is not None:
            self._thread.join(timeout)
        return not self._thread.is_alive()


class MemoryPurge:
    """Deletes all at once, in its one step."""

    def __init__(self, cutoffs: Cutoffs) -> None:
        self.cutoffs = cutoffs
        self.records = self.contents = 0
        self.held = self.stuck = self.done = False

    def result(self, *, complete: bool = True) -> PurgeResult:
        """See `base.Purge`."""
        return PurgeResult(records=self.records, records_kept_since=self.cutoffs.records, complete=complete)


class MemorySession:
    """A `Session` and a `BudgetSession`."""

    def __init__(self, store: "MemoryStore", writer_id: str, redactor: Redactor) -> None:
        self._store = store
        self._memory = store.memory
        self._writer_id = writer_id
        self._redactor = redactor
        self._together: list[BudgetRequest] = []
        self._batches = 0
        self.is_open = False
        self.looks_back = False

    def open(self) -> None:
        """See `base.Session`."""
        if not self.is_open:
            self._memory.check()
            self.is_open = True
            self._memory.sessions += 1

    def close(self) -> None:
        """See `base.Session`."""
        self._memory.sessions -= self.is_open
        self.is_open = False

    def maintain(self) -> None:
        """See `base.Session`."""

    def look_back(self) -> None:
        """See `base.BudgetSession`."""

    def tidy(self) -> None:
        """See `base.Session`."""
        self._store.upkeep.due_in = None

    def commit(
        self, batch: Sequence[InvocationRecord], *, batch_no: int, durable: bool, slice_rows: int
    ) -> WriteResult:
        """See `base.Session`."""
        assert self.is_open
        assert slice_rows > 0
        assert isinstance(durable, bool)
        return self._write(batch, self._writer_id, batch_no, self._redactor)

    def restore(
        self, batch: Sequence[InvocationRecord], *, writer_id: str, batch_no: int, ceiling: PrivacyLevel
    ) -> WriteResult:
        """See `base.Session`."""
        return self._write(batch, writer_id, batch_no, Redactor(ceiling))

    def receipt(self, writer_id: str) -> int:
        """See `base.Session`."""
        return self._memory.rows.receipts.get(writer_id, 0)

    def serve(self, requests: Sequence[BudgetRequest]) -> WriteResult:
        """See `base.BudgetSession`."""
        recording = [request for request in requests if request.record is not None]
        if recording != self._together:
            self._together, self._batches = recording, self._batches + 1

        def work(rows: Rows) -> None:
            for request in requests:
                try:
                    if request.work is not None:
                        request.error = None
                        request.outcome = self._do(rows, request)
                except TelemetryError as refusal:
                    request.error = refusal

        records = [request.record for request in recording if request.record is not None]
        return self._write(records, self._writer_id, self._batches, self._redactor, work)

    def _write(
        self,
        batch: Sequence[InvocationRecord],
        writer_id: str,
        batch_no: int,
        redactor: Redactor,
        within: Callable[[Rows], None] = lambda _rows: None,
    ) -> WriteResult:
        counts: Counter[str] = Counter()
        cleaned = redactor.records(batch, counts)
        duplicates, quarantined = set[int](), set[int]()

        def change(rows: Rows) -> None:
            for position, record in enumerate(cleaned):
                if record.invocation_id in rows.records:
                    duplicates.add(position)
                elif record.invocation_id in self._memory.refused:
                    quarantined.add(position)
                    rows.dead.append(record.invocation_id)
                else:
                    rows.records[record.invocation_id] = record
                    self._charge(rows, record)
            within(rows)
            if batch:
                rows.receipts[writer_id] = batch_no
                self._store.tried[writer_id] = (
                    batch_no, WriteResult(frozenset(duplicates), frozenset(quarantined), dict(counts)),
                )  # fmt: skip

        tried = self._store.tried.get(writer_id)
        if not (batch and tried and tried[0] == batch_no == self.receipt(writer_id)):
            self._memory.commit(change)
        for record in batch:
            self._store.hold_ids.pop(record.invocation_id, None)
        return self._store.tried[writer_id][1] if batch else WriteResult()

    # Budgets

    def _places(self, record_or_plan: InvocationRecord | ReservationPlan) -> list[Place]:
        policies = self._store.parts.policies
        is_plan = isinstance(record_or_plan, ReservationPlan)
        call = record_or_plan.call if is_plan else call_of(record_or_plan)  # type: ignore[union-attr, arg-type]
        keys = () if policies is None else policies.counters
        found = ((key, BudgetCounter(0, key).subject(call)) for key in keys)
        return [(key, subject) for key, subject in found if subject is not None]

    def _do(self, rows: Rows, request: BudgetRequest) -> Any:
        match request.work:
            case ReservationPlan() as plan:
                return self._reserve(rows, plan, again=request.tries > 0)
            case EndHold(hold_id, kept, _):
                hold = rows.holds.get(hold_id)
                if hold is None or (kept is None and hold.is_unknown):
                    return False
                self._end(rows, hold_id, hold.amounts if kept is None else kept)
                return True
            case PriceCall():
                return False  # it keeps no cost that may change
            case _:
                return None

    def _reserve(self, rows: Rows, plan: ReservationPlan, *, again: bool) -> bool:
        if plan.hold_id in rows.holds:
            if again:
                return True
            raise DuplicateInvocationError(plan.hold_id)
        places = self._places(plan)
        sums = {key: (subject, rows.windows.get((key, subject), Totals()), None) for key, subject in places}
        for one in standing([limit for policy in plan.policies for limit in policy.limits], plan.amounts, sums):
            if one.limit.hard and not one.fits:
                raise exceeded(one)
        rows.holds[plan.hold_id] = Hold(plan.amounts, places)
        self._add(rows, places, Totals(reserved=plan.amounts))
        return True

    def _charge(self, rows: Rows, record: InvocationRecord) -> None:
        hold_id = self._store.hold_ids.get(record.invocation_id, record.invocation_id)
        cost = record.cost_usd
        if hold_id in rows.holds:
            kept = rows.holds[hold_id].amounts if cost is None else Amounts()
            self._end(rows, hold_id, Amounts(kept.nanos, 0, 0))
        spent = Amounts(0 if cost is None else nanos(cost), record.total_tokens or 0, 1)
        self._add(rows, self._places(record), Totals(spent=spent))

    def _end(self, rows: Rows, hold_id: str, kept: Amounts) -> None:
        hold = rows.holds.pop(hold_id)
        gone = Amounts().minus(hold.amounts)
        freed = Totals(unknown=gone) if hold.is_unknown else Totals(reserved=gone)
        self._add(rows, hold.places, freed.plus(Totals(unknown=kept)))
        if any(kept):
            rows.holds[hold_id] = Hold(kept, hold.places, is_unknown=True)

    def _add(self, rows: Rows, places: Sequence[Place], change: Totals) -> None:
        for place in places:
            rows.windows[place] = rows.windows.get(place, Totals()).plus(change)

    # Retention

    def believe(self, now_us: int) -> Belief:
        """See `base.Session`."""
        return Belief(now_us)

    def has_old(self, cutoffs: Cutoffs, *, thorough: bool) -> bool:
        """See `base.Session`."""
        assert isinstance(thorough, bool)
        return bool(_old(self._memory.rows, cutoffs))

    def backfill(self, holder: str) -> float | None:
        """See `base.Session`: nothing is ever migrated."""
        assert holder

    def purge(self, purge: Any) -> None:
        """See `base.Session`."""

        def change(rows: Rows) -> None:
            for record_id in _old(rows, purge.cutoffs):
                del rows.records[record_id]
                purge.records += 1

        self._memory.commit(change)
        purge.done = True


def _old(rows: Rows, cutoffs: Cutoffs) -> list[str]:
    until = cutoffs.records or ""
    return [name for name, record in rows.records.items() if microseconds_text(record.card[1]) < until]


class MemoryStore:
    """A `Store`."""

    errors = (OSError,)

    def __init__(self, memory: Memory, given: StoreParts) -> None:
        self.memory = memory
        self.parts = given
        self.upkeep = Upkeep()
        self.hold_ids: dict[str, str] = {}
        self.tried: dict[str, tuple[int, WriteResult]] = {}

    def session(self) -> MemorySession:
        """See `base.Store`."""
        return MemorySession(self, self.parts.writer_id, self.parts.redactor)

    def session_and_worker(self, launch: Callable[[threading.Thread], object]) -> tuple[MemorySession, Worker]:
        """See `base.Store`."""
        return self.session(), Worker(launch)

    def budget_session(self) -> MemorySession:
        """See `base.Store`."""
        return MemorySession(self, f"{self.parts.writer_id}:budgets", self.parts.redactor)

    def classify(self, error: BaseException) -> Fault:
        """See `base.Store`."""
        if isinstance(error, DatabaseUnusableError):
            return Fault.UNUSABLE
        if isinstance(error, LockedError):
            return Fault.LOCKED
        return Fault.TRANSIENT if isinstance(error, OSError) else Fault.BUG

    def describe(self, error: BaseException) -> str:
        """See `base.Store`."""
        return f"{type(error).__name__}: {error}"

    def make_way(self) -> None:
        """See `base.Store`."""

    def begin_purge(
        self,
        cutoffs: Cutoffs,
        holder: str,
        *,
        takes_over: bool,
        awaited: Callable[[], Collection[str]],
        clock_ns: Callable[[], int],
    ) -> MemoryPurge:
        """See `base.Store`."""
        del holder, takes_over, awaited, clock_ns  # nobody else purges it
        return MemoryPurge(cutoffs)

    def read(self, question: Callable[[Fetch], Any]) -> NoReturn:
        """See `base.Store`."""
        raise StoreError(f"{question} cannot be asked: this store knows no SQL", self.parts.settings.db_path)

    def reading(self) -> AbstractContextManager[Fetch]:
        """See `base.Store`."""
        return self.read(lambda fetch: fetch)
