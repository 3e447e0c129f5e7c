"""`estimate` on both faces: the same answers, from memory, in the loop's time, and from what other processes wrote."""

import asyncio
import os
import subprocess
import sys
import threading
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests.inside import core_of

from llm_service.config.schemas import ModelsConfig, PoliciesConfig
from llm_service.errors import CommitTimeoutError, QueryError, StoreError
from llm_service.telemetry import AsyncTelemetryLogger, InvocationRecord, TelemetryLogger
from llm_service.telemetry.client import client_core, estimate_history, estimates_api
from llm_service.telemetry.client.steps import Step
from llm_service.telemetry.stores.sqlite.reader import reading
from llm_service.telemetry.writer.ledger import FlushResult

WHO: dict[str, Any] = {"agent_name": "backend-dev", "tool_name": "claude-code", "model_name": "m-1"}


def answer(tokens: int = 200, **fields: Any) -> InvocationRecord:
    """A whole answer of the agent above."""
    return InvocationRecord(**WHO | {"prompt_tokens": 1000, "completion_tokens": tokens, "cost_usd": 0.01} | fields)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the database goes."""
    return tmp_path / "telemetry.db"


def test_an_estimate_comes_from_what_was_logged(path: Path) -> None:
    """In the same process, fresh."""
    with TelemetryLogger(path) as logger:
        empty = logger.estimate(**WHO, prompt_tokens=1000, max_tokens=500)
        assert (empty.samples, empty.completion_tokens, empty.cost_usd, empty.price_source) == (0, None, None, None)
        for number in range(60):
            assert logger.log_invocation_nowait(answer(100 + number))
        assert logger.estimate(**WHO).samples == 0  # from memory, which is new enough
        found = logger.estimate(**WHO, prompt_tokens=1000, max_tokens=140, fresh=True)
    assert (found.samples, found.level, found.prompt_tokens_source) == (60, "agent+tool+model", "given")
    assert found.completion_tokens is not None
    assert found.completion_tokens.p50 <= found.completion_tokens.p90 <= found.completion_tokens.p99 == 140
    assert found.coverage is not None
    assert found.price_source == "history"


async def test_the_async_face_answers_the_same(path: Path) -> None:
    """With a flush before a fresh one."""
    async with AsyncTelemetryLogger(path) as telemetry:
        assert (await telemetry.estimate(**WHO)).samples == 0
        for number in range(60):
            await telemetry.log_invocation(answer(100 + number))
        assert (await telemetry.estimate(**WHO)).samples == 0
        found = await telemetry.estimate(**WHO, prompt="x" * 90, max_tokens=140, fresh=True)
        again = await telemetry.estimate(**WHO, prompt="x" * 90, max_tokens=140)
    assert found == again
    with TelemetryLogger(path) as logger:
        assert logger.estimate(**WHO, prompt="x" * 90, max_tokens=140) == found


async def test_the_loop_reads_no_file_and_counts_no_long_prompt(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first, a fresh one, messages, a long text and a new model are for a thread; others are answered at once."""
    async with AsyncTelemetryLogger(path) as telemetry:
        threads: list[str] = []
        answered = estimates_api._answer

        def noted(*arguments: Any) -> Any:
            threads.append("loop" if threading.current_thread() is threading.main_thread() else "thread")
            return answered(*arguments)

        monkeypatch.setattr(estimates_api, "_answer", noted)
        await telemetry.estimate(**WHO)
        await telemetry.estimate(**WHO, prompt="short", fresh=True)
        await telemetry.estimate(**WHO, prompt="x" * 60_000)
        await telemetry.estimate(**WHO, prompt=[{"role": "user", "content": "x"}])
        await telemetry.estimate(model_name="m-2")
        assert threads == ["thread"] * 5
        threads.clear()
        await telemetry.estimate(**WHO)
        await telemetry.estimate(**WHO, prompt="short")
        await telemetry.estimate(**WHO, prompt_tokens=5)
        await telemetry.estimate(model_name="m-2")
        assert threads == ["loop"] * 4
        monkeypatch.setattr(core_of(telemetry).history.tokenizer, "is_slow", lambda _: True)
        await telemetry.estimate(**WHO, prompt="short")
        assert threads[-1] == "thread"
        monkeypatch.setattr(estimates_api, "_MOST_PRICED", 2)
        for _ in range(2):
            await telemetry.estimate(model_name="m-3")
        assert threads[-2:] == ["thread"] * 2


