"""Streams of providers and clients beside the four of `test_one_way`: a watch and a reader say the same of each."""

from types import SimpleNamespace
from typing import Any, Final

import pytest

from llm_service.pricing.usage import usage_fields
from llm_service.pricing.usage.around import EXCEPTIONS
from llm_service.telemetry.instrumentation.cumulative import Cumulative
from llm_service.telemetry.instrumentation.responses.answers import read_answer
from llm_service.telemetry.instrumentation.responses.stream_events import StreamEvents
from llm_service.telemetry.instrumentation.responses.watching import fields_at_end

USED: Final = {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120}
COUNTED: Final = {"prompt_tokens": 100, "completion_tokens": 20}


def chunk(delta: dict[str, Any], reason: str | None = None, **more: Any) -> dict[str, Any]:
    """A chunk of Chat Completions."""
    choice = {"index": 0, "delta": delta, "finish_reason": reason} | more.pop("choice", {})
    return {"object": "chat.completion.chunk", "model": "m", "choices": [choice]} | more


def wrapped(**data: Any) -> Any:
    """An event as Mistral's client gives it."""
    return SimpleNamespace(event="x", data=data)


TOOL = {"name": "nova_grounding", "type": "server_tool_use", "toolUseId": "t"}
BILLED = {"billed_units": {"input_tokens": 100, "output_tokens": 20}, "tokens": {"input_tokens": 300}}
OLLAMA = {"model": "m", "created_at": "t", "message": {"content": "4"}, "done": False}
LANGCHAIN = {"type": "AIMessageChunk", "content": "4", "usage_metadata": None, "response_metadata": {}}

