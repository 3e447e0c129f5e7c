"""A call, and a span around calls, that a framework tells of: the SDK below and the block around may see it, too.

One row results. Who is nearer to the provider is believed first: the hook into the SDK, then the frameworks, the
innermost first; each adds what those before it do not know. What an explicit block says stands above all.
"""

from asyncio import CancelledError
from collections.abc import Callable, Hashable, Mapping
from time import perf_counter_ns
from typing import Any, Final

from llm_service.telemetry.instrumentation.call_fields import describe_error
from llm_service.telemetry.instrumentation.fork_locks import fork_lock
from llm_service.telemetry.instrumentation.frameworks.richest import has_usage, richest, without_usage
from llm_service.telemetry.instrumentation.invocation import Invocation
from llm_service.telemetry.instrumentation.kept_calls import keep, no_longer_kept
from llm_service.telemetry.instrumentation.nested_calls import (
    Child,
    NestedCalls,
    Settled,
    begin_block_in,
    hold_span_in,
)
from llm_service.telemetry.instrumentation.open_blocks import NOWHERE, Block, close, current, place_here, still_open
from llm_service.telemetry.instrumentation.refused_calls import nothing_billed
from llm_service.telemetry.instrumentation.sdk.instruments import is_hooked
from llm_service.telemetry.instrumentation.sdk.sdk_call import INHERITED, SdkCall
from llm_service.telemetry.instrumentation.sink import Sink

__all__ = ["LEFT", "NEVER_ENDED", "FrameworkCall", "FrameworkSpan"]

NEVER_ENDED: Final[dict[str, Any]] = {"status": "error", "error_type": "never_ended"}
"""What is known of a call whose end was never told."""
LEFT: Final[dict[str, Any]] = {"finish_reason": "cancelled"}
"""The same, where its answer had begun: its consumer has left the stream."""

_LOCK: Final = fork_lock()
_MOST: Final = 64
"""Requests of one call that are held until it ends."""


