"""OpenAI's client: Chat Completions, Responses, embeddings and old completions."""

from collections.abc import Callable
from typing import Any

from tests.sdk_cases.case import FAILED, LEFT, NO_USAGE, STREAMED, UNKNOWN, Answer, Case

__all__ = ["CASES", "MODULE", "client_of"]

MODULE = "openai"
CHAT: dict[str, Any] = {"model": "gpt-5-mini", "messages": [{"role": "user", "content": "Why 42?"}]}
STREAM: dict[str, Any] = CHAT | {"stream": True, "stream_options": {"include_usage": True}}
INPUT: dict[str, Any] = {"model": "gpt-5-mini", "input": "Why 42?"}
TOOL: dict[str, Any] = {
    "type": "function",
    "function": {"name": "add", "parameters": {"type": "object", "properties": {}}},
}
ROW: dict[str, Any] = {
    "status": "success", "source": "sdk:openai", "operation": "chat", "request_model": "gpt-5-mini",
    "model_name": "gpt-5-mini-2025-08-07", "response_id": "chatcmpl-1", "request_id": "req_1", "finish_reason": "stop",
    "http_status": 200, "attempts": 1, "usage_source": "reported", "provider": None, "error_type": None, "stream": None,
    "parent_invocation_id": None, "prompt_tokens": 1200, "completion_tokens": 7, "total_tokens": 1207,
    "cache_read_tokens": 1024,
}  # fmt: skip
RESPONSES_ROW = ROW | {"response_id": "resp_1", "finish_reason": "completed"}
REFUSED = ROW | FAILED | {"model_name": "gpt-5-mini"}
BROKEN = {
    name: value
    for name, value in (ROW | STREAMED | UNKNOWN | {"finish_reason": None, "usage_source": None}).items()
    if name != "error_type"  # which error it is, releases say differently
}


def client_of(url: str, *, asynchronous: bool = False, **more: Any) -> Any:
    """A client that calls the server."""
    import openai

    kind = openai.AsyncOpenAI if asynchronous else openai.OpenAI
    return kind(base_url=f"{url}/v1", api_key="none", **more)


def chat(**more: Any) -> Callable[[Any], Any]:
    """A call of Chat Completions."""
    return lambda client: client.chat.completions.create(**CHAT | more)


def chat_stream(**more: Any) -> Callable[[Any], Any]:
    """The same as a stream."""
    return lambda client: client.chat.completions.create(**STREAM | more)


def raw(client: Any, way: str = "with_raw_response", **asked: Any) -> Any:
    """The same as a raw response."""
    return getattr(client.chat.completions, way).create(**asked)