async def test_many_first_questions_at_once_read_the_file_once(path: Path) -> None:
    """They wait for the one that reads."""
    with TelemetryLogger(path) as logger:
        for number in range(40):
            logger.log_invocation_nowait(answer(number))
    async with AsyncTelemetryLogger(path) as telemetry:
        found = await asyncio.gather(*(telemetry.estimate(**WHO) for _ in range(20)))
    assert {each.samples for each in found} == {40}


@pytest.mark.slow
def test_the_file_teaches_what_other_processes_wrote(path: Path) -> None:
    """Two processes share it; neither tells the other."""
    script = (
        "import sys; from llm_service.telemetry import InvocationRecord, TelemetryLogger\n"
        "with TelemetryLogger(sys.argv[1]) as logger:\n"
        "    for number in range(45):\n"
        "        logger.log_invocation(InvocationRecord(agent_name='other', model_name='m-1', completion_tokens=number))\n"
    )
    with TelemetryLogger(path) as logger:
        logger.log_invocation(answer(7))
        assert logger.estimate(**WHO).samples == 1
        subprocess.run([sys.executable, "-c", script, str(path)], check=True, timeout=60)
        found = logger.estimate(**WHO, fresh=True)
    assert (found.level, found.samples) == ("model", 46)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_asks_the_file_anew(path: Path) -> None:
    """A lock of the parent's may have been held at that moment."""
    script = (
        "import os, sys; from llm_service.telemetry import InvocationRecord, TelemetryLogger\n"
        "logger = TelemetryLogger(sys.argv[1])\n"
        "logger.log_invocation(InvocationRecord(completion_tokens=5))\n"
        "assert logger.estimate().samples == 1\n"
        "logger._core.history._reading.acquire()\n"
        "pid = os.fork()\n"
        "if pid == 0:\n"
        "    ok = logger.estimate().samples == 1\n"
        "    os._exit(0 if ok else 1)\n"
        "assert os.waitpid(pid, 0)[1] == 0\n"
        "logger._core.history._reading.release()\n"
        "logger.close()\n"
    )
    command = [sys.executable, "-W", "ignore:This process:DeprecationWarning", "-c", script, str(path)]
    subprocess.run(command, check=True, timeout=60)


@pytest.mark.parametrize(
    ("wrong", "field"),
    [({"max_tokens": 0}, "max_tokens"), ({"prompt": 7}, "prompt"), ({"agent_name": ""}, "agent_name")],
)
async def test_what_cannot_be_used_is_named(path: Path, wrong: dict[str, Any], field: str) -> None:
    """On both faces, warm or not."""
    async with AsyncTelemetryLogger(path) as telemetry:
        for _ in range(2):
            with pytest.raises(QueryError) as caught:
                await telemetry.estimate(**WHO | wrong)
            assert caught.value.field == field
            await telemetry.estimate(**WHO)
    with TelemetryLogger(path) as logger, pytest.raises(QueryError):
        logger.estimate(**WHO | wrong)


