"""Bedrock's runtime, by boto3 and aiobotocore: Converse, a model's own protocol, and their streams."""

from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any, Self

from tests.sdk_cases.case import FAILED, STREAMED, UNKNOWN, Case

__all__ = ["CASES", "MODULE", "client_of"]

MODULE = "boto3"
CLAUDE = "global.anthropic.claude-sonnet-4-5-20250929-v1:0"
MESSAGES: list[dict[str, Any]] = [{"role": "user", "content": [{"text": "Why 42?"}]}]
ASK: dict[str, Any] = {"modelId": CLAUDE, "messages": MESSAGES}
INVOKE: dict[str, Any] = {"modelId": CLAUDE, "body": b'{"messages": []}'}
TOOLS = {"tools": [{"toolSpec": {"name": "add", "inputSchema": {"json": {"type": "object"}}}}]}
PRICE = (100 * 3 + 1024 * 0.30 + 7 * 15) / 1e6
"""https://aws.amazon.com/bedrock/pricing/"""
ROW: dict[str, Any] = {
    "status": "success", "source": "sdk:bedrock", "operation": "chat", "provider": "aws.bedrock",
    "request_model": CLAUDE, "model_name": CLAUDE, "response_id": None, "request_id": "req_1",
    "finish_reason": "end_turn", "http_status": 200, "attempts": 1, "usage_source": "reported", "error_type": None,
    "stream": None, "parent_invocation_id": None, "prompt_tokens": 1124, "completion_tokens": 7, "total_tokens": 1131,
    "cache_read_tokens": 1024, "cost_usd": PRICE, "unpriced_usage": None,
}  # fmt: skip
OWN = ROW | {"response_id": "msg_bdrk_1"}
UNPRICED = {"cost_usd": None}
UNREAD = ROW | {"finish_reason": None}  # its headers tell the usage
CUT = UNKNOWN | STREAMED | UNPRICED | {"finish_reason": "cancelled", "usage_source": None}
OWN_CUT = {
    "stream": True, "finish_reason": "cancelled", "usage_source": "partial", "completion_tokens": 1,
    "total_tokens": 1125, "cost_usd": (100 * 3 + 1024 * 0.30 + 15) / 1e6,
}  # fmt: skip
REFUSED = ROW | FAILED | UNPRICED


class Opened:
    """An async client, which is made when it is entered, and the body or stream of what its methods give."""

    def __init__(self, making: Any) -> None:
        self.making = making

    async def __aenter__(self) -> Self:
        self.stack = AsyncExitStack()
        self.client = await self.stack.enter_async_context(self.making)
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.stack.aclose()

    def __getattr__(self, name: str) -> Any:
        async def call(**asked: Any) -> Any:
            return inside(await getattr(self.client, name)(**asked))

        return call


def inside(answer: dict[str, Any]) -> Any:
    """What of an answer is to be read."""
    return answer.get("stream") or answer.get("body") or answer


def client_of(url: str, *, asynchronous: bool = False, attempts: int = 3, timeout: float = 60) -> Any:
    """A client that calls the server."""
    from botocore.config import Config

    options: dict[str, Any] = {"retries": {"total_max_attempts": attempts, "mode": "standard"}, "read_timeout": timeout}
    made = {
        "service_name": "bedrock-runtime", "region_name": "us-east-1", "endpoint_url": url,
        "aws_access_key_id": "none", "aws_secret_access_key": "none",
    }  # fmt: skip
    if asynchronous:
        from aiobotocore.config import AioConfig
        from aiobotocore.session import get_session

        return Opened(get_session().create_client(**made, config=AioConfig(**options)))
    import boto3

    return Sync(boto3.client(**made, config=Config(**options)))


class Sync:
    """A sync client, and the body or stream of what its methods give."""

    def __init__(self, client: Any) -> None:
        self.client = client

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.client.close()

    def __getattr__(self, name: str) -> Any:
        return lambda **asked: inside(getattr(self.client, name)(**asked))


def converse(**more: Any) -> Callable[[Any], Any]:
    """A call of Converse."""
    return lambda client: client.converse(**ASK | more)


def stream(**more: Any) -> Callable[[Any], Any]:
    """The same as a stream."""
    return lambda client: client.converse_stream(**ASK | more)


def invoke(**more: Any) -> Callable[[Any], Any]:
    """A call in the model's own protocol."""
    return lambda client: client.invoke_model(**INVOKE | more)


def invoke_stream(**more: Any) -> Callable[[Any], Any]:
    """The same as a stream."""
    return lambda client: client.invoke_model_with_response_stream(**INVOKE | more)


