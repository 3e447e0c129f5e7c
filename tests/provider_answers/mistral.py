"""Mistral's protocol (https://docs.mistral.ai/api), JSON and server-sent events; below `mistral/`."""

from collections.abc import Iterator
from typing import Any

from tests.provider_answers.routes import SECRET, TEXT, Asked, Route

__all__ = ["ROUTES"]

USAGE: dict[str, Any] = {"prompt_tokens": 1200, "completion_tokens": 7, "total_tokens": 1207}
CACHED = USAGE | {"prompt_tokens_details": {"cached_tokens": 1024}}
CALL = {"id": "call_1", "function": {"name": "add", "arguments": "{}"}, "index": 0}


def _usage(asked: Asked) -> dict[str, Any]:
    if asked.scenario == "audio":
        return USAGE | {"prompt_audio_seconds": 12}
    if asked.scenario == "cached":
        return CACHED
    return USAGE | ({"service_tier": "priority"} if asked.scenario == "priority" else {})


def chat(asked: Asked) -> dict[str, Any]:
    """A whole answer."""
    message: dict[str, Any] = {"role": "assistant", "content": TEXT, "tool_calls": None}
    reason = "length" if asked.scenario == "length" else "stop"
    if asked.body.get("tools"):
        message, reason = {"role": "assistant", "content": "", "tool_calls": [CALL]}, "tool_calls"
    return {
        "id": "cmpl_1",
        "object": "chat.completion",
        "created": 1_780_000_000,
        "model": asked.body.get("model") or "mistral-small-latest",
        "choices": [{"index": 0, "message": message, "finish_reason": reason}],
        "usage": _usage(asked),
    }


def chat_events(asked: Asked) -> Iterator[Any]:
    """The same as a stream: the last chunk has reason and usage."""
    whole = chat(asked)
    chunk = {name: value for name, value in whole.items() if name != "usage"} | {"object": "chat.completion.chunk"}
    pieces: list[dict[str, Any]] = [{"role": "assistant", "content": ""}, {"content": TEXT[:8]}, {"content": TEXT[8:]}]
    if asked.body.get("tools"):
        pieces = [{"role": "assistant", "content": ""}, {"content": "", "tool_calls": [CALL]}, {"content": ""}]
    for number, piece in enumerate(pieces):
        if number == 2 and asked.scenario == "error-in-stream":
            yield {"object": "error", "message": f"overloaded, key {SECRET}"}
            return
        yield {**chunk, "choices": [{"index": 0, "delta": piece, "finish_reason": None}]}
    reason = whole["choices"][0]["finish_reason"]
    yield {
        **chunk,
        "choices": [{"index": 0, "delta": {"content": ""}, "finish_reason": reason}],
        "usage": whole["usage"],
    }
    yield "[DONE]"


def embeddings(asked: Asked) -> dict[str, Any]:
    """Of several texts."""
    data = [{"object": "embedding", "index": 0, "embedding": [0.5, 0.25]}]
    usage = {"prompt_tokens": 4, "completion_tokens": 0, "total_tokens": 4}
    return {"id": "emb_1", "object": "list", "model": asked.body["model"], "data": data, "usage": usage}


def conversation(_asked: Asked) -> dict[str, Any]:
    """An answer of an agent, which has a web search of its own."""
    said = {"type": "message.output", "role": "assistant", "content": TEXT, "model": "mistral-small-latest"}
    ran = {"type": "tool.execution", "name": "web_search", "arguments": "{}"}
    usage = USAGE | {"connector_tokens": 100, "connectors": {"web_search": 1}, "total_tokens": 1307}
    return {
        "object": "conversation.response",
        "conversation_id": "conv_1",
        "outputs": [ran, said],
        "usage": usage,
    }


def conversation_events(asked: Asked) -> Iterator[Any]:
    """The same as a stream."""
    whole = conversation(asked)
    made = {"created_at": "2026-11-30T12:00:00Z"}
    yield {"type": "conversation.response.started", "conversation_id": "conv_1", **made}
    for text in (TEXT[:8], TEXT[8:]):
        yield {
            "type": "message.output.delta", "id": "m", "content": text, "output_index": 0, "content_index": 0,
            "model": "mistral-small-latest", "role": "assistant", **made,
        }  # fmt: skip
    yield {"type": "conversation.response.done", "usage": whole["usage"], **made}


def moderation(asked: Asked) -> dict[str, Any]:
    """What is no call of a model that generates."""
    return {"id": "mod_1", "model": asked.body["model"], "results": []}


def error(_status: int, text: str) -> dict[str, Any]:
    """A refusal."""
    return {"object": "error", "message": text, "type": "some_error", "code": "1"}


MORE: dict[str, Any] = {"error": error, "headers": lambda _: {"mistral-correlation-id": "req_1"}}
ROUTES = [
    Route("mistral/v1/(chat|fim|agents)/completions", chat, chat_events, **MORE),
    Route("mistral/v1/embeddings", embeddings, **MORE),
    Route("mistral/v1/conversations.*", conversation, conversation_events, **MORE),
    Route("mistral/v1/moderations", moderation, **MORE),
]