CASES: dict[str, Case] = {
    "chat": Case(chat(), ROW),
    "chat with tools": Case(chat(tools=[TOOL]), ROW | {"finish_reason": "tool_calls"}),
    "chat with options": Case(lambda c: c.with_options(timeout=5).chat.completions.create(**CHAT), ROW),
    "chat, parsed": Case(lambda c: c.chat.completions.parse(**CHAT, response_format=Answer), ROW),
    "chat, parsed, too short": Case(
        lambda c: c.chat.completions.parse(**CHAT, response_format=Answer),
        ROW | {"status": "error", "error_type": "LengthFinishReasonError", "finish_reason": "length"},
        scenario="length", raises="LengthFinishReasonError",
    ),
    "chat, by path": Case(lambda c: c.post("/chat/completions", body=CHAT, cast_to=object), ROW),
    "stream": Case(chat_stream(), ROW | STREAMED, "all"),
    "stream without usage": Case(chat_stream(stream_options=None), ROW | STREAMED | NO_USAGE, "all"),
    "stream with tools": Case(
        chat_stream(tools=[TOOL]), ROW | STREAMED | {"finish_reason": "tool_calls"}, "all"
    ),
    "stream, entered": Case(chat_stream(), ROW | STREAMED, "enter"),
    "stream, left and closed": Case(chat_stream(), ROW | LEFT, "close"),
    "stream, entered and left": Case(chat_stream(), ROW | LEFT, "enter and leave"),
    "stream, never read": Case(chat_stream(), ROW | LEFT | {"response_id": None, "model_name": "gpt-5-mini"}, "drop"),
    "stream, left to be collected": Case(chat_stream(), ROW | LEFT, "forget"),
    "stream that breaks off": Case(
        chat_stream(), BROKEN | {"status": "error"}, "all", "breaks-off", "APIConnectionError or RemoteProtocolError",
    ),
    "stream with an error in it": Case(
        chat_stream(), ROW | STREAMED | UNKNOWN | {"status": "error", "error_type": "APIError", "finish_reason": None, "usage_source": None},
        "all", "error-in-stream", "APIError",
    ),
    "stream helper": Case(
        lambda c: c.chat.completions.stream(**CHAT, stream_options={"include_usage": True}), ROW | STREAMED, "enter"
    ),
    "stream helper, left": Case(lambda c: c.chat.completions.stream(**CHAT), ROW | LEFT, "enter and leave"),
    "stream helper, final": Case(
        lambda c: c.chat.completions.stream(**CHAT, stream_options={"include_usage": True}),
        ROW | STREAMED, "get_final_completion",
    ),
    "raw": Case(lambda c: raw(c, **CHAT), ROW, "parse"),
    "raw, not parsed": Case(lambda c: raw(c, **CHAT), ROW),
    "raw stream": Case(lambda c: raw(c, **STREAM), ROW | STREAMED, "parse all"),
    "raw stream, never parsed": Case(
        lambda c: raw(c, **STREAM), ROW | LEFT | {"response_id": None, "model_name": "gpt-5-mini"}, "drop"
    ),
    "streaming response": Case(lambda c: raw(c, "with_streaming_response", **CHAT), ROW, "enter parse"),
    "streaming response, read": Case(lambda c: raw(c, "with_streaming_response", **CHAT), ROW, "enter read"),
    "streaming response, stream": Case(
        lambda c: raw(c, "with_streaming_response", **STREAM), ROW | STREAMED, "enter parse all"
    ),
    "streaming response, not read": Case(
        lambda c: raw(c, "with_streaming_response", **CHAT),
        ROW | NO_USAGE | {"response_id": None, "model_name": "gpt-5-mini", "finish_reason": None}, "enter only",
    ),
    "responses": Case(lambda c: c.responses.create(**INPUT), RESPONSES_ROW),
    "responses, parsed": Case(lambda c: c.responses.parse(**INPUT, text_format=Answer), RESPONSES_ROW),
    "responses, failed": Case(
        lambda c: c.responses.create(**INPUT),
        RESPONSES_ROW | {"status": "error", "error_type": "server_error", "finish_reason": "failed"}, scenario="failed",
    ),
    "responses stream": Case(lambda c: c.responses.create(**INPUT, stream=True), RESPONSES_ROW | STREAMED, "all"),
    "responses stream, failed": Case(
        lambda c: c.responses.create(**INPUT, stream=True),
        RESPONSES_ROW | STREAMED | {"status": "error", "error_type": "server_error", "finish_reason": "failed"},
        "all", "failed",
    ),
    "responses stream, left": Case(
        lambda c: c.responses.create(**INPUT, stream=True), RESPONSES_ROW | LEFT, "close"
    ),
    "responses stream helper": Case(lambda c: c.responses.stream(**INPUT), RESPONSES_ROW | STREAMED, "get_final_response"),
    "embeddings": Case(
        lambda c: c.embeddings.create(model="text-embedding-3-small", input="Why 42?"),
        ROW | {
            "operation": "embeddings", "model_name": "text-embedding-3-small", "request_model": "text-embedding-3-small",
            "response_id": None, "finish_reason": None, "prompt_tokens": 4, "completion_tokens": 0, "total_tokens": 4,
            "cache_read_tokens": None,
        },
    ),
    "legacy completion": Case(
        lambda c: c.completions.create(model="gpt-3.5-turbo-instruct", prompt="Why 42?"),
        ROW | {
            "operation": "text_completion", "model_name": "gpt-3.5-turbo-instruct",
            "request_model": "gpt-3.5-turbo-instruct", "response_id": "cmpl-1",
        },
    ),
    "a retry": Case(chat(), ROW | {"attempts": 3}, scenario="429-then-ok"),
    "a retry of a stream": Case(chat_stream(), ROW | STREAMED | {"attempts": 3}, "all", "429-then-ok"),
    "a retry of a raw one": Case(lambda c: raw(c, **CHAT), ROW | {"attempts": 3}, scenario="429-then-ok"),
    "failures": Case(
        chat(), REFUSED | {"attempts": 3, "http_status": 500, "request_id": "req_1", "error_type": "InternalServerError"},
        scenario="broken-server", raises="InternalServerError",
    ),
    "rate limit": Case(
        chat(), REFUSED | {"http_status": 429, "request_id": "req_1", "error_type": "RateLimitError"},
        scenario="rate-limited", raises="RateLimitError", client={"max_retries": 0},
    ),
    "a stream that is refused": Case(
        chat_stream(), REFUSED | STREAMED | {"http_status": 400, "request_id": "req_1", "error_type": "BadRequestError"},
        scenario="bad-request", raises="BadRequestError",
    ),
    "an error with a secret": Case(
        chat(), REFUSED | {"http_status": 401, "request_id": "req_1", "error_type": "AuthenticationError"},
        scenario="secret", raises="AuthenticationError",
    ),
    "raw, refused": Case(
        lambda c: raw(c, **CHAT), REFUSED | {"http_status": 401, "request_id": "req_1", "error_type": "AuthenticationError"},
        scenario="secret", raises="AuthenticationError",
    ),
    "a timeout": Case(
        chat(), REFUSED | {"status": "timeout", "error_type": "APITimeoutError"},
        scenario="slow", raises="APITimeoutError", client={"max_retries": 0, "timeout": 0.2},
    ),
    "a timeout within a stream": Case(
        chat_stream(timeout=0.3),
        BROKEN | {"status": "timeout"}, "all", "slow-stream", "APITimeoutError or ReadTimeout",
    ),
    "no connection": Case(
        lambda c: c.with_options(base_url="http://127.0.0.1:9/v1").chat.completions.create(**CHAT),
        REFUSED | {"error_type": "APIConnectionError"}, raises="APIConnectionError", client={"max_retries": 0},
    ),
    "not JSON": Case(
        chat(), ROW | NO_USAGE | {"response_id": None, "finish_reason": None, "model_name": "gpt-5-mini"},
        scenario="not-json",
    ),
}  # fmt: skip
