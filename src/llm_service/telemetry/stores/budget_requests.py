"""What budgets ask of a store: reservations and their ends as values, each to be done in one transaction."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from llm_service.budgets.limits import Amounts, Policy, Standing, shown_amount
from llm_service.budgets.scopes import Call
from llm_service.errors import BudgetExceeded
from llm_service.telemetry.record.record import EXTENSION_FIELDS, InvocationRecord
from llm_service.telemetry.record.timestamps import from_microseconds

__all__ = ["BudgetRequest", "EndHold", "ExpireHolds", "PriceCall", "ReservationPlan", "Work", "call_of", "exceeded"]

_REQUEST_MODEL: Final = EXTENSION_FIELDS.index("request_model")
_SESSION: Final = EXTENSION_FIELDS.index("session_id")
_USER: Final = EXTENSION_FIELDS.index("user_id")
_TRACE: Final = EXTENSION_FIELDS.index("trace_id")
_RUN: Final = EXTENSION_FIELDS.index("run")


@dataclass(frozen=True, slots=True)
class ReservationPlan:
    """A reservation to be made: in all windows that cover the call, or in none.

    Attributes:
        hold_id: the hold's id; the record with this id ends it.
        call: the names of the call, redacted like those of its record.
        lease_us: microseconds until the outcome counts as unknown.
    """

    hold_id: str
    call: Call
    amounts: Amounts
    policies: Sequence[Policy]
    now_us: int
    lease_us: int
    justification: str | None = None


@dataclass(frozen=True, slots=True)
class EndHold:
    """End a hold (made at that moment, if given) without a record; `kept` (None: all) stays unknown."""

    hold_id: str
    kept: Amounts | None = None
    made_at_us: int | None = None


@dataclass(frozen=True, slots=True)
class PriceCall:
    """Set the cost of a stored call of unknown or partial cost, which ends its hold. The outcome: was there one."""

    invocation_id: str
    usd: float


@dataclass(frozen=True, slots=True)
class ExpireHolds:
    """End holds whose lease is over now. Every request does that now and then."""


Work = ReservationPlan | EndHold | PriceCall | ExpireHolds


@dataclass(slots=True, eq=False)
class BudgetRequest:
    """Something to be done in one transaction.

    Attributes:
        work: what to do there, after the records of the transaction are inserted; None where the record is all.
        durable: whether the commit of its record is to survive a power cut.
        outcome: what became of the work, or the record's settlement; valid once committed.
        tries: how often it was tried before: an earlier try may be stored although its commit reported failure.
    """

    work: Work | None
    record: InvocationRecord | None = None
    durable: bool = False
    outcome: Any = None
    error: Exception | None = None
    tries: int = 0


def call_of(record: InvocationRecord) -> Call:
    """The names of a record that budgets use."""
    _, _, agent, tool, model, *_ = record.card
    values = record.extensions
    if values is None:
        return Call(agent, tool, model)
    run = values[_RUN]
    if run is None:
        run = values[_TRACE]
    return Call(agent, tool, model, values[_REQUEST_MODEL], values[_USER], values[_SESSION], run)


def exceeded(one: Standing) -> BudgetExceeded:
    """The error for a limit that has no room for the call."""
    metric, totals = one.limit.metric, one.totals
    return BudgetExceeded(
        one.limit.policy,
        window=one.limit.counter.window,
        metric=metric,
        limit=shown_amount(metric, one.limit.amount),
        spent=shown_amount(metric, totals.spent.of(metric)),
        reserved=shown_amount(metric, totals.reserved.of(metric)),
        unknown=shown_amount(metric, totals.unknown.of(metric)),
        asked=shown_amount(metric, one.asked),
        subject=tuple(json.loads(one.subject)),
        resets_at=None if one.resets_at_us is None else from_microseconds(one.resets_at_us),
    )
