"""Recording LangChain and LangGraph: `config={"callbacks": [TelemetryCallback(telemetry)]}`."""

from llm_service.telemetry.instrumentation.frameworks.langchain import TelemetryCallback

__all__ = ["TelemetryCallback"]
