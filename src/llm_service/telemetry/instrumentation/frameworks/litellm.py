"""LiteLLM: each call of `completion`, `responses`, `embedding` ..., sync and async, as a stream or not.

https://docs.litellm.ai/docs/observability/custom_callback. LiteLLM tells of a call's end late, in a thread or a task of
its own; of its beginning it mostly tells where the call is made, so that the hook into an SDK below finds it: then the
call ends when that has ended. Its `response_cost` comes from a table of its own and is not taken: a cost is what the
provider reported in its usage, or computed here.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime
from functools import partial
from itertools import count
from typing import Any, Final, cast
from weakref import WeakKeyDictionary, ref

from llm_service.extras import install
from llm_service.telemetry.instrumentation.call_fields import milliseconds
from llm_service.telemetry.instrumentation.frameworks.litellm_retries import Attempt, follow_retries
from llm_service.telemetry.instrumentation.frameworks.places import is_protocol, place_of
from llm_service.telemetry.instrumentation.frameworks.recorder import CallbackRecorder, Telemetry
from llm_service.telemetry.instrumentation.kept_calls import tell_late_by
from llm_service.telemetry.instrumentation.responses.answers import get, read_answer, text_of
from llm_service.telemetry.instrumentation.sink import Sink

try:
    import litellm
    from litellm.integrations.custom_logger import CustomLogger
    from litellm.litellm_core_utils import logging_worker
except ImportError as missing:
    raise ImportError(f"litellm is missing: {install('litellm')}") from missing

__all__ = ["TelemetryCallback"]

_OPERATIONS: Final = {
    "completion": "chat", "acompletion": "chat", "responses": "chat", "aresponses": "chat",
    "anthropic_messages": "chat", "generate_content": "generate_content", "agenerate_content": "generate_content",
    "generate_content_stream": "generate_content", "agenerate_content_stream": "generate_content",
    "text_completion": "text_completion", "atext_completion": "text_completion",
    "embedding": "embeddings", "aembedding": "embeddings",
    "image_generation": "image_generation", "aimage_generation": "image_generation",
    "transcription": "transcription", "atranscription": "transcription",
    "speech": "speech", "aspeech": "speech", "rerank": "rerank", "arerank": "rerank",
    "moderation": "moderation", "amoderation": "moderation",
}  # fmt: skip
_MOCK: Final = "mock-key"
"""The key with which LiteLLM tells of a call that it does not make, as `mock_response` asks."""


_GUARDS: Final = "_llm_service_telemetry"
"""The key of `_Guard`s among LiteLLM's details of a call."""
_counted: Final = count(1)
_numbers: Final[WeakKeyDictionary[Sink, int]] = WeakKeyDictionary()
_begun: Final[OrderedDict[str, None]] = OrderedDict()
"""Calls that callbacks were told of before: a later one, of another logger, may be told of their ends."""
_MOST: Final = 10_000
_made: Final[WeakKeyDictionary["TelemetryCallback", None]] = WeakKeyDictionary()


