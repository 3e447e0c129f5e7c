"""Calls that something else records within a block: a block around exactly one of them is that call, and one row.

What a block sees of them is kept until it ends, or until another call begins: then each is a row of its own, with the
block as its parent. What is kept is handed over on every way out: the block's end, its collection, and the end of the
process.
"""

import atexit
import os
from threading import RLock
from typing import Any, Final, NamedTuple, Protocol
from weakref import WeakValueDictionary

from llm_service.telemetry.instrumentation.record_building import merged

__all__ = ["SPANS", "Child", "NestedCalls", "Settled", "hand_over_at_exit", "settle"]

SPANS: Final = frozenset({"agent", "chain", "create_agent", "execute_tool", "invoke_agent", "tool", "workflow"})
"""Operations of what is not itself a call: it holds calls."""
_USED: Final = frozenset({"prompt_tokens", "completion_tokens", "total_tokens", "cost_usd"})
_OUTCOME: Final = ("status", "error_type", "error_message")
_KEPT: Final = ("invocation_id", "parent_invocation_id")
_LOCK: Final = RLock()
"""Calls of one block may end in several threads, and be collected in the middle of anything."""
_kept: Final[WeakValueDictionary[int, "Child"]] = WeakValueDictionary()
"""Weak, because a call knows its block, and a block that is forgotten is to be collected."""


class Child(Protocol):
    """A call that another recorded."""

    def stand_alone(self) -> None:
        """Hand over a row of its own; never raises."""
        ...

    def stand_for(self, block: dict[str, Any], /) -> None:
        """It is still running, and will be the block's row when it ends, with the fields of the block, which win."""
        ...

    def cut_short(self) -> dict[str, Any]:
        """End it now, without a row of its own; its fields."""
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

    __slots__ = ("_begun", "_kept", "_over", "_running")

    def __init__(self) -> None:
        self._begun = 0
        self._over = False
        self._kept: Child | None = None
        self._running: Child | None = None

    def begin(self, child: Child) -> None:
        """A call begins."""
        with _LOCK:
            self._begun += 1
            first = self._take() if self._begun > 1 else None
            self._running = child if self._begun == 1 else None
        if first is not None:
            first.stand_alone()

    def end(self, child: Child) -> bool:
        """A call has ended; whether it is kept."""
        with _LOCK:
            self._running = None
            if self._over or self._begun != 1:
                return False
            self._kept = child
            _kept[id(child)] = child
        return True

    def settle(self, block: dict[str, Any] | None, *, is_call: bool) -> Settled:
        """The block ends.

        Args:
            block: its fields, for a call that still runs; None where it cannot wait for that.
            is_call: whether it may itself be a call: not one that said to be something else, or holds another block.
        """
        with _LOCK:
            self._over = True
            one = self._take()
            running, self._running = self._running, None
            alone = self._begun == 1 and is_call
            if alone and running is not None and block is not None:
                running.stand_for(block)
                return Settled(waits=True)
        if not alone:
            if one is not None:
                one.stand_alone()
            return Settled(several=self._begun > 0)
        if one is not None:
            return Settled(one.told)
        return Settled(None if running is None else running.cut_short())

    def _take(self) -> Child | None:
        child, self._kept = self._kept, None
        if child is not None:
            _kept.pop(id(child), None)
        return child

    def __del__(self) -> None:
        with _LOCK:
            child = self._take()
        if child is not None:  # its block was begun, and never ended
            child.stand_alone()


def settle(
    calls: NestedCalls, said: dict[str, Any], measured: dict[str, Any], *, reserved: bool, holds_blocks: bool
) -> tuple[dict[str, Any], bool, bool]:
    """Take what others recorded within a block that ends.

    Args:
        calls: within it.
        said: its fields.
        measured: what else is known of it; altered.
        reserved: whether it has a budget, which it settles now.
        holds_blocks: whether another block was entered within it.

    Returns:
        Its fields, whether the one call that it is still runs and will be its row, and whether there were several.
    """
    said = {field: value for field, value in said.items() if value is not None}
    failure = {field: measured.get(field) for field in _OUTCOME} if "status" in measured else {}
    block = None if reserved else {field: measured[field] for field in _KEPT if field in measured} | failure | said
    outcome = calls.settle(block, is_call=said.get("operation") not in SPANS and not holds_blocks)
    if outcome.fields is not None:
        measured |= merged(outcome.fields, said) | failure
    elif outcome.several and said.keys().isdisjoint(_USED):
        measured["operation"] = "chain"  # it is no call itself
        if reserved:
            measured["cost_usd"] = 0  # its calls are counted by their own rows: what it holds is free again
    return said, outcome.waits, outcome.several


def _hand_over() -> None:
    """The process ends, within blocks."""
    kept = list(_kept.values())
    _kept.clear()
    for child in kept:
        child.stand_alone()


def hand_over_at_exit() -> None:
    """From now on what is kept is handed over at the end of the process, before present loggers close."""
    atexit.unregister(_hand_over)
    atexit.register(_hand_over)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_kept.clear)
