"""How budgets stand, read from a file without writing to it: what is new to the file is counted from its records."""

from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from llm_service.budgets.limits import Amounts
from llm_service.budgets.policies import Policies
from llm_service.cli.reports import existing
from llm_service.estimates.estimate import Question, make_estimate
from llm_service.pricing.book import PriceBook
from llm_service.telemetry.client import reservation_requests
from llm_service.telemetry.client.estimate_history import EstimateHistory
from llm_service.telemetry.client.reservation_requests import ReservationRequest
from llm_service.telemetry.privacy import Redactor
from llm_service.telemetry.queries.budget_status import BudgetStatus, read_check, read_status
from llm_service.telemetry.record.record import InvocationRecord
from llm_service.telemetry.stores.base import Fetch
from llm_service.telemetry.stores.sqlite.budget_counting import call_of
from llm_service.telemetry.stores.sqlite.reader import read

__all__ = ["check", "status"]

_T = TypeVar("_T")


def status(policies: Policies, path: Path) -> list[BudgetStatus]:
    """See `Budgets.status`."""
    return _ask(path, lambda fetch: read_status(fetch, policies, datetime.now(UTC)))


def check(policies: Policies, path: Path, wish: ReservationRequest, prices: PriceBook) -> list[BudgetStatus]:
    """See `Budgets.check`.

    Raises:
        BudgetError: it would not be let through.
        RecordError, QueryError: (`ValueError`) for what cannot be.
    """
    record = InvocationRecord(invocation_id=wish.hold_id, **wish.names)  # type: ignore[arg-type]  # texts, all of them
    (clean,) = Redactor("metadata").records([record], Counter())
    call = call_of(clean)
    applying = policies.applying(call)
    if wish.wants_estimate(applying):
        learner = EstimateHistory(existing(path))
        learner.load()
        question = Question(wish.agent_name, wish.tool_name, wish.model_name, wish.provider)
        estimate = make_estimate(question, learner.history, prices, learner.ratios, learner.tokenizer)
        is_priced = prices.rates(wish.model_name, wish.provider, None, wish.service_tier) is not None
        wish = wish.with_estimate(estimate, is_priced=is_priced)
    asked = Amounts(reservation_requests.nanos(wish, applying), reservation_requests.tokens(wish), 1)
    return _ask(path, lambda fetch: read_check(fetch, applying, call, asked, datetime.now(UTC)))


def _ask(path: Path, question: Callable[[Fetch], _T]) -> _T:
    """Ask the file; one of an older version counts nothing yet, and has no holds."""

    def asked(fetch: Fetch) -> _T:
        there = fetch(("SELECT 1 FROM sqlite_master WHERE name = 'budget_holds'", []))
        return question(fetch if there else lambda query: [] if "budget_" in query[0] else fetch(query))

    return read(existing(path), asked)
