"""The flight recorder for LLM calls: one record per call, off the hot path, into one SQLite file you own."""

from llm_service.errors import (
    CommitTimeoutError,
    DatabaseUnusableError,
    DuplicateInvocationError,
    QueryError,
    RecordDroppedError,
    RecordError,
    RecordQuarantinedError,
    SettingsError,
    SignalError,
    StoreError,
    TelemetryError,
    UnsupportedLoopError,
)
from llm_service.telemetry.instrument import Invocation
from llm_service.telemetry.logger import AsyncTelemetryLogger, TelemetryLogger
from llm_service.telemetry.pipeline.events import Event, EventKind
from llm_service.telemetry.pipeline.ledger import DropReason, FlushResult, Ledger
from llm_service.telemetry.pipeline.stats import Stats
from llm_service.telemetry.queries import DailyCost, InvocationRow, Statistics
from llm_service.telemetry.records import InvocationRecord
from llm_service.telemetry.stores.purging import PurgeResult

__all__ = [
    "AsyncTelemetryLogger",
    "CommitTimeoutError",
    "DailyCost",
    "DatabaseUnusableError",
    "DropReason",
    "DuplicateInvocationError",
    "Event",
    "EventKind",
    "FlushResult",
    "Invocation",
    "InvocationRecord",
    "InvocationRow",
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
    "UnsupportedLoopError",
]
