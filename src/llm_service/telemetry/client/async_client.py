"""The async logger: `AsyncTelemetryLogger`, for event loops."""

import asyncio
from types import TracebackType
from typing import Any, Final, Self

from llm_service.telemetry.client import client_core, estimates_api, purge_api, queries_api, runs_api, search_api
from llm_service.telemetry.client.base_client import BaseClient
from llm_service.telemetry.client.budgeted_call import AsyncBudgetedInvocation, Reserve
from llm_service.telemetry.client.budgets_api import AsyncBudgets
from llm_service.telemetry.client.client_core import running_loop, seconds_or_none
from llm_service.telemetry.client.steps import awaited, made
from llm_service.telemetry.instrumentation import kept_calls
from llm_service.telemetry.instrumentation.invocation import Invocation
from llm_service.telemetry.record.record import InvocationRecord
from llm_service.telemetry.writer.announcer import PATIENCE
from llm_service.telemetry.writer.cancel_shield import uninterrupted
from llm_service.telemetry.writer.ledger import FlushResult, Outcome, Settlement
from llm_service.telemetry.writer.task_writer import TaskWriter
from llm_service.telemetry.writer.waiters import LoopWaiter

__all__ = ["AsyncTelemetryLogger"]

_YIELD_EVERY: Final = 64
"""Awaited calls that never wait would starve the loop: each 64th gives way once."""
_A_DAY: Final = 86_400.0
"""Longer than any close takes: what stands for no limit at all."""


