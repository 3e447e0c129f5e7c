"""Timing a block that has to fit into its budgets first: reserved on entry, settled with its record on exit.

What keeps a call from being made is raised on entry. On exit nothing is raised of its own: a settlement that fails is
logged, and its record stays queued.
"""

import logging
from collections.abc import Callable
from dataclasses import replace
from types import TracebackType
from typing import Any, Final, Literal, Self

from llm_service.errors import QueryError
from llm_service.redaction import clean
from llm_service.telemetry.client.client_core import ClientCore
from llm_service.telemetry.client.reservation_plans import ReservationPlanner
from llm_service.telemetry.client.reservation_requests import NAMES, PLACE, ReservationRequest, usd_of
from llm_service.telemetry.client.reservations import AsyncHold, Hold, Reservation, reserved, taken
from llm_service.telemetry.client.steps import Steps, run, run_async
from llm_service.telemetry.instrumentation.given_fields import note
from llm_service.telemetry.instrumentation.invocation import Invocation, Sink
from llm_service.telemetry.instrumentation.kept_calls import is_of_parent
from llm_service.telemetry.instrumentation.nested_calls import NestedCalls
from llm_service.telemetry.instrumentation.open_blocks import names_around
from llm_service.telemetry.instrumentation.request_parameters import Asked
from llm_service.telemetry.record.operations import is_span
from llm_service.telemetry.record.record import Amount, InvocationRecord

__all__ = ["AsyncBudgetedInvocation", "BudgetedInvocation", "Reserve", "reserve_for"]

_LOG: Final = logging.getLogger("llm_service.telemetry")

_EXPECTED: Final = frozenset({"prompt_tokens"})
"""What a block with a budget is given for the estimate: what the call tells itself is nearer."""
Reserve = Callable[[Invocation, dict[str, Any]], Steps[Reservation]]
"""Reserves for a block: called with it and with what was said of it so far."""


class _Budgeted(Invocation):
    """What a block with a budget has on either logger."""

    __slots__ = ("_reservation", "_reserve", "hold")

    def __init__(self, core: ClientCore, fields: dict[str, Any], reserve: Reserve) -> None:
        super().__init__(core, fields, strict=core.settings.strict)
        self._reserve = reserve
        self._reservation: Reservation | None = None

    def _reserving(self) -> Steps[Reservation]:
        """Reserve for what the call says, and what is around it says for it: its record counts by the same names."""
        if self.over:
            self._again()
        self._learnt = _EXPECTED.intersection(self._fields)
        fields = self.fields_so_far()
        names = names_around(None if self._place is None else self._place.parent, fields)
        self._fields |= names
        return self._reserve(self, fields | names)

    def _left(self, error: BaseException | None) -> InvocationRecord | None:
        """The record of the call, which is left; with `strict` a RecordError may come, and the hold is given up."""
        reservation = self._reservation
        if reservation is not None and is_of_parent(self):  # whose hold it is, too
            reservation.disown()
        try:
            return self._leave(error)
        except BaseException:
            _end_soon(self._sink, reservation, None)
            raise

    def _ending(self, error: BaseException | None) -> Steps[None]:
        try:
            record = self._left(error)  # may leave the reservation to what waits: see `_wait`
            yield from _end(self._sink, self._reservation, record, strict=self._strict and error is None)
        finally:
            self.tell_end()

    def end_soon(self, error: BaseException | None) -> None:
        """Queue the record, which ends the hold when it is written."""
        try:
            self._offer_soon(self._left(error))
        finally:
            self.tell_end()

    def _offer_soon(self, record: InvocationRecord | None) -> None:
        _end_soon(self._sink, self._reservation, record)

    def _wait(self, calls: NestedCalls, measured: dict[str, Any]) -> bool:
        waits = super()._wait(calls, measured)
        if waits:  # the copy that waits ends it
            self._reservation = None
        return waits


class AsyncBudgetedInvocation(_Budgeted):
    """An `Invocation` of the async logger with a hold.

    Attributes:
        hold: what is reserved, once the block is entered; `await call.hold.release()` where nothing was sent.
    """

    __slots__ = ()

    hold: AsyncHold

    def __enter__(self) -> Self:
        raise TypeError("a budget waits for the file: enter the block with `async with`")

    @property
    def admitted(self) -> bool:
        """Whether its budget is reserved."""
        return self._reservation is not None

    async def admit(self) -> None:
        """Reserve its budget, before anything runs."""
        self._reservation = await run_async(self._reserving())
        self.hold = AsyncHold(self._reservation)

    async def give_back(self) -> None:
        """Free its budget: nothing ran."""
        await self.hold.release()

    async def __aenter__(self) -> Self:
        if not self.is_running:  # else it is entered within itself, and has its budget already
            self._stand_anew()  # it may have been refused elsewhere
            await self.admit()
        return super().__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """The end where nothing can be awaited."""
        self.end_soon(error)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is not None and not isinstance(error, Exception):  # cancelled: nothing may be awaited any more
            self.end_soon(error)
            return
        await run_async(self._ending(error))


