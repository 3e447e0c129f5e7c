"""anyio and trio: the sync logger anywhere, the async one on asyncio; what cannot be is said, and costs no record."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest

from llm_service.errors import UnsupportedLoopError
from llm_service.examples.local_provider import local_provider
from llm_service.telemetry import AsyncTelemetryLogger, InvocationRecord, TelemetryLogger

pytest.importorskip("trio")
BACKENDS = ["asyncio", "trio"]
QUESTION: Any = {"model": "gpt-5-mini", "messages": [{"role": "user", "content": "Why 42?"}]}


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_sync_logger_records_on_either_backend(db: Path, agents: Callable[[], Any], backend: str) -> None:
    """Blocks in task groups, below scopes, in threads and in decorated functions; what is cancelled is told as that."""

    async def main() -> None:
        with TelemetryLogger(db) as telemetry:

            @telemetry.instrumented("function")
            async def function() -> None:
                await anyio.lowlevel.checkpoint()

            @telemetry.instrumented("stream")
            async def stream() -> Any:
                yield 1
                await anyio.lowlevel.checkpoint()
                yield 2

            async def block() -> None:
                async with telemetry.invocation("block"):
                    await function()

            def thread() -> None:
                with telemetry.invocation("thread"):
                    pass

            with telemetry.scope(session_id="s-1"):
                async with anyio.create_task_group() as group:
                    group.start_soon(block)
                    group.start_soon(block)
                await anyio.to_thread.run_sync(thread)
                assert [item async for item in stream()] == [1, 2]
                with anyio.CancelScope() as scope, telemetry.invocation("cancelled"):
                    scope.cancel()
                    await anyio.sleep_forever()
                with pytest.raises(TimeoutError), telemetry.invocation("late"), anyio.fail_after(0):
                    await anyio.sleep_forever()
            rows = await anyio.to_thread.run_sync(telemetry.get_invocations)
        ended = {row["agent_name"]: (row["status"], row["error_type"]) for row in rows}
        assert ended.pop("cancelled") == ("error", "cancelled")
        assert ended.pop("late") == ("timeout", "TimeoutError")
        assert set(ended.values()) == {("success", None)}
        assert {row["session_id"] for row in rows} == {"s-1"}
        ids = {row["invocation_id"]: row["agent_name"] for row in rows}
        assert {ids[row["parent_invocation_id"]] for row in rows if row["agent_name"] == "function"} == {"block"}

    anyio.run(main, backend=backend)
    assert agents() == {"block": 2, "function": 2, "thread": 1, "stream": 1, "cancelled": 1, "late": 1}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.filterwarnings("ignore:Async generator .* was garbage collected:ResourceWarning")  # trio, of the client's
def test_the_client_of_an_sdk_is_recorded_on_either_backend(db: Path, backend: str) -> None:
    """By the hook into it: a whole answer, a stream, and a request that was cancelled."""
    openai = pytest.importorskip("openai")

    async def main(url: str) -> None:
        telemetry = TelemetryLogger(db)
        with telemetry, telemetry.instrumenting("openai"):
            async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none") as client:
                ask = client.chat.completions.create
                async with telemetry.invocation("within"):
                    await ask(**QUESTION)
                stream = await ask(**QUESTION, stream=True, stream_options={"include_usage": True})
                async with stream:
                    assert [chunk async for chunk in stream]
                with anyio.CancelScope() as scope:
                    scope.cancel()
                    await ask(**QUESTION)
            whole, streamed, cancelled = (await anyio.to_thread.run_sync(telemetry.get_invocations))[::-1]
        assert (whole["agent_name"], whole["status"], whole["total_tokens"] > 0) == ("within", "success", True)
        assert (streamed["stream"], streamed["status"], streamed["total_tokens"] > 0) == (True, "success", True)
        assert (cancelled["status"], cancelled["error_type"]) == ("error", "cancelled")

    with local_provider() as url:
        anyio.run(main, url, backend=backend)


def test_the_async_logger_says_on_trio_what_to_use_and_loses_nothing(db: Path, agents: Callable[[], Any]) -> None:
    """What waits is refused where it waits; what was accepted before that is written where a loop of asyncio runs."""
    telemetry = AsyncTelemetryLogger(db)

    async def block() -> None:
        async with telemetry.invocation("refused"):
            pass

    async def on_trio() -> None:
        record = InvocationRecord(agent_name="refused")
        for waits in (telemetry.start, block, lambda: telemetry.log_invocation(record), telemetry.get_statistics):
            with pytest.raises(UnsupportedLoopError, match=r"not trio.*TelemetryLogger"):
                await waits()
        with telemetry.invocation("kept"):
            await anyio.lowlevel.checkpoint()
        assert telemetry.log_invocation_nowait(InvocationRecord(agent_name="kept"))

    anyio.run(on_trio, backend="trio")
    anyio.run(telemetry.aclose, backend="asyncio")
    ledger = telemetry.stats().ledger
    assert (ledger.written, ledger.pending) == (ledger.submitted, 0)
    assert agents()["kept"] == 2
