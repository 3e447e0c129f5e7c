"""What both clients share: how they are made and copied, the queue's hot path, instrumentation and self-observation."""

from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, Self, TypeVar, Unpack, overload

from llm_service.budgets.alerts import OnBudget
from llm_service.config.settings import Settings, SettingsOptions
from llm_service.errors import SettingsError
from llm_service.pricing.book import PriceBook
from llm_service.redaction import shown
from llm_service.telemetry.client import instruments_api, scopes_api
from llm_service.telemetry.client.budgeted_call import Reserve, reserve_for
from llm_service.telemetry.client.client_core import ClientCore
from llm_service.telemetry.client.prices_and_policies import PricesAndPolicies
from llm_service.telemetry.instrumentation.argument_fields import Limit, Name, beginning, function_and_fields
from llm_service.telemetry.instrumentation.call_fields import refuse_misplaced
from llm_service.telemetry.instrumentation.decorator import instrument
from llm_service.telemetry.instrumentation.invocation import Invocation, ReadUsage
from llm_service.telemetry.instrumentation.recorded_stream import record_stream
from llm_service.telemetry.instrumentation.request_parameters import asked_in, take_limit
from llm_service.telemetry.privacy import Redact
from llm_service.telemetry.record.record import Amount, InvocationRecord
from llm_service.telemetry.stores.base import Store, StoreParts
from llm_service.telemetry.stores.sqlite.store import SqliteStore
from llm_service.telemetry.writer.drivers import Driver
from llm_service.telemetry.writer.engine import Engine
from llm_service.telemetry.writer.events import OnDrop, OnEvent
from llm_service.telemetry.writer.stats import Stats

if TYPE_CHECKING:
    from llm_service.config.schemas import TelemetryConfig
    from llm_service.telemetry.client.prices_and_policies import ModelsGiven, PoliciesGiven

__all__ = ["BaseClient"]

_F = TypeVar("_F", bound=Callable[..., Any])
_S = TypeVar("_S")
_Budgeted = TypeVar("_Budgeted", bound=Invocation)


