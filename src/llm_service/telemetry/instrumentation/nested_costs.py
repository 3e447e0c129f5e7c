"""What the blocks around a call learn of its end and its cost: a budget there is free again only where all is known."""

from collections.abc import Iterator

from llm_service.telemetry.instrumentation.nested_calls import calls_of
from llm_service.telemetry.instrumentation.open_blocks import Block
from llm_service.telemetry.record.operations import is_span
from llm_service.telemetry.record.record import InvocationRecord

__all__ = ["never_ran", "tell_budgets", "tell_parents"]


def tell_parents(block: Block | None, record: InvocationRecord, *, of_block: bool) -> None:
    """A row was made within a block: where its cost is unknown, no budget around it may take it for nothing."""
    if block is None:
        return
    is_call = not is_span(record.operation)
    for around in _blocks_around(block):
        if is_call:  # one that is no block has told the block that it is directly in
            calls_of(around).row_made(record, was_told=around is block and not of_block)
        if around._reserved:  # noqa: SLF001 - of the protocol, as below
            unpriced = is_call and not around._sink.knows_cost(record)  # noqa: SLF001
            calls_of(around).tell_budget(begun=-of_block, unpriced=unpriced)


def never_ran(block: Block) -> None:
    """A block that had begun is none after all: it was refused, or never sent."""
    if block._place is not None and block._place.parent is not None:  # noqa: SLF001
        tell_budgets(block._place.parent, -1)  # noqa: SLF001


def tell_budgets(parent: Block, change: int) -> None:
    """A block within begins (1) or has ended (-1): what one that is open will cost, no budget around it knows."""
    for around in _blocks_around(parent):
        if around._reserved:  # noqa: SLF001
            calls_of(around).tell_budget(begun=change)


def _blocks_around(block: Block | None) -> Iterator[Block]:
    """This one and all around it that are open."""
    while block is not None:
        if not block.over:
            yield block
        place = block._place  # noqa: SLF001
        block = None if place is None else place.parent