STREAMS: dict[str, tuple[list[Any], dict[str, Any]]] = {
    "Kimi": ([chunk({"content": "4"}), chunk({}, "stop", choice={"usage": USED})], COUNTED),
    "Groq": (
        [chunk({"executed_tools": [{"index": 0, "type": "search"}]}), chunk({}, "stop", x_groq={"usage": USED})],
        COUNTED | {"unpriced_usage": "message.executed_tools: 1"},
    ),
    "Groq's tools in a client's objects": (
        [chunk(SimpleNamespace(executed_tools=[{"index": 0}])), chunk({}, "stop", usage=USED)],  # type: ignore[arg-type]
        COUNTED | {"unpriced_usage": "message.executed_tools: 1"},
    ),
    "OpenRouter": ([chunk({"content": "4"}, provider="x"), chunk({}, "stop", usage=USED | {"cost": 0.5})], {"cost_usd": 0.5}),
    "a tier that the last chunk does not tell": (
        [chunk({"content": "4"}, service_tier="flex"), chunk({}, "stop"), chunk({}, usage=USED)],
        COUNTED | {"service_tier": "flex"},
    ),
    "two tiers": (
        [chunk({}, service_tier="flex"), chunk({}, "stop", service_tier="priority", usage=USED)],
        COUNTED | {"service_tier": "priority"},
    ),
    "Mistral": (
        [wrapped(**chunk({"content": "4"})), wrapped(**chunk({}, "stop", usage=USED))], COUNTED,
    ),
    "a conversation of Mistral": (
        [
            wrapped(type="conversation.response.started", conversation_id="c"),
            wrapped(type="tool.execution.started", name="web_search", id="t1", output_index=0),
            wrapped(type="tool.execution.done", name="web_search", id="t1", output_index=0),
            wrapped(type="message.output.delta", content="4", model="mistral-medium"),
            wrapped(type="conversation.response.done", usage=USED),
        ],
        COUNTED | {"unpriced_usage": "outputs.web_search: 1"},
    ),
    "Nova": (
        [
            {"messageStart": {"role": "assistant"}},
            {"contentBlockStart": {"start": {"toolUse": TOOL}, "contentBlockIndex": 0}},
            {"messageStop": {"stopReason": "end_turn"}},
            {"metadata": {"usage": {"inputTokens": 100, "outputTokens": 20}, "serviceTier": {"type": "flex"}}},
        ],
        COUNTED | {"unpriced_usage": "content.nova_grounding: 1", "service_tier": "flex"},
    ),
    "Cohere": (
        [
            {"type": "message-start", "id": "m", "delta": {"message": {"role": "assistant"}}},
            {"type": "content-delta", "index": 0, "delta": {"message": {"content": {"text": "4"}}}},
            {"type": "message-end", "delta": {"finish_reason": "COMPLETE", "usage": BILLED}},
        ],
        COUNTED,
    ),
    "Cohere's first": (
        [
            {"event_type": "stream-start", "generation_id": "g"},
            {"event_type": "text-generation", "text": "4"},
            {"event_type": "stream-end", "finish_reason": "COMPLETE", "response": {"text": "4", "meta": BILLED}},
        ],
        COUNTED,
    ),
    "Ollama": ([OLLAMA, OLLAMA | {"done": True, "prompt_eval_count": 100, "eval_count": 20, "total_duration": 5}], COUNTED),
    "LangChain": (
        [SimpleNamespace(**LANGCHAIN), SimpleNamespace(**LANGCHAIN | {"usage_metadata": {"input_tokens": 100, "output_tokens": 20}})],
        COUNTED,
    ),
    "Gemini's Interactions": (
        [
            {"event_type": "interaction.start", "interaction": {"id": "i", "status": "in_progress"}},
            {"event_type": "content.start", "index": 0, "content": {"type": "google_search_call", "id": "g"}},
            {"event_type": "interaction.complete", "interaction": {"id": "i", "usage": {"total_input_tokens": 100, "total_output_tokens": 20}}},
        ],
        COUNTED | {"unpriced_usage": "output.google_search_call: 1"},
    ),
    "a helper of OpenAI's client": (
        [
            SimpleNamespace(type="chunk", chunk=chunk({"content": "4"}), snapshot={}),
            SimpleNamespace(type="content.delta", delta="4", snapshot="4"),
            SimpleNamespace(type="chunk", chunk=chunk({}, "stop", usage=USED)),
        ],
        COUNTED,
    ),
    "the Live API": (
        [
            {"usageMetadata": {"promptTokenCount": 100, "responseTokenCount": 20}, "serverContent": {"groundingMetadata": {"webSearchQueries": ["a"]}}},
        ],
        COUNTED | {"unpriced_usage": "groundingMetadata.webSearchQueries: 1"},
    ),
    "a status of a tool alone": (
        [
            {"type": "response.web_search_call.completed", "item_id": "w", "output_index": 0},
            {"type": "response.completed", "response": {"object": "response", "status": "completed", "usage": USED}},
        ],
        COUNTED | {"unpriced_usage": "output.web_search_call: 1"},
    ),
    "a tier that was only asked for": (
        [
            {"type": "response.created", "response": {"status": "in_progress", "service_tier": "priority"}},
            {"type": "response.completed", "response": {"status": "completed", "service_tier": "default", "usage": USED}},
        ],
        COUNTED | {"service_tier": "default"},
    ),
}  # fmt: skip


def watched(events: list[Any]) -> dict[str, Any]:
    """What a watch says of a stream that ended by itself."""
    read = StreamEvents()
    for event in events:
        read.take(event)
    return fields_at_end(read, None)


@pytest.mark.parametrize("name", STREAMS)
def test_a_stream_tells_the_same_to_a_watch_and_to_a_reader(name: str) -> None:
    """Counts, tiers, tools and what the seller charged; a stream with its end is a success."""
    events, expected = STREAMS[name]
    every = Cumulative(usage_fields)
    together: dict[str, Any] = {}
    for event in events:
        together |= every(event)
    found = watched(events)
    fields = (*COUNTED, "service_tier", "unpriced_usage", "cost_usd")
    assert {field: found.get(field) for field in fields} == {field: together.get(field) for field in fields}
    assert {field: found.get(field) for field in expected} == expected
    assert ("status" in found, found["usage_source"]) == (False, "reported")


