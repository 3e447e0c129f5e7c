"""Pydantic AI: model requests as calls; agent runs and tools as spans.

https://pydantic.dev/docs/ai/core-concepts/capabilities/. A capability wraps what it records, in its own context.
"""

from asyncio import CancelledError
from collections.abc import Awaitable, Callable, Hashable, Mapping
from typing import Any, Final
from uuid import uuid4

from llm_service.extras import install
from llm_service.telemetry.instrumentation.frameworks.framework_call import LEFT
from llm_service.telemetry.instrumentation.frameworks.places import place_of
from llm_service.telemetry.instrumentation.frameworks.recorder import CallbackRecorder, Telemetry
from llm_service.telemetry.instrumentation.frameworks.richest import counted
from llm_service.telemetry.instrumentation.responses.answers import get, read_answer, text_of

try:
    from pydantic_ai.capabilities import AbstractCapability
except ImportError as missing:
    raise ImportError(f"pydantic-ai 2 or newer is missing: {install('pydantic-ai')}") from missing

__all__ = ["TelemetryCapability"]

_LEFT: Final = {**LEFT, "stream": True}
"""What is said of a stream whose consumer went away before its end."""


class TelemetryCapability(AbstractCapability[Any]):
    """Records what an agent does: `Agent(model, capabilities=[TelemetryCapability(telemetry)])`.

    Where no block around names a session, it is the conversation's id. A step that is tried again is as many calls as
    the SDK below tells of.

    Args:
        telemetry: the logger, sync or async.
    """

    def __init__(self, telemetry: Telemetry) -> None:
        self._recorder = CallbackRecorder(telemetry, "pydantic-ai", ids_are_unique=True)
        self._cut: dict[str | None, list[tuple[Hashable, Any]]] = {}
        self._left: set[str | None] = set()

    async def wrap_run(self, ctx: Any, *, handler: Callable[[], Awaitable[Any]]) -> Any:
        """An agent runs."""
        key = self._key_of(ctx, "run")
        self._recorder.begin(
            key,
            operation="invoke_agent",
            agent_name=text_of(get(ctx, "agent"), "name"),
            otherwise={"session_id": text_of(ctx, "conversation_id")},
        )
        try:
            result = await handler()
        except BaseException as error:
            left = self._end_cut(ctx, error) and not isinstance(error, Exception)
            self._recorder.end(key, error=None if left else error)
            raise
        self._end_cut(ctx, None)
        self._recorder.end(key)
        return result

    def _end_cut(self, ctx: Any, error: BaseException | None) -> bool:
        """The run has ended, and tells why its request was cut: it failed, or its consumer went away.

        Returns:
            Whether the consumer of a stream that had begun went away.
        """
        run = text_of(ctx, "run_id")
        left = run in self._left
        self._left.discard(run)
        for key, asked in self._cut.pop(run, ()):
            if isinstance(error, Exception):
                self._recorder.end(key, error=error)
            elif _had_begun(asked):
                left = True
                self._recorder.end(key, **_LEFT)
            else:
                self._recorder.end(key, error=CancelledError())
        return left

    async def wrap_model_request(
        self, ctx: Any, *, request_context: Any, handler: Callable[[Any], Awaitable[Any]]
    ) -> Any:
        """A model is asked."""
        key = self._key_of(ctx, "request", get(ctx, "run_step"))
        model = get(request_context, "model") or get(ctx, "model")
        self._recorder.begin(
            key,
            request_model=text_of(model, "model_name"),
            **_place_asked(model),
        )
        try:
            response = await handler(request_context)
        except CancelledError:  # also where a stream fails, of which only the run tells
            self._recorder.outlive_task(key)
            self._cut.setdefault(text_of(ctx, "run_id"), []).append((key, ctx))
            raise
        except BaseException as error:
            self._recorder.end(key, error=error)
            raise
        try:
            found = _answer_of(response)
            if _is_cut(response):
                self._left.add(text_of(ctx, "run_id"))
        except Exception as failure:  # noqa: BLE001 - the program must not notice
            self._recorder.step_aside(failure)
            found = {}
        self._recorder.end(key, **found)
        return response

    async def wrap_tool_execute(
        self, ctx: Any, *, call: Any, tool_def: Any, args: Any, handler: Callable[[Any], Awaitable[Any]]
    ) -> Any:
        """A tool is run."""
        key = self._key_of(ctx, "tool", text_of(call, "tool_call_id"))
        self._recorder.begin(key, operation="execute_tool", tool_name=text_of(call, "tool_name"))
        try:
            result = await handler(args)
        except BaseException as error:
            self._recorder.end(key, error=error)
            raise
        self._recorder.end(key)
        return result

    def _key_of(self, ctx: Any, *what: Any) -> Hashable:
        """An id that is the same for each capability of a run, and another for what runs beside it."""
        run = text_of(ctx, "run_id")
        key = (run, *what)
        if run is None or (self._recorder.is_running(key) and not self._recorder.is_current(key)):
            return uuid4()
        return key


def _place_asked(model: Any) -> Mapping[str, Any]:
    """Who is asked; of several that are tried in turn the answer says it."""
    system = text_of(model, "system")
    return {} if system is None or ":" in system else place_of(system, text_of(model, "base_url"))


def _is_cut(response: Any) -> bool:
    return text_of(response, "state") in {"incomplete", "interrupted"}


def _had_begun(ctx: Any) -> bool:
    """Whether the latest message of a request that was cut is an answer, of which something had arrived."""
    messages = get(ctx, "messages")
    if not isinstance(messages, list) or not messages or not _is_cut(messages[-1]):
        return False
    return bool(get(messages[-1], "parts")) or text_of(messages[-1], "provider_response_id") is not None


def _answer_of(response: Any) -> dict[str, Any]:
    """What an answer says, in Pydantic AI's own form, whose counts are 0 where nothing is known."""
    return {
        **counted(read_answer(response)),
        **place_of(text_of(response, "provider_name"), text_of(response, "provider_url")),
        "model_name": text_of(response, "model_name"),
        "response_id": text_of(response, "provider_response_id"),
        "finish_reason": text_of(response, "finish_reason"),
        **(_LEFT if _is_cut(response) else {}),
    }
