"""`telemetry.budgets` on both faces: reserve before a call, settle with its record after it.

What a hold is and which SQL it takes stands in `stores.budget_holding`; the teller serves it. Here stands what both
faces ask for, and how each waits.
"""

from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from time import monotonic, time_ns
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

from llm_service.budgets.limits import NANOS, Amounts
from llm_service.budgets.policies import Policies
from llm_service.budgets.scopes import Call
from llm_service.errors import BudgetError, CommitTimeoutError, QueryError, RecordDroppedError, StoreError
from llm_service.estimates.tokens import Prompt
from llm_service.telemetry import wishes
from llm_service.telemetry.budget_reports import BudgetHold, BudgetStatus, read_check, read_holds, read_status
from llm_service.telemetry.holds import AsyncReservation, Hold, wait
from llm_service.telemetry.pipeline.ledger import DropReason, Outcome
from llm_service.telemetry.pipeline.teller import Request, Work
from llm_service.telemetry.queries import Fetch
from llm_service.telemetry.records import CARD_FIELDS, Amount, InvocationRecord
from llm_service.telemetry.stores.budget_counting import call_of
from llm_service.telemetry.stores.budget_holding import Ask
from llm_service.telemetry.wishes import Wish

if TYPE_CHECKING:
    from llm_service.telemetry.asking import AsyncQuestions, Questions
    from llm_service.telemetry.estimating import AsyncEstimating, Estimating
    from llm_service.telemetry.face import Face

__all__ = ["AsyncBudgets", "Budgets"]

_T = TypeVar("_T")
_MOST_CALLS: Final = 4096
_LEVEL: Final = CARD_FIELDS.index("privacy_level")


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
        call = self.call(wish)
        policies = self.policies.applying(call)
        return Ask(
            hold_id=self._engine.redactor.invocation_id(wish.hold_id),
            call=call,
            amounts=Amounts(wishes.nanos(wish, policies), wishes.tokens(wish.tokens), 1),
            policies=policies,
            now_us=time_ns() // 1000,
            lease_us=wishes.lease_us(wish.lease, policies),
            justification=wish.justification,
        )

    def call(self, wish: Wish) -> Call:
        """The names of a call as its record will have them: checked, and without secrets."""
        engine = self._engine
        names = tuple(wish.names.values())
        call = engine.clean_calls.get(names)
        if call is None:
            record = InvocationRecord(invocation_id=wish.hold_id, **cast("Any", wish.names))
            (clean,) = engine.redactor.records([record], Counter())
            call = call_of(clean)
            if len(engine.clean_calls) >= _MOST_CALLS:
                engine.clean_calls.clear()
            engine.clean_calls[names] = call
        return call

    def wants_estimate(self, wish: Wish) -> bool:
        """Whether a limit that applies to the call counts what was not said of it."""
        return bool(self.policies) and wish.wants_estimate(self.policies.applying(self.call(wish)))

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

    def reconciling(self, hold: BudgetHold | None, hold_id: str, usd: Amount) -> Request:
        """The request that puts a known cost in the place of what was reserved.

        Raises:
            QueryError: (a `ValueError`) there is no such hold, its call is under way, or the amount cannot be.
        """
        if hold is None:
            raise QueryError("hold_id", hold_id, "there is no such hold; see budgets.holds()")
        if hold["state"] == "held" and not hold["expired"]:
            raise QueryError("hold_id", hold_id, "its call is under way: settle or release it")
        cost = wishes.nanos(Wish(usd=usd, justification="reconciled"), ()) / NANOS
        deadline = monotonic() + self._timeout
        if hold["recorded"]:
            return Request(lambda keeper, connection: keeper.price(connection, hold_id, cost), deadline=deadline)
        names = hold["names"]
        record = InvocationRecord(
            invocation_id=hold_id,
            agent_name=names.get("agent"),
            tool_name=names.get("tool"),
            model_name=names.get("model"),
            user_id=names.get("user"),
            session_id=names.get("session"),
            trace_id=names.get("run"),
            timestamp=datetime.fromisoformat(hold["reserved_at"]),
            cost_usd=cost,
            cost_source="reported",
            status="error",
            error_type="outcome_unknown",
            source="budgets:reconcile",
        )
        return Request(None, record, deadline=deadline)

    # Requests come back

    def expiring(self) -> Request | None:
        """The request that ends holds whose lease is over: any does, now and then, so this one does nothing else."""
        self._engine.teller.expire_now()
        nothing: Work = lambda _keeper, _connection: None  # noqa: E731 - its type is told
        return None if self._engine.stores_nothing else Request(nothing, deadline=monotonic() + self._timeout)

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


