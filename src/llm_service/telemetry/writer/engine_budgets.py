"""An engine's side of money: writers that price records and count them for budgets, and the budget executor."""

import logging
from collections.abc import Sequence
from contextlib import suppress
from time import monotonic, time_ns
from typing import TYPE_CHECKING, Any, Final, Protocol
from uuid import uuid4

from llm_service.budgets.alerts import BudgetEvent, OnBudget
from llm_service.budgets.policies import Policies
from llm_service.config.settings import Settings
from llm_service.pricing.book import PriceBook
from llm_service.redaction import clean
from llm_service.telemetry.privacy import Redactor
from llm_service.telemetry.record.record import InvocationRecord
from llm_service.telemetry.stores.base import BatchWriter, Session
from llm_service.telemetry.stores.costing import Costing
from llm_service.telemetry.stores.sqlite.batch_writer import SqliteBatchWriter
from llm_service.telemetry.stores.sqlite.budget_counters import forget
from llm_service.telemetry.stores.sqlite.budget_counting import BudgetBook, BudgetTerms
from llm_service.telemetry.stores.sqlite.budget_reservations import HoldKeeper
from llm_service.telemetry.stores.sqlite.budget_rows import UnknownCounter
from llm_service.telemetry.stores.sqlite.error_kinds import STORE_ERRORS
from llm_service.telemetry.stores.sqlite.guarded_writer import GuardedWriter
from llm_service.telemetry.stores.sqlite.purge_steps import look
from llm_service.telemetry.writer.announcer import Announcer
from llm_service.telemetry.writer.budget_executor import BudgetExecutor
from llm_service.telemetry.writer.commit_lock import CommitLock
from llm_service.telemetry.writer.events import EventKind
from llm_service.telemetry.writer.ledger import Settlement
from llm_service.telemetry.writer.queue import RecordQueue

if TYPE_CHECKING:
    from llm_service.budgets.scopes import Call

__all__ = ["EngineBudgets", "EngineBudgetsHost"]

_LOG: Final = logging.getLogger("llm_service.telemetry")
_AT_ONCE: Final = 1.0
_SOON: Final = 60.0
_LATER: Final = 3600.0
"""Seconds between two looks for what budgets do not need any more: while there is more, at first, and then."""


class EngineBudgetsHost(Protocol):
    """What the money of an engine needs of the rest of it."""

    settings: Settings
    redactor: Redactor
    announcer: Announcer
    queue: RecordQueue
    commit_lock: CommitLock
    closed: bool

    def after_budget_commit(self, connection: Any, /) -> None:
        """The budget executor has committed."""
        ...


