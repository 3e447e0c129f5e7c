"""Ollama's client: chats, completions, their streams, and embeddings."""

from collections.abc import Callable
from contextlib import nullcontext
from inspect import signature
from typing import Any

from tests.sdk_cases.case import FAILED, LEFT, NO_USAGE, STREAMED, UNKNOWN, Answer, Case

__all__ = ["CASES", "MODULE", "client_of"]

MODULE = "ollama"
ASK: dict[str, Any] = {"model": "llama3.2", "messages": [{"role": "user", "content": "Why 42?"}]}
PROMPT: dict[str, Any] = {"model": "llama3.2", "prompt": "Why 42?"}
ROW: dict[str, Any] = {
    "status": "success", "source": "sdk:ollama", "operation": "chat", "provider": "ollama", "request_model": "llama3.2",
    "model_name": "llama3.2", "response_id": None, "request_id": None, "finish_reason": "stop", "attempts": None,
    "usage_source": "reported", "error_type": None, "stream": None, "parent_invocation_id": None,
    "prompt_tokens": 1200, "completion_tokens": 7, "total_tokens": 1207, "cache_read_tokens": None,
    "unpriced_usage": None, "cost_usd": None,
}  # fmt: skip
REFUSED = ROW | FAILED
TEXT_ROW = ROW | {"operation": "text_completion"}
EMBEDDED = ROW | {
    "operation": "embeddings", "finish_reason": None, "prompt_tokens": 4, "completion_tokens": 0, "total_tokens": 4,
}  # fmt: skip
BROKEN = {**ROW, **STREAMED, **UNKNOWN, "finish_reason": None, "usage_source": None, "status": "error"}


THINKS = {"think": True}
"""What the first releases do not have."""


def client_of(url: str, *, asynchronous: bool = False, **more: Any) -> Any:
    """A client that calls the server."""
    import ollama

    client: Any = (ollama.AsyncClient if asynchronous else ollama.Client)(host=url, **more)
    return client if hasattr(client, "__aenter__" if asynchronous else "__enter__") else nullcontext(client)


def chat(**more: Any) -> Callable[[Any], Any]:
    """A call."""
    return lambda client: client.chat(**ASK | more)


def stream(**more: Any) -> Callable[[Any], Any]:
    """The same as a stream."""
    return lambda client: client.chat(**ASK | more, stream=True)


def add(a: int) -> int:
    """Adds, for the model."""
    return a


CASES: dict[str, Case] = {
    "chat": Case(chat(), ROW),
    "chat with options": Case(chat(options={"temperature": 0}, keep_alive="5m"), ROW),
    "chat with tools": Case(chat(tools=[add]), ROW),
    "chat, as a schema": Case(chat(format=Answer.model_json_schema()), ROW),
    "chat, too short": Case(chat(), ROW | {"finish_reason": "length"}, scenario="length"),
    "chat, thinking": Case(lambda c: c.chat(**ASK | (THINKS if "think" in signature(c.chat).parameters else {})), ROW),
    "stream": Case(stream(), ROW | STREAMED, "all"),
    "stream with tools": Case(stream(tools=[add]), ROW | STREAMED, "all"),
    "stream, never read": Case(stream(), {}, "drop"),  # nothing was asked
    "stream, left and closed": Case(stream(), ROW | LEFT, "close"),
    "stream, left to be collected": Case(stream(), ROW | LEFT, "forget"),
    "stream that breaks off": Case(
        stream(), BROKEN | {"error_type": "RemoteProtocolError"}, "all", "breaks-off", "RemoteProtocolError"
    ),
    "stream with an error in it": Case(
        stream(), BROKEN | {"error_type": "ResponseError"}, "all", "error-in-stream", "ResponseError"
    ),
    "completion": Case(lambda c: c.generate(**PROMPT), TEXT_ROW),
    "completion with a suffix": Case(lambda c: c.generate(**PROMPT, suffix="42"), TEXT_ROW),
    "completion as a stream": Case(lambda c: c.generate(**PROMPT, stream=True), TEXT_ROW | STREAMED, "all"),
    "completion, left": Case(lambda c: c.generate(**PROMPT, stream=True), TEXT_ROW | LEFT, "close"),
    "embeddings": Case(lambda c: c.embed(model="llama3.2", input="Why 42?"), EMBEDDED),
    "embeddings of several": Case(lambda c: c.embed(model="llama3.2", input=["Why", "42?"]), EMBEDDED),
    "embeddings, the old way": Case(lambda c: c.embeddings(**PROMPT), EMBEDDED | NO_USAGE),
    "showing a model is no call": Case(lambda c: c.show("llama3.2"), {}),
    "failures": Case(
        chat(), REFUSED | {"http_status": 500, "error_type": "ResponseError"}, scenario="broken-server",
        raises="ResponseError",
    ),
    "rate limit": Case(
        chat(), REFUSED | {"http_status": 429, "error_type": "ResponseError"}, scenario="rate-limited",
        raises="ResponseError",
    ),
    "a stream that is refused": Case(
        stream(), REFUSED | STREAMED | {"http_status": 400, "error_type": "ResponseError"}, "all", "bad-request",
        "ResponseError",
    ),
    "an error with a secret": Case(
        chat(), REFUSED | {"http_status": 401, "error_type": "ResponseError"}, scenario="secret", raises="ResponseError",
    ),
    "a stream refused with a secret": Case(
        stream(), REFUSED | STREAMED | {"http_status": 401, "error_type": "ResponseError"}, "all", "secret",
        "ResponseError",
    ),
    "embeddings, refused": Case(
        lambda c: c.embed(model="llama3.2", input="Why 42?"),
        REFUSED | {"operation": "embeddings", "http_status": 401, "error_type": "ResponseError"}, scenario="secret",
        raises="ResponseError",
    ),
    "a timeout": Case(
        chat(), REFUSED | {"status": "timeout", "error_type": "ReadTimeout"}, scenario="slow", raises="ReadTimeout",
        client={"timeout": 0.2},
    ),
    "a timeout within a stream": Case(
        stream(), BROKEN | {"status": "timeout", "error_type": "ReadTimeout"}, "all", "slow-stream", "ReadTimeout",
        {"timeout": 0.3},
    ),
    "no connection": Case(
        chat(), REFUSED | {"error_type": ...}, scenario="nowhere", raises="ConnectionError or ConnectError",
    ),
    "not JSON": Case(
        chat(), REFUSED | {"error_type": "JSONDecodeError"}, scenario="not-json", raises="JSONDecodeError",
    ),
}  # fmt: skip
