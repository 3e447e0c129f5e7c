"""Prepares a batch before its transaction: redacts and compresses contents, makes their words, looks up prices."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from llm_service.telemetry.privacy import Redactor, pack
from llm_service.telemetry.record.record import InvocationRecord
from llm_service.telemetry.record.words import index_words
from llm_service.telemetry.stores.costing import Costing

__all__ = ["BatchContents", "PreparedContents"]

_Packed = tuple[bytes | None, bytes | None]


class BatchContents(NamedTuple):
    """The contents of a batch, by position, ready to be bound; the redactions in them; and the costs of the calls.

    Attributes:
        words: of the contents, for the index; of none where none was known.
    """

    packed: Mapping[int, _Packed]
    words: Mapping[int, str]
    failed: Mapping[int, Exception]
    redactions: Counter[str]
    costs: Sequence[tuple[float | None, str] | None] | None


class PreparedContents:
    """Prepares the contents and costs of a batch once, also if the batch is retried."""

    def __init__(self, redactor: Redactor, costing: Costing | None) -> None:
        self._redactor = redactor
        self._costing = costing
        self._made: tuple[int, BatchContents] | None = None

    def of(self, batch: Sequence[InvocationRecord], batch_no: int, *, with_words: bool) -> BatchContents:
        """The contents and costs to be stored with this batch."""
        if self._made is not None and self._made[0] == batch_no:
            return self._made[1]
        packed: dict[int, _Packed] = {}
        words: dict[int, str] = {}
        failed: dict[int, Exception] = {}
        counts: Counter[str] = Counter()
        for position, record in enumerate(batch):
            if record.extensions is None:
                continue
            try:
                prompt, response = self._redactor.content(record, counts)
                if prompt is not None or response is not None:
                    packed[position] = (
                        None if prompt is None else pack(prompt),
                        None if response is None else pack(response),
                    )
                    if with_words:
                        words[position] = index_words((prompt, response))
            except Exception as error:  # noqa: BLE001 - a damaged record is set aside when its turn comes
                failed[position] = error
        costs = None if self._costing is None else self._costing.costs(batch)
        self._made = (batch_no, BatchContents(packed, words, failed, counts, costs))
        return self._made[1]

    def forget(self) -> None:
        """Drop the prepared contents: the batch has been written."""
        self._made = None
