"""A hold in a caller's hands: settled with the call's record, released, or given up; on both loggers."""

from collections.abc import Generator
from decimal import Decimal
from enum import IntEnum
from threading import RLock
from types import TracebackType
from typing import Any, Final, Protocol, Self

from llm_service.budgets.limits import NANOS, Amounts
from llm_service.errors import BudgetError, DuplicateInvocationError, shown
from llm_service.telemetry.client.reservation_requests import NAMES, ReservationRequest
from llm_service.telemetry.record.record import CARD_FIELDS, CONTENT_FIELDS, EXTENSION_FIELDS, InvocationRecord, rebuilt
from llm_service.telemetry.stores.sqlite.budget_reservations import ReservationPlan
from llm_service.telemetry.writer.budget_executor import Request
from llm_service.telemetry.writer.waiters import LoopWaiter

__all__ = ["AsyncHold", "AsyncReservation", "Hold", "Planner", "wait"]

_TIMESTAMP: Final = CARD_FIELDS.index("timestamp")
_MODEL: Final = CARD_FIELDS.index("model_name")
_CARD: Final = tuple((CARD_FIELDS.index(name), name) for name in NAMES if name in CARD_FIELDS)
_EXTENSIONS: Final = tuple((EXTENSION_FIELDS.index(name), name) for name in NAMES if name in EXTENSION_FIELDS)
_REQUEST_MODEL: Final = EXTENSION_FIELDS.index("request_model")
_NOTHING: Final = (None,) * (len(EXTENSION_FIELDS) + len(CONTENT_FIELDS))


class Planner(Protocol):
    """What holds need of the budgets they come from: requests are made, served and looked at there."""

    def plan(self, wish: ReservationRequest) -> ReservationPlan:
        """What a wish comes to."""
        ...

    def reserving(self, plan: ReservationPlan) -> Request | None:
        """The request that reserves; None where nothing is stored."""
        ...

    def settling(self, record: InvocationRecord, plan: ReservationPlan, *, durable: bool = False) -> Request | None:
        """The request that stores a record and ends its hold."""
        ...

    def ending(self, hold_id: str, kept: Amounts | None) -> Request | None:
        """The request that ends a hold without a record; what is kept (None: all) stays as unknown spend."""
        ...

    def taking_back(self, plan: ReservationPlan) -> Request | None:
        """The request that ends what an ask has reserved, if it has."""
        ...

    def submit(self, request: Request | None) -> None:
        """Have the teller's thread serve it."""
        ...

    def queue(self, request: Request | None) -> None:
        """Have the record that settles written like any other."""
        ...

    def serve(self, request: Request | None) -> Request | None:
        """Serve it in this thread."""
        ...

    def done(self, request: Request | None) -> Any:
        """What came of it, or the error of it."""
        ...

    def settled(self, request: Request | None, record: InvocationRecord) -> bool:
        """Whether the record of a settlement is stored by it."""
        ...


class AsyncPlanner(Planner, Protocol):
    """A desk that can be awaited."""

    def wants_estimate(self, wish: ReservationRequest) -> bool:
        """Whether a limit counts what was not said."""
        ...

    async def estimated(self, wish: ReservationRequest) -> ReservationRequest:
        """The wish with an estimate of what it does not say."""
        ...


class _End(IntEnum):
    """How a hold has ended; a later one of these may follow an earlier one."""

    GIVEN_UP = 1
    RELEASED = 2
    SETTLED = 3


class _Held:
    """What a hold of either logger knows."""

    def __init__(self, budgets: Planner, wish: ReservationRequest, plan: ReservationPlan) -> None:
        self._budgets = budgets
        self._wish = wish
        self._ask = plan
        self._end: _End | None = None
        self._lock = RLock()  # a signal handler may come in between

    @property
    def hold_id(self) -> str:
        """Names the hold in `budgets.holds()`, and the record where the call was begun with `invocation(budget=)`."""
        return self._ask.hold_id

    @property
    def usd(self) -> Decimal:
        """What is reserved, in USD."""
        return Decimal(self._ask.amounts.nanos) / NANOS

    @property
    def tokens(self) -> int:
        """How many tokens are reserved."""
        return self._ask.amounts.tokens

    @property
    def ended(self) -> bool:
        """Whether it was settled, released, or given up."""
        return self._end is not None

    def __repr__(self) -> str:
        return f"{type(self).__name__}(hold_id={shown(self.hold_id)}, usd={self.usd}, ended={self.ended})"

    def _bound(self, record: InvocationRecord) -> InvocationRecord:
        """The record as it is stored: dated to the reservation, and with the names that were reserved for.

        So it counts in the windows that the call was admitted to. What the record says itself stands, but for a
        timestamp after the reservation; a model that answered under another name keeps the one that was asked for as
        `request_model`.
        """
        if not isinstance(record, InvocationRecord):
            raise TypeError(f"give an InvocationRecord, not {type(record).__name__}")
        names = self._wish.names
        card = list(record.card)
        card[_TIMESTAMP] = min(card[_TIMESTAMP], self._ask.now_us)
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

    def _becomes(self, end: "_End") -> bool:
        """Whether the hold ends so, which is up to who comes first: a record settles what was given up, or released."""
        with self._lock:
            if self._end is not None and self._end >= end:
                return False
            self._end = end
            return True

    def end_later(self, record: InvocationRecord | None) -> None:
        """Settle with the queue, which waits for nothing; without a record, give up. From a finalizer, too."""
        if record is None:
            if self._becomes(_End.GIVEN_UP):
                self._budgets.submit(self._giving_up())
            return
        bound = self._bound(record)
        if self._becomes(_End.SETTLED):
            self._budgets.queue(self._settling(bound, durable=False))

    def _settling(self, record: InvocationRecord, *, durable: bool) -> Request | None:
        """The request that stores the record, which ends the hold."""
        return self._budgets.settling(record, self._ask, durable=durable)

    def _freeing(self) -> Request | None:
        return self._budgets.ending(self.hold_id, Amounts())

    def _giving_up(self) -> Request | None:
        return self._budgets.ending(self.hold_id, None)

    def _ended(self, request: Request | None, before: "_End | None") -> None:
        """Look what came of an end without a record; one that failed may be tried again."""
        try:
            self._budgets.done(request)
        except Exception:
            with self._lock:
                if self._end is not _End.SETTLED:
                    self._end = before
            raise


