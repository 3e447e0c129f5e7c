"""Timing a block and logging what it was, whatever happened in it.

An `Invocation` never raises of its own and never swallows or alters the block's exception: a bad value becomes NULL, is
warned about once and counted; `strict` raises instead, unless the block is raising already.
"""

import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from contextvars import ContextVar
from time import perf_counter_ns, time_ns
from types import TracebackType
from typing import Any, Final, Self, TypeVar, cast

from llm_service.errors import RecordError, shown
from llm_service.redaction import clean
from llm_service.telemetry.instrumentation.call_fields import describe_error, milliseconds, refuse_misplaced, settled
from llm_service.telemetry.instrumentation.cumulative import Cumulative
from llm_service.telemetry.instrumentation.field_aliases import (
    known_fields,
    no_such_field,
    own_fields,
    unpriced_beside,
    with_doubt,
)
from llm_service.telemetry.instrumentation.later_reports import with_losses
from llm_service.telemetry.instrumentation.nested_calls import SPANS, NestedCalls
from llm_service.telemetry.instrumentation.record_building import built, merged
from llm_service.telemetry.instrumentation.refused_calls import nothing_billed
from llm_service.telemetry.instrumentation.responses.answers import failure_of, read_answer
from llm_service.telemetry.instrumentation.responses.watching import Watching, watch
from llm_service.telemetry.instrumentation.sink import Sink
from llm_service.telemetry.instrumentation.usage_reader import ReadUsage, read_fields
from llm_service.telemetry.record.checks import MAX_NAME_CHARS, required_id
from llm_service.telemetry.record.fields import KINDS
from llm_service.telemetry.record.record import Amount, InvocationRecord, new_id
from llm_service.telemetry.record.texts import forget_repairs, repairs_here
from llm_service.telemetry.record.timestamps import Moment

__all__ = ["Invocation", "ReadUsage", "Sink"]

_LOG: Final = logging.getLogger("llm_service.telemetry")
_FIELDS: Final = frozenset(KINDS)
_LOOKED_AT: Final = frozenset({"invocation_id", "status", "tags"})
"""What is not only kept for the record."""
_TOKEN_COUNTS: Final = frozenset({"prompt_tokens", "completion_tokens", "total_tokens"})
_USED: Final = _TOKEN_COUNTS | {"cost_usd"}
_OUTCOME: Final = ("status", "error_type", "error_message")
_KEPT: Final = ("invocation_id", "parent_invocation_id")
_S = TypeVar("_S")
_current: ContextVar["Invocation | None"] = ContextVar("llm_service_telemetry_invocation", default=None)


