"""An answer that failed is never recorded as a success, wherever it says so."""

from collections.abc import Iterator
from enum import StrEnum
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest

from llm_service.pricing.usage.around import EXCEPTIONS
from llm_service.telemetry import TelemetryLogger
from llm_service.telemetry.instrumentation.failed_answers import failure_of
from llm_service.telemetry.instrumentation.responses.answers import read_answer
from llm_service.telemetry.instrumentation.responses.stream_events import StreamEvents
from llm_service.telemetry.record.failures import FAILURES, ORDINARY, failure_by


class Reason(StrEnum):
    """As clients have them."""

    ERROR = "error"


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


def ollama(**more: Any) -> dict[str, Any]:
    """An answer of Ollama's, or the last chunk of its stream."""
    return {"model": "m", "created_at": "2026-11-30T12:00:00Z", "done": True, "message": {"role": "assistant"}} | more


def gemini(reason: str) -> dict[str, Any]:
    """An answer of Gemini's, or the last chunk of its stream."""
    return {"candidates": [{"content": {"parts": []}, "finishReason": "STOP"}, {"finishReason": reason}]}


def ways(reason: str) -> Iterator[dict[str, Any]]:
    """What each shape tells that ended for a reason."""
    yield read_answer(chat(finish_reason=reason))
    yield read_answer(anthropic(reason))
    yield read_answer(cohere(reason))
    yield read_answer(ollama(done_reason=reason))
    yield read_answer({"output": {"message": {"role": "assistant", "content": []}}, "stopReason": reason})
    yield streamed(chunk(), chunk(finish_reason=reason))
    yield streamed(
        {"type": "message_start", "message": {}}, {"type": "message_delta", "delta": {"stop_reason": reason}}
    )
    yield streamed({"type": "message-start"}, {"type": "message-end", "delta": {"finish_reason": reason}})
    yield streamed({"messageStart": {"role": "assistant"}}, {"messageStop": {"stopReason": reason}})
    yield streamed(ollama(done=False), ollama(done_reason=reason))


def of_candidates(reason: str) -> Iterator[dict[str, Any]]:
    """What Gemini's shape tells, where one of two candidates ended for a reason."""
    yield read_answer(gemini(reason))
    yield streamed(gemini(reason))
    yield read_answer({"object": "response", "status": reason, "output": []})


@pytest.mark.parametrize("spelled", [str, str.upper])
@pytest.mark.parametrize("reason", sorted(FAILURES))
def test_a_reason_that_is_a_failure_is_no_success(reason: str, spelled: Any) -> None:
    """In each shape, whatever its case."""
    for found in ways(spelled(reason)):
        assert (found["status"], found["error_type"]) == (FAILURES[reason], reason)
        assert found["finish_reason"] == spelled(reason)
    for found in of_candidates(spelled(reason)):
        assert (found["status"], found["error_type"]) == (FAILURES[reason], reason)


def _camel(reason: str) -> str:
    first, *rest = reason.split("_")
    return first + "".join(map(str.capitalize, rest))


@pytest.mark.parametrize("around", ["finish_{}", "{}_of_ours", "our_{}_of_tomorrow", "REASON_{}"])
@pytest.mark.parametrize("reason", sorted(FAILURES))
def test_a_reason_of_another_provider_is_known_by_its_words(reason: str, around: str) -> None:
    """Whole words, in snake case, camel case and with hyphens."""
    told = around.format(reason)
    for spelled in (told, told.upper(), told.replace("_", "-"), told.replace("_", " "), _camel(told.lower())):
        assert failure_by(spelled)["status"] == FAILURES[reason], spelled
        assert failure_by(f"stop,{spelled}")["status"] == FAILURES[reason], spelled
    assert not failure_by(f"x{reason}x")


