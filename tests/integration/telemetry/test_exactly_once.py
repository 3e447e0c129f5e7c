"""Hook into the SDK, adapter of a framework, explicit block: whoever sees a call, it is one row, with what it used."""

import asyncio
import importlib.util
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from tests.framework_parts import QUESTION, QUESTIONS, LiteLLM, graph_of
from tests.provider_server import ProviderServer
from tests.slices import quick

from llm_service.telemetry import AsyncTelemetryLogger
from llm_service.telemetry.record.operations import SPANS

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),  # frameworks keep connections, which belong to a loop
    pytest.mark.usefixtures("connections"),
    pytest.mark.filterwarnings("ignore"),  # theirs are not of interest here
]
MODELS = {"openai": "gpt-5-mini", "anthropic": "claude-opus-4-6"}
USED = {
    "openai": {"prompt_tokens": 1200, "completion_tokens": 7, "total_tokens": 1207, "cache_read_tokens": 1024, "cost_usd": 8.36e-05},
    "anthropic": {"prompt_tokens": 1124, "completion_tokens": 7, "total_tokens": 1131, "cache_read_tokens": 1024, "cost_usd": 0.001187},
}  # fmt: skip
SCENARIO = "full-delta"


@dataclass(frozen=True)
class Framework:
    """A framework, as a user has it.

    Attributes:
        needs: the packages.
        ask: makes one call: of the provider, as a stream or not, with an adapter or not.
        ask_async: the same.
        spans: how many spans it tells of.
        providers: whose calls it makes.
        without_sdk: those that it calls without their SDK, so that no hook sees it.
        agent: the agent that it names.
        tells_stream: whether it tells that an answer is a stream, and when it begins.
    """

    needs: tuple[str, ...]
    ask: Callable[["Asked"], None]
    ask_async: Callable[["Asked"], Any]
    spans: int = 0
    providers: tuple[str, ...] = tuple(MODELS)
    without_sdk: tuple[str, ...] = ()
    agent: str | None = None
    tells_stream: bool = True


@dataclass(frozen=True)
class Asked:
    """What a call is made with."""

    telemetry: AsyncTelemetryLogger
    provider: str
    url: str
    stream: bool
    adapter: int


def chat_model(asked: Asked) -> Any:
    """A chat model of LangChain, with an adapter of its own where there are several."""
    more: Any = {"callbacks": config(asked)["callbacks"][1:]}
    if asked.provider == "openai":
        from langchain_openai import ChatOpenAI

        return ChatOpenAI(model=MODELS["openai"], base_url=f"{asked.url}/v1", api_key="none", stream_usage=True, **more)
    from langchain_anthropic import ChatAnthropic

    return ChatAnthropic(model_name=MODELS["anthropic"], base_url=asked.url, api_key="none", **more)


def config(asked: Asked) -> Any:
    """The adapter, where it is on."""
    from llm_service.telemetry.langchain import TelemetryCallback

    return {"callbacks": [TelemetryCallback(asked.telemetry) for _ in range(asked.adapter)]}


def langchain(asked: Asked) -> None:
    """A chat model by itself."""
    model = chat_model(asked)
    if asked.stream:
        assert [chunk.text for chunk in model.stream(QUESTION, config(asked))]
    else:
        assert model.invoke(QUESTION, config(asked)).text


async def langchain_async(asked: Asked) -> None:
    """The same."""
    model = chat_model(asked)
    if asked.stream:
        assert [chunk.text async for chunk in model.astream(QUESTION, config(asked))]
    else:
        assert (await model.ainvoke(QUESTION, config(asked))).text


def graph(asked: Asked, *, asynchronous: bool) -> Any:
    """A graph of one node."""
    from langgraph.graph import MessagesState

    model = chat_model(asked)

    def node(state: MessagesState) -> dict[str, Any]:
        return {"messages": [model.invoke(state["messages"])]}

    async def async_node(state: MessagesState) -> dict[str, Any]:
        return {"messages": [await model.ainvoke(state["messages"])]}

    return graph_of(async_node if asynchronous else node)


