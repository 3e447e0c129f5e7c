"""OpenAI's and Anthropic's clients, which one generator makes: a call goes through `request` of a base class.

Hooked are `request`, once a call, `_sleep_for_retry`, once before each further attempt, and `_process_response`, which
is given the HTTP response. The last two may be missing: then attempts and status are unknown. What `request` gives is
looked at, and stays the same object.
"""

import logging
from collections.abc import Callable
from functools import wraps
from inspect import iscoroutinefunction
from typing import Any, Final, cast

from llm_service.redaction import traceback_text
from llm_service.telemetry.instrumentation.open_blocks import current
from llm_service.telemetry.instrumentation.responses.answers import get, read_answer
from llm_service.telemetry.instrumentation.sdk.providers import provider_of_client
from llm_service.telemetry.instrumentation.sdk.recorded_response import (
    AsyncChunks,
    Chunks,
    StreamRecord,
    UnreadBody,
    body_of,
    on_close,
)
from llm_service.telemetry.instrumentation.sdk.sdk_call import SdkCall
from llm_service.telemetry.instrumentation.sink import Sink

__all__ = ["ClientHooks"]

_LOG: Final = logging.getLogger("llm_service.telemetry")
_OPERATIONS: Final = {
    "/chat/completions": "chat",
    "/responses": "chat",
    "/completions": "text_completion",
    "/embeddings": "embeddings",
    "/images/generations": "image_generation",
    "/images/edits": "image_generation",
    "/audio/transcriptions": "transcription",
    "/audio/translations": "transcription",
    "/v1/messages": "chat",
    "/v1/complete": "text_completion",
}
"""What is a call of a model, by its path; other requests are none."""
RETRY: Final = "_sleep_for_retry"
PROCESS: Final = "_process_response"
_REQUEST_IDS: Final = ("x-request-id", "request-id", "apim-request-id")


