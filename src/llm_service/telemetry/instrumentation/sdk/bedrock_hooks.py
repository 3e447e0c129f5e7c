"""Bedrock's runtime: each call of any client of AWS goes through one method, in botocore and in aiobotocore.

What it gives is a dict: whole for Converse, and with a stream of events or with a body to be read for the others. Both
are watched by attributes of their own objects, which their classes stay. How often a request was sent, its status and
its id stand in the answer, and in the error.
"""

from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial, wraps
from inspect import iscoroutinefunction
from json import loads
from typing import Any, Final, cast
from weakref import ref

from llm_service.pricing.usage import bedrock_usage
from llm_service.telemetry.instrumentation.call_fields import describe_error
from llm_service.telemetry.instrumentation.open_streams import hold_stream
from llm_service.telemetry.instrumentation.refused_calls import was_refused
from llm_service.telemetry.instrumentation.responses.answers import BEDROCK, get, read_answer, text_of
from llm_service.telemetry.instrumentation.responses.stream_events import StreamEvents
from llm_service.telemetry.instrumentation.sdk.hooks import Hook, Hooks, RequestCall
from llm_service.telemetry.instrumentation.sdk.recorded_response import AsyncChunks, Chunks, StreamRecord, on_close

__all__ = ["BedrockHooks", "asked", "record_body"]

_OPERATIONS: Final = {
    "Converse": "chat",
    "ConverseStream": "chat",
    "InvokeModel": "chat",
    "InvokeModelWithResponseStream": "chat",
}
"""What is a call of a model; other operations are none."""
_SERVICE: Final = "bedrock-runtime"
_PRICED_BY: Final = ("x-amzn-bedrock-performanceconfig-latency", "x-amzn-bedrock-service-tier")
"""Headers of a model's own protocol, which has no other place for these."""
_DELTA: Final = b'{"type":"content_block_delta"'
_OK: Final = 200
_MOST: Final = 1 << 20
"""Bytes of a body that are kept until it is read."""


class BedrockHooks(Hooks):
    """The hooks into boto3 and aiobotocore."""

    modules = ("botocore.client", "aiobotocore.client", "botocore.endpoint", "aiobotocore.endpoint")

    def hooks(self, module: Any) -> list[Hook]:
        """As `Hooks`."""
        if module.__name__.endswith(".endpoint"):
            endpoint = "Endpoint" if module.__name__ == "botocore.endpoint" else "AioEndpoint"
            return self.told_by(getattr(module, endpoint, None), "_needs_retry", _attempted)
        kind = module.BaseClient if module.__name__ == "botocore.client" else module.AioBaseClient
        return [(kind, "_make_api_call", self.calling(kind._make_api_call, asked))]  # noqa: SLF001 - of the SDK

    def take(self, call: RequestCall, answer: Any, response: Any, *, asynchronous: bool) -> Any:
        """As `Hooks`; a stream of events and a body, too."""
        del response  # the answer tells what it would
        headers = _metadata(call, answer)
        if not call.streams and "body" not in answer:
            call.answered(_known(headers) | read_answer(answer))
        elif call.streams:
            stream = answer["stream"] if "stream" in answer else answer["body"]
            _record_events(_Events(call), stream, asynchronous=asynchronous)
            hold_stream(stream, call)
        else:
            record_body(call, answer["body"], headers, asynchronous=asynchronous)
        return answer

    def found_in_failure(self, call: RequestCall, error: BaseException) -> dict[str, Any]:
        """How often it was sent."""
        _metadata(call, getattr(error, "response", None))
        return {}


def asked(args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any] | None:
    """The fields that the arguments of a request say; None where it is no call of a model."""
    client, name, given = args if len(args) == 3 else (args[0], kwargs["operation_name"], kwargs["api_params"])
    operation = _OPERATIONS.get(name)
    if operation is None or client.meta.service_model.service_name != _SERVICE:
        return None
    fields: dict[str, Any] = {"operation": operation, "provider": BEDROCK}
    region: Any = getattr(client.meta, "region_name", None)
    if type(region) is str:
        fields["region"] = region
    model = text_of(given, "modelId")
    if model is not None:
        fields |= {"request_model": model, "model_name": model}  # its region, too, which an answer does not name
        if operation == "chat" and "embed" in model:
            fields["operation"] = "embeddings"
    if name.endswith("Stream"):
        fields["stream"] = True
    return fields


