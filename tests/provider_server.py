"""A server on this machine that speaks OpenAI's and Anthropic's protocols, JSON and server-sent events, for real clients.

The first part of the path is the scenario: `http://127.0.0.1:PORT/SCENARIO/v1`, or an HTTP status to fail with. What it answers is in `OPENAI`,
`ANTHROPIC` and their streams.
"""

import json
import threading
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

__all__ = ["SECRET", "ProviderServer"]

SECRET = "sk-proj-" + "Ab3dEf6hIj9k" * 4
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
MESSAGES_USAGE = {
    "input_tokens": 100,
    "output_tokens": 7,
    "cache_read_input_tokens": 1024,
    "cache_creation_input_tokens": 0,
}
TEXT = '{"answer": 42}'
TOOL = {"id": "call_1", "type": "function", "function": {"name": "add", "arguments": "{}"}}


def chat(asked: dict[str, Any], scenario: str) -> dict[str, Any]:
    """An answer of Chat Completions."""
    message: dict[str, Any] = {"role": "assistant", "content": TEXT}
    reason = "length" if scenario == "length" else "stop"
    if asked.get("tools"):
        message, reason = {"role": "assistant", "content": None, "tool_calls": [TOOL]}, "tool_calls"
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1_780_000_000,
        "model": f"{asked['model']}-2025-08-07",
        "service_tier": "default",
        "choices": [{"index": 0, "message": message, "finish_reason": reason}],
        "usage": USAGE,
    }


def chat_events(asked: dict[str, Any], scenario: str) -> Iterator[dict[str, Any]]:
    """The same as a stream; usage where it is asked for."""
    whole = chat(asked, scenario)
    chunk = {**whole, "object": "chat.completion.chunk", "usage": None}
    pieces = [{"role": "assistant", "content": ""}, {"content": TEXT[:8]}, {"content": TEXT[8:]}]
    if asked.get("tools"):
        pieces = [{"role": "assistant", "content": None}, {"tool_calls": [{"index": 0, **TOOL}]}]
    for piece in pieces:
        yield {**chunk, "choices": [{"index": 0, "delta": piece, "finish_reason": None}]}
    if scenario == "error-in-stream":
        yield {"error": {"message": f"overloaded, key {SECRET}", "type": "server_error", "code": "overloaded"}}
        return
    reason = whole["choices"][0]["finish_reason"]
    yield {**chunk, "choices": [{"index": 0, "delta": {}, "finish_reason": reason}]}
    if (asked.get("stream_options") or {}).get("include_usage"):
        yield {**chunk, "choices": [], "usage": USAGE}


def response(asked: dict[str, Any], scenario: str) -> dict[str, Any]:
    """An answer of Responses."""
    content = [{"type": "output_text", "text": TEXT, "annotations": []}]
    failed = scenario == "failed"
    return {
        "id": "resp_1",
        "object": "response",
        "created_at": 1_780_000_000,
        "model": f"{asked['model']}-2025-08-07",
        "status": "failed" if failed else "completed",
        "error": {"code": "server_error", "message": "no luck"} if failed else None,
        "output": [{"id": "m", "type": "message", "role": "assistant", "status": "completed", "content": content}],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "service_tier": "default",
        "usage": RESPONSES_USAGE,
    }


def response_events(asked: dict[str, Any], scenario: str) -> Iterator[dict[str, Any]]:
    """The same as a stream."""
    whole = response(asked, scenario)
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


def embeddings(asked: dict[str, Any], _scenario: str) -> dict[str, Any]:
    """An answer of Embeddings."""
    data = [{"object": "embedding", "index": 0, "embedding": [0.5, 0.25]}]
    return {"object": "list", "model": asked["model"], "data": data, "usage": {"prompt_tokens": 4, "total_tokens": 4}}


def completion(asked: dict[str, Any], _scenario: str) -> dict[str, Any]:
    """An answer of the old Completions."""
    choices = [{"index": 0, "text": "42", "finish_reason": "stop", "logprobs": None}]
    return {
        "id": "cmpl-1",
        "object": "text_completion",
        "created": 1,
        "model": asked["model"],
        "choices": choices,
        "usage": USAGE,
    }


