"""What the blocks around a call learn of its end and its cost: a budget there is free again only where all is known."""

from collections.abc import Iterator
from threading import RLock
from typing import Final

from llm_service.telemetry.instrumentation.nested_calls import calls_of
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
    for around in _blocks_around(block):
        reserved = around._reserved  # noqa: SLF001 - of the protocol, as below
        if not is_call and not reserved:
            continue
        calls = calls_of(around)
        unpriced = is_call and reserved and not around._sink.knows_cost(record)  # noqa: SLF001
        with _LOCK:
            if is_call and (of_block or around is not block):  # a call tells the block that it is directly in itself
                calls.row_made(record)
            calls.counted += is_call
            calls.unpriced += unpriced
            calls.open_blocks -= of_block and reserved


def never_ran(block: Block) -> None:
    """A block that had begun is none after all: it was refused, or never sent."""
    if block._place is not None and block._place.parent is not None:  # noqa: SLF001
        tell_budgets(block._place.parent, -1)  # noqa: SLF001


def tell_budgets(parent: Block, change: int) -> None:
    """A block within begins (1) or has ended (-1): what one that is open will cost, no budget around it knows."""
    for around in _blocks_around(parent):
        if around._reserved:  # noqa: SLF001
            with _LOCK:
                calls_of(around).open_blocks += change


def _blocks_around(block: Block | None) -> Iterator[Block]:
    """This one and all around it that are open."""
    while block is not None:
        if not block.over:
            yield block
        place = block._place  # noqa: SLF001
        block = None if place is None else place.parent