def langgraph(asked: Asked) -> None:
    """A graph, whose streaming makes the model stream."""
    made = graph(asked, asynchronous=False)
    if asked.stream:
        assert list(made.stream(QUESTIONS, config(asked), stream_mode="messages"))
    else:
        assert made.invoke(QUESTIONS, config(asked))["messages"][-1].text


async def langgraph_async(asked: Asked) -> None:
    """The same."""
    made = graph(asked, asynchronous=True)
    if asked.stream:
        assert [item async for item in made.astream(QUESTIONS, config(asked), stream_mode="messages")]
    else:
        assert (await made.ainvoke(QUESTIONS, config(asked)))["messages"][-1].text


def litellm_callbacks(asked: Asked, *, asynchronous: bool) -> LiteLLM:
    """LiteLLM, with the adapter where it is on."""
    return LiteLLM(asked.telemetry if asked.adapter else None, asynchronous=asynchronous, times=asked.adapter)


def litellm_call(asked: Asked) -> dict[str, Any]:
    """The arguments of a call."""
    base = f"{asked.url}/v1" if asked.provider == "openai" else asked.url
    return {
        "model": f"{asked.provider}/{MODELS[asked.provider]}", "api_base": base, "api_key": "none",
        "messages": QUESTIONS["messages"], "stream": asked.stream,
        **({"stream_options": {"include_usage": True}} if asked.stream and asked.provider == "openai" else {}),
    }  # fmt: skip


def litellm_sync(asked: Asked) -> None:
    """A completion."""
    started = litellm_callbacks(asked, asynchronous=False)
    answer = started.module.completion(**litellm_call(asked))
    assert list(answer) if asked.stream else answer.choices
    started.has_told()


async def litellm_async(asked: Asked) -> None:
    """The same."""
    started = litellm_callbacks(asked, asynchronous=True)
    answer = await started.module.acompletion(**litellm_call(asked))
    assert [chunk async for chunk in answer] if asked.stream else answer.choices
    await started.has_told_of(1)


async def agents_async(asked: Asked) -> None:
    """An agent of one turn."""
    import agents
    from openai import AsyncOpenAI

    from llm_service.telemetry.openai_agents import TelemetryProcessor

    agents.set_trace_processors([TelemetryProcessor(asked.telemetry) for _ in range(asked.adapter)])
    async with AsyncOpenAI(base_url=f"{asked.url}/v1", api_key="none") as client:
        model = agents.OpenAIChatCompletionsModel(MODELS["openai"], client)
        settings = agents.ModelSettings(include_usage=True)
        agent = agents.Agent("helper", model=model, model_settings=settings)
        if asked.stream:
            result = agents.Runner.run_streamed(agent, QUESTION)
            assert [event async for event in result.stream_events()]
        else:
            assert (await agents.Runner.run(agent, QUESTION)).final_output


async def responses_agents_async(asked: Asked) -> None:
    """The same, by the Responses API."""
    import agents
    from openai import AsyncOpenAI

    from llm_service.telemetry.openai_agents import TelemetryProcessor

    agents.set_trace_processors([TelemetryProcessor(asked.telemetry) for _ in range(asked.adapter)])
    async with AsyncOpenAI(base_url=f"{asked.url}/v1", api_key="none") as client:
        agent = agents.Agent("helper", model=agents.OpenAIResponsesModel(MODELS["openai"], client))
        if asked.stream:
            result = agents.Runner.run_streamed(agent, QUESTION)
            assert [event async for event in result.stream_events()]
        else:
            assert (await agents.Runner.run(agent, QUESTION)).final_output


