"""The two faces of one engine: `AsyncTelemetryLogger` for event loops, `TelemetryLogger` for everything else."""

import asyncio
import math
from pathlib import Path
from sqlite3 import Error as SQLiteError
from time import monotonic
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self, Unpack

from llm_service.budgets.events import OnBudget
from llm_service.config.settings import SettingsOptions
from llm_service.errors import StoreError, UnsupportedLoopError
from llm_service.telemetry.budgeted import AsyncBudgetedInvocation, BudgetedInvocation, reserve_for
from llm_service.telemetry.budgeting import AsyncBudgets, Budgets
from llm_service.telemetry.estimating import AsyncEstimating, Estimating
from llm_service.telemetry.face import seconds_or_none
from llm_service.telemetry.instrument import Invocation
from llm_service.telemetry.money import Money
from llm_service.telemetry.pipeline.announcer import PATIENCE
from llm_service.telemetry.pipeline.closing import uninterrupted
from llm_service.telemetry.pipeline.events import OnDrop, OnEvent
from llm_service.telemetry.pipeline.ledger import FULL, DropReason, FlushResult, Outcome, Settlement
from llm_service.telemetry.pipeline.loop_writer import LoopWriter
from llm_service.telemetry.pipeline.thread_writer import ThreadWriter
from llm_service.telemetry.pipeline.waiters import LoopWaiter, ThreadWaiter
from llm_service.telemetry.privacy import Redact
from llm_service.telemetry.records import Amount, InvocationRecord

if TYPE_CHECKING:
    from llm_service.telemetry.money import ModelsGiven, PoliciesGiven

__all__ = ["AsyncTelemetryLogger", "InvocationRecord", "TelemetryLogger"]

_YIELD_EVERY: Final = 64
"""Awaited calls that never wait would starve the loop: each 64th gives way once."""
_A_DAY = 86_400.0
"""Longer than any close takes: what stands for no limit at all."""


