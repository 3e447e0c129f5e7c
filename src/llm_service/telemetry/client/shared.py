"""What both loggers share: settings, the queue's hot path, self-observation, and the words of errors."""

import math
import weakref
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

from llm_service.budgets.alerts import OnBudget
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
from llm_service.telemetry.client.instrumenting import Instrumenting
from llm_service.telemetry.client.prices_and_policies import PricesAndPolicies
from llm_service.telemetry.instrumentation.invocation import Invocation
from llm_service.telemetry.privacy import Redact
from llm_service.telemetry.record.record import InvocationRecord
from llm_service.telemetry.writer.engine import Engine
from llm_service.telemetry.writer.events import OnDrop, OnEvent
from llm_service.telemetry.writer.ledger import DropReason, Outcome, Settlement
from llm_service.telemetry.writer.schedule import Driver
from llm_service.telemetry.writer.stats import Stats

if TYPE_CHECKING:
    from llm_service.config.schemas import TelemetryConfig
    from llm_service.telemetry.client.prices_and_policies import ModelsGiven, PoliciesGiven

__all__ = ["BaseClient", "seconds_or_none"]

_Made = TypeVar("_Made", bound="BaseClient")


class BaseClient(Instrumenting):
    """What both loggers share: settings, the queue's hot path, instrumentation and self-observation."""

    def __init__(
        self,
        db_path: str | Path | None,
        on_drop: OnDrop | None,
        on_event: OnEvent | None,
        options: SettingsOptions,
        start_driver: Callable[[Engine], Driver | None],
        redact: Redact | None = None,
        money: PricesAndPolicies | None = None,
    ) -> None:
        if redact is not None and not callable(redact):
            raise SettingsError("redact", redact, "give a callable that takes a str and returns one, or None")
        self._settings = Settings.of(db_path, options)
        money = (money or PricesAndPolicies()).settled(self._settings)
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
        self._told: set[str] = set()
        self._instruments = False
        self._offer = self._engine.queue.offer
        # At exit the engine has a hook of its own, which also works while the logger is still referenced.
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
        money = PricesAndPolicies(models=models, policies=policies, policy=policy, on_budget=on_budget).settled(
            settings, file
        )
        return _made_of(cls, settings, {"on_drop": on_drop, "on_event": on_event, "redact": redact} | money.given())

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled, copied or deep-copied: a fresh logger of the same settings, with no record and no connection.

        Its callables come along as the pickler in use can carry them: `pickle` takes functions of a module by name,
        and names the one it cannot take. The sync logger opens its file anew, and raises `StoreError` where it can't; a
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

    def is_first(self, what: str) -> bool:
        """Whether this logger is asked so for the first time: what is then said, is said once."""
        first = what not in self._told
        self._told.add(what)
        return first

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

    def instrument(self, *sdks: str) -> Self:
        """Record each call of SDKs from now on: of those that are named (`openai`, `anthropic`), or of all.

        Of those that the program has imported, and of the others when it imports them; none is imported here. One row
        a logical call: its retries are `attempts` of it. Of several loggers the last that was instrumented records, for
        the whole process. Closing the logger ends it. A block around exactly one call is one row with it: what the
        block says wins. Around several calls, or with an `operation` such as `agent`, `workflow` or `tool`, each call
        is a row of its own with the block as its parent.

        Returns:
            This logger; `instrumenting` is the same as a context manager.

        Raises:
            SettingsError: (a `ValueError`) for a name that is none.
        """
        from llm_service.telemetry.instrumentation.sdk.instruments import instrument_sdks  # noqa: PLC0415 - as needed

        instrument_sdks(self, sdks)
        self._instruments = True
        return self

    def uninstrument(self, *sdks: str) -> None:
        """Record them no longer; calls that have begun are still recorded."""
        from llm_service.telemetry.instrumentation.sdk.instruments import uninstrument_sdks  # noqa: PLC0415 - as above

        uninstrument_sdks(self, sdks)

    @contextmanager
    def instrumenting(self, *sdks: str) -> Generator[Self, None, None]:
        """As `instrument`, within a `with` block, for the whole process; the block leaves the logger open."""
        self.instrument(*sdks)
        try:
            yield self
        finally:
            self.uninstrument(*sdks)

    def stats(self) -> Stats:
        """The exact ledger and the state of queue and writer, from memory alone; from any thread."""
        return self._engine.stats()

    def _invocation(self, fields: dict[str, Any], put: Any = None) -> Invocation:
        # It holds the logger, not the engine: a logger in use is not forgotten.
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


def _made_of(client: "type[_Made]", settings: Settings, arguments: dict[str, Any]) -> "_Made":
    options: dict[str, Any] = {name: getattr(settings, name) for name in Settings.names()}
    return client(options.pop("db_path"), **arguments, **options)


def seconds_or_none(timeout: float | None, default: float) -> float | None:
    """Seconds to wait; None is for ever."""
    seconds = default if timeout is None else timeout
    if math.isnan(seconds) or seconds < 0:
        raise ValueError(f"timeout: {shown(timeout)} is not usable; give seconds from 0, or math.inf")
    return None if math.isinf(seconds) else seconds
