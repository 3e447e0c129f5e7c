"""Budget alerts: one for each passed threshold and window."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from json import loads
from typing import Self

from llm_service.budgets.limits import Limit, Metric, Totals, shown_amount

__all__ = ["BudgetEvent", "OnBudget"]


@dataclass(frozen=True, slots=True)
class BudgetEvent:
    """A threshold of a limit was reached by spent plus unknown amounts.

    Attributes:
        budget: the policy's name.
        metric: `usd`, `tokens` or `calls`; the amounts are Decimal USD or whole numbers.
        window: the window's name.
        window_start: aware UTC start of the window; for a rolling one, of this event's slice.
        subject: the values of the policy's `per`, if each has its own budget.
        threshold_percent: the threshold.
        limit, spent, unknown, reserved: of the window, when the alert was made.
        hard: whether the limit stops calls.
        message: the alert in one sentence.
    """

    budget: str
    metric: Metric
    window: str
    window_start: datetime
    subject: tuple[str, ...]
    threshold_percent: int
    limit: Decimal | int
    spent: Decimal | int
    unknown: Decimal | int
    reserved: Decimal | int
    hard: bool
    message: str

    @classmethod
    def of(cls, limit: Limit, percent: int, totals: Totals, subject: str, window_start: datetime) -> Self:
        """The alert for a passed threshold of a limit."""
        metric, window = limit.metric, limit.counter.window
        values = tuple(loads(subject))
        most = shown_amount(metric, limit.amount)
        spent, unknown, reserved = (
            shown_amount(metric, part.of(metric)) for part in (totals.spent, totals.unknown, totals.reserved)
        )
        unit, tail = ("$", "") if metric == "usd" else ("", f" {metric}")
        of = f" of {', '.join(values)}" if values else ""
        message = (
            f"budget {limit.policy}{of} has reached {percent} % of {unit}{most:,}{tail} a {window}: "
            f"{unit}{spent:,}{tail} spent, {unit}{unknown:,}{tail} unknown"
        )
        return cls(
            limit.policy,
            metric,
            window,
            window_start,
            values,
            percent,
            most,
            spent,
            unknown,
            reserved,
            limit.hard,
            message,
        )


OnBudget = Callable[[BudgetEvent], None]
"""A user's callback for alerts."""