async def test_what_could_not_be_flushed_is_told_where_fresh_was_asked_for(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An answer without it may be had."""
    late = FlushResult(pending=1)

    async def never(_: Step[FlushResult]) -> FlushResult:
        return late

    async with AsyncTelemetryLogger(path) as telemetry:
        with monkeypatch.context() as patched:
            patched.setattr(client_core._Flush, "wait", never)
            with pytest.raises(CommitTimeoutError, match="pass fresh=False to go without it"):
                await telemetry.estimate(**WHO, fresh=True)
            assert (await telemetry.estimate(**WHO)).samples == 0
    with TelemetryLogger(path) as logger, monkeypatch.context() as patched:
        patched.setattr(client_core._Flush, "block", lambda _: late)
        with pytest.raises(CommitTimeoutError, match="pass fresh=False to go without it"):
            logger.estimate(**WHO, fresh=True)


def test_a_file_that_cannot_be_read_is_an_error_of_the_first_estimate(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It names the file."""
    with TelemetryLogger(path) as logger:
        broken = path.with_name("broken.db")
        broken.write_bytes(b"no database at all, and longer than its header" * 100)
        monkeypatch.setattr(core_of(logger).history, "_open", partial(reading, broken))
        with pytest.raises(StoreError, match=r"broken\.db cannot be read"):
            logger.estimate(**WHO)


def test_a_logger_that_stores_nothing_still_estimates(path: Path) -> None:
    """From what is in the file, and makes none."""
    with TelemetryLogger(path, enabled=False) as logger:
        assert logger.estimate(**WHO).samples == 0
        assert not path.exists()


def test_cheaper_models_are_named_where_a_policy_wants_to_hear_of_them(tmp_path: Path) -> None:
    """For prompts below its bound, and for calls in its scope."""
    price = {"cost_per_1m_tokens": {"input": 10, "output": 30}, "task_suitability": ["code"]}
    small = {"cost_per_1m_tokens": {"input": 1, "output": 3}, "task_suitability": ["code"]}
    models = ModelsConfig.model_validate({"models": {"large": price, "small": small}, "bundled_prices": False})
    policy = {"scope": {"agent": "a"}, "daily_budget_usd": 1, "prefer_cheaper_models_under_tokens": 1000}
    policies = PoliciesConfig.model_validate({"policies": {"p": policy}})
    with TelemetryLogger(tmp_path / "telemetry.db", models=models, policies=policies) as logger:
        for _ in range(30):
            logger.log_invocation(
                InvocationRecord(agent_name="a", model_name="large", prompt_tokens=9, completion_tokens=100)
            )
        short = logger.estimate("a", model_name="large", prompt_tokens=999, fresh=True)
        assert [(one.model_name, one.cost_usd) for one in short.cheaper_models] == [("small", Decimal("0.001299"))]
        assert logger.estimate("a", model_name="large", prompt_tokens=1000).cheaper_models == ()
        assert logger.estimate("b", model_name="large", prompt_tokens=999).cheaper_models == ()
        assert logger.estimate("a", model_name="large").cheaper_models == ()


def test_a_signal_handler_may_ask_while_its_thread_reads(path: Path) -> None:
    """Or a finalizer: memory will do, and nothing is learnt twice."""
    with TelemetryLogger(path) as logger:
        logger.log_invocation(answer())
        history = core_of(logger).history
        read, asked = history._open, list[int]()

        def asking() -> Any:
            asked.append(logger.estimate(**WHO, fresh=True).samples if not asked else 0)
            return read()

        history._open = asking
        assert logger.estimate(**WHO).samples == 1
        assert asked[0] == 0
        with history.history._lock, history._reading:
            assert logger.estimate(**WHO, fresh=True).samples == 1


def test_an_interrupt_as_the_refresh_begins_leaves_no_lock_held(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next one who asks for fresh knowledge has it."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with TelemetryLogger(path) as logger:
        logger.log_invocation(answer())
        history = core_of(logger).history
        assert logger.estimate(**WHO).samples == 1
        history._read_at -= 60.0
        with monkeypatch.context() as patched:
            patched.setattr(estimate_history.threads, "start", interrupt)
            with pytest.raises(KeyboardInterrupt):
                logger.estimate(**WHO)
        logger.log_invocation(answer())
        found: list[int] = []
        asking = threading.Thread(target=lambda: found.append(logger.estimate(**WHO, fresh=True).samples), daemon=True)
        asking.start()
        asking.join(10.0)
    assert found == [2]
