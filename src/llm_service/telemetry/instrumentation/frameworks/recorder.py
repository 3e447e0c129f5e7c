"""What a framework's callbacks tell, by its own ids, becomes records. Nothing here raises, whatever it is told.

This is all that an adapter needs: `begin`, `first_token` and `end`, in any thread and any context.
"""

import asyncio
import logging
from collections.abc import Callable, Hashable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Protocol
from weakref import WeakKeyDictionary

from llm_service.redaction import traceback_text
from llm_service.telemetry.instrumentation.failed_answers import failure_of
from llm_service.telemetry.instrumentation.frameworks.framework_call import NEVER_ENDED, FrameworkCall, FrameworkSpan
from llm_service.telemetry.instrumentation.frameworks.told_twice import Begun, Told, begun_here, told_of
from llm_service.telemetry.instrumentation.given_fields import by_field
from llm_service.telemetry.instrumentation.kept_calls import hand_over_at_exit, telling
from llm_service.telemetry.instrumentation.open_blocks import current, still_open
from llm_service.telemetry.instrumentation.responses.answers import facts_of, get, read_answer
from llm_service.telemetry.instrumentation.seen_calls import see_twice
from llm_service.telemetry.instrumentation.sink import Sink
from llm_service.telemetry.instrumentation.usage_reader import read_fields
from llm_service.telemetry.record.operations import is_span

if TYPE_CHECKING:
    from llm_service.telemetry.instrumentation.invocation import Invocation

__all__ = ["CallbackRecorder", "Telemetry"]

_LOG: Final = logging.getLogger("llm_service.telemetry")
_MOST: Final = 10_000
"""Calls and spans that are under way; the oldest beyond that is taken for one that nobody will end."""


class Telemetry(Protocol):
    """A logger, sync or async."""

    @property
    def _core(self) -> Sink: ...


