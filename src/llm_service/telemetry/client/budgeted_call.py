"""Timing a block that has to fit into its budgets first: reserved on entry, settled with its record on exit.

What keeps a call from being made is raised on entry. On exit nothing is raised of its own: a settlement that fails is
logged, and its record stays queued.
"""

import logging
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Literal, Self

from llm_service.redaction import clean
from llm_service.telemetry.client.budgets_api import AsyncBudgets, Budgets
from llm_service.telemetry.client.reservation_requests import NAMES, ReservationRequest, usd_of
from llm_service.telemetry.client.reservations import AsyncHold, Hold
from llm_service.telemetry.instrumentation.invocation import Invocation
from llm_service.telemetry.record.record import Amount, InvocationRecord

if TYPE_CHECKING:
    from llm_service.telemetry.client.shared import BaseClient

__all__ = ["AsyncBudgetedInvocation", "BudgetedInvocation", "reserve_for"]

_LOG: Final = logging.getLogger("llm_service.telemetry")

Reserve = Callable[[Invocation, dict[str, Any]], Any]
"""Reserves for a block: called with it and with what was said of it so far."""


class AsyncBudgetedInvocation(Invocation):
    """An `Invocation` of the async logger with a hold.

    Attributes:
        hold: what is reserved, once the block is entered; `await call.hold.release()` where nothing was sent.
    """

    __slots__ = ("_reserve", "hold")

    hold: AsyncHold

    def __init__(self, client: "BaseClient", fields: dict[str, Any], *, strict: bool, reserve: Reserve) -> None:
        super().__init__(client, fields, strict=strict)
        self._reserve = reserve

    def __enter__(self) -> Self:
        raise TypeError("a budget waits for the file: enter the block with `async with`")

    @property
    def admitted(self) -> bool:
        """Whether its budget is reserved."""
        return hasattr(self, "hold")

    async def admit(self) -> None:
        """Reserve its budget, before anything runs."""
        self.hold = await self._reserve(self, self._fields)

    async def give_back(self) -> None:
        """Free its budget: nothing ran."""
        await self.hold.release()

    async def __aenter__(self) -> Self:
        await self.admit()
        return super().__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """The end of a stream where nothing can be awaited: its record is queued, and ends the hold when written."""
        _end_soon(self, self._leave(error), self.hold if self.admitted else None)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        record = self._leave(error)
        try:
            if self.hold.ended:
                if record is not None:
                    self._sink.offer(record)
            elif record is None:
                await self.hold.give_up()
            elif error is None:
                await self.hold.settle(record)
            else:
                self.hold.settle_soon(record)
        except Exception as failure:  # noqa: BLE001 - the block's own outcome counts; `strict` raises it
            _failed(failure, strict=self._strict and error is None)


class BudgetedInvocation(Invocation):
    """An `Invocation` of the sync logger with a hold.

    Attributes:
        hold: what is reserved, once the block is entered; `call.hold.release()` where nothing was sent.
    """

    __slots__ = ("_reserve", "hold")

    hold: Hold

    def __init__(self, client: "BaseClient", fields: dict[str, Any], *, strict: bool, reserve: Reserve) -> None:
        super().__init__(client, fields, strict=strict)
        self._reserve = reserve

    def begin_stream(self) -> None:
        """Reserve its budget, and start the clock."""
        self.hold = self._reserve(self, self._fields)
        super().begin_stream()

    def end_soon(self, error: BaseException | None) -> None:
        """Queue the record, which ends the hold when it is written."""
        _end_soon(self, self._leave(error), self.hold)

    async def __aenter__(self) -> Self:
        raise TypeError("a budget waits for the file: on an event loop use AsyncTelemetryLogger")

    def __enter__(self) -> Self:
        self.hold = self._reserve(self, self._fields)
        return super().__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        record: InvocationRecord | None = self._leave(error)
        try:
            if self.hold.ended:
                if record is not None:
                    self._sink.offer(record)
            elif record is None:
                self.hold.give_up()
            else:
                self.hold.settle(record)
        except Exception as failure:  # noqa: BLE001 - the block's own outcome counts; `strict` raises it
            _failed(failure, strict=self._strict and error is None)


def _end_soon(call: Invocation, record: InvocationRecord | None, hold: AsyncHold | Hold | None) -> None:
    """End a call, and its hold, without waiting for anything."""
    try:
        if hold is None or hold.ended:
            if record is not None:
                call._sink.offer(record)  # noqa: SLF001 - one of this class's
        else:
            hold.end_later(record)
    except Exception as failure:  # noqa: BLE001 - as in a finalizer
        _failed(failure, strict=False)


def _failed(failure: Exception, *, strict: bool) -> None:
    if strict:
        raise failure
    _LOG.error("telemetry: a call could not be settled with its budgets: %s", clean(str(failure)))


def reserve_for(budgets: AsyncBudgets | Budgets, budget: Amount | Literal[True], max_tokens: int | None) -> Reserve:
    """How a block reserves: True leaves the amount to an estimate, a number is USD.

    Raises:
        SettingsError: (a `ValueError`) the logger has no limits, so nothing would be kept.
        QueryError: (a `ValueError`) it is neither True nor an amount.
    """
    budgets.require_policies()
    if budget is not True:
        usd_of("budget", budget)

    def reserve(call: Invocation, fields: dict[str, Any]) -> Any:
        known: dict[str, Any] = {name: fields.get(name) for name in (*NAMES, "prompt", "prompt_tokens", "service_tier")}
        usd = None if budget is True else budget
        return budgets.reserve_as(
            ReservationRequest(hold_id=call.invocation_id, usd=usd, max_tokens=max_tokens, **known)
        )

    return reserve
