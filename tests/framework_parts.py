"""Parts of frameworks that several tests are made of: a graph of one node, and LiteLLM that says what it has told."""

import asyncio
import os
import threading
from typing import Any, Final

import pytest

from llm_service.telemetry import AsyncTelemetryLogger

__all__ = ["QUESTION", "QUESTIONS", "LiteLLM", "graph_of"]

os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # or its import asks the network for it
QUESTION: Final = "Why 42?"
QUESTIONS: Final = {"messages": [{"role": "user", "content": QUESTION}]}
_LISTS: Final = (
    "callbacks", "success_callback", "failure_callback", "_async_success_callback", "_async_failure_callback",
    "input_callback",
)  # fmt: skip


def graph_of(node: Any) -> Any:
    """A graph of LangGraph with one node."""
    from langgraph.graph import START, MessagesState, StateGraph

    made = StateGraph(MessagesState)
    made.add_node("ask", node)
    made.add_edge(START, "ask")
    return made.compile()


class LiteLLM:
    """LiteLLM with the adapter of this logger, or with none, and with no other's; it knows what has been told.

    Attributes:
        module: `litellm`.
        last: the callback that is told after ours.
    """

    def __init__(self, telemetry: AsyncTelemetryLogger | None, *, asynchronous: bool = True, times: int = 1) -> None:
        self.module = litellm = pytest.importorskip("litellm")
        from litellm.integrations.custom_logger import CustomLogger

        from llm_service.telemetry.litellm import TelemetryCallback

        told = self._told = threading.Semaphore(0)

        class Last(CustomLogger):
            """Is told after our callback: async calls in a task of LiteLLM's, others in a thread of its own."""

            def log_success_event(self, *_arguments: Any, **_told: Any) -> None:
                if not asynchronous:
                    told.release()

            async def async_log_success_event(self, *_arguments: Any, **_told: Any) -> None:
                if asynchronous:
                    told.release()

            async_log_failure_event = async_log_success_event

        for name in _LISTS:
            setattr(litellm, name, [])
        made = [] if telemetry is None else [TelemetryCallback(telemetry) for _ in range(times)]
        self.last = Last()
        litellm.callbacks = [*made, self.last]

    def has_told(self) -> None:
        """Wait until it has told of one more call."""
        assert self._told.acquire(timeout=30)

    async def has_told_of(self, calls: int) -> None:
        """Wait until it has told of so many more, while the loop goes on."""
        for _ in range(calls):
            await asyncio.to_thread(self.has_told)
