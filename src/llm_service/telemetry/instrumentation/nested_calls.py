"""Calls that something else records within a block: a block around exactly one of them is that call, and one row.

What a block sees of them is kept until it ends, or until another call begins: then each is a row of its own, with the
block as its parent. What is kept is handed over on every way out: the block's end, its collection, the close of its
logger, and the end of the process. Calls of a span, or of a block that the parent process is in, are never kept.
"""

import atexit
import logging
import os
from collections.abc import Callable, Mapping
from threading import RLock
from time import perf_counter_ns
from typing import Any, Final, NamedTuple, Protocol
from weakref import WeakValueDictionary

from llm_service.telemetry.instrumentation.open_blocks import Block
from llm_service.telemetry.instrumentation.seen_calls import has_row
from llm_service.telemetry.instrumentation.sink import Sink
from llm_service.telemetry.record.record import InvocationRecord

__all__ = [
    "Child",
    "NestedCalls",
    "Offer",
    "Settled",
    "begin_in",
    "calls_of",
    "hand_over",
    "hand_over_at_exit",
    "hold_span_in",
    "is_of_parent",
    "keep",
    "no_longer_kept",
    "tell_again",
]

_MOST: Final = 256
"""Calls of one block whose usage is remembered."""
_LOCK: Final = RLock()
"""Calls of one block may end in several threads, and be collected in the middle of anything."""
Offer = Callable[[InvocationRecord], object]
"""Takes a row, and settles the budget of whose row it is."""
_kept: Final[WeakValueDictionary[int, "NestedCalls"]] = WeakValueDictionary()
"""Those that keep a call. Weak, because a call knows its block, and a block that is forgotten is to be collected."""
_LOG: Final = logging.getLogger("llm_service.telemetry")
_REPEATS: Final = (
    "telemetry: a block repeats an answer that has a row, so it is a `chain` (said once); "
    "make the call within the block, and both are one row"
)
_forked_at = 0
"""When this process began as a fork, by `perf_counter_ns`; what began before is its parent's."""


class Child(Protocol):
    """A call that another recorded.

    Attributes:
        _sink: its logger.
    """

    _sink: Sink

    def stand_alone(self) -> None:
        """Hand over a row of its own; never raises."""
        ...

    def stand_for(self, block: dict[str, Any], offer: Offer, /) -> None:
        """It is still running, and will be the block's row when it ends, with the fields of the block, which win."""
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


class Settled(NamedTuple):
    """What a block turned out to be.

    Attributes:
        fields: those of the one call that it is; None where it is none, or where that call will be its row.
        waits: whether the one call that it is still runs, and will be its row.
        several: whether calls were made within it that have rows of their own.
    """

    fields: dict[str, Any] | None = None
    waits: bool = False
    several: bool = False