DOCUMENTED = {
    "insufficient_system_resource": "error",  # https://api-docs.deepseek.com/api/create-chat-completion
    "network_error": "error",  # https://docs.z.ai/api-reference/llm/chat-completion
    "ERROR_TOXIC": "error", "ERROR_LIMIT": "error", "USER_CANCEL": "error", "TIMEOUT": "timeout",  # Cohere's
    "abort": "error", "modelUnloaded": "error", "failed": "error",  # SGLang's, LM Studio's
    "REASON_TIME_LIMIT": "timeout",  # https://github.com/xai-org/xai-proto/blob/main/proto/xai/api/v1/sample.proto
    "cancelled": "error", "canceled": "error", "aborted": "error", "expired": "error",  # statuses of answers
}  # fmt: skip
NO_FAILURE = [
    *ORDINARY, "COMPLETE", "MAX_TOKENS", "STOP_SEQUENCE", "TOOL_CALL", "content-filter", "eos_token",
    "guardrail_intervened", "incomplete", "language", "load", "malformed_function_call", "malformed_model_output",
    "malformed_tool_use", "max_output_tokens", "missing_thought_signature", "model_context_window_exceeded",
    "model_length", "other", "pause_turn", "prohibited_content", "REASON_MAX_CONTEXT", "REASON_MAX_LEN", "recitation",
    "refusal", "safety", "sensitive", "spii", "too_many_tool_calls", "unexpected_tool_call", "unload", "userStopped",
]  # fmt: skip
"""Reasons of a model, a limit or a filter, as Anthropic, Bedrock, Cohere, Gemini, LM Studio, Mistral, Ollama, OpenAI, xAI and
Z.ai document them."""


@pytest.mark.parametrize(("reason", "status"), DOCUMENTED.items())
def test_documented_reasons_of_failures_are_no_success(reason: str, status: str) -> None:
    """Each in its own words."""
    assert failure_by(reason)["status"] == status
    for found in ways(reason):
        assert found["status"] == status


@pytest.mark.parametrize("reason", NO_FAILURE)
def test_what_a_model_a_limit_or_a_filter_ended_is_no_failure(reason: str) -> None:
    """The call was served, and billed."""
    assert not failure_by(reason)


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


VLLM = {"object": "error", "message": "the prompt is too long", "type": "BadRequestError", "param": None, "code": 400}
SAID: dict[str, tuple[Any, str, str]] = {
    "vLLM's": (VLLM, "BadRequestError", "the prompt is too long"),
    "MiniMax's": (
        {"id": "x", "choices": None, "model": "MiniMax-M2", "base_resp": {"status_code": 1008, "status_msg": "no balance"}},
        "1008", "no balance",
    ),
    "Baidu's": ({"error_code": 336003, "error_msg": "the messages are empty", "id": "x"}, "336003", "the messages are empty"),
    "Alibaba's": ({"code": "InvalidApiKey", "message": "no such key", "request_id": "r"}, "InvalidApiKey", "no such key"),
    "Amazon's": ({"Error": {"Code": "Throttling", "Message": "too fast"}, "ResponseMetadata": {}}, "Throttling", "too fast"),
    "Google's": ([{"error": {"code": 400, "message": "bad key", "status": "INVALID_ARGUMENT"}}], "400", "bad key"),
}  # fmt: skip
"""Answers that are an error as a whole: type and message of it."""
NONE_SAID: dict[str, Any] = {
    "MiniMax's": chat(finish_reason="stop") | {"base_resp": {"status_code": 0, "status_msg": ""}},
    "Baidu's": {"error_code": 0, "error_msg": "", "id": "x", "usage": USAGE},
    "Alibaba's": {"code": "", "message": "", "output": {"text": "42"}, "usage": USAGE},
    "any": {"code": 200, "message": "42", "usage": USAGE},
    "a word": {"code": "success", "message": "42"},
}


@pytest.mark.parametrize(("answer", "kind", "message"), SAID.values(), ids=SAID)
def test_an_answer_that_is_an_error_as_a_whole_is_no_success(answer: Any, kind: str, message: str) -> None:
    """Alone, and as the first event of a stream; a dict also after other chunks."""
    found = [read_answer(answer), streamed(answer)]
    if isinstance(answer, dict) and {"object", "base_resp"} & answer.keys():
        found.append(streamed(chunk(delta={"content": "4"}), answer))
    for one in found:
        assert (one["status"], one["error_type"], one["error_message"]) == ("error", kind, message)


