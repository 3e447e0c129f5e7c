"""Timing a block and logging what it was, whatever happened in it.

An `Invocation` never raises of its own and never swallows or alters the block's exception: a bad value becomes NULL, is
warned about once and counted; `strict` raises instead, unless the block is raising already.
"""

from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from time import perf_counter_ns, time_ns
from types import TracebackType
from typing import Any, Final, Self, TypeVar, cast

from llm_service.telemetry.instrumentation import nested_calls
from llm_service.telemetry.instrumentation.block_end import BlockEnd
from llm_service.telemetry.instrumentation.call_fields import TOKEN_COUNTS, ended_by, milliseconds, refuse_misplaced
from llm_service.telemetry.instrumentation.cumulative import Cumulative
from llm_service.telemetry.instrumentation.failed_answers import failure_of
from llm_service.telemetry.instrumentation.field_aliases import unpriced_beside, with_doubt
from llm_service.telemetry.instrumentation.given_fields import by_field, told_late, usable_id, warn_of_no_usage
from llm_service.telemetry.instrumentation.kept_calls import is_of_parent
from llm_service.telemetry.instrumentation.later_reports import with_losses
from llm_service.telemetry.instrumentation.open_blocks import (
    NOWHERE,
    Enclosing,
    Place,
    close,
    current,
    descends_from,
    place_here,
)
from llm_service.telemetry.instrumentation.record_building import merged
from llm_service.telemetry.instrumentation.responses.answers import read_answer
from llm_service.telemetry.instrumentation.responses.watching import Watching, watch
from llm_service.telemetry.instrumentation.sink import Sink
from llm_service.telemetry.instrumentation.usage_reader import ReadUsage, read_fields
from llm_service.telemetry.record.fields import KINDS
from llm_service.telemetry.record.record import Amount, InvocationRecord, new_id
from llm_service.telemetry.record.timestamps import Moment

__all__ = ["Invocation", "ReadUsage", "Sink"]

_FIELDS: Final = frozenset(KINDS)
_LOOKED_AT: Final = frozenset({"invocation_id", "status", "tags"})  # not only kept for the record
_S = TypeVar("_S")
_Put = Callable[[InvocationRecord], Awaitable[bool]]