class AsyncBudgets(_Shared):
    """`telemetry.budgets` of the async face."""

    def reserve(
        self,
        *,
        usd: Amount | None = None,
        tokens: int | None = None,
        agent_name: str | None = None,
        tool_name: str | None = None,
        model_name: str | None = None,
        provider: str | None = None,
        user_id: str | None = None,
        session_id: str | None = None,
        trace_id: str | None = None,
        prompt: Prompt | None = None,
        prompt_tokens: int | None = None,
        max_tokens: int | None = None,
        justification: str | None = None,
        lease: float | None = None,
    ) -> AsyncReservation:
        """See `Budgets.reserve`: to be awaited, or entered with `async with`."""
        return self.reserve_as(Wish(
            agent_name=agent_name, tool_name=tool_name, model_name=model_name, provider=provider, user_id=user_id,
            session_id=session_id, trace_id=trace_id,
            usd=usd, tokens=tokens, prompt=prompt, prompt_tokens=prompt_tokens, max_tokens=max_tokens,
            justification=justification, lease=lease,
        ))  # fmt: skip

    async def estimated(self, wish: Wish) -> Wish:
        """The wish with an estimate of what it does not say."""
        if not self.wants_estimate(wish):
            return wish
        return wish.with_estimate(await cast("AsyncEstimating", self._face).estimate(**_question(wish)))

    def reserve_as(self, wish: Wish) -> AsyncReservation:
        """Reserve what a wish says."""
        return AsyncReservation(self, wish)

    async def status(self, *, fresh: bool = True) -> list[BudgetStatus]:
        """See `Budgets.status`."""
        policies, now = self.policies, datetime.now(UTC)
        return await self._asked(lambda fetch: read_status(fetch, policies, now), fresh=fresh)

    async def check(
        self,
        usd: Amount | None = None,
        *,
        tokens: int | None = None,
        agent_name: str | None = None,
        tool_name: str | None = None,
        model_name: str | None = None,
        provider: str | None = None,
        user_id: str | None = None,
        session_id: str | None = None,
        trace_id: str | None = None,
    ) -> list[BudgetStatus]:
        """See `Budgets.check`."""
        wish = Wish(
            agent_name=agent_name, tool_name=tool_name, model_name=model_name, provider=provider, user_id=user_id,
            session_id=session_id, trace_id=trace_id,
            usd=usd, tokens=tokens, justification="only looking",
        )  # fmt: skip
        return await self._asked(_check(self, await self.estimated(wish)), fresh=True)

    async def holds(self) -> list[BudgetHold]:
        """See `Budgets.holds`."""
        now = datetime.now(UTC)
        return await self._asked(lambda fetch: read_holds(fetch, now), fresh=False)

    async def release(self, hold_id: str) -> bool:
        """See `Budgets.release`."""
        return bool(self.done(await wait(self, self.ending(hold_id, Amounts()))))

    async def reconcile(self, hold_id: str, usd: Amount) -> bool:
        """See `Budgets.reconcile`."""
        await self.expire()
        request = self.reconciling(_find(await self.holds(), hold_id), hold_id, usd)
        return self.done(await wait(self, request)) in {True, Outcome.WRITTEN}

    async def expire(self) -> None:
        """See `Budgets.expire`."""
        self.done(await wait(self, self.expiring()))

    async def _asked(self, question: Callable[[Fetch], _T], *, fresh: bool) -> _T:
        return await cast("AsyncQuestions", self._face)._ask(question, fresh=fresh)  # noqa: SLF001 - as above


