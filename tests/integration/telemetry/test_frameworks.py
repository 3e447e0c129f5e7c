"""What adapters of frameworks record beside one plain call: tools, failures, streams that are left, calls in calls."""

import asyncio
import copy
import gc
from collections.abc import AsyncIterator
from contextlib import nullcontext
from dataclasses import fields
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from time import time
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio
from tests.framework_parts import QUESTIONS, LiteLLM, graph_of
from tests.provider_server import SECRET, ProviderServer
from tests.slices import quick

from llm_service.config.schemas import PoliciesConfig
from llm_service.pricing import sellers
from llm_service.telemetry import AsyncTelemetryLogger
from llm_service.telemetry.instrumentation.frameworks.places import place_of
from llm_service.telemetry.instrumentation.frameworks.richest import USED
from llm_service.telemetry.instrumentation.responses.answers import read_answer
from llm_service.telemetry.record.operations import SPANS

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),  # frameworks keep connections, which belong to a loop
    pytest.mark.usefixtures("connections"),
    pytest.mark.filterwarnings("ignore"),  # theirs are not of interest here
]
pytest.importorskip("langgraph")
pytest.importorskip("langchain_openai")
LIMIT = PoliciesConfig.model_validate({"policies": {"default": {"daily_budget_usd": 1}}})