ONE = {"attempts": 1}
EMBED = "amazon.titan-embed-text-v2:0"
CASES: dict[str, Case] = {
    "converse": Case(converse(), ROW),
    "converse with a system prompt": Case(converse(system=[{"text": "Be short."}]), ROW),
    "converse with tools": Case(converse(toolConfig=TOOLS), ROW | {"finish_reason": "tool_use"}),
    "converse, too short": Case(converse(), ROW | {"finish_reason": "max_tokens"}, scenario="length"),
    "converse, fast": Case(
        converse(performanceConfig={"latency": "optimized"}), ROW | UNPRICED | {"service_tier": "optimized"},
        scenario="optimized",
    ),
    "converse in a region": Case(
        converse(modelId="us.anthropic.claude-sonnet-4-5-20250929-v1:0"),
        ROW | {
            "request_model": "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
            "model_name": "us.anthropic.claude-sonnet-4-5-20250929-v1:0", "cost_usd": PRICE * 1.1,
        },
    ),
    "stream": Case(stream(), ROW | STREAMED, "all"),
    "stream with tools": Case(stream(toolConfig=TOOLS), ROW | STREAMED | {"finish_reason": "tool_use"}, "all"),
    "stream, fast": Case(stream(), ROW | STREAMED | UNPRICED | {"service_tier": "optimized"}, "all", "optimized"),
    "stream, left and closed": Case(stream(), ROW | CUT, "close"),
    "stream, left to be collected": Case(stream(), ROW | CUT, "forget"),
    "stream, never read": Case(stream(), ROW | CUT, "drop"),
    "stream that breaks off": Case(
        stream(), ROW | CUT | {"status": "error", "finish_reason": None, "error_type": ...}, "all", "breaks-off",
        "ProtocolError or ResponseStreamingError or ClientPayloadError",
    ),
    "stream with an error in it": Case(
        stream(), ROW | CUT | {"status": "error", "finish_reason": None, "error_type": "EventStreamError"}, "all",
        "error-in-stream", "EventStreamError",
    ),
    "invoke": Case(invoke(), OWN, "read"),
    "invoke, read in parts": Case(invoke(), OWN, "read in parts"),
    "invoke, read into a buffer": Case(invoke(), OWN, "read into a buffer"),
    "invoke, never read": Case(invoke(), UNREAD, "drop"),
    "invoke, closed": Case(invoke(), UNREAD, "close body"),
    "invoke, fast": Case(
        invoke(), OWN | UNPRICED | {"service_tier": "optimized"}, "read", "optimized"
    ),
    "invoke, of a model that tells its usage in headers": Case(
        invoke(modelId="amazon.titan-text-express-v1"),
        UNREAD | {"request_model": "amazon.titan-text-express-v1", "model_name": "amazon.titan-text-express-v1", "cost_usd": ...},
        "read",
    ),
    "embeddings": Case(
        invoke(modelId=EMBED),
        UNREAD | {"operation": "embeddings", "request_model": EMBED, "model_name": EMBED, "cost_usd": ...}, "read",
    ),
    "invoke as a stream": Case(invoke_stream(), OWN | STREAMED, "all"),
    "invoke as a stream, fast": Case(
        invoke_stream(), OWN | STREAMED | UNPRICED | {"service_tier": "optimized"}, "all", "optimized"
    ),
    "invoke as a stream, left": Case(invoke_stream(), OWN | OWN_CUT, "close"),
    "invoke as a stream with an error in it": Case(
        invoke_stream(), OWN | OWN_CUT | {"status": "error", "finish_reason": None, "error_type": "EventStreamError"},
        "all", "error-in-stream", "EventStreamError",
    ),
    "counting is no call": Case(
        lambda c: c.count_tokens(modelId=CLAUDE, input={"converse": {"messages": MESSAGES}}), {}
    ),
    "a retry": Case(converse(), ROW | {"attempts": 3}, scenario="429-then-ok"),
    "failures": Case(
        converse(), REFUSED | {"http_status": 500, "request_id": "req_1", "error_type": "ClientError", "attempts": 2},
        scenario="broken-server", raises="ClientError", client={"attempts": 2},
    ),
    "rate limit": Case(
        converse(), REFUSED | {"http_status": 429, "request_id": "req_1", "error_type": "ThrottlingException"},
        scenario="rate-limited", raises="ThrottlingException", client=ONE,
    ),
    "a stream that is refused": Case(
        stream(), REFUSED | STREAMED | {"http_status": 400, "request_id": "req_1", "error_type": "ClientError"},
        "all", "bad-request", "ClientError",
    ),
    "an error with a secret": Case(
        converse(), REFUSED | {"http_status": 401, "request_id": "req_1", "error_type": "ClientError"},
        scenario="secret", raises="ClientError",
    ),
    "a timeout": Case(
        converse(), REFUSED | {"status": "timeout", "attempts": None, "error_type": ...}, scenario="slow",
        raises="ReadTimeoutError or AioReadTimeoutError", client=ONE | {"timeout": 0.2},
    ),
    "a timeout within a stream": Case(
        stream(), ROW | CUT | {"status": "timeout", "finish_reason": None, "error_type": ...}, "all", "slow-stream",
        "ReadTimeoutError or AioReadTimeoutError or SocketTimeoutError", ONE | {"timeout": 0.3},
    ),
    "no connection": Case(
        converse(), REFUSED | {"error_type": "EndpointConnectionError", "attempts": None}, scenario="nowhere",
        raises="EndpointConnectionError", client=ONE,
    ),
    "arguments that are none": Case(
        converse(messages=42), REFUSED | {"error_type": "ParamValidationError", "attempts": None},
        raises="ParamValidationError",
    ),
}  # fmt: skip
