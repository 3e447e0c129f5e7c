"""See `llm_service.telemetry.writer.budget_executor`."""

from llm_service.telemetry.writer.budget_executor import BudgetExecutor as Teller

__all__ = ["Teller"]
