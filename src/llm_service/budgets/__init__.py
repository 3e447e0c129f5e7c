"""Budgets as pure values: time windows, scopes of calls, limits, and whether a call fits. No file and no clock."""