@pytest_asyncio.fixture(loop_scope="module", params=[False, True], ids=["adapter", "adapter and hook"])
async def telemetry(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[AsyncTelemetryLogger]:
    """A logger, with or without the hook."""
    async with AsyncTelemetryLogger(tmp_path / "t.db", policies=LIMIT) as made:
        yield made.instrument() if request.param else made


def chat_model(server: ProviderServer, scenario: str = "ok", **more: Any) -> Any:
    """A chat model of LangChain."""
    from langchain_openai import ChatOpenAI

    url = f"{server.url(scenario)}/v1"
    return ChatOpenAI(model="gpt-5-mini", base_url=url, api_key="none", stream_usage=True, max_retries=0, **more)


def callbacks(telemetry: AsyncTelemetryLogger, **how: Any) -> Any:
    """The adapter, as LangChain is given it."""
    from llm_service.telemetry.langchain import TelemetryCallback

    return {"callbacks": [TelemetryCallback(telemetry, **how)]}


async def rows(telemetry: AsyncTelemetryLogger) -> tuple[list[Any], list[Any]]:
    """Calls and spans, oldest first."""
    found = [*reversed(await telemetry.get_invocations())]
    return [row for row in found if row["operation"] not in SPANS], [row for row in found if row["operation"] in SPANS]


async def test_litellm_in_a_graph_in_a_block_is_one_call(
    telemetry: AsyncTelemetryLogger, server: ProviderServer
) -> None:
    """Four see it, or three; without spans it is one row."""
    started = LiteLLM(telemetry)
    litellm = started.module

    async def ask(state: Any) -> dict[str, Any]:
        messages = [{"role": "user", "content": state["messages"][-1].content}]
        url = f"{server.url('ok')}/v1"
        answer = await litellm.acompletion(model="openai/gpt-5-mini", messages=messages, api_base=url, api_key="none")
        return {"messages": [{"role": "assistant", "content": answer.choices[0].message.content}]}

    async with telemetry.invocation("someone", session_id="s-1", tags=["mine"]):
        await graph_of(ask).ainvoke(QUESTIONS, callbacks(telemetry, spans=False))
    await started.has_told_of(1)
    calls, spans = await rows(telemetry)
    assert spans == []
    (call,) = calls
    assert (call["agent_name"], call["session_id"], call["tags"]) == ("someone", "s-1", ["mine"])
    assert (call["prompt_tokens"], call["cache_read_tokens"], call["cost_usd"]) == (1200, 1024, 8.36e-05)


async def test_a_tool_is_a_span_and_the_call_in_it_its_child(
    telemetry: AsyncTelemetryLogger, server: ProviderServer
) -> None:
    """Its name is inherited by the call."""
    from langchain_core.tools import tool

    model = chat_model(server)

    @tool
    async def look_up(what: str) -> str:
        """Look something up."""
        return str((await model.ainvoke(what)).text)

    await look_up.ainvoke({"what": "42"}, callbacks(telemetry))
    (call,), (span,) = await rows(telemetry)
    assert (span["operation"], span["tool_name"]) == ("execute_tool", "look_up")
    assert (call["tool_name"], call["parent_invocation_id"]) == ("look_up", span["invocation_id"])


async def test_a_failure_is_the_calls_and_the_spans_without_its_secret(
    telemetry: AsyncTelemetryLogger, server: ProviderServer
) -> None:
    """And costs nothing where it was refused."""
    model = chat_model(server, "secret")

    async def ask(state: Any) -> Any:
        return await model.ainvoke(state["messages"])

    with pytest.raises(Exception, match="Incorrect API key"):
        await graph_of(ask).ainvoke(QUESTIONS, callbacks(telemetry))
    (call,), spans = await rows(telemetry)
    assert (call["status"], call["http_status"], call["cost_usd"]) == ("error", 401, 0)
    assert [span["status"] for span in spans] == ["error", "error"]
    assert SECRET not in str([call, spans])


@pytest.mark.parametrize("begun", [False, True])
@pytest.mark.parametrize("framework", ["langchain", "litellm"])
async def test_a_stream_whose_task_is_cancelled_is_a_success_once_it_has_begun(
    telemetry: AsyncTelemetryLogger, framework: str, *, begun: bool
) -> None:
    """As that of a client; one whose request is not answered yet is cancelled itself."""
    reading, asked_for = asyncio.Event(), asyncio.Event()

    async def ask(url: str) -> None:
        asked_for.set()
        if framework == "litellm":
            litellm = LiteLLM(telemetry).module
            stream = await litellm.acompletion(
                model="openai/gpt-5-mini", messages=QUESTIONS["messages"], api_key="none", stream=True, api_base=url
            )
        else:
            model = chat_model(server, scenario, use_responses_api=False)
            stream = model.astream("Why 42?", config=callbacks(telemetry))
        async for _ in stream:
            reading.set()

    scenario = "slow-stream" if begun else "slow"
    with ProviderServer() as server:
        task = asyncio.create_task(ask(f"{server.url(scenario)}/v1"))
        await (reading if begun else asked_for).wait()
        while not server.asked[scenario]:  # noqa: ASYNC110 - a thread counts
            await asyncio.sleep(0.001)
        while not task.done():  # now and then LangChain overlooks it, also without us
            task.cancel()
            await asyncio.wait([task], timeout=0.1)
        with pytest.raises(asyncio.CancelledError):
            await task
        server.released.set()
    del task
    gc.collect()
    await telemetry.aclose()
    async with AsyncTelemetryLogger(telemetry.db_path) as after:
        (row,) = await after.get_invocations()
    expected = ("success", None, "cancelled") if begun else ("error", "cancelled", None)
    assert (row["status"], row["error_type"], row["finish_reason"]) == expected
    assert row["stream"] or not begun


async def test_a_stream_that_is_left_is_cancelled_and_what_follows_is_not_in_it(
    telemetry: AsyncTelemetryLogger, server: ProviderServer
) -> None:
    """What the consumer calls between two chunks is a call of its own."""
    model = chat_model(server)
    stream = model.astream("Why 42?", config=callbacks(telemetry))
    async for _ in stream:
        await chat_model(server).ainvoke("And 43?", callbacks(telemetry))
        break
    await stream.aclose()
    calls, _ = await rows(telemetry)
    assert [(call["stream"], call["status"], call["parent_invocation_id"]) for call in calls] == [
        (1, "success", None), (None, "success", None),
    ]  # fmt: skip
    assert [call["finish_reason"] for call in calls] == ["cancelled", "stop"]
    assert calls[1]["prompt_tokens"] == 1200


async def test_what_langchain_had_cached_is_no_call(telemetry: AsyncTelemetryLogger, server: ProviderServer) -> None:
    """Nobody was asked."""
    from langchain_core.caches import InMemoryCache

    model = chat_model(server, cache=InMemoryCache())
    for _ in range(2):
        async with telemetry.invocation("someone", operation="agent"):
            await model.ainvoke("Why 42?", callbacks(telemetry))
    calls, spans = await rows(telemetry)
    assert (len(calls), len(spans)) == (1, 2)


async def test_a_block_that_records_what_its_graph_answered_is_not_counted_again(
    telemetry: AsyncTelemetryLogger, server: ProviderServer
) -> None:
    """It repeats what the call within told."""
    model = chat_model(server)

    async def ask(state: Any) -> Any:
        return {"messages": [await model.ainvoke(state["messages"])]}

    async with telemetry.invocation("someone") as block:
        block.record((await graph_of(ask).ainvoke(QUESTIONS, callbacks(telemetry)))["messages"][-1])
    calls, spans = await rows(telemetry)
    assert len(calls) == 1
    assert [span["total_tokens"] for span in spans] == [None] * 3


async def test_a_budget_around_a_graph_is_settled_by_the_calls_in_it(
    telemetry: AsyncTelemetryLogger, server: ProviderServer
) -> None:
    """What it reserved is free again: the call's row has the cost."""
    model = chat_model(server)

    async def ask(state: Any) -> Any:
        return {"messages": [await model.ainvoke(state["messages"])]}

    for _ in range(3):
        async with telemetry.invocation("someone", budget=0.9):
            await graph_of(ask).ainvoke(QUESTIONS, callbacks(telemetry))
    calls, _ = await rows(telemetry)
    assert [call["cost_usd"] for call in calls] == [8.36e-05] * 3


async def test_several_models_at_once_keep_their_own_parents(
    telemetry: AsyncTelemetryLogger, server: ProviderServer
) -> None:
    """Each run is in a context of its own."""
    model = chat_model(server)

    async def ask(number: int) -> None:
        async with telemetry.invocation(f"agent-{number}", operation="agent"):
            await model.abatch(["one", "two"], callbacks(telemetry))

    await asyncio.gather(*(ask(number) for number in range(10)))
    calls, spans = await rows(telemetry)
    assert len(calls) == 20
    names = {span["invocation_id"]: span["agent_name"] for span in spans}
    assert sorted(call["agent_name"] for call in calls) == sorted(names[call["parent_invocation_id"]] for call in calls)


@pytest.mark.slow
async def test_litellm_tells_each_logger_of_a_process(server: ProviderServer, tmp_path: Path) -> None:
    """It takes callbacks for one whose public attributes are equal; those of closed loggers stand in nobody's way."""
    from llm_service.telemetry.litellm import TelemetryCallback

    started = LiteLLM(None)
    litellm = started.module
    asked = {"model": "openai/gpt-5-mini", "messages": QUESTIONS["messages"], "api_key": "none"}
    for number in range(40):  # more than LiteLLM takes
        async with AsyncTelemetryLogger(tmp_path / f"{number}.db") as made:
            litellm.callbacks = [TelemetryCallback(made), started.last]
            await litellm.acompletion(**asked, api_base=f"{server.url('ok')}/v1", user=f"user-{number}")
            await started.has_told_of(1)
            assert [row["user_id"] for row in await made.get_invocations()] == [f"user-{number}"]
    async with (
        AsyncTelemetryLogger(tmp_path / "one.db") as one,
        AsyncTelemetryLogger(tmp_path / "other.db") as other,
    ):
        litellm.callbacks = [TelemetryCallback(one), TelemetryCallback(other), TelemetryCallback(one)]
        litellm.callbacks.append(started.last)
        await litellm.acompletion(**asked, api_base=f"{server.url('ok')}/v1")
        await started.has_told_of(1)
        assert [len(await telemetry.get_invocations()) for telemetry in (one, other)] == [1, 1]
    assert TelemetryCallback(one).number != TelemetryCallback(other).number


RETRIES = list(
    product(
        ["429", "429-then-ok", "slow-then-ok"], ["anthropic/claude-opus-4-6", "openai/gpt-5-mini"], [False, True],
        [False, True],
    )
)  # fmt: skip


@pytest.mark.parametrize(("scenario", "model", "asynchronous", "in_block"), quick(RETRIES, every=10))
async def test_what_litellm_tries_again_is_one_call(
    scenario: str, model: str, asynchronous: bool, in_block: bool, telemetry: AsyncTelemetryLogger
) -> None:
    """Also where OpenAI's client sends it again, too; what timed out may have been billed as well."""
    started = LiteLLM(telemetry, asynchronous=asynchronous)
    hooked = model.startswith("openai")
    with ProviderServer() as server, telemetry.instrumenting("openai") if hooked else nullcontext():
        url = server.url(scenario) + "/v1" * hooked
        asked: dict[str, Any] = {"model": model, "messages": QUESTIONS["messages"], "api_base": url, "api_key": "none"}
        asked |= {"num_retries": 2, "timeout": 0.3 if scenario.startswith("slow") else 30}
        async with telemetry.invocation("boss") if in_block else nullcontext():
            with pytest.raises(started.module.RateLimitError) if scenario == "429" else nullcontext():
                if asynchronous:
                    await started.module.acompletion(**asked)
                else:
                    await asyncio.to_thread(started.module.completion, **asked)
        requests = server.asked[scenario]
    if scenario != "429" and not asynchronous:
        await started.has_told_of(1)
    await asyncio.sleep(0)
    await telemetry.aclose()
    async with AsyncTelemetryLogger(telemetry.db_path) as after:
        (row,) = await after.get_invocations()
    expected = {"429": ("error", None), "429-then-ok": ("success", "reported"), "slow-then-ok": ("success", "partial")}
    assert (row["status"], row["usage_source"]) == expected[scenario]
    assert row["attempts"] == requests > 1


STREAMS_AGAIN = [
    pytest.param(*way, id="-".join(str(one) for one in way))
    for way in product(["read", "left", "cancelled", "refused"], [False, True], [0, 2])
]  # fmt: skip


@pytest.mark.parametrize(("end", "hooked", "below"), quick(STREAMS_AGAIN, every=12))
async def test_a_stream_that_litellm_tries_again_ends_as_one_call(
    end: str, hooked: bool, below: int, telemetry: AsyncTelemetryLogger
) -> None:
    """Whoever sends it again, LiteLLM or (`below`) the client beneath, and with or without the hook into that."""
    started = LiteLLM(telemetry)
    scenario = "429" if end == "refused" else "429-then-ok"
    asked: dict[str, Any] = {
        "model": "openai/gpt-5-mini", "messages": QUESTIONS["messages"], "api_key": "none", "stream": True,
        "stream_options": {"include_usage": True}, "num_retries": 2, "max_retries": below,
    }  # fmt: skip
    begun = asyncio.Event()

    async def ask(url: str) -> None:
        stream = await started.module.acompletion(**asked, api_base=url)
        async for _ in stream:
            if end == "left":
                break
            if end == "cancelled":
                begun.set()
                await asyncio.Event().wait()
        await stream.aclose()

    with ProviderServer() as server, telemetry.instrumenting("openai") if hooked else nullcontext():
        task = asyncio.create_task(ask(f"{server.url(scenario)}/v1"))
        if end == "cancelled":
            await begun.wait()
            task.cancel()
        raised = {"refused": started.module.RateLimitError, "cancelled": asyncio.CancelledError}.get(end)
        with pytest.raises(raised) if raised else nullcontext():
            await task
        del task
        sent = server.asked[scenario]
    if end == "read":
        await started.has_told_of(1)
    gc.collect()
    await telemetry.aclose()
    async with AsyncTelemetryLogger(telemetry.db_path) as after:
        (row,) = await after.get_invocations()
    assert row["stream"]
    assert row["attempts"] in ({sent} if hooked else {sent, None})
    if end == "read":
        assert (row["status"], row["prompt_tokens"], row["finish_reason"]) == ("success", 1200, "stop")
    else:
        assert row["prompt_tokens"] is None
        told = (row["status"], row["error_type"] or row["finish_reason"])
        assert told in ENDS[end]


ENDS = {
    "left": {("success", "cancelled")},
    "cancelled": {("success", "cancelled")},
    "refused": {("error", "RateLimitError")},
}


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize("collected", [True, False])
async def test_a_stream_of_litellm_that_is_left_is_cancelled(
    asynchronous: bool, collected: bool, telemetry: AsyncTelemetryLogger, server: ProviderServer
) -> None:
    """When it is collected, or its logger closes."""
    started = LiteLLM(telemetry, asynchronous=asynchronous)
    asked: dict[str, Any] = {
        "model": "openai/gpt-5-mini", "messages": QUESTIONS["messages"], "api_key": "none", "stream": True,
        "api_base": f"{server.url('slow-stream')}/v1",
    }  # fmt: skip
    if asynchronous:
        stream = await started.module.acompletion(**asked)
        await anext(aiter(stream))
    else:
        stream = await asyncio.to_thread(started.module.completion, **asked)
        await asyncio.to_thread(next, iter(stream))
    kept = None if collected else stream
    del stream
    for _ in range(200 if collected else 0):  # LiteLLM holds it for a while, and it holds itself
        gc.collect()
        if await telemetry.get_invocations():
            break
        await asyncio.sleep(0.01)
    if not collected:
        await telemetry.aclose()
    async with AsyncTelemetryLogger(telemetry.db_path) as after:
        (row,) = await after.get_invocations()
    assert (row["status"], row["error_type"], row["finish_reason"]) == ("success", None, "cancelled")
    assert row["stream"]
    del kept


async def test_a_stream_of_litellm_that_is_tried_again_is_not_ended_by_the_first(tmp_path: Path) -> None:
    """Whose details are collected; and copies of them end nothing."""
    from llm_service.telemetry.litellm import TelemetryCallback

    async with AsyncTelemetryLogger(tmp_path / "t.db") as made:
        callback, now = TelemetryCallback(made), datetime.now(tz=UTC)
        asked = {"litellm_call_id": str(uuid4()), "model": "m", "stream": True, "litellm_params": {}}
        first, second = dict(asked), dict(asked)
        for told in (first, second):
            callback.log_pre_api_call("m", [MESSAGE], told)
            callback.log_post_api_call(told, None, now, None)
        del told
        copy.deepcopy(second).clear()
        first.clear()
        del first
        gc.collect()
        assert await made.get_invocations() == []
        await callback.async_log_stream_event(second, None, now, now)
        del second
        gc.collect()
        (row,) = await made.get_invocations()
    assert (row["status"], row["finish_reason"], row["attempts"]) == ("success", "cancelled", 2)


async def test_litellm_keeps_its_own_cost_and_a_mock_is_no_call(
    telemetry: AsyncTelemetryLogger, server: ProviderServer
) -> None:
    """And a failure of it is one row."""
    started = LiteLLM(telemetry)
    litellm = started.module
    asked: dict[str, Any] = {"model": "openai/gpt-5-mini", "messages": QUESTIONS["messages"], "api_key": "none"}
    await litellm.acompletion(**asked, mock_response="42")
    for scenario in ("secret", "ok"):
        try:
            await litellm.acompletion(
                **asked, api_base=f"{server.url(scenario)}/v1", metadata={"session_id": "s-1", "tags": ["a"]}
            )
        except litellm.AuthenticationError:
            assert scenario == "secret"
    await litellm.aembedding(
        model="openai/text-embedding-3-small", input=["why"], api_base=f"{server.url('ok')}/v1", api_key="none"
    )
    await started.has_told_of(4)
    calls, _ = await rows(telemetry)
    assert [(call["status"], call["operation"]) for call in calls] == [
        ("error", "chat"), ("success", "chat"), ("success", "embeddings"),
    ]  # fmt: skip
    assert [call["session_id"] for call in calls] == ["s-1", "s-1", None]
    assert calls[1]["tags"] == ["a"]
    assert SECRET not in str(calls)


async def test_agents_tools_and_handoffs_are_spans(telemetry: AsyncTelemetryLogger, server: ProviderServer) -> None:
    """The server answers with a call of the tool as long as it is offered one, so the run ends by its turns."""
    agents = pytest.importorskip("agents")
    from openai import AsyncOpenAI

    from llm_service.telemetry.openai_agents import TelemetryProcessor

    @agents.function_tool
    def add() -> str:
        """Add."""
        return "42"

    agents.set_trace_processors([TelemetryProcessor(telemetry)])
    async with AsyncOpenAI(base_url=f"{server.url('ok')}/v1", api_key="none") as client:
        model = agents.OpenAIChatCompletionsModel("gpt-5-mini", client)
        agent = agents.Agent("helper", model=model, tools=[add], reset_tool_choice=False)
        with pytest.raises(agents.MaxTurnsExceeded):
            await agents.Runner.run(agent, "Why?", max_turns=2, run_config=agents.RunConfig(group_id="s-1"))
    agents.set_trace_processors([])
    calls, spans = await rows(telemetry)
    assert [call["prompt_tokens"] for call in calls] == [1200, 1200]
    assert {call["session_id"] for call in calls} == {"s-1"}
    operations = sorted(span["operation"] for span in spans)
    assert operations == ["execute_tool", "invoke_agent", "workflow"]
    assert [span["tool_name"] for span in spans if span["operation"] == "execute_tool"] == ["add"]


async def test_a_failing_agent_is_an_error_of_call_and_span(
    telemetry: AsyncTelemetryLogger, server: ProviderServer
) -> None:
    """Of both frameworks."""
    agents = pytest.importorskip("agents")
    pydantic_ai = pytest.importorskip("pydantic_ai")
    from openai import AsyncOpenAI
    from pydantic_ai.models.openai import OpenAIChatModel
    from pydantic_ai.providers.openai import OpenAIProvider

    from llm_service.telemetry.openai_agents import TelemetryProcessor
    from llm_service.telemetry.pydantic_ai import TelemetryCapability

    agents.set_trace_processors([TelemetryProcessor(telemetry)])
    async with AsyncOpenAI(base_url=f"{server.url('secret')}/v1", api_key="none", max_retries=0) as client:
        agent = agents.Agent("helper", model=agents.OpenAIChatCompletionsModel("gpt-5-mini", client))
        with pytest.raises(Exception, match="Incorrect"):
            await agents.Runner.run(agent, "Why?")
        model = OpenAIChatModel("gpt-5-mini", provider=OpenAIProvider(openai_client=client))
        with pytest.raises(Exception, match="Incorrect"):
            await pydantic_ai.Agent(model, capabilities=[TelemetryCapability(telemetry)]).run("Why?")
    agents.set_trace_processors([])
    calls, spans = await rows(telemetry)
    assert [call["status"] for call in calls] == ["error", "error"]
    assert {span["status"] for span in spans if span["operation"] == "invoke_agent"} >= {"error"}
    assert SECRET not in str([calls, spans])


async def test_a_tool_of_pydantic_ai_is_a_span(telemetry: AsyncTelemetryLogger, server: ProviderServer) -> None:
    """The server answers with a call of it as long as it is offered one, so the run ends by its limit."""
    pydantic_ai = pytest.importorskip("pydantic_ai")
    from pydantic_ai.models.openai import OpenAIChatModel
    from pydantic_ai.providers.openai import OpenAIProvider

    from llm_service.telemetry.pydantic_ai import TelemetryCapability

    provider = OpenAIProvider(base_url=f"{server.url('ok')}/v1", api_key="none")
    agent = pydantic_ai.Agent(
        OpenAIChatModel("gpt-5-mini", provider=provider), name="helper", capabilities=[TelemetryCapability(telemetry)]
    )

    @agent.tool_plain
    def add() -> int:
        """Add."""
        return 42

    with pytest.raises(pydantic_ai.UsageLimitExceeded):
        await agent.run("Why?", usage_limits=pydantic_ai.UsageLimits(request_limit=2))
    calls, spans = await rows(telemetry)
    assert [call["prompt_tokens"] for call in calls] == [1200, 1200]
    assert [span["tool_name"] for span in spans if span["operation"] == "execute_tool"] == ["add", "add"]


CUTS = [*product(["breaks-off", "secret", "break", "cancel", "early"], ["openai", "anthropic"], [False, True])]
"""How a stream ends, whose model it is, and whether a block is around. `early`: cancelled before anything arrives."""


def model_of_pydantic_ai(maker: str, url: str) -> Any:
    """A model of that maker, whose client sends nothing again."""
    if maker == "openai":
        from openai import AsyncOpenAI
        from pydantic_ai.models.openai import OpenAIChatModel
        from pydantic_ai.providers.openai import OpenAIProvider

        asked = AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)
        return OpenAIChatModel("gpt-5-mini", provider=OpenAIProvider(openai_client=asked))
    from anthropic import AsyncAnthropic
    from pydantic_ai.models.anthropic import AnthropicModel
    from pydantic_ai.providers.anthropic import AnthropicProvider

    client = AsyncAnthropic(base_url=url, api_key="none", max_retries=0)
    return AnthropicModel("claude-sonnet-4-5", provider=AnthropicProvider(anthropic_client=client))


