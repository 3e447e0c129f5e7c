"""Several requests of one call of a hooked client: what each may have cost is told, or the cost is unknown."""

import json
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from llm_service.config.schemas import ModelsConfig, PoliciesConfig
from llm_service.telemetry import AsyncTelemetryLogger, TelemetryLogger
from llm_service.telemetry.instrumentation.refused_calls import was_refused

httpx, httpx2 = pytest.importorskip("httpx"), pytest.importorskip("httpx2")
openai, anthropic = pytest.importorskip("openai"), pytest.importorskip("anthropic")
PRICE = {"cost_per_1m_tokens": {"input": 1, "output": 10}}
MODELS = ModelsConfig.model_validate({"models": {"gpt-5": PRICE, "claude-x": PRICE}})
LIMIT = PoliciesConfig.model_validate(
    {"policies": {"all": {"daily_budget_usd": 1, "limit": {"threshold_percent": 100}}}}
)
ASKED: dict[str, Any] = {"model": "gpt-5", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 2000}
ANSWER: dict[str, Any] = {
    "id": "c", "object": "chat.completion", "created": 1, "model": "gpt-5",
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "x"}}],
    "usage": {"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100},
}  # fmt: skip
MESSAGE: dict[str, Any] = {
    "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-x", "stop_reason": "end_turn",
    "stop_sequence": None, "content": [{"type": "text", "text": "x"}],
    "usage": {"input_tokens": 1000, "output_tokens": 100},
}  # fmt: skip


@pytest.fixture
def logger(tmp_path: Path) -> Iterator[TelemetryLogger]:
    """A logger with a limit that hooks both clients."""
    with TelemetryLogger(tmp_path / "telemetry.db", models=MODELS, policies=LIMIT) as made:
        yield made.instrument("openai", "anthropic")


@pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503, 504, 524, None])
def test_an_attempt_for_which_a_model_may_have_run_leaves_unknown_spend(
    status: int | None, logger: TelemetryLogger
) -> None:
    """Whether it was answered with an error, or not at all: as where nothing was sent again."""
    retried = {"retry-after-ms": "1"}
    answers = [
        httpx.Response(status, headers=retried) if status else httpx.ReadTimeout("x"),
        httpx.Response(200, json=ANSWER),
    ]

    def handler(request: Any) -> Any:  # noqa: ARG001 - as a transport calls it
        one = answers.pop(0)
        if isinstance(one, Exception):
            raise one
        return one

    client = openai.OpenAI(api_key="x", http_client=httpx.Client(transport=httpx.MockTransport(handler)))
    with logger.invocation("a", budget=True, **ASKED):
        client.chat.completions.create(**ASKED)
    (row,), (limit,) = logger.get_invocations(), logger.budgets.status()
    refused = status is not None and was_refused(status)
    assert row["usage_source"] == ("reported" if refused else "partial")
    assert (limit["unknown"] > 0) == (not refused)
    assert row["attempts"] == 2


Handler = Callable[[Any, Any], Any]
Requests = list[str]


def once(request: Any, call_next: Any) -> Any:
    """Look at it."""
    return call_next(request)


def twice(request: Any, call_next: Any) -> Any:
    """Ask again."""
    call_next(request)
    return call_next(request)


def never(request: Any, call_next: Any) -> Any:  # noqa: ARG001
    """Answer from memory."""
    return import_module("anthropic.types").Message.model_validate(MESSAGE)


MIDDLEWARE: dict[str, tuple[Handler, int]] = {"once": (once, 1), "twice": (twice, 2), "never": (never, 0)}


def made_async(handle: Handler, sent: int) -> Any:
    """The same for an async client."""

    async def handle_async(request: Any, call_next: Any) -> Any:
        for _ in range(sent):
            answer = await call_next(request)
        return answer if sent else handle(request, call_next)

    return handle_async


def answering(requests: Requests, *, events: bool = False) -> Any:
    """A transport that answers with a message, or with its events."""

    def handler(request: Any) -> Any:
        requests.append(request.url.path)
        if not events:
            return httpx2.Response(200, json=MESSAGE)
        told = [
            {"type": "message_start", "message": MESSAGE | {"content": [], "stop_reason": None}},
            {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 100}},
            {"type": "message_stop"},
        ]
        body = "".join(f"event: {one['type']}\ndata: {json.dumps(one)}\n\n" for one in told)
        return httpx2.Response(200, headers={"content-type": "text/event-stream"}, text=body)

    return httpx2.MockTransport(handler)


def check(row: Any, sent: int) -> None:
    """The cost is known of the one request that was sent, and of no other number."""
    if sent == 1:
        assert (row["cost_usd"], row["usage_source"]) == (pytest.approx(0.002), "reported")
        return
    assert (row["cost_usd"], row["cost_source"]) == (None, "unknown")
    assert row["unpriced_usage"] == f"requests of a middleware: {sent}"
    assert sent == 0 or (row["usage_source"], row["attempts"]) == ("partial", sent)


@pytest.mark.parametrize("stream", [False, True], ids=["answer", "stream"])
@pytest.mark.parametrize(("handle", "sent"), MIDDLEWARE.values(), ids=MIDDLEWARE)
def test_a_cost_is_known_where_a_middleware_sent_the_one_request_that_is_answered(
    handle: Handler, sent: int, stream: bool, logger: TelemetryLogger
) -> None:
    """It stands between the call and its requests, and may send any number of them."""
    if stream and not sent:
        pytest.skip("a middleware of this kind has no stream to give")
    requests: Requests = []
    transport = httpx2.Client(transport=answering(requests, events=stream))
    client = anthropic.Anthropic(api_key="x", http_client=transport, middleware=[handle])
    answer = client.messages.create(
        model="claude-x", max_tokens=10, messages=ASKED["messages"], **({"stream": True} if stream else {})
    )
    if stream:
        list(answer)
    assert len(requests) == sent
    (row,) = logger.get_invocations()
    check(row, sent)


@pytest.mark.parametrize(("handle", "sent"), MIDDLEWARE.values(), ids=MIDDLEWARE)
async def test_so_it_is_of_an_async_client(handle: Handler, sent: int, tmp_path: Path) -> None:
    """As of a sync one."""
    requests: Requests = []
    transport = httpx2.AsyncClient(transport=answering(requests))
    async with AsyncTelemetryLogger(tmp_path / "telemetry.db", models=MODELS) as telemetry:
        telemetry.instrument("anthropic")
        client = anthropic.AsyncAnthropic(api_key="x", http_client=transport, middleware=[made_async(handle, sent)])
        await client.messages.create(model="claude-x", max_tokens=10, messages=ASKED["messages"])
        (row,) = await telemetry.get_invocations()
    check(row, sent)


def test_what_a_middleware_raises_after_an_answer_is_not_free(logger: TelemetryLogger) -> None:
    """A later request that was refused does not undo the one that was answered."""
    answers = [httpx2.Response(200, json=MESSAGE), httpx2.Response(401, json={"error": {"message": "no"}})]
    transport = httpx2.Client(transport=httpx2.MockTransport(lambda _: answers.pop(0)))
    client = anthropic.Anthropic(api_key="x", http_client=transport, middleware=[twice], max_retries=0)
    with pytest.raises(anthropic.AuthenticationError):
        client.messages.create(model="claude-x", max_tokens=10, messages=ASKED["messages"])
    (row,) = logger.get_invocations()
    assert (row["status"], row["cost_usd"], row["cost_source"]) == ("error", None, "unknown")
