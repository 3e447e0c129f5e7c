"""LiteLLM tells of a call's end a moment after its caller has the answer: a logger that closes then has it all the same."""

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from threading import Thread
from time import monotonic, sleep
from typing import Any

import pytest
from tests.framework_parts import LiteLLM
from tests.provider_server import ProviderServer

from llm_service.telemetry import AsyncTelemetryLogger, TelemetryLogger
from llm_service.telemetry.callbacks import CallbackRecorder
from llm_service.telemetry.client import sync_client
from llm_service.telemetry.instrumentation import kept_calls

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # theirs are not of interest here

SUCCESS = ("success", None, 1200)


@pytest.fixture(scope="module")
def asked() -> Iterator[dict[str, Any]]:
    """What each call asks."""
    with ProviderServer() as server:
        yield {
            "model": "openai/gpt-5-mini", "messages": [{"role": "user", "content": "Why 42?"}], "api_key": "none",
            "api_base": f"{server.url('ok')}/v1",
        }  # fmt: skip


def rows(db: Path) -> list[tuple[Any, ...]]:
    """What is in the file."""
    with closing(sqlite3.connect(db)) as connection:
        return connection.execute("SELECT status, error_type, prompt_tokens FROM invocations").fetchall()


@pytest.mark.parametrize("calls", [1, 3])
def test_the_last_call_before_a_sync_logger_closes_is_a_success(
    tmp_path: Path, asked: dict[str, Any], calls: int
) -> None:
    """A thread of LiteLLM's tells it."""
    with TelemetryLogger(tmp_path / "calls.db") as logger:
        litellm = LiteLLM(logger, asynchronous=False).module  # type: ignore[arg-type]
        for _ in range(calls):
            litellm.completion(**asked)
    assert rows(tmp_path / "calls.db") == [SUCCESS] * calls


@pytest.mark.parametrize("calls", [1, 3])
async def test_the_last_call_before_an_async_logger_closes_is_a_success(
    tmp_path: Path, asked: dict[str, Any], calls: int
) -> None:
    """A task on this loop tells it."""
    async with AsyncTelemetryLogger(tmp_path / "calls.db") as telemetry:
        litellm = LiteLLM(telemetry).module
        await asyncio.gather(*(litellm.acompletion(**asked) for _ in range(calls)))
    assert rows(tmp_path / "calls.db") == [SUCCESS] * calls


@pytest.mark.parametrize("calls", [1, 20])
@pytest.mark.parametrize("stream", [False, True])
def test_calls_on_a_loop_that_has_ended_are_told(
    tmp_path: Path, asked: dict[str, Any], *, stream: bool, calls: int
) -> None:
    """LiteLLM's tasks, which were about to tell of them, are cancelled with the loop; it has told before."""

    async def ask(litellm: Any) -> None:
        answer = await litellm.acompletion(**asked, stream=stream, stream_options={"include_usage": True})
        if stream:
            async for _ in answer:
                pass

    async def ask_all(litellm: Any) -> None:
        await asyncio.gather(*(ask(litellm) for _ in range(calls)))

    with TelemetryLogger(tmp_path / "calls.db") as logger:
        litellm = LiteLLM(logger).module  # type: ignore[arg-type]
        asyncio.run(ask_all(litellm))
    assert rows(tmp_path / "calls.db") == [SUCCESS] * calls


async def test_a_sync_logger_that_closes_on_the_loop_of_the_calls_has_them(
    tmp_path: Path, asked: dict[str, Any]
) -> None:
    """While it closes, no task runs that could tell of them."""
    with TelemetryLogger(tmp_path / "calls.db") as logger:
        litellm = LiteLLM(logger).module  # type: ignore[arg-type]
        await asyncio.gather(*(litellm.acompletion(**asked) for _ in range(20)))
    assert rows(tmp_path / "calls.db") == [SUCCESS] * 20


def test_what_is_told_after_its_logger_is_closed_is_no_call_of_the_next(
    tmp_path: Path, asked: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """LiteLLM carries what it has not told over to the next loop, and tells all callbacks that there are then."""
    from llm_service.telemetry.instrumentation.frameworks import litellm as adapter

    for number in range(4):
        path = tmp_path / f"{number}.db"
        with TelemetryLogger(path) as logger:
            litellm = LiteLLM(logger, asynchronous=number % 2 == 0).module  # type: ignore[arg-type]
            asyncio.run(litellm.acompletion(**asked))
            if number % 2:
                litellm.completion(**asked)
        assert rows(path) == [SUCCESS] * (1 + number % 2)
    monkeypatch.setattr(adapter, "_MOST", 3)
    with TelemetryLogger(tmp_path / "bounded.db") as logger:
        litellm = LiteLLM(logger, asynchronous=False).module  # type: ignore[arg-type]
        for _ in range(5):
            litellm.completion(**asked)
    assert rows(tmp_path / "bounded.db") == [SUCCESS] * 5
    assert len(adapter._begun) == 3


def test_a_close_waits_for_ends_no_longer_than_it_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A call that nobody ends does not keep it."""

    def looked(sink: object, deadline: float) -> None:
        wait(sink, deadline)
        waited.append(monotonic() >= deadline)

    wait, waited = kept_calls.wait_for_late, list[bool]()
    monkeypatch.setattr(kept_calls, "LATE_SECONDS", 3600)
    monkeypatch.setattr(sync_client, "wait_for_late", looked)
    logger = TelemetryLogger(tmp_path / "calls.db")
    CallbackRecorder(logger, "mine").begin("forgotten", ends_with_request=True, request_model="m")
    logger.close(timeout=0.01)
    assert waited == [True]


def test_a_call_whose_end_is_being_told_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until its row is handed over; one that nobody ends is waited for a moment, and said to have never ended."""
    monkeypatch.setattr(kept_calls, "LATE_SECONDS", 0.3)
    with TelemetryLogger(tmp_path / "calls.db") as logger:
        recorder = CallbackRecorder(logger, "mine")
        for key in ("told", "forgotten"):
            recorder.begin(key, ends_with_request=True, request_model=key)

        def tell() -> None:
            sleep(0.05)
            recorder.end("told", {"model": "m", "usage": {"prompt_tokens": 1200, "completion_tokens": 1}})

        thread = Thread(target=tell)
        thread.start()
    thread.join()
    assert sorted(rows(tmp_path / "calls.db")) == [("error", "never_ended", None), SUCCESS]
