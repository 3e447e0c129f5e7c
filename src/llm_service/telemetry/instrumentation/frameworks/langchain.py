"""LangChain and LangGraph: chat models and LLMs as calls; chains, graphs, tools and retrievers as spans.

https://docs.langchain.com/oss/python/langchain/overview; callbacks: `langchain_core.callbacks.BaseCallbackHandler`.
The handler is run inline: LangChain then calls it in the context of the run itself, sync and async, so that the hook
into an SDK below finds the run it is in. Runs are told apart by their ids, and nested by their parents' ids.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final
from uuid import UUID

from llm_service.extras import install
from llm_service.telemetry.instrumentation.frameworks.places import place_of
from llm_service.telemetry.instrumentation.frameworks.recorder import CallbackRecorder, Telemetry
from llm_service.telemetry.instrumentation.responses.answers import get, read_answer, text_of

try:
    from langchain_core.callbacks import BaseCallbackHandler
    from langchain_core.messages import BaseMessage
    from langchain_core.outputs import LLMResult
    from langchain_core.runnables.config import var_child_runnable_config
except ImportError as missing:
    raise ImportError(f"langchain-core is missing: {install('langchain')}") from missing

__all__ = ["TelemetryCallback"]

_HIDDEN: Final = "langsmith:hidden"
_SESSIONS: Final = ("session_id", "thread_id", "conversation_id")
_URLS: Final = ("openai_api_base", "anthropic_api_url", "base_url", "api_base", "azure_endpoint", "endpoint_url")
"""Where a model says whom it calls: what speaks OpenAI's protocol may be anyone."""


