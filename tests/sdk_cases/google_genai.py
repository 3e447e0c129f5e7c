"""Google's client: Gemini's content, its streams, chats and tools, embeddings and images; Vertex AI, too."""

from collections.abc import Callable
from typing import Any

from tests.sdk_cases.case import FAILED, NO_USAGE, STREAMED, Answer, Case

__all__ = ["CASES", "MODULE", "client_of"]

MODULE = "google.genai"
ASK: dict[str, Any] = {"model": "gemini-2.5-flash", "contents": "Why 42?"}
PRICE = (176 * 0.30 + 1024 * 0.03 + 7 * 2.50) / 1e6
"""https://ai.google.dev/gemini-api/docs/pricing"""
ROW: dict[str, Any] = {
    "status": "success", "source": "sdk:google-genai", "operation": "generate_content", "provider": "gcp.gemini",
    "request_model": "gemini-2.5-flash", "model_name": "gemini-2.5-flash", "response_id": "resp_1",
    "finish_reason": "STOP", "http_status": 200, "attempts": 1, "usage_source": "reported", "error_type": None,
    "stream": None, "parent_invocation_id": None, "prompt_tokens": 1200, "completion_tokens": 7, "total_tokens": 1207,
    "cache_read_tokens": 1024, "reasoning_tokens": 3, "cost_usd": PRICE,
}  # fmt: skip
UNPRICED = {"reasoning_tokens": None, "cost_usd": None}
REFUSED = ROW | FAILED | UNPRICED
CUT = {
    "stream": True, "finish_reason": "cancelled", "usage_source": "partial", "completion_tokens": 4,
    "total_tokens": 1204, "cost_usd": (176 * 0.30 + 1024 * 0.03 + 4 * 2.50) / 1e6,
}  # fmt: skip


def client_of(url: str, *, asynchronous: bool = False, vertexai: bool = False, attempts: int = 3, **more: Any) -> Any:
    """A client that calls the server."""
    from google import genai

    retries = {"attempts": attempts, "initial_delay": 0.001, "max_delay": 0.001, "jitter": 0}
    options = {"base_url": url, "retry_options": retries, **more}
    client = genai.Client(api_key="none", vertexai=vertexai, http_options=options)  # type: ignore[arg-type]
    return client.aio if asynchronous else client


def content(**config: Any) -> Callable[[Any], Any]:
    """A call."""
    return lambda client: client.models.generate_content(**ASK, config=config or None)


def stream(**config: Any) -> Callable[[Any], Any]:
    """The same as a stream."""
    return lambda client: client.models.generate_content_stream(**ASK, config=config or None)


def add(a: int) -> int:
    """Adds, for the model."""
    return a


