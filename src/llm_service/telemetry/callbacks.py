"""Recording a framework that has no adapter here, from its callbacks."""

from llm_service.telemetry.instrumentation.frameworks.recorder import CallbackRecorder

__all__ = ["CallbackRecorder"]
