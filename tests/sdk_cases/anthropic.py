"""Anthropic's client: messages, and their beta."""

from collections.abc import Callable
from typing import Any

from tests.sdk_cases.case import FAILED, LEFT, STREAMED, Answer, Case
from tests.sdk_cases.openai import ROW as OPENAI_ROW

__all__ = ["CASES", "MODULE", "client_of"]

MODULE = "anthropic"
MESSAGE: dict[str, Any] = {
    "messages": [{"role": "user", "content": "Why 42?"}], "model": "claude-opus-4-6", "max_tokens": 64,
}  # fmt: skip
TOOL: dict[str, Any] = {
    "name": "add",
    "description": "adds",
    "input_schema": {"type": "object", "properties": {}},
}
ROW: dict[str, Any] = OPENAI_ROW | {
    "source": "sdk:anthropic", "request_model": "claude-opus-4-6", "model_name": "claude-opus-4-6-20250929",
    "response_id": "msg_1", "finish_reason": "end_turn", "prompt_tokens": 1124, "total_tokens": 1131,
}  # fmt: skip
REFUSED = ROW | FAILED | {"model_name": "claude-opus-4-6"}
MESSAGES_LEFT = {
    "stream": True, "finish_reason": "cancelled", "usage_source": "partial", "completion_tokens": 1,
    "total_tokens": 1125,
}  # fmt: skip


def client_of(url: str, *, asynchronous: bool = False, **more: Any) -> Any:
    """A client that calls the server."""
    import anthropic

    kind = anthropic.AsyncAnthropic if asynchronous else anthropic.Anthropic
    return kind(base_url=url, api_key="none", **more)


def messages(**more: Any) -> Callable[[Any], Any]:
    """A call of Messages."""
    return lambda client: client.messages.create(**MESSAGE | more)


def messages_stream(**more: Any) -> Callable[[Any], Any]:
    """The same as a stream, by the client's helper."""
    return lambda client: client.messages.stream(**MESSAGE | more)


CASES: dict[str, Case] = {
    "messages": Case(messages(), ROW),
    "messages with tools": Case(messages(tools=[TOOL]), ROW | {"finish_reason": "tool_use"}),
    "messages with options": Case(lambda c: c.with_options(timeout=5).messages.create(**MESSAGE), ROW),
    "messages, parsed": Case(lambda c: c.messages.parse(**MESSAGE, output_format=Answer), ROW),
    "beta": Case(lambda c: c.beta.messages.create(**MESSAGE), ROW),
    "by path": Case(lambda c: c.post("/v1/messages", body=MESSAGE, cast_to=object), ROW),
    "stream": Case(messages(stream=True), ROW | STREAMED, "all"),
    "stream with tools": Case(
        messages(stream=True, tools=[TOOL]), ROW | STREAMED | {"finish_reason": "tool_use"}, "all"
    ),
    "stream, entered": Case(messages(stream=True), ROW | STREAMED, "enter"),
    "stream, left and closed": Case(messages(stream=True), ROW | MESSAGES_LEFT, "close"),
    "stream, entered and left": Case(messages(stream=True), ROW | MESSAGES_LEFT, "enter and leave"),
    "stream, never read": Case(
        messages(stream=True), ROW | LEFT | {"response_id": None, "model_name": "claude-opus-4-6"}, "drop"
    ),
    "stream, left to be collected": Case(messages(stream=True), ROW | MESSAGES_LEFT, "forget"),
    "beta stream": Case(lambda c: c.beta.messages.create(**MESSAGE, stream=True), ROW | STREAMED, "all"),
    "stream that breaks off": Case(
        messages(stream=True),
        ROW | MESSAGES_LEFT | {"status": "error", "finish_reason": None, "error_type": "RemoteProtocolError"},
        "all", "breaks-off", "RemoteProtocolError",
    ),
    "stream with an error in it": Case(
        messages(stream=True),
        ROW | MESSAGES_LEFT | {"status": "error", "finish_reason": None, "error_type": "APIStatusError"},
        "all", "error-in-stream", "APIStatusError",
    ),
    "stream helper": Case(messages_stream(), ROW | STREAMED, "enter"),
    "stream helper, its text": Case(messages_stream(), ROW | STREAMED, "text_stream"),
    "stream helper, left": Case(messages_stream(), ROW | MESSAGES_LEFT, "enter and leave"),
    "stream helper, final": Case(messages_stream(), ROW | STREAMED, "get_final_message"),
    "beta stream helper": Case(lambda c: c.beta.messages.stream(**MESSAGE), ROW | STREAMED, "get_final_text"),
    "raw": Case(lambda c: c.messages.with_raw_response.create(**MESSAGE), ROW, "parse"),
    "raw, not parsed": Case(lambda c: c.messages.with_raw_response.create(**MESSAGE), ROW),
    "raw stream": Case(
        lambda c: c.messages.with_raw_response.create(**MESSAGE, stream=True), ROW | STREAMED, "parse all"
    ),
    "streaming response": Case(lambda c: c.messages.with_streaming_response.create(**MESSAGE), ROW, "enter parse"),
    "streaming response, stream": Case(
        lambda c: c.messages.with_streaming_response.create(**MESSAGE, stream=True), ROW | STREAMED,
        "enter parse all",
    ),
    "a retry": Case(messages(), ROW | {"attempts": 3}, scenario="429-then-ok"),
    "a retry of a stream": Case(messages(stream=True), ROW | STREAMED | {"attempts": 3}, "all", "429-then-ok"),
    "failures": Case(
        messages(), REFUSED | {"attempts": 3, "http_status": 500, "request_id": "req_1", "error_type": "InternalServerError"},
        scenario="broken-server", raises="InternalServerError",
    ),
    "rate limit": Case(
        messages(), REFUSED | {"http_status": 429, "request_id": "req_1", "error_type": "RateLimitError"},
        scenario="rate-limited", raises="RateLimitError", client={"max_retries": 0},
    ),
    "a stream that is refused": Case(
        messages_stream(), REFUSED | STREAMED | {"http_status": 400, "request_id": "req_1", "error_type": "BadRequestError"},
        "enter", "bad-request", "BadRequestError",
    ),
    "an error with a secret": Case(
        messages(), REFUSED | {"http_status": 401, "request_id": "req_1", "error_type": "AuthenticationError"},
        scenario="secret", raises="AuthenticationError",
    ),
    "a timeout": Case(
        messages(), REFUSED | {"status": "timeout", "error_type": "APITimeoutError"},
        scenario="slow", raises="APITimeoutError", client={"max_retries": 0, "timeout": 0.2},
    ),
    "no connection": Case(
        lambda c: c.with_options(base_url="http://127.0.0.1:9").messages.create(**MESSAGE),
        REFUSED | {"error_type": "APIConnectionError"}, raises="APIConnectionError", client={"max_retries": 0},
    ),
}  # fmt: skip
