"""What both faces share: settings, the queue's hot path, instrumentation, self-observation, and the words of errors."""

import math
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from llm_service.config.settings import Settings, SettingsOptions
from llm_service.errors import (
    CommitTimeoutError,
    DuplicateInvocationError,
    RecordDroppedError,
    RecordQuarantinedError,
    StoreError,
)
from llm_service.telemetry.instrument import Invocation
from llm_service.telemetry.pipeline.alarm import OnDrop
from llm_service.telemetry.pipeline.driving import Driver
from llm_service.telemetry.pipeline.engine import Engine
from llm_service.telemetry.pipeline.ledger import DropReason, Outcome, Settlement
from llm_service.telemetry.pipeline.stats import Stats
from llm_service.telemetry.records import InvocationRecord

if TYPE_CHECKING:
    from llm_service.config.schemas import TelemetryConfig

__all__ = ["Face", "seconds_or_none"]


class Face:
    """What both faces share: settings, the queue's hot path, instrumentation and self-observation."""

    def __init__(
        self,
        db_path: str | Path | None,
        on_drop: OnDrop | None,
        options: SettingsOptions,
        start_driver: Callable[[Engine], Driver | None],
    ) -> None:
        self._settings = Settings.of(db_path, options)
        self._engine = Engine(self._settings, start_driver, on_drop)
        self._offer = self._engine.queue.offer
        # At exit the engine has a hook of its own, which also works while the face is still referenced.
        weakref.finalize(self, self._engine.forgotten).atexit = False

    @classmethod
    def from_config(
        cls, config: "TelemetryConfig | str | Path | None" = None, *, on_drop: OnDrop | None = None
    ) -> Self:
        """Make a logger from a `TelemetryConfig`, from a YAML file, or (None) from where `load_config` looks.

        Raises:
            ConfigError: (a `ValueError`) naming file, line, key and remedy.
        """
        from llm_service.config.load import load_config  # noqa: PLC0415 - pydantic and YAML cost most of an import
        from llm_service.config.schemas import TelemetryConfig  # noqa: PLC0415

        settings = (config if isinstance(config, TelemetryConfig) else load_config(config)).to_settings()
        options: dict[str, Any] = {name: getattr(settings, name) for name in Settings.names()}
        return cls(options.pop("db_path"), on_drop=on_drop, **options)

    @property
    def db_path(self) -> Path:
        """The absolute path of the SQLite file."""
        return self._settings.db_path

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

    def stats(self) -> Stats:
        """The exact ledger and the state of queue and writer, from memory alone; from any thread."""
        return self._engine.stats()

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
                f"SQLite refused record {record.invocation_id!r}; see the table dead_letters", self.db_path
            )
        return RecordDroppedError(outcome.value, self.db_path)

    def _late(self, what: str, seconds: float) -> CommitTimeoutError:
        cause = self._engine.committer.commits.last_error or "the writer is behind"
        return CommitTimeoutError(f"{what} within {seconds:g} s ({cause}); it stays queued", self.db_path)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(db_path={str(self.db_path)!r}, privacy_level={self._settings.privacy_level!r})"


def seconds_or_none(timeout: float | None, default: float) -> float | None:
    """Seconds to wait; None is for ever."""
    seconds = default if timeout is None else timeout
    if math.isnan(seconds) or seconds < 0:
        raise ValueError(f"timeout: {timeout!r} is not usable; give seconds from 0, or math.inf")
    return None if math.isinf(seconds) else seconds
