"""What `telemetry.budgets` does on both loggers: wishes become asks, asks become requests, requests come back."""

from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from time import monotonic, time_ns
from typing import TYPE_CHECKING, Any, Final, cast

from llm_service.budgets.limits import NANOS, Amounts
from llm_service.budgets.policies import Policies
from llm_service.budgets.scopes import Call
from llm_service.errors import (
    BudgetError,
    QueryError,
    RecordDroppedError,
    RecordError,
    SettingsError,
    StoreError,
)
from llm_service.telemetry.client import reservation_requests
from llm_service.telemetry.client.reservation_requests import ReservationRequest
from llm_service.telemetry.queries.budget_status import BudgetHold, BudgetStatus, read_check
from llm_service.telemetry.queries.filters import checked_id
from llm_service.telemetry.record.record import CARD_FIELDS, Amount, InvocationRecord
from llm_service.telemetry.stores.base import Fetch, Session
from llm_service.telemetry.stores.rollups import nanos as to_nanos
from llm_service.telemetry.stores.sqlite.budget_counting import call_of
from llm_service.telemetry.stores.sqlite.budget_reservations import HoldKeeper, ReservationPlan
from llm_service.telemetry.writer.budget_executor import Request, Work
from llm_service.telemetry.writer.ledger import DropReason, Outcome

if TYPE_CHECKING:
    from llm_service.telemetry.client.shared import BaseClient

__all__ = ["ReservationPlanner", "checking", "question"]

_MOST_CALLS: Final = 4096
_LONGEST_REASON: Final = 500
_LEVEL: Final = CARD_FIELDS.index("privacy_level")


