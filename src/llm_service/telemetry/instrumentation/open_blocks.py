"""What is open around a call, in one context variable: the innermost, which knows the next outer one.

Nothing is reset by token: what was opened may be closed in another task, where that raises. Where it was opened it
stays until another begins there, which passes over what has ended.
"""

from collections.abc import Mapping
from contextvars import ContextVar
from sys import modules
from typing import Any, Final, Protocol

from llm_service.telemetry.instrumentation.inherited_fields import NOTHING, in_otel_span, inherit
from llm_service.telemetry.instrumentation.sink import Sink
from llm_service.telemetry.instrumentation.trace_context import TraceParent, span_id_of, trace_id_of

__all__ = [
    "NOWHERE",
    "Block",
    "Enclosing",
    "Place",
    "around",
    "close",
    "current",
    "descends_from",
    "names_around",
    "nearest",
    "open_block",
    "place_here",
    "still_open",
]


class Enclosing(Protocol):
    """A block or a scope.

    Attributes:
        over: whether it has ended.
        _sink: its logger; blocks and scopes of other loggers are nothing to it.
    """

    over: bool
    _sink: Sink

    @property
    def _place(self) -> "Place | None":
        """Where it began; None before that."""
        ...

    @property
    def _lives_on(self) -> bool:
        """Whether it holds what begins here though it has ended."""
        ...

    def _block_within(self) -> "Block | None":
        """The block that is the parent of what begins in it."""
        ...

    def _names_within(self) -> Mapping[str, Any]:
        """What the calls that begin in it inherit of it, and of what is around it."""
        ...


class Block(Enclosing, Protocol):
    """A block.

    Attributes:
        invocation_id: of its record.
        _fields: what it says so far.
        _calls: what others record within it.
        _holds_blocks: whether a block was entered within it.
        _started: when, by `perf_counter_ns`.
        _waits: whether its end waits for the blocks that run within it.
    """

    invocation_id: str
    _fields: dict[str, Any]
    _calls: Any
    _holds_blocks: bool
    _started: int
    _waits: bool

    @property
    def is_one_call(self) -> bool:
        """Whether a framework says that all that is called for it is one call."""
        ...

    @property
    def _reserved(self) -> bool:
        """Whether it has a budget."""
        ...

    def takes(self, call: Any) -> bool:
        """Whether a call that begins within it may be the same call, as another saw it."""
        ...

    def trace(self) -> str | None:
        """The trace of what it holds; None where it is to stay unknown."""
        ...


class Place:
    """Where a block or a scope began.

    Attributes:
        around: what was open there, of whichever logger.
        parent: the block of its own logger that it is in.
        inherited: what it has of what is around it.
    """

    __slots__ = ("around", "inherited", "parent")

    def __init__(self, around: Enclosing | None, parent: Block | None, inherited: Mapping[str, Any]) -> None:
        self.around = around
        self.parent = parent
        self.inherited = inherited

    def complete(self, said: Mapping[str, Any], measured: dict[str, Any], trace: str | None = None) -> dict[str, Any]:
        """Give a call what it inherits and does not say itself; what it says. See `inherit`.

        Args:
            said: its fields.
            measured: what else is known of it; altered.
            trace: what it has where it inherits none.
        """
        around = self.inherited
        if around.get("trace_id") is None:
            around = {**around, "trace_id": trace}
        told = dict(said)
        inherit(around, told, measured)
        return told

    def with_span(self, said: Mapping[str, Any], trace: str | None, own_id: str) -> tuple["Place", str | None]:
        """The same place with the ids that a call gives away, which its record has then, and their header.

        Args:
            said: its fields.
            trace: that it is in.
            own_id: its own UUID.
        """
        span = said.get("span_id") or self.inherited.get("span_id") or span_id_of(own_id)
        inherited = {**self.inherited, "span_id": span, "trace_id": trace}
        return Place(self.around, self.parent, inherited), TraceParent(trace or trace_id_of(own_id), str(span)).header()

    def forget_what_ended(self) -> None:
        """Hold what is needed, and no more."""
        if self.around is not None and self.around.over:
            self.around = still_open(self.around)
        if self.parent is not None and self.parent.over:
            self.parent = open_block(self.parent)