DECLARED = {"function_declarations": [{"name": "add", "description": "adds"}]}
ONE = {"attempts": 1}
CASES: dict[str, Case] = {
    "content": Case(content(), ROW),
    "content with a system instruction": Case(content(system_instruction="Be short."), ROW),
    "content with tools": Case(content(tools=[DECLARED]), ROW),
    "content, raw": Case(content(should_return_http_response=True), ROW),
    "content, parsed": Case(content(response_mime_type="application/json", response_schema=Answer), ROW),
    "content, too short": Case(content(), ROW | {"finish_reason": "MAX_TOKENS"}, scenario="length"),
    "content, blocked": Case(
        content(), ROW | {
            "finish_reason": "SAFETY", "completion_tokens": 0, "total_tokens": 1200, "cache_read_tokens": None,
            "reasoning_tokens": None, "cost_usd": 1200 * 0.30 / 1e6,
        }, scenario="blocked",
    ),
    "content, grounded with a search": Case(
        content(), ROW | {"cost_usd": None, "unpriced_usage": "groundingMetadata.web_search_queries: 1"}, scenario="grounded"
    ),
    "content with audio": Case(
        content(), ROW | UNPRICED | {
            "prompt_tokens": 300, "total_tokens": 307, "cache_read_tokens": None,
            "unpriced_usage": "prompt_tokens_details.AUDIO.token_count: 200",
        }, scenario="audio",
    ),
    "a chat": Case(lambda c: c.chats.create(model=ASK["model"]).send_message("Why 42?"), ROW),
    "by its full name": Case(
        lambda c: c.models.generate_content(model="models/gemini-2.5-flash", contents="Why 42?"), ROW
    ),
    "Vertex AI": Case(content(), ROW | {"provider": "gcp.vertex_ai"}, client={"vertexai": True}),
    "stream": Case(stream(), ROW | STREAMED, "all"),
    "content, flex": Case(content(service_tier="flex"), ROW | {"service_tier": "flex", "cost_usd": None}),
    "stream, flex": Case(stream(service_tier="flex"), ROW | STREAMED | {"service_tier": "flex", "cost_usd": None}, "all"),
    "stream with tools": Case(stream(tools=[DECLARED]), ROW | STREAMED, "all"),
    "stream, blocked": Case(
        stream(), ROW | STREAMED | {
            "finish_reason": "SAFETY", "completion_tokens": 0, "total_tokens": 1200, "cache_read_tokens": None,
            "reasoning_tokens": None, "cost_usd": 1200 * 0.30 / 1e6,
        }, "all", "blocked",
    ),
    "stream, left and closed": Case(stream(), ROW | CUT, "close"),
    "stream, left to be collected": Case(stream(), ROW | CUT, "forget"),
    "stream that breaks off": Case(
        stream(), {**ROW, **CUT, "status": "error", "finish_reason": None, "error_type": ...}, "all", "breaks-off",
        "ClientPayloadError or RemoteProtocolError",
    ),
    "stream with an error in it": Case(
        stream(), ROW | CUT | {"status": "error", "finish_reason": None, "error_type": "ServerError", "http_status": 503},
        "all", "error-in-stream", "ServerError",
    ),
    "a chat, streamed": Case(lambda c: c.chats.create(model=ASK["model"]).send_message_stream("Why 42?"), ROW | STREAMED, "all"),
    "embeddings": Case(
        lambda c: c.models.embed_content(model="gemini-embedding-001", contents=["Why", "42?"]),
        ROW | NO_USAGE | UNPRICED | {
            "operation": "embeddings", "request_model": "gemini-embedding-001", "model_name": "gemini-embedding-001",
            "response_id": None, "finish_reason": None,
        },
    ),
    "images": Case(
        lambda c: c.models.generate_images(model="imagen-4.0-generate-001", prompt="42"),
        ROW | NO_USAGE | UNPRICED | {
            "operation": "image_generation", "request_model": "imagen-4.0-generate-001",
            "model_name": "imagen-4.0-generate-001", "response_id": None, "finish_reason": None,
            "provider": "gcp.vertex_ai",
        }, client={"vertexai": True},
    ),
    "counting is no call": Case(lambda c: c.models.count_tokens(**ASK), {}),
    "a retry": Case(content(), ROW | {"attempts": 3}, scenario="429-then-ok"),
    "a retry of a stream": Case(stream(), ROW | STREAMED | {"attempts": 3}, "all", "429-then-ok"),
    "failures": Case(
        content(), REFUSED | {"attempts": 3, "http_status": 500, "error_type": "ServerError"}, scenario="broken-server",
        raises="ServerError",
    ),
    "rate limit": Case(
        content(), REFUSED | {"http_status": 429, "error_type": "ClientError"}, scenario="rate-limited",
        raises="ClientError", client=ONE,
    ),
    "a stream that is refused": Case(
        stream(), REFUSED | STREAMED | {"http_status": 400, "error_type": "ClientError"}, "all", "bad-request", "ClientError",
    ),
    "an error with a secret": Case(
        content(), REFUSED | {"http_status": 401, "error_type": "ClientError"}, scenario="secret", raises="ClientError",
    ),
    "a timeout": Case(
        content(), REFUSED | {"status": "timeout", "error_type": ...}, scenario="slow", raises="ReadTimeout or TimeoutError",
        client=ONE | {"timeout": 200},
    ),
    "a timeout within a stream": Case(
        stream(), {**ROW, **CUT, "status": "timeout", "finish_reason": None, "error_type": ...}, "all", "slow-stream",
        "ReadTimeout or TimeoutError", ONE | {"timeout": 300},
    ),
    "no connection": Case(
        content(), REFUSED | {"error_type": ...}, scenario="nowhere", raises="ConnectError or ClientConnectorError",
        client=ONE,
    ),
}  # fmt: skip
CASES["stream, never read"] = Case(stream(), {}, "drop")  # nothing was asked