class ReservationPlanner:
    """What `telemetry.budgets` does on both loggers."""

    def __init__(self, client: "BaseClient") -> None:
        self._client = client
        self._engine = client._engine  # noqa: SLF001 - the logger's own other half
        self._timeout = client.settings.commit_timeout

    @property
    def policies(self) -> Policies:
        """The policies of this logger; empty where it has none."""
        return self._engine.money.terms.policies or Policies({})

    def require_policies(self) -> None:
        """A logger without limits would let everything through. One that is disabled does, as it was told.

        Raises:
            SettingsError: (a `ValueError`) naming the remedy.
        """
        if not self.policies.counters and self._client.settings.enabled:
            names = [policy.name for policy in self.policies]
            raise SettingsError(
                "policies",
                names or None,
                "there is no limit in force, so no budget can be kept: give policies=, or put a policies.yaml into "
                "config/, beside the telemetry.yaml in force, or where LLM_TELEMETRY_POLICIES says"
                + (", with a limit such as daily_budget_usd in one of its policies" if names else ""),
            )

    # Wishes become asks, asks become requests

    def plan(self, wish: ReservationRequest) -> ReservationPlan:
        """What a wish comes to.

        Raises:
            BudgetError: its price is unknown where that blocks, or it lacks a justification.
            RecordError: (a `ValueError`) for a name that no record can have.
            QueryError: (a `ValueError`) for an amount that cannot be reserved.
            StoreError: the logger is closed.
        """
        if self._engine.closing:
            path = self._client.db_path
            raise StoreError(f"{path}: nothing can be reserved, the logger is closed", path)
        call = self.call(wish)
        policies = self.policies.applying(call)
        return ReservationPlan(
            hold_id=self._engine.redactor.invocation_id(wish.hold_id),
            call=call,
            amounts=Amounts(reservation_requests.nanos(wish, policies), reservation_requests.tokens(wish, policies), 1),
            policies=policies,
            now_us=time_ns() // 1000,
            lease_us=reservation_requests.lease_us(wish.lease, policies),
            justification=self._justification(wish),
        )

    def call(self, wish: ReservationRequest) -> Call:
        """The names of a call as its record will have them: checked, and without secrets."""
        names, known = tuple(wish.names.values()), self._engine.money.clean_calls
        call: Call | None = known.get(names)
        if call is None:
            record = InvocationRecord(invocation_id=wish.hold_id, **cast("Any", wish.names))
            (clean,) = self._engine.redactor.records([record], Counter())
            call = call_of(clean)
            if len(known) >= _MOST_CALLS:
                known.clear()
            known[names] = call
        return call

    def _justification(self, wish: ReservationRequest) -> str | None:
        """The reason as it may be kept: without secrets, and no longer than an error message."""
        if wish.justification is None:
            return None
        try:
            record = InvocationRecord(invocation_id=wish.hold_id, error_message=wish.justification)
        except RecordError:
            raise QueryError("justification", wish.justification, "give text") from None
        (clean,) = self._engine.redactor.records([record], Counter())
        return None if clean.error_message is None else clean.error_message[:_LONGEST_REASON]

    def wants_estimate(self, wish: ReservationRequest) -> bool:
        """Whether a limit that applies to the call counts what was not said of it."""
        return bool(self.policies) and wish.wants_estimate(self.policies.applying(self.call(wish)))

    def is_priced(self, wish: ReservationRequest) -> bool:
        """Whether the call's model has a price; asked after an estimate, which has looked it up."""
        return self._client.prices.rates(wish.model_name, wish.provider, None, wish.service_tier) is not None

    def reserving(self, plan: ReservationPlan) -> Request | None:
        """The request that reserves; None where this logger stores nothing."""
        if self._engine.stores_nothing:
            return None
        request = Request(None, deadline=monotonic() + self._timeout)
        request.work = lambda keeper, connection: keeper.reserve(connection, plan, again=request.tries > 0)
        return request

    def settling(self, record: InvocationRecord, plan: ReservationPlan, *, durable: bool = False) -> Request | None:
        """The request that stores a record and ends its hold."""
        if self._engine.stores_nothing or record.card[_LEVEL] == "none":
            # Not stored, so no record can say what was spent: what it cost, where that is known, stays as unknown.
            self._engine.queue.offer(record)
            cost = record.cost_usd
            kept = plan.amounts if cost is None else plan.amounts._replace(nanos=to_nanos(cost))
            if record.usage_source == "partial":  # at least so much
                kept = kept._replace(nanos=max(kept.nanos, plan.amounts.nanos))
            return None if self._engine.stores_nothing else self.ending(plan.hold_id, kept)
        record_id = self._engine.redactor.invocation_id(record.invocation_id)
        if record_id != plan.hold_id:
            self._engine.money.terms.hold_ids[record_id] = plan.hold_id
        return Request(None, record, deadline=monotonic() + self._timeout, durable=durable)

    def ending(self, hold_id: str, kept: Amounts | None) -> Request | None:
        """The request that ends a hold without a record."""
        if self._engine.stores_nothing:
            return None
        work: Work = lambda keeper, connection: keeper.end(connection, hold_id, kept)  # noqa: E731 - its type is told
        return Request(work, deadline=monotonic() + self._timeout)

    def taking_back(self, plan: ReservationPlan) -> Request | None:
        """The request that ends what an ask has reserved, if it has: nobody will use it."""
        if self._engine.stores_nothing:
            return None

        def work(keeper: HoldKeeper, connection: Session) -> bool:
            return keeper.end(connection, plan.hold_id, Amounts(), plan.now_us)

        return Request(work, deadline=monotonic() + self._timeout)

    def reconciling(self, holds: list[BudgetHold], hold_id: str, usd: Amount) -> Request:
        """The request that puts a known cost in the place of what was reserved.

        Raises:
            QueryError: (a `ValueError`) there is no such hold, its call is under way, or the amount cannot be.
        """
        hold_id = checked_id("hold_id", hold_id)
        hold = next((hold for hold in holds if hold["hold_id"] == hold_id), None)
        if hold is None:
            raise QueryError("hold_id", hold_id, "there is no such hold; see budgets.holds()")
        if hold["state"] == "held" and not hold["expired"]:
            raise QueryError("hold_id", hold_id, "its call is under way: settle or release it")
        cost = reservation_requests.nanos(ReservationRequest(usd=usd, justification="reconciled"), ()) / NANOS
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
        self._engine.money.executor.expire_now()
        nothing: Work = lambda _keeper, _connection: None  # noqa: E731 - its type is told
        return None if self._engine.stores_nothing else Request(nothing, deadline=monotonic() + self._timeout)

    def submit(self, request: Request | None) -> None:
        """Have the teller's thread serve it, if there is anything to do."""
        if request is not None:
            self._engine.money.executor.submit(request)

    def queue(self, request: Request | None) -> None:
        """Have the record that settles written like any other: it ends the hold in the same transaction."""
        if request is not None and request.record is not None:
            self._engine.money.take_over(request.record)
        else:
            self.submit(request)

    def serve(self, request: Request | None) -> Request | None:
        """Serve it in this thread."""
        if request is not None:
            self._engine.money.executor.serve(request)
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
        raise StoreError(f"{self._client.db_path} cannot be used: {error}", self._client.db_path) from error

    def settled(self, request: Request | None, record: InvocationRecord) -> bool:
        """Whether the record of a settlement is stored by it."""
        outcome = self.done(request)
        if outcome is Outcome.QUARANTINED or isinstance(outcome, DropReason):
            raise self._client._refused(outcome, record) or RecordDroppedError(str(outcome))  # noqa: SLF001 - as above
        return outcome is Outcome.WRITTEN


def checking(budgets: ReservationPlanner, wish: ReservationRequest) -> Callable[[Fetch], list[BudgetStatus]]:
    """The question whether a wish fits now."""
    call = budgets.call(wish)
    policies = budgets.policies.applying(call)
    asked = Amounts(
        reservation_requests.nanos(wish, policies), reservation_requests.tokens(wish), 1
    )  # only looking: unknown tokens are left out
    return partial(read_check, policies=policies, call=call, asked=asked, now=datetime.now(UTC))


def question(wish: ReservationRequest) -> dict[str, Any]:
    """What an estimate is asked for a wish."""
    return {
        "agent_name": wish.agent_name,
        "tool_name": wish.tool_name,
        "model_name": wish.model_name,
        "provider": wish.provider,
        "service_tier": wish.service_tier,
        "prompt": wish.prompt,
        "prompt_tokens": wish.prompt_tokens,
        "max_tokens": wish.max_tokens,
    }
