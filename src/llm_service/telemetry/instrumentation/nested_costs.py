"""What the blocks around a call learn of its end and its cost: a budget there is free again only where all is known."""

from collections.abc import Iterator
from threading import RLock
from typing import Final

from llm_service.telemetry.instrumentation.nested_calls import NestedCalls, calls_of
from llm_service.telemetry.instrumentation.open_blocks import Block
from llm_service.telemetry.record.operations import is_span
from llm_service.telemetry.record.record import InvocationRecord

__all__ = ["never_ran", "tell_budgets", "tell_parents"]

_LOCK: Final = RLock()
"""Blocks within one may end in several threads, and be collected in the middle of anything."""


def tell_parents(block: Block | None, record: InvocationRecord, *, of_block: bool) -> None:
    """A row was made within a block: where its cost is unknown, no budget around it may take it for nothing."""
    if block is None:
        return
    is_call = not is_span(record.operation)
    if is_call and not block.over:
        calls_of(block).row_made(record, of_block=of_block)
    for around in _with_budgets(block):
        unpriced = is_call and not block._sink.knows_cost(record)  # noqa: SLF001 - of the protocol
        with _LOCK:
            around.open_blocks -= of_block
            around.counted += is_call
            around.unpriced += unpriced


def never_ran(block: Block) -> None:
    """A block that had begun is none after all: it was refused, or never sent."""
    if block._place is not None and block._place.parent is not None:  # noqa: SLF001
        tell_budgets(block._place.parent, -1)  # noqa: SLF001


def tell_budgets(parent: Block, change: int) -> None:
    """A block within begins (1) or has ended (-1): what one that is open will cost, no budget around it knows."""
    for around in _with_budgets(parent):
        with _LOCK:
            around.open_blocks += change


def _with_budgets(block: Block | None) -> Iterator[NestedCalls]:
    """What the blocks that have a budget know of the calls within: of this one and of all around it."""
    while block is not None:
        if block._reserved and not block.over:  # noqa: SLF001 - of the protocol
            yield calls_of(block)
        place = block._place  # noqa: SLF001
        block = None if place is None else place.parent
