"""Blocks around several calls of a hooked client: no call is lost, counted twice, or taken to cost nothing."""

import asyncio
import contextvars
import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
from tests.provider_server import ProviderServer
from tests.slices import quick

from llm_service.config.schemas import PoliciesConfig
from llm_service.errors import BudgetExceeded, CommitTimeoutError
from llm_service.telemetry import AsyncTelemetryLogger, InvocationRecord, TelemetryLogger
from llm_service.telemetry.client.client_core import ClientCore
from llm_service.telemetry.record.operations import SPANS

openai = pytest.importorskip("openai")
LIMIT = PoliciesConfig.model_validate({"policies": {"default": {"daily_budget_usd": 1}}})
CHAT: dict[str, Any] = {"model": "gpt-5-mini", "messages": [{"role": "user", "content": "Why 42?"}]}
UNPRICED = {"model": "nobody-sells-this"}
TOKENS = 1207


@pytest.fixture(scope="module")
def server() -> Iterator[ProviderServer]:
    """The server of this module."""
    with ProviderServer() as started:
        yield started


@pytest.fixture
def client(server: ProviderServer) -> Iterator[Any]:
    """A sync client."""
    with openai.OpenAI(base_url=f"{server.url('ok')}/v1", api_key="none", max_retries=0) as made:
        yield made


@pytest.fixture
def logger(tmp_path: Path) -> Iterator[TelemetryLogger]:
    """An instrumented logger with a limit of $1 a day, closed afterwards."""
    with TelemetryLogger(tmp_path / "telemetry.db", policies=LIMIT).instrument("openai") as made:
        yield made


@pytest.mark.parametrize("operation", quick([None, *sorted(SPANS)], 0))
@pytest.mark.parametrize("calls", [1, 2, 3])
@pytest.mark.parametrize("unknown", [0, 1, 2])
def test_a_budget_around_calls_is_free_again_only_where_each_cost_is_known(
    calls: int, unknown: int, operation: str | None, logger: TelemetryLogger, client: Any
) -> None:
    """Else what was reserved stays unknown spend, and the limit fills."""
    unknown = min(unknown, calls)
    said = {} if operation is None else {"operation": operation}
    asked = [CHAT | UNPRICED] * unknown + [CHAT] * (calls - unknown)
    passed = 0
    with pytest.raises(BudgetExceeded) if unknown else pytest.MonkeyPatch.context():
        for _ in range(4):
            with logger.invocation("boss", budget=0.4, **said):
                for one in asked:
                    client.chat.completions.create(**one)
            passed += 1
    (limit,) = logger.budgets.status()
    assert (passed, limit["unknown"]) == ((2, 0.8) if unknown else (4, 0))
    assert limit["reserved"] == 0


def ask_in_block(logger: TelemetryLogger, used: dict[str, Any]) -> None:
    """A block that tells its usage."""
    with logger.invocation("worker", model_name="gpt-5-mini") as call:
        call.record_usage(**used)


def ask_in_function(logger: TelemetryLogger, used: dict[str, Any]) -> None:
    """A decorated function."""
    logger.instrumented("worker", model_name="gpt-5-mini", usage=lambda answer: answer)(lambda: used)()


def ask_in_generator(logger: TelemetryLogger, used: dict[str, Any]) -> None:
    """A decorated generator."""

    @logger.instrumented("worker", model_name="gpt-5-mini", usage=lambda answer: answer)
    def answers() -> Iterator[dict[str, Any]]:
        yield used

    list(answers())


def ask_in_stream(logger: TelemetryLogger, used: dict[str, Any]) -> None:
    """A stream."""
    list(logger.wrap_stream(iter([{"usage": used}]), "worker", model_name="gpt-5-mini"))


def ask_in_tool(logger: TelemetryLogger, used: dict[str, Any]) -> None:
    """A block within a span."""
    with logger.invocation("tool", operation="tool"):
        ask_in_block(logger, used)


def ask_in_budget(logger: TelemetryLogger, used: dict[str, Any]) -> None:
    """A block with a budget of its own."""
    with logger.invocation("worker", model_name="gpt-5-mini", budget=0.01) as call:
        call.record_usage(**used)


