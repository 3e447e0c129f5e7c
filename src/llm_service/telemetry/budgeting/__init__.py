"""`telemetry.budgets`: wishes, reservations, holds in a caller's hands. What limits are is in `llm_service.budgets`."""
