"""What a provider refused cost nothing and frees its budget; every other failure stays unknown spend."""

import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from tests.provider_server import ProviderServer

from llm_service.config.schemas import PoliciesConfig
from llm_service.telemetry import AsyncTelemetryLogger, TelemetryLogger
from llm_service.telemetry.instrumentation.refused_calls import _REFUSED, nothing_billed

openai = pytest.importorskip("openai")
BOTH = [{"window": "day", "usd": 10}, {"window": "day", "tokens": 100_000}]
LIMIT = PoliciesConfig.model_validate({"policies": {"default": {"limits": BOTH}}})
HOLD: dict[str, Any] = {"budget": 0.5, "prompt": "Why 42?", "max_tokens": 1000}
ASKED: dict[str, Any] = {"model": "gpt-5-mini", "messages": [{"role": "user", "content": "Why 42?"}]}
ALL_ERRORS = range(400, 600)
SOME = sorted({*_REFUSED, 400, 408, 409, 422, 499, 500, 502, 503, 529})


@pytest.fixture(scope="module")
def server() -> Iterator[ProviderServer]:
    """The server of this module."""
    with ProviderServer() as started:
        yield started


@pytest.fixture
def logger(tmp_path: Path) -> Iterator[TelemetryLogger]:
    """A sync logger with limits of $10 and of 100,000 tokens a day, closed afterwards."""
    with TelemetryLogger(tmp_path / "telemetry.db", policies=LIMIT) as made:
        yield made


@pytest.fixture
async def telemetry(tmp_path: Path) -> AsyncIterator[AsyncTelemetryLogger]:
    """The same, async."""
    async with AsyncTelemetryLogger(tmp_path / "telemetry.db", policies=LIMIT) as made:
        yield made


def client_of(url: str) -> Any:
    """A sync client of that server, which tries once."""
    return openai.OpenAI(base_url=url, api_key="none", max_retries=0)


def nobody_listens() -> str:
    """The URL of a port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}/v1"


def standing(logger: TelemetryLogger) -> tuple[float | None, str | None, float]:
    """Cost and its source of the one record, and the unknown spend of the limit."""
    (row,) = logger.get_invocations()
    limit, tokens = sorted(logger.budgets.status(), key=lambda status: status["metric"] == "tokens")
    assert row["status"] == "error"
    for status in (limit, tokens):
        assert (status["reserved"], status["spent"], status["calls"]) == (0, 0, 1)
    assert (limit["unknown"] > 0) == (tokens["unknown"] > 0)
    return row["cost_usd"], row["cost_source"], limit["unknown"]


def block(logger: TelemetryLogger, client: Any) -> None:
    """A block with a budget around a call of a hooked client."""
    with logger.instrumenting("openai"), logger.invocation("seeker", **HOLD):
        client.chat.completions.create(**ASKED)


def request(logger: TelemetryLogger, client: Any) -> None:
    """A stream with a budget, given as its request."""
    logger.wrap_stream(lambda: client.chat.completions.create(**ASKED, stream=True), "seeker", **HOLD)


@pytest.mark.parametrize("way", [block, request])
@pytest.mark.parametrize("status", SOME)
def test_a_refused_request_frees_its_budget_and_another_failure_does_not(
    status: int, way: Callable[..., None], logger: TelemetryLogger, server: ProviderServer
) -> None:
    """A refused request frees its budget and another failure does not."""
    with client_of(f"{server.url(str(status))}/v1") as client, pytest.raises(openai.APIStatusError):
        way(logger, client)
    free = (0, "computed", 0)
    assert standing(logger) == (free if status in _REFUSED else (None, "unknown", 0.5))


@pytest.mark.parametrize("way", [block, request])
def test_what_could_not_be_sent_frees_its_budget(way: Callable[..., None], logger: TelemetryLogger) -> None:
    """What could not be sent frees its budget."""
    with client_of(nobody_listens()) as client, pytest.raises(openai.APIConnectionError):
        way(logger, client)
    assert standing(logger) == (0, "computed", 0)


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize("sdk", ["openai", "anthropic"])
async def test_what_could_not_be_sent_again_and_again_frees_its_budget(
    sdk: str, asynchronous: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the retries of the client; and not where one of them may have been billed."""
    module = pytest.importorskip(sdk)
    monkeypatch.setattr(module._base_client.BaseClient, "_calculate_retry_timeout", lambda *_, **__: 0.001)
    asked = ASKED if sdk == "openai" else ASKED | {"max_tokens": 10}
    client = getattr(module, {"openai": "OpenAI", "anthropic": "Anthropic"}[sdk])
    client_of_loop = getattr(module, {"openai": "AsyncOpenAI", "anthropic": "AsyncAnthropic"}[sdk])
    options: dict[str, Any] = {"base_url": nobody_listens(), "api_key": "none"}

    async def ask(made: Any) -> Any:
        answer = (made.chat.completions if sdk == "openai" else made.messages).create(**asked)
        return await answer if asynchronous else answer

    async with AsyncTelemetryLogger(tmp_path / "t.db", policies=LIMIT) as telemetry, AsyncExitStack() as stack:
        sync, loops = client(**options), client_of_loop(**options)
        stack.enter_context(sync)
        await stack.enter_async_context(loops)
        with telemetry.instrumenting(sdk), pytest.raises(module.APIConnectionError):
            async with telemetry.invocation("seeker", **HOLD):
                await ask(loops if asynchronous else sync)
        (row,) = await telemetry.get_invocations()
        assert (row["attempts"], row["cost_usd"], row["total_tokens"]) == (3, 0, None)
        assert {(limit["unknown"], limit["reserved"]) for limit in await telemetry.budgets.status()} == {(0, 0)}


