"""`telemetry.budgets` on both clients: reserve before a call, settle with its record after it, see how limits stand.

What a reservation is and which SQL it takes stands in `stores.sqlite.budget_reservations`; the engine's budget executor
serves it.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

from llm_service.budgets.limits import Amounts
from llm_service.budgets.policies import Policies
from llm_service.telemetry.client import reservation_requests
from llm_service.telemetry.client.client_core import ClientCore
from llm_service.telemetry.client.reservation_plans import ReservationPlanner
from llm_service.telemetry.client.reservation_requests import ReservationRequest
from llm_service.telemetry.client.reservations import AsyncReservation, Reservation, reserve_now, reserved
from llm_service.telemetry.client.steps import Steps, awaited, blocking, made
from llm_service.telemetry.instrumentation.request_parameters import answers_to
from llm_service.telemetry.queries.budget_status import BudgetHold, BudgetStatus, read_check, read_holds, read_status
from llm_service.telemetry.queries.filters import checked_id
from llm_service.telemetry.record.record import Amount
from llm_service.telemetry.stores.budget_requests import ExpireHolds
from llm_service.telemetry.writer.ledger import Outcome

if TYPE_CHECKING:
    from llm_service.estimates.tokens import Prompt

__all__ = ["AsyncBudgets", "Budgets"]


def reserve(
    planner: ReservationPlanner, *, usd: Amount | None = None, tokens: int | None = None,
    agent_name: str | None = None, tool_name: str | None = None, model_name: str | None = None,
    request_model: str | None = None, provider: str | None = None, user_id: str | None = None,
    session_id: str | None = None, run: str | None = None, trace_id: str | None = None,
    prompt: "Prompt | None" = None, prompt_tokens: int | None = None, max_tokens: int | None = None,
    service_tier: str | None = None, region: str | None = None, justification: str | None = None,
    lease: float | None = None,
) -> Callable[[], Steps[Reservation]]:  # fmt: skip
    """Reserve for one call in every budget that covers it, all or nothing, in one transaction of microseconds.

    The hold counts against the limits, across all processes that write the file, until the call's record settles
    it. A block that ends without `settle` or `release`, and a process that dies, leave what was reserved as unknown
    spend, which still counts and can be reconciled. Limits are exact where no call costs more than its hold.
    On `TelemetryLogger` it is a call or a `with` block, on `AsyncTelemetryLogger` it is awaited, or entered with
    `async with`.

    Args:
        usd: what the call may cost at most. None reserves what `estimate` says: the upper bound where price, prompt
            and `max_tokens` are known, else its p99; where no price is known, what the policies say of such calls.
        tokens: what it may use at most; None estimates it where a limit counts tokens: the prompt, where it is
            known, and `max_tokens`, or what such answers have taken.
        agent_name, tool_name, model_name, request_model, provider, user_id, session_id, run, trace_id: of the call;
            they decide which budgets cover it. Without a run its trace is its run.
        prompt, prompt_tokens, max_tokens, service_tier, region: for the estimate.
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
    planner.require_policies()
    return partial(reserved, planner, ReservationRequest(
        agent_name=agent_name, tool_name=tool_name, model_name=model_name, request_model=request_model,
        provider=provider, user_id=user_id, session_id=session_id, run=run, trace_id=trace_id,
        usd=usd, tokens=tokens, prompt=prompt, prompt_tokens=prompt_tokens, max_tokens=max_tokens,
        answers=answers_to(prompt), service_tier=service_tier, region=region,
        justification=justification, lease=lease,
    ))  # fmt: skip


def status(planner: ReservationPlanner, *, fresh: bool = True) -> Steps[list[BudgetStatus]]:
    """Every limit of this logger's policies beside what its window holds now, with a forecast to the window's end.

    Args:
        fresh: False reads without flushing first.

    Raises:
        CommitTimeoutError, StoreError: as for `get_daily_costs`.
    """
    policies, now = planner.policies, datetime.now(UTC)
    return planner.core.ask(lambda fetch: read_status(fetch, policies, now), fresh=fresh)