class AsyncTelemetryLogger(BaseClient[AsyncBudgetedInvocation]):
    """The flight recorder for asyncio programs: records go to a queue, a writer task commits them in batches.

    It starts by itself with the first record in a running loop, or by `async with` or `await start()`, which also make
    the file and say at once when it cannot be used. Several loops may share one logger: the first one's task writes,
    and another's takes over when that loop ends.

    Args:
        db_path: the SQLite file, created where missing; default `~/.llm-service/telemetry.db`.
        models: what models cost, for records without a `cost_usd`: the path of a models.yaml, or a `ModelsConfig`. What
            it does not say comes from genai-prices, where the extra `prices` is installed. None takes the first that
            exists of: the file that `LLM_TELEMETRY_MODELS` names, the one beside the telemetry.yaml in force,
            `config/models.yaml`, the user's `llm-service/models.yaml`. False takes none.
        on_drop: called with a `DropReason` and a number when records are lost, at most once a second for each reason.
        on_event: called with an `Event` for a loss and for whatever else goes wrong or comes right again, at most once
            a second for each kind. Both are called in a thread that does nothing else, so they may block, log and
            close; what they raise is logged.
        redact: called on the writer's thread (with `journal`: by the call that logs) with each free text, after secrets
            of known shape are out of it; what it returns is stored. Where it raises or returns no text,
            `[REDACTED:masker-error]` is stored and counted.
        policies: limits that `budgets` and `budget=` keep: a policies.yaml, or its `PoliciesConfig`. None takes the one
            that is found as for `models` (`LLM_TELEMETRY_POLICIES`); False takes none.
        policy: the name of the policy without a scope that is in force; default `default`, or the only one there is.
        on_budget: called with a `BudgetEvent` when a limit's threshold is passed, once a window among all processes,
            in the thread of `on_event`.
        **options: `enabled`, `privacy_level`, `retention_days`, `content_retention_days`, `flush_interval`,
            `batch_size`, `queue_max_records`, `queue_max_bytes`, `overflow`, `block_timeout`, `commit_timeout`,
            `close_timeout`, `strict`, `redact_content`, `journal`, `search`; see `Settings`.

    Raises:
        SettingsError: (a `ValueError`) naming the option, the value and the remedy.
        ConfigError: (a `ValueError`) models.yaml or policies.yaml cannot be used; it names file, line, key and remedy.
    """

    _awaits = True
    _start_writer = staticmethod(TaskWriter.start)
    _calls = 0

    async def start(self) -> None:
        """Start the writer on this loop and make the file. Needed only to learn now that the file cannot be used.

        Raises:
            StoreError: the file, or the crash journal, cannot be used, and no retry will help. A locked or full disk is
                not an error here.
            UnsupportedLoopError: this is not asyncio.
        """
        loop = running_loop()
        engine = self._engine
        engine.drivers.remember_loop(loop)
        if engine.drivers.ensure():
            await engine.drivers.ready()
        if engine.committer.fatal is not None:
            raise engine.committer.fatal
        engine.require_journal()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    async def log_invocation(self, record: InvocationRecord, *, durable: bool = False) -> bool:
        """Hand a record over.

        Args:
            record: what to store.
            durable: True waits until the record is committed with `synchronous=FULL`, so that it survives a power cut
                where the disk is honest. Cancelling abandons the wait, not the record.

        Returns:
            True when accepted (durable: committed); False when dropped and counted. Where the queue is full and
            `overflow` is `block`, it waits for room up to `block_timeout`. A durable call returns False only where the
            logger is disabled or the record's privacy level is `none`.

        Raises:
            TypeError: for anything but an `InvocationRecord`.
            CommitTimeoutError: durable, and not committed within `commit_timeout`; the record stays queued.
            StoreError: durable, and the record was dropped, quarantined, or its id is stored already
                (`DuplicateInvocationError`, also an `sqlite3.IntegrityError`).
            UnsupportedLoopError: this is not asyncio.
        """
        queue, settings = self._engine.queue, self._core.settings
        if not durable:
            if not self._engine.drivers.needed:
                running_loop()  # under trio nobody would write
            dropped = queue.accept(record, None) and await queue.admit(record, timeout=settings.block_timeout)
            self._calls += 1
            if self._calls % _YIELD_EVERY == 0:
                running_loop()
                self._engine.drivers.ensure()
                await asyncio.sleep(0)
            return dropped is None
        self._engine.drivers.remember_loop(running_loop())
        self._engine.drivers.ensure()  # the one there is may belong to a loop that stopped before it could be woken
        waiter = LoopWaiter(durable=True)
        outcome: Settlement | None = await queue.admit(record, waiter, timeout=settings.block_timeout)
        if outcome is None:
            await asyncio.wait([waiter.future], timeout=settings.commit_timeout)
            if not waiter.future.done():
                raise self._core.late("the record was not committed", settings.commit_timeout)
            outcome = waiter.future.result()
        error = self._core.refused(outcome, record)
        if error is not None:
            raise error from self._engine.committer.fatal
        return outcome is Outcome.WRITTEN

    def _block(self, fields: dict[str, Any]) -> Invocation:
        core = self._core
        return Invocation(core, fields, strict=core.settings.strict, put=self.log_invocation)

    def _budgeted_block(self, fields: dict[str, Any], reserve: Reserve) -> AsyncBudgetedInvocation:
        return AsyncBudgetedInvocation(self._core, fields, reserve)

    @property
    def budgets(self) -> AsyncBudgets:
        """Reservations under this logger's policies."""
        return AsyncBudgets(self._core)

    query = awaited(queries_api.query)
    get_daily_costs = awaited(queries_api.get_daily_costs)
    get_invocations = awaited(queries_api.get_invocations)
    get_content = awaited(queries_api.get_content)
    search = awaited(search_api.search)
    get_statistics = awaited(queries_api.get_statistics)
    get_trace = awaited(queries_api.get_trace)
    get_month_report = awaited(queries_api.get_month_report)
    get_unit_costs = awaited(queries_api.get_unit_costs)
    get_coverage = awaited(queries_api.get_coverage)
    run = made(runs_api.run, runs_api.AsyncTelemetryRun)
    get_runs = awaited(runs_api.get_runs)
    get_run_summary = awaited(runs_api.get_run_summary)
    compare_runs = awaited(runs_api.compare_runs)
    estimate = awaited(estimates_api.estimate)
    purge = awaited(purge_api.purge)
    flush = awaited(client_core.flush)

    async def aclose(self, timeout: float | None = None) -> FlushResult:
        """Take no more records, write what was accepted, and let go of file, thread and task. May be called again.

        A cancellation is held off until the close is done, at most `timeout`, and then passed on.

        Args:
            timeout: seconds at most; default `close_timeout`. What cannot be written by then is dropped as `shutdown`.

        Returns:
            The truth about the records that were pending.
        """
        loop = running_loop()
        self._close_instruments()
        seconds = seconds_or_none(timeout, self._core.settings.close_timeout)
        deadline = loop.time() + (_A_DAY if seconds is None else min(seconds, _A_DAY))
        return await uninterrupted(self._close(loop, deadline))

    async def _wait_for_late(self, loop: asyncio.AbstractEventLoop, deadline: float) -> None:
        """Let frameworks tell of the ends of calls that they tell late, on this loop or in threads."""
        deadline = min(deadline, loop.time() + kept_calls.LATE_SECONDS)
        while kept_calls.is_late(self._core) and loop.time() < deadline:  # noqa: ASYNC110 - threads tell, too
            await asyncio.sleep(kept_calls.LATE_POLL_SECONDS)

    async def _close(self, loop: asyncio.AbstractEventLoop, deadline: float) -> FlushResult:
        engine = self._engine
        await self._wait_for_late(loop, deadline)
        waiter = LoopWaiter()
        barrier = engine.shutdown.begin_close(waiter)
        await engine.shutdown.close_budgets(deadline - loop.time())
        if barrier.pending:
            engine.drivers.ensure()
            await asyncio.wait([waiter.future], timeout=max(0.0, deadline - loop.time()))
            if barrier.pending:
                engine.shutdown.give_up()
        retired = LoopWaiter()
        engine.drivers.when_ended(retired)
        engine.drivers.wake()
        # What is left to the driver is to close the file, or to return from a disk that hangs.
        await asyncio.wait([retired.future], timeout=max(0.5, deadline - loop.time()))
        engine.shutdown.finish()
        told = LoopWaiter()
        engine.announcer.when_told(told)
        await asyncio.wait([told.future], timeout=PATIENCE)
        return engine.queue.withdraw(barrier)