class ClientHooks:
    """The hooks into one SDK.

    Args:
        name: of the SDK.
        sink: the logger that records its calls now; None for none.
    """

    def __init__(self, name: str, sink: Callable[[], Sink | None]) -> None:
        self._source = f"sdk:{name}"
        self._sink = sink
        self._counts_attempts = False
        self._failed = False

    def hooks(self, module: Any) -> list[tuple[type, str, Callable[..., Any]]]:
        """Class, attribute, and what to put there, of each method that is hooked.

        Raises:
            AttributeError: the SDK has no such classes or no such method.
            TypeError: the method is of another kind.
        """
        sync, asynchronous = module.SyncAPIClient, module.AsyncAPIClient
        if iscoroutinefunction(sync.request) or not iscoroutinefunction(asynchronous.request):
            raise TypeError("request is of another kind")
        found: list[tuple[type, str, Callable[..., Any]]] = [
            (sync, "request", self._request(sync.request)),
            (asynchronous, "request", self._async_request(asynchronous.request)),
        ]
        for kind in (sync, asynchronous):
            sleep = getattr(kind, RETRY, None)
            process = getattr(kind, PROCESS, None)
            self._counts_attempts = sleep is not None
            if sleep is not None:
                found.append((kind, RETRY, self._telling(sleep, _retried)))
            if process is not None:
                found.append((kind, PROCESS, self._telling(process, _responded)))
        return found

    def _request(self, original: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(original)
        def request(client: Any, *args: Any, **kwargs: Any) -> Any:
            call = self._begin(client, args, kwargs)
            if call is None:
                return original(client, *args, **kwargs)
            try:
                answer = original(client, *args, **kwargs)
            except BaseException as error:
                self._fail(call, error)
                raise
            self._answer(call, answer, asynchronous=False)
            return answer

        return request

    def _async_request(self, original: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(original)
        async def request(client: Any, *args: Any, **kwargs: Any) -> Any:
            call = self._begin(client, args, kwargs)
            if call is None:
                return await original(client, *args, **kwargs)
            try:
                answer = await original(client, *args, **kwargs)
            except BaseException as error:
                self._fail(call, error)
                raise
            self._answer(call, answer, asynchronous=True)
            return answer

        return request

    @staticmethod
    def _telling(original: Callable[..., Any], tell: Callable[["RequestCall", dict[str, Any]], None]) -> Any:
        """The method, which tells the current call of what it is given."""
        if iscoroutinefunction(original):

            @wraps(original)
            async def told_async(client: Any, *args: Any, **kwargs: Any) -> Any:
                call = current.get()
                if type(call) is RequestCall:
                    tell(call, kwargs)
                return await original(client, *args, **kwargs)

            return told_async

        @wraps(original)
        def told(client: Any, *args: Any, **kwargs: Any) -> Any:
            call = current.get()
            if type(call) is RequestCall:
                tell(call, kwargs)
            return original(client, *args, **kwargs)

        return told

    def _begin(self, client: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> "RequestCall | None":
        """The call that a request is; None where it is none, or nobody wants to know."""
        sink = self._sink()
        if sink is None:
            return None
        try:
            options = kwargs["options"] if "options" in kwargs else args[1]
            operation = _OPERATIONS.get(options.url.partition("?")[0])
            if operation is None or options.method.lower() != "post":
                return None
            fields: dict[str, Any] = {"source": self._source, "operation": operation}
            model = get(options.json_data, "model")
            if type(model) is str:
                fields["request_model"] = model
            provider = provider_of_client(client)
            if provider is not None:
                fields["provider"] = provider
            if kwargs.get("stream"):
                fields["stream"] = True
            call = RequestCall(sink, fields, counts_attempts=self._counts_attempts)
            call.start()
        except Exception as failure:  # noqa: BLE001 - the caller must not notice
            self._step_aside(failure)
            return None
        return call

    def _fail(self, call: "RequestCall", error: BaseException) -> None:
        try:
            call.release()
            found = read_answer(getattr(error, "completion", None))  # it was answered, and could not be parsed
            if not found and call.response is not None and getattr(error, "response", None) is None:
                found = read_answer(body_of(call.response))
            found = call.facts(found)
            found.pop("status", None)
            if call.response is not None:
                call.take_request_id(call.response)
            call.response = None
            call.end(found, error)
        except Exception as failure:  # noqa: BLE001 - as above
            self._step_aside(failure)
            call.end({}, error)

    def _answer(self, call: "RequestCall", answer: Any, *, asynchronous: bool) -> None:
        try:
            call.release()
            response, call.response = call.response, None
            streams = call.streams
            kind = cast("Any", type(answer))
            if hasattr(kind, "http_request") and hasattr(kind, "parse"):
                call.facts_of_response(answer.http_response)
                _raw(call, answer, streams=streams, asynchronous=asynchronous)
            elif streams and hasattr(kind, "__stream__"):
                call.take_request_id(answer.response)
                _record_stream(call, answer, asynchronous=asynchronous)
            else:
                found = read_answer(answer if answer is not response else body_of(answer))
                if "request_id" not in found and response is not None:
                    call.take_request_id(response)
                call.end(call.facts({"usage_source": "missing"} | found))
        except Exception as failure:  # noqa: BLE001 - as above
            self._step_aside(failure)
            call.end({})

    def _step_aside(self, failure: Exception) -> None:
        """This SDK is not as it was known: that is said once."""
        if not self._failed:
            self._failed = True
            _LOG.warning(
                "telemetry: %s is not as it was known here; what could not be read is missing in its records: %s",
                self._source, traceback_text(failure),
            )  # fmt: skip


class RequestCall(SdkCall):
    """A call that goes through `request`.

    Attributes:
        response: the HTTP response that the client was given, while it is looked at.
    """

    __slots__ = ("response",)

    def __init__(self, sink: Sink, fields: dict[str, Any], *, counts_attempts: bool) -> None:
        super().__init__(sink, fields, counts_attempts=counts_attempts)
        self.response: Any = None

    @property
    def streams(self) -> bool:
        """Whether a stream was asked for."""
        return self._fields.get("stream") is True

    def facts(self, found: dict[str, Any]) -> dict[str, Any]:
        """What was found, but for what is known better: the seller, where the host says it."""
        return {field: value for field, value in found.items() if field != "provider" or "provider" not in self._fields}

    def facts_of_response(self, response: Any) -> None:
        """Take status and request id of the HTTP response."""
        self.take_status(response)
        self.take_request_id(response)

    def take_status(self, response: Any) -> None:
        """Take the status alone, which costs nothing."""
        status = response.status_code
        if type(status) is int:
            self._fields["http_status"] = status

    def take_request_id(self, response: Any) -> None:
        """Take the id that the server gave the request."""
        headers = response.headers
        found = next((value for name in _REQUEST_IDS if (value := headers.get(name))), None)
        if type(found) is str:
            self._fields["request_id"] = found


def _retried(call: RequestCall, _arguments: dict[str, Any]) -> None:
    call.retried()


def _responded(call: RequestCall, arguments: dict[str, Any]) -> None:
    try:
        call.response = response = arguments.get("response")
        call.take_status(response)
    except Exception:  # noqa: BLE001 - it is looked at once more, where its failure is said
        call.response = None


def _record_stream(call: RequestCall, stream: Any, *, asynchronous: bool) -> None:
    """Record what the stream gives, from its iterator, its close and its collection.

    Raises:
        AttributeError: it has no iterator that can be replaced, or no response.
    """
    record = StreamRecord(call)
    stream._iterator = (AsyncChunks if asynchronous else Chunks)(stream._iterator, record)  # noqa: SLF001 - of the SDK
    on_close(stream.response, record, asynchronous=asynchronous)


def _raw(call: RequestCall, answer: Any, *, streams: bool, asynchronous: bool) -> None:
    """Record a raw response: at once where it was read, else when it is closed; its stream where it is one."""
    response = answer.http_response
    if not streams and response.is_closed:
        call.end(call.facts({"usage_source": "missing"} | read_answer(body_of(response))))
        return
    unread = UnreadBody(call, response)
    on_close(response, unread, asynchronous=asynchronous)
    if not streams:
        return
    original = answer.parse

    def watched(stream: Any) -> Any:
        if not unread.handed_over:
            unread.handed_over = True
            _record_stream(call, stream, asynchronous=asynchronous)
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