class NestedCalls:
    """The calls within one block."""

    __slots__ = (
        "__weakref__", "_begun", "_ended", "_kept", "_over", "_running", "_summed", "_sums", "_told", "counted",
        "open_blocks", "unpriced",
    )  # fmt: skip

    def __init__(self) -> None:
        self._begun = 0
        self._ended = 0
        self._over = False
        self._kept: Child | None = None
        self._running: Child | None = None
        self._told: list[tuple[Any, Any, Any]] = []
        self._summed, self._sums = 0, (0, 0)  # how many calls told both counts, and the sums of those
        self.counted = 0
        """Rows of calls within, at any depth."""
        self.open_blocks = 0
        """Blocks within, at any depth, that have not ended; of a block with a budget, as the next."""
        self.unpriced = 0
        """Calls and blocks within that ended at an unknown cost."""

    @property
    def costs_are_known(self) -> bool:
        """Whether all of them have ended, each at a known cost."""
        return self._ended == self._begun and not self.unpriced and not self.open_blocks

    def begin(self, child: Child) -> None:
        """A call begins."""
        with _LOCK:
            self._begun += 1
            first = self._take() if self._begun > 1 else None
            self._running = child if self._begun == 1 else None
        if first is not None:
            first.stand_alone()

    def end(self, child: Child, told: Mapping[str, Any], *, keeps: bool) -> bool:
        """A call has ended; whether it is kept.

        Args:
            child: the call.
            told: its fields.
            keeps: whether the block may be that call.
        """
        with _LOCK:
            self._ended += 1
            self._note(told.get("response_id"), told.get("prompt_tokens"), told.get("completion_tokens"))
            self._running = None
            if self._over or self._begun != 1 or not keeps:
                return False
            self._kept = child
            keep(self)
        return True

    def withdraw(self, child: Child) -> None:
        """What began is no call, or is told of elsewhere."""
        with _LOCK:
            self._begun -= 1
            if self._running is child:
                self._running = None

    def row_made(self, record: InvocationRecord, *, was_told: bool) -> None:
        """A call within has a row; `was_told`: it told of itself here before."""
        hooked = (record.source or "").startswith("sdk:")  # other counts may be equal by chance
        prompt, completion = (record.prompt_tokens, record.completion_tokens) if hooked else (None, None)
        with _LOCK:
            self.counted += 1
            if not was_told:
                self._note(record.response_id, prompt, completion)

    def tell_budget(self, *, begun: int = 0, unpriced: int = 0) -> None:
        """So many more blocks within are open (-1: one has ended), and so many more calls ended at an unknown cost."""
        with _LOCK:
            self.open_blocks += begun
            self.unpriced += unpriced

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
            self._ended += 1
            first = self._take()
            self._running = None
        if first is not None:
            first.stand_alone()

    def span_ended(self, within: "NestedCalls | None") -> None:
        """A span has ended, and the calls within it, unless one of them still runs."""
        with _LOCK:
            if within is None or within.costs_are_known:
                self._ended += 1
        if within is not None:
            within.tell_outwards(self)

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
            self._take()
            self._begun += 1
            self._ended += 1
        child.stand_alone()

    def tell_again(self, said: Mapping[str, Any]) -> None:
        """The block repeats what a call before it told, which has a row."""
        with _LOCK:
            first = self._take()
            self._begun += 2  # so the block is none itself
            self._ended += 2
            self._note(said.get("response_id"), said.get("prompt_tokens"), said.get("completion_tokens"))
        if first is not None:
            first.stand_alone()

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

    def settle(self, block: Callable[[Child], dict[str, Any]], offer: Callable[[], Offer], *, is_call: bool) -> Settled:
        """The block ends.

        Args:
            block: gives its fields, for a call that still runs.
            offer: gives what takes the row of that call.
            is_call: whether it may itself be a call: not one that said to be something else, or holds another block.
        """
        with _LOCK:
            self._over = True
            one = self._take()
            running, self._running = self._running, None
            alone = self._begun == 1 and is_call
            if alone and running is not None:
                running.stand_for(block(running), offer())
                return Settled(waits=True)
        if not alone:
            if one is not None:
                one.stand_alone()
            return Settled(several=self._begun > 0)
        return Settled(None if one is None else one.told)

    def _take(self) -> Child | None:
        child, self._kept = self._kept, None
        if child is not None:
            no_longer_kept(self)
        return child

    def __del__(self) -> None:
        with _LOCK:
            child = self._take()
        if child is not None:  # its block was begun, and never ended
            child.stand_alone()


def is_of_parent(block: Block) -> bool:
    """Whether it was begun before this process was forked: the parent process ends it."""
    return block._started < _forked_at  # noqa: SLF001 - of the protocol


def calls_of(block: Block) -> NestedCalls:
    """What a block knows of the calls within it."""
    if block._calls is None:  # noqa: SLF001 - of the protocol, as below
        block._calls = NestedCalls()  # noqa: SLF001
    calls: NestedCalls = block._calls  # noqa: SLF001
    return calls


def begin_in(block: Block, child: Child) -> NestedCalls | None:
    """Count a call that begins in a block; None where the block is in the parent process, which counts its own."""
    if is_of_parent(block):
        return None
    calls = calls_of(block)
    calls.begin(child)
    return calls


def tell_again(block: Block, said: Mapping[str, Any]) -> None:
    """A block tells what an answer says: where that has a row, the block is no call of its own."""
    sink = block._sink  # noqa: SLF001 - as below
    answered = said.get("response_id")
    if answered is None or not has_row(sink, answered) or (block._calls is not None and block._calls.knows(answered)):  # noqa: SLF001
        return
    calls_of(block).tell_again(said)
    if sink.is_first("an answer with a row"):
        _LOG.warning(_REPEATS)


def hold_span_in(block: Block) -> None:
    """A span begins in a block, unless that is the parent process's."""
    if is_of_parent(block):
        return
    calls_of(block).hold_span()


def keep(calls: NestedCalls) -> None:
    """They keep a call: at the end of the process, and of its logger, it is handed over."""
    _kept[id(calls)] = calls


def no_longer_kept(calls: NestedCalls) -> None:
    """They keep none any more."""
    _kept.pop(id(calls), None)


def hand_over(sink: Sink | None = None) -> None:
    """Give what blocks keep rows of their own: of a logger that closes, or of all as the process ends."""
    for calls in list(_kept.values()):
        calls.hand_over(sink)


def hand_over_at_exit() -> None:
    """From now on what is kept is handed over at the end of the process, before present loggers close."""
    atexit.unregister(hand_over)
    atexit.register(hand_over)


def _begin_as_fork() -> None:
    """What is kept is the parent's, and so are the blocks that are open."""
    global _forked_at  # noqa: PLW0603 - of the process, as its id is
    _forked_at = perf_counter_ns()
    _kept.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_as_fork)