class Invocation(BlockEnd):
    """One call being timed: a context manager for `async with` and `with`. Made by a logger's `invocation()`.

    Attributes:
        invocation_id: the record's id, known from the start; a call nested in this block names it as its parent.
        over: whether the block has ended.
    """

    __slots__ = (
        "_entered",
        "_first",
        "_put",
        "_started",
        "_strict",
        "_ttft_ms",
        "_watching",
        "over",
    )

    def __init__(self, sink: Sink, fields: dict[str, Any], *, strict: bool, put: _Put | None = None) -> None:
        self._begin_blank(sink, strict=strict, put=put)
        self.invocation_id = self._own_id = new_id()
        if _FIELDS.issuperset(fields) and _LOOKED_AT.isdisjoint(fields):
            self._fields |= fields
            self._first = fields
        else:
            refuse_misplaced(fields)
            if fields.get("status", "") is None:  # not said, as the default of who passes it on
                fields = {field: value for field, value in fields.items() if field != "status"}
            self._set_with_care(fields)
            self._first = dict(self._fields)

    def _begin_blank(self, sink: Sink, *, strict: bool, put: _Put | None) -> None:
        """It says nothing yet, and has no id."""
        self._sink = sink
        self._fields: dict[str, Any] = {}
        self._strict = strict
        self._put = put
        self._place: Place | None = None
        self._started = 0
        self.over = False
        self._entered: Moment | None = None
        self._ttft_ms: float | None = None
        self._learnt: frozenset[str] = frozenset()
        self._calls: nested_calls.NestedCalls | None = None
        self._nested: nested_calls.NestedCalls | None = None  # among which it is counted while it runs
        self._holds_blocks = False
        self._watching: Watching | None = None

    def record_usage(
        self,
        usage: object = None,
        /,
        *,
        prompt_tokens: int | None = None,
        completion_tokens: int | None = None,
        total_tokens: int | None = None,
        cost_usd: Amount | None = None,
        cache_read_tokens: int | None = None,
        cache_write_tokens: int | None = None,
        reasoning_tokens: int | None = None,
        cache_write_1h_tokens: int | None = None,
        service_tier: str | None = None,
        unpriced_usage: str | None = None,
        **fields: Any,
    ) -> None:
        """Say what the call used; what is None stays as it was. Other fields are taken as by `set`.

        A count that is told again replaces the earlier one. It takes with it what was told of that: a cost, unless a
        new one comes with it, and cached or reasoned tokens of a prompt or completion that is told anew without them,
        and then the cost is unknown. A cost that was told before any counts stays.

        Args:
            usage: usage, or the answer that holds it, as the provider or its client has it; what is named beside it
                wins over it. An answer that says that it failed makes the call an error.
        """
        if usage is not None:
            self.read_usage(lambda given: given, usage)
            with suppress(Exception):  # a foreign object may raise anything
                fields = failure_of(usage) | fields
        told = {
            "prompt_tokens": prompt_tokens,
            "completion_tokens": completion_tokens,
            "total_tokens": total_tokens,
            "cost_usd": cost_usd,
            "cache_read_tokens": cache_read_tokens,
            "cache_write_tokens": cache_write_tokens,
            "reasoning_tokens": reasoning_tokens,
            "cache_write_1h_tokens": cache_write_1h_tokens,
            "service_tier": service_tier,
            "unpriced_usage": unpriced_usage,
        }
        refuse_misplaced(fields)
        told = {field: value for field, value in told.items() if value is not None}
        self._set(told | fields)
        if fields and not self.over and (usage is not None or not told):  # else they are read with what is told
            billed = unpriced_beside(fields, self._fields.get("unpriced_usage"))
            if billed is not None:
                self._fields["unpriced_usage"] = billed

    def read_usage(self, usage: ReadUsage, result: Any) -> None:
        """Take what a reader finds in a result; what it gives as None stays as it was.

        A reader that raises, or returns neither fields nor usage of a known shape, is counted as a bad value of the
        field `usage` and warned about once; `strict` raises instead.
        """
        try:
            self._set(usage(result) if isinstance(usage, Cumulative) else read_fields(usage, result))
        except Exception as error:
            if self._strict:
                raise
            # Its text may quote the answer, which no log line may hold.
            self._note("usage", f"usage: the reader failed with {type(error).__name__}; with strict=True it is raised")

    def record(self, response: object, /) -> None:
        """Take all that a provider's answer says of the call: usage, model, ids, how it ended, and its service tier.

        For whole answers of OpenAI's protocols, Anthropic, Gemini, Bedrock, Ollama, LiteLLM and OpenRouter, as objects
        of their clients or as mappings. What the block says itself wins over it, but for the model: `model_name` is
        the one that answered, and another that the block named becomes `request_model`. A later answer replaces an
        earlier one. What is no answer is counted in `stats().bad_values` and warned about once.
        """
        found = read_answer(response)
        if found:
            self.learn(found)
        else:
            self.misread(f"record() was given {type(response).__name__[:80]}, which is no answer of a known shape")

    def watch(self, stream: _S, /) -> _S:
        """Pass a stream on, chunk by chunk, and take of its events what `record` takes of an answer, and `ttft_ms`.

        Returns what gives the same items, sync and async, and forwards every other attribute, `close` and `with`
        included. What is left early ends with `finish_reason` `cancelled`, unless it had told its own, and
        `usage_source` `partial` where it had told usage. Read it within the block: the record is made at its end.
        """
        given, watching = watch(self, stream)
        if watching is not None:
            self._watching = watching
        return cast("_S", given)

    def learn(self, found: Mapping[str, Any], /) -> None:
        """Take what an answer or a stream said; see `record`."""
        said = self._fields
        for field in self._learnt:
            said.pop(field, None)
        found = merged(found, said)
        said |= (learnt := {field: value for field, value in found.items() if said.get(field) is None})
        self._learnt = frozenset(learnt)

    def misread(self, what: str, /) -> None:
        """Count what could not be read as a bad value of `usage`, and say it once; `strict` raises `TypeError`."""
        if self._strict:
            raise TypeError(what)
        self._note("usage", what)

    def set(self, /, **fields: Any) -> None:
        """Set any field of `InvocationRecord`; one that is set wins over what the block measures."""
        refuse_misplaced(fields)
        self._set(fields)

    def first_token(self) -> None:
        """The first token has arrived: sets `ttft_ms`, the first time it is called."""
        if self._ttft_ms is None and self._started:
            self._ttft_ms = milliseconds(perf_counter_ns() - self._started)

    def end_of_items(self) -> None:
        """A stream has ended by itself: where its reader found no usage in it, that is said once."""
        said = self._fields
        if self._ttft_ms is None or not TOKEN_COUNTS.isdisjoint(said) or said.get("cost_usd") is not None:
            return
        if said.get("status") is not None:  # it was cut, or failed
            return
        warn_of_no_usage(self._sink)

    def __enter__(self) -> Self:
        self._begin()
        current.set(self)
        return self

    def begin_stream(self) -> None:
        """Start the clock of what runs in steps, without becoming the parent of what follows; see `stream_recorder`."""
        self._fields.setdefault("stream", True)
        if not self.is_running:
            self._begin()

    def _again(self) -> None:
        """Be another call of the same names: a loop that tries again enters the same block again."""
        self.over, self._fields = False, dict(self._first)
        self._ttft_ms, self._learnt, self._watching = None, frozenset(), None
        self._calls, self._holds_blocks, self._started = None, False, 0
        self._stand_anew()
        self._own_id = new_id()
        if "invocation_id" not in self._first:
            self.invocation_id = self._own_id

    def _stand_anew(self) -> None:
        """Where it stands is decided as it begins; but what is still open within it has it around: there it stays."""
        place = self._place
        if not descends_from(current.get(), self):
            self._place = None
        elif place is not None and place is not NOWHERE:
            place.forget_what_ended()

    def _begin(self) -> None:
        if self.over:
            self._again()
        self._place = place = self._place or place_here(self._sink, self._fields)
        if place.parent is not None and not self._started:  # else it is entered within itself, and counted already
            place.parent._holds_blocks = True  # noqa: SLF001 - another block
            self._nested = nested_calls.begin_block_in(place.parent)
        self.restart_clock()

    def fields_so_far(self) -> dict[str, Any]:
        """What it says, and what it inherits here."""
        self._place = place = self._place or place_here(self._sink, self._fields)
        inherited = dict[str, Any]()
        return place.complete(self._fields, inherited) | inherited

    @property
    def traceparent(self) -> str | None:
        """The header `traceparent` (W3C) for what this call asks of another process, where `scope` takes it.

        None where the call is not open, or has a `trace_id` that the header cannot hold.
        """
        if self._place is None or self.over:
            return None
        self._place, header = self._place.with_span(self._fields, self.trace(), self._own_id)
        return header

    @property
    def is_running(self) -> bool:
        """Whether it has begun and not ended."""
        return self._started != 0 and not self.over

    @property
    def is_one_call(self) -> bool:
        """Whether a framework says that all that is called for it is one call."""
        return False

    def takes(self, call: Any) -> bool:  # noqa: ARG002 - some take none
        """Whether a call that begins within it may be the same call, as another saw it."""
        return True

    @property
    def _parent(self) -> Enclosing | None:
        """What it was entered within and still holds."""
        return None if self._place is None else self._place.around

    _lives_on = False
    _waits = True

    def _block_within(self) -> Self:
        return self

    def restart_clock(self) -> None:
        """The call begins now: what came before was waiting for its budget, or for its consumer."""
        self._entered = Moment(time_ns() // 1000)
        self._started = perf_counter_ns()

    @property
    def admitted(self) -> bool:
        """Whether it may run: what has a budget may not before that is reserved."""
        return True

    async def admit(self) -> None:
        """Reserve what it needs, where it needs anything."""

    async def give_back(self) -> None:
        """Free what was reserved: nothing ran."""

    def end_soon(self, error: BaseException | None) -> None:
        """Leave without waiting for anything, as a finalizer must."""
        self.__exit__(None if error is None else type(error), error, None)

    async def __aenter__(self) -> Self:
        return self.__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            self._offer_soon(self._leave(error))
        finally:
            self.tell_end()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            record = self._leave(error)
            if record is not None and error is None and self._put is not None:
                await self._put(record)
            else:
                self._offer_soon(record)
        finally:
            self.tell_end()

    def _leave(self, error: BaseException | None) -> InvocationRecord | None:
        latency_ms = milliseconds(perf_counter_ns() - self._started)
        if self._watching is not None:
            error = self._watching.end_with_block(error)
        self.over = True
        if self._started and is_of_parent(self):
            return None
        measured: dict[str, Any] = {"invocation_id": self._own_id, "timestamp": self._entered, "latency_ms": latency_ms}
        if self._ttft_ms is not None:
            measured["ttft_ms"] = self._ttft_ms
        place = self._place or NOWHERE
        if place.parent is not None:
            measured["parent_invocation_id"] = place.parent.invocation_id
        close(self)
        if error is not None:
            measured |= ended_by(error, self._fields)
        calls = self._calls
        if calls is not None and calls.is_busy and self._wait(calls, measured):
            return None
        return self._decided(calls, measured, may_raise=self._strict and error is None)

    def _set(self, given: Mapping[str, Any]) -> None:
        if self.over and given:
            told_late(given, self._sink, strict=self._strict)
            return
        given = with_doubt(given)
        if self._learnt:
            self._learnt = self._learnt.difference(given)
        if _FIELDS.issuperset(given) and _LOOKED_AT.isdisjoint(given):
            self._fields |= with_losses(self._fields, given)
        else:
            self._set_with_care(given)

    def _set_with_care(self, given: Mapping[str, Any]) -> None:
        fields = by_field(given, self._sink, strict=self._strict)
        self._fields |= with_losses(self._fields, fields)
        if "invocation_id" in fields:
            self.invocation_id = usable_id(fields["invocation_id"], self._own_id)