class Budgets(_Shared):
    """`telemetry.budgets` of the sync face."""

    def reserve(
        self,
        *,
        usd: Amount | None = None,
        tokens: int | None = None,
        agent_name: str | None = None,
        tool_name: str | None = None,
        model_name: str | None = None,
        provider: str | None = None,
        user_id: str | None = None,
        session_id: str | None = None,
        trace_id: str | None = None,
        prompt: Prompt | None = None,
        prompt_tokens: int | None = None,
        max_tokens: int | None = None,
        justification: str | None = None,
        lease: float | None = None,
    ) -> Hold:
        """Reserve for one call in every budget that covers it, all or nothing, in one transaction of microseconds.

        The hold counts against the limits, across all processes that write the file, until the call's record settles
        it. A block that ends without `settle` or `release`, and a process that dies, leave what was reserved as unknown
        spend, which still counts and can be reconciled. Limits are exact where no call costs more than its hold.

        Args:
            usd: what the call may cost at most. None reserves what `estimate` says: the upper bound where price, prompt
                and `max_tokens` are known, else its p99; where no price is known, what the policies say of such calls.
            tokens: what it may use at most; None estimates it where a limit counts tokens.
            agent_name, tool_name, model_name, provider, user_id, session_id, trace_id: of the call; they decide which
                budgets cover it.
            prompt, prompt_tokens, max_tokens: for the estimate.
            justification: why, where a policy's `require_justification_over_usd` asks for it; kept with the hold.
            lease: seconds after which a hold that nobody ended counts as unknown; default the policies' `lease`.

        Raises:
            BudgetExceeded: a hard limit has no room for it; the error names it, with all amounts.
            UnknownPriceError, JustificationNeededError: see there; all three are `BudgetError`.
            RecordError, QueryError: (`ValueError`) for a name or an amount that cannot be.
            CommitTimeoutError: the file was locked or full for `commit_timeout`; nothing was reserved.
            StoreError: the file cannot be used, or the logger is closed.
        """
        return self.reserve_as(Wish(
            agent_name=agent_name, tool_name=tool_name, model_name=model_name, provider=provider, user_id=user_id,
            session_id=session_id, trace_id=trace_id,
            usd=usd, tokens=tokens, prompt=prompt, prompt_tokens=prompt_tokens, max_tokens=max_tokens,
            justification=justification, lease=lease,
        ))  # fmt: skip

    def estimated(self, wish: Wish) -> Wish:
        """The wish with an estimate of what it does not say."""
        if not self.wants_estimate(wish):
            return wish
        return wish.with_estimate(cast("Estimating", self._face).estimate(**_question(wish)))

    def reserve_as(self, wish: Wish) -> Hold:
        """Reserve what a wish says."""
        wish = self.estimated(wish)
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

    def check(
        self,
        usd: Amount | None = None,
        *,
        tokens: int | None = None,
        agent_name: str | None = None,
        tool_name: str | None = None,
        model_name: str | None = None,
        provider: str | None = None,
        user_id: str | None = None,
        session_id: str | None = None,
        trace_id: str | None = None,
    ) -> list[BudgetStatus]:
        """The limits that a call would have to fit into, and whether it `fits` each now. Reserves nothing.

        Args:
            usd: what it would cost at most.
            tokens: what it would use at most.
            agent_name, tool_name, model_name, provider, user_id, session_id, trace_id: as for `reserve`.

        Raises:
            QueryError, RecordError: (`ValueError`) for what cannot be.
            CommitTimeoutError, StoreError: as for `get_daily_costs`.
        """
        wish = Wish(
            agent_name=agent_name, tool_name=tool_name, model_name=model_name, provider=provider, user_id=user_id,
            session_id=session_id, trace_id=trace_id,
            usd=usd, tokens=tokens, justification="only looking",
        )  # fmt: skip
        return self._asked(_check(self, self.estimated(wish)), fresh=True)

    def holds(self) -> list[BudgetHold]:
        """All holds that are open or of unknown outcome, oldest first."""
        now = datetime.now(UTC)
        return self._asked(lambda fetch: read_holds(fetch, now), fresh=False)

    def release(self, hold_id: str) -> bool:
        """Free a hold, open or of unknown outcome, for which nothing was spent. False where there is none.

        Raises:
            CommitTimeoutError, StoreError: the file cannot be written.
        """
        return bool(self.done(self.serve(self.ending(hold_id, Amounts()))))

    def reconcile(self, hold_id: str, usd: Amount) -> bool:
        """Say what a call of unknown outcome, or of unknown cost, has cost; that ends its hold.

        A call that has no record gets one: dated to the reservation, with the names that were reserved for, status
        `error` and error type `outcome_unknown`. One whose record is stored without a cost gets this cost there.

        Args:
            hold_id: of a hold of unknown outcome, or whose lease is over; see `holds`.
            usd: what the call has cost.

        Returns:
            False where it was settled meanwhile.

        Raises:
            QueryError: (a `ValueError`) there is no such hold, its call is under way, or the amount cannot be.
            CommitTimeoutError, StoreError: the file cannot be written.
        """
        self.expire()
        request = self.reconciling(_find(self.holds(), hold_id), hold_id, usd)
        return self.done(self.serve(request)) in {True, Outcome.WRITTEN}

    def expire(self) -> None:
        """Count holds whose lease is over as unknown spend, now. Each reservation and settlement does that as well.

        Raises:
            CommitTimeoutError, StoreError: the file cannot be written.
        """
        self.done(self.serve(self.expiring()))

    def _asked(self, question: Callable[[Fetch], _T], *, fresh: bool) -> _T:
        return cast("Questions", self._face)._ask(question, fresh=fresh)  # noqa: SLF001 - as above


def _find(holds: list[BudgetHold], hold_id: str) -> BudgetHold | None:
    return next((hold for hold in holds if hold["hold_id"] == hold_id), None)


def _check(budgets: _Shared, wish: Wish) -> Callable[[Fetch], list[BudgetStatus]]:
    call = budgets.call(wish)
    policies = budgets.policies.applying(call)
    asked = Amounts(wishes.nanos(wish, policies), wishes.tokens(wish.tokens), 1)
    return partial(read_check, policies=policies, call=call, asked=asked, now=datetime.now(UTC))


def _question(wish: Wish) -> dict[str, Any]:
    """What an estimate is asked for a wish."""
    return {
        "agent_name": wish.agent_name,
        "tool_name": wish.tool_name,
        "model_name": wish.model_name,
        "provider": wish.provider,
        "prompt": wish.prompt,
        "prompt_tokens": wish.prompt_tokens,
        "max_tokens": wish.max_tokens,
    }
