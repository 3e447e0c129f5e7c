"""What the server of the tests answers on a path: each provider's module has a list of these."""

import json
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

__all__ = ["SECRET", "TEXT", "Asked", "Route", "json_lines", "server_sent"]

SECRET = "sk-proj-" + "Ab3dEf6hIj9k" * 4
TEXT = '{"answer": 42}'


def server_sent(event: Any) -> bytes:
    """A server-sent event; text as it is."""
    if isinstance(event, str):
        return f"data: {event}\n\n".encode()
    name = f"event: {event['type']}\n" if "type" in event else ""
    return f"{name}data: {json.dumps(event)}\n\n".encode()


class Asked(NamedTuple):
    """One request.

    Attributes:
        path: after the scenario.
        body: as JSON.
        scenario: what is played.
    """

    path: str
    body: dict[str, Any]
    scenario: str


class Route(NamedTuple):
    """How one path is answered.

    Attributes:
        path: a regular expression, of the path after the scenario.
        answer: the whole answer.
        events: its stream; None where it has none.
        frame: an event on the wire.
        kind: of the stream.
        streams: whether a request wants the stream.
        error: the body of a refusal, of its status and text.
        headers: more than type and length.
    """

    path: str
    answer: Callable[[Asked], Any]
    events: Callable[[Asked], Iterator[Any]] | None = None
    frame: Callable[[Any], bytes] = server_sent
    kind: str = "text/event-stream"
    streams: Callable[[Asked], bool] = lambda asked: bool(asked.body.get("stream"))
    error: Callable[[int, str], Any] = lambda _status, text: {
        "type": "error",
        "error": {"message": text, "type": "some_error", "code": "some_code"},
    }
    headers: Callable[[Asked], dict[str, str]] = lambda _: {}


def json_lines(event: Any) -> bytes:
    """A line of JSON."""
    return json.dumps(event).encode() + b"\n"