@pytest.mark.parametrize(("end", "maker", "in_block"), quick(CUTS, 0, 3, 6, 8, 13, 16))
async def test_a_stream_of_pydantic_ai_that_is_cut_is_one_call_and_tells_why(
    end: str, maker: str, in_block: bool, telemetry: AsyncTelemetryLogger
) -> None:
    """It breaks off, is refused, or is left: of all Pydantic AI tells the call alone that it is cancelled."""
    pydantic_ai = pytest.importorskip("pydantic_ai")
    from llm_service.telemetry.pydantic_ai import TelemetryCapability

    scenario = end if end in {"breaks-off", "secret"} else "slow-stream"
    begun = asyncio.Event()
    with ProviderServer() as server:
        model = model_of_pydantic_ai(maker, server.url(scenario))

        async def sends(_: object) -> None:
            begun.set()

        if end == "early":
            model.client._client.event_hooks["request"].append(sends)
        agent = pydantic_ai.Agent(model, capabilities=[TelemetryCapability(telemetry)])

        async def ask() -> None:
            async with agent.run_stream("Why?") as result:
                async for _ in result.stream_text(debounce_by=None):
                    begun.set()
                    if end == "break":
                        break

        async def ask_around() -> None:
            with telemetry.invocation("ask") if in_block else nullcontext():
                await ask()

        task = asyncio.create_task(ask_around())
        if end in {"cancel", "early"}:
            await begun.wait()
            task.cancel()
        (raised,) = await asyncio.gather(task, return_exceptions=True)
        server.released.set()
    calls, spans = await rows(telemetry)
    agents = [span for span in spans if span["operation"] == "invoke_agent"]
    if end == "early":
        assert [(row["status"], row["error_type"]) for row in [*calls, *agents]] == [("error", "cancelled")] * 2
        return
    (call,), (span,) = calls, agents
    if end in {"break", "cancel"}:
        assert isinstance(raised, asyncio.CancelledError) is (end == "cancel")
        assert (call["status"], call["finish_reason"], call["stream"]) == ("success", "cancelled", 1)
        assert (span["status"], span["error_type"]) == ("success", None)
    else:
        assert (call["status"], call["finish_reason"]) == ("error", None)
        assert (span["status"], span["error_type"]) == ("error", type(raised).__name__)
        if not call["source"].startswith("sdk:"):
            assert (call["error_type"], call["http_status"]) == (span["error_type"], span["http_status"])
        assert call["error_type"] != "cancelled"
    assert SECRET not in str(calls)