class AsyncHold(_Held):
    """What was reserved for a call; made by `await telemetry.budgets.reserve(...)` or `async with`."""

    async def settle(self, record: InvocationRecord, *, durable: bool = False) -> bool:
        """Store the call's record and end the hold, in one transaction; what was spent is what the record cost.

        Where the record's cost is unknown, what was reserved stays as unknown spend. It may be called again, and then
        does nothing. A hold that was given up, whose lease is over, or that was even released is settled all the same:
        what was spent counts. Cancelling abandons the wait, not the record.

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
        bound = self._bound(record)
        if not self._becomes(_End.SETTLED):
            return False
        return self._budgets.settled(await wait(self._budgets, self._settling(bound, durable=durable)), record)

    def settle_soon(self, record: InvocationRecord) -> None:
        """As `settle`, without waiting for it: what fails is counted, and the record queued."""
        bound = self._bound(record)
        if self._becomes(_End.SETTLED):
            self._budgets.submit(self._settling(bound, durable=False))

    async def release(self) -> None:
        """Free what was reserved: nothing was sent. Also after `give_up`; a hold that is settled is left alone.

        Raises:
            CommitTimeoutError, StoreError: the file cannot be written; it may be tried again, else the lease ends it.
        """
        before = self._end
        if self._becomes(_End.RELEASED):
            self._ended(await wait(self._budgets, self._freeing()), before)

    async def give_up(self) -> None:
        """Nobody knows what became of the call: what was reserved stays as unknown spend, to be reconciled."""
        if self._becomes(_End.GIVEN_UP):
            self._ended(await wait(self._budgets, self._giving_up()), None)


class Hold(_Held):
    """What was reserved for a call; a context manager. See `AsyncHold` for what its methods promise."""

    def settle(self, record: InvocationRecord, *, durable: bool = False) -> bool:
        """See `AsyncHold.settle`."""
        bound = self._bound(record)
        if not self._becomes(_End.SETTLED):
            return False
        return self._budgets.settled(self._budgets.serve(self._settling(bound, durable=durable)), record)

    def release(self) -> None:
        """See `AsyncHold.release`."""
        before = self._end
        if self._becomes(_End.RELEASED):
            self._ended(self._budgets.serve(self._freeing()), before)

    def give_up(self) -> None:
        """See `AsyncHold.give_up`."""
        if self._becomes(_End.GIVEN_UP):
            self._ended(self._budgets.serve(self._giving_up()), None)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.give_up()


class AsyncReservation:
    """Reserves when it is awaited or entered; see `AsyncBudgets.reserve`."""

    def __init__(self, budgets: AsyncPlanner, wish: ReservationRequest) -> None:
        self._budgets = budgets
        self._wish = wish
        self._hold: AsyncHold | None = None

    def __await__(self) -> Generator[Any, None, AsyncHold]:
        return self._reserve().__await__()

    async def _reserve(self) -> AsyncHold:
        wish = self._wish
        if self._budgets.wants_estimate(wish):
            wish = await self._budgets.estimated(wish)
        plan = self._budgets.plan(wish)
        hold = AsyncHold(self._budgets, wish, plan)
        request = self._budgets.reserving(plan)
        if request is not None:
            try:
                await wait(self._budgets, request)
                self._budgets.done(request)
            except (BudgetError, DuplicateInvocationError):
                raise
            except BaseException:
                # Cancelled, or a commit that failed and may be on disk all the same. Whether or not it came to be,
                # nobody will use it: the teller takes one after the other.
                self._budgets.submit(self._budgets.taking_back(plan))
                raise
        return hold

    async def __aenter__(self) -> AsyncHold:
        self._hold = await self._reserve()
        return self._hold

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._hold is not None:
            await self._hold.give_up()


async def wait(budgets: Planner, request: Request | None) -> Request | None:
    """Have the teller's thread serve a request, and wait for it; cancelling abandons the wait only."""
    if request is not None:
        waiter = LoopWaiter()
        request.waiter = waiter
        budgets.submit(request)
        await waiter.future
    return request
