"""What budgets ask of a file: something to be done in one transaction, and who waits for it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from llm_service.telemetry.record.record import InvocationRecord
from llm_service.telemetry.stores.base import Session
from llm_service.telemetry.stores.sqlite.budget_reservations import HoldKeeper
from llm_service.telemetry.writer.commit_lock import CommitLock
from llm_service.telemetry.writer.ledger import Settlement
from llm_service.telemetry.writer.waiters import Waiter

__all__ = ["BudgetExecutorHost", "Request", "Work"]

Work = Callable[[HoldKeeper, Session], Any]


class BudgetExecutorHost(Protocol):
    """What a budget executor needs of its engine."""

    @property
    def commit_lock(self) -> CommitLock:
        """The lock under which this process writes the file."""
        ...

    @property
    def closed(self) -> bool:
        """Whether nothing more is served."""
        ...

    def account(self, outcomes: Sequence[Settlement]) -> None:
        """Count records that were settled without the queue."""
        ...

    def committed(self, connection: Session) -> None:
        """Something was written besides the queue; the caller holds the commit lock."""
        ...

    def take_over(self, record: InvocationRecord) -> None:
        """Queue a record that could not be settled in time."""
        ...

    def register(self, connection: Session, keeper: HoldKeeper) -> None:
        """Have the file count what the policies need."""
        ...

    @property
    def upkeep_is_due(self) -> bool:
        """Whether `keep_up` has something to do."""
        ...

    def keep_up(self, connection: Session, keeper: HoldKeeper) -> None:
        """Forget a little of what budgets do not need any more. Never raises what a store does."""
        ...


@dataclass(slots=True, eq=False)
class Request:
    """Something to be done in one transaction.

    Attributes:
        work: what to do there, after the records of the transaction are inserted; None where the record is all.
        record: what to insert.
        waiter: told when the outcome stands here; None where nobody waits.
        deadline: seconds (monotonic) after which it is given up.
        durable: whether the commit of its record is to survive a power cut.
        outcome: what `work` returned, or the record's settlement; valid once committed.
        error: why it was refused or failed.
        tries: how often it was tried before.
    """

    work: Work | None
    record: InvocationRecord | None = None
    waiter: Waiter | None = None
    deadline: float = float("inf")
    durable: bool = False
    outcome: Any = None
    error: Exception | None = None
    tries: int = 0
    done: bool = field(default=False)

    def finish(self) -> None:
        """Tell who waits."""
        self.done = True
        if self.waiter is not None:
            self.waiter.resolve(self)
