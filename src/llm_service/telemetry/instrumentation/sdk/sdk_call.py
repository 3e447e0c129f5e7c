"""One call of a client, recorded by a hook: nothing here raises, and nothing reaches the caller."""

import logging
from collections.abc import Callable, Mapping
from time import perf_counter_ns
from typing import Any, Final, cast

from llm_service.redaction import traceback_text
from llm_service.telemetry.instrumentation.call_fields import describe_error, milliseconds
from llm_service.telemetry.instrumentation.given_fields import warn_of_no_usage
from llm_service.telemetry.instrumentation.invocation import Invocation
from llm_service.telemetry.instrumentation.kept_calls import is_of_parent
from llm_service.telemetry.instrumentation.nested_calls import Waiting, begin_in
from llm_service.telemetry.instrumentation.nested_costs import tell_parents
from llm_service.telemetry.instrumentation.open_blocks import NOWHERE, Block, Place, current, place_here, still_open
from llm_service.telemetry.instrumentation.record_building import built, merged
from llm_service.telemetry.instrumentation.refused_calls import nothing_billed
from llm_service.telemetry.instrumentation.responses.answers import read_kept
from llm_service.telemetry.instrumentation.responses.plain_answers import Kept, plain_fields_of
from llm_service.telemetry.instrumentation.seen_calls import Seen, remember_row, sees_twice, was_seen
from llm_service.telemetry.instrumentation.sink import Sink
from llm_service.telemetry.record.later_record import LaterRecord
from llm_service.telemetry.record.operations import is_span
from llm_service.telemetry.record.record import InvocationRecord, new_id, plain_record

__all__ = ["INHERITED", "SdkCall"]

_LOG: Final = logging.getLogger("llm_service.telemetry")
INHERITED: Final = ("agent_name", "tool_name", "session_id", "user_id", "trace_id", "tags", "privacy_level")
"""What a call has of the blocks around it, the nearest first."""
_SURE: Final = frozenset({"model_name", "operation", "provider", "service_tier"})
"""What the client, or its host, knows better than an answer, where it says it."""
_OK: Final = 200
_LATER_SIZE: Final = 2_400
"""Bytes of a call whose record is made later, with what was kept of its answer [measured with tracemalloc]."""