class Invocation:
    """One call being timed: a context manager for `async with` and `with`. Made by a logger's `invocation()`.

    Attributes:
        invocation_id: the record's id, known from the start; a call nested in this block names it as its parent.
        over: whether the block has ended.
    """

    __slots__ = (
        "_calls",
        "_entered",
        "_fields",
        "_first",
        "_holds_blocks",
        "_learnt",
        "_own_id",
        "_parent",
        "_put",
        "_sink",
        "_started",
        "_strict",
        "_ttft_ms",
        "_watching",
        "invocation_id",
        "over",
    )

    def __init__(
        self,
        sink: Sink,
        fields: dict[str, Any],
        *,
        strict: bool,
        put: Callable[[InvocationRecord], Awaitable[bool]] | None = None,
    ) -> None:
        self._sink = sink
        self._fields: dict[str, Any] = {}
        self._strict = strict
        self._put = put
        self._parent: Invocation | None = None
        self._started = 0
        self.over = False
        self._entered: Moment | None = None
        self._ttft_ms: float | None = None
        self._learnt: frozenset[str] = frozenset()
        self._calls: NestedCalls | None = None
        self._holds_blocks = False
        self._watching: Watching | None = None
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

    # What the block says

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
            self.read_usage(_as_it_is, usage)
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
        """Count what could not be read as a bad value of the field `usage`, and say it once; `strict` raises it.

        Raises:
            TypeError: with `strict`.
        """
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
        if self._ttft_ms is None or not _TOKEN_COUNTS.isdisjoint(said) or said.get("cost_usd") is not None:
            return
        if self._sink.is_first("a stream without usage"):
            _LOG.warning(
                "telemetry: usage= found no usage in a stream, so its tokens and cost are unknown (said once); "
                "OpenAI's chat completions tell it only with stream_options={'include_usage': True}"
            )

    def request_failed(self, error: BaseException) -> None:
        """The one request that it is has failed: it cost nothing where no model can have run."""
        self._set(nothing_billed(error, describe_error(error) | self._fields))

    # Entering and leaving

    def __enter__(self) -> Self:
        self._begin()
        _current.set(self)
        return self

    def begin_stream(self) -> None:
        """Start the clock of what runs in steps, without becoming the parent of what follows; see `stream_recorder`."""
        self._fields.setdefault("stream", True)
        self._begin()

    def _again(self) -> None:
        """Be another call of the same names: a loop that tries again enters the same block again."""
        self.over = False
        self._fields = dict(self._first)
        self._ttft_ms, self._learnt, self._watching = None, frozenset(), None
        self._calls, self._holds_blocks = None, False
        self._own_id = new_id()
        if "invocation_id" not in self._first:
            self.invocation_id = self._own_id

    def _begin(self) -> None:
        if self.over:
            self._again()
        parent = _current.get()
        self._parent = parent = parent if parent is None or not parent.over else _still_open(parent)
        if parent is not None:
            parent._holds_blocks = True  # noqa: SLF001 - another of this class
        self.restart_clock()

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
        record = self._leave(error)
        if record is not None:
            self._sink.offer(record)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        record = self._leave(error)
        if record is None:
            return
        if error is None and self._put is not None:
            await self._put(record)
        else:
            self._sink.offer(record)

    def descends_from(self, ancestor: "Invocation") -> bool:
        """Whether it is `ancestor`, or was entered within it."""
        call: Invocation | None = self
        while call is not None and call is not ancestor:
            call = call._parent  # noqa: SLF001 - another of this class
        return call is not None

    def _leave(self, error: BaseException | None) -> InvocationRecord | None:
        latency_ms = milliseconds(perf_counter_ns() - self._started)
        if self._watching is not None:
            self._watching.end(GeneratorExit() if error is None else error)
        self.over = True
        measured: dict[str, Any] = {
            "invocation_id": self._own_id,
            "timestamp": self._entered,
            "latency_ms": latency_ms,
        }
        if self._ttft_ms is not None:
            measured["ttft_ms"] = self._ttft_ms
        parent = self._parent
        if parent is not None:
            measured["parent_invocation_id"] = parent.invocation_id
            if parent.over:
                self._parent = parent = _still_open(parent)  # it holds what it needs, and no more
        # Never reset by token: a block may end in another task than it began in, where that raises. Where it began, it
        # stays current until another begins there, which passes it over.
        current = _current.get()
        if current is not None and current.over:
            _current.set(parent if current is self else _still_open(current))
        if error is not None:
            measured |= describe_error(error)
            said = self._fields
            if not _TOKEN_COUNTS.isdisjoint(said) and (said.get("stream") is True or isinstance(error, GeneratorExit)):
                measured["usage_source"] = "partial"
        if self._calls is not None and not self._merge(self._calls, measured):
            return None
        return self._build(measured, may_raise=self._strict and error is None)

    def _merge(self, calls: NestedCalls, measured: dict[str, Any]) -> bool:
        """Take what others recorded of the one call that it is; False where that call will be its row."""
        self._fields = said = {field: value for field, value in self._fields.items() if value is not None}
        failure = {field: measured.get(field) for field in _OUTCOME} if "status" in measured else {}
        block = None
        if getattr(self, "hold", None) is None:  # what has a budget settles it now
            block = {field: measured[field] for field in _KEPT if field in measured} | failure | said
        outcome = calls.settle(block, is_call=said.get("operation") not in SPANS and not self._holds_blocks)
        if outcome.fields is not None:
            measured |= merged(outcome.fields, said) | failure
        elif outcome.several and said.keys().isdisjoint(_USED):
            measured["operation"] = "chain"  # it is no call itself
            if block is None:
                measured["cost_usd"] = 0  # its calls are counted by their own rows: what it holds is free again
        return not outcome.waits

    def _build(self, measured: dict[str, Any], *, may_raise: bool) -> InvocationRecord | None:
        record = built(InvocationRecord, measured, self._fields, self._note, may_raise=may_raise)
        if record is None:
            self._sink.lose_invalid()
        return record

    def _set(self, given: Mapping[str, Any]) -> None:
        if self.over and given:
            names = ", ".join(sorted(given))[:MAX_NAME_CHARS]
            what = f"{names}: this call has ended and its record is made; tell it before"
            if self._strict:
                raise TypeError(what)
            self._note("told after the end", what)
            return
        given = with_doubt(given)
        if self._learnt:
            self._learnt = self._learnt.difference(given)
        if _FIELDS.issuperset(given) and _LOOKED_AT.isdisjoint(given):
            self._fields |= with_losses(self._fields, given)
        else:
            self._set_with_care(given)

    def _set_with_care(self, given: Mapping[str, Any]) -> None:
        try:
            fields, unknown = known_fields(given)
            fields = settled(fields)
        except Exception:  # noqa: BLE001 - a value of the caller's raises when it is looked at: its own check names it
            fields, unknown = own_fields(given)
        for name in unknown:
            if self._strict:
                raise RecordError(name, "a value", no_such_field(name))
            if self._sink.count_bad_value(name):
                printable = clean(name[:MAX_NAME_CHARS]) if name.isprintable() else shown(name)
                self._warn(f"{printable}: {no_such_field(name)}")
        self._fields |= with_losses(self._fields, fields)
        if "invocation_id" in fields:
            repairs = repairs_here()
            try:
                self.invocation_id = required_id("invocation_id", fields["invocation_id"])
            except RecordError:  # the record will say so, and has the id of its own
                self.invocation_id = self._own_id
            forget_repairs(repairs)  # counted with the record

    def _note(self, field: str, message: str) -> None:
        if self._sink.count_bad_value(field):
            self._warn(message)

    @staticmethod
    def _warn(message: str) -> None:
        _LOG.warning("telemetry: a value is left out, this field is warned about once: %s", message)


def _as_it_is(usage: Any) -> Any:
    return usage


def _still_open(call: Invocation | None) -> Invocation | None:
    """The call itself, or the next above it that has not ended."""
    while call is not None and call.over:
        call = call._parent  # noqa: SLF001 - of this module
    return call