def message(asked: dict[str, Any], _scenario: str) -> dict[str, Any]:
    """An answer of Anthropic's Messages."""
    content: list[dict[str, Any]] = [{"type": "text", "text": TEXT}]
    if asked.get("tools"):
        content.append({"type": "tool_use", "id": "toolu_1", "name": "add", "input": {}})
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": f"{asked['model']}-20250929",
        "content": content,
        "stop_reason": "tool_use" if asked.get("tools") else "end_turn",
        "stop_sequence": None,
        "usage": MESSAGES_USAGE,
    }


def message_events(asked: dict[str, Any], scenario: str) -> Iterator[dict[str, Any]]:
    """The same as a stream: its input is told first, its output last."""
    whole = message(asked, scenario)
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
    if scenario == "error-in-stream":
        yield {"type": "error", "error": {"type": "overloaded_error", "message": f"overloaded, key {SECRET}"}}
        return
    yield {
        "type": "message_delta",
        "delta": {"stop_reason": whole["stop_reason"], "stop_sequence": None},
        "usage": {"output_tokens": 7},
    }
    yield {"type": "message_stop"}


ANSWERS: dict[str, tuple[Any, Any]] = {
    "chat/completions": (chat, chat_events),
    "responses": (response, response_events),
    "embeddings": (embeddings, None),
    "completions": (completion, None),
    "messages": (message, message_events),
}
ERRORS = {
    "secret": (401, f"Incorrect API key provided: {SECRET}"),
    "rate-limited": (429, "slow down"),
    "broken-server": (500, "no luck"),
    "bad-request": (400, "no such parameter"),
}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        server: Any = self.server
        _, scenario, _version, kind = self.path.partition("?")[0].split("/", 3)
        body = self.rfile.read(int(self.headers["Content-Length"]))
        asked = json.loads(body)
        server.asked[scenario] += 1
        if scenario == "slow":
            server.released.wait(10)
        if scenario in ERRORS:
            self._error(*ERRORS[scenario])
        elif scenario.isdecimal():
            self._error(int(scenario), "no")
        elif scenario == "429-then-ok" and server.asked[scenario] % 3:
            self._error(429, "slow down")
        elif scenario == "not-json":
            self._send(200, b"<html>welcome</html>", "text/html")
        else:
            answer, events = ANSWERS[kind]
            if asked.get("stream"):
                self._stream(events(asked, scenario), scenario)
            else:
                self._send(200, json.dumps(answer(asked, scenario)).encode())

    def _error(self, status: int, text: str) -> None:
        error = {"message": text, "type": "some_error", "code": "some_code"}
        self._send(status, json.dumps({"type": "error", "error": error}).encode(), more={"retry-after-ms": "1"})

    def _send(
        self, status: int, body: bytes, kind: str = "application/json", more: dict[str, str] | None = None
    ) -> None:
        self.send_response(status)
        self._headers({"Content-Type": kind, "Content-Length": str(len(body)), **(more or {})})
        self.wfile.write(body)

    def _headers(self, headers: dict[str, str]) -> None:
        for name, value in {"x-request-id": "req_1", "request-id": "req_1", **headers}.items():
            self.send_header(name, value)
        self.end_headers()

    def _stream(self, events: Iterator[dict[str, Any]], scenario: str) -> None:
        self.send_response(200)
        self._headers({"Content-Type": "text/event-stream", "Transfer-Encoding": "chunked"})
        try:
            for number, event in enumerate(events):
                if scenario == "breaks-off" and number == 3:
                    self.close_connection = True
                    return
                if scenario == "slow-stream" and number == 3:
                    self.server.released.wait(10)  # type: ignore[attr-defined]
                name = f"event: {event['type']}\n" if "type" in event else ""
                self._chunk(f"{name}data: {json.dumps(event)}\n\n".encode())
            if "type" not in event:
                self._chunk(b"data: [DONE]\n\n")
            self._chunk(b"")
        except OSError:  # the client went away, as some tests want it to
            self.close_connection = True

    def _chunk(self, data: bytes) -> None:
        self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name in the base class
        pass


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that has gone away is what some tests are about."""


class ProviderServer:
    """The server, in a thread of its own: a context manager.

    Attributes:
        asked: how many requests each scenario got.
    """

    def __enter__(self) -> Self:
        self._server: Any = _Server(("127.0.0.1", 0), _Handler)
        self.asked: Counter[str] = Counter()
        self.released = threading.Event()
        self._server.asked, self._server.released = self.asked, self.released
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.released.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def url(self, scenario: str) -> str:
        """Where a scenario is played, without `/v1`."""
        return f"http://127.0.0.1:{self._server.server_port}/{scenario}"
