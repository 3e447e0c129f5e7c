"""A consumer that goes away is no failure of the call: one rule for every way of recording, moment and kind of leaving."""

import asyncio
import gc
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing, suppress
from pathlib import Path
from typing import Any

import pytest
from tests.provider_server import ProviderServer

from llm_service.telemetry import AsyncTelemetryLogger

openai = pytest.importorskip("openai")
ASKED: dict[str, Any] = {
    "model": "gpt-5-mini", "messages": [{"role": "user", "content": "Why 42?"}], "stream": True,
    "stream_options": {"include_usage": True},
}  # fmt: skip
Telemetry = AsyncTelemetryLogger
Way = Callable[[Telemetry, Any], AsyncIterator[Any]]


@pytest.fixture(scope="module")
def server() -> Iterator[ProviderServer]:
    """The server of this module: its third event does not come until its end."""
    with ProviderServer() as started:
        yield started


async def by_request(telemetry: Telemetry, client: Any) -> AsyncIterator[Any]:
    """The request, given to `wrap_stream`."""
    async for item in telemetry.wrap_stream(client.chat.completions.create(**ASKED), "a"):
        yield item


async def by_open_stream(telemetry: Telemetry, client: Any) -> AsyncIterator[Any]:
    """A stream that is open, given to `wrap_stream`."""
    async for item in telemetry.wrap_stream(await client.chat.completions.create(**ASKED), "a"):
        yield item


async def by_watch(telemetry: Telemetry, client: Any) -> AsyncIterator[Any]:
    """A block that watches it."""
    async with telemetry.invocation("a") as call:
        async for item in call.watch(await client.chat.completions.create(**ASKED)):
            yield item


async def by_hook(telemetry: Telemetry, client: Any) -> AsyncIterator[Any]:
    """The hook into the client."""
    telemetry.instrument("openai")
    async for item in await client.chat.completions.create(**ASKED):
        yield item


async def by_hook_in_block(telemetry: Telemetry, client: Any) -> AsyncIterator[Any]:
    """The same within a block."""
    telemetry.instrument("openai")
    async with telemetry.invocation("a"):
        async for item in await client.chat.completions.create(**ASKED):
            yield item


async def by_generator(telemetry: Telemetry, client: Any) -> AsyncIterator[Any]:
    """A decorated generator."""

    @telemetry.instrumented("a")
    async def answer() -> AsyncIterator[Any]:
        async for item in await client.chat.completions.create(**ASKED):
            yield item

    async with aclosing(answer()) as items:
        async for item in items:
            yield item


WAYS: list[Way] = [by_request, by_open_stream, by_watch, by_hook, by_hook_in_block, by_generator]


async def cancelled_waiting(items: AsyncIterator[Any], taken: asyncio.Event) -> None:
    """The task is cancelled while it waits for an item."""
    async with aclosing(items) as stream:  # type: ignore[type-var]
        async for _ in stream:
            taken.set()


async def cancelled_between(items: AsyncIterator[Any], taken: asyncio.Event) -> None:
    """The task is cancelled while it does something else with an item, as sending it on."""
    async with aclosing(items) as stream:  # type: ignore[type-var]
        async for _ in stream:
            taken.set()
            await asyncio.sleep(60)


async def breaks(items: AsyncIterator[Any], taken: asyncio.Event) -> None:
    """It has enough."""
    async with aclosing(items) as stream:  # type: ignore[type-var]
        async for _ in stream:
            taken.set()
            break


LEAVING: list[Callable[[AsyncIterator[Any], asyncio.Event], Awaitable[None]]] = [
    cancelled_waiting, cancelled_between, breaks
]  # fmt: skip


@pytest.mark.parametrize("leave", LEAVING)
@pytest.mark.parametrize("way", WAYS)
async def test_a_stream_that_is_left_is_a_success_that_was_cancelled(
    way: Way, leave: Callable[..., Any], server: ProviderServer, tmp_path: Path
) -> None:
    """One row, whoever saw it."""
    taken = asyncio.Event()
    async with AsyncTelemetryLogger(tmp_path / "telemetry.db") as telemetry:
        async with openai.AsyncOpenAI(base_url=f"{server.url('slow-stream')}/v1", api_key="none") as client:
            task = asyncio.ensure_future(leave(way(telemetry, client), taken))
            await taken.wait()
            await asyncio.sleep(0.05)
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            del task
            rows: list[Any] = []
            for _ in range(500):  # the loop closes what is collected, in steps of its own
                gc.collect()
                await asyncio.sleep(0.01)
                rows = await telemetry.get_invocations()
                if rows:
                    break
        telemetry.uninstrument()
    assert [(row["status"], row["error_type"], row["finish_reason"]) for row in rows] == [
        ("success", None, "cancelled")
    ]


async def test_a_request_that_is_cancelled_before_its_answer_is_an_error(
    server: ProviderServer, tmp_path: Path
) -> None:
    """There was no stream to leave."""
    async with AsyncTelemetryLogger(tmp_path / "telemetry.db") as telemetry:
        async with openai.AsyncOpenAI(base_url=f"{server.url('slow')}/v1", api_key="none") as client:
            for way in (by_request, by_watch, by_hook, by_hook_in_block):
                asked = server.asked["slow"]
                task = asyncio.ensure_future(anext(way(telemetry, client)))
                while server.asked["slow"] == asked:  # noqa: ASYNC110 - another thread counts
                    await asyncio.sleep(0.01)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
                telemetry.uninstrument()
        rows = await telemetry.get_invocations()
    assert [(row["status"], row["error_type"]) for row in rows] == [("error", "cancelled")] * 4
