"""An adapter whose framework is not as it was known: the program goes on, its call is a row, and that is said once."""

import logging
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest

from llm_service.telemetry import TelemetryLogger

SAID = "is not as it was known here"


class Thrower:
    """An object of another release: whatever is asked of it fails."""

    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError(f"no {name} any more")


@pytest.fixture
def logger(tmp_path: Path) -> Iterator[TelemetryLogger]:
    """Of a file of its own."""
    with TelemetryLogger(tmp_path / "t.db", models=False) as made:
        yield made


@pytest.fixture(autouse=True)
def warnings(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """What is said."""
    caplog.set_level(logging.WARNING, "llm_service.telemetry")
    return caplog


def rows_of(logger: TelemetryLogger, field: str) -> list[tuple[Any, Any]]:
    """The status and another field of each row, sorted."""
    rows: list[dict[str, Any]] = [dict(row) for row in logger.get_invocations()]
    return sorted((row["status"], row[field]) for row in rows)


def test_langchain(logger: TelemetryLogger, caplog: pytest.LogCaptureFixture) -> None:
    """A model that completes text, one that fails, a tool and a retriever."""
    pytest.importorskip("langchain_core")
    from llm_service.telemetry.langchain import TelemetryCallback

    callback = TelemetryCallback(logger)
    ended, failed, tool, retriever = (uuid4() for _ in range(4))
    for run_id in (ended, failed):
        callback.on_llm_start({}, ["Why?"], run_id=run_id)
    callback.on_llm_new_token("Be", run_id=ended)
    callback.on_stream_event({}, run_id=ended)
    response: Any = Thrower()
    callback.on_llm_end(response, run_id=ended)
    callback.on_llm_error(ValueError("refused"), run_id=failed, response=Thrower())
    callback.on_tool_start({"name": "clock"}, "now", run_id=tool)
    callback.on_tool_end("noon", run_id=tool)
    callback.on_retriever_start({"name": "shelf"}, "a book", run_id=retriever)
    callback.on_retriever_end([], run_id=retriever)
    assert rows_of(logger, "operation") == [
        ("error", "text_completion"),
        ("success", "chain"),
        ("success", "execute_tool"),
        ("success", "text_completion"),
    ]
    assert caplog.text.count(SAID) == 1


def test_langchain_without_a_message(logger: TelemetryLogger) -> None:
    """What a model of completions tells stands beside its text."""
    outputs = pytest.importorskip("langchain_core.outputs")
    from llm_service.telemetry.langchain import TelemetryCallback

    callback, run_id = TelemetryCallback(logger), uuid4()
    callback.on_llm_start({}, ["Why?"], run_id=run_id)
    generation = outputs.Generation(text="Because.", generation_info={"finish_reason": "stop"})
    usage = {"prompt_tokens": 12, "completion_tokens": 3, "total_tokens": 15}
    told = {"token_usage": usage, "model_name": "davinci-002"}
    callback.on_llm_end(outputs.LLMResult(generations=[[generation]], llm_output=told), run_id=run_id)
    (row,) = logger.get_invocations()
    assert (row["model_name"], row["total_tokens"], row["finish_reason"]) == ("davinci-002", 15, "stop")


def test_openai_agents(logger: TelemetryLogger, caplog: pytest.LogCaptureFixture) -> None:
    """A span that cannot be begun, one whose answer cannot be read, and a kind of span that is new."""
    pytest.importorskip("agents")
    from llm_service.telemetry.openai_agents import TelemetryProcessor

    processor = TelemetryProcessor(logger)
    span: Any = SimpleNamespace(span_id="1", trace_id="t", parent_id=None, error=None, span_data=Thrower())
    processor.on_span_start(span)
    generation: Any = SimpleNamespace(
        span_id="2", trace_id="t", parent_id=None, error=None, span_data=SimpleNamespace(type="generation", model="m")
    )
    processor.on_span_start(generation)
    generation.span_data = Thrower()
    processor.on_span_end(generation)
    data = SimpleNamespace(type="handoff", to_agent="critic")
    handoff: Any = SimpleNamespace(span_id="3", trace_id="t", parent_id=None, error=None, span_data=data)
    processor.on_span_start(handoff)
    processor.on_span_end(handoff)
    assert rows_of(logger, "operation") == [("success", "chain"), ("success", "chat")]
    assert {row["tool_name"] for row in logger.get_invocations()} == {None, "handoff critic"}
    assert caplog.text.count(SAID) == 1


def broken(*_given: Any, **_named: Any) -> Any:
    """What this release does in the place of what was known."""
    raise RuntimeError("not any more")


async def test_pydantic_ai(
    logger: TelemetryLogger, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An answer that cannot be read reaches the agent; what a handler raises does, too."""
    pytest.importorskip("pydantic_ai.capabilities")
    from llm_service.telemetry.instrumentation.frameworks import pydantic_ai as adapter

    monkeypatch.setattr(adapter, "_answer_of", broken)
    capability: Any = adapter.TelemetryCapability(logger)
    context = SimpleNamespace(run_id="r", run_step=1, agent=SimpleNamespace(name="helper"), conversation_id="c")

    async def answers(_request: Any) -> Any:
        return "Because."

    async def fails(*_given: Any) -> Any:
        raise ValueError("refused")

    request = SimpleNamespace(model=SimpleNamespace(model_name="m"))
    assert await capability.wrap_model_request(context, request_context=request, handler=answers) == "Because."
    with pytest.raises(ValueError, match="refused"):
        await capability.wrap_run(context, handler=fails)
    call = SimpleNamespace(tool_call_id="1", tool_name="clock")
    with pytest.raises(ValueError, match="refused"):
        await capability.wrap_tool_execute(context, call=call, tool_def=None, args={}, handler=fails)
    assert rows_of(logger, "operation") == [("error", "execute_tool"), ("error", "invoke_agent"), ("success", "chat")]
    assert caplog.text.count(SAID) == 1


def test_litellm(logger: TelemetryLogger, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer that cannot be read; one from its cache; a call of which nothing was told before, and one without id."""
    monkeypatch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # else it asks for the newest prices as it is imported
    litellm = pytest.importorskip("litellm")
    from llm_service.telemetry.instrumentation.frameworks import litellm as adapter

    callback = adapter.TelemetryCallback(logger)
    monkeypatch.setattr(litellm, "include_cost_in_streaming_usage", True, raising=False)
    callback.log_pre_api_call("m", [], {})  # without an id it is nobody's
    for call_id in ("1", "2"):
        callback.log_pre_api_call("m", [], {"litellm_call_id": call_id, "model": "m"})
    with monkeypatch.context() as patched:
        patched.setattr(adapter, "_answer_of", broken)
        callback.log_success_event({"litellm_call_id": "1"}, {}, None, None)
    callback.log_success_event({"litellm_call_id": "2", "cache_hit": True}, None, None, None)
    usage = {"prompt_tokens": 12, "completion_tokens": 3, "total_tokens": 15}
    for _ in range(2):
        callback.log_success_event({"litellm_call_id": "3", "model": "m"}, {"usage": usage}, None, None)
    assert sorted(row["total_tokens"] or 0 for row in logger.get_invocations()) == [0, 15]
    assert caplog.text.count(SAID) == 1


def test_a_recorder_whose_call_fails_within(
    logger: TelemetryLogger, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The framework is told of no fault, whatever it tells."""
    from llm_service.telemetry.callbacks import CallbackRecorder
    from llm_service.telemetry.instrumentation.frameworks.framework_call import FrameworkCall

    recorder = CallbackRecorder(logger, "mine")
    recorder.begin("call", request_model="m")
    with monkeypatch.context() as patched:
        patched.setattr(FrameworkCall, "attempt_failed", broken)
        patched.setattr(FrameworkCall, "left", broken)
        recorder.attempt_failed("call", ValueError("refused"))
        recorder.left("call", begun=True)
    for tell in (recorder.first_token, recorder.retried, recorder.sent, recorder.arrived):
        tell("nobody")
    recorder.complete("nobody", session_id="s")
    recorder.ask("nobody", lambda: True)
    assert caplog.text.count(SAID) == 1
