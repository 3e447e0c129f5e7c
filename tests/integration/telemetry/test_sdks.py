"""Real clients of OpenAI and Anthropic against a server on this machine: one right record a call, whatever is done."""

import asyncio
import gc
import importlib.util
import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel
from tests.provider_server import SECRET, ProviderServer

from llm_service.telemetry import AsyncTelemetryLogger, TelemetryLogger

openai = pytest.importorskip("openai")
MODEL = {"openai": "gpt-5-mini", "anthropic": "claude-opus-4-6"}
SDKS = [
    "openai",
    pytest.param(
        "anthropic",
        marks=pytest.mark.skipif(importlib.util.find_spec("anthropic") is None, reason="anthropic is not installed"),
    ),
]
ASK: dict[str, Any] = {"messages": [{"role": "user", "content": "Why 42?"}]}
CHAT: dict[str, Any] = ASK | {"model": MODEL["openai"]}
STREAM: dict[str, Any] = CHAT | {"stream": True, "stream_options": {"include_usage": True}}
INPUT: dict[str, Any] = {"model": MODEL["openai"], "input": "Why 42?"}
MESSAGE: dict[str, Any] = ASK | {"model": MODEL["anthropic"], "max_tokens": 64}
TOOL: dict[str, Any] = {
    "type": "function",
    "function": {"name": "add", "parameters": {"type": "object", "properties": {}}},
}
STRICT_TOOL: dict[str, Any] = {
    **TOOL, "function": {**TOOL["function"], "strict": True, "parameters": {"type": "object", "properties": {}, "additionalProperties": False, "required": []}}
}  # fmt: skip
CLAUDE_TOOL: dict[str, Any] = {
    "name": "add",
    "description": "adds",
    "input_schema": {"type": "object", "properties": {}},
}


class Answer(BaseModel):
    """What the model is asked to fill."""

    answer: int


USED = {"prompt_tokens": 1200, "completion_tokens": 7, "total_tokens": 1207, "cache_read_tokens": 1024}
OPENAI_ROW: dict[str, Any] = {
    "status": "success", "source": "sdk:openai", "operation": "chat", "request_model": "gpt-5-mini",
    "model_name": "gpt-5-mini-2025-08-07", "response_id": "chatcmpl-1", "request_id": "req_1", "finish_reason": "stop",
    "http_status": 200, "attempts": 1, "usage_source": "reported", "provider": None, "error_type": None, "stream": None,
    "parent_invocation_id": None, **USED,
}  # fmt: skip
RESPONSES_ROW = OPENAI_ROW | {"response_id": "resp_1", "finish_reason": "completed"}
UNKNOWN: dict[str, Any] = {
    "prompt_tokens": None, "completion_tokens": None, "total_tokens": None, "cache_read_tokens": None,
}  # fmt: skip
NO_USAGE = UNKNOWN | {"usage_source": "missing"}
FAILED = UNKNOWN | {
    "status": "error", "usage_source": None, "response_id": None, "finish_reason": None, "http_status": None,
    "request_id": None,
}  # fmt: skip
OPENAI_FAILED = OPENAI_ROW | FAILED | {"model_name": "gpt-5-mini"}
STREAMED = {"stream": True}
BROKEN = {
    name: value
    for name, value in (OPENAI_ROW | STREAMED | UNKNOWN | {"finish_reason": None, "usage_source": None}).items()
    if name != "error_type"  # which error it is, releases say differently
}
LEFT = UNKNOWN | {"stream": True, "finish_reason": "cancelled", "usage_source": None}
MESSAGES_ROW: dict[str, Any] = OPENAI_ROW | {
    "source": "sdk:anthropic", "request_model": "claude-opus-4-6", "model_name": "claude-opus-4-6-20250929",
    "response_id": "msg_1", "finish_reason": "end_turn", "prompt_tokens": 1124, "total_tokens": 1131,
}  # fmt: skip
MESSAGES_FAILED = MESSAGES_ROW | FAILED | {"model_name": "claude-opus-4-6"}
MESSAGES_LEFT = {
    "stream": True, "finish_reason": "cancelled", "usage_source": "partial", "completion_tokens": 1,
    "total_tokens": 1125,
}  # fmt: skip