class AsyncTelemetryLogger(AsyncEstimating):
    """The flight recorder for asyncio programs: records go to a queue, a writer task commits them in batches.

    It starts by itself with the first record in a running loop, or by `async with` or `await start()`, which also make
    the file and say at once when it cannot be used. Several loops may share one logger: the first one's task writes,
    and another's takes over when that loop ends.

    Args:
        db_path: the SQLite file, created where missing; default `~/.llm-service/telemetry.db`.
        models: what models cost, for records without a `cost_usd`: the path of a models.yaml, or a `ModelsConfig`. What
            it does not say comes from genai-prices, where the extra `prices` is installed.
        on_drop: called with a `DropReason` and a number when records are lost, at most once a second for each reason.
        on_event: called with an `Event` for a loss and for whatever else goes wrong or comes right again, at most once
            a second for each kind. Both are called in a thread that does nothing else, so they may block, log and
            close; what they raise is logged.
        redact: called on the writer's thread (with `journal`: by the call that logs) with each free text, after secrets
            of known shape are out of it; what it returns is stored. Where it raises or returns no text,
            `[REDACTED:masker-error]` is stored and counted.
        policies: limits that `budgets` and `invocation(budget=)` keep: a policies.yaml, or its `PoliciesConfig`.
        policy: the name of the policy without a scope that is in force; default `default`, if there is such a one.
        on_budget: called with a `BudgetEvent` when a limit's threshold is passed, once a window among all processes,
            in the thread of `on_event`.
        **options: `enabled`, `privacy_level`, `retention_days`, `content_retention_days`, `flush_interval`,
            `batch_size`, `queue_max_records`, `queue_max_bytes`, `overflow`, `block_timeout`, `commit_timeout`,
            `close_timeout`, `strict`, `redact_content`, `journal`; see `Settings`.

    Raises:
        SettingsError: (a `ValueError`) naming the option, the value and the remedy.
        ConfigError: (a `ValueError`) the models.yaml cannot be used; it names file, line, key and remedy.
    """

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
        money = Money(models=models, policies=policies, policy=policy, on_budget=on_budget)
        super().__init__(db_path, on_drop, on_event, options, LoopWriter.start, redact, money)
        self._calls = 0

    async def start(self) -> None:
        """Start the writer on this loop and make the file. Needed only to learn now that the file cannot be used.

        Raises:
            StoreError: the file, or the crash journal, cannot be used, and no retry will help. A locked or full disk is
                not an error here.
            UnsupportedLoopError: this is not asyncio.
        """
        loop = _running_loop()
        engine = self._engine
        engine.remember_loop(loop)
        if engine.ensure_driver():
            await engine.wait_ready()
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
        queue, settings = self._engine.queue, self._settings
        if not durable:
            if not self._engine.driven:
                _running_loop()  # under trio nobody would write
            dropped = queue.accept(record, None) and await queue.admit(record, timeout=settings.block_timeout)
            self._calls += 1
            if self._calls % _YIELD_EVERY == 0:
                _running_loop()
                self._engine.ensure_driver()
                await asyncio.sleep(0)
            return dropped is None
        self._engine.remember_loop(_running_loop())
        self._engine.ensure_driver()  # the one there is may belong to a loop that stopped before it could be woken
        waiter = LoopWaiter(durable=True)
        outcome: Settlement | None = await queue.admit(record, waiter, timeout=settings.block_timeout)
        if outcome is None:
            await asyncio.wait([waiter.future], timeout=settings.commit_timeout)
            if not waiter.future.done():
                raise self._late("the record was not committed", settings.commit_timeout)
            outcome = waiter.future.result()
        error = self._refused(outcome, record)
        if error is not None:
            raise error from self._engine.committer.fatal
        return outcome is Outcome.WRITTEN

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
        """Time a block and log it on exit, whatever happened: `async with` or plain `with`.

        Status is `success`, `timeout` after a `TimeoutError`, else `error`; a cancelled block has `error_type`
        `cancelled`. The block's exception passes through unchanged. A call within the block gets this one as its
        `parent_invocation_id`. Any field of `InvocationRecord` may be given here or by `call.set(...)`.

        Args:
            agent_name, tool_name, model_name, **fields: of the record.
            budget: True reserves what is estimated (from these names, `prompt` or `prompt_tokens`, and `max_tokens`)
                before the block is entered, a number reserves so many USD; the record then settles it. Only with
                `async with`; entering raises what `budgets.reserve` raises, and nothing is recorded then. `call.hold`
                is the hold.
            max_tokens: what the answer is limited to, for the estimate.
        """
        names = {"agent_name": agent_name, "tool_name": tool_name, "model_name": model_name}
        if budget is not False:
            reserve = reserve_for(self.budgets, budget, max_tokens)
            return AsyncBudgetedInvocation(self, names | fields, strict=self._settings.strict, reserve=reserve)
        return self._invocation(names | fields, self.log_invocation)

    @property
    def budgets(self) -> AsyncBudgets:
        """Reservations under this logger's policies; see `Budgets`."""
        return AsyncBudgets(self)

    async def flush(self, timeout: float | None = None) -> FlushResult:
        """Wait until what was accepted before this call is settled.

        Args:
            timeout: seconds at most; default `commit_timeout`. `math.inf` waits for ever.

        Returns:
            The truth about those records; `complete` is False when the timeout passed first, and the rest stays queued.
        """
        engine = self._engine
        loop = _running_loop()
        engine.remember_loop(loop)
        waiter = LoopWaiter()
        barrier = engine.queue.barrier(waiter)
        try:
            engine.ensure_driver()
            await asyncio.wait([waiter.future], timeout=seconds_or_none(timeout, self._settings.commit_timeout))
        finally:
            result = engine.queue.withdraw(barrier)
        return result

    async def aclose(self, timeout: float | None = None) -> FlushResult:
        """Take no more records, write what was accepted, and let go of file, thread and task. May be called again.

        A cancellation is held off until the close is done, at most `timeout`, and then passed on.

        Args:
            timeout: seconds at most; default `close_timeout`. What cannot be written by then is dropped as `shutdown`.

        Returns:
            The truth about the records that were pending.
        """
        loop = _running_loop()
        seconds = seconds_or_none(timeout, self._settings.close_timeout)
        deadline = loop.time() + (_A_DAY if seconds is None else min(seconds, _A_DAY))
        return await uninterrupted(self._close(loop, deadline))

    async def _close(self, loop: asyncio.AbstractEventLoop, deadline: float) -> FlushResult:
        engine = self._engine
        waiter = LoopWaiter()
        barrier = engine.begin_close(waiter)
        await engine.close_teller(deadline - loop.time())
        if barrier.pending:
            engine.ensure_driver()
            await asyncio.wait([waiter.future], timeout=max(0.0, deadline - loop.time()))
            if barrier.pending:
                engine.give_up()
        retired = LoopWaiter()
        engine.when_retired(retired)
        engine.wake_driver()
        # What is left to the driver is to close the file, or to return from a disk that hangs.
        await asyncio.wait([retired.future], timeout=max(0.5, deadline - loop.time()))
        engine.finished()
        told = LoopWaiter()
        engine.announcer.when_told(told)
        await asyncio.wait([told.future], timeout=PATIENCE)
        return engine.queue.withdraw(barrier)


class TelemetryLogger(Estimating):
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
        money = Money(models=models, policies=policies, policy=policy, on_budget=on_budget)
        super().__init__(db_path, on_drop, on_event, options, ThreadWriter.start, redact, money)
        if not self._engine.stores_nothing:
            try:
                self._engine.open_inline(monotonic() + self._settings.commit_timeout)
            except (OSError, SQLiteError) as error:
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
                engine.ensure_driver()
                raise self._late("the record was not committed", settings.commit_timeout)
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
        seconds = seconds_or_none(timeout, self._settings.close_timeout)
        return self._engine.close_inline(math.inf if seconds is None else monotonic() + seconds)


def _running_loop() -> asyncio.AbstractEventLoop:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        raise UnsupportedLoopError(
            "AsyncTelemetryLogger needs a running asyncio loop (not trio); without one, use TelemetryLogger"
        ) from None
