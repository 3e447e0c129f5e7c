"""Calls that something else records within a block: a block around exactly one of them is that call, and one row.

What a block sees of them is kept until it ends, or until another call begins: then each is a row of its own, with the
block as its parent. A block that ends while calls or blocks within it still run waits for the last of them: only then
is it known what it is, what it repeats of them, and whether its budget is free again. What is kept, and what waits, is
handed over on every way out: the block's end, its collection, the close of its logger, and the end of the process.
Calls of a span, or of a block that the parent process is in, are never kept.

Nothing is handed over while the lock is held: a row may end a budget, or collect a stream whose end comes back here.
"""

import logging
from collections.abc import Mapping
from typing import Any, Final, NamedTuple, Protocol

from llm_service.telemetry.instrumentation.fork_locks import fork_lock
from llm_service.telemetry.instrumentation.kept_calls import is_of_parent, keep, no_longer_kept
from llm_service.telemetry.instrumentation.open_blocks import Block, Place
from llm_service.telemetry.instrumentation.seen_calls import has_row, remember_row
from llm_service.telemetry.instrumentation.sink import Sink
from llm_service.telemetry.record.record import InvocationRecord

__all__ = [
    "Child",
    "NestedCalls",
    "Settled",
    "Waiting",
    "begin_block_in",
    "begin_in",
    "calls_of",
    "hold_span_in",
    "tell_again",
]

_MOST: Final = 256
"""Calls of one block whose usage is remembered."""
_LOCK: Final = fork_lock()
"""Calls of one block may end in several threads, and be collected in the middle of anything."""
_LOG: Final = logging.getLogger("llm_service.telemetry")
_REPEATS: Final = (
    "telemetry: a block repeats an answer that has a row, so it is a `chain` (said once); "
    "make the call within the block, and both are one row"
)


class Child(Protocol):
    """A call that another recorded.

    Attributes:
        _sink: its logger.
    """

    _sink: Sink

    def stand_alone(self) -> None:
        """Hand over a row of its own; never raises."""
        ...

    def cut_short(self) -> dict[str, Any]:
        """End it now, without a row of its own; its fields."""
        ...

    def move_into(self, block: Block, /) -> None:
        """It goes on within this block, which began after it."""
        ...

    @property
    def told(self) -> dict[str, Any]:
        """The fields of its row."""
        ...


class Waiting(Protocol):
    """A block that has ended, and waits for what still runs within it.

    Attributes:
        invocation_id: of its record.
        _fields: what it said.
        _place: where it began.
        _sink: its logger.
    """

    invocation_id: str
    _fields: dict[str, Any]
    _place: Place | None
    _sink: Sink

    def settle_late(self, calls: "NestedCalls", /) -> None:
        """Hand over its row, and end its budget; never raises, and waits for nothing, as in a finalizer."""
        ...

    def trace(self) -> str | None:
        """The trace of what it holds."""
        ...


class Settled(NamedTuple):
    """What a block turned out to be.

    Attributes:
        fields: those of the one call that it is; None where it is none.
        several: whether calls were made within it that have rows of their own.
    """

    fields: dict[str, Any] | None = None
    several: bool = False