@dataclass(frozen=True)
class Case:
    """What is done with a client, and the one row that it makes.

    Attributes:
        ask: the call.
        row: what the row holds.
        use: what is done with what the call gave; see `use` and `use_async`.
        scenario: of the server.
        raises: the name of the exception that the caller sees.
        client: further arguments of the client.
    """

    ask: Callable[[Any], Any]
    row: dict[str, Any]
    use: str = "keep"
    scenario: str = "ok"
    raises: str | None = None
    client: dict[str, Any] = field(default_factory=dict)


def chat(**more: Any) -> Callable[[Any], Any]:
    """A call of Chat Completions."""
    return lambda client: client.chat.completions.create(**CHAT | more)


def chat_stream(**more: Any) -> Callable[[Any], Any]:
    """The same as a stream."""
    return lambda client: client.chat.completions.create(**STREAM | more)


def raw(client: Any, way: str = "with_raw_response", **asked: Any) -> Any:
    """The same as a raw response."""
    return getattr(client.chat.completions, way).create(**asked)


OPENAI: dict[str, Case] = {
    "chat": Case(chat(), OPENAI_ROW),
    "chat with tools": Case(chat(tools=[TOOL]), OPENAI_ROW | {"finish_reason": "tool_calls"}),
    "chat with options": Case(lambda c: c.with_options(timeout=5).chat.completions.create(**CHAT), OPENAI_ROW),
    "chat, parsed": Case(lambda c: c.chat.completions.parse(**CHAT, response_format=Answer), OPENAI_ROW),
    "chat, parsed, too short": Case(
        lambda c: c.chat.completions.parse(**CHAT, response_format=Answer),
        OPENAI_ROW | {"status": "error", "error_type": "LengthFinishReasonError", "finish_reason": "length"},
        scenario="length", raises="LengthFinishReasonError",
    ),
    "chat, by path": Case(lambda c: c.post("/chat/completions", body=CHAT, cast_to=object), OPENAI_ROW),
    "stream": Case(chat_stream(), OPENAI_ROW | STREAMED, "all"),
    "stream without usage": Case(chat_stream(stream_options=None), OPENAI_ROW | STREAMED | NO_USAGE, "all"),
    "stream with tools": Case(
        chat_stream(tools=[TOOL]), OPENAI_ROW | STREAMED | {"finish_reason": "tool_calls"}, "all"
    ),
    "stream, entered": Case(chat_stream(), OPENAI_ROW | STREAMED, "enter"),
    "stream, left and closed": Case(chat_stream(), OPENAI_ROW | LEFT, "close"),
    "stream, entered and left": Case(chat_stream(), OPENAI_ROW | LEFT, "enter and leave"),
    "stream, never read": Case(chat_stream(), OPENAI_ROW | LEFT | {"response_id": None, "model_name": "gpt-5-mini"}, "drop"),
    "stream, left to be collected": Case(chat_stream(), OPENAI_ROW | LEFT, "forget"),
    "stream that breaks off": Case(
        chat_stream(), BROKEN | {"status": "error"}, "all", "breaks-off", "APIConnectionError or RemoteProtocolError",
    ),
    "stream with an error in it": Case(
        chat_stream(), OPENAI_ROW | STREAMED | UNKNOWN | {"status": "error", "error_type": "APIError", "finish_reason": None, "usage_source": None},
        "all", "error-in-stream", "APIError",
    ),
    "stream helper": Case(
        lambda c: c.chat.completions.stream(**CHAT, stream_options={"include_usage": True}), OPENAI_ROW | STREAMED, "enter"
    ),
    "stream helper, left": Case(lambda c: c.chat.completions.stream(**CHAT), OPENAI_ROW | LEFT, "enter and leave"),
    "stream helper, final": Case(
        lambda c: c.chat.completions.stream(**CHAT, stream_options={"include_usage": True}),
        OPENAI_ROW | STREAMED, "get_final_completion",
    ),
    "raw": Case(lambda c: raw(c, **CHAT), OPENAI_ROW, "parse"),
    "raw, not parsed": Case(lambda c: raw(c, **CHAT), OPENAI_ROW),
    "raw stream": Case(lambda c: raw(c, **STREAM), OPENAI_ROW | STREAMED, "parse all"),
    "raw stream, never parsed": Case(
        lambda c: raw(c, **STREAM), OPENAI_ROW | STREAMED | NO_USAGE | {"response_id": None, "model_name": "gpt-5-mini", "finish_reason": None}, "drop"
    ),
    "streaming response": Case(lambda c: raw(c, "with_streaming_response", **CHAT), OPENAI_ROW, "enter parse"),
    "streaming response, read": Case(lambda c: raw(c, "with_streaming_response", **CHAT), OPENAI_ROW, "enter read"),
    "streaming response, stream": Case(
        lambda c: raw(c, "with_streaming_response", **STREAM), OPENAI_ROW | STREAMED, "enter parse all"
    ),
    "streaming response, not read": Case(
        lambda c: raw(c, "with_streaming_response", **CHAT),
        OPENAI_ROW | NO_USAGE | {"response_id": None, "model_name": "gpt-5-mini", "finish_reason": None}, "enter only",
    ),
    "responses": Case(lambda c: c.responses.create(**INPUT), RESPONSES_ROW),
    "responses, parsed": Case(lambda c: c.responses.parse(**INPUT, text_format=Answer), RESPONSES_ROW),
    "responses, failed": Case(
        lambda c: c.responses.create(**INPUT),
        RESPONSES_ROW | {"status": "error", "error_type": "server_error", "finish_reason": "failed"}, scenario="failed",
    ),
    "responses stream": Case(lambda c: c.responses.create(**INPUT, stream=True), RESPONSES_ROW | STREAMED, "all"),
    "responses stream, failed": Case(
        lambda c: c.responses.create(**INPUT, stream=True),
        RESPONSES_ROW | STREAMED | {"status": "error", "error_type": "server_error", "finish_reason": "failed"},
        "all", "failed",
    ),
    "responses stream, left": Case(
        lambda c: c.responses.create(**INPUT, stream=True), RESPONSES_ROW | LEFT, "close"
    ),
    "responses stream helper": Case(lambda c: c.responses.stream(**INPUT), RESPONSES_ROW | STREAMED, "get_final_response"),
    "embeddings": Case(
        lambda c: c.embeddings.create(model="text-embedding-3-small", input="Why 42?"),
        OPENAI_ROW | {
            "operation": "embeddings", "model_name": "text-embedding-3-small", "request_model": "text-embedding-3-small",
            "response_id": None, "finish_reason": None, "prompt_tokens": 4, "completion_tokens": None, "total_tokens": 4,
            "cache_read_tokens": None,
        },
    ),
    "legacy completion": Case(
        lambda c: c.completions.create(model="gpt-3.5-turbo-instruct", prompt="Why 42?"),
        OPENAI_ROW | {
            "operation": "text_completion", "model_name": "gpt-3.5-turbo-instruct",
            "request_model": "gpt-3.5-turbo-instruct", "response_id": "cmpl-1",
        },
    ),
    "a retry": Case(chat(), OPENAI_ROW | {"attempts": 3}, scenario="429-then-ok"),
    "a retry of a stream": Case(chat_stream(), OPENAI_ROW | STREAMED | {"attempts": 3}, "all", "429-then-ok"),
    "a retry of a raw one": Case(lambda c: raw(c, **CHAT), OPENAI_ROW | {"attempts": 3}, scenario="429-then-ok"),
    "failures": Case(
        chat(), OPENAI_FAILED | {"attempts": 3, "http_status": 500, "request_id": "req_1", "error_type": "InternalServerError"},
        scenario="broken-server", raises="InternalServerError",
    ),
    "rate limit": Case(
        chat(), OPENAI_FAILED | {"http_status": 429, "request_id": "req_1", "error_type": "RateLimitError"},
        scenario="rate-limited", raises="RateLimitError", client={"max_retries": 0},
    ),
    "a stream that is refused": Case(
        chat_stream(), OPENAI_FAILED | STREAMED | {"http_status": 400, "request_id": "req_1", "error_type": "BadRequestError"},
        scenario="bad-request", raises="BadRequestError",
    ),
    "an error with a secret": Case(
        chat(), OPENAI_FAILED | {"http_status": 401, "request_id": "req_1", "error_type": "AuthenticationError"},
        scenario="secret", raises="AuthenticationError",
    ),
    "raw, refused": Case(
        lambda c: raw(c, **CHAT), OPENAI_FAILED | {"http_status": 401, "request_id": "req_1", "error_type": "AuthenticationError"},
        scenario="secret", raises="AuthenticationError",
    ),
    "a timeout": Case(
        chat(), OPENAI_FAILED | {"status": "timeout", "error_type": "APITimeoutError"},
        scenario="slow", raises="APITimeoutError", client={"max_retries": 0, "timeout": 0.2},
    ),
    "a timeout within a stream": Case(
        chat_stream(timeout=0.3),
        BROKEN | {"status": "timeout"}, "all", "slow-stream", "APITimeoutError or ReadTimeout",
    ),
    "no connection": Case(
        lambda c: c.with_options(base_url="http://127.0.0.1:9/v1").chat.completions.create(**CHAT),
        OPENAI_FAILED | {"error_type": "APIConnectionError"}, raises="APIConnectionError", client={"max_retries": 0},
    ),
    "not JSON": Case(
        chat(), OPENAI_ROW | NO_USAGE | {"response_id": None, "finish_reason": None, "model_name": "gpt-5-mini"},
        scenario="not-json",
    ),
}  # fmt: skip


