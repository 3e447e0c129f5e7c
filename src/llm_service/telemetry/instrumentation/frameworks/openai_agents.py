"""OpenAI's Agents SDK: generations and responses as calls; traces, agents, tools, handoffs and guardrails as spans.

https://openai.github.io/openai-agents-python/tracing/. Processors are called where the span begins and ends.
"""

from typing import Any, Final, cast

from llm_service.extras import install
from llm_service.telemetry.instrumentation.frameworks.places import place_of
from llm_service.telemetry.instrumentation.frameworks.recorder import CallbackRecorder, Telemetry
from llm_service.telemetry.instrumentation.frameworks.richest import counted
from llm_service.telemetry.instrumentation.responses.answers import get, read_answer, text_of

try:
    from agents.tracing import Span, Trace, TracingProcessor
except ImportError as missing:
    raise ImportError(f"openai-agents is missing: {install('openai-agents')}") from missing

__all__ = ["TelemetryProcessor"]

_CALLS: Final = {"generation": "chat", "response": "chat", "transcription": "transcription", "speech": "speech"}
_NO_ID: Final = "__fake_id__"
"""What the SDK writes where an answer has no id that it knows."""
_OF_OUTPUT: Final = ("finish_reason", "response_id", "service_tier", "unpriced_usage")
"""What the last output says that the usage beside it does not."""
_SKIPPED: Final = frozenset({"task", "turn", "speech_group"})
"""What only groups spans that say more."""


class TelemetryProcessor(TracingProcessor):
    """Records what agents do: `agents.add_trace_processor(TelemetryProcessor(telemetry))`.

    A trace's `group_id` is the session of its calls; its metadata may name `user_id`. `set_trace_processors([...])`
    instead stops the upload of traces to OpenAI.

    Args:
        telemetry: the logger, sync or async.
    """

    def __init__(self, telemetry: Telemetry) -> None:
        self._recorder = CallbackRecorder(telemetry, "openai-agents", ids_are_unique=True)

    def on_trace_start(self, trace: Trace) -> None:
        """A run begins, or several that the program has put together."""
        metadata = getattr(trace, "metadata", None)
        self._recorder.begin(
            trace.trace_id,
            operation="workflow",
            own={"tool_name": text_of(trace, "name")},
            session_id=text_of(trace, "group_id"),
            user_id=text_of(metadata, "user_id"),
        )

    def on_trace_end(self, trace: Trace) -> None:
        """It has ended."""
        self._recorder.end(trace.trace_id)

    def on_span_start(self, span: Span[Any]) -> None:
        """A call or a span begins."""
        try:
            self._begin(span)
        except Exception as failure:  # noqa: BLE001 - the program must not notice
            self._recorder.step_aside(failure)

    def on_span_end(self, span: Span[Any]) -> None:
        """It has ended."""
        try:
            found = _failure_of(span)
            data = span.span_data
            if data.type in _CALLS:
                found = _answer_of(data) | found
        except Exception as failure:  # noqa: BLE001 - as above
            self._recorder.step_aside(failure)
            found = {}
        self._recorder.end(span.span_id, **found)

    def shutdown(self) -> None:
        """The program ends; the logger closes by itself."""

    def force_flush(self) -> None:
        """Nothing waits here."""

    def _begin(self, span: Span[Any]) -> None:
        data = span.span_data
        kind = data.type
        parent = span.parent_id or span.trace_id
        name = text_of(data, "name")
        if kind in _SKIPPED:
            self._recorder.skip(span.span_id, parent)
        elif kind in _CALLS:
            self._recorder.begin(
                span.span_id,
                parent,
                operation=_CALLS[kind],
                request_model=text_of(data, "model"),
                **place_of(None, text_of(get(data, "model_config"), "base_url")),
            )
        elif kind == "agent":
            self._recorder.begin(span.span_id, parent, operation="invoke_agent", agent_name=name)
        elif kind == "function":
            self._recorder.begin(span.span_id, parent, operation="execute_tool", tool_name=name)
        else:
            name = name or text_of(data, "to_agent") or text_of(data, "server")
            own = {"tool_name": kind if name is None else f"{kind} {name}"}
            self._recorder.begin(span.span_id, parent, operation="chain", own=own)


def _answer_of(data: Any) -> dict[str, Any]:
    """What a generation or a response says."""
    response = get(data, "response")
    if response is not None:
        return read_answer(response)
    usage = get(data, "usage")
    found = counted(read_answer({"usage": usage}))
    model = text_of(data, "model")
    output: Any = get(data, "output")
    last = cast("Any", output[-1] if type(output) is list and output else None)
    told = read_answer(last)
    found |= {field: told[field] for field in _OF_OUTPUT if told.get(field) not in {None, _NO_ID}}
    return found | ({} if model is None else {"request_model": model})


def _failure_of(span: Span[Any]) -> dict[str, Any]:
    """How a span failed, in the words of the SDK, which tells no exception."""
    error = span.error
    if error is None:
        return {}
    message, data = text_of(error, "message"), get(error, "data")
    detail = text_of(data, "error")
    kind = text_of(data, "error_type") or text_of(data, "type") or "SpanError"
    return {
        "status": "timeout" if "timeout" in kind.lower() else "error",
        "error_type": kind,
        "error_message": ": ".join(text for text in (message, detail) if text) or None,
    }