async def test_an_async_stream_that_was_refused_frees_its_budget(
    telemetry: AsyncTelemetryLogger, server: ProviderServer
) -> None:
    """An async stream that was refused frees its budget."""
    async with openai.AsyncOpenAI(base_url=f"{server.url('429')}/v1", api_key="none", max_retries=0) as client:
        stream = telemetry.wrap_stream(client.chat.completions.create(**ASKED, stream=True), "seeker", **HOLD)
        with pytest.raises(openai.RateLimitError):
            await anext(stream)
    (row,) = await telemetry.get_invocations()
    for limit in await telemetry.budgets.status():
        assert (limit["unknown"], limit["reserved"], row["cost_usd"], row["http_status"]) == (0, 0, 0, 429)


def test_an_error_that_ends_a_plain_block_frees_nothing(logger: TelemetryLogger, server: ProviderServer) -> None:
    """An error that ends a plain block frees nothing."""
    with client_of(f"{server.url('429')}/v1") as client, pytest.raises(openai.RateLimitError):  # noqa: SIM117
        with logger.invocation("seeker", **HOLD):  # it may hold a call that was billed before
            client.chat.completions.create(**ASKED)
    assert standing(logger) == (None, "unknown", 0.5)


def test_a_failure_in_the_middle_of_a_stream_frees_nothing(logger: TelemetryLogger) -> None:
    """A failure in the middle of a stream frees nothing."""

    def stream() -> Iterator[str]:
        yield "a chunk"
        raise ConnectionRefusedError("the next page")

    chunks = logger.wrap_stream(stream, "seeker", **HOLD)
    with pytest.raises(ConnectionRefusedError):
        list(chunks)
    assert standing(logger) == (None, "unknown", 0.5)


@pytest.mark.parametrize("status", ALL_ERRORS)
def test_only_statuses_for_which_no_model_runs_cost_nothing(status: int) -> None:
    """Only statuses for which no model runs cost nothing."""
    assert bool(nothing_billed(ConnectionRefusedError(), {"http_status": status})) == (status in _REFUSED)


def test_what_was_answered_has_its_own_cost() -> None:
    """What was answered has its own cost."""
    refused = ConnectionRefusedError()
    assert nothing_billed(refused, {})
    for field in ("prompt_tokens", "total_tokens", "cost_usd", "ttft_ms", "response_id"):
        assert not nothing_billed(refused, {field: 1})


def test_a_circle_of_causes_ends() -> None:
    """A circle of causes ends."""
    one, other = ValueError("one"), ValueError("other")
    one.__cause__, other.__cause__ = other, one
    assert not nothing_billed(one, {})
