"""What both faces share: settings, the queue's hot path, instrumentation, self-observation, and the words of errors."""

import math
import weakref
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar, cast, overload

from llm_service.budgets.events import OnBudget
from llm_service.config.settings import Settings, SettingsOptions
from llm_service.errors import (
    CommitTimeoutError,
    DuplicateInvocationError,
    RecordDroppedError,
    RecordQuarantinedError,
    SettingsError,
    StoreError,
    shown,
)
from llm_service.pricing.book import PriceBook
from llm_service.telemetry.client.prices_and_policies import Money
from llm_service.telemetry.instrumentation.decorator import instrument
from llm_service.telemetry.instrumentation.invocation import Invocation, ReadUsage, refuse_misplaced, settled
from llm_service.telemetry.instrumentation.stream import record_stream
from llm_service.telemetry.privacy import Redact
from llm_service.telemetry.record.record import Amount, InvocationRecord
from llm_service.telemetry.writer.engine import Engine
from llm_service.telemetry.writer.events import OnDrop, OnEvent
from llm_service.telemetry.writer.ledger import DropReason, Outcome, Settlement
from llm_service.telemetry.writer.schedule import Driver
from llm_service.telemetry.writer.stats import Stats

if TYPE_CHECKING:
    from llm_service.config.schemas import TelemetryConfig
    from llm_service.telemetry.client.prices_and_policies import ModelsGiven, PoliciesGiven

__all__ = ["Face", "seconds_or_none"]

_F = TypeVar("_F", bound=Callable[..., Any])
_S = TypeVar("_S")
_Made = TypeVar("_Made", bound="Face")