def messages(**more: Any) -> Callable[[Any], Any]:
    """A call of Messages."""
    return lambda client: client.messages.create(**MESSAGE | more)


def messages_stream(**more: Any) -> Callable[[Any], Any]:
    """The same as a stream, by the client's helper."""
    return lambda client: client.messages.stream(**MESSAGE | more)


ANTHROPIC: dict[str, Case] = {
    "messages": Case(messages(), MESSAGES_ROW),
    "messages with tools": Case(messages(tools=[CLAUDE_TOOL]), MESSAGES_ROW | {"finish_reason": "tool_use"}),
    "messages with options": Case(lambda c: c.with_options(timeout=5).messages.create(**MESSAGE), MESSAGES_ROW),
    "messages, parsed": Case(lambda c: c.messages.parse(**MESSAGE, output_format=Answer), MESSAGES_ROW),
    "beta": Case(lambda c: c.beta.messages.create(**MESSAGE), MESSAGES_ROW),
    "by path": Case(lambda c: c.post("/v1/messages", body=MESSAGE, cast_to=object), MESSAGES_ROW),
    "stream": Case(messages(stream=True), MESSAGES_ROW | STREAMED, "all"),
    "stream with tools": Case(
        messages(stream=True, tools=[CLAUDE_TOOL]), MESSAGES_ROW | STREAMED | {"finish_reason": "tool_use"}, "all"
    ),
    "stream, entered": Case(messages(stream=True), MESSAGES_ROW | STREAMED, "enter"),
    "stream, left and closed": Case(messages(stream=True), MESSAGES_ROW | MESSAGES_LEFT, "close"),
    "stream, entered and left": Case(messages(stream=True), MESSAGES_ROW | MESSAGES_LEFT, "enter and leave"),
    "stream, never read": Case(
        messages(stream=True), MESSAGES_ROW | LEFT | {"response_id": None, "model_name": "claude-opus-4-6"}, "drop"
    ),
    "stream, left to be collected": Case(messages(stream=True), MESSAGES_ROW | MESSAGES_LEFT, "forget"),
    "beta stream": Case(lambda c: c.beta.messages.create(**MESSAGE, stream=True), MESSAGES_ROW | STREAMED, "all"),
    "stream that breaks off": Case(
        messages(stream=True),
        MESSAGES_ROW | MESSAGES_LEFT | {"status": "error", "finish_reason": None, "error_type": "RemoteProtocolError"},
        "all", "breaks-off", "RemoteProtocolError",
    ),
    "stream with an error in it": Case(
        messages(stream=True),
        MESSAGES_ROW | MESSAGES_LEFT | {"status": "error", "finish_reason": None, "error_type": "APIStatusError"},
        "all", "error-in-stream", "APIStatusError",
    ),
    "stream helper": Case(messages_stream(), MESSAGES_ROW | STREAMED, "enter"),
    "stream helper, its text": Case(messages_stream(), MESSAGES_ROW | STREAMED, "text_stream"),
    "stream helper, left": Case(messages_stream(), MESSAGES_ROW | MESSAGES_LEFT, "enter and leave"),
    "stream helper, final": Case(messages_stream(), MESSAGES_ROW | STREAMED, "get_final_message"),
    "beta stream helper": Case(lambda c: c.beta.messages.stream(**MESSAGE), MESSAGES_ROW | STREAMED, "get_final_text"),
    "raw": Case(lambda c: c.messages.with_raw_response.create(**MESSAGE), MESSAGES_ROW, "parse"),
    "raw, not parsed": Case(lambda c: c.messages.with_raw_response.create(**MESSAGE), MESSAGES_ROW),
    "raw stream": Case(
        lambda c: c.messages.with_raw_response.create(**MESSAGE, stream=True), MESSAGES_ROW | STREAMED, "parse all"
    ),
    "streaming response": Case(lambda c: c.messages.with_streaming_response.create(**MESSAGE), MESSAGES_ROW, "enter parse"),
    "streaming response, stream": Case(
        lambda c: c.messages.with_streaming_response.create(**MESSAGE, stream=True), MESSAGES_ROW | STREAMED,
        "enter parse all",
    ),
    "a retry": Case(messages(), MESSAGES_ROW | {"attempts": 3}, scenario="429-then-ok"),
    "a retry of a stream": Case(messages(stream=True), MESSAGES_ROW | STREAMED | {"attempts": 3}, "all", "429-then-ok"),
    "failures": Case(
        messages(), MESSAGES_FAILED | {"attempts": 3, "http_status": 500, "request_id": "req_1", "error_type": "InternalServerError"},
        scenario="broken-server", raises="InternalServerError",
    ),
    "rate limit": Case(
        messages(), MESSAGES_FAILED | {"http_status": 429, "request_id": "req_1", "error_type": "RateLimitError"},
        scenario="rate-limited", raises="RateLimitError", client={"max_retries": 0},
    ),
    "a stream that is refused": Case(
        messages_stream(), MESSAGES_FAILED | STREAMED | {"http_status": 400, "request_id": "req_1", "error_type": "BadRequestError"},
        "enter", "bad-request", "BadRequestError",
    ),
    "an error with a secret": Case(
        messages(), MESSAGES_FAILED | {"http_status": 401, "request_id": "req_1", "error_type": "AuthenticationError"},
        scenario="secret", raises="AuthenticationError",
    ),
    "a timeout": Case(
        messages(), MESSAGES_FAILED | {"status": "timeout", "error_type": "APITimeoutError"},
        scenario="slow", raises="APITimeoutError", client={"max_retries": 0, "timeout": 0.2},
    ),
    "no connection": Case(
        lambda c: c.with_options(base_url="http://127.0.0.1:9").messages.create(**MESSAGE),
        MESSAGES_FAILED | {"error_type": "APIConnectionError"}, raises="APIConnectionError", client={"max_retries": 0},
    ),
}  # fmt: skip
CASES = {"openai": OPENAI, "anthropic": ANTHROPIC}


