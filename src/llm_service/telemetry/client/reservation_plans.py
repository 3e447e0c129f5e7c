"""What `telemetry.budgets` of both clients has: it plans reservations, makes requests of plans, and has them served."""

from collections import Counter
from datetime import datetime
from time import monotonic, time_ns
from typing import Any, Final, cast

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
from llm_service.telemetry.client.client_core import ClientCore
from llm_service.telemetry.client.estimates_api import estimate_of
from llm_service.telemetry.client.reservation_requests import ReservationRequest
from llm_service.telemetry.client.steps import Step, Steps
from llm_service.telemetry.queries.budget_status import BudgetHold
from llm_service.telemetry.queries.filters import checked_id
from llm_service.telemetry.record.record import CARD_FIELDS, Amount, InvocationRecord
from llm_service.telemetry.stores.budget_requests import EndHold, PriceCall, ReservationPlan, Work, call_of
from llm_service.telemetry.stores.rollups import nanos as to_nanos
from llm_service.telemetry.writer.budget_executor import BudgetExecutor, Request
from llm_service.telemetry.writer.ledger import DropReason, Outcome
from llm_service.telemetry.writer.waiters import LoopWaiter

__all__ = ["ReservationPlanner"]

_MOST_CALLS: Final = 4096
_LONGEST_REASON: Final = 500
_LEVEL: Final = CARD_FIELDS.index("privacy_level")


