"""What the writer asks of a store, and what it is told: no SQLite in sight."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Protocol

from llm_service.telemetry.record.record import InvocationRecord

__all__ = ["BatchWriter", "Fault", "Fetch", "Query", "Session", "WriteResult"]

Session = Any
"""An open connection to a store: one thread uses it at a time, and what it is only its store knows."""

Query = tuple[str, Sequence[Any]]
"""A statement and its parameters."""
Fetch = Callable[[Query], list[tuple[Any, ...]]]
"""Runs a query and returns all rows; all queries of one call see the same snapshot."""


class Fault(Enum):
    """What a failed write means for the batch."""

    TRANSIENT = "transient"
    """Locked, full, failing: the same batch is tried again after a pause."""
    REOPEN = "reopen"
    """The same, on a new connection: this one has no file any more, or one that it may not write."""
    DAMAGED = "damaged"
    """The file cannot be read. Where a new connection finds the same, the file is set aside for a new one."""
    UNUSABLE = "unusable"
    """The file is not for telemetry, and is not ours to move; no retry will help."""


@dataclass(frozen=True, slots=True)
class WriteResult:
    """What became of a committed batch. Positions count from 0 within the batch.

    Attributes:
        duplicates: positions of records whose id was stored already.
        quarantined: positions of records that SQLite refused, now in `dead_letters`.
        redactions: how many secrets were taken out of the batch, by name.
    """

    duplicates: frozenset[int] = frozenset()
    quarantined: frozenset[int] = frozenset()
    redactions: Mapping[str, int] = field(default_factory=dict[str, int])


class BatchWriter(Protocol):
    """Writes one batch in one transaction, or raises with nothing written."""

    def write(
        self, connection: Any, batch: Sequence[InvocationRecord], *, batch_no: int, durable: bool, slice_rows: int
    ) -> WriteResult:
        """Commit the batch, or find that an earlier try with this `batch_no` did.

        Args:
            connection: the store's own connection, used by one thread at a time.
            batch: the records; the same ones at every try of one `batch_no`.
            batch_no: rises by one with each batch of this writer.
            durable: True makes the commit survive a power cut.
            slice_rows: how many rows are built between two statements.
        """
        ...

    def classify(self, error: Exception) -> Fault:
        """What an exception of `write` or of opening means."""
        ...
