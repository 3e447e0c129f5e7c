"""Decorating functions and wrapping streams, on both loggers: what each call of them is recorded by."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, ClassVar, TypeVar, cast, overload

from llm_service.config.settings import Settings
from llm_service.errors import shown
from llm_service.telemetry.instrumentation.call_fields import refuse_misplaced, settled
from llm_service.telemetry.instrumentation.decorator import instrument
from llm_service.telemetry.instrumentation.invocation import Invocation, ReadUsage
from llm_service.telemetry.instrumentation.recorded_stream import record_stream
from llm_service.telemetry.record.record import Amount

__all__ = ["Instrumenting"]

_F = TypeVar("_F", bound=Callable[..., Any])
_S = TypeVar("_S")


class Instrumenting:
    """What makes invocations of a logger around functions and streams."""

    _awaits: ClassVar[bool]
    """Whether the logger's promises are awaited, reservations among them."""
    _settings: Settings

    def invocation(
        self, agent_name: str | None = None, tool_name: str | None = None, model_name: str | None = None, **fields: Any
    ) -> Invocation:
        """Time a block; each logger says how its record is handed over."""
        raise NotImplementedError

    @overload
    def instrumented(self, function: _F, /) -> _F: ...
    @overload
    def instrumented(
        self,
        agent_name: str | None = None,
        tool_name: str | None = None,
        model_name: str | None = None,
        *,
        usage: ReadUsage | None = None,
        budget: Amount | bool = False,
        max_tokens: int | None = None,
        **fields: Any,
    ) -> Callable[[_F], _F]: ...
    def instrumented(
        self,
        agent_name: Any = None,
        tool_name: str | None = None,
        model_name: str | None = None,
        *,
        usage: ReadUsage | None = None,
        budget: Amount | bool = False,
        max_tokens: int | None = None,
        **fields: Any,
    ) -> Any:
        """Decorate a function so that each call of it is timed and recorded, as by `invocation()`.

        For plain and async functions, generators and async generators, and methods; above or below `@staticmethod`
        and `@classmethod`. The kind, signature and type of the function stay. A generator gives one record for each
        iteration that was begun, made at its end: `stream` is True, `ttft_ms` is the time to the first item. Where the
        consumer stops early (`break`, `close`, collection), that is no error: status `success`, `finish_reason`
        `cancelled` unless the stream had told its own, and `usage_source` `partial` where token counts were seen.
        A plain function is timed until it returns: for a stream that it returns, use `wrap_stream` inside.

        Args:
            agent_name, tool_name, model_name, **fields: of every record; any field of `InvocationRecord` but its id.
                Without any, `@telemetry.instrumented` needs no parentheses.
            usage: called with the returned value, or with each item of a generator (nothing is kept of them); returns
                a mapping of record fields, or None. A later value of a field replaces an earlier one, and None does
                not: so a last chunk's totals and cumulative counts both come out right. What it raises is counted in
                `stats().bad_values` and warned about once; `strict` raises it.
            budget, max_tokens: as for `invocation()`, for each call: reserved before it, a generator's before its first
                step, and settled by its record. Each logger waits in its own way, so `AsyncTelemetryLogger` takes a
                budget for async functions and async generators, `TelemetryLogger` for functions and generators.

        Raises:
            TypeError: for a class or what cannot be called, a `usage` that cannot be called, an `invocation_id`, or a
                `budget` that a function of this kind cannot hold by this logger.
            SettingsError, QueryError: (`ValueError`) for a `budget` where no limits are in force, or that is no amount.
            RecordError: with `strict`, for a field that `InvocationRecord` does not have.
        """
        if callable(agent_name) or isinstance(agent_name, staticmethod | classmethod):
            names: dict[str, Any] = {"tool_name": tool_name, "model_name": model_name}
            begin = self._beginning(names | fields, usage, budget=budget, max_tokens=max_tokens)
            return instrument(begin, usage, cast("Any", agent_name), awaits=self._awaiting(budget=budget))
        names = {"agent_name": agent_name, "tool_name": tool_name, "model_name": model_name}
        begin = self._beginning(names | fields, usage, budget=budget, max_tokens=max_tokens)
        return partial(instrument, begin, usage, awaits=self._awaiting(budget=budget))

    @overload
    def wrap_stream(
        self,
        stream: Callable[[], Awaitable[_S]],
        agent_name: str | None = None,
        tool_name: str | None = None,
        model_name: str | None = None,
        *,
        usage: ReadUsage | None = None,
        budget: Amount | bool = False,
        max_tokens: int | None = None,
        **fields: Any,
    ) -> _S: ...
    @overload
    def wrap_stream(
        self,
        stream: Awaitable[_S],
        agent_name: str | None = None,
        tool_name: str | None = None,
        model_name: str | None = None,
        *,
        usage: ReadUsage | None = None,
        budget: Amount | bool = False,
        max_tokens: int | None = None,
        **fields: Any,
    ) -> _S: ...
    @overload
    def wrap_stream(
        self,
        stream: Callable[[], _S],
        agent_name: str | None = None,
        tool_name: str | None = None,
        model_name: str | None = None,
        *,
        usage: ReadUsage | None = None,
        budget: Amount | bool = False,
        max_tokens: int | None = None,
        **fields: Any,
    ) -> _S: ...
    @overload
    def wrap_stream(
        self,
        stream: _S,
        agent_name: str | None = None,
        tool_name: str | None = None,
        model_name: str | None = None,
        *,
        usage: ReadUsage | None = None,
        budget: Amount | bool = False,
        max_tokens: int | None = None,
        **fields: Any,
    ) -> _S: ...
    def wrap_stream(
        self,
        stream: Any,
        agent_name: str | None = None,
        tool_name: str | None = None,
        model_name: str | None = None,
        *,
        usage: ReadUsage | None = None,
        budget: Amount | bool = False,
        max_tokens: int | None = None,
        **fields: Any,
    ) -> Any:
        """Record a stream: an iterator or async iterator, such as a client's answer, or the request that gives it.

        Returns an object that gives the same items and forwards every other attribute, `close` and `with` included.
        One record is made at the end of the items, an error, a close, or when it is collected, whichever comes first;
        an early end is recorded as `instrumented` says. Its parent is the call that is current here.

        Give the request rather than its stream where you can: `latency_ms` and `ttft_ms` then count from the request,
        a failure of the request is recorded as the call's, and nothing is sent that a `budget` refuses. Of a stream
        that is open already they count from this call on, and a refusal closes it.

        Args:
            stream: what to iterate, or a context manager that gives it; or the request: an awaitable of either, such as
                `client.chat.completions.create(..., stream=True)` of an async client, not awaited, or a function
                without arguments that returns one of these. `TelemetryLogger` calls a function here;
                `AsyncTelemetryLogger` sends the request when the stream is entered or its first item is taken, and
                gives no attribute of it before. What is closed before that is never sent, and not recorded.
            agent_name, tool_name, model_name, **fields: of the record.
            usage: called with each item; see `instrumented`.
            budget, max_tokens: as for `invocation()`. `TelemetryLogger` reserves here, for a sync stream;
                `AsyncTelemetryLogger` when an async stream is entered or its first item is taken, and gives no other
                attribute of it before. The record settles it, whichever end comes first.

        Raises:
            TypeError: for what cannot be iterated, a `usage` that cannot be called, or a `budget` for a stream that
                this logger cannot wait for.
            BudgetError: on `TelemetryLogger`, what `budgets.reserve` raises; nothing was sent, or the stream is closed.
            SettingsError, QueryError: (`ValueError`) for a `budget` where no limits are in force, or that is no amount.
            Exception: on `TelemetryLogger`, what the function raises; it is recorded.
        """
        names = {"agent_name": agent_name, "tool_name": tool_name, "model_name": model_name}
        begin = partial(self._checked, usage, names | fields | _budget(budget=budget, max_tokens=max_tokens))
        return record_stream(begin, usage, stream, awaits=self._awaits, has_budget=budget is not False)

    def _checked(self, usage: ReadUsage | None, fields: dict[str, Any]) -> Invocation:
        _check_usage(usage)
        return self.invocation(**fields)

    def _awaiting(self, *, budget: Amount | bool) -> bool | None:
        """Whether this logger awaits a reservation; None where none is wanted."""
        return None if budget is False else self._awaits

    def _beginning(
        self, fields: dict[str, Any], usage: ReadUsage | None, *, budget: Amount | bool, max_tokens: int | None
    ) -> Callable[[], Invocation]:
        _check_usage(usage)
        refuse_misplaced(fields)
        fields |= _budget(budget=budget, max_tokens=max_tokens)
        if "invocation_id" in fields:
            raise TypeError("invocation_id is of one call: leave it out, or give it by usage=")
        if self._settings.strict or budget is not False:
            self.invocation(**fields)  # tells of what cannot be where the function is defined
        return partial(self.invocation, **settled(fields))


def _budget(*, budget: Amount | bool, max_tokens: int | None) -> dict[str, Any]:
    """The arguments of `invocation()` that say what a call may take."""
    return ({} if budget is False else {"budget": budget}) | ({} if max_tokens is None else {"max_tokens": max_tokens})


def _check_usage(usage: object) -> None:
    if usage is not None and not callable(usage):
        raise TypeError(f"usage: {shown(usage)} cannot be called; give a function of the result, or of one item")
