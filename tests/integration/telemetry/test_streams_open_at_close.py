"""Streams that nobody reads on, and that nobody closed: the end of their logger, or of the process, is theirs."""

import json
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from llm_service.config.schemas import ModelsConfig, PoliciesConfig
from llm_service.telemetry import AsyncTelemetryLogger, TelemetryLogger
from llm_service.telemetry.instrumentation.decorator import KINDS

httpx, openai = pytest.importorskip("httpx"), pytest.importorskip("openai")
MODELS = ModelsConfig.model_validate({"models": {"gpt-5": {"cost_per_1m_tokens": {"input": 1, "output": 10}}}})
LIMIT = PoliciesConfig.model_validate(
    {"policies": {"all": {"daily_budget_usd": 1, "limit": {"threshold_percent": 100}}}}
)
ASKED: dict[str, Any] = {"model": "gpt-5", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 200}
CHUNK = {
    "id": "c", "object": "chat.completion.chunk", "created": 1, "model": "gpt-5",
    "choices": [{"index": 0, "delta": {"content": "x"}, "finish_reason": None}],
}  # fmt: skip
PIECES = [f"data: {json.dumps(CHUNK)}\n\n".encode()] * 5 + [b"data: [DONE]\n\n"]
HEADERS = {"content-type": "text/event-stream"}


def handler(request: Any) -> Any:  # noqa: ARG001 - as a transport calls it
    """Five chunks without usage, one after the other."""
    return httpx.Response(200, headers=HEADERS, content=iter(PIECES))


async def async_handler(request: Any) -> Any:  # noqa: ARG001
    """The same."""

    async def pieces() -> AsyncIterator[bytes]:
        for piece in PIECES:
            yield piece

    return httpx.Response(200, headers=HEADERS, content=pieces())


def client() -> Any:
    """A sync client of that server."""
    return openai.OpenAI(api_key="x", http_client=httpx.Client(transport=httpx.MockTransport(handler)))


def async_client() -> Any:
    """An async client of that server."""
    return openai.AsyncOpenAI(api_key="x", http_client=httpx.AsyncClient(transport=httpx.MockTransport(async_handler)))


def hook(telemetry: TelemetryLogger, **budget: Any) -> Iterator[Any]:
    """A hooked client, in a block where it has a budget."""
    telemetry.instrument("openai")
    if not budget:
        return iter(client().chat.completions.create(**ASKED, stream=True))
    with telemetry.invocation("a", **budget, **ASKED):
        stream = iter(client().chat.completions.create(**ASKED, stream=True))
        next(stream)
    return stream


def raw(telemetry: TelemetryLogger, **budget: Any) -> Iterator[Any]:
    """A response whose lines its caller reads."""
    telemetry.instrument("openai")
    with telemetry.invocation("a", **budget, **ASKED) if budget else nullcontext():
        manager = client().chat.completions.with_streaming_response.create(**ASKED, stream=True)
        response = manager.__enter__()
    kept.append(manager)
    return iter(response.iter_lines())


def wrapped(telemetry: TelemetryLogger, **budget: Any) -> Iterator[Any]:
    """`wrap_stream` of a stream that is open."""
    return iter(telemetry.wrap_stream(iter([CHUNK] * 5), "a", **budget, **ASKED))


def requested(telemetry: TelemetryLogger, **budget: Any) -> Iterator[Any]:
    """`wrap_stream` of a request."""
    return iter(telemetry.wrap_stream(lambda: iter([CHUNK] * 5), "a", **budget, **ASKED))


def generator(telemetry: TelemetryLogger, **budget: Any) -> Iterator[Any]:
    """A decorated generator."""

    @telemetry.instrumented("a", **budget, **ASKED)
    def items() -> Iterator[Any]:
        yield from [CHUNK] * 5

    return items()


async def async_hook(telemetry: AsyncTelemetryLogger, **budget: Any) -> AsyncIterator[Any]:
    """A hooked client."""
    telemetry.instrument("openai")
    if not budget:
        return aiter(await async_client().chat.completions.create(**ASKED, stream=True))
    async with telemetry.invocation("a", **budget, **ASKED):
        stream = aiter(await async_client().chat.completions.create(**ASKED, stream=True))
        await anext(stream)
    return stream


