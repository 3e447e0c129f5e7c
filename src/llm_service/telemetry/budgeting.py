"""`telemetry.budgets` on both faces: reserve before a call, settle with its record after it.

What a hold is and which SQL it takes stands in `stores.budget_holding`; the teller serves it. Here stands what both
faces ask for, and how each waits.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import ROUND_CEILING, Decimal
from functools import partial
from time import monotonic, time_ns
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self, cast

from llm_service.budgets.limits import NANOS, Amounts, Policy
from llm_service.budgets.policies import Policies
from llm_service.errors import (
    BudgetError,
    CommitTimeoutError,
    JustificationNeededError,
    QueryError,
    RecordDroppedError,
    StoreError,
    UnknownPriceError,
    shown,
)
from llm_service.telemetry.budget_reports import BudgetHold, BudgetStatus, read_check, read_holds, read_status
from llm_service.telemetry.fields import MAX_COST_USD, MAX_TOKENS
from llm_service.telemetry.pipeline.ledger import DropReason, Outcome
from llm_service.telemetry.pipeline.teller import Request, Work
from llm_service.telemetry.pipeline.waiters import LoopWaiter
from llm_service.telemetry.records import (
    CARD_FIELDS,
    EXTENSION_FIELDS,
    Amount,
    InvocationRecord,
    new_id,
    rebuilt,
)
from llm_service.telemetry.stores.budget_counting import call_of
from llm_service.telemetry.stores.budget_holding import Ask

if TYPE_CHECKING:
    from llm_service.telemetry.asking import AsyncQuestions, Questions
    from llm_service.telemetry.face import Face

__all__ = ["NAMES", "AsyncBudgets", "AsyncHold", "AsyncReservation", "Budgets", "Hold"]

NAMES: Final = ("agent_name", "tool_name", "model_name", "provider", "user_id", "session_id", "trace_id")
_TIMESTAMP: Final = CARD_FIELDS.index("timestamp")
_MODEL: Final = CARD_FIELDS.index("model_name")
_CARD: Final = tuple((CARD_FIELDS.index(name), name) for name in NAMES if name in CARD_FIELDS)
_EXTENSIONS: Final = tuple((EXTENSION_FIELDS.index(name), name) for name in NAMES if name in EXTENSION_FIELDS)
_REQUEST_MODEL: Final = EXTENSION_FIELDS.index("request_model")
_LEVEL: Final = CARD_FIELDS.index("privacy_level")


@dataclass(frozen=True, slots=True)
class Wish:
    """What somebody wants to reserve, as it was said; see `Budgets.reserve`."""

    hold_id: str
    names: dict[str, str | None]
    usd: Amount | None
    tokens: int | None
    justification: str | None
    lease: float | None


class _Held:
    """What a hold of either face knows."""

    def __init__(self, budgets: "_Shared", wish: Wish, ask: Ask) -> None:
        self._budgets = budgets
        self._wish = wish
        self._ask = ask
        self._ended = False

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
        return self._ended

    def __repr__(self) -> str:
        return f"{type(self).__name__}(hold_id={shown(self.hold_id)}, usd={self.usd}, ended={self._ended})"

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
        values: list[Any] = list(given) if given is not None else [None] * (len(EXTENSION_FIELDS) + 2)
        for at, name in _EXTENSIONS:
            if values[at] is None:
                values[at] = names[name]
        if values[_REQUEST_MODEL] is None and names["model_name"] not in {None, card[_MODEL]}:
            values[_REQUEST_MODEL] = names["model_name"]
        extensions = tuple(values) if any(value is not None for value in values) else None
        return rebuilt(record, tuple(card), extensions)

    def _settling(self, record: InvocationRecord) -> Request | None:
        """The request that stores the record, which ends the hold."""
        bound = self._bound(record)
        self._ended = True
        return self._budgets.settling(bound, self._ask)

    def _ending(self, kept: Amounts | None) -> Request | None:
        """The request that ends the hold without a record; what is kept (None: all) stays as unknown spend."""
        self._ended = True
        return self._budgets.ending(self.hold_id, kept)


class AsyncHold(_Held):
    """What was reserved for a call; made by `await telemetry.budgets.reserve(...)` or `async with`."""

    async def settle(self, record: InvocationRecord) -> bool:
        """Store the call's record and end the hold, in one transaction; what was spent is what the record cost.

        Where the record's cost is unknown, what was reserved stays as unknown spend. It may be called again, and then
        does nothing. Cancelling abandons the wait, not the record.

        Args:
            record: of the call. Names it lacks are those of the reservation, and it is dated no later than that.

        Returns:
            True when committed; False where its id was stored already, where the hold had been settled before, or where
            the logger or the record's privacy level stores nothing.

        Raises:
            TypeError: for anything but an `InvocationRecord`.
            CommitTimeoutError: not committed within `commit_timeout`; the record stays queued and is written, and the
                hold ended, when the file allows.
            StoreError: the record was dropped or quarantined.
        """
        if self._ended:
            return False
        request = self._settling(record)
        return self._budgets.settled(await _wait(self._budgets, request), record)

    def settle_soon(self, record: InvocationRecord) -> None:
        """As `settle`, without waiting for it: what fails is counted, and the record queued."""
        if not self._ended:
            self._budgets.submit(self._settling(record))

    async def release(self) -> None:
        """Free what was reserved: nothing was sent. After an end of the hold it does nothing."""
        if not self._ended:
            self._budgets.done(await _wait(self._budgets, self._ending(Amounts())))

    async def give_up(self) -> None:
        """Nobody knows what became of the call: what was reserved stays as unknown spend, to be reconciled."""
        if not self._ended:
            self._budgets.done(await _wait(self._budgets, self._ending(None)))


class Hold(_Held):
    """What was reserved for a call; a context manager. See `AsyncHold` for what its methods promise."""

    def settle(self, record: InvocationRecord) -> bool:
        """See `AsyncHold.settle`."""
        if self._ended:
            return False
        return self._budgets.settled(self._budgets.serve(self._settling(record)), record)

    def release(self) -> None:
        """See `AsyncHold.release`."""
        if not self._ended:
            self._budgets.done(self._budgets.serve(self._ending(Amounts())))

    def give_up(self) -> None:
        """See `AsyncHold.give_up`."""
        if not self._ended:
            self._budgets.done(self._budgets.serve(self._ending(None)))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.give_up()


class AsyncReservation:
    """Reserves when it is awaited or entered; see `AsyncBudgets.reserve`."""

    def __init__(self, budgets: "AsyncBudgets", wish: Wish) -> None:
        self._budgets = budgets
        self._wish = wish
        self._hold: AsyncHold | None = None

    def __await__(self) -> Generator[Any, None, AsyncHold]:
        return self._reserve().__await__()

    async def _reserve(self) -> AsyncHold:
        ask = self._budgets.ask(self._wish)
        hold = AsyncHold(self._budgets, self._wish, ask)
        request = self._budgets.reserving(ask)
        if request is not None:
            try:
                await _wait(self._budgets, request)
            except BaseException:
                # Whether or not it came to be, nobody will use it: the teller takes one after the other.
                self._budgets.submit(self._budgets.ending(ask.hold_id, Amounts()))
                raise
            self._budgets.done(request)
        return hold

    async def __aenter__(self) -> AsyncHold:
        self._hold = await self._reserve()
        return self._hold

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._hold is not None:
            await self._hold.give_up()


class _Shared:
    """What `telemetry.budgets` does on both faces."""

    def __init__(self, face: "Face") -> None:
        self._face = face
        self._engine = face._engine  # noqa: SLF001 - the face's own other half
        self._timeout = face.settings.commit_timeout

    @property
    def policies(self) -> Policies:
        """The policies of this logger; empty where it has none."""
        return self._engine.terms.policies or Policies({})

    # Wishes become asks, asks become requests

    def ask(self, wish: Wish) -> Ask:
        """What a wish comes to.

        Raises:
            BudgetError: its price is unknown where that blocks, or it lacks a justification.
            RecordError: (a `ValueError`) for a name that no record can have.
            QueryError: (a `ValueError`) for an amount that cannot be reserved.
            StoreError: the logger is closed.
        """
        if self._engine.closing:
            raise StoreError(f"{self._face.db_path}: nothing can be reserved, the logger is closed", self._face.db_path)
        record = InvocationRecord(invocation_id=wish.hold_id, **cast("Any", wish.names))
        (clean,) = self._engine.redactor.records([record], Counter())
        call = call_of(clean)
        policies = self.policies.applying(call)
        usd = _usd(wish.usd)
        nanos = _unknown(policies, wish.names["model_name"]) if usd is None else _nanos(usd)
        for policy in policies:
            over = policy.justification_over_nanos
            if over is not None and nanos > over and not wish.justification:
                raise JustificationNeededError(policy.name, Decimal(nanos) / NANOS, Decimal(over) / NANOS)
        lease = wish.lease if wish.lease is not None else min((policy.lease for policy in policies), default=600.0)
        return Ask(
            hold_id=clean.invocation_id,
            call=call,
            amounts=Amounts(nanos, _tokens(wish.tokens), 1),
            policies=policies,
            now_us=time_ns() // 1000,
            lease_us=int(_lease(lease) * 1_000_000),
            justification=wish.justification,
        )

    def reserving(self, ask: Ask) -> Request | None:
        """The request that reserves; None where this logger stores nothing."""
        if self._engine.stores_nothing:
            return None
        request = Request(None, deadline=monotonic() + self._timeout)
        request.work = lambda keeper, connection: keeper.reserve(connection, ask, again=request.tries > 0)
        return request

    def settling(self, record: InvocationRecord, ask: Ask) -> Request | None:
        """The request that stores a record and ends its hold."""
        if self._engine.stores_nothing or record.card[_LEVEL] == "none":
            # Not stored, so no record can say what was spent: what it cost, where that is known, stays as unknown.
            self._engine.queue.offer(record)
            cost = record.cost_usd
            kept = ask.amounts if cost is None else ask.amounts._replace(nanos=int(cost * 1e9 + 0.5))
            return None if self._engine.stores_nothing else self.ending(ask.hold_id, kept)
        if record.invocation_id != ask.hold_id:
            self._engine.terms.hold_ids[record.invocation_id] = ask.hold_id
        return Request(None, record, deadline=monotonic() + self._timeout)

    def ending(self, hold_id: str, kept: Amounts | None) -> Request | None:
        """The request that ends a hold without a record."""
        if self._engine.stores_nothing:
            return None
        work: Work = lambda keeper, connection: keeper.end(connection, hold_id, kept)  # noqa: E731 - its type is told
        return Request(work, deadline=monotonic() + self._timeout)

    # Requests come back

    def submit(self, request: Request | None) -> None:
        """Have the teller's thread serve it, if there is anything to do."""
        if request is not None:
            self._engine.teller.submit(request)

    def serve(self, request: Request | None) -> Request | None:
        """Serve it in this thread."""
        if request is not None:
            self._engine.teller.serve(request)
        return request

    def done(self, request: Request | None) -> Any:
        """What came of it.

        Raises:
            BudgetExceeded: a hard limit has no room.
            StoreError: the file could not be used, or not in time.
        """
        if request is None:
            return None
        error = request.error
        if error is None:
            return request.outcome
        if isinstance(error, BudgetError | StoreError):
            raise error
        raise StoreError(f"{self._face.db_path} cannot be used: {error}", self._face.db_path) from error

    def settled(self, request: Request | None, record: InvocationRecord) -> bool:
        """Whether the record of a settlement is stored by it."""
        outcome = self.done(request)
        if outcome is Outcome.QUARANTINED or isinstance(outcome, DropReason):
            raise self._face._refused(outcome, record) or RecordDroppedError(str(outcome))  # noqa: SLF001 - as above
        return outcome is Outcome.WRITTEN

    def wish(self, usd: Amount | None, tokens: int | None, names: Mapping[str, str | None], **other: Any) -> Wish:
        """A wish of these arguments."""
        unknown = sorted(set(names) - set(NAMES))
        if unknown:
            raise TypeError(f"unknown argument {shown(unknown[0])}; the names of a call are: {', '.join(NAMES)}")
        return Wish(
            hold_id=other.get("hold_id") or new_id(),
            names={name: names.get(name) for name in NAMES},
            usd=usd,
            tokens=tokens,
            justification=other.get("justification"),
            lease=other.get("lease"),
        )