SESSIONS = ("session_id", "thread_id", "conversation_id")
MESSAGE = {"role": "user", "content": "Why 42?"}
COUNTS = {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120}
SOLD = ("claude-opus-4-5", "gpt-4.1", "gemini-2.5-flash")


async def by_langchain(telemetry: AsyncTelemetryLogger, model: str, label: str) -> None:
    """A call that LangChain tells of."""
    from langchain_core.messages import AIMessage
    from langchain_core.outputs import ChatGeneration, LLMResult

    from llm_service.telemetry.langchain import TelemetryCallback

    callback, run = TelemetryCallback(telemetry), uuid4()
    callback.on_chat_model_start({}, [[]], run_id=run, metadata={"ls_provider": label, "ls_model_name": model})
    usage: Any = {"input_tokens": 100, "output_tokens": 20, "total_tokens": 120}
    message = AIMessage("42", usage_metadata=usage, response_metadata={"model_name": model})
    callback.on_llm_end(LLMResult(generations=[[ChatGeneration(message=message)]]), run_id=run)


async def by_litellm(telemetry: AsyncTelemetryLogger, model: str, label: str) -> None:
    """The same of LiteLLM."""
    from llm_service.telemetry.litellm import TelemetryCallback

    callback, now = TelemetryCallback(telemetry), datetime.now(tz=UTC)
    told = {"litellm_call_id": str(uuid4()), "model": model, "custom_llm_provider": label, "litellm_params": {}}
    callback.log_pre_api_call(model, [MESSAGE], told)
    callback.log_success_event(told, {"object": "chat.completion", "model": model, "usage": COUNTS}, now, now)


