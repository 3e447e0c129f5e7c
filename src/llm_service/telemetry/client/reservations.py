"""A reservation in a caller's hands: settled with the call's record, released, or given up; on both clients."""

from collections.abc import Callable, Generator
from decimal import Decimal
from enum import IntEnum
from threading import RLock
from types import TracebackType
from typing import Any, Final, Self

from llm_service.budgets.limits import NANOS, Amounts
from llm_service.errors import BudgetError, CommitTimeoutError, DuplicateInvocationError
from llm_service.redaction import shown
from llm_service.telemetry.client.reservation_plans import ReservationPlanner
from llm_service.telemetry.client.reservation_requests import NAMES, ReservationRequest
from llm_service.telemetry.client.steps import Steps, awaited, blocking, run, run_async
from llm_service.telemetry.record.record import CARD_FIELDS, CONTENT_FIELDS, EXTENSION_FIELDS, InvocationRecord, rebuilt
from llm_service.telemetry.stores.budget_requests import ReservationPlan
from llm_service.telemetry.writer.budget_executor import Request

__all__ = ["AsyncHold", "AsyncReservation", "Hold", "Reservation", "reserve_now", "reserved"]

_TIMESTAMP: Final = CARD_FIELDS.index("timestamp")
_MODEL: Final = CARD_FIELDS.index("model_name")
_CARD: Final = tuple((CARD_FIELDS.index(name), name) for name in NAMES if name in CARD_FIELDS)
_EXTENSIONS: Final = tuple((EXTENSION_FIELDS.index(name), name) for name in NAMES if name in EXTENSION_FIELDS)
_REQUEST_MODEL: Final = EXTENSION_FIELDS.index("request_model")
_NOTHING: Final = (None,) * (len(EXTENSION_FIELDS) + len(CONTENT_FIELDS))


class _End(IntEnum):
    """How a hold has ended; a later one of these may follow an earlier one."""

    GIVEN_UP = 1
    RELEASED = 2
    SETTLED = 3


class Reservation:
    """What is reserved for a call, and how that ends; a hold of either client has one.

    Attributes:
        request: what was asked for.
        plan: what is reserved.
        end: how it has ended; None while it has not.
    """

    def __init__(self, planner: ReservationPlanner, request: ReservationRequest, plan: ReservationPlan) -> None:
        self._planner = planner
        self.request = request
        self.plan = plan
        self.end: _End | None = None
        self._settled_by: str | None = None
        self._lock = RLock()  # a signal handler may come in between

    def settle(self, record: InvocationRecord, *, durable: bool = False) -> Steps[bool]:
        """Store the call's record and end the hold, in one transaction; what was spent is what the record cost.

        Where the record's cost is unknown, what was reserved stays as unknown spend. It may be called again, and then
        does nothing, unless with the record of another call, which is logged as by `log_invocation_nowait`. A hold that
        was given up, whose lease is over, or that was even released is settled all the same: what was spent counts.
        Cancelling abandons the wait, not the record.

        Args:
            record: of the call. Names it lacks are those of the reservation, and it is dated no later than that.
            durable: True commits with `synchronous=FULL`: record, spent amounts and the end of the hold survive a power
                cut where the disk is honest, as with `log_invocation(durable=True)`.

        Returns:
            True when committed; False where its id was stored already (what is reserved then stays until the lease is
            over), where the hold had been settled before, or where the logger or the record's privacy level stores
            nothing.

        Raises:
            TypeError: for anything but an `InvocationRecord`.
            CommitTimeoutError: not committed within `commit_timeout`; the record stays queued and is written, and the
                hold ended, when the file allows.
            StoreError: the record was dropped or quarantined.
        """
        request = self.settling(record, durable=durable)
        return request is not None and (yield from self._planner.settle(request, record))

    def settle_after_calls(self, record: InvocationRecord) -> Steps[bool]:
        """As `settle`, of what holds calls: after their rows, which wait in the queue and would not count meanwhile."""
        try:
            yield from self._planner.core.flushed()
        except BaseException as error:
            self.end_later(record)
            if isinstance(error, CommitTimeoutError):  # it ends the hold when it is written, which is after them
                return False
            raise
        return (yield from self.settle(record))

    def release(self) -> Steps[None]:
        """Free what was reserved: nothing was sent. Also after `give_up`; a hold that is settled is left alone.

        Raises:
            CommitTimeoutError, StoreError: the file cannot be written; it may be tried again, else the lease ends it.
        """
        before = self.end
        if self._becomes(_End.RELEASED):
            yield from self._ended(self._planner.ending(self.plan.hold_id, Amounts()), before)

    def give_up(self) -> Steps[None]:
        """Nobody knows what became of the call: what was reserved stays as unknown spend, to be reconciled."""
        if self._becomes(_End.GIVEN_UP):
            yield from self._ended(self._planner.ending(self.plan.hold_id, None), None)

    def settle_soon(self, record: InvocationRecord) -> None:
        """Settle with the queue: the record is accepted now, and ends the hold when it is written."""
        self._planner.queue(self.settling(record))

    def end_later(self, record: InvocationRecord | None) -> None:
        """Settle with the queue, which waits for nothing; without a record, give up. From a finalizer, too."""
        if record is not None:
            self.settle_soon(record)
        elif self._becomes(_End.GIVEN_UP):
            self._planner.submit(self._planner.ending(self.plan.hold_id, None))

    def settling(self, record: InvocationRecord, *, durable: bool = False) -> Request | None:
        """The request that stores the record and ends the hold; None, if it was settled: a further record is logged."""
        bound = self._bound(record)
        if self._becomes(_End.SETTLED, by=bound.invocation_id):
            return self._planner.settling(bound, self.plan, durable=durable)
        if bound.invocation_id != self._settled_by:
            self._planner.core.offer(bound)
        return None

    def disown(self) -> None:
        """Leave its end to the process that made it."""
        self.end = _End.SETTLED

    def _bound(self, record: InvocationRecord) -> InvocationRecord:
        """The record as it is stored: dated to the reservation, and with the names that were reserved for.

        So it counts in the windows that the call was admitted to. What the record says itself stands, but for a
        timestamp after the reservation; a model that answered under another name keeps the one that was asked for as
        `request_model`.
        """
        if not isinstance(record, InvocationRecord):
            raise TypeError(f"give an InvocationRecord, not {type(record).__name__}")
        names = self.request.names
        card = list(record.card)
        card[_TIMESTAMP] = min(card[_TIMESTAMP], self.plan.now_us)
        for at, name in _CARD:
            if card[at] is None:
                card[at] = names[name]
        given = record.extensions
        values: list[Any] = list(_NOTHING if given is None else given)
        for at, name in _EXTENSIONS:
            if values[at] is None:
                values[at] = names[name]
        if values[_REQUEST_MODEL] is None and names["model_name"] not in {None, card[_MODEL]}:
            values[_REQUEST_MODEL] = names["model_name"]
        extensions = tuple(values) if any(value is not None for value in values) else None
        return rebuilt(record, tuple(card), extensions)

    def _becomes(self, end: _End, *, by: str | None = None) -> bool:
        """Whether the hold ends so, which is up to who comes first: a record settles what was given up, or released."""
        with self._lock:
            if self.end is not None and self.end >= end:
                return False
            self.end, self._settled_by = end, by
            return True

    def _ended(self, request: Request | None, before: _End | None) -> Steps[None]:
        """End it without a record; an end that failed may be tried again."""
        try:
            yield from self._planner.serve(request)
        except Exception:
            with self._lock:
                if self.end is not _End.SETTLED:
                    self.end = before
            raise