@pytest.mark.parametrize("answer", NONE_SAID.values(), ids=NONE_SAID)
def test_an_answer_whose_code_says_that_all_is_well_is_no_error(answer: Any) -> None:
    """Some providers say it in each answer."""
    assert "status" not in read_answer(answer)
    assert "status" not in streamed(answer)


@pytest.mark.parametrize("name", ["error", "error.type"])
def test_a_block_that_is_told_an_error_is_no_success(name: str, tmp_path: Path) -> None:
    """By a text, or by the exception itself; a status that is said holds."""
    with TelemetryLogger(tmp_path / "telemetry.db") as logger:
        with logger.invocation("text") as call:
            call.set(**{name: "boom"})
        with logger.invocation("said") as call:
            call.set(**{name: "boom", "status": "timeout"})
        with logger.invocation("nothing") as call:
            call.set(**{name: None})
        with logger.invocation("exception") as call:
            call.set(error=TimeoutError("too slow"))
        rows = {row["agent_name"]: row for row in logger.get_invocations()}
    assert {agent: row["status"] for agent, row in rows.items()} == {
        "text": "error", "said": "timeout", "nothing": "success", "exception": "timeout",
    }  # fmt: skip
    assert (rows["exception"]["error_type"], rows["exception"]["error_message"]) == ("TimeoutError", "too slow")


def test_a_stream_without_any_event_is_no_success(tmp_path: Path) -> None:
    """It was answered by something else, such as the page of a proxy."""
    with TelemetryLogger(tmp_path / "telemetry.db") as logger:
        with logger.invocation("agent") as call:
            assert list(call.watch(iter([]))) == []
        (row,) = logger.get_invocations()
    assert (row["status"], row["error_type"]) == ("error", "incomplete_stream")


@pytest.mark.parametrize("name", EXCEPTIONS)
def test_a_failure_in_a_stream_of_bedrock_is_one_by_whoever_reads_it(name: str) -> None:
    """As an answer, as an event, and by a reader of usage."""
    event = {name: {"message": "too fast"}}
    for found in (read_answer(event), streamed({"messageStart": {"role": "assistant"}}, event), failure_of(event)):
        assert (found["status"], found["error_type"], found["error_message"]) == ("error", name, "too fast")


@pytest.mark.parametrize(
    ("said", "status"),
    [
        ({"error_type": "RateLimitError"}, "error"), ({"http_status": 500}, "error"), ({"http_status": 429}, "error"),
        ({"finish_reason": "error"}, "error"), ({"finish_reason": "TIMEOUT"}, "timeout"),
        ({"http_status": HTTPStatus(503)}, "error"), ({"http_status": "503"}, "error"), ({"http_status": 503.0}, "error"),
        ({"finish_reason": Reason.ERROR}, "error"), ({"http_status": "soon"}, "success"),
        ({"finish_reason": "network_error"}, "error"), ({"finish_reason": "stop,modelUnloaded"}, "error"),
        ({"finish_reason": "cancelled"}, "success"),  # of a stream that its consumer left
        ({"http_status": 200, "finish_reason": "stop"}, "success"), ({"error_type": None}, "success"),
        ({"error_type": "X", "status": "success"}, "success"),
    ],
)  # fmt: skip
def test_a_block_that_says_how_it_failed_is_no_success(said: dict[str, Any], status: str, tmp_path: Path) -> None:
    """Unless it says a status."""
    with TelemetryLogger(tmp_path / "telemetry.db") as logger:
        with logger.invocation("agent") as call:
            call.set(**said)
        (row,) = logger.get_invocations()
    assert row["status"] == status


@pytest.mark.parametrize("error", [{"status": "failed"}, {"finish_reason": "error"}])
def test_what_langchain_keeps_of_an_answer_that_failed_is_a_failure(error: dict[str, Any]) -> None:
    """In `response_metadata`."""
    message = {"type": "ai", "usage_metadata": {"input_tokens": 1, "output_tokens": 2}, "response_metadata": error}
    assert read_answer(message)["status"] == "error"
