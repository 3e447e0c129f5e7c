"""The blocks around a call learn of its row and its cost: a budget there is free again only where all is known."""

from llm_service.telemetry.instrumentation.nested_calls import NestedCalls
from llm_service.telemetry.instrumentation.sink import Sink
from llm_service.telemetry.record.operations import is_span
from llm_service.telemetry.record.record import InvocationRecord

__all__ = ["tell_parents"]


def tell_parents(calls: NestedCalls | None, sink: Sink, record: InvocationRecord | None, *, of_block: bool) -> None:
    """A row was made: where its cost is unknown, no budget around it may take it for nothing.

    Args:
        calls: those of the block that it is directly in.
        sink: their logger.
        record: the row; None where it could not be made, so that its cost is unknown.
        of_block: whether it is that of a block; what is none has told the block that it is directly in.
    """
    if calls is None or (record is not None and is_span(record.operation)):
        return
    was_told, known = not of_block, None
    while calls is not None:
        if calls.reserved and known is None:
            known = record is not None and sink.knows_cost(record)
        calls.row_made(record, was_told=was_told, unpriced=calls.reserved and not known)
        was_told, calls = False, calls.outer
