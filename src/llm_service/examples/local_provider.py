"""A server on this machine that speaks OpenAI's Chat Completions and Anthropic's Messages, JSON and server-sent events.

Its answers are always the same, and its token counts are the words that were sent and said. A request with tools is
answered by a call of the first of them, until a message of role `tool` stands in the request.
"""

import json
import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from typing import Any, Final

__all__ = ["local_provider"]

_ANSWER: Final = "It is the answer to the question of life, the universe, and everything."
_numbers: Final = count(1)
Events = Iterator[dict[str, Any]]


@contextmanager
def local_provider() -> Generator[str, None, None]:
    """Serve until the block ends; gives the URL, on a free port of this machine."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        """Answer one request, whole or as events."""
        asked = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))))
        found = {"/v1/chat/completions": (_chat, _chat_events), "/v1/messages": (_message, _message_events)}
        answers = found.get(self.path)
        if answers is None:
            self._send(404, {"error": {"message": f"no such path: {self.path}", "type": "invalid_request_error"}})
        elif asked.get("stream"):
            self._stream(answers[1](asked))
        else:
            self._send(200, answers[0](asked))

    def _send(self, status: int, answer: dict[str, Any]) -> None:
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _stream(self, events: Events) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        named = False
        with suppress(OSError):  # the client has left
            for event in events:
                named = "type" in event
                name = f"event: {event['type']}\n" if named else ""
                self.wfile.write(f"{name}data: {json.dumps(event)}\n\n".encode())
            if not named:
                self.wfile.write(b"data: [DONE]\n\n")
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name in the base class
        """Keep quiet."""


def _words(messages: list[dict[str, Any]]) -> int:
    return sum(len(json.dumps(message).split()) for message in messages)


def _usage(asked: dict[str, Any], said: str) -> dict[str, int]:
    prompt, completion = _words(asked["messages"]), len(said.split())
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


def _chat(asked: dict[str, Any]) -> dict[str, Any]:
    tools: list[Any] = asked.get("tools") or []
    wants_tool = bool(tools) and not any(message["role"] == "tool" for message in asked["messages"])
    message: dict[str, Any] = {"role": "assistant", "content": None if wants_tool else _ANSWER}
    if wants_tool:
        function = {"name": tools[0]["function"]["name"], "arguments": '{"question": "life"}'}
        message["tool_calls"] = [{"id": "call_1", "type": "function", "function": function}]
    return {
        "id": f"chatcmpl-{next(_numbers)}",
        "object": "chat.completion",
        "created": 1_764_460_800,
        "model": asked["model"],
        "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls" if wants_tool else "stop"}],
        "usage": _usage(asked, "a call" if wants_tool else _ANSWER),
    }


def _chat_events(asked: dict[str, Any]) -> Events:
    whole = _chat(asked)
    chunk = {**{key: whole[key] for key in ("id", "created", "model")}, "object": "chat.completion.chunk"}
    for word in _ANSWER.split():
        yield chunk | {"choices": [{"index": 0, "delta": {"role": "assistant", "content": f"{word} "}}]}
    yield chunk | {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    if (asked.get("stream_options") or {}).get("include_usage"):
        yield chunk | {"choices": [], "usage": whole["usage"]}


def _message(asked: dict[str, Any]) -> dict[str, Any]:
    usage = _usage(asked, _ANSWER)
    return {
        "id": f"msg_{next(_numbers)}",
        "type": "message",
        "role": "assistant",
        "model": asked["model"],
        "content": [{"type": "text", "text": _ANSWER}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": usage["prompt_tokens"], "output_tokens": usage["completion_tokens"]},
    }


def _message_events(asked: dict[str, Any]) -> Events:
    whole = _message(asked)
    usage = whole["usage"]
    yield {
        "type": "message_start",
        "message": whole | {"content": [], "stop_reason": None, "usage": usage | {"output_tokens": 1}},
    }
    yield {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
    for word in _ANSWER.split():
        yield {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": f"{word} "}}
    yield {"type": "content_block_stop", "index": 0}
    yield {
        "type": "message_delta",
        "delta": {"stop_reason": "end_turn", "stop_sequence": None},
        "usage": {"output_tokens": usage["output_tokens"]},
    }
    yield {"type": "message_stop"}