async def by_pydantic_ai(telemetry: AsyncTelemetryLogger, model: str, label: str, **more: Any) -> None:
    """The same of Pydantic AI."""
    from pydantic_ai.messages import ModelResponse
    from pydantic_ai.usage import RequestUsage

    from llm_service.telemetry.pydantic_ai import TelemetryCapability

    asked = SimpleNamespace(model=SimpleNamespace(model_name=model, system=label))

    async def answer(_: Any) -> ModelResponse:
        usage = more.pop("usage", None) or RequestUsage(input_tokens=100, output_tokens=20)
        return ModelResponse(parts=[], usage=usage, model_name=model, **more)

    await TelemetryCapability(telemetry).wrap_model_request(None, request_context=asked, handler=answer)


ADAPTERS = {"langchain_core": by_langchain, "litellm": by_litellm, "pydantic_ai": by_pydantic_ai}


@pytest.mark.parametrize("adapter", ADAPTERS)
async def test_a_call_has_the_price_of_the_seller_that_the_framework_names_or_none(
    adapter: str, tmp_path: Path
) -> None:
    """Of each label that the prices know, and of others; the price of the model's maker is not taken instead."""
    pytest.importorskip(adapter)
    labels = sorted(set(sellers.PROVIDERS) | {"snowflakecortex", "vercel", "a-new-one"})
    async with AsyncTelemetryLogger(tmp_path / "t.db", models=False) as telemetry:
        for model, label in product(SOLD, labels):
            await ADAPTERS[adapter](telemetry, model, label)
        found = [*reversed(await telemetry.get_invocations(limit=1000))]
        assert len(found) == len(SOLD) * len(labels)
        for row, (model, label) in zip(found, product(SOLD, labels), strict=True):
            rates = telemetry.prices.rates(model, label, int(time() * 1e6))
            told = (row["provider"], model, label)
            if label == "google" and rates is not None:  # Pydantic AI's name of the Gemini API
                rates = telemetry.prices.rates(model, "gemini", int(time() * 1e6))
            cost = None if rates is None else rates.cost_nanos(100, 20)
            assert row["cost_usd"] == (None if cost is None else pytest.approx(cost / 1e9)), told


async def priced(telemetry: AsyncTelemetryLogger, model: str, label: str, **more: Any) -> tuple[Any, Any]:
    """The row that Pydantic AI's adapter makes of an answer, and that of its usage and tier recorded by hand."""
    await by_pydantic_ai(telemetry, model, label, **more)
    async with telemetry.invocation(model_name=model, provider=place_of(label)["provider"]) as call:
        call.record_usage(more["usage"])
        call.set(service_tier=(more.get("provider_details") or {}).get("service_tier"))
    told, by_hand = reversed(await telemetry.get_invocations(limit=2))
    assert {field: told[field] for field in USED - {"usage_source"}} == {
        field: by_hand[field] for field in USED - {"usage_source"}
    }
    return told, by_hand


IN_TEXT = {
    "input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "cache_write_1h_tokens",
    "cache_write_5m_tokens", "output_reasoning_tokens", "input_text_tokens", "output_text_tokens",
    "cache_text_read_tokens",
}  # fmt: skip
"""Units of Pydantic AI's counts that have the price of text, or one that is known; the cost of any other is not."""


async def test_each_count_of_pydantic_ai_is_read_as_by_hand(tmp_path: Path) -> None:
    """Of each unit that it may take out of an answer of any provider, and each field of its usage."""
    pytest.importorskip("pydantic_ai")
    from genai_prices.data_snapshot import get_snapshot
    from pydantic_ai.usage import RequestUsage

    units = {field.name for field in fields(RequestUsage)} - {"details", "cost", "unmeasured_requests"}
    extractors = [one for provider in get_snapshot().providers for one in provider.extractors or []]
    units |= {mapping.dest for one in extractors for mapping in one.mappings}
    assert units > IN_TEXT - {"cache_write_5m_tokens"}
    async with AsyncTelemetryLogger(tmp_path / "t.db", models=False) as telemetry:
        for unit in sorted(units):
            counts = {"input_tokens": 1000, "output_tokens": 500, "cache_write_tokens": 9, unit: 9}
            row, _ = await priced(telemetry, "claude-opus-4-5", "anthropic", usage=RequestUsage(**counts))
            assert (row["cost_usd"] is not None) == (unit in IN_TEXT), unit
            assert (row["unpriced_usage"] or "").startswith("" if unit in IN_TEXT else unit)


