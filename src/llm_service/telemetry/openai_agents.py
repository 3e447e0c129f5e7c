"""Recording OpenAI's Agents SDK: `agents.add_trace_processor(TelemetryProcessor(telemetry))`."""

from llm_service.telemetry.instrumentation.frameworks.openai_agents import TelemetryProcessor

__all__ = ["TelemetryProcessor"]
