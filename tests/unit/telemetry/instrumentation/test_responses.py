"""What an answer or a stream says of its call: `call.record`, `call.watch` and `record_from_response`."""

import logging
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from llm_service.errors import RecordError
from llm_service.telemetry import AsyncTelemetryLogger, TelemetryLogger, record_from_response
from llm_service.telemetry.instrumentation.responses import answers, from_response, stream_events
from llm_service.telemetry.instrumentation.responses.plain_answers import kept_of, plain_answer, plain_fields_of

USAGE = {
    "prompt_tokens": 1200,
    "completion_tokens": 7,
    "total_tokens": 1207,
    "prompt_tokens_details": {"cached_tokens": 1024},
}
CHAT = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "model": "gpt-5-mini-2025-08-07",
    "service_tier": "flex",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "42"}, "finish_reason": "stop"}],
    "usage": USAGE,
}
RESPONSE = {
    "id": "resp_1",
    "object": "response",
    "model": "gpt-5",
    "status": "completed",
    "output": [],
    "usage": {
        "input_tokens": 9,
        "output_tokens": 4,
        "total_tokens": 13,
        "output_tokens_details": {"reasoning_tokens": 2},
    },
}
MESSAGE = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-sonnet-4-5",
    "stop_reason": "end_turn",
    "usage": {"input_tokens": 10, "output_tokens": 5, "cache_read_input_tokens": 7, "cache_creation_input_tokens": 2},
}
GEMINI = {
    "candidates": [{"content": {"parts": [{"text": "42"}]}, "finishReason": "STOP"}],
    "usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 2, "thoughtsTokenCount": 4, "totalTokenCount": 9},
    "modelVersion": "gemini-2.5-flash",
    "responseId": "g-1",
}
CONVERSE = {
    "output": {"message": {"role": "assistant", "content": [{"text": "42"}]}},
    "stopReason": "max_tokens",
    "usage": {"inputTokens": 3, "outputTokens": 2, "totalTokens": 5},
    "metrics": {"latencyMs": 12},
    "ResponseMetadata": {"RequestId": "aws-1", "HTTPStatusCode": 200},
}
OLLAMA = {
    "model": "llama3.2",
    "created_at": "2026-11-30T09:00:00Z",
    "message": {"role": "assistant", "content": "42"},
    "done": True,
    "done_reason": "stop",
    "prompt_eval_count": 11,
    "eval_count": 3,
    "total_duration": 5_000,
}

