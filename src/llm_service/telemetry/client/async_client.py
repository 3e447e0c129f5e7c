"""The async logger: `AsyncTelemetryLogger`, for event loops."""

import asyncio
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Literal, Self, Unpack, overload

from llm_service.budgets.alerts import OnBudget
from llm_service.config.settings import SettingsOptions
from llm_service.errors import UnsupportedLoopError
from llm_service.telemetry.client.budgeted_call import AsyncBudgetedInvocation, reserve_for
from llm_service.telemetry.client.budgets_api import AsyncBudgets
from llm_service.telemetry.client.estimates_api import AsyncEstimates
from llm_service.telemetry.client.prices_and_policies import PricesAndPolicies
from llm_service.telemetry.client.shared import seconds_or_none
from llm_service.telemetry.instrumentation.invocation import Invocation
from llm_service.telemetry.privacy import Redact
from llm_service.telemetry.record.record import Amount, InvocationRecord
from llm_service.telemetry.writer.announcer import PATIENCE
from llm_service.telemetry.writer.cancel_shield import uninterrupted
from llm_service.telemetry.writer.events import OnDrop, OnEvent
from llm_service.telemetry.writer.ledger import FlushResult, Outcome, Settlement
from llm_service.telemetry.writer.loop_writer import LoopWriter
from llm_service.telemetry.writer.waiters import LoopWaiter

if TYPE_CHECKING:
    from llm_service.telemetry.client.prices_and_policies import ModelsGiven, PoliciesGiven

__all__ = ["AsyncTelemetryLogger"]

_YIELD_EVERY: Final = 64
"""Awaited calls that never wait would starve the loop: each 64th gives way once."""
_A_DAY = 86_400.0
"""Longer than any close takes: what stands for no limit at all."""


class AsyncTelemetryLogger(AsyncEstimates):
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
        policy: the name of the policy without a scope that is in force; default `default`, if there is such a one.
        on_budget: called with a `BudgetEvent` when a limit's threshold is passed, once a window among all processes,
            in the thread of `on_event`.
        **options: `enabled`, `privacy_level`, `retention_days`, `content_retention_days`, `flush_interval`,
            `batch_size`, `queue_max_records`, `queue_max_bytes`, `overflow`, `block_timeout`, `commit_timeout`,
            `close_timeout`, `strict`, `redact_content`, `journal`; see `Settings`.

    Raises:
        SettingsError: (a `ValueError`) naming the option, the value and the remedy.
        ConfigError: (a `ValueError`) models.yaml or policies.yaml cannot be used; it names file, line, key and remedy.
    """

    _awaits = True

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
        queue, settings = self._engine.queue, self._settings
        if not durable:
            if not self._engine.drivers.needed:
                _running_loop()  # under trio nobody would write
            dropped = queue.accept(record, None) and await queue.admit(record, timeout=settings.block_timeout)
            self._calls += 1
            if self._calls % _YIELD_EVERY == 0:
                _running_loop()
                self._engine.drivers.ensure()
                await asyncio.sleep(0)
            return dropped is None
        self._engine.drivers.remember_loop(_running_loop())
        self._engine.drivers.ensure()  # the one there is may belong to a loop that stopped before it could be woken
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
    ) -> AsyncBudgetedInvocation: ...
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
        engine.drivers.remember_loop(loop)
        waiter = LoopWaiter()
        barrier = engine.queue.barrier(waiter)
        try:
            engine.drivers.ensure()
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
        if self._instruments:
            self.uninstrument()
        seconds = seconds_or_none(timeout, self._settings.close_timeout)
        deadline = loop.time() + (_A_DAY if seconds is None else min(seconds, _A_DAY))
        return await uninterrupted(self._close(loop, deadline))

    async def _close(self, loop: asyncio.AbstractEventLoop, deadline: float) -> FlushResult:
        engine = self._engine
        waiter = LoopWaiter()
        barrier = engine.begin_close(waiter)
        await engine.close_teller(deadline - loop.time())
        if barrier.pending:
            engine.drivers.ensure()
            await asyncio.wait([waiter.future], timeout=max(0.0, deadline - loop.time()))
            if barrier.pending:
                engine.give_up()
        retired = LoopWaiter()
        engine.drivers.when_ended(retired)
        engine.drivers.wake()
        # What is left to the driver is to close the file, or to return from a disk that hangs.
        await asyncio.wait([retired.future], timeout=max(0.5, deadline - loop.time()))
        engine.finished()
        told = LoopWaiter()
        engine.announcer.when_told(told)
        await asyncio.wait([told.future], timeout=PATIENCE)
        return engine.queue.withdraw(barrier)


def _running_loop() -> asyncio.AbstractEventLoop:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        raise UnsupportedLoopError(
            "AsyncTelemetryLogger needs a running asyncio loop (not trio); without one, use TelemetryLogger"
        ) from None