async def pydantic_ai_async(asked: Asked) -> None:
    """An agent of one step."""
    from pydantic_ai import Agent

    from llm_service.telemetry.pydantic_ai import TelemetryCapability

    if asked.provider == "openai":
        from pydantic_ai.models.openai import OpenAIChatModel
        from pydantic_ai.providers.openai import OpenAIProvider

        model: Any = OpenAIChatModel(
            MODELS["openai"], provider=OpenAIProvider(base_url=f"{asked.url}/v1", api_key="none")
        )
    else:
        from pydantic_ai.models.anthropic import AnthropicModel
        from pydantic_ai.providers.anthropic import AnthropicProvider

        model = AnthropicModel(MODELS["anthropic"], provider=AnthropicProvider(base_url=asked.url, api_key="none"))
    agent = Agent(
        model, name="helper", capabilities=[TelemetryCapability(asked.telemetry) for _ in range(asked.adapter)]
    )
    if asked.stream:
        async with agent.run_stream(QUESTION) as result:
            assert [text async for text in result.stream_text()]
    else:
        assert (await agent.run(QUESTION)).output


def by_itself(ask: Callable[[Asked], Any]) -> Callable[[Asked], None]:
    """The sync way of a framework that is async: in a loop of its own."""
    return lambda asked: asyncio.run(ask(asked))


FRAMEWORKS = {
    "litellm": Framework(("litellm",), litellm_sync, litellm_async, without_sdk=("anthropic",)),
    "agents": Framework(
        ("agents",), by_itself(agents_async), agents_async, 2, ("openai",), agent="helper", tells_stream=False
    ),
    "agents-responses": Framework(
        ("agents",),
        by_itself(responses_agents_async),
        responses_agents_async,
        2,
        ("openai",),
        agent="helper",
        tells_stream=False,
    ),
    "pydantic-ai": Framework(
        ("pydantic_ai",), by_itself(pydantic_ai_async), pydantic_ai_async, 1, agent="helper", tells_stream=False
    ),
    "langchain": Framework(("langchain_openai", "langchain_anthropic"), langchain, langchain_async),
    "langgraph": Framework(("langchain_openai", "langchain_anthropic", "langgraph"), langgraph, langgraph_async, 2),
}
CASES = [
    pytest.param(
        name, provider,
        id=f"{name}-{provider}",
        marks=pytest.mark.skipif(
            any(importlib.util.find_spec(package) is None for package in framework.needs), reason="not installed"
        ),
    )
    for name, framework in FRAMEWORKS.items()
    for provider in framework.providers
]  # fmt: skip
MOST = 2
"""Adapters of one framework, where there are several of them."""
WAYS = [
    pytest.param(*way, id="-".join("adapters" if is_on == MOST else name for name, is_on in zip(("hook", "adapter", "block", "stream", "async"), way, strict=True) if is_on) or "nothing")
    for way in product((False, True), (0, 1, MOST), *[(False, True)] * 3)
]  # fmt: skip

QUICK = ("nothing", "hook-adapter-block-stream-async", "hook-adapter-block", "adapters-stream", "hook-async")
"""Those that show most of what can go wrong; all others are slow."""


@pytest.mark.costly
@pytest.mark.parametrize(("hook", "adapter", "block", "stream", "asynchronous"), quick(WAYS, *QUICK))
@pytest.mark.parametrize(("name", "provider"), CASES)
async def test_a_call_is_one_row_whoever_sees_it(
    name: str, provider: str, hook: bool, adapter: int, block: bool, stream: bool, asynchronous: bool,
    server: ProviderServer, tmp_path: Path,
) -> None:  # fmt: skip
    """However many adapters of its framework see it, too; and the spans around it are rows of their own."""
    framework = FRAMEWORKS[name]
    telemetry = AsyncTelemetryLogger(tmp_path / "t.db")
    asked = Asked(telemetry, provider, server.url(SCENARIO), stream, adapter)
    async with AsyncExitStack() as around:
        await around.enter_async_context(telemetry)
        if hook:
            telemetry.instrument()
        if block:
            await around.enter_async_context(telemetry.invocation("someone", session_id="s-1"))
        if asynchronous:
            await framework.ask_async(asked)
        else:
            await asyncio.to_thread(framework.ask, asked)
    hook = hook and provider not in framework.without_sdk
    rows = await telemetry.get_invocations()
    calls = [row for row in rows if row["operation"] not in SPANS]
    spans = [row for row in rows if row["operation"] in SPANS]
    assert len(calls) == int(bool(hook or adapter or block)), rows
    for call in calls:
        if hook or adapter:
            assert {field: call[field] for field in USED[provider]} == USED[provider]
            assert call["operation"] == "chat"
            assert call["model_name"].startswith(MODELS[provider])
        if stream and (hook or (adapter and framework.tells_stream)):
            assert call["stream"]
            assert call["ttft_ms"] > 0
        if block:
            agent = framework.agent if adapter and framework.agent else "someone"
            assert (call["agent_name"], call["session_id"]) == (agent, "s-1")
    made_of_spans = adapter and framework.spans > 0
    assert len(spans) == (framework.spans + block if made_of_spans else 0), rows
    assert all(span["total_tokens"] is None and span["cost_usd"] is None for span in spans)
    assert {row["invocation_id"] for row in rows} >= {row["parent_invocation_id"] for row in rows} - {None}


