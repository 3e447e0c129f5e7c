"""The flight recorder for LLM calls: one record per call, off the hot path, into one SQLite file you own."""

from typing import TYPE_CHECKING, Any, Final

from llm_service.budgets.alerts import BudgetEvent
from llm_service.errors import (
    BudgetError,
    BudgetExceeded,
    CommitTimeoutError,
    DatabaseUnusableError,
    DuplicateInvocationError,
    JustificationNeededError,
    MissingPackageError,
    QueryError,
    RecordDroppedError,
    RecordError,
    RecordQuarantinedError,
    SettingsError,
    SignalError,
    StoreError,
    TelemetryError,
    UnknownPriceError,
    UnknownRunError,
    UnknownTokensError,
    UnsupportedLoopError,
)
from llm_service.telemetry.client.reservations import AsyncHold, Hold
from llm_service.telemetry.client.runs_api import AsyncTelemetryRun, TelemetryRun
from llm_service.telemetry.instrumentation.invocation import Invocation
from llm_service.telemetry.instrumentation.responses.from_response import record_from_response
from llm_service.telemetry.instrumentation.scope import Scope
from llm_service.telemetry.logger import AsyncTelemetryLogger, TelemetryLogger
from llm_service.telemetry.queries.budget_status import BudgetHold, BudgetStatus
from llm_service.telemetry.queries.questions import DailyCost, InvocationRow, Statistics
from llm_service.telemetry.record.record import InvocationRecord
from llm_service.telemetry.stores.retention import PurgeResult
from llm_service.telemetry.writer.events import Event, EventKind
from llm_service.telemetry.writer.ledger import DropReason, FlushResult, Ledger
from llm_service.telemetry.writer.stats import Stats

if TYPE_CHECKING:
    from llm_service.estimates.estimate import Estimate
    from llm_service.telemetry.queries.cost_coverage import CoverageReport
    from llm_service.telemetry.queries.months import MonthReport
    from llm_service.telemetry.queries.run_comparison import RunComparison
    from llm_service.telemetry.queries.run_list import RunRow
    from llm_service.telemetry.queries.run_summary import RunSummary
    from llm_service.telemetry.queries.traces import TraceRow
    from llm_service.telemetry.queries.unit_costs import UnitReport

__all__ = [
    "AsyncHold",
    "AsyncTelemetryLogger",
    "AsyncTelemetryRun",
    "BudgetError",
    "BudgetEvent",
    "BudgetExceeded",
    "BudgetHold",
    "BudgetStatus",
    "CommitTimeoutError",
    "CoverageReport",
    "DailyCost",
    "DatabaseUnusableError",
    "DropReason",
    "DuplicateInvocationError",
    "Estimate",
    "Event",
    "EventKind",
    "FlushResult",
    "Hold",
    "Invocation",
    "InvocationRecord",
    "InvocationRow",
    "JustificationNeededError",
    "Ledger",
    "MissingPackageError",
    "MonthReport",
    "PurgeResult",
    "QueryError",
    "RecordDroppedError",
    "RecordError",
    "RecordQuarantinedError",
    "RunComparison",
    "RunRow",
    "RunSummary",
    "Scope",
    "SettingsError",
    "SignalError",
    "Statistics",
    "Stats",
    "StoreError",
    "TelemetryError",
    "TelemetryLogger",
    "TelemetryRun",
    "TraceRow",
    "UnitReport",
    "UnknownPriceError",
    "UnknownRunError",
    "UnknownTokensError",
    "UnsupportedLoopError",
    "record_from_response",
]

_WHEN_ASKED_FOR: Final = {
    "CoverageReport": "llm_service.telemetry.queries.cost_coverage",
    "Estimate": "llm_service.estimates.estimate",
    "MonthReport": "llm_service.telemetry.queries.months",
    "RunComparison": "llm_service.telemetry.queries.run_comparison",
    "RunRow": "llm_service.telemetry.queries.run_list",
    "RunSummary": "llm_service.telemetry.queries.run_summary",
    "TraceRow": "llm_service.telemetry.queries.traces",
    "UnitReport": "llm_service.telemetry.queries.unit_costs",
}
"""Types of answers that few programs name: who only logs does not import what makes them."""


def __getattr__(name: str) -> Any:
    """Import a name of `_WHEN_ASKED_FOR` at its first use (PEP 562)."""
    module = _WHEN_ASKED_FOR.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module  # noqa: PLC0415 - as above

    return getattr(import_module(module), name)
