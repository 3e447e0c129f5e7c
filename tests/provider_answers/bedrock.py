"""Bedrock's runtime (https://docs.aws.amazon.com/bedrock/latest/APIReference/), JSON and AWS's binary event streams."""

import base64
import json
import struct
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote
from zlib import crc32

from tests.provider_answers.routes import SECRET, TEXT, Asked, Route

__all__ = ["ROUTES"]

USAGE: dict[str, Any] = {
    "inputTokens": 100,
    "outputTokens": 7,
    "totalTokens": 1131,
    "cacheReadInputTokens": 1024,
    "cacheWriteInputTokens": 0,
}
MESSAGES_USAGE = {
    "input_tokens": 100,
    "output_tokens": 7,
    "cache_read_input_tokens": 1024,
    "cache_creation_input_tokens": 0,
}
COUNTED = {
    "x-amzn-bedrock-input-token-count": "100",
    "x-amzn-bedrock-output-token-count": "7",
    "x-amzn-bedrock-cache-read-input-token-count": "1024",
    "x-amzn-bedrock-cache-write-input-token-count": "0",
}


def converse(asked: Asked) -> dict[str, Any]:
    """A whole answer of Converse."""
    content: list[dict[str, Any]] = [{"text": TEXT}]
    reason = "max_tokens" if asked.scenario == "length" else "end_turn"
    if asked.body.get("toolConfig"):
        content, reason = [{"toolUse": {"toolUseId": "t1", "name": "add", "input": {}}}], "tool_use"
    answer: dict[str, Any] = {
        "output": {"message": {"role": "assistant", "content": content}},
        "stopReason": reason,
        "usage": USAGE,
        "metrics": {"latencyMs": 12},
    }
    if asked.scenario == "optimized":
        answer["performanceConfig"] = {"latency": "optimized"}
    return answer


def converse_events(asked: Asked) -> Iterator[tuple[str, dict[str, Any]]]:
    """The same as a stream."""
    whole = converse(asked)
    yield "messageStart", {"role": "assistant"}
    if whole["stopReason"] == "tool_use":
        tool = {"toolUseId": "t1", "name": "add"}
        yield "contentBlockStart", {"contentBlockIndex": 0, "start": {"toolUse": tool}}
        yield "contentBlockDelta", {"contentBlockIndex": 0, "delta": {"toolUse": {"input": "{}"}}}
    else:
        for text in (TEXT[:8], TEXT[8:]):
            yield "contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": text}}
    if asked.scenario == "error-in-stream":
        yield "!modelStreamErrorException", {"message": f"overloaded, key {SECRET}"}
        return
    yield "contentBlockStop", {"contentBlockIndex": 0}
    yield "messageStop", {"stopReason": whole["stopReason"]}
    told = {name: whole[name] for name in ("usage", "metrics", "performanceConfig") if name in whole}
    yield "metadata", told


def invoke(asked: Asked) -> dict[str, Any]:
    """A whole answer of a model's own protocol: Anthropic's, Titan's text, and Titan's embeddings."""
    model = unquote(asked.path.split("/")[1])
    if "embed" in model:
        return {"embedding": [0.5, 0.25], "inputTextTokenCount": 4}
    if "titan" in model:
        results = [{"tokenCount": 7, "outputText": TEXT, "completionReason": "FINISH"}]
        return {"inputTextTokenCount": 1124, "results": results}
    return {
        "id": "msg_bdrk_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-sonnet-4-5-20250929",
        "content": [{"type": "text", "text": TEXT}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": MESSAGES_USAGE,
    }


def invoke_events(asked: Asked) -> Iterator[tuple[str, dict[str, Any]]]:
    """The same as a stream, of Anthropic's protocol."""
    whole = invoke(asked)
    started = {**whole, "content": [], "stop_reason": None, "usage": {**MESSAGES_USAGE, "output_tokens": 1}}
    block = {"type": "text", "text": ""}
    metrics = {
        "inputTokenCount": 100, "outputTokenCount": 7, "cacheReadInputTokenCount": 1024,
        "cacheWriteInputTokenCount": 0, "invocationLatency": 12, "firstByteLatency": 3,
    }  # fmt: skip
    events: list[dict[str, Any]] = [
        {"type": "message_start", "message": started},
        {"type": "content_block_start", "index": 0, "content_block": block},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": TEXT[:8]}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": TEXT[8:]}},
        {"type": "content_block_stop", "index": 0},
        {
            "type": "message_delta",
            "delta": {"stop_reason": whole["stop_reason"], "stop_sequence": None},
            "usage": {"output_tokens": 7},
        },
        {"type": "message_stop", "amazon-bedrock-invocationMetrics": metrics},
    ]
    for number, event in enumerate(events):
        if number == 4 and asked.scenario == "error-in-stream":
            yield "!modelStreamErrorException", {"message": f"overloaded, key {SECRET}"}
            return
        body = json.dumps(event, separators=(",", ":")).encode()
        yield "chunk", {"bytes": base64.b64encode(body).decode()}


def frame(event: tuple[str, dict[str, Any]]) -> bytes:
    """An event on the wire; one whose name begins with `!` is an exception."""
    name, body = event
    failed = name.startswith("!")
    headers = {
        ":message-type": "exception" if failed else "event",
        ":exception-type" if failed else ":event-type": name.removeprefix("!"),
        ":content-type": "application/json",
    }
    told = b"".join(
        bytes([len(key)]) + key.encode() + b"\x07" + struct.pack(">H", len(value)) + value.encode()
        for key, value in headers.items()
    )
    payload = json.dumps(body).encode()
    prelude = struct.pack(">II", len(told) + len(payload) + 16, len(told))
    message = prelude + struct.pack(">I", crc32(prelude)) + told + payload
    return message + struct.pack(">I", crc32(message))


def error(status: int, text: str) -> dict[str, Any]:
    """A refusal."""
    return {"message": text, "__type": "ThrottlingException" if status == 429 else "SomeException"}


def headers(asked: Asked) -> dict[str, str]:
    """What stands beside an answer: that of a model's own protocol tells usage and speed there."""
    told = {"x-amzn-RequestId": "req_1"}
    if asked.scenario == "optimized":
        told["X-Amzn-Bedrock-PerformanceConfig-Latency"] = "optimized"
    return told | COUNTED if asked.path.endswith("/invoke") else told


MORE: dict[str, Any] = {"error": error, "headers": headers}
STREAM: dict[str, Any] = {
    "frame": frame,
    "kind": "application/vnd.amazon.eventstream",
    "streams": lambda _: True,
    **MORE,
}
ROUTES = [
    Route("model/[^/]+/converse", converse, **MORE),
    Route("model/[^/]+/converse-stream", converse, converse_events, **STREAM),
    Route("model/[^/]+/invoke", invoke, **MORE),
    Route("model/[^/]+/invoke-with-response-stream", invoke, invoke_events, **STREAM),
    Route("model/[^/]+/count-tokens", lambda _: {"inputTokens": 100}, **MORE),
]