class EngineBudgets:
    """See the module. It is the `BudgetExecutorHost`.

    Args:
        engine: whose money it is.
        prices: prices the records that have no cost; None leaves them without.
        policies: the limits that the logger's calls have to fit into.
        on_budget: the user's callback for thresholds of these.

    Attributes:
        terms: what the books of this engine share.
        book: counts what the engine's own writer inserts.
        executor: serves reservations and settlements.
        clean_calls: names of calls as their records will have them, by what was given.
    """

    book: BudgetBook
    executor: BudgetExecutor

    def __init__(
        self, engine: EngineBudgetsHost, prices: PriceBook | None, policies: Policies | None, on_budget: OnBudget | None
    ) -> None:
        self._engine = engine
        self._prices = prices
        self._on_budget = on_budget
        self.terms = BudgetTerms(policies, tell=self._tell, tell_unknown=self._tell_unknown)
        self._unknown: set[int] = set()
        self.clean_calls: dict[tuple[str | None, ...], Call] = {}

    def begin(self) -> None:
        """All that belongs to one process."""
        self.book = BudgetBook(self.terms)
        self.executor = BudgetExecutor(self._engine.settings.db_path, self, self._executor_writer)
        self._keep_up_at = monotonic() + _SOON

    def writer(self, writer_id: str, settings: Settings, redactor: Redactor, book: BudgetBook) -> SqliteBatchWriter:
        """A writer that prices records, and counts them in a book."""
        costing = None if self._prices is None else Costing(self._prices)
        return SqliteBatchWriter(writer_id, settings.privacy_level, redactor=redactor, costing=costing, book=book)

    def batch_writer(self, writer_id: str, settings: Settings) -> BatchWriter:
        """The writer of a queue or of a journal's records, which looks at the files around each write."""
        redactor = self._engine.redactor
        if settings.journal:  # redacted on their way in: the patterns change nothing twice, a user's callable might
            redactor = Redactor(settings.privacy_level, redact_content=settings.redact_content)
        return GuardedWriter(self.writer(writer_id, settings, redactor, self.book))

    def _executor_writer(self) -> tuple[SqliteBatchWriter, HoldKeeper]:
        book, engine = BudgetBook(self.terms), self._engine
        return self.writer(str(uuid4()), engine.settings, engine.redactor, book), HoldKeeper(book)

    def opened(self, connection: Session) -> None:
        """The engine's own writer has a new connection."""
        self.register(connection, HoldKeeper(self.book))

    # What the executor asks of its host

    @property
    def commit_lock(self) -> CommitLock:
        """The lock under which this process writes the file."""
        return self._engine.commit_lock

    @property
    def closed(self) -> bool:
        """Whether the engine is closed: nothing more is served."""
        return self._engine.closed

    def account(self, outcomes: Sequence[Settlement]) -> None:
        """Count records that the executor has settled."""
        self._engine.queue.account(outcomes)

    def committed(self, connection: Session) -> None:
        """Look after the WAL: the executor has written."""
        self._engine.after_budget_commit(connection)

    def register(self, connection: Session, keeper: HoldKeeper) -> None:
        """Have the file count what the policies need, limits that only tell included.

        Raises:
            Exception: not now.
        """
        if self._register(connection, keeper):
            self._keep_up_at = 0.0

    def _register(self, connection: Session, keeper: HoldKeeper) -> bool:
        policies = self.terms.policies
        return keeper.register(connection, () if policies is None else policies.counters, time_ns() // 1000)

    @property
    def upkeep_is_due(self) -> bool:
        """Whether `keep_up` has something to do: now and then."""
        return monotonic() >= self._keep_up_at

    def after_commit(self, connection: Session) -> None:
        """The engine's own writer has committed: tell of thresholds, and forget what is old."""
        if (self.book.counts or self.terms.policies is not None) and self.upkeep_is_due:
            self.keep_up(connection, HoldKeeper(self.book))
        self.book.look_back()

    def keep_up(self, connection: Session, keeper: HoldKeeper) -> None:
        """Say that the counters of these policies are needed, and forget a little of what nobody needs.

        Where the clock is suddenly far ahead, all is kept until it has stood for a day: see `stores.retention`.
        """
        self._keep_up_at = monotonic() + _SOON  # where it fails
        with suppress(*STORE_ERRORS):
            self._register(connection, keeper)
            believed = look(connection, time_ns() // 1000).until
            more = believed is not None and forget(connection, keeper.book, believed)
            self._keep_up_at = monotonic() + (_AT_ONCE if more else _LATER)

    def take_over(self, record: InvocationRecord) -> None:
        """Queue a record that the executor could not settle in time; it ends its hold when it is written."""
        if not self._engine.queue.offer(record):
            self.terms.hold_ids.pop(self._engine.redactor.invocation_id(record.card[0]), None)

    def _tell_unknown(self, counter: UnknownCounter) -> None:
        """Once for each: every connection comes upon it."""
        if counter.id not in self._unknown:
            self._unknown.add(counter.id)
            path = self._engine.settings.db_path
            message = (
                f"{{n}} counter of budgets in {path} cannot be evaluated here ({counter.why}): what is written "
                "counts in all of its windows until llm-telemetry doctor --repair recounts it"
            )
            self._engine.announcer.tell(EventKind.BUDGET_COUNTER_UNKNOWN, 1, message)

    def _tell(self, event: BudgetEvent) -> None:
        on_budget = self._on_budget
        # Who has a callback is told by it; for the others this is all there is.
        _LOG.log(logging.WARNING if on_budget is None else logging.INFO, "telemetry: %s", clean(event.message))
        if on_budget is not None:
            self._engine.announcer.call("on_budget", lambda: on_budget(event))