async def source() -> AsyncIterator[Any]:
    """A stream of somebody's own."""
    for _ in range(5):
        yield CHUNK


async def async_wrapped(telemetry: AsyncTelemetryLogger, **budget: Any) -> AsyncIterator[Any]:
    """`wrap_stream` of a stream that is open."""
    return aiter(telemetry.wrap_stream(source(), "a", **budget, **ASKED))


async def async_requested(telemetry: AsyncTelemetryLogger, **budget: Any) -> AsyncIterator[Any]:
    """`wrap_stream` of a request."""
    return aiter(telemetry.wrap_stream(source, "a", **budget, **ASKED))


async def async_generator(telemetry: AsyncTelemetryLogger, **budget: Any) -> AsyncIterator[Any]:
    """A decorated async generator."""
    return telemetry.instrumented("a", **budget, **ASKED)(source)()


WAYS: tuple[Callable[..., Iterator[Any]], ...] = (hook, raw, wrapped, requested, generator)
ASYNC_WAYS = (async_hook, async_wrapped, async_requested, async_generator)
BUDGETS: tuple[dict[str, Any], ...] = ({}, {"budget": True})
kept: list[Any] = []


@pytest.fixture(autouse=True)
def forgetting() -> Iterator[None]:
    """What is kept open is so until the end of a test."""
    yield
    kept.clear()


def test_each_kind_of_function_that_gives_a_stream_is_tried() -> None:
    """A new one has to be added here."""
    assert {kind.name for kind in KINDS} - {"the async function"} == {"the generator", "the async generator"}


def check(path: Path, ledger: Any) -> None:
    """One row, no hold that is left, and a ledger that knows of it."""
    with sqlite3.connect(path) as connection:
        rows = connection.execute("SELECT status, finish_reason FROM invocations").fetchall()
        holds = connection.execute("SELECT state FROM budget_holds WHERE state = 'held'").fetchall()
    assert rows == [("success", "cancelled")]
    assert not holds
    assert ledger.submitted == ledger.written == 1
    assert not ledger.dropped


@pytest.mark.parametrize("budget", BUDGETS, ids=["plain", "budget"])
@pytest.mark.parametrize("way", WAYS)
def test_the_close_of_a_logger_settles_a_stream_that_is_half_read(
    way: Callable[..., Iterator[Any]], budget: dict[str, Any], tmp_path: Path
) -> None:
    """As where its consumer goes away."""
    path = tmp_path / "telemetry.db"
    with TelemetryLogger(path, models=MODELS, policies=LIMIT) as telemetry:
        stream = way(telemetry, **budget)
        next(stream)
    check(path, telemetry.stats().ledger)
    assert next(stream) is not None
    del stream
    check(path, telemetry.stats().ledger)


@pytest.mark.parametrize("budget", BUDGETS, ids=["plain", "budget"])
@pytest.mark.parametrize("way", ASYNC_WAYS)
async def test_so_does_that_of_an_async_one(way: Callable[..., Any], budget: dict[str, Any], tmp_path: Path) -> None:
    """The same."""
    path = tmp_path / "telemetry.db"
    async with AsyncTelemetryLogger(path, models=MODELS, policies=LIMIT) as telemetry:
        stream = await way(telemetry, **budget)
        await anext(stream)
    check(path, telemetry.stats().ledger)
    assert await anext(stream)
    check(path, telemetry.stats().ledger)


EXIT = """
import sys
from tests.integration.telemetry import test_streams_open_at_close as here

telemetry = here.TelemetryLogger(sys.argv[1], models=here.MODELS, policies=here.LIMIT)
stream = getattr(here, sys.argv[2])(telemetry)
next(stream)
"""


@pytest.mark.costly
@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_the_end_of_the_process_does_too(way: Callable[..., Any], tmp_path: Path) -> None:
    """Nobody closed the logger."""
    path = tmp_path / "telemetry.db"
    command = [sys.executable, "-W", "ignore", "-c", EXIT, str(path), way.__name__]
    subprocess.run(command, check=True, timeout=60, cwd=Path(__file__).parents[3])
    with sqlite3.connect(path) as connection:
        rows = connection.execute("SELECT status, finish_reason FROM invocations").fetchall()
    assert rows == [("success", "cancelled")]
