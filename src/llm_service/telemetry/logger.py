"""The two loggers of one engine: `AsyncTelemetryLogger` for event loops, `TelemetryLogger` for everything else."""

from llm_service.telemetry.client.async_client import AsyncTelemetryLogger
from llm_service.telemetry.client.sync_client import TelemetryLogger
from llm_service.telemetry.record.record import InvocationRecord

__all__ = ["AsyncTelemetryLogger", "InvocationRecord", "TelemetryLogger"]
