"""OpenAI's and Anthropic's clients, which one generator makes: a call goes through `request` of a base class.

Hooked are `request`, once a call, `_sleep_for_retry`, once before each further attempt, and `_process_response`, which
is given the HTTP response. The last two may be missing: then attempts and status are unknown. What `request` gives is
looked at, and stays the same object.
"""

import sys
from collections.abc import Callable
from enum import Enum
from functools import lru_cache, wraps
from inspect import iscoroutinefunction
from typing import Any, Final, cast

from llm_service.telemetry.instrumentation.refused_calls import was_refused
from llm_service.telemetry.instrumentation.responses.answers import read_answer, text_of
from llm_service.telemetry.instrumentation.responses.plain_answers import kept_of
from llm_service.telemetry.instrumentation.sdk.hooks import Hook, Hooks, RequestCall
from llm_service.telemetry.instrumentation.sdk.providers import place_of_client
from llm_service.telemetry.instrumentation.sdk.raw_body import body_of, record_body
from llm_service.telemetry.instrumentation.sdk.recorded_response import record_stream
from llm_service.telemetry.instrumentation.sink import Sink

__all__ = ["ClientHooks", "asked"]

_OPERATIONS: Final = {
    "/chat/completions": "chat",
    "/responses": "chat",
    "/responses/compact": "chat",
    "/decisions": "decision",
    "/completions": "text_completion",
    "/embeddings": "embeddings",
    "/images/generations": "image_generation",
    "/images/edits": "image_generation",
    "/videos": "video_generation",
    "/audio/speech": "speech",
    "/audio/transcriptions": "transcription",
    "/audio/translations": "transcription",
    "/v1/messages": "chat",
    "/v1/complete": "text_completion",
}
"""What is a call of a model, by its path; other requests are none."""
RETRY: Final = "_sleep_for_retry"
PROCESS: Final = "_process_response"
MEDIATED: Final = "_finalize_middleware_result"
"""Gives the answer where a client of Anthropic's has middleware, which stands between a call and its requests."""


class ClientHooks(Hooks):
    """The hooks into a client of this kind."""

    def __init__(self, name: str, sink: Callable[[], Sink | None]) -> None:
        super().__init__(name, sink)
        self.modules = (f"{name}._base_client",)

    def hooks(self, module: Any) -> list[Hook]:
        """As `Hooks`."""
        sync, asynchronous = module.SyncAPIClient, module.AsyncAPIClient
        if iscoroutinefunction(sync.request) or not iscoroutinefunction(asynchronous.request):
            raise TypeError("request is of another kind")
        found: list[Hook] = []
        for kind in (sync, asynchronous):
            retries = self.told_by(kind, RETRY, _retried)
            self._attempts = 1 if retries else None
            found += [(kind, "request", self.calling(kind.request, asked)), *retries]
            found += self.told_by(kind, PROCESS, _responded) + self.told_by(kind, MEDIATED, _mediated, may_lack=True)
        return found

    def found_in_failure(self, call: RequestCall, error: BaseException) -> dict[str, Any]:
        """What could not be parsed, though it was answered."""
        found = read_answer(getattr(error, "completion", None))
        if not found and call.response is not None and getattr(error, "response", None) is None:
            found = read_answer(body_of(call.response))
        return found

    def take(self, call: RequestCall, answer: Any, response: Any, *, asynchronous: bool) -> Any:
        """As `Hooks`; a stream and a raw response, too."""
        call.take_mediation()
        kept = None if call.mediated else kept_of(answer)
        if kept is not None:
            if kept[2] is None and response is not None:
                call.take_request_id(response)
            call.end_plainly(kept)
            return answer
        streams = call.streams
        kind = _kind_of(cast("Any", type(answer)))
        if kind is _Kind.RAW:
            call.facts_of_response(answer.http_response)
            _raw(call, answer, streams=streams, asynchronous=asynchronous)
        elif streams and kind is _Kind.STREAM:
            call.take_request_id(answer.response)
            record_stream(call, answer, "_iterator", asynchronous=asynchronous)
        elif answer is response and not answer.is_closed:  # as `cast_to=httpx.Response` asks for
            call.take_request_id(answer)
            record_body(call, answer, streams=streams, asynchronous=asynchronous)
        elif streams and answer is not response:
            raise TypeError("a stream of it is another object")
        else:
            found = read_answer(answer if answer is not response else body_of(answer))
            if "request_id" not in found and response is not None:
                call.take_request_id(response)
            call.answered(found)
        return answer


class _Kind(Enum):
    RAW = "a response that its caller may parse"
    STREAM = "a stream"
    ANSWER = "a whole answer"


@lru_cache(maxsize=256)
def _kind_of(kind: Any) -> _Kind:
    """What the objects of a class are; a class of pydantic's takes microseconds to say what it does not have."""
    if hasattr(kind, "http_request") and hasattr(kind, "parse"):
        return _Kind.RAW
    return _Kind.STREAM if hasattr(kind, "__stream__") else _Kind.ANSWER


def asked(args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any] | None:
    """The fields that the arguments of a request say; None where it is no call of a model."""
    options = kwargs["options"] if "options" in kwargs else args[2]
    operation = _OPERATIONS.get(options.url.partition("?")[0])
    if operation is None or options.method.lower() != "post":
        return None
    fields: dict[str, Any] = {"operation": operation, **place_of_client(args[0])}
    if operation == "decision" and fields.get("provider") == "openai":
        fields["provider"] = "openai-decisions"  # a price list of its own
    model = text_of(options.json_data, "model")
    if model is not None:
        fields["request_model"] = model
    if kwargs.get("stream"):
        fields["stream"] = True
    return fields


def _retried(call: RequestCall, _args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    response, error = kwargs.get("response"), sys.exc_info()[1]
    if response is None and error is not None:  # the client waits where it has caught the failure
        call.request_failed(error)
        call.retried(refused=call.refused)
    else:
        call.retried(refused=was_refused(getattr(response, "status_code", None)))


def _responded(call: RequestCall, _args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    call.responded(kwargs.get("response"))


def _mediated(call: RequestCall, _args: tuple[Any, ...], _kwargs: dict[str, Any]) -> None:
    call.mediated = True


def _raw(call: RequestCall, answer: Any, *, streams: bool, asynchronous: bool) -> None:
    """Record a raw response: at once where it was read, else as it is read; its stream where it is parsed as one."""
    response = answer.http_response
    if not streams and response.is_closed:
        call.answered(read_answer(body_of(response)))
        return
    unread = record_body(call, response, streams=streams, asynchronous=asynchronous)
    if not streams:
        return
    original = answer.parse

    def watched(stream: Any) -> Any:
        if not unread.ended:
            unread.let_go()
            record_stream(call, stream, "_iterator", asynchronous=asynchronous)
        return stream

    if iscoroutinefunction(original):

        @wraps(original)
        async def parse_async(*args: Any, **kwargs: Any) -> Any:
            return watched(await original(*args, **kwargs))

        answer.parse = parse_async
        return

    @wraps(original)
    def parse(*args: Any, **kwargs: Any) -> Any:
        return watched(original(*args, **kwargs))

    answer.parse = parse
