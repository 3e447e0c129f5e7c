"""What many calls have in common, said once around them."""

import asyncio
from collections.abc import Mapping
from threading import get_ident
from types import TracebackType
from typing import Any, Final, Self
from weakref import ReferenceType, ref

from llm_service.errors import RecordError
from llm_service.redaction import shown
from llm_service.telemetry.instrumentation.call_fields import refuse_misplaced, without_content
from llm_service.telemetry.instrumentation.given_fields import by_field, note
from llm_service.telemetry.instrumentation.inherited_fields import SCOPE_FIELDS, in_scope, readable
from llm_service.telemetry.instrumentation.open_blocks import (
    Block,
    Enclosing,
    Place,
    around,
    close,
    current,
    nearest,
    open_block,
    place_here,
)
from llm_service.telemetry.instrumentation.sink import Sink
from llm_service.telemetry.instrumentation.trace_context import (
    TraceParent,
    parse_traceparent,
    random_span_id,
    span_of_otel,
)

__all__ = ["Scope", "traceparent_here"]

_REMEDY: Final = "give the W3C header, as 00-<32 hexadecimal digits>-<16 hexadecimal digits>-01"


class Scope:
    """Fields that the calls within have, unless they say otherwise: `with` and `async with`. Made by `scope()`.

    It may be entered again, also while it is open, and from several tasks and threads at once.
    """

    __slots__ = ("_fields", "_open", "_sink")

    def __init__(self, sink: Sink, fields: dict[str, Any], *, strict: bool, traceparent: object = None) -> None:
        refuse_misplaced(fields)
        self._sink = sink
        self._open: list[_OpenScope] = []
        self._fields = _usable(by_field(fields, sink, strict=strict), sink, strict=strict)
        if traceparent is not None:
            self._fields |= _of_header(traceparent, sink, strict=strict)

    def __enter__(self) -> Self:
        opened = _OpenScope(self, self._sink, place_here(self._sink, self._fields, begins_trace=False), self._fields)
        self._open.append(opened)
        current.set(opened)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._open:
            opened = self._entered_here()
            self._open.remove(opened)
            opened.over = True
            close(opened)

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, traceback)

    def _entered_here(self) -> "_OpenScope":
        """The entry that ends now: the innermost here, or the last where it is left in another context."""
        here = current.get()
        while here is not None:
            if isinstance(here, _OpenScope) and here.scope is self and not here.over:
                return here
            here = around(here)
        return self._open[-1]

    def __repr__(self) -> str:
        return f"<scope of {', '.join(sorted(self._fields)) or 'nothing'}>"


class _OpenScope:
    """One entry of a scope.

    It lives on in the tasks and threads that began within it: what they begin after its end still belongs to it. Where
    it was entered itself, it is over: a generator that is closed elsewhere may have left it behind there.
    """

    __slots__ = ("_inherited", "_place", "_sink", "_task", "_thread", "over", "scope")

    def __init__(self, scope: Scope, sink: Sink, place: Place, fields: Mapping[str, Any]) -> None:
        self.scope = scope
        self.over = False
        self._sink = sink
        self._place = place
        self._inherited = in_scope(place.inherited, fields)
        self._thread = get_ident()
        self._task = _task_here()

    @property
    def _lives_on(self) -> bool:
        if self._thread != get_ident():
            return True
        task, here = self._task, _task_here()
        return (None if task is None else task()) is not (None if here is None else here())

    def _block_within(self) -> Block | None:
        return open_block(self._place.parent)

    def _names_within(self) -> Mapping[str, Any]:
        return self._inherited

    @property
    def traceparent(self) -> str | None:
        """The header that it came with, or one of the trace that it names."""
        trace, caller = self._inherited.get("trace_id"), self._inherited.get("parent_invocation_id")
        return None if trace is None else TraceParent(trace, caller or random_span_id()).header()


def traceparent_here(sink: Sink) -> str | None:
    """The header `traceparent` of what is open here: of a block, a scope with a trace, or OpenTelemetry's span."""
    near: Enclosing | None = nearest(sink)
    if isinstance(near, _OpenScope):
        block = near._block_within()  # noqa: SLF001 - of this module
        known = near.traceparent
        if known is not None and (block is None or block.trace() != near._names_within().get("trace_id")):  # noqa: SLF001
            return known
        near = block
    if near is not None:
        header: str | None = getattr(near, "traceparent", None)
        return header
    span = span_of_otel()
    return None if span is None else span.header()


def _task_here() -> "ReferenceType[asyncio.Task[Any]] | None":
    try:
        task = asyncio.current_task()
    except RuntimeError:  # no loop runs here
        return None
    return None if task is None else ref(task)


def _usable(given: Mapping[str, Any], sink: Sink, *, strict: bool) -> dict[str, Any]:
    """The fields as a record will have them; what none can have, or what is of one call alone, is left out and noted.

    Raises:
        RecordError: with `strict`.
    """
    usable: dict[str, Any] = {}
    for field, value in given.items():
        if value is None:
            continue
        try:
            usable[field] = _of_many_calls(field, value)
        except RecordError as error:
            if strict:
                raise
            note(sink, field, without_content(error))
    return usable


def _of_many_calls(field: str, value: object) -> Any:
    if field not in SCOPE_FIELDS:
        raise RecordError(field, value, "it is of one call, and a scope is of many")
    return readable(field, value)


def _of_header(given: object, sink: Sink, *, strict: bool) -> dict[str, Any]:
    """Trace and caller by a header; nothing, and a note, where it says nothing valid.

    Raises:
        RecordError: with `strict`.
    """
    text = given.decode("ascii", "replace") if isinstance(given, bytes) else given
    found = parse_traceparent(text) if isinstance(text, str) else None
    if found is not None:
        return {"trace_id": found.trace_id, "parent_invocation_id": found.span_id}
    error = RecordError("traceparent", shown(given), _REMEDY)
    if strict:
        raise error
    note(sink, "traceparent", str(error))
    return {}