DETAILS: dict[str, tuple[dict[str, Any], bool]] = {
    "anthropic, compacted": (
        {"input_tokens": 900, "thinking_tokens": 4, "compaction_input_tokens": 100, "compaction_iterations": 1}, True,
    ),
    "anthropic, an advisor": ({"advisor_input_tokens": 100, "advisor_iterations": 1}, False),
    "a search": ({"web_search_requests": 1}, False),
    "xai, a tool": ({"server_side_tools_web_search": 1}, False),
    "deepseek": ({"prompt_cache_hit_tokens": 400, "prompt_cache_miss_tokens": 600}, True),
    "openai": ({"reasoning_tokens": 3, "accepted_prediction_tokens": 2, "rejected_prediction_tokens": 1}, True),
    "openai, audio": ({"audio_tokens": 3}, False),
    "gemini": ({"text_prompt_tokens": 800, "image_prompt_tokens": 200, "input_image_tokens": 200, "image_cache_tokens": 9, "cache_image_read_tokens": 9}, True),
    "gemini, a tool": ({"tool_use_prompt_tokens": 50, "text_tool_use_prompt_tokens": 50, "input_tool_tokens": 50, "input_text_tool_tokens": 50}, True),
    "gemini, a tool beside the prompt": ({"tool_use_prompt_tokens": 50}, False),
    "gemini, audio": ({"audio_prompt_tokens": 900, "text_prompt_tokens": 100}, False),
    "gemini, an image": ({"image_candidates_tokens": 9}, False),
    "another's image": ({"input_image_tokens": 9}, False),
}  # fmt: skip


@pytest.mark.parametrize(("details", "known"), DETAILS.values(), ids=DETAILS)
async def test_details_of_pydantic_ai_are_parts_of_its_counts_or_make_the_cost_unknown(
    details: dict[str, Any], known: bool, tmp_path: Path
) -> None:
    """As each provider's model writes them; with names of its own beside them."""
    pytest.importorskip("pydantic_ai")
    from pydantic_ai.usage import RequestUsage

    own = {
        name: details[name]
        for name in details
        if name.startswith(("input_i", "input_t", "cache_i")) and name != "input_tokens"
    }
    cached = details.get("prompt_cache_hit_tokens", 0)
    inside = {name: value for name, value in details.items() if name not in own}
    usage = RequestUsage(input_tokens=1000, output_tokens=500, cache_read_tokens=cached, details=inside, **own)
    async with AsyncTelemetryLogger(tmp_path / "t.db", models=False) as telemetry:
        row, _ = await priced(telemetry, "gemini-2.5-flash", "google", usage=usage)
        assert (row["cost_usd"] is not None) == known, row["unpriced_usage"]
        assert (row["prompt_tokens"], row["completion_tokens"]) == (1000, 500)


async def test_what_pydantic_ai_keeps_beside_the_usage_has_its_price(tmp_path: Path) -> None:
    """Tiers, a seller's charge, tools that the provider ran; and counts of 0 are none."""
    pytest.importorskip("pydantic_ai")
    from pydantic_ai.messages import ModelResponse, NativeToolCallPart
    from pydantic_ai.usage import RequestUsage

    usage = RequestUsage(input_tokens=100, output_tokens=100)
    async with AsyncTelemetryLogger(tmp_path / "t.db", models=False) as telemetry:

        async def told(model: str, label: str, **more: Any) -> Any:
            await by_pydantic_ai(telemetry, model, label, **{"usage": usage, **more})
            return (await telemetry.get_invocations(limit=1))[0]

        for tier, cost in (("priority", 0.00225), ("flex", 0.0005625), (None, 0.001125)):
            row = await told("gpt-5", "openai", provider_details={"service_tier": tier})
            assert (row["service_tier"], row["cost_usd"]) == (tier, cost)
        row = await told("gemini-2.5-flash", "google", provider_details={"traffic_type": "ON_DEMAND_FLEX"})
        assert row["service_tier"] == "flex"
        row = await told("claude-opus-4-6", "anthropic", provider_details={"speed": "fast"})
        assert row["service_tier"] == "fast"
        charge = {"cost": 0.01, "is_byok": False, "upstream_inference_cost": None}
        row = await told("openai/gpt-5", "openrouter", provider_details=charge)
        assert (row["cost_usd"], row["cost_source"]) == (0.01, "reported")
        row = await told("openai/gpt-5", "openrouter", provider_details={"server_tool_use": {"web_search_requests": 2}})
        assert (row["cost_usd"], row["unpriced_usage"]) == (None, "server_tool_use.web_search_requests: 2")
        for usage in (RequestUsage(), RequestUsage(unmeasured_requests=1)):
            row = await told("gpt-5", "openai", usage=usage)
            assert (row["cost_usd"], row["prompt_tokens"], row["usage_source"]) == (None, None, "missing")
        for tool, seller, known in (
            ("code_execution", "google", True), ("code_execution", "openai", False), ("web_fetch", "anthropic", True),
            ("file_search", "openai", False), ("mcp_server:mine", "openai", True),
        ):  # fmt: skip
            part = NativeToolCallPart(tool, {}, "a", provider_name=seller)
            answer = ModelResponse(
                [part], usage=RequestUsage(input_tokens=9, output_tokens=9), model_name="m", provider_name=seller
            )
            assert ("unpriced_usage" not in read_answer(answer)) == known, tool


async def test_of_models_that_are_tried_in_turn_the_one_that_answered_is_the_seller(tmp_path: Path) -> None:
    """Not the first, where it is asked."""
    pytest.importorskip("pydantic_ai")
    async with AsyncTelemetryLogger(tmp_path / "t.db", models=False) as telemetry:
        for more, seller in (({"provider_name": "azure"}, "azure.ai.openai"), ({}, None)):
            await by_pydantic_ai(telemetry, "gpt-5", "fallback:openai,azure", **more)
            assert (await telemetry.get_invocations(limit=1))[0]["provider"] == seller


async def test_a_generation_of_the_agents_sdk_has_the_tier_and_the_tools_of_its_output(tmp_path: Path) -> None:
    """And one without usage, which the SDK tells as 0, has no cost."""
    agents = pytest.importorskip("agents")
    from llm_service.telemetry.openai_agents import TelemetryProcessor

    usage = {"requests": 1, "input_tokens": 100, "output_tokens": 100, "total_tokens": 200}
    outputs: list[tuple[dict[str, Any], dict[str, Any], Any, Any]] = [
        ({"object": "response", "status": "completed", "service_tier": "priority"}, usage, 0.00225, None),
        ({"object": "response", "output": [{"type": "web_search_call", "id": "s"}]}, usage, None, "output.web_search_call: 1"),
        ({"object": "response", "status": "completed"}, dict.fromkeys(usage, 0) | {"requests": 1}, None, None),
    ]  # fmt: skip
    async with AsyncTelemetryLogger(tmp_path / "t.db", models=False) as telemetry:
        agents.set_trace_processors([TelemetryProcessor(telemetry)])
        for output, counts, cost, unpriced in outputs:
            with agents.trace("t"), agents.generation_span(model="gpt-5") as span:
                span.span_data.output, span.span_data.usage = [output], counts
            row = (await rows(telemetry))[0][-1]
            assert (row["cost_usd"], row["unpriced_usage"]) == (cost, unpriced)
        answer = SimpleNamespace(id="r", model="gpt-5", object="response", service_tier="flex", usage=usage)
        with agents.trace("t"), agents.tracing.response_span() as made:
            made.span_data.response = answer
        agents.set_trace_processors([])
        row = (await rows(telemetry))[0][-1]
        assert (row["service_tier"], row["cost_usd"]) == ("flex", 0.0005625)