async def _wait(budgets: _Shared, request: Request | None) -> Request | None:
    if request is not None:
        waiter = LoopWaiter()
        request.waiter = waiter
        budgets.submit(request)
        await asyncio.wait([waiter.future])
    return request


class AsyncBudgets(_Shared):
    """`telemetry.budgets` of the async face."""

    def reserve(
        self,
        *,
        usd: Amount | None = None,
        tokens: int | None = None,
        justification: str | None = None,
        lease: float | None = None,
        **names: str | None,
    ) -> AsyncReservation:
        """See `Budgets.reserve`: to be awaited, or entered with `async with`."""
        return self.reserve_as(self.wish(usd, tokens, names, justification=justification, lease=lease))

    def reserve_as(self, wish: Wish) -> AsyncReservation:
        """Reserve what a wish says."""
        return AsyncReservation(self, wish)

    async def status(self, *, fresh: bool = True) -> list[BudgetStatus]:
        """See `Budgets.status`."""
        policies, now = self.policies, datetime.now(UTC)
        return await self._asked(lambda fetch: read_status(fetch, policies, now), fresh=fresh)

    async def check(self, usd: Amount | None = None, *, tokens: int = 0, **names: str | None) -> list[BudgetStatus]:
        """See `Budgets.check`."""
        return await self._asked(_check(self, usd, tokens, names), fresh=True)

    async def holds(self) -> list[BudgetHold]:
        """See `Budgets.holds`."""
        now = datetime.now(UTC)
        return await self._asked(lambda fetch: read_holds(fetch, now), fresh=False)

    async def release(self, hold_id: str) -> bool:
        """See `Budgets.release`."""
        return bool(self.done(await _wait(self, self.ending(hold_id, Amounts()))))

    async def _asked(self, question: Callable[[Any], Any], *, fresh: bool) -> Any:
        return await cast("AsyncQuestions", self._face)._ask(question, fresh=fresh)  # noqa: SLF001 - as above


