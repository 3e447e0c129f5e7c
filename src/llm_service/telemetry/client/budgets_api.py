"""`telemetry.budgets` on both loggers: reserve before a call, settle with its record after it.

What a hold is and which SQL it takes stands in `stores.budget_holding`; the teller serves it. Here stands what both
loggers ask for, and how each waits.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TypeVar, cast

from llm_service.budgets.limits import Amounts
from llm_service.errors import BudgetError, DuplicateInvocationError
from llm_service.telemetry.client.reservation_plans import ReservationPlanner, checking, question
from llm_service.telemetry.client.reservation_requests import ReservationRequest
from llm_service.telemetry.client.reservations import AsyncReservation, Hold, wait
from llm_service.telemetry.queries.budget_status import BudgetHold, BudgetStatus, read_holds, read_status
from llm_service.telemetry.queries.filters import checked_id
from llm_service.telemetry.record.record import Amount
from llm_service.telemetry.stores.base import Fetch
from llm_service.telemetry.writer.ledger import Outcome

if TYPE_CHECKING:
    from llm_service.estimates.tokens import Prompt
    from llm_service.telemetry.client.estimates_api import AsyncEstimates, Estimates
    from llm_service.telemetry.client.queries_api import AsyncQueries, Queries

__all__ = ["AsyncBudgets", "Budgets"]

_T = TypeVar("_T")


class AsyncBudgets(ReservationPlanner):
    """`telemetry.budgets` of the async logger."""

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
        prompt: "Prompt | None" = None,
        prompt_tokens: int | None = None,
        max_tokens: int | None = None,
        service_tier: str | None = None,
        justification: str | None = None,
        lease: float | None = None,
    ) -> AsyncReservation:
        """See `Budgets.reserve`: to be awaited, or entered with `async with`."""
        return self.reserve_as(ReservationRequest(
            agent_name=agent_name, tool_name=tool_name, model_name=model_name, provider=provider, user_id=user_id,
            session_id=session_id, trace_id=trace_id,
            usd=usd, tokens=tokens, prompt=prompt, prompt_tokens=prompt_tokens, max_tokens=max_tokens,
            service_tier=service_tier,
            justification=justification, lease=lease,
        ))  # fmt: skip

    async def estimated(self, wish: ReservationRequest) -> ReservationRequest:
        """The wish with an estimate of what it does not say."""
        estimate = await cast("AsyncEstimates", self._client).estimate(**question(wish))
        return wish.with_estimate(estimate, is_priced=self.is_priced(wish))

    def reserve_as(self, wish: ReservationRequest) -> AsyncReservation:
        """Reserve what a wish says."""
        self.require_policies()
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
        wish = ReservationRequest(
            agent_name=agent_name, tool_name=tool_name, model_name=model_name, provider=provider, user_id=user_id,
            session_id=session_id, trace_id=trace_id,
            usd=usd, tokens=tokens, justification="only looking",
        )  # fmt: skip
        return await self._asked(
            checking(self, await self.estimated(wish) if self.wants_estimate(wish) else wish), fresh=True
        )

    async def holds(self) -> list[BudgetHold]:
        """See `Budgets.holds`."""
        now = datetime.now(UTC)
        return await self._asked(lambda fetch: read_holds(fetch, now), fresh=False)

    async def release(self, hold_id: str) -> bool:
        """See `Budgets.release`."""
        return bool(self.done(await wait(self, self.ending(checked_id("hold_id", hold_id), Amounts()))))

    async def reconcile(self, hold_id: str, usd: Amount) -> bool:
        """See `Budgets.reconcile`."""
        await self.expire()
        request = self.reconciling(await self.holds(), hold_id, usd)
        return self.done(await wait(self, request)) in {True, Outcome.WRITTEN}

    async def expire(self) -> None:
        """See `Budgets.expire`."""
        self.done(await wait(self, self.expiring()))

    async def _asked(self, question: Callable[[Fetch], _T], *, fresh: bool) -> _T:
        return await cast("AsyncQueries", self._client)._ask(question, fresh=fresh)  # noqa: SLF001 - as above


class Budgets(ReservationPlanner):
    """`telemetry.budgets` of the sync logger."""

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
        prompt: "Prompt | None" = None,
        prompt_tokens: int | None = None,
        max_tokens: int | None = None,
        service_tier: str | None = None,
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
            tokens: what it may use at most; None estimates it where a limit counts tokens: the prompt, where it is
                known, and `max_tokens`, or what such answers have taken.
            agent_name, tool_name, model_name, provider, user_id, session_id, trace_id: of the call; they decide which
                budgets cover it.
            prompt, prompt_tokens, max_tokens, service_tier: for the estimate.
            justification: why, where a policy's `require_justification_over_usd` asks for it; kept with the hold.
            lease: seconds after which a hold that nobody ended counts as unknown; default the policies' `lease`.

        Raises:
            BudgetExceeded: a hard limit has no room for it; the error names it, with all amounts.
            BudgetUnreadableError: what a hard limit's window holds is damaged in the file.
            SettingsError: (a `ValueError`) this logger has no limits, so nothing would be kept.
            UnknownPriceError, UnknownTokensError, JustificationNeededError: see there; all of these are `BudgetError`.
            RecordError, QueryError: (`ValueError`) for a name or an amount that cannot be.
            CommitTimeoutError: the file was locked or full for `commit_timeout`; nothing was reserved.
            StoreError: the file cannot be used, or the logger is closed.
        """
        return self.reserve_as(ReservationRequest(
            agent_name=agent_name, tool_name=tool_name, model_name=model_name, provider=provider, user_id=user_id,
            session_id=session_id, trace_id=trace_id,
            usd=usd, tokens=tokens, prompt=prompt, prompt_tokens=prompt_tokens, max_tokens=max_tokens,
            service_tier=service_tier,
            justification=justification, lease=lease,
        ))  # fmt: skip

    def estimated(self, wish: ReservationRequest) -> ReservationRequest:
        """The wish with an estimate of what it does not say."""
        estimate = cast("Estimates", self._client).estimate(**question(wish))
        return wish.with_estimate(estimate, is_priced=self.is_priced(wish))

    def reserve_as(self, wish: ReservationRequest) -> Hold:
        """Reserve what a wish says."""
        self.require_policies()
        if self.wants_estimate(wish):
            wish = self.estimated(wish)
        plan = self.plan(wish)
        hold = Hold(self, wish, plan)
        request = self.reserving(plan)
        try:
            self.done(self.serve(request))
        except (BudgetError, DuplicateInvocationError):
            raise
        except BaseException:  # interrupted, or a commit that failed and may be on disk all the same
            self.submit(self.taking_back(plan))
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
        wish = ReservationRequest(
            agent_name=agent_name, tool_name=tool_name, model_name=model_name, provider=provider, user_id=user_id,
            session_id=session_id, trace_id=trace_id,
            usd=usd, tokens=tokens, justification="only looking",
        )  # fmt: skip
        if self.wants_estimate(wish):
            wish = self.estimated(wish)
        return self._asked(checking(self, wish), fresh=True)

    def holds(self) -> list[BudgetHold]:
        """All holds that are open or of unknown outcome, oldest first."""
        now = datetime.now(UTC)
        return self._asked(lambda fetch: read_holds(fetch, now), fresh=False)

    def release(self, hold_id: str) -> bool:
        """Free a hold, open or of unknown outcome, for which nothing was spent. False where there is none.

        Raises:
            CommitTimeoutError, StoreError: the file cannot be written.
        """
        return bool(self.done(self.serve(self.ending(checked_id("hold_id", hold_id), Amounts()))))

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
        request = self.reconciling(self.holds(), hold_id, usd)
        return self.done(self.serve(request)) in {True, Outcome.WRITTEN}

    def expire(self) -> None:
        """Count holds whose lease is over as unknown spend, now. Each reservation and settlement does that as well.

        Raises:
            CommitTimeoutError, StoreError: the file cannot be written.
        """
        self.done(self.serve(self.expiring()))

    def _asked(self, question: Callable[[Fetch], _T], *, fresh: bool) -> _T:
        return cast("Queries", self._client)._ask(question, fresh=fresh)  # noqa: SLF001 - as above