class BaseClient(Generic[_Budgeted]):
    """What both clients share. Each says how its writer starts, and what a block with a budget is."""

    _awaits: ClassVar[bool]
    """Whether the client's promises are awaited, reservations among them."""
    _make_store: Callable[[StoreParts], Store] = SqliteStore
    """Makes the store that it writes to: the one place that chooses."""
    _instruments = False

    def __init__(
        self,
        db_path: str | Path | None = None,
        *,
        models: "ModelsGiven" = None,
        on_drop: OnDrop | None = None,
        on_event: OnEvent | None = None,
        redact: Redact | None = None,
        policies: "PoliciesGiven" = None,
        policy: str | None = None,
        on_budget: OnBudget | None = None,
        **options: Unpack[SettingsOptions],
    ) -> None:
        if redact is not None and not callable(redact):
            raise SettingsError("redact", redact, "give a callable that takes a str and returns one, or None")
        settings = Settings.of(db_path, options)
        money = PricesAndPolicies(models=models, policies=policies, policy=policy, on_budget=on_budget)
        money = money.settled(settings)
        prices = money.prices()
        self._arguments = {"on_drop": on_drop, "on_event": on_event, "redact": redact} | money.given()
        self._engine = Engine(
            settings,
            self._start_writer,
            self._make_store,
            on_drop,
            on_event=on_event,
            redact=redact,
            prices=prices,
            policies=money.limits(settings),
            on_budget=on_budget,
        )
        self._core = ClientCore(settings, self._engine, prices)
        self._offer = self._core.offer
        self._open()

    @staticmethod
    def _start_writer(engine: Engine) -> Driver | None:
        raise NotImplementedError

    def _open(self) -> None:
        """Make the file, where that is done at once."""

    @classmethod
    def from_config(
        cls,
        config: "TelemetryConfig | str | Path | None" = None,
        *,
        models: "ModelsGiven" = None,
        on_drop: OnDrop | None = None,
        on_event: OnEvent | None = None,
        redact: Redact | None = None,
        policies: "PoliciesGiven" = None,
        policy: str | None = None,
        on_budget: OnBudget | None = None,
    ) -> Self:
        """Make a logger from a `TelemetryConfig`, from a YAML file, or (None) from where `load_config` looks.

        Args:
            config: the settings.
            on_drop, on_event, redact, policy, on_budget: see the class.
            models, policies: see the class; a file beside `config` comes before those elsewhere.

        Raises:
            ConfigError: (a `ValueError`) naming file, line, key and remedy.
        """
        from llm_service.config.load import load_config  # noqa: PLC0415 - pydantic and YAML cost most of an import
        from llm_service.config.schemas import TelemetryConfig  # noqa: PLC0415

        file = None if isinstance(config, TelemetryConfig) else config
        settings = (config if isinstance(config, TelemetryConfig) else load_config(file)).to_settings()
        money = PricesAndPolicies(models=models, policies=policies, policy=policy, on_budget=on_budget)
        given = money.settled(settings, file).given()
        return cls._of(settings, {"on_drop": on_drop, "on_event": on_event, "redact": redact} | given)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled, copied or deep-copied: a fresh logger of the same settings, with no record and no connection.

        Its callables come along as the pickler in use can carry them: `pickle` takes functions of a module by name,
        and names the one it cannot take. The sync logger opens its file anew, and raises `StoreError` where it can't; a
        models.yaml that was given by its path is read anew.
        """
        return self._of, (self.settings, self._arguments)

    @classmethod
    def _of(cls, settings: Settings, arguments: dict[str, Any]) -> Self:
        options: dict[str, Any] = {name: getattr(settings, name) for name in Settings.names()}
        return cls(options.pop("db_path"), **arguments, **options)

    @property
    def db_path(self) -> Path:
        """The absolute path of the SQLite file."""
        return self._core.db_path

    @property
    def prices(self) -> PriceBook:
        """What models cost: the models.yaml that was given, and the bundled prices."""
        return self._core.prices

    @property
    def settings(self) -> Settings:
        """What this logger was told."""
        return self._core.settings

    def log_invocation_nowait(self, record: InvocationRecord) -> bool:
        """Hand a record over and go on; from any thread, callback, signal handler or `__del__`.

        Never blocks and never raises for a full queue or a closed logger. The record is committed within
        `flush_interval`, in the background.

        Returns:
            True when accepted, False when dropped and counted in `stats().ledger.dropped`.

        Raises:
            TypeError: for anything but an `InvocationRecord`.
        """
        return self._offer(record)

    def flush_on_sigterm(self) -> None:
        """From now on SIGTERM writes what was accepted, within `close_timeout`, and then does what it would have done.

        Call it in the main thread, after the program (or its server) has installed its own handlers: a Python handler
        is called once the records are on disk; by default the process dies of the signal, with the exit code as
        without us, and takes no more records meanwhile. Where SIGTERM is ignored it stays so. A close puts back what
        was there, if nobody has replaced it since. asyncio runs the callback of `loop.add_signal_handler` by itself,
        at once. The handler never waits: a helper thread writes while the program goes on.

        Raises:
            SignalError: not the main thread, or the present handler was not installed from Python.
        """
        self._engine.shutdown.flush_on_sigterm()

    instrument = instruments_api.instrument
    uninstrument = instruments_api.uninstrument
    instrumenting = instruments_api.instrumenting

    scope = scopes_api.scope
    traceparent = scopes_api.traceparent

    def _close_instruments(self) -> None:
        if self._instruments:
            self.uninstrument()

    def stats(self) -> Stats:
        """The exact ledger and the state of queue and writer, from memory alone; from any thread."""
        return self._engine.stats()

    @overload
    def invocation(
        self, agent_name: str | None = None, tool_name: str | None = None, model_name: str | None = None, *,
        budget: Literal[False] = False, max_tokens: int | None = None, **fields: Any,
    ) -> Invocation: ...  # fmt: skip
    @overload
    def invocation(
        self, agent_name: str | None = None, tool_name: str | None = None, model_name: str | None = None, *,
        budget: Amount | Literal[True], max_tokens: int | None = None, **fields: Any,
    ) -> _Budgeted: ...  # fmt: skip
    @overload
    def invocation(
        self, agent_name: str | None = None, tool_name: str | None = None, model_name: str | None = None, *,
        budget: Amount | bool = False, max_tokens: int | None = None, **fields: Any,
    ) -> Invocation: ...  # fmt: skip
    def invocation(
        self,
        agent_name: str | None = None,
        tool_name: str | None = None,
        model_name: str | None = None,
        *,
        budget: Amount | bool = False,
        max_tokens: int | None = None,
        **fields: Any,
    ) -> Invocation:
        """Time a block and log it on exit, whatever happened: `with`, or `async with` on `AsyncTelemetryLogger`.

        Status is `success`, `timeout` after a `TimeoutError`, else `error`; a cancelled block has `error_type`
        `cancelled`. The block's exception passes through unchanged. A call within the block gets this one as its
        `parent_invocation_id`, and what it does not say itself of `session_id`, `user_id`, `run` and `trace_id`. Any
        field of `InvocationRecord` may be given here or by `call.set(...)`. Leaving a plain `with` hands the record
        over as `log_invocation_nowait` does: it waits for no disk, unless a `budget` has to be settled.

        Args:
            agent_name, tool_name, model_name, **fields: of the record.
            budget: True reserves what is estimated (from these names, `prompt` or `prompt_tokens`, and `max_tokens`)
                before the block is entered, a number reserves so many USD; the record then settles it. On
                `AsyncTelemetryLogger` only with `async with`; entering raises what `budgets.reserve` raises, and
                nothing is recorded then. `call.hold` is the hold.
            max_tokens: what the answer is limited to, for the estimate; also as OpenAI's `max_completion_tokens` and
                `max_output_tokens`.
        """
        max_tokens = take_limit(fields, max_tokens)
        names = {"agent_name": agent_name, "tool_name": tool_name, "model_name": model_name}
        return self._made(names | fields, budget=budget, max_tokens=max_tokens)

    def _made(
        self, fields: dict[str, Any], *, budget: Amount | bool, max_tokens: int | None, told: bool = False
    ) -> Invocation:
        asked = asked_in(fields, estimates=budget is True)
        if budget is False:
            return self._block(asked.fields)
        return self._budgeted_block(asked.fields, reserve_for(self._core, budget, max_tokens, asked=asked, told=told))

    def _block(self, fields: dict[str, Any]) -> Invocation:
        return Invocation(self._core, fields, strict=self._core.settings.strict)

    def _budgeted_block(self, fields: dict[str, Any], reserve: Reserve) -> _Budgeted:
        raise NotImplementedError

    @overload
    def instrumented(self, function: _F, /) -> _F: ...
    @overload
    def instrumented(
        self, agent_name: str | None = None, tool_name: Name = None, model_name: Name = None, *,
        usage: ReadUsage | None = None, budget: Amount | bool = False, max_tokens: Limit = None, **fields: Any,
    ) -> Callable[[_F], _F]: ...  # fmt: skip
    @overload
    def instrumented(
        self, *, agent_name: Callable[..., str | None], tool_name: Name = None, model_name: Name = None,
        usage: ReadUsage | None = None, budget: Amount | bool = False, max_tokens: Limit = None, **fields: Any,
    ) -> Callable[[_F], _F]: ...  # fmt: skip
    def instrumented(
        self,
        *names: Any,
        usage: ReadUsage | None = None,
        budget: Amount | bool = False,
        **fields: Any,
    ) -> Any:
        """Decorate a function so that each call of it is timed and recorded, as by `invocation()`.

        For plain and async functions, generators and async generators, and methods; above or below `@staticmethod`
        and `@classmethod`. The kind, signature and type of the function stay. A generator gives one record for each
        iteration that was begun, made at its end: `stream` is True, `ttft_ms` is the time to the first item. Where the
        consumer stops early (`break`, `close`, collection), that is no error: status `success`, `finish_reason`
        `cancelled` unless the stream had told its own, and `usage_source` `partial` where token counts were seen.
        A plain function is timed until it returns, or until the coroutine, generator or future that it returns has
        ended: for a client's stream that it returns, use `wrap_stream` inside.

        Args:
            agent_name, tool_name, model_name, **fields: of every record; any field of `InvocationRecord` but its id.
                Without any, `@telemetry.instrumented` needs no parentheses. One that is a function (`agent_name` by its
                name: `agent_name=lambda self, *_, **__: self.name`) is called as the decorated one is, before the clock
                starts, `self` and `cls` included; it returns the value, or None. What it raises, or returns and cannot
                be used, costs this field alone: counted in `stats().bad_values` and warned about once; `strict` raises
                it.
            usage: called with the returned value, or with each item of a generator (nothing is kept of them); returns
                a mapping of record fields, or None. A later value of a field replaces an earlier one, and None does
                not: so a last chunk's totals and cumulative counts both come out right. What it raises is counted in
                `stats().bad_values` and warned about once; `strict` raises it.
            budget, max_tokens: as for `invocation()`, for each call: reserved before it, a generator's before its first
                step, and settled by its record; `max_tokens` may be a function, too. Each logger waits in its own way,
                so `AsyncTelemetryLogger` takes a budget for async functions and async generators, `TelemetryLogger` for
                functions and generators.

        Raises:
            TypeError: for a class or what cannot be called, a `usage` that cannot be called, a fixed `invocation_id`,
                an async function as a field, or a `budget` that a function of this kind cannot hold by this logger.
            SettingsError, QueryError: (`ValueError`) for a `budget` where no limits are in force, or that is no amount.
            RecordError: with `strict`, for a field that `InvocationRecord` does not have.
        """
        _check_usage(usage)
        refuse_misplaced(fields)
        if "invocation_id" in fields and not callable(fields["invocation_id"]):
            raise TypeError("invocation_id is of one call: leave it out, or give it by usage= or a function")
        function, fields = function_and_fields(names, fields)

        def made(fields: dict[str, Any], limit: int | None, *, told: bool) -> Invocation:
            return self._made(fields, budget=budget, max_tokens=limit, told=told)

        strict = self.settings.strict
        begin = beginning(made, fields, self._core, strict=strict, is_checked=strict or budget is not False)
        decorate = partial(instrument, begin, usage, awaits=None if budget is False else self._awaits)
        return decorate if function is None else decorate(function)

    @overload
    def wrap_stream(
        self, stream: Callable[[], Awaitable[_S]] | Awaitable[_S],
        agent_name: str | None = None, tool_name: str | None = None, model_name: str | None = None, *,
        usage: ReadUsage | None = None, budget: Amount | bool = False, max_tokens: int | None = None, **fields: Any,
    ) -> _S: ...  # fmt: skip
    @overload
    def wrap_stream(
        self, stream: Callable[[], _S],
        agent_name: str | None = None, tool_name: str | None = None, model_name: str | None = None, *,
        usage: ReadUsage | None = None, budget: Amount | bool = False, max_tokens: int | None = None, **fields: Any,
    ) -> _S: ...  # fmt: skip
    @overload
    def wrap_stream(
        self, stream: _S,
        agent_name: str | None = None, tool_name: str | None = None, model_name: str | None = None, *,
        usage: ReadUsage | None = None, budget: Amount | bool = False, max_tokens: int | None = None, **fields: Any,
    ) -> _S: ...  # fmt: skip
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
            usage: called with each item; see `instrumented`. Without it, items that are events of a known provider
                are read as `call.watch` reads them.
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

        def begin() -> Invocation:
            _check_usage(usage)
            return self.invocation(agent_name, tool_name, model_name, budget=budget, max_tokens=max_tokens, **fields)

        return record_stream(begin, usage, stream, awaits=self._awaits, has_budget=budget is not False)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(db_path={str(self.db_path)!r}, privacy_level={self.settings.privacy_level!r})"


def _check_usage(usage: object) -> None:
    if usage is not None and not callable(usage):
        raise TypeError(f"usage: {shown(usage)} cannot be called; give a function of the result, or of one item")
