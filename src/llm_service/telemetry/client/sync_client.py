"""The sync logger: `TelemetryLogger`, for scripts, threads and whatever has no event loop."""

import math
from pathlib import Path
from time import monotonic
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, Unpack, overload

from llm_service.budgets.alerts import OnBudget
from llm_service.config.settings import SettingsOptions
from llm_service.errors import StoreError
from llm_service.telemetry.client.budgeted_call import BudgetedInvocation, reserve_for
from llm_service.telemetry.client.budgets_api import Budgets
from llm_service.telemetry.client.estimates_api import Estimates
from llm_service.telemetry.client.prices_and_policies import PricesAndPolicies
from llm_service.telemetry.client.shared import seconds_or_none
from llm_service.telemetry.instrumentation.invocation import Invocation
from llm_service.telemetry.privacy import Redact
from llm_service.telemetry.record.record import Amount, InvocationRecord
from llm_service.telemetry.stores.sqlite.error_kinds import STORE_ERRORS
from llm_service.telemetry.writer.events import OnDrop, OnEvent
from llm_service.telemetry.writer.ledger import FULL, DropReason, FlushResult, Outcome
from llm_service.telemetry.writer.thread_writer import ThreadWriter
from llm_service.telemetry.writer.waiters import ThreadWaiter

if TYPE_CHECKING:
    from llm_service.telemetry.client.prices_and_policies import ModelsGiven, PoliciesGiven

__all__ = ["TelemetryLogger"]