FAILED: dict[str, tuple[list[Any], str | None]] = {
    "Ollama": ([OLLAMA, {"error": "out of memory"}], "out of memory"),
    "Gemini": ([{"candidates": [{}]}, {"error": {"code": 503, "message": "busy"}}], "busy"),
    "Cohere": ([{"type": "message-start"}, {"type": "message-end", "delta": {"finish_reason": "ERROR", "error": "x"}}], "x"),
    "Mistral": ([wrapped(type="conversation.response.error", code=1, message="busy")], "busy"),
    "an error alone": ([{"error": "busy"}], "busy"),
    **{name: ([{"messageStart": {}}, {name: {"message": "busy"}}], "busy") for name in EXCEPTIONS},
}  # fmt: skip


@pytest.mark.parametrize("name", FAILED)
def test_a_stream_that_tells_of_a_failure_is_no_success(name: str) -> None:
    """However its protocol tells it."""
    events, message = FAILED[name]
    found = watched(events)
    assert (found["status"], found["error_message"]) == ("error", message)
    assert "unpriced_usage" not in {field for event in events for field, value in usage_fields(event).items() if value}


CUT: dict[str, tuple[list[Any], str | None]] = {
    "Anthropic": ([{"type": "message_start", "message": {"usage": {"input_tokens": 9, "output_tokens": 1}}}], "error"),
    "Responses": ([{"type": "response.created", "response": {"status": "in_progress"}}], "error"),
    "Bedrock": ([{"messageStart": {"role": "assistant"}}], "error"),
    "Ollama": ([OLLAMA], "error"),
    "Cohere": ([{"type": "message-start", "id": "m"}], "error"),
    "chat": ([chunk({"content": "4"})], "error"),
    "chat that told usage": ([chunk({"content": "4"}, usage=USED)], None),
    "Gemini": ([{"candidates": [{}], "usageMetadata": {"promptTokenCount": 9}}], "error"),
}  # fmt: skip


@pytest.mark.parametrize("name", CUT)
def test_a_stream_that_is_cut_with_a_clean_end_is_partial(name: str) -> None:
    """And an error, where each stream of its protocol says that it is over."""
    events, status = CUT[name]
    found = watched(events)
    assert found.get("usage_source") in {None, "partial"}
    assert found.get("status") == status
    assert found.get("error_type") == (None if status is None else "incomplete_stream")


ANSWERS: dict[str, tuple[Any, str]] = {
    "Nova": (
        {"stopReason": "end_turn", "usage": USED, "output": {"message": {"content": [{"toolUse": TOOL}, {"text": "4"}]}}},
        "content.nova_grounding: 1",
    ),
    "LangChain's Claude": (
        {"type": "ai", "usage_metadata": USED, "response_metadata": {"usage": {"server_tool_use": {"web_search_requests": 2}}}},
        "server_tool_use.web_search_requests: 2",
    ),
    "LangChain's Gemini": (
        {"type": "ai", "usage_metadata": USED, "response_metadata": {"grounding_metadata": {"web_search_queries": ["a"]}}},
        "groundingMetadata.web_search_queries: 1",
    ),
    "LangChain's OpenAI": (
        {"type": "ai", "usage_metadata": USED, "additional_kwargs": {"tool_outputs": [{"type": "web_search_call", "id": "w"}]}},
        "output.web_search_call: 1",
    ),
    "LiteLLM's Gemini": (chunk({}, "stop", usage=USED, vertex_ai_grounding_metadata=[{"webSearchQueries": ["a"]}]), "groundingMetadata.webSearchQueries: 1"),
}  # fmt: skip


@pytest.mark.parametrize("name", ANSWERS)
def test_tools_in_answers_of_other_clients_are_named(name: str) -> None:
    """Where their usage does not tell of them."""
    answer, named = ANSWERS[name]
    assert read_answer(answer)["unpriced_usage"] == usage_fields(answer)["unpriced_usage"] == named
