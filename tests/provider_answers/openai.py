"""OpenAI's protocols (https://platform.openai.com/docs/api-reference), JSON and server-sent events."""

from collections.abc import Iterator
from typing import Any

from tests.provider_answers.routes import SECRET, TEXT, Asked, Route

__all__ = ["ROUTES"]

USAGE = {
    "prompt_tokens": 1200,
    "completion_tokens": 7,
    "total_tokens": 1207,
    "prompt_tokens_details": {"cached_tokens": 1024},
    "completion_tokens_details": {"reasoning_tokens": 3},
}
RESPONSES_USAGE = {
    "input_tokens": 1200,
    "output_tokens": 7,
    "total_tokens": 1207,
    "input_tokens_details": {"cached_tokens": 1024, "cache_write_tokens": 0},
    "output_tokens_details": {"reasoning_tokens": 3},
}
TOOL = {"id": "call_1", "type": "function", "function": {"name": "add", "arguments": "{}"}}


def chat(asked: Asked) -> dict[str, Any]:
    """An answer of Chat Completions."""
    message: dict[str, Any] = {"role": "assistant", "content": TEXT}
    reason = "length" if asked.scenario == "length" else "stop"
    if asked.body.get("tools"):
        message, reason = {"role": "assistant", "content": None, "tool_calls": [TOOL]}, "tool_calls"
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1_780_000_000,
        "model": f"{asked.body['model']}-2025-08-07",
        "service_tier": "default",
        "choices": [{"index": 0, "message": message, "finish_reason": reason}],
        "usage": USAGE,
    }


def chat_events(asked: Asked) -> Iterator[Any]:
    """The same as a stream; usage where it is asked for."""
    whole = chat(asked)
    chunk = {**whole, "object": "chat.completion.chunk", "usage": None}
    pieces = [{"role": "assistant", "content": ""}, {"content": TEXT[:8]}, {"content": TEXT[8:]}]
    if asked.body.get("tools"):
        pieces = [{"role": "assistant", "content": None}, {"tool_calls": [{"index": 0, **TOOL}]}]
    for piece in pieces:
        yield {**chunk, "choices": [{"index": 0, "delta": piece, "finish_reason": None}]}
    if asked.scenario == "error-in-stream":
        yield {"error": {"message": f"overloaded, key {SECRET}", "type": "server_error", "code": "overloaded"}}
        yield "[DONE]"
        return
    reason = whole["choices"][0]["finish_reason"]
    yield {**chunk, "choices": [{"index": 0, "delta": {}, "finish_reason": reason}]}
    if (asked.body.get("stream_options") or {}).get("include_usage"):
        yield {**chunk, "choices": [], "usage": USAGE}
    yield "[DONE]"


def response(asked: Asked) -> dict[str, Any]:
    """An answer of Responses."""
    content = [{"type": "output_text", "text": TEXT, "annotations": []}]
    failed = asked.scenario == "failed"
    return {
        "id": "resp_1",
        "object": "response",
        "created_at": 1_780_000_000,
        "model": f"{asked.body['model']}-2025-08-07",
        "status": "failed" if failed else "completed",
        "error": {"code": "server_error", "message": "no luck"} if failed else None,
        "output": [{"id": "m", "type": "message", "role": "assistant", "status": "completed", "content": content}],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "service_tier": "default",
        "usage": RESPONSES_USAGE,
    }


def response_events(asked: Asked) -> Iterator[dict[str, Any]]:
    """The same as a stream."""
    whole = response(asked)
    place = {"item_id": "m", "output_index": 0, "content_index": 0}
    started = {**whole["output"][0], "content": [], "status": "in_progress"}
    part = {"type": "output_text", "text": "", "annotations": []}
    events: list[dict[str, Any]] = [
        {"type": "response.created", "response": {**whole, "status": "in_progress", "output": [], "usage": None}},
        {"type": "response.output_item.added", "output_index": 0, "item": started},
        {"type": "response.content_part.added", **place, "part": part},
        {"type": "response.output_text.delta", **place, "delta": TEXT, "logprobs": []},
        {"type": "response.output_text.done", **place, "text": TEXT, "logprobs": []},
        {"type": f"response.{whole['status']}", "response": whole},
    ]
    for number, event in enumerate(events):
        yield {**event, "sequence_number": number}


def embeddings(asked: Asked) -> dict[str, Any]:
    """An answer of Embeddings."""
    data = [{"object": "embedding", "index": 0, "embedding": [0.5, 0.25]}]
    return {
        "object": "list",
        "model": asked.body["model"],
        "data": data,
        "usage": {"prompt_tokens": 4, "total_tokens": 4},
    }


def completion(asked: Asked) -> dict[str, Any]:
    """An answer of the old Completions."""
    choices = [{"index": 0, "text": "42", "finish_reason": "stop", "logprobs": None}]
    return {
        "id": "cmpl-1",
        "object": "text_completion",
        "created": 1,
        "model": asked.body["model"],
        "choices": choices,
        "usage": USAGE,
    }


def _headers(_asked: Asked) -> dict[str, str]:
    return {"x-request-id": "req_1"}


ROUTES = [
    Route("v1/chat/completions", chat, chat_events, headers=_headers),
    Route("v1/responses", response, response_events, headers=_headers),
    Route("v1/embeddings", embeddings, headers=_headers),
    Route("v1/completions", completion, headers=_headers),
]