ANSWERS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "chat": (
        CHAT,
        {
            "model_name": "gpt-5-mini-2025-08-07", "response_id": "chatcmpl-1", "finish_reason": "stop",
            "operation": "chat", "service_tier": "flex", "provider": None, "prompt_tokens": 1200,
            "completion_tokens": 7, "cache_read_tokens": 1024, "usage_source": "reported",
        },
    ),
    "responses": (
        RESPONSE,
        {
            "model_name": "gpt-5", "response_id": "resp_1", "finish_reason": "completed", "operation": "chat",
            "prompt_tokens": 9, "completion_tokens": 4, "reasoning_tokens": 2, "status": "success",
        },
    ),
    "incomplete": (
        RESPONSE | {"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}},
        {"finish_reason": "max_output_tokens", "status": "success"},
    ),
    "failed": (
        RESPONSE | {"status": "failed", "usage": None, "error": {"code": "server_error", "message": "no luck"}},
        {
            "status": "error", "error_type": "server_error", "error_message": "no luck", "prompt_tokens": None,
            "finish_reason": "failed",
        },
    ),
    "embeddings": (
        {
            "object": "list", "model": "text-embedding-3-small", "data": [{"object": "embedding", "embedding": [0.5]}],
            "usage": {"prompt_tokens": 4, "total_tokens": 4},
        },
        {"operation": "embeddings", "model_name": "text-embedding-3-small", "prompt_tokens": 4},
    ),
    "legacy completion": (
        {
            "id": "cmpl-1", "object": "text_completion", "model": "gpt-3.5-turbo-instruct",
            "choices": [{"text": "42", "finish_reason": "length"}],
            "usage": {"prompt_tokens": 4, "completion_tokens": 1, "total_tokens": 5},
        },
        {"operation": "text_completion", "finish_reason": "length", "completion_tokens": 1},
    ),
    "two choices": (
        CHAT | {"choices": [{"finish_reason": "stop"}, {"finish_reason": "length"}, {"finish_reason": "stop"}]},
        {"finish_reason": "stop,length"},
    ),
    "Anthropic": (
        MESSAGE,
        {
            "model_name": "claude-sonnet-4-5", "response_id": "msg_1", "finish_reason": "end_turn", "operation": "chat",
            "provider": None, "prompt_tokens": 19, "completion_tokens": 5, "cache_read_tokens": 7,
            "cache_write_tokens": 2,
        },
    ),
    "Anthropic by Bedrock": (MESSAGE | {"id": "msg_bdrk_1"}, {"provider": "aws.bedrock", "prompt_tokens": 19}),
    "Anthropic by Vertex": (MESSAGE | {"id": "msg_vrtx_1"}, {"provider": "gcp.vertex_ai"}),
    "Gemini": (
        GEMINI,
        {
            "model_name": "gemini-2.5-flash", "response_id": "g-1", "finish_reason": "STOP", "provider": None,
            "operation": "generate_content", "prompt_tokens": 3, "completion_tokens": 6, "reasoning_tokens": 4,
        },
    ),
    "Gemini, blocked": (
        {
            "promptFeedback": {"blockReason": "SAFETY"}, "modelVersion": "gemini-2.5-flash",
            "usageMetadata": {"promptTokenCount": 3, "totalTokenCount": 3},
        },
        {"finish_reason": "SAFETY", "prompt_tokens": 3},
    ),
    "Bedrock": (
        CONVERSE,
        {
            "provider": "aws.bedrock", "request_id": "aws-1", "finish_reason": "max_tokens", "operation": "chat",
            "prompt_tokens": 3, "completion_tokens": 2,
        },
    ),
    "Ollama": (
        OLLAMA,
        {
            "provider": "ollama", "model_name": "llama3.2", "finish_reason": "stop", "operation": "chat",
            "prompt_tokens": 11, "completion_tokens": 3,
        },
    ),
    "OpenRouter": (
        CHAT | {"id": "gen-1", "provider": "OpenAI", "usage": USAGE | {"cost": 0.25}},
        {"provider": "openrouter", "cost_usd": 0.25, "cost_source": "reported"},
    ),
    "Azure": (CHAT | {"prompt_filter_results": []}, {"provider": "azure.ai.openai"}),
    "Groq": (CHAT | {"x_groq": {"id": "req_1"}}, {"provider": "groq"}),
    "an error of a gateway": (
        {"error": {"message": "no such model", "type": "not_found"}},
        {"status": "error", "error_type": "not_found", "error_message": "no such model"},
    ),
    "usage alone": (USAGE, {"prompt_tokens": 1200, "cache_read_tokens": 1024, "operation": None}),
}  # fmt: skip


def as_object(value: Any) -> Any:
    """An object of a client instead of a mapping."""
    if isinstance(value, dict):
        return SimpleNamespace(**{name: as_object(inner) for name, inner in value.items()})
    return [as_object(inner) for inner in value] if isinstance(value, list) else value


@pytest.fixture
def logger(tmp_path: Path) -> Iterator[TelemetryLogger]:
    """A sync logger, closed afterwards."""
    with TelemetryLogger(tmp_path / "telemetry.db") as made:
        yield made


@pytest.mark.parametrize("name", ANSWERS)
@pytest.mark.parametrize("form", ["mapping", "object"])
def test_an_answer_is_recorded_with_all_that_it_says(logger: TelemetryLogger, name: str, form: str) -> None:
    """In the block, and as a record made by hand; `x_groq` and Converse are mappings in any client."""
    answer, expected = ANSWERS[name]
    given = as_object(answer) if form == "object" and name not in {"Groq", "Bedrock"} else answer
    with logger.invocation("agent") as call:
        call.record(given)
    logger.log_invocation(record_from_response(given, agent_name="agent"))
    rows: list[Any] = logger.get_invocations()
    assert [{field: row[field] for field in expected} for row in rows] == [expected] * 2
    assert {row["agent_name"] for row in rows} == {"agent"}
    assert logger.stats().bad_values == 0