class FrameworkCall(SdkCall):
    """A call of a model, as a framework tells of it. What it sends through a hooked SDK is the same call.

    Args:
        sink: what takes the row.
        fields: what is known of it when it begins.
        request_ended: called when the first request that a hooked SDK sent for it has ended; None to wait for the
            framework.

    Attributes:
        key: its id in the framework.
        answers: whether its answer has begun, as a stream.
        has_begun: asked for the same when nobody tells its end; None for nobody to ask.
        refused: whether no model ran for the latest request that failed.
    """

    @property
    def is_one_call(self) -> bool:
        """As said there: what is called for it is one call."""
        return True

    __slots__ = ("_last", "_merged", "_request_ended", "_requests", "answers", "has_begun", "key", "refused")

    def __init__(
        self, sink: Sink, fields: dict[str, Any], *, request_ended: Callable[[], object] | None = None
    ) -> None:
        super().__init__(sink, fields, None)
        self.key: Hashable = None
        self._request_ended = request_ended
        self._merged = self.answers = self.refused = False
        self._last: int | None = None
        self.has_begun: Callable[[], bool] | None = None
        self._calls = self._requests = _Requests(self)

    @property
    def ends_with_request(self) -> bool:
        """Whether it is over with the request that a hooked SDK sends for it."""
        return self._request_ended is not None

    @property
    def is_apart(self) -> bool:
        """Whether a hooked SDK may have seen it elsewhere."""
        return not self._merged and super().is_apart

    def takes(self, call: Any) -> bool:
        """Whether a call that begins here may be its request."""
        if self._request_ended is None:
            return True
        asked, other = self._fields.get("request_model"), call._fields.get("request_model")
        return not isinstance(call, FrameworkCall) and (asked == other or asked is None or other is None)

    def start_within(self, parent: Block | None) -> None:
        """It begins; `parent` is the span that the framework names.

        Until its first token what is called here is taken for its request.
        """
        here = still_open(current.get())
        while isinstance(here, FrameworkCall) and here is not parent and here._is_before(self):
            here.over = True  # its end was never told: what begins now is not its request
            here = still_open(here)
        self._place = place = place_here(self._sink, self._fields, begins_trace=False, within=parent)
        self.restart_clock()
        self.join(place.parent)
        keep(self._requests)  # until it ends, or its logger closes
        if self._request_ended is None or is_hooked():
            current.set(self)

    def _is_before(self, call: "FrameworkCall") -> bool:
        """Whether the same framework began it: calls of one framework are not within each other."""
        return self._sink is call._sink and self._fields.get("source") == call._fields.get("source")

    def join(self, block: Block | None) -> None:
        """As there; what it sends is within that block, too."""
        super().join(block)
        self._requests.outer = self._nested

    def first_token(self) -> None:
        """Its answer begins: its request has been sent, and what is called from now on is another."""
        super().first_token()
        self._fields["stream"] = self.over = self.answers = True

    def sent(self) -> None:
        """Its request was answered, or (of a stream) its answer begins: what is called from now on is another."""
        self.over = True
        self.answers = self._fields.get("stream") is True

    def arrived(self) -> None:
        """A piece of its answer has arrived."""
        self._last = perf_counter_ns()
        self.answers = True

    def left(self) -> None:
        """Nobody will tell its end: of a stream that had begun, its consumer has left it, at the latest piece known."""
        if not self.answers and self.has_begun is not None:
            self.answers = self.has_begun()
        if self.answers and self._last is not None and self._stopped is None:
            self._stopped = self._last
        self.end(LEFT if self.answers else NEVER_ENDED)

    def attempt_failed(self, error: BaseException, *, sent: int, unanswered: bool) -> None:
        """A request for it has failed; another may follow.

        Args:
            error: what the framework was given.
            sent: how often its client had sent it, where that is known.
            unanswered: whether nothing came back, so that a model may have run.
        """
        self.attempts = (self.attempts or 1) + sent - 1
        self.refused = not unanswered and bool(nothing_billed(error, describe_error(error)))
        self.may_be_billed |= unanswered

    def retried(self, *, refused: bool = False) -> None:
        """Another request is sent for it, here."""
        self.attempts = self.attempts or 1
        super().retried(refused=refused or self.refused)
        self.refused = False
        if self._request_ended is not None and is_hooked():
            self.over = False
            current.set(self)

    def request_begun(self) -> None:
        """A hooked SDK sends its request."""
        if self._request_ended is not None:
            self.over = True

    def request_has_ended(self) -> None:
        """That has ended."""
        if self._request_ended is not None:
            self._request_ended()

    def end(self, found: Mapping[str, Any], error: BaseException | None = None) -> None:
        """As the framework tells: `found` in its answer, or `error`."""
        if self._ended:
            return
        self.stop_clock()
        told = {field: value for field, value in found.items() if value is not None}
        failure = {} if error is None else self._failure(error)
        requests = self._requests
        one, several, attempts = requests.take(holds_blocks=self._holds_blocks)
        self._merged = several or one is not None
        if several:
            told = without_usage(told) | {"operation": "chain"}
            if self._nested is not None:
                self._nested.hold_span()
                requests.tell_outwards(self._nested)
        if one is None:
            self._fields |= told | failure
            if error is not None and self._ttft_ms is None and not (several or self.may_be_billed):
                self._fields |= nothing_billed(error, self._fields)
        else:
            self._fields = richest(one, self._measured() | self._fields | told, failure)
            if attempts:
                self._fields["attempts"] = attempts + (one.get("attempts") or 1)
        super().end({})
        close(self)

    def _failure(self, error: BaseException) -> dict[str, Any]:
        """What an error says; the end of a stream that had begun, whose consumer goes away, is none."""
        if isinstance(error, CancelledError | GeneratorExit) and (self.has_begun or (lambda: self.answers))():
            return dict(LEFT)
        return {field: value for field, value in describe_error(error).items() if value is not None}

    def say_otherwise(self, fields: Mapping[str, Any]) -> None:
        """Take what no block around says."""
        _say_otherwise(self, fields)

    def withdraw(self) -> None:
        """It turned out to be no call: a cache answered."""
        self._ended = self.over = self._muted = True
        if self._nested is not None:
            self._nested.withdraw(self)
        close(self)

    def cut_short(self) -> dict[str, Any]:
        """End it now, without a row of its own."""
        self._muted = True
        self.end({})
        return self.told


