"""An engine's side of money: writers that price records and count them for budgets, and the teller that reserves."""

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, Protocol
from uuid import uuid4

from llm_service.budgets.events import BudgetEvent, OnBudget
from llm_service.budgets.policies import Policies
from llm_service.config.settings import Settings
from llm_service.pricing.book import PriceBook
from llm_service.redaction import clean
from llm_service.telemetry.costing import Costing
from llm_service.telemetry.pipeline.announcer import Announcer
from llm_service.telemetry.pipeline.commit_lock import CommitLock
from llm_service.telemetry.pipeline.ledger import Settlement
from llm_service.telemetry.pipeline.queue import RecordQueue
from llm_service.telemetry.pipeline.teller import Teller
from llm_service.telemetry.privacy import Redactor
from llm_service.telemetry.records import InvocationRecord
from llm_service.telemetry.stores.budget_counting import BudgetBook, BudgetTerms
from llm_service.telemetry.stores.budget_holding import HoldKeeper
from llm_service.telemetry.stores.sqlite_writer import SqliteBatchWriter

if TYPE_CHECKING:
    from llm_service.budgets.scopes import Call

__all__ = ["EngineMoney", "MoneyHost"]

_LOG: Final = logging.getLogger("llm_service.telemetry")


class MoneyHost(Protocol):
    """What the money of an engine needs of the rest of it."""

    settings: Settings
    redactor: Redactor
    announcer: Announcer
    queue: RecordQueue
    commit_lock: CommitLock
    closed: bool


class EngineMoney:
    """See the module. It is the `TellerHost`.

    Args:
        engine: whose money it is.
        prices: prices the records that have no cost; None leaves them without.
        policies: the limits that the logger's calls have to fit into.
        on_budget: the user's callback for thresholds of these.

    Attributes:
        terms: what the books of this engine share.
        book: counts what the engine's own writer inserts.
        teller: serves reservations and settlements.
        clean_calls: names of calls as their records will have them, by what was given.
    """

    book: BudgetBook
    teller: Teller

    def __init__(
        self, engine: MoneyHost, prices: PriceBook | None, policies: Policies | None, on_budget: OnBudget | None
    ) -> None:
        self._engine = engine
        self._prices = prices
        self._on_budget = on_budget
        self.terms = BudgetTerms(policies, tell=self._tell)
        self.clean_calls: dict[tuple[str | None, ...], Call] = {}

    def begin(self) -> None:
        """All that belongs to one process."""
        self.book = BudgetBook(self.terms)
        self.teller = Teller(self._engine.settings.db_path, self, self.terms.policies, self._teller_writer)

    def writer(self, writer_id: str, settings: Settings, redactor: Redactor, book: BudgetBook) -> SqliteBatchWriter:
        """A writer that prices records, and counts them in a book."""
        costing = None if self._prices is None else Costing(self._prices)
        return SqliteBatchWriter(writer_id, settings.privacy_level, redactor=redactor, costing=costing, book=book)

    def _teller_writer(self) -> tuple[SqliteBatchWriter, HoldKeeper]:
        book, engine = BudgetBook(self.terms), self._engine
        return self.writer(str(uuid4()), engine.settings, engine.redactor, book), HoldKeeper(book)

    # What the teller asks of its host

    @property
    def commit_lock(self) -> CommitLock:
        """The lock under which this process writes the file."""
        return self._engine.commit_lock

    @property
    def closed(self) -> bool:
        """Whether the engine is closed: nothing more is served."""
        return self._engine.closed

    def account(self, outcomes: Sequence[Settlement]) -> None:
        """Count records that the teller has settled."""
        self._engine.queue.account(outcomes)

    def take_over(self, record: InvocationRecord) -> None:
        """Queue a record that the teller could not settle in time; it ends its hold when it is written."""
        self._engine.queue.offer(record)

    def _tell(self, event: BudgetEvent) -> None:
        on_budget = self._on_budget
        # Who has a callback is told by it; for the others this is all there is.
        _LOG.log(logging.WARNING if on_budget is None else logging.INFO, "telemetry: %s", clean(event.message))
        if on_budget is not None:
            self._engine.announcer.call("on_budget", lambda: on_budget(event))
