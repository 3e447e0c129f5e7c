"""Budgets as pure values: windows of time, scopes of calls, limits, and whether a call fits. No file and no clock."""