@pytest.fixture(scope="module")
def server() -> Iterator[ProviderServer]:
    """The server of this module."""
    with ProviderServer() as started:
        yield started


def client_of(
    sdk: str, server: ProviderServer, scenario: str = "ok", *, asynchronous: bool = False, **more: Any
) -> Any:
    """A real client that calls the server."""
    if sdk == "openai":
        kind = openai.AsyncOpenAI if asynchronous else openai.OpenAI
        return kind(base_url=f"{server.url(scenario)}/v1", api_key="none", **more)
    import anthropic

    kind = anthropic.AsyncAnthropic if asynchronous else anthropic.Anthropic
    return kind(base_url=server.url(scenario), api_key="none", **more)


def use(how: str, given: Any) -> None:
    """Do with what a sync call gave what a case says."""
    if how in {"keep", "drop"}:
        return
    if how == "all":
        for _ in given:
            pass
    elif how in {"close", "forget"}:
        next(iter(given))
        if how == "close":
            given.close()
    elif how == "parse":
        given.parse()
    elif how == "parse all":
        list(given.parse())
    else:
        with given as entered:
            _use_entered(how, entered)


def _use_entered(how: str, entered: Any) -> None:
    if how == "enter":
        list(entered)
    elif how == "enter and leave":
        next(iter(entered))
    elif how == "enter parse":
        entered.parse()
    elif how == "enter read":
        entered.read()
    elif how == "enter parse all":
        list(entered.parse())
    elif how == "text_stream":
        list(entered.text_stream)
    elif how.startswith("get"):
        getattr(entered, how)()
    else:
        assert how == "enter only"