class TelemetryLogger(Estimates):
    """The flight recorder for scripts and other sync code: `log_invocation` has committed when it returns.

    Safe from several threads, which commit in groups. A context manager; a forgotten `close` loses nothing.

    Args:
        db_path: the SQLite file, created with its tables here; default `~/.llm-service/telemetry.db`.
        models, on_drop, on_event, redact, policies, policy, on_budget: see `AsyncTelemetryLogger`.
        **options: see `AsyncTelemetryLogger`.

    Raises:
        SettingsError: (a `ValueError`) naming the option, the value and the remedy.
        StoreError: the file could not be opened within `commit_timeout`, or cannot be used at all.
    """

    _awaits = False

    def __init__(
        self,
        db_path: str | Path | None = None,
        *,
        models: "ModelsGiven" = None,
        on_drop: OnDrop | None = None,
        on_event: OnEvent | None = None,
        redact: Redact | None = None,
        policies: "PoliciesGiven" = None,
        policy: str | None = None,
        on_budget: OnBudget | None = None,
        **options: Unpack[SettingsOptions],
    ) -> None:
        money = PricesAndPolicies(models=models, policies=policies, policy=policy, on_budget=on_budget)
        super().__init__(db_path, on_drop, on_event, options, ThreadWriter.start, redact, money)
        if not self._engine.stores_nothing:
            try:
                self._engine.open_inline(monotonic() + self._settings.commit_timeout)
            except STORE_ERRORS as error:
                self._engine.finished()
                raise StoreError(f"{self.db_path} cannot be opened: {error}", self.db_path) from error
            except StoreError:
                self._engine.finished()
                raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def log_invocation(self, record: InvocationRecord, *, durable: bool = False) -> bool:
        """Commit a record.

        Args:
            record: what to store.
            durable: True commits with `synchronous=FULL`, so that it survives a power cut where the disk is honest;
                without it, a committed record survives the end of the process in any way.

        Returns:
            True when committed; False where the logger is disabled or the record's privacy level is `none`.

        Raises:
            TypeError: for anything but an `InvocationRecord`.
            CommitTimeoutError: not committed within `commit_timeout`; the record stays queued and is written in the
                background when the file allows.
            DuplicateInvocationError: its id is stored already; also an `sqlite3.IntegrityError`.
            StoreError: the record was dropped (`RecordDroppedError`) or quarantined.
        """
        engine, settings = self._engine, self._settings
        waiter = ThreadWaiter(durable=durable)
        started = monotonic()
        outcome = self._enter_queue(record, waiter, started + settings.block_timeout)
        if outcome is None:
            engine.inline.drive(lambda: waiter.outcome is not None, started + settings.commit_timeout)
            outcome = waiter.outcome
            if outcome is None:
                engine.drivers.ensure()
                raise self._late("the record was not committed", settings.commit_timeout)
        if engine.ending.is_past:
            engine.rest()
        error = self._refused(outcome, record)
        if error is not None:
            raise error from engine.committer.fatal
        return outcome is Outcome.WRITTEN

    def _enter_queue(self, record: InvocationRecord, waiter: ThreadWaiter, deadline: float) -> DropReason | None:
        """Put the record in, making room by committing where that helps; why not, when it is dropped and counted."""
        engine = self._engine
        while (reason := engine.queue.accept(record, waiter, wake=False)) is not None:
            blocks = reason in FULL and self._settings.overflow == "block" and engine.queue.could_hold(record)
            if blocks and monotonic() < deadline:
                engine.inline.drive(lambda: engine.queue.has_room(record.size), deadline)
                continue
            reason = DropReason.BLOCK_TIMEOUT if blocks else reason
            engine.queue.refuse_one(reason)
            return reason
        return None

    @overload
    def invocation(
        self,
        agent_name: str | None = None,
        tool_name: str | None = None,
        model_name: str | None = None,
        *,
        budget: Literal[False] = False,
        max_tokens: int | None = None,
        **fields: Any,
    ) -> Invocation: ...
    @overload
    def invocation(
        self,
        agent_name: str | None = None,
        tool_name: str | None = None,
        model_name: str | None = None,
        *,
        budget: Amount | Literal[True],
        max_tokens: int | None = None,
        **fields: Any,
    ) -> BudgetedInvocation: ...
    @overload
    def invocation(
        self,
        agent_name: str | None = None,
        tool_name: str | None = None,
        model_name: str | None = None,
        *,
        budget: Amount | bool = False,
        max_tokens: int | None = None,
        **fields: Any,
    ) -> Invocation: ...
    def invocation(
        self,
        agent_name: str | None = None,
        tool_name: str | None = None,
        model_name: str | None = None,
        *,
        budget: Amount | bool = False,
        max_tokens: int | None = None,
        **fields: Any,
    ) -> Invocation:
        """Time a block and log it on exit, whatever happened; see `AsyncTelemetryLogger.invocation`.

        The record is handed over as by `log_invocation_nowait`: leaving the block waits for no disk, unless a `budget`
        has to be settled.
        """
        names = {"agent_name": agent_name, "tool_name": tool_name, "model_name": model_name}
        if budget is not False:
            reserve = reserve_for(self.budgets, budget, max_tokens)
            return BudgetedInvocation(self, names | fields, strict=self._settings.strict, reserve=reserve)
        return self._invocation(names | fields)

    @property
    def budgets(self) -> Budgets:
        """Reservations under this logger's policies."""
        return Budgets(self)

    def flush(self, timeout: float | None = None) -> FlushResult:
        """Commit what was accepted before this call.

        Args:
            timeout: seconds at most; default `commit_timeout`. `math.inf` waits for ever.

        Returns:
            The truth about those records; `complete` is False when the timeout passed first, and the rest stays queued.
        """
        engine = self._engine
        waiter = ThreadWaiter()
        barrier = engine.queue.barrier(waiter, wake=False)
        seconds = seconds_or_none(timeout, self._settings.commit_timeout)
        engine.inline.drive(lambda: waiter.outcome is not None, math.inf if seconds is None else monotonic() + seconds)
        return engine.queue.withdraw(barrier)

    def close(self, timeout: float | None = None) -> FlushResult:
        """Take no more records, commit what was accepted, and let go of file and thread. May be called again.

        Args:
            timeout: seconds at most; default `close_timeout`. What cannot be written by then is dropped as `shutdown`.

        Returns:
            The truth about the records that were pending.
        """
        if self._instruments:
            self.uninstrument()
        seconds = seconds_or_none(timeout, self._settings.close_timeout)
        return self._engine.close_inline(math.inf if seconds is None else monotonic() + seconds)