def ask_in_thread(logger: TelemetryLogger, used: dict[str, Any]) -> None:
    """A block in another thread, with the context of this one."""
    context = contextvars.copy_context()
    thread = threading.Thread(target=context.run, args=(ask_in_block, logger, used))
    thread.start()
    thread.join()


WAYS = [ask_in_block, ask_in_function, ask_in_generator, ask_in_stream, ask_in_tool, ask_in_budget, ask_in_thread]
USED = {"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100}


@pytest.mark.parametrize("ask", WAYS)
@pytest.mark.parametrize("operation", [None, *sorted(SPANS)])
def test_a_budget_around_blocks_is_free_again_only_where_each_cost_is_known(
    operation: str | None, ask: Callable[..., None], logger: TelemetryLogger
) -> None:
    """Of whatever kind they are; a span has a prompt for its estimate, and is no call."""
    said: dict[str, Any] = {} if operation is None else {"operation": operation, "prompt": "plan", "max_tokens": 1000}
    held = dict[bool, list[tuple[float, float]]]()
    for known in (True, False):
        with logger.invocation("boss", budget=0.2, **said):
            ask(logger, USED)
            ask(logger, USED if known else {})
        held[known] = [(status["unknown"] >= 0.2, status["reserved"]) for status in logger.budgets.status()]
    assert held == {True: [(False, 0)], False: [(True, 0)]}


@pytest.mark.parametrize("first", ["partial", "reported"])
def test_a_lower_bound_within_keeps_the_budget_around_it(first: str, logger: TelemetryLogger, client: Any) -> None:
    """As of a stream that was left early, whether the client is hooked or not."""
    with logger.invocation("boss", budget=0.4):
        with logger.invocation("worker", model_name="gpt-5-mini", usage_source=first) as call:
            call.record_usage(**USED)
        client.chat.completions.create(**CHAT)
        client.chat.completions.create(**CHAT)
    assert logger.budgets.status()[0]["unknown"] == (0.4 if first == "partial" else 0)


@pytest.mark.parametrize("ask", [way for way in WAYS if way is not ask_in_budget])
@pytest.mark.parametrize("operation", [None, "agent"])
def test_calls_within_count_before_what_was_held_for_them_is_free(
    operation: str | None, ask: Callable[..., None], tmp_path: Path
) -> None:
    """Two blocks of two calls fit, and a third never, however soon it comes."""
    limit = PoliciesConfig.model_validate({"policies": {"default": {"daily_budget_usd": 0.002}}})
    said = {} if operation is None else {"operation": operation}
    passed = 0
    with TelemetryLogger(tmp_path / "telemetry.db", policies=limit, flush_interval=60) as logger:
        for _ in range(4):
            with suppress(BudgetExceeded), logger.invocation("boss", budget=0.00095, **said):
                ask(logger, USED)
                ask(logger, USED)
                passed += 1
            with closing(sqlite3.connect(logger.db_path)) as other:  # as another process sees it
                (rows,) = other.execute("SELECT count(*) FROM invocations WHERE cost_usd > 0").fetchone()
            assert rows >= 2 * passed
        (status,) = logger.budgets.status()
    assert (passed, status["unknown"], status["spent"] <= 0.002) == (2, 0, True)


@pytest.mark.parametrize("ask", WAYS[:5])
async def test_what_was_accepted_before_counts_for_what_is_asked_after(
    ask: Callable[..., None], tmp_path: Path
) -> None:
    """Also of a call without a budget, on either logger."""
    limit = PoliciesConfig.model_validate({"policies": {"default": {"daily_budget_usd": 0.0004}}})
    with TelemetryLogger(tmp_path / "telemetry.db", policies=limit, flush_interval=60) as logger:
        ask(logger, USED)
        with pytest.raises(BudgetExceeded), logger.invocation("later", budget=0.0001):
            pass
    async with AsyncTelemetryLogger(tmp_path / "async.db", policies=limit, flush_interval=60) as telemetry:
        telemetry.log_invocation_nowait(InvocationRecord(model_name="gpt-5-mini", cost_usd=0.0004))
        with pytest.raises(BudgetExceeded):
            async with telemetry.invocation("later", budget=0.0001):
                pass


async def test_what_cannot_be_flushed_first_still_settles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Late: with the queue, and so after its calls; also where the wait is cancelled."""
    waits = asyncio.Event()

    def late(_self: ClientCore, _remedy: str = "") -> Any:
        raise CommitTimeoutError("late", tmp_path)
        yield

    async with AsyncTelemetryLogger(tmp_path / "telemetry.db", policies=LIMIT) as telemetry:
        with monkeypatch.context() as patched:
            async with telemetry.invocation("boss", budget=0.2, operation="agent"):
                async with telemetry.invocation("worker", model_name="gpt-5-mini") as call:
                    call.record_usage(**USED)
                patched.setattr(ClientCore, "flushed", late)
        await telemetry.flush()
        (status,) = await telemetry.budgets.status()
        assert (status["unknown"], status["reserved"], status["calls"]) == (0, 0, 1)

        async def agent() -> None:
            async with telemetry.invocation("boss", budget=0.2, operation="agent"):
                async with telemetry.invocation("worker", model_name="gpt-5-mini") as call:
                    call.record_usage(**USED)
                monkeypatch.setattr(ClientCore, "flushed", cancelled)

        def cancelled(_self: ClientCore, _remedy: str = "") -> Any:
            waits.set()
            raise asyncio.CancelledError
            yield

        with pytest.raises(asyncio.CancelledError):
            await agent()
        monkeypatch.undo()
        assert waits.is_set()
        await telemetry.flush()
        (status,) = await telemetry.budgets.status()
        assert (status["unknown"], status["reserved"], status["calls"]) == (0, 0, 2)


def test_a_block_within_that_has_not_ended_keeps_the_budget_around_it(logger: TelemetryLogger) -> None:
    """Until it has, and longer where that leaves its cost unknown; one that was refused, or never sent, has none."""
    with logger.invocation("boss", budget=0.2):
        ask_in_block(logger, USED)
        stream = logger.wrap_stream(iter([{"usage": USED}, {}]), "worker", model_name="gpt-5-mini")
        next(stream)
    assert (logger.budgets.status()[0]["reserved"], logger.budgets.status()[0]["unknown"]) == (0.2, 0)
    stream.close()
    assert (logger.budgets.status()[0]["reserved"], logger.budgets.status()[0]["unknown"]) == (0, 0.2)
    with logger.invocation("boss", budget=0.2):
        ask_in_block(logger, USED)
        with pytest.raises(BudgetExceeded):
            logger.wrap_stream(iter([{}]), "worker", model_name="gpt-5-mini", budget=1)
    assert logger.budgets.status()[0]["unknown"] == 0.2


async def test_a_stream_within_that_was_never_sent_costs_the_budget_around_it_nothing(tmp_path: Path) -> None:
    """Nor does one that was refused."""
    async with AsyncTelemetryLogger(tmp_path / "async.db", policies=LIMIT) as telemetry:
        async with telemetry.invocation("boss", budget=0.2):
            async with telemetry.invocation("worker", model_name="gpt-5-mini") as call:
                call.record_usage(**USED)
            await telemetry.wrap_stream(lambda: iter([]), "unsent").aclose()
            with pytest.raises(BudgetExceeded):
                await anext(telemetry.wrap_stream(empty, "refused", model_name="gpt-5-mini", budget=1))
        (status,) = await telemetry.budgets.status()
        assert (status["unknown"], status["reserved"]) == (0, 0)


@pytest.mark.costly
@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize(("blocks", "calls", "they_tell"), [(2, 1, True), (2, 2, False), (2, 2, True), (1, 300, False)])
def test_a_sum_that_a_block_repeats_is_counted_once_at_any_depth(
    blocks: int, calls: int, they_tell: bool, depth: int, logger: TelemetryLogger, client: Any
) -> None:
    """As a supervisor reports what its agents have used, and they what their calls have."""
    used = [0, 0]

    def agent(level: int) -> list[int]:
        with logger.invocation(f"level {level}") as block:
            told = [0, 0]
            for _ in range(blocks if level else min(calls, 2 if depth > 1 else calls)):
                if level:
                    one = agent(level - 1)
                else:
                    usage = client.chat.completions.create(**CHAT).usage
                    one = [usage.prompt_tokens, usage.completion_tokens]
                    used[:] = [used[0] + one[0], used[1] + one[1]]
                told = [told[0] + one[0], told[1] + one[1]]
            if they_tell or level == depth - 1:
                block.record_usage(prompt_tokens=told[0], completion_tokens=told[1])
        return told

    agent(depth - 1)
    statistics = logger.get_statistics()
    assert statistics["total_tokens"] == sum(used)
    assert statistics["total_invocations"] == sum(used) // TOKENS


@pytest.mark.parametrize("innermost", [*WAYS[:5], WAYS[6], None])
@pytest.mark.parametrize("depth", range(1, 6))
def test_blocks_around_blocks_around_a_call_are_one_call(
    depth: int, innermost: Callable[..., None] | None, logger: TelemetryLogger, client: Any
) -> None:
    """However many there are; None is a call of the hooked client."""

    def go(level: int) -> None:
        with logger.invocation(f"level {level}"):
            if level:
                go(level - 1)
            elif innermost is None:
                client.chat.completions.create(**CHAT)
            else:
                innermost(logger, USED)

    go(depth - 1)
    statistics = logger.get_statistics()
    assert (statistics["total_invocations"], statistics["unpriced_invocations"]) == (1, 0)
    operations = [row["operation"] for row in logger.get_invocations() if str(row["agent_name"]).startswith("level")]
    assert operations == ["chat"] + ["chain"] * (depth - 1) if innermost is None else ["chain"] * depth


@pytest.mark.parametrize("named", ["model_name", "request_model", "provider", "prompt"])
def test_a_budget_is_no_call_by_what_it_is_estimated_by(named: str, logger: TelemetryLogger, client: Any) -> None:
    """A block within it is the call, whose row tells what it cost; the hold is free again."""
    for budget in (0.4, True):
        asked = {"model_name": "gpt-5-mini", "provider": "openai", "prompt": "Why 42?", "request_model": "gpt-5-mini"}
        given = asked if budget is True else {named: asked[named]}
        with logger.invocation("boss", budget=budget, max_tokens=10, **given), logger.invocation("worker"):
            client.chat.completions.create(**CHAT)
    assert sorted(row["operation"] for row in logger.get_invocations()) == ["chain", "chain", "chat", "chat"]
    assert logger.get_statistics()["total_invocations"] == 2
    (status,) = logger.budgets.status()
    assert (status["reserved"], status["unknown"]) == (0, 0)


async def empty() -> AsyncIterator[Any]:
    """A stream of nothing."""
    for item in ():
        yield item


def test_a_block_within_that_told_no_cost_keeps_the_budget_around_it(logger: TelemetryLogger, client: Any) -> None:
    """It may have called anything."""
    with logger.invocation("boss", budget=0.4):
        client.chat.completions.create(**CHAT)
        with logger.invocation("worker"):
            pass
        client.chat.completions.create(**CHAT)
    assert logger.budgets.status()[0]["unknown"] == 0.4


def test_a_call_that_still_runs_keeps_the_budget_around_it(logger: TelemetryLogger, client: Any) -> None:
    """Until its cost is known."""
    with logger.invocation("boss", budget=0.4):
        client.chat.completions.create(**CHAT)
        stream = client.chat.completions.create(**CHAT, stream=True, stream_options={"include_usage": True})
    assert (logger.budgets.status()[0]["reserved"], logger.budgets.status()[0]["unknown"]) == (0.4, 0)
    list(stream)
    assert (logger.budgets.status()[0]["reserved"], logger.budgets.status()[0]["unknown"]) == (0, 0)


@pytest.mark.parametrize("how", ["nothing", "record", "record_usage", "sum"])
def test_what_a_block_repeats_of_its_calls_is_counted_once(how: str, logger: TelemetryLogger, client: Any) -> None:
    """A retry of its own, and then the answer or its usage is told as well."""
    with logger.invocation("boss") as call:
        with pytest.raises(openai.NotFoundError):
            client.with_options(base_url=client.base_url.copy_with(path="/404/v1")).chat.completions.create(**CHAT)
        answer = client.chat.completions.create(**CHAT)
        if how == "record":
            call.record(answer)
        elif how == "record_usage":
            call.record_usage(answer.usage)
        elif how == "sum":
            client.chat.completions.create(**CHAT)
            call.record_usage(prompt_tokens=2 * answer.usage.prompt_tokens, completion_tokens=14)
    rows = logger.get_invocations()
    assert sum(row["total_tokens"] or 0 for row in rows) == TOKENS * (2 if how == "sum" else 1)
    (block,) = [row for row in rows if row["parent_invocation_id"] is None]
    assert (block["operation"], block["cost_usd"], block["response_id"]) == ("chain", None, None)


@pytest.mark.parametrize("how", ["answer", "usage", "sum", "chunks"])
def test_what_an_outer_block_repeats_of_an_inner_one_is_counted_once(
    how: str, logger: TelemetryLogger, client: Any
) -> None:
    """By the answer's id, or the usage of a hooked call; also of a stream that was opened before, chunk by chunk."""
    opened = None
    if how == "chunks":
        opened = client.chat.completions.create(**CHAT, stream=True, stream_options={"include_usage": True})
    with logger.invocation("outer") as outer:
        if opened is not None:
            for chunk in opened:
                outer.record(chunk)
        else:
            for _ in range(2 if how == "sum" else 1):
                with logger.invocation("inner") as inner:
                    answer = client.chat.completions.create(**CHAT)
                    inner.record(answer)
            if how == "answer":
                outer.record(answer)
            elif how == "usage":
                outer.record_usage(answer.usage)
            else:
                outer.record_usage(prompt_tokens=2 * answer.usage.prompt_tokens, completion_tokens=14)
    rows = logger.get_invocations()
    assert sum(row["total_tokens"] or 0 for row in rows) == TOKENS * (2 if how == "sum" else 1)


@pytest.mark.parametrize("name", ["agent", "tool"])
def test_a_budget_counts_a_call_by_the_names_around_it(name: str, tmp_path: Path, client: Any) -> None:
    """Before it is made, and after."""
    policy = {"scope": {name: "planner"}, "daily_budget_usd": 0.5}
    policies = PoliciesConfig.model_validate({"policies": {"one": policy}})
    with TelemetryLogger(tmp_path / "telemetry.db", policies=policies).instrument("openai") as logger:
        around: dict[str, Any] = {f"{name}_name": "planner", "operation": "agent"}
        with logger.invocation(**around), logger.invocation(budget=0.4):
            client.chat.completions.create(**CHAT)
            (limit,) = logger.budgets.status()
            assert limit["reserved"] == 0.4
            with pytest.raises(BudgetExceeded), logger.invocation(budget=0.4):
                pass
        (limit,) = logger.budgets.status()
        assert (limit["reserved"], limit["unknown"]) == (0, 0)
        assert limit["spent"] > 0


def test_what_a_block_tells_beyond_its_calls_is_its_own(logger: TelemetryLogger, client: Any) -> None:
    """Such as a call by another client, which nobody hooked."""
    with logger.invocation("boss", model_name="gpt-5-mini") as call:
        client.chat.completions.create(**CHAT)
        client.chat.completions.create(**CHAT)
        call.record_usage(prompt_tokens=10, completion_tokens=5)
    assert logger.get_statistics()["total_tokens"] == 2 * TOKENS + 15


PROGRAM = """
import multiprocessing, os, signal, sys, time
from concurrent.futures import ProcessPoolExecutor
import openai
from llm_service.telemetry import AsyncTelemetryLogger, TelemetryLogger

path, url, how, said = sys.argv[1:]
logger = TelemetryLogger(path, policies=False, models=False, flush_interval=60, journal=how == "SIGKILL").instrument("openai")
client = openai.OpenAI(base_url=url, api_key="none", max_retries=0)

def ask(_=None):
    with openai.OpenAI(base_url=url, api_key="none") as mine:
        mine.chat.completions.create(model="gpt-5-mini", messages=[{"role": "user", "content": "Why 42?"}])

def suspended():
    with logger.invocation("boss", **fields):
        ask()
        yield

fields = {"operation": said} if said else {}
if how == "pool":
    context = multiprocessing.get_context("fork")
    with logger.invocation("boss", **fields), ProcessPoolExecutor(2, mp_context=context) as pool:
        list(pool.map(ask, range(4)))
elif how == "fork":
    with logger.invocation("boss", **fields):
        for _ in range(4):
            child = multiprocessing.get_context("fork").Process(target=ask)
            child.start()
            child.join()
elif how == "close":
    generators = [suspended() for _ in range(4)]
    [next(one) for one in generators]
    logger.close()
else:
    logger.flush_on_sigterm()
    with logger.invocation("boss", **fields):
        for _ in range(4):
            ask()
            if not said:
                break
        os.kill(os.getpid(), getattr(signal, how))
        time.sleep(30)
"""


@pytest.mark.costly
@pytest.mark.parametrize("said", ["", "agent"])
@pytest.mark.parametrize("how", quick(["pool", "fork", "close", "SIGTERM", "SIGKILL"], 3))
def test_no_call_within_a_block_is_lost_whatever_ends(
    how: str, said: str, server: ProviderServer, tmp_path: Path
) -> None:
    """In children, in a close beneath open blocks, by signals; within a span each call is accepted at once."""
    if how == "SIGKILL" and not said:
        pytest.skip("a block around one call is that call: it is recorded at its end")
    path = tmp_path / "telemetry.db"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(PROGRAM), str(path), f"{server.url('ok')}/v1", how, said],
        capture_output=True, text=True, timeout=60, check=False, env=environment,
    )  # fmt: skip
    ends = {"SIGTERM": -signal.SIGTERM, "SIGKILL": -signal.SIGKILL}
    assert done.returncode == ends.get(how, 0), done.stderr
    with TelemetryLogger(path, policies=False, models=False) as logger:
        calls = [row for row in logger.get_invocations() if row["operation"] == "chat"]
    expected = 1 if how == "SIGTERM" and not said else 4
    assert [row["total_tokens"] for row in calls] == [TOKENS] * expected