async def use_async(how: str, given: Any) -> None:
    """The same with what an async call gave."""
    if how in {"keep", "drop"}:
        return
    if how == "all":
        async for _ in given:
            pass
    elif how in {"close", "forget"}:
        items = aiter(given)
        await anext(items)
        if how == "close":
            await given.close()
        await items.aclose()
    elif how.startswith("parse"):
        parsed = given.parse()
        parsed = await parsed if inspect.isawaitable(parsed) else parsed
        if how == "parse all":
            assert len([item async for item in parsed]) > 1
    else:
        async with given as entered:
            await _use_entered_async(how, entered)


async def _use_entered_async(how: str, entered: Any) -> None:
    if how == "enter":
        assert len([item async for item in entered]) > 1
    elif how == "enter and leave":
        items = aiter(entered)
        await anext(items)
        await items.aclose()
    elif how.startswith("enter parse"):
        parsed = await entered.parse()
        if how == "enter parse all":
            assert len([item async for item in parsed]) > 1
    elif how == "enter read":
        await entered.read()
    elif how == "text_stream":
        assert "".join([text async for text in entered.text_stream])
    elif how.startswith("get"):
        await getattr(entered, how)()
    else:
        assert how == "enter only"


def check(rows: list[Any], expected: dict[str, Any], raised: BaseException | None, case: Case) -> None:
    """One row, all of it right, and the exception that the caller would have seen anyway."""
    assert type(raised).__name__ in (case.raises or "NoneType").split(" or "), raised
    assert len(rows) == 1
    (row,) = rows
    assert {name: row[name] for name in expected} == expected
    assert row["latency_ms"] > 0
    assert SECRET not in str(row)
    output = row["stream"] and (row["completion_tokens"] or 0) > 1
    assert not output or 0 < row["ttft_ms"] <= row["latency_ms"]
    if raised is not None:
        assert row["error_type"] == type(raised).__qualname__


