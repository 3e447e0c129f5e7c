"""An answer that failed is never recorded as a success, wherever it says so."""

from collections.abc import Iterator
from typing import Any

import pytest

from llm_service.telemetry.instrumentation.failed_answers import FAILURES, ORDINARY
from llm_service.telemetry.instrumentation.responses.answers import read_answer
from llm_service.telemetry.instrumentation.responses.stream_events import StreamEvents

USAGE = {"prompt_tokens": 100, "completion_tokens": 3, "total_tokens": 103}


def chat(**choice: Any) -> dict[str, Any]:
    """An answer of Chat Completions."""
    choices = [{"index": 0, "message": {"role": "assistant", "content": ""}, **choice}]
    return {"id": "c", "object": "chat.completion", "model": "openai/gpt-4o", "choices": choices, "usage": USAGE}


def anthropic(reason: str) -> dict[str, Any]:
    """An answer of Anthropic's protocol."""
    usage = {"input_tokens": 5, "output_tokens": 1}
    return {"id": "m", "type": "message", "role": "assistant", "model": "claude", "stop_reason": reason, "usage": usage}


def cohere(reason: str) -> dict[str, Any]:
    """An answer of Cohere's second protocol."""
    usage = {"tokens": {"input_tokens": 60, "output_tokens": 1}}
    return {"id": "x", "finish_reason": reason, "message": {"role": "assistant", "content": []}, "usage": usage}


def streamed(*chunks: dict[str, Any]) -> dict[str, Any]:
    """What a stream of these chunks tells."""
    events = StreamEvents()
    for chunk in chunks:
        events.take(chunk)
    return events.end()


def chunk(**choice: Any) -> dict[str, Any]:
    """A chunk of a stream of Chat Completions."""
    return {"id": "c", "object": "chat.completion.chunk", "model": "m", "choices": [{"delta": {}, **choice}]}


def ways(reason: str) -> Iterator[dict[str, Any]]:
    """What each shape tells that ended for a reason."""
    yield read_answer(chat(finish_reason=reason))
    yield read_answer(anthropic(reason))
    yield read_answer(cohere(reason))
    yield streamed(chunk(), chunk(finish_reason=reason))


@pytest.mark.parametrize("spelled", [str, str.upper])
@pytest.mark.parametrize("reason", sorted(FAILURES))
def test_a_reason_that_is_a_failure_is_no_success(reason: str, spelled: Any) -> None:
    """In each shape, whatever its case."""
    for found in ways(spelled(reason)):
        assert (found["status"], found["error_type"]) == (FAILURES[reason], reason)
        assert found["finish_reason"] == spelled(reason)


@pytest.mark.parametrize("reason", sorted(ORDINARY))
def test_ordinary_reasons_are_no_failure(reason: str) -> None:
    """Not even where the object is read as a whole."""
    for found in ways(reason):
        assert "status" not in found


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ({"code": 502, "message": "Provider disconnected"}, "502"),
        ({"code": "server_error", "message": "Provider disconnected"}, "server_error"),
        ({"type": "overloaded", "message": "Provider disconnected"}, "overloaded"),
        ({"message": "Provider disconnected"}, "error"),
    ],
)
def test_an_error_of_a_choice_or_beside_the_choices_is_the_calls(error: dict[str, Any], kind: str) -> None:
    """OpenRouter tells both: https://openrouter.ai/docs/api-reference/errors."""
    for found in (
        read_answer(chat(error=error)),
        read_answer(chat(finish_reason="stop", error=error)),
        read_answer(chat() | {"error": error}),
        streamed(chunk(), chunk() | {"error": error}),
        streamed(chunk(), chunk(finish_reason="error", error=error)),
    ):
        assert (found["status"], found["error_type"], found["error_message"]) == ("error", kind, error["message"])


def test_an_error_without_a_message_is_none() -> None:
    """Many answers have `error: null`, or an empty object."""
    for error in (None, {}, {"message": None}, ""):
        assert "status" not in read_answer(chat(finish_reason="stop", error=error) | {"error": error})