@pytest.mark.costly
@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.parametrize("budget", [False, 0.4])
@pytest.mark.parametrize("kind", quick(["block", "stream"], 0))
def test_a_call_that_a_fork_falls_into_is_the_parents(kind: str, budget: Any, tmp_path: Path) -> None:
    """The child ends what it inherited, and makes no row of it; then the parent has its answer."""
    code = f"""
        import os, sys
        from llm_service.telemetry import AsyncTelemetryLogger, TelemetryLogger
        logger = TelemetryLogger("telemetry.db", policies="policies.yaml", models=False)
        def fork():
            child = os.fork()
            if not child:
                sys.exit(0)
            os.waitpid(child, 0)
        if {kind!r} == "block":
            with logger.invocation("agent", budget={budget!r}) as call:
                fork()
                call.record_usage(prompt_tokens=1, completion_tokens=2, cost_usd=0.14)
        else:
            def items():
                yield {{"cost_usd": 0.14, "prompt_tokens": 1, "completion_tokens": 2}}
                fork()
                yield None
            for _ in logger.wrap_stream(items(), "agent", budget={budget!r}, usage=lambda item: item):
                pass
        print(logger.stats().ledger.duplicates, [row["unknown"] for row in logger.budgets.status()])
        logger.close()
    """
    (tmp_path / "policies.yaml").write_text("policies: {all: {daily_budget_usd: 1}}", "utf-8")
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    command = [sys.executable, "-W", "ignore", "-c", textwrap.dedent(code)]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, timeout=60, check=False, capture_output=True, text=True
    )
    assert done.stdout.splitlines()[-1:] == ["0 [0.0]"], done.stderr
    with TelemetryLogger(tmp_path / "telemetry.db", policies=False) as logger:
        (row,) = logger.get_invocations()
    assert (row["status"], row["cost_usd"]) == ("success", 0.14)