class Budgets(_Shared):
    """`telemetry.budgets` of the sync face."""

    def reserve(
        self,
        *,
        usd: Amount | None = None,
        tokens: int | None = None,
        justification: str | None = None,
        lease: float | None = None,
        **names: str | None,
    ) -> Hold:
        """Reserve for one call in every budget that covers it, all or nothing, in one transaction of microseconds.

        The hold counts against the limits, across all processes that write the file, until the call's record settles
        it. A block that ends without `settle` or `release`, and a process that dies, leave what was reserved as unknown
        spend, which still counts and can be reconciled. Limits are exact where no call costs more than its hold.

        Args:
            usd: what the call may cost at most; None for what the policies say of calls whose price is unknown.
            tokens: what it may use at most.
            justification: why, where a policy's `require_justification_over_usd` asks for it; kept with the hold.
            lease: seconds after which a hold that nobody ended counts as unknown; default the policies' `lease`.
            **names: `agent_name`, `tool_name`, `model_name`, `provider`, `user_id`, `session_id`, `trace_id` of the call.

        Raises:
            BudgetExceeded: a hard limit has no room for it; the error names it, with all amounts.
            UnknownPriceError, JustificationNeededError: see there; all three are `BudgetError`.
            RecordError, QueryError: (`ValueError`) for a name or an amount that cannot be.
            CommitTimeoutError: the file was locked or full for `commit_timeout`; nothing was reserved.
            StoreError: the file cannot be used, or the logger is closed.
        """
        return self.reserve_as(self.wish(usd, tokens, names, justification=justification, lease=lease))

    def reserve_as(self, wish: Wish) -> Hold:
        """Reserve what a wish says."""
        ask = self.ask(wish)
        hold = Hold(self, wish, ask)
        request = self.reserving(ask)
        try:
            self.done(self.serve(request))
        except CommitTimeoutError:
            self.submit(self.ending(ask.hold_id, Amounts()))  # its commit may have failed and be on disk
            raise
        return hold

    def status(self, *, fresh: bool = True) -> list[BudgetStatus]:
        """Every limit of this logger's policies beside what its window holds now, with a forecast to the window's end.

        Args:
            fresh: False reads without flushing first.

        Raises:
            CommitTimeoutError, StoreError: as for `get_daily_costs`.
        """
        policies, now = self.policies, datetime.now(UTC)
        return self._asked(lambda fetch: read_status(fetch, policies, now), fresh=fresh)

    def check(self, usd: Amount | None = None, *, tokens: int = 0, **names: str | None) -> list[BudgetStatus]:
        """The limits that a call would have to fit into, and whether it `fits` each now. Reserves nothing.

        Args:
            usd: what it would cost at most.
            tokens: what it would use at most.
            **names: as for `reserve`.

        Raises:
            QueryError, RecordError: (`ValueError`) for what cannot be.
            CommitTimeoutError, StoreError: as for `get_daily_costs`.
        """
        return self._asked(_check(self, usd, tokens, names), fresh=True)

    def holds(self) -> list[BudgetHold]:
        """All holds that are open or of unknown outcome, oldest first."""
        now = datetime.now(UTC)
        return self._asked(lambda fetch: read_holds(fetch, now), fresh=False)

    def release(self, hold_id: str) -> bool:
        """Free a hold, open or of unknown outcome, of which one knows that nothing was spent. False where there is none.

        Raises:
            CommitTimeoutError, StoreError: the file cannot be written.
        """
        return bool(self.done(self.serve(self.ending(hold_id, Amounts()))))

    def _asked(self, question: Callable[[Any], Any], *, fresh: bool) -> Any:
        return cast("Questions", self._face)._ask(question, fresh=fresh)  # noqa: SLF001 - as above


