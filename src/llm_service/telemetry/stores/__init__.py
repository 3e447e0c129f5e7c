"""Where batches of records are kept. One SQLite file today; the writer only knows `BatchWriter`."""
