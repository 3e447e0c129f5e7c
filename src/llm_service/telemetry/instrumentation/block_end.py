"""How a block ends: at once, or, where calls or blocks within it still run, after the last of them."""

import logging
from collections.abc import Mapping
from copy import copy
from typing import Any, Final

from llm_service.redaction import traceback_text
from llm_service.telemetry.instrumentation import nested_calls
from llm_service.telemetry.instrumentation.block_outcome import settle
from llm_service.telemetry.instrumentation.given_fields import note
from llm_service.telemetry.instrumentation.inherited_fields import NOTHING, in_block, own_trace
from llm_service.telemetry.instrumentation.nested_costs import tell_parents
from llm_service.telemetry.instrumentation.open_blocks import NOWHERE, Place
from llm_service.telemetry.instrumentation.record_building import built
from llm_service.telemetry.instrumentation.sink import Sink
from llm_service.telemetry.record.record import InvocationRecord

__all__ = ["BlockEnd"]

_LOG: Final = logging.getLogger("llm_service.telemetry")


class BlockEnd:
    """What an `Invocation` has to end.

    Attributes:
        _calls: what others record within it.
        _nested: what it is counted among while it runs.
        _measured_at_end: what was known when it ended, where it waits.
        _own_id: of its row, unless it says another.
    """

    __slots__ = (
        "_calls",
        "_fields",
        "_holds_blocks",
        "_learnt",
        "_measured_at_end",
        "_nested",
        "_own_id",
        "_place",
        "_sink",
        "invocation_id",
    )

    invocation_id: str
    _calls: nested_calls.NestedCalls | None
    _fields: dict[str, Any]
    _holds_blocks: bool
    _learnt: frozenset[str]
    _measured_at_end: dict[str, Any]
    _nested: nested_calls.NestedCalls | None
    _own_id: str
    _place: Place | None
    _sink: Sink

    def trace(self) -> str | None:
        """The trace of what is in it; None where that is to stay unknown."""
        return own_trace(self._names_within(), self._own_id, reserved=self._reserved)

    @property
    def _reserved(self) -> bool:
        return getattr(self, "hold", None) is not None

    def _names_within(self) -> Mapping[str, Any]:
        return in_block(NOTHING if self._place is None else self._place.inherited, self._fields)

    def _offer_soon(self, record: InvocationRecord | None) -> None:
        """Hand over its row, without waiting for anything."""
        if record is not None:
            self._sink.offer(record)

    def tell_end(self) -> None:
        """It has ended, or was never sent: a block around it that waits for that goes on."""
        nested, self._nested = self._nested, None
        if nested is not None:
            nested.has_ended()

    def _wait(self, calls: nested_calls.NestedCalls, measured: dict[str, Any]) -> bool:
        """Leave its row to the last that runs within it; it may itself be entered again, so that a copy waits."""
        waiting = copy(self)
        waiting._calls, waiting._measured_at_end = None, measured  # noqa: SLF001 - of the copy
        if not calls.wait(waiting):
            return False
        self._nested = None
        return True

    def settle_late(self, calls: nested_calls.NestedCalls) -> None:
        """Hand over the row of what has waited; see `nested_calls.Waiting`."""
        record = None
        try:
            record = self._decided(calls, self._measured_at_end, outlived=True)
        except Exception as failure:  # noqa: BLE001 - as in a finalizer
            self._sink.lose_invalid()
            _LOG.error("telemetry: a block could not be recorded: %s", traceback_text(failure))
        self._offer_soon(record)
        self.tell_end()

    def _decided(
        self,
        calls: nested_calls.NestedCalls | None,
        measured: dict[str, Any],
        *,
        may_raise: bool = False,
        outlived: bool = False,
    ) -> InvocationRecord | None:
        """Its row, now that all is known of the calls within that will be."""
        said, place, has_calls = self._fields, self._place or NOWHERE, self._holds_blocks
        if "response_id" in said:
            calls = nested_calls.tell_again(self._sink, calls, said)
        if calls is not None:
            said, has_several = settle(
                calls, said, measured, learnt=self._learnt, reserved=self._reserved, holds_blocks=has_calls,
                outlived=outlived,
            )  # fmt: skip
            has_calls = has_calls or has_several
        if has_calls or place.inherited:
            said = place.complete(said, measured, self.trace() if has_calls else None)
        self._fields = said
        record = None
        try:
            record = self._build(measured, may_raise=may_raise)
        finally:
            tell_parents(self._nested, self._sink, record, of_block=True)
        return record

    def _build(self, measured: dict[str, Any], *, may_raise: bool) -> InvocationRecord | None:
        record = built(InvocationRecord, measured, self._fields, self._note, may_raise=may_raise)
        if record is None:
            self._sink.lose_invalid()
        return record

    def _note(self, field: str, message: str) -> None:
        note(self._sink, field, message)
