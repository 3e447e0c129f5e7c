"""The flight recorder for LLM calls: one record per call, off the hot path, into one SQLite file you own."""

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

__all__ = [
    "AsyncHold",
    "AsyncTelemetryLogger",
    "BudgetError",
    "BudgetEvent",
    "BudgetExceeded",
    "BudgetHold",
    "BudgetStatus",
    "CommitTimeoutError",
    "DailyCost",
    "DatabaseUnusableError",
    "DropReason",
    "DuplicateInvocationError",
    "Event",
    "EventKind",
    "FlushResult",
    "Hold",
    "Invocation",
    "InvocationRecord",
    "InvocationRow",
    "JustificationNeededError",
    "Ledger",
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
    "UnknownPriceError",
    "UnsupportedLoopError",
]