ERRORS: dict[str, Any] = {
    "an exception": ValueError("boom"), "its class": ValueError, "a text": "boom", "an empty text": "",
    "an error of a provider": {"message": "boom", "code": 500}, "an empty one": {}, "a number": 500, "nothing": None,
}  # fmt: skip


@pytest.mark.parametrize("error", ERRORS.values(), ids=ERRORS)
@pytest.mark.parametrize("adapter", ["langchain_core", "litellm", "agents"])
async def test_what_a_framework_says_has_failed_is_no_success_whatever_it_tells_of_how(
    adapter: str, error: Any, tmp_path: Path
) -> None:
    """Calls, and spans."""
    pytest.importorskip(adapter)
    async with AsyncTelemetryLogger(tmp_path / "t.db") as telemetry:
        if adapter == "langchain_core":
            langchain_fails(telemetry, error)
        elif adapter == "litellm":
            await litellm_fails(telemetry, error)
        else:
            agents_fail(telemetry, {} if error is None else error)
        found = await telemetry.get_invocations()
        assert found
        assert {row["status"] for row in found} == {"error"}
        assert all(row["error_type"] is None or "boom" not in row["error_type"] for row in found)


def langchain_fails(telemetry: AsyncTelemetryLogger, error: Any) -> None:
    """Whatever has an end of its own there."""
    from llm_service.telemetry.langchain import TelemetryCallback

    callback = TelemetryCallback(telemetry)
    for kind in ("llm", "chain", "tool", "retriever"):
        run = uuid4()
        getattr(callback, f"on_{kind}_start")({}, [], run_id=run)
        getattr(callback, f"on_{kind}_error")(error, run_id=run)


async def litellm_fails(telemetry: AsyncTelemetryLogger, error: Any) -> None:
    """Both events, of a call whose beginning was told and of one whose was not."""
    from llm_service.telemetry.litellm import TelemetryCallback

    callback, now = TelemetryCallback(telemetry), datetime.now(tz=UTC)
    for begun, asynchronous in product((True, False), repeat=2):
        told = {"litellm_call_id": str(uuid4()), "model": "m", "exception": error, "litellm_params": {}}
        if begun:
            callback.log_pre_api_call("m", [MESSAGE], told)
        if asynchronous:
            await callback.async_log_failure_event(told, None, now, now)
        else:
            callback.log_failure_event(told, None, now, now)


def agents_fail(telemetry: AsyncTelemetryLogger, error: Any) -> None:
    """A span that has an error."""
    import agents

    from llm_service.telemetry.openai_agents import TelemetryProcessor

    processor = TelemetryProcessor(telemetry)
    for data in (agents.GenerationSpanData(model="m"), agents.AgentSpanData("a"), agents.FunctionSpanData("f", "", "")):
        span: Any = SimpleNamespace(span_id=str(uuid4()), parent_id=None, trace_id="t", span_data=data, error=error)
        processor.on_span_start(span)
        processor.on_span_end(span)


async def test_one_callback_that_stands_twice_makes_one_row(tmp_path: Path) -> None:
    """The same object, and one with spans beside one without; a budget is spent once."""
    langchain = pytest.importorskip("llm_service.telemetry.langchain")
    agents, litellm = pytest.importorskip("agents"), pytest.importorskip("llm_service.telemetry.litellm")
    from langchain_core.language_models.fake_chat_models import FakeMessagesListChatModel
    from langchain_core.messages import AIMessage
    from langchain_core.runnables import RunnableLambda

    from llm_service.telemetry.openai_agents import TelemetryProcessor

    usage: Any = {"input_tokens": 100, "output_tokens": 20, "total_tokens": 120}
    answer = AIMessage("42", usage_metadata=usage, response_metadata={"model_name": "gpt-5", "id": "a-1"})
    for spans in product((True, False), repeat=2):
        async with AsyncTelemetryLogger(tmp_path / f"{spans}.db", policies=LIMIT) as telemetry:
            inner, outer = (langchain.TelemetryCallback(telemetry, spans=how) for how in spans)
            model = FakeMessagesListChatModel(responses=[answer], callbacks=[inner], name="m")
            chain = RunnableLambda(lambda _: _) | model
            await chain.ainvoke("Why?", {"callbacks": [outer, inner]})
            calls, made = await rows(telemetry)
            assert len(calls) == 1
            assert len(made) == (2 if any(spans) else 0)
            assert calls[0]["parent_invocation_id"] in {None, *(span["invocation_id"] for span in made)}
            processor = TelemetryProcessor(telemetry)
            agents.set_trace_processors([processor, processor])
            with agents.trace("t"), agents.generation_span(model="gpt-5") as span:
                span.span_data.usage = {"input_tokens": 100, "output_tokens": 20}
            agents.set_trace_processors([])
            assert [row["status"] for row in (await rows(telemetry))[0]] == ["success"] * 2
            callback, now = litellm.TelemetryCallback(telemetry), datetime.now(tz=UTC)
            other = litellm.TelemetryCallback(telemetry)
            told = {"litellm_call_id": str(uuid4()), "model": "gpt-5", "litellm_params": {}}
            for begun in (True, False):  # LiteLLM tells of some calls' ends alone
                for one in (callback, other):
                    if begun:
                        one.log_pre_api_call("gpt-5", [MESSAGE], told)
                for one in (callback, other):
                    one.log_success_event(told, {"object": "chat.completion", "usage": COUNTS}, now, now)
                told = {**told, "litellm_call_id": str(uuid4())}
            found, _ = await rows(telemetry)
            assert [(row["total_tokens"], row["attempts"]) for row in found[2:]] == [(120, None)] * 2


CONFIGURED: dict[str, tuple[dict[str, Any], str | None]] = {
    **{f"configurable {name}": ({"configurable": {name: "s-1"}}, "s-1") for name in SESSIONS},
    **{f"metadata {name}": ({"metadata": {name: "s-1"}}, "s-1") for name in SESSIONS},
    "both": ({"metadata": {"thread_id": "s-1"}, "configurable": {"session_id": "s-2"}}, "s-1"),
    "neither": ({}, None),
    "no text": ({"configurable": {"thread_id": 7}}, None),
}


