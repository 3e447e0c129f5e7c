"""Stores of records. Only SQLite today; the writer knows only `BatchWriter`."""