def _check(
    budgets: _Shared, usd: Amount | None, tokens: int, names: Mapping[str, str | None]
) -> Callable[[Any], list[BudgetStatus]]:
    wish = budgets.wish(usd, tokens, names)
    record = InvocationRecord(invocation_id=wish.hold_id, **cast("Any", wish.names))
    call = call_of(record)
    policies = budgets.policies.applying(call)
    given = _usd(usd)
    nanos = _unknown(policies, wish.names["model_name"]) if given is None else _nanos(given)
    asked = {"usd": nanos, "tokens": _tokens(tokens), "calls": 1}
    return partial(read_check, policies=policies, call=call, asked=cast("Any", asked), now=datetime.now(UTC))


def _unknown(policies: list[Policy], model_name: str | None) -> int:
    """What a call of unknown price is taken to cost: the most that any policy says."""
    nanos = 0
    for policy in policies:
        if not any(limit.metric == "usd" for limit in policy.limits) or policy.unknown_price == "allow":
            continue
        if policy.unknown_price == "block" or policy.unknown_price_nanos is None:
            raise UnknownPriceError(policy.name, model_name)
        nanos = max(nanos, policy.unknown_price_nanos)
    return nanos


def _usd(value: object) -> Decimal | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        raise QueryError("usd", value, "give a number of USD, or None where it is unknown")
    usd = value if isinstance(value, Decimal) else Decimal(str(value))
    if not usd.is_finite() or not 0 <= usd <= Decimal(str(MAX_COST_USD)):
        raise QueryError("usd", value, f"give USD from 0 to {MAX_COST_USD:,.0f}")
    return usd


def _nanos(usd: Decimal) -> int:
    return int((usd * NANOS).to_integral_value(ROUND_CEILING))


def _tokens(value: object) -> int:
    if value is None:
        return 0
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MAX_TOKENS:
        raise QueryError("tokens", value, f"give a whole number from 0 to {MAX_TOKENS:,}")
    return value


def _lease(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 366 * 86_400:
        raise QueryError("lease", value, "give seconds above 0, up to a year")
    return float(value)