def test_what_the_block_says_wins_and_its_name_of_the_model_is_what_was_asked_for(logger: TelemetryLogger) -> None:
    """Whether it is said before or after."""
    with logger.invocation("agent", model_name="gpt-5-mini", prompt_tokens=5, provider="mine") as call:
        call.record(CHAT)
        call.set(finish_reason="enough")
    (row,) = logger.get_invocations()
    assert (row["model_name"], row["request_model"]) == ("gpt-5-mini-2025-08-07", "gpt-5-mini")
    assert (row["prompt_tokens"], row["completion_tokens"]) == (5, 7)
    assert (row["provider"], row["finish_reason"]) == ("mine", "enough")
    record = record_from_response(CHAT, model_name="gpt-5-mini", prompt_tokens=5, provider=None)
    assert (record.model_name, record.request_model, record.prompt_tokens) == ("gpt-5-mini-2025-08-07", "gpt-5-mini", 5)


def test_a_later_answer_replaces_an_earlier_one(logger: TelemetryLogger) -> None:
    """Nothing of the first is left beside it."""
    with logger.invocation() as call:
        call.record(CHAT)
        call.record(MESSAGE)
    (row,) = logger.get_invocations()
    assert (row["model_name"], row["prompt_tokens"], row["total_tokens"]) == ("claude-sonnet-4-5", 19, 24)
    assert row["service_tier"] is None


class Hostile:
    """An object that raises whatever it is asked."""

    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError(f"secret {name}")


@pytest.mark.parametrize("given", [None, 5, "text", object(), [CHAT], {"id": "x", "model": "y"}, Hostile])
def test_what_is_no_answer_is_counted_and_said_once(
    logger: TelemetryLogger, caplog: pytest.LogCaptureFixture, given: Any
) -> None:
    """The call is recorded all the same."""
    given = Hostile() if given is Hostile else given
    with caplog.at_level(logging.WARNING, "llm_service.telemetry"):
        for _ in range(2):
            with logger.invocation("agent") as call:
                call.record(given)
    assert len(logger.get_invocations()) == logger.stats().bad_values == 2
    assert len(caplog.records) == 1
    assert "secret" not in caplog.text
    assert record_from_response(given, agent_name="a").agent_name == "a"


def test_strict_raises_at_what_is_no_answer(tmp_path: Path) -> None:
    """A test suite wants to know."""
    with TelemetryLogger(tmp_path / "strict.db", strict=True) as logger:
        with pytest.raises(TypeError, match="no answer"), logger.invocation() as call:
            call.record(5)
        with pytest.raises(TypeError, match="no stream"), logger.invocation() as call:
            call.watch(5)


def test_a_bad_value_of_an_answer_costs_that_value_and_one_that_is_given_is_refused() -> None:
    """By hand, too."""
    record = record_from_response(CHAT | {"usage": USAGE | {"completion_tokens": 10**15, "total_tokens": None}})
    assert (record.completion_tokens, record.model_name) == (None, "gpt-5-mini-2025-08-07")
    assert "completion_tokens" in str(record.unpriced_usage)
    with pytest.raises(RecordError, match="latency_ms"):
        record_from_response(CHAT, latency_ms=-1)


def chunk(**more: Any) -> dict[str, Any]:
    """A chunk of Chat Completions."""
    base = {
        "id": "c-1",
        "object": "chat.completion.chunk",
        "model": "gpt-5-mini-2025-08-07",
        "choices": [],
        "usage": None,
    }
    return base | more


def delta(delta: dict[str, Any], reason: str | None = None) -> list[dict[str, Any]]:
    """The one choice of a chunk."""
    return [{"index": 0, "delta": delta, "finish_reason": reason}]


