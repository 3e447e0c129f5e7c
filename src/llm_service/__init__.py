"""Services for LLM agents; `llm_service.telemetry` is the flight recorder for their calls."""

__version__ = "0.1.0"