class CallbackRecorder:
    """Records the calls and spans of a framework from its callbacks, each once, by the framework's own ids.

    For frameworks that have no adapter here. A call that a hooked SDK or another framework sees as well, below, or that
    an explicit block is around, stays one row: what is begun here is current until it ends or its answer begins.

    Args:
        telemetry: the logger.
        source: the framework's name, for the column `source`.
        ids_are_unique: whether an id is given once, as UUIDs are: then what several recorders of this source are told
            of one id is one call, in whatever context. Otherwise it is where each is told of it as it begins.
    """

    def __init__(self, telemetry: Telemetry, source: str, *, ids_are_unique: bool = False) -> None:
        self._sink = telemetry._core
        self._source = source
        self._told = told_of(self._sink, source) if ids_are_unique else Told()
        self._ids_are_unique = ids_are_unique
        self._lock = self._told.lock
        self._running: dict[Hashable, Begun] = {}
        self.followed: dict[Hashable, Begun] = {}
        self._known: dict[Hashable, Invocation] = {}
        self._keys_in: WeakKeyDictionary[asyncio.Task[Any], set[Hashable]] = WeakKeyDictionary()
        self._others_in: dict[Hashable, set[Hashable]] = {}
        self._failed = False
        see_twice(self._sink)
        hand_over_at_exit()

    def begin(
        self,
        key: Hashable,
        parent: Hashable = None,
        *,
        operation: str = "chat",
        own: dict[str, Any] | None = None,
        otherwise: dict[str, Any] | None = None,
        current: bool = True,
        ends_with_request: bool = False,
        **fields: Any,
    ) -> None:
        """A call or a span begins; in the context in which it runs, where the framework allows it.

        Args:
            key: its id in the framework.
            parent: the id of the span that it is in.
            operation: `chat`, `embeddings`, `text_completion` ... for a call of a model; `invoke_agent`,
                `execute_tool`, `workflow`, `chain` ... for a span.
            own: of a span, fields that its calls do not inherit.
            otherwise: fields that hold where no block around says them.
            current: of a span, whether what is called in this context is called within it. Not where the context is
                the consumer's of a generator.
            ends_with_request: of a call, whether it is over as soon as a hooked SDK has sent its request and read the
                answer; for frameworks that tell of the end late, and elsewhere.
            **fields: what else is known of it. Its calls inherit `agent_name`, `session_id`, `user_id` and `tags`.
        """
        try:
            told = by_field({"operation": operation, **fields}, self._sink, strict=False)
            told = {"source": self._source} | {field: value for field, value in told.items() if value is not None}
            if self._follows(key, told):
                return
            begun = self._begin(key, parent, told, own or {}, current, ends_with_request)
            if otherwise:
                begun.say_otherwise(otherwise)
        except Exception as failure:  # noqa: BLE001 - the framework must not notice
            self.step_aside(failure)

    def complete(self, key: Hashable, **fields: Any) -> None:
        """More is known of a call or a span that runs: it holds where neither it nor a block around says it."""
        running = self._running.get(key)
        if running is not None and not running.over:
            running.say_otherwise(fields)

    def first_token(self, key: Hashable) -> None:
        """The first output of a call has arrived; later ones may be told, too."""
        running = self._running.get(key)
        if isinstance(running, FrameworkCall) and not running.over:
            running.first_token()

    def retried(self, key: Hashable) -> None:
        """Another request is sent for a call."""
        running = self._running.get(key)
        if isinstance(running, FrameworkCall):
            running.retried()

    def attempt_failed(self, key: Hashable, error: BaseException, *, sent: int = 1, unanswered: bool = False) -> None:
        """A request for a call has failed, which is not its end: the framework may send another, and tells `retried`.

        Args:
            key: its id in the framework.
            error: what the framework was given.
            sent: how often the client beneath had sent that request.
            unanswered: whether nothing came back for it, so that a model may have run.
        """
        try:
            running = self._running.get(key)
            if isinstance(running, FrameworkCall):
                running.attempt_failed(error, sent=sent, unanswered=unanswered)
        except Exception as failure:  # noqa: BLE001 - as above
            self.step_aside(failure)

    def sent(self, key: Hashable) -> None:
        """The request of a call was answered, or its stream begins: what is called from now on is another."""
        running = self._running.get(key)
        if isinstance(running, FrameworkCall):
            running.sent()

    def arrived(self, key: Hashable) -> None:
        """A piece of the answer of a call has arrived, perhaps some time ago."""
        running = self._running.get(key)
        if isinstance(running, FrameworkCall):
            running.arrived()

    def ask(self, key: Hashable, has_begun: Callable[[], bool]) -> None:
        """Where nobody tells the end of a call, ask whether its stream had begun."""
        running = self._running.get(key)
        if isinstance(running, FrameworkCall):
            running.has_begun = has_begun

    def left(self, key: Hashable, *, begun: bool) -> None:
        """Nobody will tell the end of a call; if its stream had begun, its consumer has left it."""
        try:
            running = self._running.get(key)
            if isinstance(running, FrameworkCall) and (begun or running.answers):
                with self._lock:
                    self._forget(key)
                    self._note_end(key)
                running.answers = True
                running.left()
        except Exception as failure:  # noqa: BLE001 - as above
            self.step_aside(failure)

    def skip(self, key: Hashable, parent: Hashable) -> None:
        """What is begun within `key` is in truth within `parent`: `key` gets no row. It ends by `end`, too."""
        with self._lock:
            above = self._known.get(parent)
            if above is not None and key not in self._running:
                self._known[key] = above

    def ignore(self, key: Hashable) -> None:
        """What is told of this id is no call: it never ends."""
        with self._lock:
            self._note_end(key)

    def is_running(self, key: Hashable) -> bool:
        """Whether a call or span of that id has begun, and not ended."""
        return key in self._running or key in self.followed

    def is_current(self, key: Hashable) -> bool:
        """Whether what is called here is called within the call or span of that id."""
        running = self._running.get(key)
        return running is not None and still_open(current.get()) is running

    def has_ended(self, key: Hashable) -> bool:
        """Whether a call of that id that was to end with its request has ended, not long ago."""
        return key in self._told.ended

    def end(
        self,
        key: Hashable,
        answer: object = None,
        *,
        error: object = None,
        **fields: Any,
    ) -> bool:
        """A call or span has ended; an id that is not known, or has ended, is passed over.

        Args:
            key: its id in the framework.
            answer: what the model answered, in any shape that `call.record` takes, or its usage alone.
            error: what its caller was given instead: an exception, a text, or an error as a provider tells it.
            **fields: what else is known of it, by the names that `call.set` takes; they win over the answer.

        Returns:
            Whether it was running.
        """
        with telling(self._sink):
            return self._end(key, answer, error, fields)

    def _end(self, key: Hashable, answer: object, error: object, fields: dict[str, Any]) -> bool:
        running = None
        try:
            with self._lock:
                followed = self.followed.pop(key, None)
                running = self._forget(key)
                if isinstance(running, FrameworkCall) and running.ends_with_request:
                    self._note_end(key)
            if running is None:
                return followed is not None
            found = {} if answer is None else _fields_of(answer)
            if error is not None and not isinstance(error, BaseException):
                found |= failure_of({"error": error}) or {"status": "error"}
                error = None
            said = by_field(fields, self._sink, strict=False)
            running.end(found | {field: value for field, value in said.items() if value is not None}, error)
        except Exception as failure:  # noqa: BLE001 - as above
            self.step_aside(failure)
            if running is not None:
                with suppress(Exception):
                    running.end({})  # with what is known of it
        return True

    def fail(self, key: Hashable, error: object = None, **fields: Any) -> bool:
        """A call or span has failed, whatever its framework tells of how.

        Args:
            key: its id in the framework.
            error: as for `end`; None where nothing is told.
            **fields: as for `end`.

        Returns:
            Whether it was running.
        """
        return self.end(key, error="" if error is None else error, **fields)

    def withdraw(self, key: Hashable) -> None:
        """A call turned out to be none, as a cache answered: it gets no row."""
        with self._lock:
            self.followed.pop(key, None)
            running = self._forget(key)
            self._told.ended.pop(key, None)
        if isinstance(running, FrameworkCall):
            running.withdraw()

    def _follows(self, key: Hashable, told: dict[str, Any]) -> bool:
        """Whether it is told of what another recorder has begun: that makes the row."""
        same: Begun | None
        if self._ids_are_unique:
            same = self._told.running.get(key)
        else:
            same = None if key in self._running else begun_here(key, self._sink, told)
        if same is None:
            return False
        with self._lock:
            if key not in self._running:
                self.followed[key] = self._known[key] = same
                if len(self.followed) > _MOST:
                    del self.followed[next(iter(self.followed))]
        return True

    def _forget(self, key: Hashable) -> Begun | None:
        """Take out what has begun under that id; the lock is held."""
        self._known.pop(key, None)
        self._others_in.pop(key, set()).discard(key)
        running = self._running.pop(key, None)
        if running is not None and self._told.running.get(key) is running:
            del self._told.running[key]
        return running

    def _end_with_task(self, key: Hashable) -> None:
        """Where the task that it begins in is cancelled, that is its end: some frameworks do not tell of it."""
        try:
            task = asyncio.current_task()
        except RuntimeError:  # there is no loop in this thread
            return
        if task is None:
            return
        keys = self._keys_in.get(task)
        if keys is None:
            keys = self._keys_in[task] = set()
            task.add_done_callback(self._task_has_ended)
        keys.add(key)
        self._others_in[key] = keys

    def outlive_task(self, key: Hashable) -> None:
        """The task in which it began may be cancelled now, and its end is told later."""
        with self._lock:
            self._others_in.pop(key, set()).discard(key)

    def _task_has_ended(self, task: "asyncio.Task[Any]") -> None:
        keys = self._keys_in.pop(task, set())
        if task.cancelled():
            for key in list(keys):
                self.end(key, error=asyncio.CancelledError())

    def _note_end(self, key: Hashable) -> None:
        ended = self._told.ended
        ended[key] = None
        if len(ended) > _MOST:
            del ended[next(iter(ended))]

    def step_aside(self, failure: BaseException) -> None:
        """The framework is not as it was known: that is said once."""
        if not self._failed:
            self._failed = True
            _LOG.warning(
                "telemetry: %s is not as it was known here; what could not be read is missing in its records: %s",
                self._source, traceback_text(failure),
            )  # fmt: skip

    def _begin(
        self,
        key: Hashable,
        parent: Hashable,
        fields: dict[str, Any],
        own: dict[str, Any],
        is_current: bool,  # noqa: FBT001 - passed on
        ends_with_request: bool,  # noqa: FBT001
    ) -> Begun:
        if key in self._running:
            self.end(key, **NEVER_ENDED)
        above = None if parent is None else self._told.running.get(parent) or self._known.get(parent)
        begun: Begun
        if is_span(fields["operation"]):
            begun = FrameworkSpan(self._sink, fields, {k: v for k, v in own.items() if v is not None})
            begun.start_within(above, is_current=is_current)
        else:
            ended: Callable[[], object] | None = partial(self.end, key) if ends_with_request else None
            begun = FrameworkCall(self._sink, fields | own, request_ended=ended)
            begun.start_within(above)
        begun.key = key
        oldest = None
        with self._lock:
            self._running[key] = self._known[key] = self._told.running[key] = begun
            self._end_with_task(key)
            if len(self._running) > _MOST:
                oldest = next(iter(self._running))
            if len(self._known) > 2 * _MOST:
                self._known.pop(next(iter(self._known)))
        if oldest is not None:
            self.end(oldest, **NEVER_ENDED)
        return begun


def _fields_of(answer: object) -> dict[str, Any]:
    """What an answer, or its usage alone, says.

    Raises:
        TypeError: it is neither.
    """
    found = read_answer(answer)
    if found:
        return found
    usage = get(answer, "usage")
    return {"usage_source": "reported"} | facts_of(answer) | read_fields(_as_it_is, answer if usage is None else usage)


def _as_it_is(usage: Any) -> Any:
    return usage
