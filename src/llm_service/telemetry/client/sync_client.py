"""The sync logger: `TelemetryLogger`, for scripts, threads and whatever has no event loop."""

import math
from time import monotonic
from types import TracebackType
from typing import Any, Self

from llm_service.errors import StoreError
from llm_service.telemetry.client import client_core, estimates_api, purge_api, queries_api, runs_api, search_api
from llm_service.telemetry.client.base_client import BaseClient
from llm_service.telemetry.client.budgeted_call import BudgetedInvocation, Reserve
from llm_service.telemetry.client.budgets_api import Budgets
from llm_service.telemetry.client.client_core import seconds_or_none
from llm_service.telemetry.client.steps import blocking, made
from llm_service.telemetry.instrumentation.kept_calls import wait_for_late
from llm_service.telemetry.record.record import InvocationRecord
from llm_service.telemetry.writer.ledger import FULL, DropReason, FlushResult, Outcome
from llm_service.telemetry.writer.thread_writer import ThreadWriter
from llm_service.telemetry.writer.waiters import ThreadWaiter

__all__ = ["TelemetryLogger"]


class TelemetryLogger(BaseClient[BudgetedInvocation]):
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
    _start_writer = staticmethod(ThreadWriter.start)

    def _open(self) -> None:
        engine = self._engine
        if engine.stores_nothing:
            return
        try:
            engine.open_inline(monotonic() + self.settings.commit_timeout)
        except engine.store.errors as error:
            engine.shutdown.finish()
            raise StoreError(f"{self.db_path} cannot be opened: {error}", self.db_path) from error
        except StoreError:
            engine.shutdown.finish()
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
        engine, settings = self._engine, self._core.settings
        waiter = ThreadWaiter(durable=durable)
        started = monotonic()
        outcome = self._enter_queue(record, waiter, started + settings.block_timeout)
        if outcome is None:
            engine.inline.drive(lambda: waiter.outcome is not None, started + settings.commit_timeout)
            outcome = waiter.outcome
            if outcome is None:
                engine.drivers.ensure()
                raise self._core.late("the record was not committed", settings.commit_timeout)
        if engine.shutdown.is_past:
            engine.shutdown.rest()
        error = self._core.refused(outcome, record)
        if error is not None:
            raise error from engine.committer.fatal
        return outcome is Outcome.WRITTEN

    def _enter_queue(self, record: InvocationRecord, waiter: ThreadWaiter, deadline: float) -> DropReason | None:
        """Put the record in, making room by committing where that helps; why not, when it is dropped and counted."""
        engine = self._engine
        while (reason := engine.queue.accept(record, waiter, wake=False)) is not None:
            blocks = reason in FULL and self._core.settings.overflow == "block" and engine.queue.could_hold(record)
            if blocks and monotonic() < deadline:
                engine.inline.drive(lambda: engine.queue.has_room(record.size), deadline)
                continue
            reason = DropReason.BLOCK_TIMEOUT if blocks else reason
            engine.queue.refuse_one(reason)
            return reason
        return None

    def _budgeted_block(self, fields: dict[str, Any], reserve: Reserve) -> BudgetedInvocation:
        return BudgetedInvocation(self._core, fields, reserve)

    @property
    def budgets(self) -> Budgets:
        """Reservations under this logger's policies."""
        return Budgets(self._core)

    query = blocking(queries_api.query)
    get_daily_costs = blocking(queries_api.get_daily_costs)
    get_invocations = blocking(queries_api.get_invocations)
    get_content = blocking(queries_api.get_content)
    search = blocking(search_api.search)
    get_statistics = blocking(queries_api.get_statistics)
    get_trace = blocking(queries_api.get_trace)
    get_month_report = blocking(queries_api.get_month_report)
    get_unit_costs = blocking(queries_api.get_unit_costs)
    get_coverage = blocking(queries_api.get_coverage)
    run = made(runs_api.run, runs_api.TelemetryRun)
    get_runs = blocking(runs_api.get_runs)
    get_run_summary = blocking(runs_api.get_run_summary)
    compare_runs = blocking(runs_api.compare_runs)
    estimate = blocking(estimates_api.estimate)
    purge = blocking(purge_api.purge)
    flush = blocking(client_core.flush)

    def close(self, timeout: float | None = None) -> FlushResult:
        """Take no more records, commit what was accepted, and let go of file and thread. May be called again.

        Args:
            timeout: seconds at most; default `close_timeout`. What cannot be written by then is dropped as `shutdown`.

        Returns:
            The truth about the records that were pending.
        """
        self._close_instruments()
        seconds = seconds_or_none(timeout, self._core.settings.close_timeout)
        deadline = math.inf if seconds is None else monotonic() + seconds
        wait_for_late(self._core, deadline)
        return self._engine.shutdown.close(deadline)
