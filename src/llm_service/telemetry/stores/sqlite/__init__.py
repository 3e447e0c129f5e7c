"""The SQLite store: everything that knows SQLite, its files, its errors and its SQL."""