NOWHERE: Final = Place(None, None, NOTHING)
"""Of what has nothing around it; shared, and never changed."""
_OTEL: Final = "opentelemetry.trace"
current: Final[ContextVar[Enclosing | None]] = ContextVar("llm_service_telemetry_open", default=None)
"""The innermost of what is open in this context; it may have ended meanwhile."""


def place_here(sink: Sink, said: Mapping[str, Any], *, begins_trace: bool = True, within: Block | None = None) -> Place:
    """The place of what a logger begins here.

    Args:
        sink: the logger.
        said: the fields that it has already.
        begins_trace: whether it and the block around it are of one trace from now on.
        within: the block that it is in as a framework tells, which may have begun in another context.
    """
    here = current.get()
    if here is not None and here.over:
        here = still_open(here)
    if within is not None and not descends_from(here, within):
        began = getattr(here, "_started", None)  # a scope has no clock
        here = within if began is None or began < within._started else here  # noqa: SLF001 - of the protocol
    if here is not None:
        place = _place_in(here, sink, begins_trace=begins_trace)
    else:
        place = Place(None, None, sink.inherited) if sink.inherited else NOWHERE
    if _OTEL not in modules:
        return place
    return Place(place.around, place.parent, in_otel_span(place.inherited, said))


def _place_in(one: Enclosing, sink: Sink, *, begins_trace: bool) -> Place:
    near = _nearest(sink, one)
    if near is None:
        return Place(one, None, sink.inherited)
    parent, inherited = near._block_within(), near._names_within()  # noqa: SLF001 - of the protocol, as all below
    if begins_trace and parent is not None and "trace_id" not in inherited:
        inherited = {**inherited, "trace_id": parent.trace()}
    return Place(one, parent, inherited)


def _nearest(sink: Sink, one: Enclosing | None) -> Enclosing | None:
    while one is not None and one._sink is not sink:  # noqa: SLF001
        one = still_open(around(one))
    return one


def nearest(sink: Sink) -> Enclosing | None:
    """What is open here of a logger; None where nothing is."""
    return _nearest(sink, still_open(current.get()))


def names_around(block: Block | None, said: Mapping[str, Any]) -> dict[str, Any]:
    """Agent and tool that a call does not say itself, as the nearest block around it says them."""
    found: dict[str, Any] = {}
    while block is not None:
        for field in ("agent_name", "tool_name"):
            value = block._fields.get(field)
            if value is not None and said.get(field) is None:
                found.setdefault(field, value)
        block = None if block._place is None else block._place.parent  # noqa: SLF001
    return found


def still_open(one: Enclosing | None) -> Enclosing | None:
    """This one, or the next around it that has not ended."""
    while one is not None and one.over and not one._lives_on:  # noqa: SLF001
        one = around(one)
    return one


def open_block(block: Block | None) -> Block | None:
    """This block, or the next around it, of the same logger, that has not ended."""
    while block is not None and block.over:
        block = None if block._place is None else block._place.parent  # noqa: SLF001
    return block


def close(one: Enclosing) -> None:
    """It has ended: what is around it is current again, wherever it was current itself."""
    place, here = one._place, current.get()  # noqa: SLF001
    if place is NOWHERE and here is one:  # the common case
        current.set(None)
        return
    if place is not None and place is not NOWHERE:
        place.forget_what_ended()
    if here is one:
        current.set(around(one))
    elif here is not None and here.over:
        current.set(still_open(here))


def descends_from(one: Enclosing | None, ancestor: Enclosing) -> bool:
    """Whether it is `ancestor`, or was entered within it."""
    while one is not None and one is not ancestor:
        one = around(one)
    return one is not None


def around(one: Enclosing) -> Enclosing | None:
    """What was open where it began."""
    place = one._place  # noqa: SLF001
    return None if place is None else place.around