class NestedCalls:
    """The calls within one block.

    Attributes:
        outer: those of the block around it.
        reserved: whether the block has a budget.
        waiting: the block, where it has ended and waits for what runs within it.
        counted: rows of calls within, at any depth.
        seen: those of them that a hook or a framework saw.
        unpriced: calls within, at any depth, that ended at an unknown cost; of a block with a budget.
    """

    __slots__ = (
        "__weakref__", "_begun", "_kept", "_running", "_settled", "_summed", "_sums", "_told", "counted", "outer",
        "reserved", "seen", "unpriced", "waiting",
    )  # fmt: skip

    def __init__(self, outer: "NestedCalls | None" = None, *, reserved: bool = False) -> None:
        self.outer = outer
        self.reserved = reserved
        self.waiting: Waiting | None = None
        self._begun = 0
        self._running = 0  # calls and blocks directly within that have begun, and whose rows were not handed over yet
        self._settled = False
        self._kept: Child | None = None
        self._told: list[tuple[Any, Any, Any]] = []
        self._summed, self._sums = 0, (0, 0)  # how many calls told both counts, and the sums of those
        self.counted = self.seen = 0
        self.unpriced = 0

    @property
    def is_busy(self) -> bool:
        """Whether calls or blocks within it have not ended."""
        return self._running > 0

    @property
    def costs_are_known(self) -> bool:
        """Whether all of them have ended, each at a known cost."""
        return not self._running and not self.unpriced

    def begin(self, child: Child) -> None:  # noqa: ARG002 - another kind keeps those that run
        """A call begins."""
        with _LOCK:
            self._begun += 1
            self._running += 1
            first = self._take() if self._begun > 1 else None
        self._make_row_of(first)

    def begin_block(self) -> None:
        """A block begins directly within it."""
        with _LOCK:
            self._running += 1

    def end(self, child: Child, told: Mapping[str, Any], *, keeps: bool) -> bool:
        """A call has ended; whether it is kept. Else it makes its row, and says so by `has_ended`.

        Args:
            child: the call.
            told: its fields.
            keeps: whether the block may be that call.
        """
        with _LOCK:
            self._note(told.get("response_id"), told.get("prompt_tokens"), told.get("completion_tokens"))
            if self._settled or self._begun != 1 or not keeps:
                return False
            self._kept = child
            keep(self)
        self.has_ended()
        return True

    def has_ended(self) -> None:
        """What began has ended, and its row was handed over: the block that waits for the last of them is settled."""
        with _LOCK:
            self._running -= 1
            block = None if self._running else self._take_waiting()
        if block is not None:
            block.settle_late(self)

    def withdraw(self, child: Child) -> None:  # noqa: ARG002 - as above
        """What began is no call, or is told of elsewhere."""
        with _LOCK:
            self._begun -= 1
        self.has_ended()

    def row_made(self, record: InvocationRecord | None, *, was_told: bool, unpriced: bool) -> None:
        """A call within has a row.

        Args:
            record: the row; None where it could not be made.
            was_told: whether the call told of itself here before.
            unpriced: whether its cost is unknown.
        """
        with _LOCK:
            if self._settled:
                return
            self.unpriced += unpriced
            if record is None:
                return
            self.counted += 1
            seen = record.source is not None  # by a hook or a framework; other counts may be equal by chance
            self.seen += seen
            if not was_told:
                prompt, completion = (record.prompt_tokens, record.completion_tokens) if seen else (None, None)
                self._note(record.response_id, prompt, completion)

    def _note(self, response_id: Any, prompt: Any, completion: Any) -> None:
        told = (response_id, prompt, completion)
        if len(self._told) < _MOST and told != (None, None, None):
            self._told.append(told)
        if type(prompt) is int and type(completion) is int:
            self._summed += 1
            self._sums = (self._sums[0] + prompt, self._sums[1] + completion)

    def hold_span(self) -> None:
        """A span begins, which holds calls: the block is none itself, and each call directly in it has a row."""
        with _LOCK:
            self._begun += 2
            first = self._take()
        self._make_row_of(first)

    def tell_outwards(self, outer: "NestedCalls") -> None:
        """What has been told of calls within is known in the block around, too."""
        with _LOCK:
            outer._told += self._told[: max(0, _MOST - len(outer._told))]  # noqa: SLF001 - another of this class

    def hand_over(self, sink: Sink | None) -> None:
        """Give what is kept a row of its own: the block is not that call any more."""
        with _LOCK:
            child = self._kept
            if child is None or (sink is not None and child._sink is not sink):  # noqa: SLF001 - of the protocol
                return
            self._begun += 1
            self._take()
        self._make_row_of(child)

    def wait(self, block: Waiting) -> bool:
        """The block ends; whether it waits for what still runs within it."""
        with _LOCK:
            if not self._running:
                return False
            self.waiting = block
            keep(self)
        return True

    def wait_no_longer(self, sink: Sink | None) -> None:
        """The block that waits is what is known of it now."""
        with _LOCK:
            block = self.waiting
            if block is None or (sink is not None and block._sink is not sink):  # noqa: SLF001 - of the protocol
                return
            self._take_waiting()
        block.settle_late(self)

    def tell_again(self, said: Mapping[str, Any]) -> None:
        """The block repeats what a call before it told, which has a row."""
        with _LOCK:
            self._begun += 2  # so the block is none itself
            first = self._take()
            self._note(said.get("response_id"), said.get("prompt_tokens"), said.get("completion_tokens"))
        self._make_row_of(first)

    def knows(self, response_id: object) -> bool:
        """Whether a call within has told this id."""
        return any(response_id == known for known, *_ in self._told)

    def told_before(self, said: Mapping[str, Any]) -> bool:
        """Whether a block only repeats what a call of it, or all of them together, have told."""
        answered, counts = said.get("response_id"), (said.get("prompt_tokens"), said.get("completion_tokens"))
        if answered is not None and any(answered == response_id for response_id, *_ in self._told):
            return True
        if None in counts:
            return False
        return any([*counts] == told for _, *told in self._told) or (self._summed > 1 and counts == self._sums)

    def settle(self, *, is_call: bool) -> Settled:
        """The block has ended, and waits for nothing any more.

        Args:
            is_call: whether it may itself be a call: not one that said to be something else, or holds another block.
        """
        with _LOCK:
            self._settled = True
            alone = self._begun == 1 and is_call
            kept, one = (self._kept, None) if alone else (None, self._take())
            if alone:
                self._kept = None
                self._forget_if_empty()
        if kept is not None:
            told = kept.told
            remember_row(kept._sink, told.get("response_id"))  # noqa: SLF001 - of the protocol
            return Settled(told)
        self._make_row_of(one)
        return Settled(several=not alone and self._begun > 0)

    def is_told_late(self, sink: Sink | None) -> bool:  # noqa: ARG002 - of calls of frameworks
        """What runs within it ends by itself."""
        return False

    def forget(self) -> None:
        """In a forked child: what is kept, and what waits, is the parent process's."""
        self._kept = self.waiting = None

    def _take(self) -> Child | None:
        """Take what is kept, which gets a row of its own, and is running until it has that; the lock is held."""
        child, self._kept = self._kept, None
        if child is not None:
            self._running += 1
            self._forget_if_empty()
        return child

    def _make_row_of(self, child: Child | None) -> None:
        if child is not None:
            child.stand_alone()
            self.has_ended()

    def _take_waiting(self) -> Waiting | None:
        block, self.waiting = self.waiting, None
        if block is not None:
            self._forget_if_empty()
        return block

    def _forget_if_empty(self) -> None:
        if self._kept is None and self.waiting is None:
            no_longer_kept(self)

    def __del__(self) -> None:
        if self.waiting is not None:  # what ran within it was collected, and never ended
            self.wait_no_longer(None)
        else:  # its block was begun, and never ended
            self.hand_over(None)


