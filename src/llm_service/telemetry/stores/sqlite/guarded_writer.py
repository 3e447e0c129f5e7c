"""A batch counts as written only if the database's files are in place before and after the write."""

import sqlite3
from collections.abc import Sequence
from typing import Any

from llm_service.telemetry.record.record import InvocationRecord
from llm_service.telemetry.stores.base import BatchWriter, Fault, WriteResult
from llm_service.telemetry.stores.sqlite import error_kinds
from llm_service.telemetry.stores.sqlite.database_files import OwnConnection

__all__ = ["GuardedWriter"]


class GuardedWriter:
    """A `BatchWriter` that checks the files around each write of another."""

    def __init__(self, writer: BatchWriter) -> None:
        self._writer = writer

    def classify(self, error: Exception) -> Fault:
        """The inner writer's classification."""
        return self._writer.classify(error)

    def write(
        self, connection: Any, batch: Sequence[InvocationRecord], *, batch_no: int, durable: bool, slice_rows: int
    ) -> WriteResult:
        """See `BatchWriter.write`.

        Raises:
            OSError: (ESTALE) the file was deleted or replaced, or its -wal is gone: the batch is not in the database,
                whether or not it was committed.
        """
        guarded = connection if isinstance(connection, OwnConnection) else None
        if guarded is not None:
            guarded.check()
        try:
            result = self._writer.write(connection, batch, batch_no=batch_no, durable=durable, slice_rows=slice_rows)
        except sqlite3.Error as error:
            if guarded is not None and error_kinds.classify(error) is Fault.DAMAGED:
                guarded.leave()  # a close would copy the -wal into a damaged file, and delete it
            raise
        if guarded is not None:
            guarded.check()
        return result
