"""The two faces of one engine: `AsyncTelemetryLogger` for event loops, `TelemetryLogger` for everything else."""

from llm_service.telemetry.async_logger import AsyncTelemetryLogger
from llm_service.telemetry.records import InvocationRecord
from llm_service.telemetry.sync_logger import TelemetryLogger

__all__ = ["AsyncTelemetryLogger", "InvocationRecord", "TelemetryLogger"]
