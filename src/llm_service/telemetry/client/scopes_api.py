"""What calls have in common, and what links them across processes: methods of both clients."""

from typing import Any, Protocol

from llm_service.telemetry.client.client_core import ClientCore
from llm_service.telemetry.instrumentation.scope import Scope, traceparent_here

__all__ = ["scope", "traceparent"]


class _Client(Protocol):
    _core: ClientCore


def scope(self: _Client, *, traceparent: str | None = None, **fields: Any) -> Scope:
    """Say once what all calls within have in common: `with` or `async with`, nested as you like.

    What blocks, decorated functions, streams, hooked SDKs and `record_from_response` record within has these fields;
    what is said nearer to a call wins, and None says nothing. Tags and metadata are added to those around them. Tasks
    and `asyncio.to_thread` that begin within belong to it, for as long as they run; threads of an executor do not.
    Budgets count the calls by these names before they are made. A record that you make yourself and hand to
    `log_invocation` stays as it is.

    Args:
        traceparent: the header (W3C) of a request from another process: the calls within are in its trace, with its
            span as their `parent_invocation_id`.
        **fields: `agent_name`, `tool_name`, `model_name`, `session_id`, `user_id`, `run`, `trace_id`, `tags` (a list,
            or a dict: `{"commit": "abc"}` is the tag `commit:abc`), `metadata`, and others that may be of many calls:
            `provider`, `operation`, `request_model`, `service_tier`, `source`, `privacy_level`. A value that cannot be
            is left out, warned about once and counted; `strict` raises it.

    Raises:
        RecordError: with `strict`, for a bad value, or a name that is no field of many calls.
    """
    core = self._core
    return Scope(core, fields, strict=core.settings.strict, traceparent=traceparent)


def traceparent(self: _Client) -> str | None:
    """The header `traceparent` (W3C) for a request to another process: of the block, or the scope, that is open here.

    Of `call.traceparent` it is the value for the innermost block. None where neither a block, a scope with a trace,
    nor a span of OpenTelemetry is open.
    """
    return traceparent_here(self._core)
