"""Recording Pydantic AI: `Agent(model, capabilities=[TelemetryCapability(telemetry)])`."""

from llm_service.telemetry.instrumentation.frameworks.pydantic_ai import TelemetryCapability

__all__ = ["TelemetryCapability"]