def _attempted(call: RequestCall, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """The client asks whether to send it again: after each attempt, the last one included."""
    response = kwargs.get("response", args[4] if len(args) > 4 else None)
    status = response[0].status_code if response else None
    call.answers += 1
    call.may_be_billed |= status != _OK and not was_refused(status)


def _metadata(call: RequestCall, answer: Any) -> Any:
    """Take what the client itself says of an answer or a refusal; its headers."""
    told = get(answer, "ResponseMetadata")
    retries = get(told, "RetryAttempts")
    if type(retries) is int:
        call.attempts = retries + 1
        call.may_be_billed |= call.answers <= retries > 0  # nobody told what became of the others
    headers = get(told, "HTTPHeaders")
    speed, tier = (get(headers, name) for name in _PRICED_BY)
    call.know(
        {
            "http_status": get(told, "HTTPStatusCode"),
            "request_id": get(told, "RequestId"),
            "service_tier": speed if speed == "optimized" else tier,
        }
    )
    return headers if headers is not None else {}


def _known(headers: Any) -> dict[str, Any]:
    """The usage that the headers of an answer tell."""
    used = {name: value for name, value in bedrock_usage(headers).items() if value is not None}
    return {"usage_source": "reported", **used} if used else {}


# A stream of events


class _Events(StreamRecord):
    """The record of a stream of events: its items are told by what parses them."""

    __slots__ = ()

    def __init__(self, call: RequestCall) -> None:
        super().__init__(call)
        self._take = partial(_decoded, self._events)

    def take(self, item: Any) -> None:
        """An event has arrived, and is not parsed yet."""

    def parsed(self, event: Any) -> None:
        """An event was parsed."""
        super().take(event)


def _decoded(events: StreamEvents, event: Any) -> None:
    """Read an event of Converse, or the event that is in the bytes of a model's own protocol."""
    chunk = get(get(event, "chunk"), "bytes")
    if chunk is None:
        events.take(event)
    elif not (events.begun and chunk.startswith(_DELTA)):
        events.take(loads(chunk))


def _record_events(record: _Events, stream: Any, *, asynchronous: bool) -> None:
    """Record a stream of events.

    Raises:
        AttributeError: it is not as it was known.
    """
    original = stream._parse_event  # noqa: SLF001 - of the SDK
    if iscoroutinefunction(original):

        @wraps(original)
        async def parse_async(event: Any) -> Any:
            try:
                found = await original(event)
            except BaseException as error:
                record.end(error)
                raise
            record.parsed(found)
            return found

        parse: Callable[..., Any] = parse_async
    else:

        @wraps(original)
        def parse_sync(event: Any) -> Any:
            try:
                found = original(event)
            except BaseException as error:
                record.end(error)
                raise
            record.parsed(found)
            return found

        parse = parse_sync
    steps = AsyncChunks if asynchronous else Chunks
    stream._event_generator = steps(stream._event_generator, record)  # noqa: SLF001 - of the SDK
    stream._parse_event = parse  # noqa: SLF001 - of the SDK
    on_close(stream, record, asynchronous=False, more=("_parse_event",))


# A body to be read


class _Body:
    """The record of a body that its caller reads, or does not."""

    __slots__ = ("_call", "_headers", "_kept", "_left", "ended", "uncloses")

    def __init__(self, call: RequestCall, headers: Mapping[str, str]) -> None:
        self._call = call
        self._headers = headers
        length = headers.get("content-length", "")
        self._left = int(length) if length.isdigit() else None
        self._kept: bytearray | None = bytearray()
        self.ended = False
        self.uncloses: Callable[[], None] | None = None

    def read(self, data: bytes, size: int | None) -> None:
        """A part of it was read, of a size that was asked for."""
        if self.ended:
            return
        if self._kept is not None:
            self._kept += data
            if len(self._kept) > _MOST:
                self._kept = None
        if self._left is not None:
            self._left -= len(data)
        if size is None or self._left == 0 or (not data and size != 0):
            self.end(None)

    def closed(self) -> None:
        """It is closed, read or not."""
        self.end(None)

    def end(self, error: BaseException | None) -> None:
        """Make the record, of what was read, and what the headers tell."""
        if self.ended:
            return
        self.ended = True
        if self.uncloses is not None:
            self.uncloses()
        found: dict[str, Any] = {}
        with suppress(ValueError):  # not read, or not JSON
            found = read_answer(loads(self._kept or b""))
        if "usage_source" not in found:
            found |= _known(self._headers)
        if error is not None:
            found |= describe_error(error)
        self._call.answered(found)


def record_body(call: RequestCall, body: Any, headers: Mapping[str, str], *, asynchronous: bool) -> None:
    """Record a body, whose reading all goes through one method of what is below it, or of itself.

    Raises:
        AttributeError: it is not as it was known.
    """
    target = body if asynchronous else body._raw_stream  # noqa: SLF001 - of the SDK
    original = cast("Any", type(target)).read
    held, record = ref(target), _Body(call, headers)

    async def read_async(amt: int | None = None) -> Any:
        try:
            data = await original(held(), amt)
        except BaseException as error:
            record.end(error)
            raise
        record.read(data, amt)
        return data

    def read_sync(amt: int | None = None, *args: Any, **kwargs: Any) -> Any:
        try:
            data = original(held(), amt, *args, **kwargs)
        except BaseException as error:
            record.end(error)
            raise
        record.read(data, amt)
        return data

    more = ["read"]
    target.read = wraps(original)(read_async if asynchronous else read_sync)
    into = getattr(cast("Any", type(target)), "readinto", None)
    if iscoroutinefunction(into):  # others read by `read`
        more.append("readinto")

        @wraps(into)
        async def read_into(buffer: Any) -> Any:
            try:
                count = await into(held(), buffer)
            except BaseException as error:
                record.end(error)
                raise
            record.read(bytes(memoryview(buffer)[:count]), len(buffer))
            return count

        target.readinto = read_into
    on_close(target, record, asynchronous=False, more=tuple(more))