class ReservationPlanner:
    """Plans reservations under a client's policies, and makes the requests that reserve, settle and end them.

    Every request is None where the client stores nothing.
    """

    def __init__(self, core: ClientCore) -> None:
        self.core = core
        self._engine = core.engine
        self._timeout = core.settings.commit_timeout

    @property
    def policies(self) -> Policies:
        """The policies of this logger; empty where it has none."""
        return self._engine.policies or Policies({})

    def require_policies(self) -> None:
        """A logger without limits would let everything through. One that is disabled does, as it was told."""
        if not self.policies.counters and self.core.settings.enabled:
            names = [policy.name for policy in self.policies]
            raise SettingsError(
                "policies",
                names or None,
                "there is no limit in force, so no budget can be kept: give policies=, or put a policies.yaml into "
                "config/, beside the telemetry.yaml in force, or where LLM_TELEMETRY_POLICIES says"
                + (", with a limit such as daily_budget_usd in one of its policies" if names else ""),
            )

    # What is asked for becomes a plan

    def plan(self, wanted: ReservationRequest) -> ReservationPlan:
        """What a reservation takes, and from which limits.

        Raises:
            BudgetError: its price is unknown where that blocks, or it lacks a justification.
            RecordError: (a `ValueError`) for a name that no record can have.
            QueryError: (a `ValueError`) for an amount that cannot be reserved.
        """
        if self._engine.shutdown.closing:
            path = self.core.db_path
            raise StoreError(f"{path}: nothing can be reserved, the logger is closed", path)
        call = self.call(wanted)
        policies = self.policies.applying(call)
        return ReservationPlan(
            hold_id=self._engine.redactor.invocation_id(wanted.hold_id),
            call=call,
            amounts=Amounts(
                reservation_requests.nanos(wanted, policies),
                reservation_requests.tokens(wanted, policies),
                int(wanted.is_call),
            ),
            policies=policies,
            now_us=time_ns() // 1000,
            lease_us=reservation_requests.lease_us(wanted.lease, policies),
            justification=self._justification(wanted),
        )

    def call(self, wanted: ReservationRequest) -> Call:
        """The names of a call as its record will have them: checked, and without secrets."""
        names, known = tuple(wanted.names.values()), self.core.clean_calls
        call: Call | None = known.get(names)
        if call is None:
            record = InvocationRecord(invocation_id=wanted.hold_id, **cast("Any", wanted.names))
            (clean,) = self._engine.redactor.records([record], Counter())
            call = call_of(clean)
            if len(known) >= _MOST_CALLS:
                known.clear()
            known[names] = call
        return call

    def _justification(self, wanted: ReservationRequest) -> str | None:
        """The reason as it may be kept: without secrets, and no longer than an error message."""
        if wanted.justification is None:
            return None
        try:
            record = InvocationRecord(invocation_id=wanted.hold_id, error_message=wanted.justification)
        except RecordError:
            raise QueryError("justification", wanted.justification, "give text") from None
        (clean,) = self._engine.redactor.records([record], Counter())
        return None if clean.error_message is None else clean.error_message[:_LONGEST_REASON]

    def estimated(self, wanted: ReservationRequest) -> Steps[ReservationRequest]:
        """The same, with an estimate of what was not said, where a limit that applies to the call counts that."""
        policies = self.policies
        if not policies or not wanted.wants_estimate(policies.applying(self.call(wanted))):
            return wanted
        question = wanted.question()
        found = yield from estimate_of(self.core, question)
        return wanted.with_estimate(found, is_priced=question.rates(self.core.prices) is not None)

    # Plans become requests

    def settling(self, record: InvocationRecord, plan: ReservationPlan, *, durable: bool) -> Request | None:
        """The request that stores a record and ends its hold."""
        if self._engine.stores_nothing or record.card[_LEVEL] == "none":
            # Not stored, so no record can say what was spent: what it cost, where that is known, stays as unknown.
            self._engine.queue.offer(record)
            cost = record.cost_usd
            kept = plan.amounts if cost is None else plan.amounts._replace(nanos=to_nanos(cost))
            if record.usage_source == "partial":  # at least so much
                kept = kept._replace(nanos=max(kept.nanos, plan.amounts.nanos))
            return self.ending(plan.hold_id, kept)
        record_id = self._engine.redactor.invocation_id(record.invocation_id)
        if record_id != plan.hold_id:
            self._engine.store.hold_ids[record_id] = plan.hold_id
        return self.request(record=record, durable=durable)

    def ending(self, hold_id: str, kept: Amounts | None, made_at_us: int | None = None) -> Request | None:
        """The request that ends a hold (made then, where that is given); what is kept (None: all) stays unknown."""
        return self.request(EndHold(hold_id, kept, made_at_us))

    def reconciling(self, holds: list[BudgetHold], hold_id: str, usd: Amount) -> Request | None:
        """The request that puts a known cost in the place of what was reserved; QueryError where that cannot be."""
        hold_id = checked_id("hold_id", hold_id)
        hold = next((hold for hold in holds if hold["hold_id"] == hold_id), None)
        if hold is None:
            raise QueryError("hold_id", hold_id, "there is no such hold; see budgets.holds()")
        if hold["state"] == "held" and not hold["expired"]:
            raise QueryError("hold_id", hold_id, "its call is under way: settle or release it")
        cost = reservation_requests.nanos(ReservationRequest(usd=usd, justification="reconciled"), ()) / NANOS
        if hold["recorded"]:
            return self.request(PriceCall(hold_id, cost))
        names = hold["names"]
        record = InvocationRecord(
            invocation_id=hold_id,
            agent_name=names.get("agent"),
            tool_name=names.get("tool"),
            model_name=names.get("model"),
            user_id=names.get("user"),
            session_id=names.get("session"),
            run=names.get("run"),
            timestamp=datetime.fromisoformat(hold["reserved_at"]),
            cost_usd=cost,
            cost_source="reported",
            status="error",
            error_type="outcome_unknown",
            operation=None if hold["calls"] else "chain",
            source="budgets:reconcile",
        )
        return self.request(record=record)

    def request(
        self, work: Work | None = None, record: InvocationRecord | None = None, *, durable: bool = False
    ) -> Request | None:
        """The request to do this, or to store this record."""
        if self._engine.stores_nothing:
            return None
        return Request(work, record, deadline=monotonic() + self._timeout, durable=durable)

    # Requests are served

    def submit(self, request: Request | None) -> None:
        """Have the executor's thread serve it, and wait for nothing."""
        if request is not None:
            self._engine.executor.submit(request)

    def queue(self, request: Request | None) -> None:
        """Have the record that settles written like any other: it ends the hold in the same transaction."""
        if request is not None and request.record is not None:
            self._engine.executor.take_over(request.record)
        else:
            self.submit(request)

    def serve(self, request: Request | None) -> Steps[Any]:
        """Have it served; what came of it. BudgetExceeded, or a StoreError: not usable, or not in time."""
        if request is None:
            return None
        yield from _Serve(self._engine.executor, request)
        error = request.error
        if error is None:
            return request.outcome
        if isinstance(error, BudgetError | StoreError):
            raise error
        raise StoreError(f"{self.core.db_path} cannot be used: {error}", self.core.db_path) from error

    def settle(self, request: Request | None, record: InvocationRecord) -> Steps[bool]:
        """Have a settlement served; whether its record is stored by it."""
        outcome = yield from self.serve(request)
        if outcome is Outcome.QUARANTINED or isinstance(outcome, DropReason):
            raise self.core.refused(outcome, record) or RecordDroppedError(str(outcome))
        return outcome is Outcome.WRITTEN


class _Serve(Step[None]):
    """Waits until a request is served; cancelling abandons the wait only."""

    def __init__(self, executor: BudgetExecutor, request: Request) -> None:
        self._executor = executor
        self._request = request

    def block(self) -> None:
        """Serve it here."""
        self._executor.serve(self._request)

    async def wait(self) -> None:
        """Have the executor's thread serve it."""
        self._request.waiter = waiter = LoopWaiter()
        self._executor.submit(self._request)
        await waiter.future