class TelemetryCallback(CustomLogger):
    """Records what LiteLLM calls: `litellm.callbacks = [TelemetryCallback(telemetry)]`.

    `metadata` of a call may name `session_id`, `user_id`, `agent_name` and `tags`. What LiteLLM's cache or a
    `mock_response` answers makes no row: nothing was called. With `num_retries` a call is one row, whose `attempts` are
    counted. What a router tries again is a call anew.

    Args:
        telemetry: the logger, sync or async. Its close waits until LiteLLM has told of the last call, at most a second.

    Attributes:
        number: of the logger. LiteLLM takes callbacks of one class whose public attributes are equal for one.
    """

    def __init__(self, telemetry: Telemetry) -> None:
        super().__init__()
        self._sink = sink = telemetry._core
        self._recorder = CallbackRecorder(telemetry, "litellm", ids_are_unique=True)
        self._watched: dict[str, int] = {}
        self._retrying: set[str] = set()
        self._failed: dict[str, Callable[[], None]] = {}
        self.number = _numbers.setdefault(sink, next(_counted))
        _made[self] = None
        _forget_closed()
        tell_late_by(_flush)
        try:
            follow_retries(litellm, _made_callbacks)
        except AttributeError as failure:
            self._recorder.step_aside(failure)

    @property
    def is_closed(self) -> bool:
        """Whether its logger is closed."""
        return self._sink.is_closed

    def log_pre_api_call(self, model: Any, messages: Any, kwargs: Any) -> None:
        """A request is sent."""
        key = _key_of(kwargs)
        if key is None:
            return
        if get(kwargs, "api_key") == _MOCK:
            self._recorder.ignore(key)
        elif self._recorder.is_running(key):
            self._recorder.retried(key)
            self._watch(key, kwargs)
        else:
            self._begin(key, kwargs)
            self._watch(key, kwargs)

    def _watch(self, key: str, kwargs: Any) -> None:
        """LiteLLM does not tell that a stream was left; but its details of the call are collected with the stream."""
        if get(kwargs, "stream") is True and _is_dict(kwargs):
            number = self._watched[key] = next(_counted)  # what is tried again may have details of its own
            guard = _Guard(kwargs, partial(self._collected, key, number))
            kwargs[_GUARDS] = (*kwargs.get(_GUARDS, ()), guard)
            self._recorder.ask(key, partial(_has_begun, ref(guard)))

    def _collected(self, key: str, number: int, *, begun: bool) -> None:
        """The details of a call are; its end was told before, or nobody will tell it."""
        if self._watched.get(key) == number:
            del self._watched[key]
            self._recorder.left(key, begun=begun)

    def log_post_api_call(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:
        """It was answered, or (of a stream) its answer begins; of an async call this is told before it begins."""
        self._recorder.sent(_key_of(kwargs))

    def log_stream_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:
        """A piece of it has arrived."""
        self._recorder.arrived(_key_of(kwargs))

    async def async_log_stream_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:
        """As `log_stream_event`."""
        self._recorder.arrived(_key_of(kwargs))

    def log_success_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:
        """It was answered in full."""
        self._end(kwargs, response_obj, start_time, end_time, failed=False)

    def log_failure_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:
        """It has failed."""
        self._end(kwargs, response_obj, start_time, end_time, failed=True)

    async def async_post_call_success_deployment_hook(self, request_data: Any, response: Any, call_type: Any) -> None:
        """An async call was answered: told before its caller has the answer, as a task tells of the end later."""
        details = get(get(request_data, "litellm_logging_obj"), "model_call_details")
        key = _key_of(details)
        if key is not None and get(details, "stream") is not True and self._recorder.is_running(key):
            self._end(details, response, None, datetime.now(), failed=False)  # noqa: DTZ005 - as LiteLLM's own times

    async def async_log_success_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:
        """As `log_success_event`."""
        self._end(kwargs, response_obj, start_time, end_time, failed=False)

    async def async_log_failure_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:
        """As `log_failure_event`; but of an async call it is told before LiteLLM tries again, which it does at once."""
        key, end = _key_of(kwargs), partial(self._end, kwargs, response_obj, start_time, end_time, failed=True)
        if key is None or not get(kwargs, "max_retries"):
            end()
        else:
            self._failed[key] = end
            asyncio.get_running_loop().call_soon(self._end_failed, key)

    def _end_failed(self, key: str) -> None:
        end = self._failed.pop(key, None)
        if end is not None:  # it was not tried again
            end()

    def retries_begin(self, key: str) -> None:
        """What is told of this call is of one of several attempts, until `retries_end`."""
        self._retrying.add(key)
        self._failed.pop(key, None)

    def attempt_failed(self, key: str, attempt: Attempt) -> None:
        """One of them has failed."""
        self._recorder.attempt_failed(key, attempt.error, sent=attempt.sent, unanswered=attempt.unanswered)

    def retries_end(self, key: str, error: BaseException | None, answer: Any) -> None:
        """The last of them has failed, or was answered, of which LiteLLM may tell nothing."""
        self._retrying.discard(key)
        found = {} if answer is None else _answer_of(answer)
        if error is not None or found:
            self._watched.pop(key, None)
            self._recorder.end(key, error=error, **found)

    def _begin(self, key: str, kwargs: Mapping[str, Any]) -> None:
        _begun[key] = None
        while len(_begun) > _MOST:
            _begun.popitem(last=False)
        told = text_of(kwargs, "call_type") or "completion"
        self._recorder.begin(
            key,
            operation=_OPERATIONS.get(told, told),
            ends_with_request=True,
            request_model=text_of(kwargs, "model"),
            stream=True if get(kwargs, "stream") is True else None,
            **_place_of(kwargs),
            **_names(kwargs),
        )

    def _end(self, kwargs: Any, response: Any, start: Any, end: Any, *, failed: bool) -> None:
        key = _key_of(kwargs)
        if key is None or (failed and key in self._retrying):
            return
        if self._watched.pop(key, None) is not None and _is_dict(kwargs):
            kwargs.pop(_GUARDS, None)
        try:
            if get(kwargs, "cache_hit") is True:
                self._recorder.withdraw(key)
                return
            if not self._recorder.is_running(key):
                if self._recorder.has_ended(key) or key in _begun:
                    return
                self._begin(key, kwargs)
            found = {} if failed else {"usage_source": "missing"} | _answer_of(response)
            found |= _times_of(kwargs, start, end)
        except Exception as failure:  # noqa: BLE001 - the program must not notice
            self._recorder.step_aside(failure)
            found = {}
        if failed:
            self._recorder.fail(key, _error_of(kwargs), **found)
        else:
            self._recorder.end(key, **found)


class _Guard:
    """Is collected with LiteLLM's details of a stream, and tells whether it had begun. Copies of those have none."""

    __slots__ = ("__weakref__", "_details", "_tell")

    def __init__(self, details: dict[str, Any], tell: Callable[..., None]) -> None:
        self._details = details
        self._tell = tell

    @property
    def begun(self) -> bool:
        """Whether a piece of it has arrived."""
        return self._details.get("completion_start_time") is not None

    def __deepcopy__(self, _memo: Any) -> None:
        return None

    def __reduce__(self) -> Any:
        return type(None), ()

    def __del__(self) -> None:
        self._tell(begun=self.begun)


def _is_dict(given: Any) -> bool:
    return type(given) is dict


def _has_begun(held: "ref[_Guard]") -> bool:
    guard = held()
    return guard is not None and guard.begun


def _flush() -> None:
    """What LiteLLM has queued on a loop that is closed, it tells at the exit of the process: have it told now."""
    worker = getattr(logging_worker, "GLOBAL_LOGGING_WORKER", None)
    loop, flush = getattr(worker, "_bound_loop", None), getattr(worker, "_flush_on_exit", None)
    if loop is not None and loop.is_closed() and flush is not None:
        with suppress(Exception):
            flush()


def _forget_closed() -> None:
    """LiteLLM calls a callback for ever, and only some thirty: those whose loggers are closed are taken away."""
    for name, held in list(vars(litellm).items()):
        kind = cast("Any", type(held))
        if kind is list and name.endswith(("callback", "callbacks")):
            closed = [one for one in held if isinstance(one, TelemetryCallback) and one.is_closed]
            for one in closed:
                held.remove(one)


def _made_callbacks() -> list[TelemetryCallback]:
    made = [held() for held in _made.keyrefs()]  # in one step, as other threads may add some
    return [one for one in made if one is not None and not one.is_closed]


def _key_of(kwargs: Any) -> str | None:
    return text_of(kwargs, "litellm_call_id") or text_of(get(kwargs, "litellm_params"), "litellm_call_id")


def _error_of(kwargs: Any) -> Any:
    """What LiteLLM tells of a failure: mostly an exception; behind a proxy it may be a text, or nothing."""
    error = get(kwargs, "exception")
    return text_of(get(kwargs, "standard_logging_object"), "error_str") if error is None else error


def _answer_of(response: Any) -> dict[str, Any]:
    """What an answer says, but for LiteLLM's own cost and what it takes for the seller."""
    found = {field: value for field, value in read_answer(response).items() if field != "provider"}
    if getattr(litellm, "include_cost_in_streaming_usage", False):  # then it writes its own among the counts
        found = {field: value for field, value in found.items() if field not in {"cost_usd", "cost_source"}}
    return found


def _place_of(kwargs: Any) -> Mapping[str, Any]:
    """Who sells, as LiteLLM knows it; where that may stand for a protocol, the host of its `api_base` says it."""
    told = text_of(kwargs, "custom_llm_provider")
    return place_of(told, text_of(get(kwargs, "litellm_params"), "api_base") if is_protocol(told) else None)


def _names(kwargs: Any) -> dict[str, Any]:
    """Session, user, agent and tags, as the caller gave them in `metadata`."""
    asked = get(kwargs, "litellm_params")
    said = get(asked, "metadata")
    tags: Any = get(said, "tags")
    return {
        "session_id": text_of(said, "session_id") or text_of(asked, "litellm_session_id"),
        "user_id": text_of(said, "user_id") or text_of(kwargs, "user"),
        "agent_name": text_of(said, "agent_name"),
        "tags": tags if type(tags) in {list, tuple} and tags else None,
    }


def _times_of(kwargs: Any, start: Any, end: Any) -> dict[str, Any]:
    """How long it took and when its answer began, as LiteLLM measured it where the call was made."""
    begun = get(kwargs, "api_call_start_time") or start
    found: dict[str, Any] = {}
    if isinstance(begun, datetime) and isinstance(end, datetime) and end >= begun:
        found = {"timestamp": begun, "latency_ms": milliseconds(int((end - begun).total_seconds() * 1e9))}
        first = get(kwargs, "completion_start_time")
        if get(kwargs, "stream") is True and isinstance(first, datetime) and end >= first >= begun:
            found["ttft_ms"] = milliseconds(int((first - begun).total_seconds() * 1e9))
    return found