class _BaseHold:
    """What a hold of either client tells of itself."""

    def __init__(self, reservation: Reservation) -> None:
        self._core = reservation

    @property
    def hold_id(self) -> str:
        """Names the hold in `budgets.holds()`, and the record where the call was begun with `invocation(budget=)`."""
        return self._core.plan.hold_id

    @property
    def usd(self) -> Decimal:
        """What is reserved, in USD."""
        return Decimal(self._core.plan.amounts.nanos) / NANOS

    @property
    def tokens(self) -> int:
        """How many tokens are reserved."""
        return self._core.plan.amounts.tokens

    @property
    def ended(self) -> bool:
        """Whether it was settled, released, or given up."""
        return self._core.end is not None

    def __repr__(self) -> str:
        return f"{type(self).__name__}(hold_id={shown(self.hold_id)}, usd={self.usd}, ended={self.ended})"


class AsyncHold(_BaseHold):
    """What was reserved for a call; made by `await telemetry.budgets.reserve(...)` or `async with`."""

    settle = awaited(Reservation.settle)
    release = awaited(Reservation.release)
    give_up = awaited(Reservation.give_up)

    def settle_soon(self, record: InvocationRecord) -> None:
        """As `settle`, without waiting for it: what fails is counted, and the record queued."""
        self._core.settle_soon(record)


class Hold(_BaseHold):
    """What was reserved for a call; a context manager, which gives up what was not settled or released."""

    settle = blocking(Reservation.settle)
    release = blocking(Reservation.release)
    give_up = blocking(Reservation.give_up)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.give_up()


def reserved(planner: ReservationPlanner, request: ReservationRequest) -> Steps[Reservation]:
    """Reserve what was asked for."""
    return (yield from taken(planner, (yield from planner.estimated(request))))


def taken(planner: ReservationPlanner, request: ReservationRequest) -> Steps[Reservation]:
    """Reserve what was asked for, which needs no estimate any more."""
    plan = planner.plan(request)
    try:
        if planner.core.engine.queue.qsize():  # what was accepted before counts: it may have spent all there is
            yield from planner.core.flushed()
        yield from planner.serve(planner.request(plan))
    except (BudgetError, DuplicateInvocationError):
        raise
    except BaseException:
        # Interrupted, cancelled, or a commit that failed and may be on disk all the same. Whether or not it came to be,
        # nobody will use it: the executor takes one after the other.
        planner.submit(planner.ending(plan.hold_id, Amounts(), plan.now_us))
        raise
    return Reservation(planner, request, plan)


def reserve_now(reserve: Callable[[], Steps[Reservation]]) -> Hold:
    """Reserve in the calling thread."""
    return Hold(run(reserve()))


class AsyncReservation:
    """Reserves when it is awaited or entered; see `AsyncBudgets.reserve`."""

    def __init__(self, reserve: Callable[[], Steps[Reservation]]) -> None:
        self._begin = reserve
        self._hold: AsyncHold | None = None

    def __await__(self) -> Generator[Any, None, AsyncHold]:
        return self._reserve().__await__()

    async def _reserve(self) -> AsyncHold:
        return AsyncHold(await run_async(self._begin()))

    async def __aenter__(self) -> AsyncHold:
        self._hold = await self._reserve()
        return self._hold

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._hold is not None:
            await self._hold.give_up()
