"""The flight recorder for LLM calls: one record per call, off the hot path, into one SQLite file you own."""

from typing import TYPE_CHECKING, Any, Final

from llm_service.budgets.events import BudgetEvent
from llm_service.errors import (
    BudgetError,
    BudgetExceeded,
    CommitTimeoutError,
    DatabaseUnusableError,
    DuplicateInvocationError,
    JustificationNeededError,
    QueryError,
    RecordDroppedError,
    RecordError,
    RecordQuarantinedError,
    SettingsError,
    SignalError,
    StoreError,
    TelemetryError,
    UnknownPriceError,
    UnknownTokensError,
    UnsupportedLoopError,
)
from llm_service.telemetry.budgeting.holds import AsyncHold, Hold
from llm_service.telemetry.instrumentation.invocation import Invocation
from llm_service.telemetry.logger import AsyncTelemetryLogger, TelemetryLogger
from llm_service.telemetry.pipeline.events import Event, EventKind
from llm_service.telemetry.pipeline.ledger import DropReason, FlushResult, Ledger
from llm_service.telemetry.pipeline.stats import Stats
from llm_service.telemetry.records import InvocationRecord
from llm_service.telemetry.reports.budgets import BudgetHold, BudgetStatus
from llm_service.telemetry.reports.queries import DailyCost, InvocationRow, Statistics
from llm_service.telemetry.stores.purging import PurgeResult

if TYPE_CHECKING:
    from llm_service.estimates.estimate import Estimate
    from llm_service.telemetry.reports.coverage import CoverageReport
    from llm_service.telemetry.reports.months import MonthReport
    from llm_service.telemetry.reports.unit_costs import UnitReport

__all__ = [
    "AsyncHold",
    "AsyncTelemetryLogger",
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
    "MonthReport",
    "PurgeResult",
    "QueryError",
    "RecordDroppedError",
    "RecordError",
    "RecordQuarantinedError",
    "SettingsError",
    "SignalError",
    "Statistics",
    "Stats",
    "StoreError",
    "TelemetryError",
    "TelemetryLogger",
    "UnitReport",
    "UnknownPriceError",
    "UnknownTokensError",
    "UnsupportedLoopError",
]

_WHEN_ASKED_FOR: Final = {
    "CoverageReport": "llm_service.telemetry.reports.coverage",
    "Estimate": "llm_service.estimates.estimate",
    "MonthReport": "llm_service.telemetry.reports.months",
    "UnitReport": "llm_service.telemetry.reports.unit_costs",
}
"""Types of answers that few programs name: who only logs does not import what makes them."""


def __getattr__(name: str) -> Any:
    """Import a name of `_WHEN_ASKED_FOR` at its first use (PEP 562)."""
    module = _WHEN_ASKED_FOR.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module  # noqa: PLC0415 - as above

    return getattr(import_module(module), name)
