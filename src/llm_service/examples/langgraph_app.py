"""A LangGraph agent with a tool: each call, node and tool a row. Run: `python -m llm_service.examples.langgraph_app`.

Needs the extra `examples`: `pip install 'llm-service-telemetry[examples]'`.
"""

from tempfile import mkdtemp
from typing import Any

from pydantic import SecretStr

from llm_service.examples import lacking
from llm_service.examples.local_provider import local_provider
from llm_service.telemetry import TelemetryLogger

try:
    from langchain_openai import ChatOpenAI
    from langgraph.graph import START, MessagesState, StateGraph
    from langgraph.prebuilt import ToolNode, tools_condition

    from llm_service.telemetry.langchain import TelemetryCallback
except ImportError as missing:
    raise lacking(missing, __name__) from None


def look_up(question: str) -> str:
    """Find the answer to a question."""
    return f"{question}: 42"


def agent(model: ChatOpenAI) -> Any:
    """A graph that asks, runs the tools that the model asks for, and asks again."""
    asked = model.bind_tools([look_up])

    def ask(state: MessagesState) -> dict[str, Any]:
        return {"messages": [asked.invoke(state["messages"])]}

    graph = StateGraph(MessagesState).add_node("ask", ask).add_node("tools", ToolNode([look_up]))
    return graph.add_edge(START, "ask").add_conditional_edges("ask", tools_condition).add_edge("tools", "ask").compile()


def main() -> None:
    """Run the agent once, and look at its session."""
    with (
        local_provider() as url,
        TelemetryLogger(f"{mkdtemp()}/telemetry.db").instrument() as telemetry,  # a call is one row, whoever sees it
    ):
        app = agent(ChatOpenAI(model="gpt-5-mini", base_url=f"{url}/v1", api_key=SecretStr("none")))
        answer = app.invoke(
            {"messages": [{"role": "user", "content": "What is the answer?"}]},
            {"callbacks": [TelemetryCallback(telemetry)], "configurable": {"thread_id": "session-1"}},
        )
        print(answer["messages"][-1].content)

        for row in reversed(telemetry.get_invocations()):  # what ended first
            print(row["operation"], row["model_name"] or row["tool_name"], row["total_tokens"], row["status"])
        print(f"llm-telemetry trace session-1 --db {telemetry.db_path}")
        print(f"llm-telemetry invocations --db {telemetry.db_path}")


if __name__ == "__main__":
    main()
