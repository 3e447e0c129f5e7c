"""Mistral's client: chats, streams, fill-in-the-middle, agents, conversations and embeddings."""

from collections.abc import Callable
from typing import Any, Self

from tests.sdk_cases.case import FAILED, LEFT, STREAMED, UNKNOWN, Answer, Case

__all__ = ["CASES", "MODULE", "client_of"]

MODULE = "mistralai.client"
ASK: dict[str, Any] = {"model": "mistral-small-latest", "messages": [{"role": "user", "content": "Why 42?"}]}
PROMPT: dict[str, Any] = {"model": "codestral-latest", "prompt": "def f():", "suffix": "return 42"}
START: dict[str, Any] = {"inputs": "Why 42?", "model": "mistral-small-latest"}
TOOL: dict[str, Any] = {
    "type": "function",
    "function": {"name": "add", "description": "adds", "parameters": {"type": "object", "properties": {}}},
}
ROW: dict[str, Any] = {
    "status": "success", "source": "sdk:mistral", "operation": "chat", "provider": None,
    "request_model": "mistral-small-latest", "model_name": "mistral-small-latest", "response_id": "cmpl_1",
    "request_id": "req_1", "finish_reason": "stop", "http_status": 200, "attempts": 1, "usage_source": "reported",
    "error_type": None, "stream": None, "parent_invocation_id": None, "prompt_tokens": 1200, "completion_tokens": 7,
    "total_tokens": 1207, "cache_read_tokens": None, "unpriced_usage": None,
    "cost_usd": (1200 * 0.15 + 7 * 0.60) / 1e6,  # https://mistral.ai/pricing
}  # fmt: skip
REFUSED = ROW | FAILED | {"cost_usd": None}
CUT = LEFT | {"cost_usd": None}
BROKEN = {
    **ROW,
    **STREAMED,
    **UNKNOWN,
    "finish_reason": None,
    "usage_source": None,
    "status": "error",
    "cost_usd": None,
}
FIM = ROW | {
    "operation": "text_completion", "request_model": "codestral-latest", "model_name": "codestral-latest", "cost_usd": ...
}  # fmt: skip
AGENT = ROW | {"request_model": None}
TALK = ROW | {
    "response_id": None, "finish_reason": None, "total_tokens": 1307, "cost_usd": None, "unpriced_usage": ...,
}  # fmt: skip


class Twins:
    """An async client under the names of the sync one: each method has a twin whose name ends with `_async`."""

    def __init__(self, client: Any) -> None:
        self.client = client

    def __getattr__(self, name: str) -> Any:
        twin = getattr(self.client, f"{name}_async", None)
        return Twins(getattr(self.client, name)) if twin is None else twin

    async def __aenter__(self) -> Self:
        await self.client.__aenter__()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.client.__aexit__(*error)


def client_of(url: str, *, asynchronous: bool = False, retries: bool = True, **more: Any) -> Any:
    """A client that calls the server."""
    try:
        from mistralai.client import Mistral
        from mistralai.client.utils import BackoffStrategy, RetryConfig
    except ImportError:  # the first major version
        from mistralai import Mistral  # type: ignore[attr-defined]
        from mistralai.utils import BackoffStrategy, RetryConfig  # type: ignore[import-not-found]

    if retries:
        more["retry_config"] = RetryConfig("backoff", BackoffStrategy(1, 5, 1.0, 200), retry_connection_errors=False)
    client = Mistral(api_key="none", server_url=f"{url}/mistral", **more)
    return Twins(client) if asynchronous else client


def chat(**more: Any) -> Callable[[Any], Any]:
    """A call."""
    return lambda client: client.chat.complete(**ASK | more)


def stream(**more: Any) -> Callable[[Any], Any]:
    """The same as a stream."""
    return lambda client: client.chat.stream(**ASK | more)


