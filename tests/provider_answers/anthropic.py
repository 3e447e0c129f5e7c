"""Anthropic's Messages (https://platform.claude.com/docs/en/api/messages), JSON and server-sent events."""

from collections.abc import Iterator
from typing import Any

from tests.provider_answers.routes import SECRET, TEXT, Asked, Route

__all__ = ["ROUTES"]

MESSAGES_USAGE = {
    "input_tokens": 100,
    "output_tokens": 7,
    "cache_read_input_tokens": 1024,
    "cache_creation_input_tokens": 0,
}


def message(asked: Asked) -> dict[str, Any]:
    """An answer of Anthropic's Messages."""
    content: list[dict[str, Any]] = [{"type": "text", "text": TEXT}]
    if asked.body.get("tools"):
        content.append({"type": "tool_use", "id": "toolu_1", "name": "add", "input": {}})
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": f"{asked.body['model']}-20250929",
        "content": content,
        "stop_reason": "tool_use" if asked.body.get("tools") else "end_turn",
        "stop_sequence": None,
        "usage": MESSAGES_USAGE,
    }


def message_events(asked: Asked) -> Iterator[dict[str, Any]]:
    """The same as a stream: its input is told first, its output last."""
    whole = message(asked)
    yield {
        "type": "message_start",
        "message": {**whole, "content": [], "stop_reason": None, "usage": {**MESSAGES_USAGE, "output_tokens": 1}},
    }
    for index, block in enumerate(whole["content"]):
        is_text = block["type"] == "text"
        yield {
            "type": "content_block_start",
            "index": index,
            "content_block": {**block, "text": ""} if is_text else block,
        }
        yield {"type": "ping"}
        delta = {"type": "text_delta", "text": TEXT} if is_text else {"type": "input_json_delta", "partial_json": "{}"}
        yield {"type": "content_block_delta", "index": index, "delta": delta}
        yield {"type": "content_block_stop", "index": index}
    if asked.scenario == "error-in-stream":
        yield {"type": "error", "error": {"type": "overloaded_error", "message": f"overloaded, key {SECRET}"}}
        return
    yield {
        "type": "message_delta",
        "delta": {"stop_reason": whole["stop_reason"], "stop_sequence": None},
        "usage": MESSAGES_USAGE if asked.scenario == "full-delta" else {"output_tokens": 7},
    }
    yield {"type": "message_stop"}


ROUTES = [Route("v1/messages", message, message_events, headers=lambda _: {"request-id": "req_1"})]