IN_PROGRESS = RESPONSE | {"status": "in_progress", "usage": None}
STREAMS: dict[str, tuple[list[dict[str, Any]], int, dict[str, Any]]] = {
    "chat": (
        [
            chunk(choices=delta({"role": "assistant", "content": ""})),
            chunk(choices=delta({"content": "42"})),
            chunk(choices=delta({}, "stop")),
            chunk(usage=USAGE),
        ],
        1,
        {
            "model_name": "gpt-5-mini-2025-08-07", "response_id": "c-1", "finish_reason": "stop", "operation": "chat",
            "prompt_tokens": 1200, "completion_tokens": 7, "usage_source": "reported",
        },
    ),
    "chat without usage": (
        [chunk(choices=delta({"content": "42"})), chunk(choices=delta({}, "length"))],
        0,
        {"finish_reason": "length", "prompt_tokens": None, "usage_source": None},
    ),
    "Azure, whose first chunk is empty": (
        [
            {"id": "", "object": "", "model": "", "choices": [], "prompt_filter_results": []},
            chunk(choices=delta({"content": "42"})),
            chunk(choices=delta({}, "stop")),
        ],
        1,
        {"model_name": "gpt-5-mini-2025-08-07", "provider": "azure.ai.openai", "response_id": "c-1"},
    ),
    "responses": (
        [
            {"type": "response.created", "response": IN_PROGRESS},
            {"type": "response.output_text.delta", "delta": "42"},
            {"type": "response.completed", "response": RESPONSE},
        ],
        1,
        {"model_name": "gpt-5", "response_id": "resp_1", "finish_reason": "completed", "prompt_tokens": 9},
    ),
    "responses, failed": (
        [
            {"type": "response.created", "response": IN_PROGRESS},
            {"type": "response.failed", "response": ANSWERS["failed"][0]},
        ],
        2,
        {"status": "error", "error_type": "server_error", "error_message": "no luck", "model_name": "gpt-5"},
    ),
    "Anthropic": (
        [
            {"type": "message_start", "message": MESSAGE | {"stop_reason": None}},
            {"type": "ping"},
            {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
            {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "42"}},
            {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 30}},
            {"type": "message_stop"},
        ],
        3,
        {
            "model_name": "claude-sonnet-4-5", "response_id": "msg_1", "finish_reason": "end_turn", "operation": "chat",
            "prompt_tokens": 19, "completion_tokens": 30, "cache_read_tokens": 7, "usage_source": "reported",
        },
    ),
    "Mistral, around its chunks": (
        [
            {"data": chunk(choices=delta({"content": "42"}))},
            {"data": chunk(choices=delta({}, "stop"), usage={"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5})},
        ],
        0,
        {"model_name": "gpt-5-mini-2025-08-07", "finish_reason": "stop", "total_tokens": 5, "usage_source": "reported"},
    ),
    "Mistral, a conversation": (
        [
            {"event": "e", "data": {"type": "conversation.response.started", "conversation_id": "c"}},
            {"event": "e", "data": {"type": "message.output.delta", "content": "42", "model": "mistral-small-latest"}},
            {"event": "e", "data": {"type": "conversation.response.done", "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}}},
        ],
        1,
        {"model_name": "mistral-small-latest", "total_tokens": 5, "usage_source": "reported"},
    ),
    "Mistral, a conversation that failed": (
        [
            {"event": "e", "data": {"type": "message.output.delta", "content": "42", "model": "mistral-small-latest"}},
            {"event": "e", "data": {"type": "conversation.response.error", "message": "no luck", "code": 500}},
        ],
        0,
        {"status": "error", "error_type": "conversation.response.error", "error_message": "no luck"},
    ),
    "Gemini, blocked": (
        [{"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": {"promptTokenCount": 3, "totalTokenCount": 3}}],
        1,
        {"finish_reason": "SAFETY", "prompt_tokens": 3, "completion_tokens": 0},
    ),
    "Anthropic, a tool": (
        [
            {"type": "message_start", "message": MESSAGE | {"stop_reason": None}},
            {"type": "content_block_start", "index": 0, "content_block": {"type": "tool_use", "name": "add"}},
            {"type": "error", "error": {"type": "overloaded_error", "message": "later"}},
        ],
        1,
        {"status": "error", "error_type": "overloaded_error", "error_message": "later", "prompt_tokens": 19},
    ),
    "Gemini": (
        [
            {**GEMINI, "candidates": [{"content": {}}], "usageMetadata": {"promptTokenCount": 3, "totalTokenCount": 3}},
            GEMINI,
        ],
        0,
        {
            "model_name": "gemini-2.5-flash", "response_id": "g-1", "finish_reason": "STOP", "prompt_tokens": 3,
            "completion_tokens": 6, "operation": "generate_content",
        },
    ),
    "Bedrock": (
        [
            {"messageStart": {"role": "assistant"}},
            {"contentBlockDelta": {"delta": {"text": "42"}}},
            {"messageStop": {"stopReason": "end_turn"}},
            {"metadata": {"usage": CONVERSE["usage"], "metrics": {"latencyMs": 3}}},
        ],
        1,
        {"provider": "aws.bedrock", "finish_reason": "end_turn", "prompt_tokens": 3, "operation": "chat"},
    ),
    "Ollama": (
        [
            OLLAMA | {"done": False, "done_reason": None, "prompt_eval_count": None, "eval_count": None},
            OLLAMA | {"message": {"role": "assistant", "content": ""}},
        ],
        0,
        {"provider": "ollama", "model_name": "llama3.2", "finish_reason": "stop", "prompt_tokens": 11},
    ),
    "anything with usage": (
        [{"text": "4"}, {"text": "2", "usage": USAGE}],
        0,
        {"prompt_tokens": 1200, "completion_tokens": 7},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", STREAMS)
@pytest.mark.parametrize("form", ["mapping", "object"])
async def test_a_watched_stream_passes_through_and_is_recorded(tmp_path: Path, name: str, form: str) -> None:
    """By a block's `watch` or by `wrap_stream` alone, sync and async; the first token is where output begins."""
    items, first, expected = STREAMS[name]
    given = [as_object(item) for item in items] if form == "object" and name != "Bedrock" else items

    async def slowly() -> AsyncIterator[Any]:
        for item in given:
            yield item

    seen: list[bool] = []
    async with AsyncTelemetryLogger(tmp_path / "telemetry.db") as telemetry:
        async with telemetry.invocation("agent") as call:
            for item in call.watch(iter(given)):
                assert item is given[len(seen)]
                seen.append(call._ttft_ms is not None)
        async with telemetry.invocation("agent") as call:
            assert [item async for item in call.watch(slowly())] == given
        assert list(telemetry.wrap_stream(iter(given), "agent")) == given
        assert [item async for item in telemetry.wrap_stream(slowly, "agent")] == given
        rows: list[Any] = await telemetry.get_invocations()
        assert telemetry.stats().bad_values == 0
    assert seen == [position >= first for position in range(len(given))]
    assert [{field: row[field] for field in expected} for row in rows] == [expected] * 4
    assert [(row["stream"], (row["ttft_ms"] is not None)) for row in rows] == [(True, first < len(given))] * 4


def test_a_stream_that_is_left_early_is_partial_and_no_error(logger: TelemetryLogger) -> None:
    """Whether it is closed, or just no longer read."""
    items = STREAMS["Anthropic"][0]
    for close in (True, False):
        with logger.invocation("agent") as call:
            stream = call.watch(item for item in items)
            next(stream)
            if close:
                stream.close()
    for row in logger.get_invocations():
        assert (row["status"], row["finish_reason"], row["usage_source"]) == ("success", "cancelled", "partial")
        assert (row["prompt_tokens"], row["stream"]) == (19, True)


def test_a_stream_that_had_told_all_is_complete_however_it_is_left(logger: TelemetryLogger) -> None:
    """Nothing is missing then."""
    with logger.invocation("agent") as call:
        stream = call.watch(item for item in STREAMS["Anthropic"][0])
        for _ in range(5):
            next(stream)
    (row,) = logger.get_invocations()
    assert (row["finish_reason"], row["usage_source"], row["completion_tokens"]) == ("end_turn", "reported", 30)


def test_a_stream_that_breaks_off_says_so_even_where_the_block_catches_it(logger: TelemetryLogger) -> None:
    """The call failed, though the program goes on; what the block says itself still wins."""

    def broken() -> Iterator[Any]:
        yield STREAMS["Anthropic"][0][0]
        raise ConnectionError("gone")

    for said in ({}, {"status": "success"}):
        with logger.invocation("agent", **said) as call, pytest.raises(ConnectionError):
            list(call.watch(broken()))
    told, caught = logger.get_invocations()
    assert (caught["status"], caught["error_type"], caught["usage_source"]) == ("error", "ConnectionError", "partial")
    assert told["status"] == "success"


class Manager:
    """A stream that is entered, and has attributes of its own."""

    answer = 42

    def __init__(self) -> None:
        self.closed = False

    def __enter__(self) -> Iterator[Any]:
        return iter(STREAMS["chat"][0])

    def __exit__(self, *error: object) -> None:
        self.closed = True


def test_with_and_attributes_go_to_the_stream(logger: TelemetryLogger) -> None:
    """It is the same object to its user."""
    manager = Manager()
    with logger.invocation("agent") as call:
        watched = call.watch(manager)
        assert watched.answer == 42
        with watched as stream:
            assert len(list(stream)) == 4
    (row,) = logger.get_invocations()
    assert (manager.closed, row["prompt_tokens"]) == (True, 1200)


def test_a_whole_answer_in_the_place_of_a_stream_is_recorded_and_returned_as_it_is(logger: TelemetryLogger) -> None:
    """As where `stream=True` was left out."""
    answer = as_object(CHAT)
    with logger.invocation("agent") as call:
        assert call.watch(answer) is answer
        assert call.watch(5) == 5
    (row,) = logger.get_invocations()
    assert (row["prompt_tokens"], row["stream"]) == (1200, None)


async def test_a_request_is_sent_by_the_first_step(tmp_path: Path) -> None:
    """An async client's, not awaited."""

    async def create() -> AsyncIterator[Any]:
        async def stream() -> AsyncIterator[Any]:
            for item in STREAMS["chat"][0]:
                yield item

        return stream()

    async def refused() -> AsyncIterator[Any]:
        raise ConnectionError("no")

    async with AsyncTelemetryLogger(tmp_path / "telemetry.db") as telemetry:
        async with telemetry.invocation("agent") as call:
            assert len([item async for item in call.watch(create())]) == 4
        async with telemetry.invocation("agent") as call:
            with pytest.raises(ConnectionError):
                await anext(call.watch(refused()))
        failed, row = await telemetry.get_invocations()
    assert (row["prompt_tokens"], failed["error_type"]) == (1200, "ConnectionError")


def test_an_item_that_raises_when_it_is_looked_at_is_passed_on(logger: TelemetryLogger) -> None:
    """And counted."""

    class Odd(dict[str, Any]):
        def get(self, *_: Any) -> Any:
            raise RuntimeError("no")

    items = [Odd(choices=1), chunk(usage=USAGE)]
    with logger.invocation("agent") as call:
        assert list(call.watch(iter(items))) == items
    assert len(logger.get_invocations()) == 1


@pytest.mark.costly
@pytest.mark.parametrize("name", ["chat", "responses", "Anthropic", "two choices", "failed", "incomplete"])
def test_clients_objects_go_a_short_way_that_says_the_same(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the long way, of the clients' own classes."""
    openai = pytest.importorskip("openai.types.chat")
    responses = pytest.importorskip("openai.types.responses")
    answer = ANSWERS[name][0]
    if name == "Anthropic":
        given = pytest.importorskip("anthropic.types").Message.model_construct(**answer)
    else:
        kind = openai.ChatCompletion if answer["object"] == "chat.completion" else responses.Response
        given = kind.model_construct(**answer)
    given._request_id = "req_1"
    short = answers.read_answer(given)
    assert (plain_answer(given) is None) is (name in {"two choices", "failed", "incomplete"})
    monkeypatch.setattr(answers, "plain_answer", lambda _: None)
    monkeypatch.setattr(answers, "_plain_usage", lambda _: None)
    assert short == answers.read_answer(given)
    assert short["request_id"] == "req_1"


@pytest.mark.parametrize(
    ("answer", "is_plain"),
    [
        (CHAT, True),
        (CHAT | {"usage": USAGE | {"total_tokens": 1300}}, False),
        (CHAT | {"usage": USAGE | {"completion_tokens_details": {"audio_tokens": 3}}}, False),
        (CHAT | {"usage": USAGE | {"prompt_tokens_details": {"cached_tokens": 2000}}}, False),
        (CHAT | {"service_tier": "of my own"}, False),
        (CHAT | {"id": ""}, False),
        (CHAT | {"id": "x" * 300}, False),
        (RESPONSE | {"output": [{"type": "message"}, {"type": "reasoning"}]}, True),
        (RESPONSE | {"usage": {"input_tokens": 9, "output_tokens": 4, "total_tokens": 20}}, False),
        (MESSAGE | {"content": [{"type": "text", "text": "42"}]}, True),
        (MESSAGE | {"id": "msg_bdrk_1"}, False),
        (MESSAGE | {"usage": {"input_tokens": 10, "output_tokens": 5, "service_tier": "priority"}}, True),
        (
            MESSAGE | {"usage": {"input_tokens": 1, "output_tokens": 5, "server_tool_use": {"web_search_requests": 2}}},
            False,
        ),
    ],
)
def test_what_is_kept_of_an_answer_says_what_the_answer_said(
    answer: dict[str, Any], *, is_plain: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where there is a doubt, and where its owner has changed the answer since."""
    kinds = {
        "chat.completion": pytest.importorskip("openai.types.chat").ChatCompletion,
        "response": pytest.importorskip("openai.types.responses").Response,
        "message": pytest.importorskip("anthropic.types").Message,
    }
    given = kinds[answer.get("object") or answer["type"]].model_construct(**answer)
    given._request_id = "req_1"
    kept = kept_of(given)
    assert kept is not None
    assert (plain_fields_of(kept) is not None) is is_plain
    monkeypatch.setattr(answers, "plain_answer", lambda _: None)
    monkeypatch.setattr(answers, "_plain_usage", lambda _: None)
    expected = answers.read_answer(given)
    given.id, given.model, given.usage = "other", "other", None
    found = answers.read_kept(kept)
    assert {field: value for field, value in found.items() if value is not None} == expected


@pytest.mark.parametrize(
    "answer",
    [
        CHAT | {"x_groq": {"id": "req_1"}},
        CHAT | {"choices": [CHAT["choices"][0], CHAT["choices"][0]]},
        CHAT | {"choices": [CHAT["choices"][0] | {"error": {"message": "no"}}]},
        CHAT | {"choices": [CHAT["choices"][0] | {"message": {"role": "assistant", "executed_tools": [{"index": 0}]}}]},
        CHAT | {"usage": USAGE | {"cost": 0.5}},
        CHAT | {"usage": None},
        RESPONSE | {"status": "incomplete"},
        RESPONSE | {"output": [{"type": "web_search_call"}]},
        RESPONSE | {"error": {"code": "server_error", "message": "no"}},
        MESSAGE | {"content": [{"type": "server_tool_use", "name": "code_execution", "id": "1", "input": {}}]},
        MESSAGE | {"stop_reason": "refusal"},
        CHAT,
    ],
)
def test_nothing_is_kept_of_an_answer_that_may_tell_more(answer: dict[str, Any]) -> None:
    """Nor of what is no object of a client."""
    kinds = {
        "chat.completion": pytest.importorskip("openai.types.chat").ChatCompletion,
        "response": pytest.importorskip("openai.types.responses").Response,
        "message": pytest.importorskip("anthropic.types").Message,
    }
    assert kept_of(answer) is None
    if answer is not CHAT:
        assert kept_of(kinds[answer.get("object") or answer["type"]].model_construct(**answer)) is None


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (CHAT | {"performanceConfig": {"latency": "optimized"}}, {"prompt_tokens": 1200}),
        (CHAT | {"service_tier": {"type": "flex"}}, {"service_tier": "flex"}),
        (CHAT | {"service_tier": 5}, {"service_tier": None}),
        (RESPONSE | {"output": [{"type": "web_search_call"}]}, {"unpriced_usage": "output.web_search_call: 1"}),
        (RESPONSE | {"output": [{"type": "message"}, {"type": "reasoning"}]}, {"unpriced_usage": None}),
        ({"type": "completion", "stop_reason": "stop_sequence", "model": "claude-2"}, {"operation": "text_completion"}),
        (OLLAMA | {"message": None, "response": "42"}, {"operation": "text_completion"}),
        (
            {
                "type": "ai",
                "usage_metadata": MESSAGE["usage"],
                "response_metadata": {"model_name": "gpt-5", "finish_reason": "stop"},
            },
            {"model_name": "gpt-5", "finish_reason": "stop", "operation": "chat", "prompt_tokens": 19},
        ),
        (CHAT | {"_hidden_params": {"custom_llm_provider": "groq"}}, {"provider": "groq"}),
    ],
)
def test_what_stands_beside_the_usage_is_read_too(answer: dict[str, Any], expected: dict[str, Any]) -> None:
    """Tiers, tools that are billed, other shapes."""
    record = record_from_response(answer)
    assert {field: getattr(record, field) for field in expected} == expected


def test_a_count_of_an_answer_that_no_record_takes_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """By itself, and the cost is unknown then; a record is made all the same."""
    monkeypatch.setattr(
        from_response, "read_answer", lambda _: {"prompt_tokens": -1, "model_name": "m", "finish_reason": 5}
    )
    record = record_from_response(CHAT)
    assert (record.prompt_tokens, record.model_name, record.finish_reason) == (None, "m", "5")
    assert "prompt_tokens" in str(record.unpriced_usage)


class Refusing:
    """A stream that cannot be entered."""

    async def __aenter__(self) -> Any:
        raise ConnectionError("no")

    async def __aexit__(self, *error: object) -> None: ...

    def __enter__(self) -> Any:
        raise ConnectionError("no")

    def __exit__(self, *error: object) -> None: ...


async def test_a_stream_that_cannot_be_entered_is_the_failure_of_the_call(tmp_path: Path) -> None:
    """Sync and async; also where the block catches it."""
    async with AsyncTelemetryLogger(tmp_path / "telemetry.db") as telemetry:
        async with telemetry.invocation("agent") as call:
            with pytest.raises(ConnectionError):
                await call.watch(Refusing()).__aenter__()
        async with telemetry.invocation("agent") as call:
            with pytest.raises(ConnectionError):
                call.watch(Refusing()).__enter__()
        rows = await telemetry.get_invocations()
    assert [(row["status"], row["error_type"]) for row in rows] == [("error", "ConnectionError")] * 2


def test_a_watched_stream_that_is_read_after_its_block_changes_nothing(logger: TelemetryLogger) -> None:
    """Its record is made; events of no meaning and of unknown kinds are passed over."""
    events: list[Any] = [
        {"type": "response.created", "response": None},
        {"type": 5},
        {"type": "response.in_progress", "response": IN_PROGRESS},
        {"type": "error", "message": "later", "code": "overloaded"},
        {"type": "response.completed", "response": None},
    ]
    with logger.invocation("agent") as call:
        stream = call.watch(iter(events))
        for _ in range(4):
            next(stream)
    assert len(list(stream)) == 1
    (row,) = logger.get_invocations()
    assert (row["model_name"], row["status"], row["error_type"]) == ("gpt-5", "error", "overloaded")


def test_an_item_that_raises_within_the_first_is_counted(
    logger: TelemetryLogger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the stream goes on."""
    monkeypatch.setattr(stream_events, "facts_of", lambda _: 1 / 0)
    with logger.invocation("agent") as call:
        assert len(list(call.watch(iter(STREAMS["chat"][0])))) == 4
    assert logger.stats().bad_values > 0


@pytest.mark.parametrize("way", ["record", "record_usage"])
@pytest.mark.parametrize("as_object", [False, True])
@pytest.mark.parametrize(
    "answer",
    [
        {"object": "response", "status": "failed", "error": {"code": "server_error", "message": "no"}, "output": []},
        {"type": "error", "error": {"type": "overloaded_error", "message": "no"}},
    ],
)
def test_an_answer_that_failed_is_no_success_however_it_is_told(
    tmp_path: Path, answer: dict[str, Any], as_object: bool, way: str
) -> None:
    """A dict, or the object of a client; with usage or without."""
    usage = {"input_tokens": 100, "output_tokens": 50, "total_tokens": 150}
    whole = answer | {"usage": usage}
    given = SimpleNamespace(**whole | {"error": SimpleNamespace(**answer["error"])}) if as_object else whole
    with TelemetryLogger(tmp_path / "t.db") as logger:
        with logger.invocation("a", model_name="x") as call:
            getattr(call, way)(given)
        (row,) = logger.get_invocations()
    assert (row["status"], row["error_type"]) == ("error", next(iter(answer["error"].values())))
    assert row["prompt_tokens"] == 100
