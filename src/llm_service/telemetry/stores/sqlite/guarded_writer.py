"""A batch counts as written only where the file it went to still stands at its name, before and after."""

import sqlite3
from collections.abc import Sequence
from typing import Any

from llm_service.telemetry.record.record import InvocationRecord
from llm_service.telemetry.stores.base import BatchWriter, Fault, WriteResult
from llm_service.telemetry.stores.sqlite import error_kinds
from llm_service.telemetry.stores.sqlite.database_files import OwnConnection

__all__ = ["GuardedWriter"]


class GuardedWriter:
    """A `BatchWriter` that looks at the files around each write of another."""

    def __init__(self, writer: BatchWriter) -> None:
        self._writer = writer

    def classify(self, error: Exception) -> Fault:
        """As the writer does."""
        return self._writer.classify(error)

    def write(
        self, connection: Any, batch: Sequence[InvocationRecord], *, batch_no: int, durable: bool, slice_rows: int
    ) -> WriteResult:
        """See `BatchWriter.write`.

        Raises:
            OSError: (ESTALE) the file was deleted, replaced or left without its -wal: the batch is not where it should
                be, whether or not it was committed there.
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