def check(
    planner: ReservationPlanner, usd: Amount | None = None, *, tokens: int | None = None,
    agent_name: str | None = None, tool_name: str | None = None, model_name: str | None = None,
    request_model: str | None = None, provider: str | None = None, user_id: str | None = None,
    session_id: str | None = None, run: str | None = None, trace_id: str | None = None,
    service_tier: str | None = None, region: str | None = None,
) -> Steps[list[BudgetStatus]]:  # fmt: skip
    """The limits that a call would have to fit into, and whether it `fits` each now. Reserves nothing.

    Args:
        usd: what it would cost at most.
        tokens: what it would use at most.
        agent_name, tool_name, model_name, request_model, provider, user_id, session_id, run, trace_id: as for
            `reserve`.
        service_tier, region: where the price differs by them.

    Raises:
        QueryError, RecordError: (`ValueError`) for what cannot be.
        CommitTimeoutError, StoreError: as for `get_daily_costs`.
    """
    request = yield from planner.estimated(ReservationRequest(
        agent_name=agent_name, tool_name=tool_name, model_name=model_name, request_model=request_model,
        provider=provider, user_id=user_id, session_id=session_id, run=run, trace_id=trace_id,
        usd=usd, tokens=tokens, service_tier=service_tier, region=region, justification="only looking",
    ))  # fmt: skip
    call = planner.call(request)
    policies = planner.policies.applying(call)
    # Nothing is reserved, so tokens that nobody knows are left out.
    asked = Amounts(reservation_requests.nanos(request, policies), reservation_requests.tokens(request), 1)
    now = datetime.now(UTC)
    return (yield from planner.core.ask(lambda fetch: read_check(fetch, policies, call, asked, now), fresh=True))


def holds(planner: ReservationPlanner) -> Steps[list[BudgetHold]]:
    """All holds that are open or of unknown outcome, oldest first."""
    now = datetime.now(UTC)
    return planner.core.ask(lambda fetch: read_holds(fetch, now), fresh=False)


def release(planner: ReservationPlanner, hold_id: str) -> Steps[bool]:
    """Free a hold, open or of unknown outcome, for which nothing was spent. False where there is none.

    Raises:
        CommitTimeoutError, StoreError: the file cannot be written.
    """
    return bool((yield from planner.serve(planner.ending(checked_id("hold_id", hold_id), Amounts()))))


def reconcile(planner: ReservationPlanner, hold_id: str, usd: Amount) -> Steps[bool]:
    """Say what a call of unknown outcome, or of unknown cost, has cost; that ends its hold.

    A call that has no record gets one: dated to the reservation, with the names that were reserved for, status
    `error` and error type `outcome_unknown`; as a span (`chain`) where no call is to be counted, see `BudgetHold`. One
    whose record is stored without a cost gets this cost there.

    Args:
        hold_id: of a hold of unknown outcome, or whose lease is over; see `holds`.
        usd: what the call has cost.

    Returns:
        False where it was settled meanwhile.

    Raises:
        QueryError: (a `ValueError`) there is no such hold, its call is under way, or the amount cannot be.
        CommitTimeoutError, StoreError: the file cannot be written.
    """
    yield from expire(planner)
    request = planner.reconciling((yield from holds(planner)), hold_id, usd)
    return (yield from planner.serve(request)) in {True, Outcome.WRITTEN}


def expire(planner: ReservationPlanner) -> Steps[None]:
    """Count holds whose lease is over as unknown spend, now. Each reservation and settlement does that as well.

    Raises:
        CommitTimeoutError, StoreError: the file cannot be written.
    """
    yield from planner.serve(planner.request(ExpireHolds()))


class _BaseBudgets:
    """What `telemetry.budgets` of either client has."""

    def __init__(self, core: ClientCore) -> None:
        self._core = ReservationPlanner(core)

    @property
    def policies(self) -> Policies:
        """The policies of this logger; empty where it has none."""
        return self._core.policies


class AsyncBudgets(_BaseBudgets):
    """`telemetry.budgets` of the async client."""

    reserve = made(reserve, AsyncReservation)
    status = awaited(status)
    check = awaited(check)
    holds = awaited(holds)
    release = awaited(release)
    reconcile = awaited(reconcile)
    expire = awaited(expire)


class Budgets(_BaseBudgets):
    """`telemetry.budgets` of the sync client."""

    reserve = made(reserve, reserve_now)
    status = blocking(status)
    check = blocking(check)
    holds = blocking(holds)
    release = blocking(release)
    reconcile = blocking(reconcile)
    expire = blocking(expire)
