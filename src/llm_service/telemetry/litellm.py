"""Recording LiteLLM: `litellm.callbacks = [TelemetryCallback(telemetry)]`."""

from llm_service.telemetry.instrumentation.frameworks.litellm import TelemetryCallback

__all__ = ["TelemetryCallback"]
