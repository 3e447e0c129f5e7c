"""The short way for chunks leaves nothing out: a stream says the same where each chunk is read in full."""

import json
from typing import Any

import pytest

from llm_service.telemetry.instrumentation.responses import stream_events
from llm_service.telemetry.instrumentation.responses.stream_events import StreamEvents

openai = pytest.importorskip("openai")

CHUNK: dict[str, Any] = {
    "id": "chatcmpl-1", "created": 1, "model": "gpt-5-mini", "service_tier": "default",
    "object": "chat.completion.chunk", "usage": None,
}  # fmt: skip
CHOICE: dict[str, Any] = {"index": 0, "delta": {"content": "42"}, "finish_reason": None}
USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
PIECE = CHUNK | {"choices": [CHOICE]}
TELLING: dict[str, dict[str, Any]] = {
    "nothing": PIECE,
    "usage": PIECE | {"usage": USAGE},
    "usage of Groq's": PIECE | {"x_groq": {"usage": USAGE}},
    "another tier": PIECE | {"service_tier": "priority"},
    "no tier": {name: value for name, value in PIECE.items() if name != "service_tier"},
    "an end": CHUNK | {"choices": [CHOICE | {"finish_reason": "length"}]},
    "a failure": CHUNK | {"choices": [CHOICE | {"error": {"code": 502, "message": "no luck"}}]},
    "an error": PIECE | {"error": {"message": "no luck", "type": "server_error"}},
    "an error of vLLM's": CHUNK | {"object": "error", "message": "no luck", "code": 500, "choices": []},
    "tools of Groq's": CHUNK | {"choices": [CHOICE | {"delta": {"executed_tools": [{"type": "search"}]}}]},
    "usage of a choice": CHUNK | {"choices": [CHOICE | {"usage": USAGE}]},
    "no choice": CHUNK | {"choices": []},
    "no choices": CHUNK | {"choices": None},
    "two choices": CHUNK | {"choices": [CHOICE, CHOICE | {"index": 1, "finish_reason": "stop"}]},
    "a choice that is a text": CHUNK | {"choices": ["42"]},
    "no delta": CHUNK | {"choices": [CHOICE | {"delta": None}]},
    "more that nobody knows": PIECE | {"obfuscation": "x"},
}


def chunks_of(*told: dict[str, Any]) -> list[Any]:
    """As the client makes them."""
    from openai._models import construct_type
    from openai.types.chat import ChatCompletionChunk

    return [construct_type(value=json.loads(json.dumps(one)), type_=ChatCompletionChunk) for one in told]


def said_of(chunks: list[Any]) -> tuple[Any, ...]:
    """All that a stream of these says."""
    events = StreamEvents()
    for chunk in chunks:
        events.take(chunk)
    return events.end(), events.begun, events.complete, events.unfinished, events.known


@pytest.mark.parametrize("what", TELLING)
def test_what_a_chunk_tells_is_told_whichever_way_it_is_read(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between others, and as the last."""
    for told in ([PIECE, PIECE, TELLING[what], PIECE], [PIECE, PIECE, TELLING[what]], [TELLING[what], PIECE, PIECE]):
        chunks = chunks_of(*told)
        short = said_of(chunks)
        with monkeypatch.context() as patched:
            patched.setattr(stream_events, "is_one_piece", lambda *_: False)
            assert said_of(chunks) == short


def test_the_short_way_is_taken() -> None:
    """From the first chunk on that told nothing new."""
    events = StreamEvents()
    for chunk in chunks_of(PIECE, PIECE):
        events.take(chunk)
    assert events._plain is not None


def test_a_class_that_declares_more_has_no_short_way() -> None:
    """As Groq's, whose chunks tell their usage elsewhere."""
    from pydantic import BaseModel

    class Groqs(openai.types.chat.ChatCompletionChunk):  # type: ignore[name-defined, misc]
        x_groq: Any = None

    class Odd(BaseModel):
        choices: list[int]

    assert not stream_events.declares_pieces(Groqs)
    assert not stream_events.declares_pieces(Odd)
