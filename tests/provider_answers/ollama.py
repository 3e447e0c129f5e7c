"""Ollama's own protocol (https://docs.ollama.com/api/chat), JSON and lines of it."""

from collections.abc import Iterator
from typing import Any

from tests.provider_answers.routes import SECRET, TEXT, Asked, Route, json_lines

__all__ = ["ROUTES"]

MADE = "2026-11-30T12:00:00.000000Z"
ENDED: dict[str, Any] = {
    "done": True,
    "done_reason": "stop",
    "total_duration": 4_935_886_791,
    "load_duration": 534_986_708,
    "prompt_eval_count": 1200,
    "prompt_eval_duration": 107_345_000,
    "eval_count": 7,
    "eval_duration": 4_289_432_000,
}
CALL = {"function": {"name": "add", "arguments": {"a": 1}}}


def chat(asked: Asked) -> dict[str, Any]:
    """A whole answer."""
    message: dict[str, Any] = {"role": "assistant", "content": TEXT}
    if asked.body.get("tools"):
        message = {"role": "assistant", "content": "", "tool_calls": [CALL]}
    return {"model": asked.body["model"], "created_at": MADE, "message": message, **_ended(asked)}


def chat_lines(asked: Asked) -> Iterator[dict[str, Any]]:
    """The same as a stream: the last line has what was used."""
    head = {"model": asked.body["model"], "created_at": MADE}
    pieces: list[dict[str, Any]] = [{"content": ""}, {"content": TEXT[:8]}, {"content": TEXT[8:]}]
    if asked.body.get("tools"):
        pieces = [{"content": ""}, {"content": "", "tool_calls": [CALL]}, {"content": ""}]
    for number, piece in enumerate(pieces):
        if number == 2 and asked.scenario == "error-in-stream":
            yield {"error": f"overloaded, key {SECRET}"}
            return
        yield {**head, "message": {"role": "assistant", **piece}, "done": False}
    yield {**head, "message": {"role": "assistant", "content": ""}, **_ended(asked)}


def generate(asked: Asked) -> dict[str, Any]:
    """A whole completion."""
    return {"model": asked.body["model"], "created_at": MADE, "response": TEXT, "context": [1, 2], **_ended(asked)}


def generate_lines(asked: Asked) -> Iterator[dict[str, Any]]:
    """The same as a stream."""
    head = {"model": asked.body["model"], "created_at": MADE}
    for text in (TEXT[:4], TEXT[4:8], TEXT[8:]):
        yield {**head, "response": text, "done": False}
    yield {**head, "response": "", "context": [1, 2], **_ended(asked)}


def embed(asked: Asked) -> dict[str, Any]:
    """Of several texts."""
    return {
        "model": asked.body["model"], "embeddings": [[0.5, 0.25]], "total_duration": 14_143_917,
        "load_duration": 1_019_500, "prompt_eval_count": 4,
    }  # fmt: skip


def _ended(asked: Asked) -> dict[str, Any]:
    return ENDED | ({"done_reason": "length"} if asked.scenario == "length" else {})


def error(_status: int, text: str) -> dict[str, Any]:
    """A refusal."""
    return {"error": text}


def _streams(asked: Asked) -> bool:
    return asked.body.get("stream", True)


LINES: dict[str, Any] = {"frame": json_lines, "kind": "application/x-ndjson", "streams": _streams, "error": error}
ROUTES = [
    Route("api/chat", chat, chat_lines, **LINES),
    Route("api/generate", generate, generate_lines, **LINES),
    Route("api/embed", embed, error=error),
    Route("api/embeddings", lambda _: {"embedding": [0.5, 0.25]}, error=error),
    Route("api/show", lambda _: {"modified_at": MADE, "template": "", "details": {}, "model_info": {}}, error=error),
    Route(
        "v1/systemone",
        lambda asked: {"model": asked.body["model"], "answers": {}, "usage": {"input_tokens": 9, "output_tokens": 2}},
        error=error,
    ),
]