class BudgetedInvocation(_Budgeted):
    """An `Invocation` of the sync logger with a hold.

    Attributes:
        hold: what is reserved, once the block is entered; `call.hold.release()` where nothing was sent.
    """

    __slots__ = ()

    hold: Hold

    def _admit(self) -> None:
        if self.is_running:  # it has its budget already
            return
        self._stand_anew()  # it may have been refused elsewhere
        self._reservation = run(self._reserving())
        self.hold = Hold(self._reservation)

    def begin_stream(self) -> None:
        """Reserve its budget, and start the clock."""
        self._admit()
        super().begin_stream()

    async def __aenter__(self) -> Self:
        raise TypeError("a budget waits for the file: on an event loop use AsyncTelemetryLogger")

    def __enter__(self) -> Self:
        self._admit()
        return super().__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        run(self._ending(error))


def _end(sink: Sink, reservation: Reservation | None, record: InvocationRecord | None, *, strict: bool) -> Steps[None]:
    """End a call and its hold."""
    try:
        if reservation is None or reservation.end is not None:
            if record is not None:
                sink.offer(record)
        elif record is None:
            yield from reservation.give_up()
        elif is_span(record.operation):
            yield from reservation.settle_after_calls(record)
        else:
            yield from reservation.settle(record)
    except Exception as failure:
        if strict:
            raise
        _LOG.error("telemetry: a call could not be settled with its budgets: %s", clean(str(failure)))


def _end_soon(sink: Sink, reservation: Reservation | None, record: InvocationRecord | None) -> None:
    """End a call, and its hold, without waiting for anything: from a finalizer, too."""
    try:
        if reservation is not None and reservation.end is None:
            reservation.end_later(record)
        elif record is not None:
            sink.offer(record)
    except Exception as failure:  # noqa: BLE001 - as in a finalizer
        _LOG.error("telemetry: a call could not be settled with its budgets: %s", clean(str(failure)))


def reserve_for(
    core: ClientCore,
    budget: Amount | Literal[True],
    max_tokens: int | None,
    *,
    asked: Asked,
    told: bool = False,
) -> Reserve:
    """How a block reserves: True leaves the amount to an estimate, a number is USD.

    Args:
        asked: what else its request says of prompt and price.
        told: whether arguments told what it says: a prompt that cannot be read is then as none.

    Raises:
        SettingsError: (a `ValueError`) the logger has no limits, so nothing would be kept.
        QueryError: (a `ValueError`) it is neither True nor an amount.
    """
    planner = ReservationPlanner(core)
    planner.require_policies()
    if budget is not True:
        usd_of("budget", budget)

    def reserve(call: Invocation, fields: dict[str, Any]) -> Steps[Reservation]:
        known: dict[str, Any] = {name: fields.get(name) for name in (*NAMES, *PLACE, "prompt", "prompt_tokens")}
        known |= {"usd": None if budget is True else budget, "max_tokens": max_tokens, "answers": asked.answers}
        beyond = (*asked.beyond, *filter(None, [fields.get("unpriced_usage")]))
        known |= {"hidden_tokens": asked.hidden_tokens, "unread": asked.unread, "beyond": beyond}
        operation = fields.get("operation")
        known["is_call"] = not is_span(operation)
        completion = fields.get("completion_tokens")
        no_answer = operation == "embeddings" or (completion == 0 and not isinstance(completion, bool))
        request = ReservationRequest(hold_id=call.invocation_id, no_answer=no_answer, **known)
        return _reserved_as_told(call, planner, request) if told else reserved(planner, request)

    return reserve


def _reserved_as_told(call: Invocation, planner: ReservationPlanner, request: ReservationRequest) -> Steps[Reservation]:
    """Reserve; a prompt that nobody can read is counted as a bad value, and costs neither call nor names."""
    try:
        request = yield from planner.estimated(request)
    except QueryError as error:
        if request.prompt is None or not error.field.startswith("prompt") or planner.core.settings.strict:
            raise
        call._fields.pop("prompt", None)
        note(planner.core, "prompt", f"prompt: {type(request.prompt).__name__} is not usable; {error.remedy}")
        request = yield from planner.estimated(replace(request, prompt=None))
    return (yield from taken(planner, request))
