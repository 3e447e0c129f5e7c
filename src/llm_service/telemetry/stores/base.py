"""The seam between the writer and a store: what the writer asks, and nothing that one kind of store alone knows.

A `Store` is a place for records, a file or a server. It knows no queue, no event loop and no way of retrying: it opens
sessions, says what an error means, and answers questions. A session is one connection and what is done with it. Reads
have connections of their own, so they are asked of the store: no reader waits for the writer's session.
"""

from collections.abc import Callable, Collection, MutableMapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar

from llm_service.budgets.alerts import BudgetEvent
from llm_service.budgets.policies import Policies
from llm_service.config.settings import PrivacyLevel, Settings
from llm_service.pricing.book import PriceBook
from llm_service.telemetry.privacy import Redactor
from llm_service.telemetry.record.record import InvocationRecord
from llm_service.telemetry.stores.budget_requests import BudgetRequest
from llm_service.telemetry.stores.retention import Belief, Cutoffs, PurgeResult

if TYPE_CHECKING:
    import asyncio
    import threading

__all__ = [
    "BudgetSession",
    "Fault",
    "Fetch",
    "PartialSum",
    "Purge",
    "Query",
    "Session",
    "Store",
    "StoreEvent",
    "StoreParts",
    "Upkeep",
    "Worker",
    "WriteResult",
]

_T = TypeVar("_T")

Query = tuple[str, Sequence[Any]]
"""A statement and its parameters."""
Fetch = Callable[[Query], list[tuple[Any, ...]]]
"""Runs a query and returns all rows; all queries of one call see the same snapshot."""
StoreEvent = Literal["wal_growing", "wal_truncated", "budget_counter_unknown", "search_unavailable"]
"""What a store may tell its logger: a value of `EventKind`."""


class PartialSum(int):
    """A sum that leaves out a cell because it holds no number."""


class Fault(Enum):
    """What an error of a store means."""

    LOCKED = "locked"
    """Another writer is at it: retry the same batch after a short pause."""
    TRANSIENT = "transient"
    """Full or failing: retry the same batch after a pause."""
    REOPEN = "reopen"
    """Retry on a new connection: what this one has opened is gone or not writable."""
    DAMAGED = "damaged"
    """It cannot be read. If a new connection fails too, it is set aside and a new one is created."""
    UNUSABLE = "unusable"
    """It is not for telemetry and must not be moved; no retry will help."""
    BUG = "bug"
    """No fault of the store: the batch is dropped after a few tries, so that it does not stop all."""


@dataclass(frozen=True, slots=True)
class WriteResult:
    """The result of a committed batch. Positions count from 0 within the batch.

    Attributes:
        duplicates: positions of records whose id was stored already.
        quarantined: positions of records that the store refused, now in `dead_letters`.
        redactions: how many secrets were removed from the batch, by name.
    """

    duplicates: frozenset[int] = frozenset()
    quarantined: frozenset[int] = frozenset()
    redactions: dict[str, int] = field(default_factory=dict[str, int])


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreParts:
    """What a logger gives its store.

    Attributes:
        writer_id: names the logger in this process; its receipts bear it.
        prices: price the records that have no cost; None leaves them without.
        policies: the limits for which the store has to count; None for none.
        on_threshold: called with each threshold of these that was passed, after the commit.
        tell: called with an event, a number, and a message in which `{n}` stands for the number.
    """

    settings: Settings
    writer_id: str
    redactor: Redactor
    prices: PriceBook | None
    policies: Policies | None
    on_threshold: Callable[[BudgetEvent], None]
    tell: Callable[[StoreEvent, int, str], None]


class Upkeep(Protocol):
    """What a store has to do for itself between commits, in memory; read from any thread."""

    @property
    def bytes(self) -> int:
        """How much waits to be copied back, for whoever looks at the statistics."""
        ...

    @property
    def due_in(self) -> float | None:
        """Seconds until `Session.tidy` is wanted, if nothing comes between; None where it is not."""
        ...

    @property
    def is_behind(self) -> bool:
        """Whether somebody has to do it even if no further commit comes."""
        ...

    def want(self) -> None:
        """Have it done in the next idle moment."""
        ...


class Purge(Protocol):
    """A purge under way: see `Session.purge`.

    Attributes:
        records, contents: deleted so far.
        held: another process is purging: this one has stopped.
        stuck: a foreign reader is in the way: wait before the next step.
    """

    cutoffs: Cutoffs
    records: int
    contents: int
    held: bool
    stuck: bool

    @property
    def done(self) -> bool:
        """Whether nothing is left to do."""
        ...

    def result(self, *, complete: bool = True) -> PurgeResult:
        """What it did."""
        ...


class _Connection(Protocol):
    """Opened when needed, and again after a close; used by one thread at a time, and never after a fork."""

    @property
    def is_open(self) -> bool:
        """Whether it is open now."""
        ...

    def open(self) -> None:
        """Open it, and make the tables and counters that are needed; does nothing where it is open.

        It blocks. Raises what `Store.classify` knows; then nothing stays open.
        """
        ...

    def close(self) -> None:
        """Close it; `open` opens it again. Never raises an `Exception`."""
        ...

    def maintain(self) -> None:
        """Do what is to be done after each commit, when nobody waits for it any more."""
        ...