class SdkCall(Invocation):
    """A call from its request to its last byte. It ends once, however often it is told to.

    Attributes:
        attempts: requests that were sent for it; None where the client does not tell.
        on_cut: ends the stream that it gave.
        may_be_billed: whether a request before the last one may have been billed, so that its failure is not free.
        unanswered: whether a request was sent that nothing came back for, as one that timed out: a model may have run,
            so that what the next one is answered with is not all.
    """

    __slots__ = (
        "__weakref__",
        "_block",
        "_ended",
        "_kept",
        "_muted",
        "_stopped",
        "attempts",
        "may_be_billed",
        "on_cut",
        "unanswered",
    )

    def __init__(self, sink: Sink, fields: dict[str, Any], attempts: int | None) -> None:
        self._begin_blank(sink, strict=False, put=None)
        self._fields = self._first = fields
        self.attempts = attempts
        self.may_be_billed = self.unanswered = False
        self._block: Block | None = None
        self._kept: Kept | None = None
        self._stopped: int | None = None
        self._ended = False
        self._muted = False
        self.on_cut: Callable[[], None] | None = None

    def __getattr__(self, name: str) -> str:
        """Its id is made when it is first asked for: mostly by the writer's thread."""
        if name not in {"_own_id", "invocation_id"}:
            raise AttributeError(name)
        self.invocation_id = self._own_id = made = new_id()
        return made

    def start(self) -> None:
        """The request is sent now; it is current until `release`."""
        self._place = place = place_here(self._sink, self._fields, begins_trace=False)
        self.restart_clock()
        if place.parent is not None:
            self.join(place.parent)
        current.set(self)

    _waits = False

    def takes(self, call: Any) -> bool:  # noqa: ARG002 - see `Invocation`
        """It holds none."""
        return False

    def join(self, block: Block | None) -> None:
        """Belong to this block, or to the next around it that takes it."""
        while block is not None and not block.takes(self):
            block = (block._place or NOWHERE).parent  # noqa: SLF001 - another block, as below
        self._block = block
        if block is not None:
            self._nested = begin_in(block, self)

    def move_into(self, block: Block, /) -> None:
        """It goes on within this block, which began after it."""
        if self._ended or self._block is block:
            return
        if self._nested is not None:
            self._nested.withdraw(self)
            self._block = self._nested = None
        place = self._place or NOWHERE
        self._place = Place(place.around, block, block._names_within())  # noqa: SLF001 - of the protocol
        self.join(block)

    def release(self) -> None:
        """The request has returned: it is no longer what is current."""
        if current.get() is self:
            current.set(still_open((self._place or NOWHERE).around))

    def retried(self, *, refused: bool = False) -> None:
        """Another request is sent for it; `refused`: no model ran for the one before."""
        if self.attempts is not None:
            self.may_be_billed |= self.attempts > 0 and not refused
            self.attempts += 1

    def stop_clock(self) -> None:
        """The last byte has arrived; the first time counts."""
        if self._stopped is None:
            self._stopped = perf_counter_ns()

    def end(self, found: Mapping[str, Any], error: BaseException | None = None) -> None:
        """It has ended.

        Args:
            found: what its answer told.
            error: what its caller was given instead.
        """
        if self._ended:
            return
        self._ended = self.over = True
        self.on_cut = None
        if is_of_parent(self):
            return
        self.stop_clock()
        self._take(found, error)
        said, block, nested = self._fields, self._block, self._nested
        if sees_twice() and self.is_apart and was_seen(self._sink, self._as_seen()):
            if nested is not None:
                nested.withdraw(self)
            return
        if nested is not None and block is not None:
            keeps = not (self._muted or is_span(said.get("operation")) or is_span(block._fields.get("operation")))
            if nested.end(self, said, keeps=keeps):
                return
        if not self._muted:
            self.stand_alone()
        self.tell_end()

    def end_plainly(self, kept: Kept) -> None:
        """It has ended with a plain answer, of which this was kept."""
        if self._ended or self._block is not None or self._place is not NOWHERE or sees_twice() or is_of_parent(self):
            self.end(read_kept(kept))
            return
        self._ended = self.over = True
        self.stop_clock()
        self._kept = kept
        self._sink.offer(LaterRecord(self._made_later, _LATER_SIZE))
        remember_row(self._sink, kept[1])

    def _made_later(self) -> InvocationRecord:
        """The record of a plain answer, of a call that nothing is around."""
        kept = cast("Kept", self._kept)
        found = plain_fields_of(kept)
        plain = found is not None and self._fields.get("http_status") == _OK
        self._take(read_kept(kept) if found is None else found, None)
        fields = self._all_fields()
        record = plain_record(fields) if plain else None
        if record is None:
            record = built(InvocationRecord, {}, fields, self._note, may_raise=False)
        if record is None:  # it was accepted, so there is a row: never a success of which nobody knows anything
            return InvocationRecord(self._own_id, status="error", error_type="not_recorded")
        return record

    def _all_fields(self) -> dict[str, Any]:
        """The fields of its row, where nothing is around it."""
        fields = {**self._measured(), **self._fields, "invocation_id": self._own_id}
        if "model_name" not in fields and "request_model" in fields:
            fields["model_name"] = fields["request_model"]
        return fields

    def _take(self, found: Mapping[str, Any], error: BaseException | None) -> None:
        said = self._fields
        for field, value in found.items():
            if value is not None and not (field in _SURE and field in said):
                said[field] = value
        if error is not None:
            said |= {field: value for field, value in describe_error(error).items() if value is not None}
            if self._ttft_ms is None and not self.may_be_billed:
                said |= nothing_billed(error, said)
        elif self.unanswered and said.get("usage_source") == "reported":
            said["usage_source"] = "partial"

    @property
    def is_apart(self) -> bool:
        """Whether it has a row, and a framework may tell of it elsewhere."""
        return not self._muted and (self._block is None or not self._block.is_one_call)

    def _as_seen(self) -> Seen:
        parent = (self._place or NOWHERE).parent
        within = None if parent is None else parent.invocation_id
        return Seen(self.is_one_call, self._started, perf_counter_ns(), within, self._fields)

    @property
    def told(self) -> dict[str, Any]:
        """The fields of its row, without its id and its parent."""
        measured, said = self._measured(), dict(self._fields)
        place = self._place or NOWHERE
        block = self._around_it()
        while block is not None:  # it may have said more since
            told = block._fields
            said = {
                field: told[field]
                for field in INHERITED
                if told.get(field) is not None and (field == "tags" or place.inherited.get(field) is None)
            } | said
            block = (block._place or NOWHERE).parent  # noqa: SLF001
        return measured | place.complete(said, measured)

    def _around_it(self) -> Block | Waiting | None:
        """The block that it is in, as it ended where it waits: it may have been entered again."""
        waiting = None if self._nested is None else self._nested.waiting
        return self._block if waiting is None else waiting

    def cut_short(self) -> dict[str, Any]:
        """End it now, without a row of its own."""
        self._muted = True
        if self.on_cut is not None:
            self.on_cut()
        self.end({})
        return self.told

    def stand_alone(self) -> None:
        """Hand over its row."""
        try:
            block = self._around_it()
            if block is None and self._place is NOWHERE:
                self._hand_over(self._all_fields())
                return
            fields = self.told
            said: dict[str, Any] = {"invocation_id": self._own_id}
            if block is not None:
                said["parent_invocation_id"] = block.invocation_id
                if fields.get("trace_id") is None:
                    fields["trace_id"] = block.trace()
            self._hand_over(merged(fields, said) | said)
        except Exception as failure:  # noqa: BLE001 - as promised
            self._sink.lose_invalid()
            _LOG.error("telemetry: a call of a client could not be recorded: %s", traceback_text(failure))

    def _hand_over(self, fields: dict[str, Any]) -> None:
        if "model_name" not in fields and "request_model" in fields:
            fields["model_name"] = fields["request_model"]
        record = built(InvocationRecord, {}, fields, self._note, may_raise=False)
        tell_parents(self._nested, self._sink, record, of_block=False)
        if record is None:
            self._sink.lose_invalid()
        else:
            self._sink.offer(record)
            remember_row(self._sink, fields.get("response_id"))

    def _measured(self) -> dict[str, Any]:
        latency_ms = None if self._stopped is None else milliseconds(self._stopped - self._started)
        fields: dict[str, Any] = {"timestamp": self._entered, "latency_ms": latency_ms}
        if self._ttft_ms is not None:
            fields["ttft_ms"] = self._ttft_ms
        if self.attempts:
            fields["attempts"] = self.attempts
        return fields

    def without_usage(self) -> None:
        """A stream has told no usage: that is said once."""
        warn_of_no_usage(self._sink)