ONCE = {"retries": False}
CASES: dict[str, Case] = {
    "chat": Case(chat(), ROW),
    "chat with options": Case(chat(temperature=0.0, n=1), ROW),
    "chat with tools": Case(chat(tools=[TOOL]), ROW | {"finish_reason": "tool_calls"}),
    "chat, parsed": Case(lambda c: c.chat.parse(response_format=Answer, **ASK), ROW),
    "chat, too short": Case(chat(), ROW | {"finish_reason": "length"}, scenario="length"),
    "chat with audio": Case(
        chat(), ROW | {"cost_usd": None, "unpriced_usage": "prompt_audio_seconds: 12"}, scenario="audio"
    ),
    "chat from a cache": Case(chat(), ROW | {"cache_read_tokens": 1024, "cost_usd": ...}, scenario="cached"),
    "chat, at a priority": Case(chat(), ROW | {"service_tier": "priority", "cost_usd": None}, scenario="priority"),
    "stream": Case(stream(), ROW | STREAMED, "all"),
    "stream, parsed": Case(lambda c: c.chat.parse_stream(response_format=Answer, **ASK), ROW | STREAMED, "all"),
    "stream with tools": Case(stream(tools=[TOOL]), ROW | STREAMED | {"finish_reason": "tool_calls"}, "all"),
    "stream, entered": Case(stream(), ROW | STREAMED, "enter"),
    "stream, left and closed": Case(stream(), ROW | CUT, "enter and leave"),
    "stream, never read": Case(stream(), ROW | CUT | {"response_id": None}, "drop"),
    "stream, left to be collected": Case(stream(), ROW | CUT, "forget"),
    "stream that breaks off": Case(
        stream(), BROKEN | {"error_type": "RemoteProtocolError"}, "all", "breaks-off", "RemoteProtocolError"
    ),
    "stream with an error in it": Case(
        stream(), BROKEN | {"error_type": ...}, "all", "error-in-stream", "ResponseValidationError or ValidationError"
    ),
    "fill in the middle": Case(lambda c: c.fim.complete(**PROMPT), FIM),
    "fill in the middle, streamed": Case(lambda c: c.fim.stream(**PROMPT), FIM | STREAMED, "all"),
    "an agent": Case(lambda c: c.agents.complete(agent_id="ag_1", messages=ASK["messages"]), AGENT),
    "an agent, streamed": Case(lambda c: c.agents.stream(agent_id="ag_1", messages=ASK["messages"]), AGENT | STREAMED, "all"),
    "a conversation": Case(lambda c: c.beta.conversations.start(**START), TALK),
    "a conversation, streamed": Case(lambda c: c.beta.conversations.start_stream(**START), TALK | STREAMED, "all"),
    "embeddings": Case(
        lambda c: c.embeddings.create(model="mistral-embed", inputs=["Why 42?"]),
        ROW | {
            "operation": "embeddings", "request_model": "mistral-embed", "model_name": "mistral-embed",
            "response_id": "emb_1", "finish_reason": None, "prompt_tokens": 4, "completion_tokens": 0,
            "total_tokens": 4, "cost_usd": ...,
        },
    ),
    "moderation is no call": Case(lambda c: c.classifiers.moderate(model="mistral-moderation-latest", inputs="42"), {}),
    "a retry": Case(chat(), ROW | {"attempts": 3}, scenario="429-then-ok"),
    "a retry of a stream": Case(stream(), ROW | STREAMED | {"attempts": 3}, "all", "429-then-ok"),
    "failures": Case(
        chat(), REFUSED | {"http_status": 500, "request_id": "req_1", "error_type": "SDKError"}, scenario="broken-server",
        raises="SDKError", client=ONCE,
    ),
    "rate limit": Case(
        chat(), REFUSED | {"http_status": 429, "request_id": "req_1", "error_type": "SDKError"}, scenario="rate-limited",
        raises="SDKError", client=ONCE,
    ),
    "a stream that is refused": Case(
        stream(), REFUSED | STREAMED | {"http_status": 400, "request_id": "req_1", "error_type": "SDKError"}, "all",
        "bad-request", "SDKError",
    ),
    "an error with a secret": Case(
        chat(), REFUSED | {"http_status": 401, "request_id": "req_1", "error_type": "SDKError"}, scenario="secret",
        raises="SDKError",
    ),
    "a timeout": Case(
        chat(timeout_ms=200), REFUSED | {"status": "timeout", "error_type": "ReadTimeout"}, scenario="slow",
        raises="ReadTimeout", client=ONCE,
    ),
    "a timeout within a stream": Case(
        stream(timeout_ms=300), BROKEN | {"status": "timeout", "error_type": "ReadTimeout"}, "all", "slow-stream",
        "ReadTimeout", ONCE,
    ),
    "no connection": Case(
        chat(), REFUSED | {"error_type": "ConnectError"}, scenario="nowhere", raises="ConnectError", client=ONCE
    ),
    "not JSON": Case(chat(), REFUSED | {"error_type": "SDKError", "http_status": 200, "request_id": "req_1"}, scenario="not-json", raises="SDKError"),
}  # fmt: skip