class Face:
    """What both faces share: settings, the queue's hot path, instrumentation and self-observation."""

    _awaits: ClassVar[bool]
    """Whether its promises are awaited, reservations among them."""

    def __init__(
        self,
        db_path: str | Path | None,
        on_drop: OnDrop | None,
        on_event: OnEvent | None,
        options: SettingsOptions,
        start_driver: Callable[[Engine], Driver | None],
        redact: Redact | None = None,
        money: Money | None = None,
    ) -> None:
        if redact is not None and not callable(redact):
            raise SettingsError("redact", redact, "give a callable that takes a str and returns one, or None")
        self._settings = Settings.of(db_path, options)
        money = (money or Money()).settled(self._settings)
        self._prices = money.prices()
        self._arguments = {"on_drop": on_drop, "on_event": on_event, "redact": redact} | money.given()
        self._engine = Engine(
            self._settings,
            start_driver,
            on_drop,
            on_event=on_event,
            redact=redact,
            prices=self._prices,
            policies=money.limits(self._settings),
            on_budget=money.on_budget,
        )
        self._offer = self._engine.queue.offer
        # At exit the engine has a hook of its own, which also works while the face is still referenced.
        weakref.finalize(self, self._engine.forgotten).atexit = False

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
        money = Money(models=models, policies=policies, policy=policy, on_budget=on_budget).settled(settings, file)
        return _made_of(cls, settings, {"on_drop": on_drop, "on_event": on_event, "redact": redact} | money.given())

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled, copied or deep-copied: a fresh logger of the same settings, with no record and no connection.

        Its callables come along as the pickler in use can carry them: `pickle` takes functions of a module by name,
        and names the one it cannot take. The sync face opens its file anew, and raises `StoreError` where it can't; a
        models.yaml that was given by its path is read anew.
        """
        return _made_of, (type(self), self._settings, self._arguments)

    @property
    def db_path(self) -> Path:
        """The absolute path of the SQLite file."""
        return self._settings.db_path

    @property
    def prices(self) -> PriceBook:
        """What models cost: the models.yaml that was given, and the bundled prices."""
        return self._prices

    @property
    def settings(self) -> Settings:
        """What this logger was told."""
        return self._settings

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

    def offer(self, record: InvocationRecord, /) -> bool:
        """What an `Invocation` calls: `log_invocation_nowait`."""
        return self._offer(record)

    def lose_invalid(self) -> None:
        """Count a record that could not be made at all."""
        self._engine.lose_invalid()

    def count_bad_value(self, field: str) -> bool:
        """Count a value that was left out; True the first time for this field."""
        return self._engine.count_bad_value(field)

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
        self._engine.ending.flush_on_sigterm()

    def stats(self) -> Stats:
        """The exact ledger and the state of queue and writer, from memory alone; from any thread."""
        return self._engine.stats()

    # Instrumentation

    def invocation(
        self, agent_name: str | None = None, tool_name: str | None = None, model_name: str | None = None, **fields: Any
    ) -> Invocation:
        """Time a block; each face says how its record is handed over."""
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
                step, and settled by its record. Each face waits in its own way, so `AsyncTelemetryLogger` takes a
                budget for async functions and async generators, `TelemetryLogger` for functions and generators.

        Raises:
            TypeError: for a class or what cannot be called, a `usage` that cannot be called, an `invocation_id`, or a
                `budget` that a function of this kind cannot hold by this face.
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
    ) -> _S:
        """Record a stream that one holds already: an iterator or async iterator, such as a client's answer.

        Returns an object that gives the same items and forwards every other attribute, `close` and `with` included.
        One record is made at the end of the items, an error, a close, or when it is collected, whichever comes first;
        an early end is recorded as `instrumented` says. `latency_ms` and `ttft_ms` count from this call on, and its
        parent is the call that is current here.

        Args:
            stream: what to iterate; also a context manager that gives it.
            agent_name, tool_name, model_name, **fields: of the record.
            usage: called with each item; see `instrumented`.
            budget, max_tokens: as for `invocation()`. `TelemetryLogger` reserves here, for a sync stream;
                `AsyncTelemetryLogger` when an async stream is entered or its first item is taken, and gives no other
                attribute of it before. The record settles it, whichever end comes first.

        Raises:
            TypeError: for what cannot be iterated, a `usage` that cannot be called, or a `budget` for a stream that
                this face cannot wait for.
            BudgetError: on `TelemetryLogger`, what `budgets.reserve` raises; the stream is left as it is.
            SettingsError, QueryError: (`ValueError`) for a `budget` where no limits are in force, or that is no amount.
        """
        _check_usage(usage)
        names = {"agent_name": agent_name, "tool_name": tool_name, "model_name": model_name}
        begin = partial(self.invocation, **names | fields | _budget(budget=budget, max_tokens=max_tokens))
        return cast("_S", record_stream(begin, usage, stream, awaits=self._awaiting(budget=budget)))

    def _awaiting(self, *, budget: Amount | bool) -> bool | None:
        """Whether this face awaits a reservation; None where none is wanted."""
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

    def _invocation(self, fields: dict[str, Any], put: Any = None) -> Invocation:
        # It holds the face, not the engine: a face in use is not forgotten.
        return Invocation(self, fields, strict=self._settings.strict, put=put)

    def _refused(self, outcome: Settlement | None, record: InvocationRecord) -> StoreError | None:
        """The error of a promised commit that did not come; None where nothing was promised to be stored."""
        if outcome is None or outcome in {Outcome.WRITTEN, DropReason.DISABLED, DropReason.PRIVACY}:
            return None
        if outcome is Outcome.DUPLICATE:
            return DuplicateInvocationError(record.invocation_id, self.db_path)
        if outcome is Outcome.QUARANTINED:
            return RecordQuarantinedError(
                f"SQLite refused record {shown(record.invocation_id)}; see the table dead_letters", self.db_path
            )
        return RecordDroppedError(outcome.value, self.db_path)

    def _late(self, what: str, seconds: float) -> CommitTimeoutError:
        cause = self._engine.committer.commits.last_error or "the writer is behind"
        return CommitTimeoutError(f"{what} within {seconds:g} s ({cause}); it stays queued", self.db_path)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(db_path={str(self.db_path)!r}, privacy_level={self._settings.privacy_level!r})"


def _made_of(face: "type[_Made]", settings: Settings, arguments: dict[str, Any]) -> "_Made":
    options: dict[str, Any] = {name: getattr(settings, name) for name in Settings.names()}
    return face(options.pop("db_path"), **arguments, **options)


def _budget(*, budget: Amount | bool, max_tokens: int | None) -> dict[str, Any]:
    """The arguments of `invocation()` that say what a call may take."""
    return ({} if budget is False else {"budget": budget}) | ({} if max_tokens is None else {"max_tokens": max_tokens})


def _check_usage(usage: object) -> None:
    if usage is not None and not callable(usage):
        raise TypeError(f"usage: {shown(usage)} cannot be called; give a function of the result, or of one item")


def seconds_or_none(timeout: float | None, default: float) -> float | None:
    """Seconds to wait; None is for ever."""
    seconds = default if timeout is None else timeout
    if math.isnan(seconds) or seconds < 0:
        raise ValueError(f"timeout: {shown(timeout)} is not usable; give seconds from 0, or math.inf")
    return None if math.isinf(seconds) else seconds
