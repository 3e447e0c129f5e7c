"""The interface between the writer and a store, independent of SQLite."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Protocol

from llm_service.telemetry.record.record import InvocationRecord

__all__ = ["BatchWriter", "Fault", "Fetch", "PartialSum", "Query", "Session", "WriteResult"]

Session = Any
"""An open connection to a store, used by one thread at a time; only the store knows its type."""

Query = tuple[str, Sequence[Any]]
"""A statement and its parameters."""
Fetch = Callable[[Query], list[tuple[Any, ...]]]
"""Runs a query and returns all rows; all queries of one call see the same snapshot."""


class PartialSum(int):
    """A sum that leaves out a cell because it holds no number."""


class Fault(Enum):
    """What a failed write means for the batch."""

    TRANSIENT = "transient"
    """Locked, full or failing: retry the same batch after a pause."""
    REOPEN = "reopen"
    """Retry on a new connection: this one's file is gone or not writable."""
    DAMAGED = "damaged"
    """The file cannot be read. If a new connection fails too, the file is renamed and a new one is created."""
    UNUSABLE = "unusable"
    """The file is not for telemetry and must not be moved; no retry will help."""


@dataclass(frozen=True, slots=True)
class WriteResult:
    """The result of a committed batch. Positions count from 0 within the batch.

    Attributes:
        duplicates: positions of records whose id was stored already.
        quarantined: positions of records that SQLite refused, now in `dead_letters`.
        redactions: how many secrets were removed from the batch, by name.
    """

    duplicates: frozenset[int] = frozenset()
    quarantined: frozenset[int] = frozenset()
    redactions: Mapping[str, int] = field(default_factory=dict[str, int])


class BatchWriter(Protocol):
    """Writes one batch in one transaction, or raises with nothing written."""

    def write(
        self, connection: Any, batch: Sequence[InvocationRecord], *, batch_no: int, durable: bool, slice_rows: int
    ) -> WriteResult:
        """Commit the batch, unless an earlier try with this `batch_no` already did.

        Args:
            connection: the store's own connection, used by one thread at a time.
            batch: the records; the same in every try of one `batch_no`.
            batch_no: ascends by one with each batch of this writer.
            durable: True makes the commit survive a power cut.
            slice_rows: how many rows are built between two statements.
        """
        ...

    def classify(self, error: Exception) -> Fault:
        """The kind of fault that an exception of `write` or of opening means."""
        ...
