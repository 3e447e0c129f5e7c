"""Both clients, async and sync, and what they share: queries, reports, purge, estimates, budgets."""