class _Requests(NestedCalls):
    """The requests that a framework's call sends: all are that call, unless several were answered."""

    __slots__ = ("_answers", "_call", "_open", "_several", "_spans")

    def __init__(self, call: FrameworkCall) -> None:
        super().__init__()
        self._call: FrameworkCall | None = call
        self._open: list[Child] = []
        self._answers: list[Child] = []
        self._several = False
        self._spans = False

    def begin(self, child: Child) -> None:
        """A request is sent."""
        with _LOCK:
            self._open.append(child)
        if self._call is not None:
            self._call.request_begun()

    def end(self, child: Child, told: Mapping[str, Any], *, keeps: bool) -> bool:
        """A request has ended; whether it is kept for the call. A second answer makes them calls with rows, now."""
        others: list[Child] = []
        with _LOCK:
            if _is_answer(told) and any(_is_answer(other.told) for other in self._answers):
                others, self._answers, self._several = self._answers, [], True
        for other in others:
            other.stand_alone()
        with _LOCK:
            call = self._call
            self._open = [other for other in self._open if other is not child]
            if call is None or not keeps or self._several or len(self._answers) >= _MOST:
                return False
            self._answers.append(child)
            self._told.append((told.get("response_id"), told.get("prompt_tokens"), told.get("completion_tokens")))
            keep(self)
        if _is_answer(told) or told.get("error_type") == "cancelled":  # what has failed may be sent again
            call.request_has_ended()
        return True

    def withdraw(self, child: Child) -> None:
        """What began is no call, or is told of elsewhere."""
        with _LOCK:
            self._open = [other for other in self._open if other is not child]

    def hold_span(self) -> None:
        """It holds a span: what is called within that has rows of its own."""
        self._spans = True

    def has_ended(self) -> None:
        """Nothing waits for it: the call ends what it has sent."""

    def hand_over(self, sink: Sink | None) -> None:
        """Its logger closes: the call is what its requests were until now."""
        call = self._call
        if call is not None and (sink is None or call._sink is sink):
            if self._answers:
                call.end({})
            else:
                call.left()

    def is_told_late(self, sink: Sink | None) -> bool:
        """Whether its framework may tell its end in a moment."""
        call = self._call
        return call is not None and call.ends_with_request and (sink is None or call._sink is sink)

    def take(self, *, holds_blocks: bool) -> tuple[dict[str, Any] | None, bool, int]:
        """The fields of the request that it is, whether it is several calls, and the failed requests before it."""
        with _LOCK:
            call, self._call = self._call, None
            self._spans |= holds_blocks
            ended, self._answers = self._answers, []
            unfinished, self._open = self._open, []
            no_longer_kept(self)
        told = [(child, child.told) for child in ended] + [(child, child.cut_short()) for child in unfinished]
        answered = [child for child, fields in told if _is_answer(fields)]
        if self._several or len(answered) > 1 or (self._spans and not answered):
            for child, _ in told[: len(ended)]:
                child.stand_alone()
            return None, True, 0
        if not told:
            return None, self._spans, 0
        child, fields = told[-1]
        if answered and child is not answered[0]:
            fields = next(other for kept, other in told if kept is answered[0])
        if answered and call is not None:
            call.may_be_billed |= any(map(_may_be_billed_beside, told))
        return fields, False, sum(other.get("attempts") or 1 for _, other in told) - (fields.get("attempts") or 1)

    def settle(self, *, is_call: bool) -> Settled:
        """Not asked: the call takes what it holds itself."""
        raise NotImplementedError

    def __del__(self) -> None:
        for child in self._answers:  # its call was begun, and never ended
            child.stand_alone()


def _is_answer(fields: Mapping[str, Any]) -> bool:
    return fields.get("status") is None or has_usage(fields)


def _may_be_billed_beside(told: tuple[Child, Mapping[str, Any]]) -> bool:
    """Whether more than what answered may be billed of a request: by an attempt of it, or because it failed."""
    child, fields = told
    failed = not _is_answer(fields) and fields.get("cost_usd") is None
    return failed or (isinstance(child, SdkCall) and child.may_be_billed)


class FrameworkSpan(Invocation):
    """What holds calls: an agent, a chain, a tool. Its calls have rows of their own, at once.

    Args:
        sink: what takes the row.
        fields: its fields; those of `INHERITED` are inherited by the calls within.
        own: fields of its own row alone.

    Attributes:
        key: its id in the framework.
    """

    __slots__ = ("__weakref__", "_own", "key")

    def __init__(self, sink: Sink, fields: dict[str, Any], own: dict[str, Any]) -> None:
        super().__init__(sink, fields, strict=False)
        self._own = own
        self.key: Hashable = None

    def start_within(self, parent: Block | None, *, is_current: bool) -> None:
        """It begins; `parent` is the span that the framework names.

        Args:
            parent: None for none.
            is_current: whether what is called here is called within it.
        """
        self._place = place = place_here(self._sink, self._fields, within=parent)
        if place.parent is not None:
            place.parent._holds_blocks = True
            hold_span_in(place.parent)
            self._nested = begin_block_in(place.parent)
        self.restart_clock()
        if is_current:
            current.set(self)

    def end(self, found: Mapping[str, Any], error: BaseException | None = None) -> None:
        """It ends."""
        if self.over:
            return
        self._fields = self._own | self._fields | {field: value for field, value in found.items() if value is not None}
        around = (self._place or NOWHERE).parent
        if self._calls is not None and around is not None and around._calls is not None:
            self._calls.tell_outwards(around._calls)
        while around is not None:
            for field in INHERITED:
                if self._fields.get(field) is None and around._fields.get(field) is not None:
                    self._fields[field] = around._fields[field]
            around = (around._place or NOWHERE).parent
        self.end_soon(error)

    def say_otherwise(self, fields: Mapping[str, Any]) -> None:
        """Take what no block around says."""
        _say_otherwise(self, fields)


def _say_otherwise(call: Invocation, fields: Mapping[str, Any]) -> None:
    place = call._place or NOWHERE
    around: list[Mapping[str, Any]] = [place.inherited, call._fields]
    block = place.parent
    while block is not None:
        around.append(block._fields)
        block = (block._place or NOWHERE).parent
    for field, value in fields.items():
        if value is not None and all(said.get(field) is None for said in around):
            call._fields[field] = value