class TelemetryCallback(BaseCallbackHandler):
    """Records what a chain or graph calls: `graph.invoke(..., config={"callbacks": [TelemetryCallback(telemetry)]})`.

    A call has the `thread_id` (or `session_id`) of the run's metadata or `configurable` as its session, and `user_id`
    and `agent_name` where it has them. LangChain tells nobody the `configurable` of a model that is called by itself,
    or of a chain's `batch`: there they must be metadata. A model's own cache that answers makes no row: nothing was
    called.

    Args:
        telemetry: the logger, sync or async.
        spans: whether chains, graphs and tools get rows of their own; without, calls alone do.
    """

    run_inline = True

    def __init__(self, telemetry: Telemetry, *, spans: bool = True) -> None:
        self._recorder = CallbackRecorder(telemetry, "langchain", ids_are_unique=True)
        self._spans = spans

    # Calls of models

    def on_chat_model_start(
        self,
        serialized: dict[str, Any] | None,
        messages: list[list[BaseMessage]],
        *,
        run_id: UUID,
        parent_run_id: UUID | None = None,
        metadata: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """A chat model is called."""
        self._call_begins("chat", serialized, run_id, parent_run_id, metadata, kwargs)

    def on_llm_start(
        self,
        serialized: dict[str, Any] | None,
        prompts: list[str],
        *,
        run_id: UUID,
        parent_run_id: UUID | None = None,
        metadata: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """An LLM that completes text is called."""
        self._call_begins("text_completion", serialized, run_id, parent_run_id, metadata, kwargs)

    def on_llm_new_token(self, token: Any, *, run_id: UUID, **kwargs: Any) -> None:
        """A piece of its answer has arrived."""
        self._recorder.first_token(run_id)

    def on_stream_event(self, event: Any, *, run_id: UUID, **kwargs: Any) -> None:
        """The same, as newer releases stream."""
        self._recorder.first_token(run_id)

    def on_llm_end(self, response: LLMResult, *, run_id: UUID, **kwargs: Any) -> None:
        """It has answered."""
        try:
            found = _answer_of(response)
        except Exception as failure:  # noqa: BLE001 - the program must not notice
            self._recorder.step_aside(failure)
            found = {}
        if found is None:
            self._recorder.withdraw(run_id)
        else:
            self._recorder.end(run_id, **found)

    def on_llm_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        """It has failed."""
        try:
            found = _answer_of(kwargs["response"]) if kwargs.get("response") is not None else None
        except Exception as failure:  # noqa: BLE001 - as above
            self._recorder.step_aside(failure)
            found = None
        found = {} if found is None else {field: value for field, value in found.items() if field != "status"}
        if found.get("usage_source") == "reported":
            found["usage_source"] = "partial"
        self._recorder.fail(run_id, error, **found)

    # Spans

    def on_chain_start(
        self,
        serialized: dict[str, Any] | None,
        inputs: Any,
        *,
        run_id: UUID,
        parent_run_id: UUID | None = None,
        tags: list[str] | None = None,
        metadata: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """A chain, a graph or one of its nodes begins."""
        # The outermost may run in the consumer's context, as a generator: that is not in it between two steps.
        own = {"tool_name": _name_of(serialized, kwargs)}
        self._span_begins("chain", run_id, parent_run_id, tags, metadata, own, current=parent_run_id is not None)

    def on_tool_start(
        self,
        serialized: dict[str, Any] | None,
        input_str: str,
        *,
        run_id: UUID,
        parent_run_id: UUID | None = None,
        tags: list[str] | None = None,
        metadata: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """A tool is run."""
        name = _name_of(serialized, kwargs)
        self._span_begins("execute_tool", run_id, parent_run_id, tags, metadata, {}, current=True, tool_name=name)

    def on_retriever_start(
        self,
        serialized: dict[str, Any] | None,
        query: str,
        *,
        run_id: UUID,
        parent_run_id: UUID | None = None,
        tags: list[str] | None = None,
        metadata: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """A retriever is asked."""
        own = {"tool_name": _name_of(serialized, kwargs)}
        self._span_begins("chain", run_id, parent_run_id, tags, metadata, own, current=True)

    def on_chain_end(self, outputs: Any, *, run_id: UUID, **kwargs: Any) -> None:
        """It has ended."""
        self._recorder.end(run_id)

    def on_tool_end(self, output: Any, *, run_id: UUID, **kwargs: Any) -> None:
        """As a chain."""
        self._recorder.end(run_id)

    def on_retriever_end(self, documents: Any, *, run_id: UUID, **kwargs: Any) -> None:
        """As a chain."""
        self._recorder.end(run_id)

    def on_chain_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        """It has failed, or (LangGraph) is interrupted to ask a person."""
        if any(kind.__name__ == "GraphBubbleUp" for kind in type(error).__mro__):
            self._recorder.end(run_id, finish_reason="interrupted")
        else:
            self._recorder.fail(run_id, error)

    on_tool_error = on_chain_error
    on_retriever_error = on_chain_error

    def _call_begins(
        self,
        operation: str,
        serialized: Mapping[str, Any] | None,
        key: UUID,
        parent: UUID | None,
        metadata: Mapping[str, Any] | None,
        told: Mapping[str, Any],
    ) -> None:
        asked = told.get("invocation_params")
        model = text_of(metadata, "ls_model_name") or text_of(asked, "model") or text_of(asked, "model_name")
        url = next((text for name in _URLS if (text := text_of(get(serialized, "kwargs"), name))), None)
        place = place_of(text_of(metadata, "ls_provider"), url)
        names = self._names_of(metadata, parent)
        self._recorder.begin(key, parent, operation=operation, request_model=model, **place, **names)

    def _names_of(self, metadata: Mapping[str, Any] | None, parent: UUID | None) -> dict[str, Any]:
        """The names of a run; its parent is told its own.

        LangGraph puts `configurable` into the metadata of runs, and LangChain does not: what is called in a chain finds
        the chain's in its context.
        """
        of_parent = _names(get(var_child_runnable_config.get(), "configurable"))
        if parent is not None and any(of_parent.values()):
            self._recorder.complete(parent, **of_parent)
        return {name: value or of_parent[name] for name, value in _names(metadata).items()}

    def _span_begins(
        self,
        operation: str,
        key: UUID,
        parent: UUID | None,
        tags: Sequence[str] | None,
        metadata: Mapping[str, Any] | None,
        own: dict[str, Any],
        *,
        current: bool,
        **fields: Any,
    ) -> None:
        names = self._names_of(metadata, parent)
        if self._spans and not (tags and _HIDDEN in tags):
            self._recorder.begin(key, parent, operation=operation, own=own, current=current, **fields, **names)
        elif parent is not None:
            self._recorder.skip(key, parent)


def _names(said: Any) -> dict[str, Any]:
    """Session, user and agent, where a run's metadata or its `configurable` has them."""
    session = next((text for name in _SESSIONS if (text := text_of(said, name))), None)
    agent = text_of(said, "agent_name") or text_of(said, "lc_agent_name")
    return {"session_id": session, "user_id": text_of(said, "user_id"), "agent_name": agent}


def _name_of(serialized: Mapping[str, Any] | None, told: Mapping[str, Any]) -> str | None:
    return text_of(told, "name") or text_of(serialized, "name")


def _answer_of(response: LLMResult) -> dict[str, Any] | None:
    """What an answer says, of its message where it has one; None of one that came out of a cache."""
    generation: Any = response.generations[0][0] if response.generations and response.generations[0] else None
    message = get(generation, "message")
    told = response.llm_output or {}
    if message is None:
        usage = told.get("token_usage") or told.get("usage")
        found = read_answer({"usage": usage, "model": told.get("model_name") or told.get("model")})
        reason = text_of(get(generation, "generation_info"), "finish_reason")
        return found | ({} if reason is None else {"finish_reason": reason})
    if get(get(message, "usage_metadata"), "total_cost") == 0:  # as LangChain marks what it had cached
        return None
    found = read_answer(message)
    metadata = get(message, "response_metadata")
    found["response_id"] = text_of(metadata, "id") or _own_id(found.get("response_id"))
    if found.get("prompt_tokens") == 0 and found.get("completion_tokens"):
        # A stream whose last event alone was read: no answer is without a prompt.
        found |= {"prompt_tokens": None, "total_tokens": None, "usage_source": "partial"}
    found["service_tier"] = found.get("service_tier") or text_of(metadata, "service_tier")
    found["request_id"] = text_of(metadata, "request_id")
    return found


def _own_id(response_id: str | None) -> str | None:
    """The provider's id of an answer; LangChain makes one of the run's where it does not know it."""
    return None if response_id is None or response_id.startswith(("lc_", "run-")) else response_id