class Session(_Connection, Protocol):
    """What the writer of a queue works with."""

    def commit(
        self, batch: Sequence[InvocationRecord], *, batch_no: int, durable: bool, slice_rows: int
    ) -> WriteResult:
        """Commit a batch in one transaction, or raise with nothing written; not if an earlier try has committed it.

        Tries of one batch may come from several sessions of a store, one after the other.

        Args:
            batch: the records; the same in every try of one `batch_no`.
            batch_no: ascends by one with each batch.
            durable: True makes the commit survive a power cut.
            slice_rows: how many rows are built between two statements.
        """
        ...

    def restore(
        self, batch: Sequence[InvocationRecord], *, writer_id: str, batch_no: int, ceiling: PrivacyLevel
    ) -> WriteResult:
        """Commit records of another writer at its privacy level; its user's `redact` has seen them."""
        ...

    def receipt(self, writer_id: str) -> int:
        """The number of the last batch that this writer committed; 0 where it committed none."""
        ...

    def tidy(self) -> None:
        """What takes longer, in an idle moment: see `Upkeep`."""
        ...

    def believe(self, now_us: int) -> Belief:
        """Read the clock, which the store remembers: see `stores.retention`."""
        ...

    def has_old(self, cutoffs: Cutoffs, *, thorough: bool) -> bool:
        """Whether a purge has work to do; a cheap check, or one that scans contents as well."""
        ...

    def purge(self, purge: Purge) -> None:
        """Do one step of a few milliseconds of a purge that this store has begun. Waits for no lock."""
        ...


class BudgetSession(_Connection, Protocol):
    """What budgets work with: transactions that wait for no lock, so that the caller says how long to try."""

    def serve(self, requests: Sequence[BudgetRequest]) -> WriteResult:
        """Do all of these in one transaction: their records first, which make room, then their work in order.

        What a request is refused stands there as its `error`, and harms no other.

        Returns:
            What became of the records, by position among the requests that have one.
        """
        ...

    @property
    def looks_back(self) -> bool:
        """Whether `look_back` has something to do."""
        ...

    def look_back(self) -> None:
        """Tell of thresholds that were passed, and forget what is old, in a moment in which nobody waits."""
        ...


class Worker(Protocol):
    """A daemon thread that does one long job, and ends."""

    def drive(self, turn: Callable[[], bool], ended: Callable[[], None]) -> "asyncio.Future[None]":
        """Have it call `turn` until False, then `ended`, which the running loop learns; RuntimeError: no thread."""
        ...

    def join(self, timeout: float) -> bool:
        """Wait for the thread to end; False if it has not after `timeout` seconds."""
        ...


class Store(Protocol):
    """A place for records; made anew in a forked child."""

    @property
    def errors(self) -> tuple[type[Exception], ...]:
        """What it raises where it fails; anything else is a bug."""
        ...

    @property
    def upkeep(self) -> Upkeep:
        """What it has to do for itself."""
        ...

    @property
    def hold_ids(self) -> MutableMapping[str, str]:
        """Maps the id of a record that is about to be stored to its hold, if that has another id.

        Whoever settles puts it in; the commit of the record takes it out.
        """
        ...

    def session(self) -> Session:
        """A session for whichever thread has the commit lock."""
        ...

    def session_and_worker(self, launch: "Callable[[threading.Thread], object]") -> tuple[Session, Worker]:
        """A session, and a thread for it that `launch` starts."""
        ...

    def budget_session(self) -> BudgetSession:
        """A session for reservations and settlements."""
        ...

    def classify(self, error: BaseException) -> Fault:
        """What an error of a session means."""
        ...

    def describe(self, error: BaseException) -> str:
        """The error in a line: its type, the store's code, and what it says."""
        ...

    def make_way(self) -> Path | None:
        """Set a damaged file aside, so that a new one takes its place; its new name, None where nothing was there.

        Raises:
            OSError: not possible now; try again.
            DatabaseUnusableError: what stands there is not ours to move.
        """
        ...

    def begin_purge(
        self,
        cutoffs: Cutoffs,
        holder: str,
        *,
        takes_over: bool,
        awaited: Callable[[], Collection[str]],
        clock_ns: Callable[[], int],
    ) -> Purge:
        """Begin to delete what is older, in the name of `holder`; one that takes over waits for no other purger.

        The receipts of the `awaited` writers stay: their journals are not replayed yet.
        """
        ...

    def read(self, question: Callable[[Fetch], _T]) -> _T:
        """Answer a question from one snapshot. Raises StoreError: it cannot be read."""
        ...

    def reading(self) -> AbstractContextManager[Fetch]:
        """Answer many questions, each from a short snapshot of its own; raises as `read`."""
        ...