def calls_of(block: Block) -> NestedCalls:
    """What a block knows of the calls within it."""
    calls: NestedCalls | None = block._calls  # noqa: SLF001 - of the protocol, as below
    if calls is None:
        parent = None if block._place is None else block._place.parent  # noqa: SLF001
        outer = None if parent is None else calls_of(parent)
        block._calls = calls = NestedCalls(outer, reserved=block._reserved)  # noqa: SLF001
    return calls


def begin_block_in(block: Block | None) -> NestedCalls | None:
    """Count a block that begins in another, which waits for it; None where that is in the parent process."""
    while block is not None and not block._waits:  # noqa: SLF001 - of the protocol
        block = None if block._place is None else block._place.parent  # noqa: SLF001
    if block is None or is_of_parent(block):
        return None
    calls = calls_of(block)
    calls.begin_block()
    return calls


def begin_in(block: Block, child: Child) -> NestedCalls | None:
    """Count a call that begins in a block; None where the block is in the parent process, which counts its own."""
    if is_of_parent(block):
        return None
    calls = calls_of(block)
    calls.begin(child)
    return calls


def tell_again(sink: Sink, calls: NestedCalls | None, said: Mapping[str, Any]) -> NestedCalls | None:
    """A block tells what an answer says: where that has a row, the block is no call of its own; what it knows then."""
    answered = said.get("response_id")
    if answered is None or not has_row(sink, answered) or (calls is not None and calls.knows(answered)):
        return calls
    calls = NestedCalls() if calls is None else calls
    calls.tell_again(said)
    if sink.is_first("an answer with a row"):
        _LOG.warning(_REPEATS)
    return calls


def hold_span_in(block: Block) -> None:
    """A span begins in a block, unless that is the parent process's."""
    if is_of_parent(block):
        return
    calls_of(block).hold_span()