@pytest.mark.parametrize(("configured", "session"), quick(CONFIGURED.values(), every=3), ids=CONFIGURED)
@pytest.mark.parametrize("way", ["invoke", "ainvoke", "stream", "astream", "batch", "abatch"])
async def test_the_session_of_a_chain_is_that_of_all_that_is_called_in_it(
    way: str, configured: dict[str, Any], session: str | None, tmp_path: Path
) -> None:
    """Without LangGraph, which makes metadata of it; beside the user. What follows has none of it."""
    pytest.importorskip("langchain_core")
    from langchain_core.language_models.fake_chat_models import FakeListChatModel
    from langchain_core.runnables import RunnableLambda

    inner = (RunnableLambda(lambda _: _) | FakeListChatModel(responses=["42"])).with_config(run_name="inner")
    chain = RunnableLambda(lambda _: _) | inner
    configured = {**configured, "configurable": {"user_id": "u-1"} | configured.get("configurable", {})}
    async with AsyncTelemetryLogger(tmp_path / "t.db") as telemetry:
        config: Any = {**callbacks(telemetry), **configured}
        asked: Any = ["Why?"] if way.endswith("batch") else "Why?"
        told = getattr(chain, way)(asked, config)
        if way.startswith("a") and way != "astream":
            await told
        elif way == "astream":
            assert [chunk async for chunk in told]
        elif way == "stream":
            assert list(told)
        calls, spans = await rows(telemetry)
        assert (len(calls), len(spans)) == (1, 4)
        if way.endswith("batch"):  # which gives it to nobody
            session, user = session if "metadata" in configured else None, None
        else:
            user = "u-1"
        assert {(row["session_id"], row["user_id"]) for row in (*calls, *spans)} == {(session, user)}
        await chain.ainvoke("Why?", callbacks(telemetry))
        (_, last), _ = await rows(telemetry)
        assert (last["session_id"], last["user_id"]) == (None, None)


async def test_a_message_history_is_a_session_and_a_block_around_keeps_its_own(tmp_path: Path) -> None:
    """What LangChain's history is called with; a chain without a session is in that of the block."""
    pytest.importorskip("langchain_core")
    from langchain_core.chat_history import InMemoryChatMessageHistory
    from langchain_core.language_models.fake_chat_models import FakeListChatModel
    from langchain_core.runnables import RunnableLambda
    from langchain_core.runnables.history import RunnableWithMessageHistory

    model = FakeListChatModel(responses=["42"])
    kept = InMemoryChatMessageHistory()
    history = RunnableWithMessageHistory(model, lambda session_id: kept if session_id == "s-1" else None)  # type: ignore[arg-type,return-value]
    async with AsyncTelemetryLogger(tmp_path / "t.db") as telemetry:
        history.invoke("Why?", {**callbacks(telemetry), "configurable": {"session_id": "s-1"}})
        calls, spans = await rows(telemetry)
        assert len(kept.messages) == 2
        assert {row["session_id"] for row in (*calls, *spans)} == {"s-1"}
        async with telemetry.invocation("someone", session_id="s-2"):
            await (RunnableLambda(lambda _: _) | model).ainvoke("Why?", callbacks(telemetry))
        calls, spans = await rows(telemetry)
        assert {row["session_id"] for row in (*calls[1:], *spans[-3:])} == {"s-2"}


async def test_requests_of_a_step_that_run_side_by_side_are_calls_of_their_own(tmp_path: Path) -> None:
    """As a capability in between makes them; what one capability tells within another is the same call."""
    pytest.importorskip("pydantic_ai")
    from pydantic_ai.messages import ModelResponse
    from pydantic_ai.usage import RequestUsage

    from llm_service.telemetry.pydantic_ai import TelemetryCapability

    step = SimpleNamespace(run_id="r-1", run_step=1)
    asked = SimpleNamespace(model=SimpleNamespace(model_name="gpt-5", system="openai"))
    both = asyncio.Barrier(2)

    async def answer(_: Any) -> ModelResponse:
        await both.wait()
        return ModelResponse(parts=[], usage=RequestUsage(input_tokens=100, output_tokens=20), model_name="gpt-5")

    async with AsyncTelemetryLogger(tmp_path / "t.db") as telemetry:
        outer, inner = (TelemetryCapability(telemetry) for _ in range(2))

        async def ask(by: Any = inner) -> Any:
            return await by.wrap_model_request(step, request_context=asked, handler=answer)

        await asyncio.gather(ask(), ask())
        assert len((await rows(telemetry))[0]) == 2

        async def nested(_: Any) -> Any:
            return await ask()

        await asyncio.gather(outer.wrap_model_request(step, request_context=asked, handler=nested), both.wait())
        assert len((await rows(telemetry))[0]) == 3


TOLD: dict[str, dict[str, Any]] = {
    "a tier": {"response_metadata": {"token_usage": COUNTS, "service_tier": "priority"}},
    "a tier in the names of counts": {
        "usage_metadata": {
            "input_tokens": 100, "output_tokens": 20, "total_tokens": 120,
            "input_token_details": {"flex": 100}, "output_token_details": {"flex": 20},
        },
    },
    "groq's tools": {"response_metadata": {"token_usage": COUNTS}, "additional_kwargs": {"executed_tools": [{"index": 0}]}},
    "anthropic's searches": {
        "response_metadata": {
            "usage": {"input_tokens": 100, "output_tokens": 20, "server_tool_use": {"web_search_requests": 2}},
        },
    },
    "anthropic's hour": {
        "response_metadata": {
            "usage": {
                "input_tokens": 10, "output_tokens": 20, "cache_creation_input_tokens": 90,
                "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 90},
            },
        },
    },
    "gemini's searches": {"response_metadata": {"grounding_metadata": {"web_search_queries": ["why"]}}},
    "openai's searches": {"content": [{"type": "web_search_call", "id": "s"}]},
}  # fmt: skip


@pytest.mark.parametrize("said", TOLD.values(), ids=TOLD)
async def test_a_message_of_langchain_is_read_as_by_hand(said: dict[str, Any], tmp_path: Path) -> None:
    """What was used, what that costs, and what has no price."""
    pytest.importorskip("langchain_core")
    from langchain_core.messages import AIMessage
    from langchain_core.outputs import ChatGeneration, LLMResult

    from llm_service.telemetry.langchain import TelemetryCallback

    usage = {"input_tokens": 100, "output_tokens": 20, "total_tokens": 120}
    message = AIMessage(**{"content": "42", "usage_metadata": usage} | said)
    async with AsyncTelemetryLogger(tmp_path / "t.db", models=False) as telemetry:
        callback, run = TelemetryCallback(telemetry), uuid4()
        callback.on_chat_model_start({}, [[]], run_id=run, metadata={"ls_model_name": "gpt-5"})
        callback.on_llm_end(LLMResult(generations=[[ChatGeneration(message=message)]]), run_id=run)
        async with telemetry.invocation(model_name="gpt-5") as call:
            call.record(message)
        told, by_hand = reversed(await telemetry.get_invocations(limit=2))
        assert {field: told[field] for field in USED} == {field: by_hand[field] for field in USED}
        assert told["prompt_tokens"] == 100