BY_OPENAI = [
    pytest.param(*case.values, id=case.id, marks=case.marks) for case in CASES if str(case.id).endswith("-openai")
]


@pytest.mark.costly
@pytest.mark.parametrize(("status", "told"), quick([(500, "partial"), (429, "reported")], 0))
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("name", "provider"), BY_OPENAI)
async def test_an_answer_is_not_all_where_the_client_below_had_sent_it_before(
    name: str, provider: str, stream: bool, status: int, told: str, server: ProviderServer, tmp_path: Path
) -> None:
    """A framework that counts the one answer alone does not make it all that may be billed."""
    scenario = f"{status}-then-ok"
    server.asked[scenario] = 0
    async with AsyncTelemetryLogger(tmp_path / "t.db") as telemetry:
        telemetry.instrument()
        await FRAMEWORKS[name].ask_async(Asked(telemetry, provider, server.url(scenario), stream, 1))
        rows = [row for row in await telemetry.get_invocations() if row["operation"] not in SPANS]
    assert [(row["status"], row["usage_source"], row["attempts"]) for row in rows] == [("success", told, 3)]
    assert {field: rows[0][field] for field in USED[provider]} == USED[provider]


CALLS = 2_000
AT_ONCE = 200


@pytest.mark.volume
@pytest.mark.timeout(900)
@pytest.mark.skipif(importlib.util.find_spec("langchain_openai") is None, reason="not installed")
async def test_2_000_calls_are_2_000_rows(server: ProviderServer, tmp_path: Path) -> None:
    """Over every combination of adapter, block and stream below one hook, 200 at once: none double, none missing."""
    import openai

    telemetry = AsyncTelemetryLogger(tmp_path / "t.db")
    places = asyncio.Semaphore(AT_ONCE)
    client = openai.AsyncOpenAI(base_url=f"{server.url(SCENARIO)}/v1", api_key="none")

    async def by_sdk(asked: Asked) -> None:
        options: Any = {"stream": True, "stream_options": {"include_usage": True}} if asked.stream else {}
        answer = await client.chat.completions.create(model=MODELS["openai"], **QUESTIONS, **options)
        if asked.stream:
            assert [chunk async for chunk in answer]

    async def ask(number: int) -> None:
        adapter, block, stream = (bool(number & bit) for bit in (1, 2, 4))
        sdk = number // 8 % 10 > 0  # a framework takes its time: every combination of it, for one call in ten
        asked = Asked(telemetry, "openai", server.url(SCENARIO), stream, adapter)
        async with places, AsyncExitStack() as around:
            if block:
                await around.enter_async_context(telemetry.invocation(f"agent-{number}"))
            await (by_sdk(asked) if sdk else langchain_async(asked))

    async with telemetry, client:
        telemetry.instrument()
        await asyncio.gather(*(ask(number) for number in range(CALLS)))
        await telemetry.flush()
        found = await telemetry.get_invocations(limit=2 * CALLS)
    assert len(found) == CALLS
    assert {(row["total_tokens"], row["cost_usd"], row["operation"]) for row in found} == {(1207, 8.36e-05, "chat")}
    named = {row["agent_name"] for row in found} - {None}
    assert named == {f"agent-{number}" for number in range(CALLS) if number & 2}
