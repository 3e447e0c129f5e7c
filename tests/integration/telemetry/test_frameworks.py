"""What adapters of frameworks record beside one plain call: tools, failures, streams that are left, calls in calls."""

import asyncio
from collections.abc import AsyncIterator
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

from llm_service.config.schemas import PoliciesConfig
from llm_service.pricing import sellers
from llm_service.telemetry import AsyncTelemetryLogger
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
    labels = sorted(set(sellers._PROVIDERS) | {"snowflakecortex", "vercel", "a-new-one"})
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