TABLE = [
    pytest.param(sdk, name, id=f"{sdk}-{name}", marks=getattr(of, "marks", ()))
    for of in SDKS
    for sdk in [of if isinstance(of, str) else str(of.values[0])]
    for name in CASES[sdk]
]


@pytest.mark.parametrize(("sdk", "name"), TABLE)
def test_a_call_of_a_sync_client_is_one_right_row(sdk: str, name: str, server: ProviderServer, tmp_path: Path) -> None:
    """Each case of the table; nothing is left on what the client gave."""
    case = CASES[sdk][name]
    raised: BaseException | None = None
    with TelemetryLogger(tmp_path / "telemetry.db").instrument(sdk) as logger:
        with client_of(sdk, server, case.scenario, **case.client) as client:
            try:
                given = case.ask(client)
                use(case.use, given)
                if case.use != "keep":
                    del given
            except Exception as error:  # noqa: BLE001 - the case says which
                raised = error.with_traceback(None)
        gc.collect()
        check(logger.get_invocations(), case.row, raised, case)
        assert logger.stats().bad_values == 0


@pytest.mark.parametrize(("sdk", "name"), TABLE)
async def test_a_call_of_an_async_client_is_one_right_row(
    sdk: str, name: str, server: ProviderServer, tmp_path: Path
) -> None:
    """The same table."""
    case = CASES[sdk][name]
    raised: BaseException | None = None
    async with AsyncTelemetryLogger(tmp_path / "telemetry.db").instrument(sdk) as telemetry:
        async with client_of(sdk, server, case.scenario, asynchronous=True, **case.client) as client:
            try:
                given = case.ask(client)
                given = await given if inspect.iscoroutine(given) else given
                await use_async(case.use, given)
                if case.use != "keep":
                    del given
            except Exception as error:  # noqa: BLE001 - the case says which
                raised = error.with_traceback(None)
            gc.collect()
            await asyncio.sleep(0)
        check(await telemetry.get_invocations(), case.row, raised, case)
        assert telemetry.stats().bad_values == 0
